//! Bearer tokens. Only a digest of a token is kept; the token itself is shown once, to whoever made it.

use std::fmt;
use std::fs;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use model::ids::AppId;
use rusqlite::{Row, params};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::error::StoreError;
use super::row::{maybe_time, micros, parsed, text, time, to_json};
use super::secrets::random;
use super::{Actor, Change, Result, Store, View, locked, row};
use crate::files::Sha256;
use crate::write_atomically;

/// The name of the first token.
const OWNER: &str = "owner";
const OWNER_FILE: &str = "owner-token";
/// How exactly `last used` is kept: a write for each request would cost more than the request.
const USED_EVERY: Duration = Duration::from_mins(5);

/// What the bearer of a token may do; each role may do what the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Look.
    Viewer,
    /// Deploy versions and shift traffic.
    Deployer,
    /// Everything in an app, deleting included.
    Admin,
    /// Everything, making apps and tokens included.
    Owner,
}

impl Role {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Deployer => "deployer",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Viewer, Self::Deployer, Self::Admin, Self::Owner]
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| format!("`{text}` is no role; there are viewer, deployer, admin and owner"))
    }
}

/// A token as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its id, which is no secret.
    pub id: String,
    /// For people.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// The only app that it is for; `None` = all.
    pub app: Option<AppId>,
    /// The OAuth scopes that it stands for; empty = all that its role allows.
    pub scopes: Vec<String>,
    /// When it was made.
    pub created: SystemTime,
    /// When it was last used, to within minutes.
    pub used: Option<SystemTime>,
    /// When it was revoked.
    pub revoked: Option<SystemTime>,
}

impl Token {
    /// For operations and the audit log.
    pub fn actor(&self) -> Actor {
        Actor { name: self.name.clone(), token: Some(self.id.clone()) }
    }

    fn audit(&self) -> Value {
        json!({ "name": self.name, "role": self.role, "app": self.app, "scopes": self.scopes, "revoked": self.revoked.is_some() })
    }
}

/// A token's text. Shown once; it does not appear when it is printed for debugging.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenSecret(String);

impl TokenSecret {
    /// The text.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSecret(hidden)")
    }
}

const COLUMNS: &str = "SELECT id, name, role, app, scopes, created, used, revoked, hash FROM tokens";

fn token(row: &Row<'_>) -> Result<Token> {
    Ok(Token {
        id: text(row, 0)?,
        name: text(row, 1)?,
        role: parsed(row, 2)?,
        app: row
            .get::<_, Option<String>>(3)?
            .map(|app| app.parse().map_err(|e| StoreError::damaged("a token's app")(format!("{e}"))))
            .transpose()?,
        scopes: row::json(row, 4)?,
        created: time(row, 5)?,
        used: maybe_time(row, 6)?,
        revoked: maybe_time(row, 7)?,
    })
}

/// What is kept of a token. The secret half has 256 random bits, so one round of SHA-256 cannot be searched.
fn hash(text: &str) -> Sha256 {
    Sha256::of(&digest(&SHA256, text.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |all, byte| format!("{all}{byte:02x}"))
}

/// The id in `eh_ID_SECRET`.
fn id_of(text: &str) -> Option<&str> {
    text.strip_prefix("eh_")?.split_once('_').map(|(id, _)| id)
}

impl View<'_> {
    /// All tokens by their age, revoked ones included.
    pub fn tokens(&self) -> Result<Vec<Token>> {
        self.list(&format!("{COLUMNS} ORDER BY created, id"), [], token)
    }

    /// A token by id.
    pub fn token(&self, id: &str) -> Result<Token> {
        self.one(&format!("{COLUMNS} WHERE id = ?1"), [id], token)?.ok_or_else(|| StoreError::Missing(format!("There is no token `{id}`.")))
    }
}

impl Change<'_> {
    /// Makes a token and returns its text, which cannot be had again.
    pub fn create_token(&mut self, name: &str, role: Role, app: Option<&AppId>, scopes: &[String]) -> Result<(Token, TokenSecret)> {
        if name.is_empty() || name.len() > 200 || name.chars().any(char::is_control) {
            return Err(StoreError::Invalid("A token's name has 1 to 200 printable characters.".to_owned()));
        }
        let id = hex(&random::<6>()?);
        let secret = TokenSecret(format!("eh_{id}_{}", hex(&random::<32>()?)));
        let made = Token {
            id,
            name: name.to_owned(),
            role,
            app: app.cloned(),
            scopes: scopes.to_vec(),
            created: self.now,
            used: None,
            revoked: None,
        };
        self.run(
            "INSERT INTO tokens (id, name, hash, role, app, scopes, created) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                made.id,
                made.name,
                hash(&secret.0).to_string(),
                role.as_str(),
                app.map(AppId::as_str),
                to_json(scopes)?,
                micros(made.created)
            ],
        )?;
        self.note(app.map(AppId::as_str), "tokens.create", &format!("tokens/{}", made.id), None, Some(&made.audit()))?;
        Ok((made, secret))
    }

    /// Revokes a token for good. The last owner's token cannot be revoked, as nobody could make another one.
    pub fn revoke_token(&mut self, id: &str) -> Result<Token> {
        let old = self.token(id)?;
        let is_owner = |token: &Token| token.role == Role::Owner && token.revoked.is_none() && token.app.is_none();
        if is_owner(&old) && self.tokens()?.iter().filter(|token| is_owner(token)).count() == 1 {
            let text = "This is the last owner token, without which no other can be made; create another owner token first.";
            return Err(StoreError::Invalid(text.to_owned()));
        }
        let new = Token { revoked: old.revoked.or(Some(self.now)), ..old.clone() };
        self.run("UPDATE tokens SET revoked = ?2 WHERE id = ?1", params![id, new.revoked.map(micros)])?;
        let app = new.app.as_ref().map(AppId::as_str);
        self.note(app, "tokens.revoke", &format!("tokens/{id}"), Some(&old.audit()), Some(&new.audit()))?;
        Ok(new)
    }
}

impl Store {
    /// Whose token a text is, a person's or a service account's; `None` if it is nobody's, was revoked or has expired. How long that takes does not depend on how much of it is right.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn authenticate(&self, text: &str) -> Result<Option<Token>> {
        if crate::access::is_one(text) {
            return self.service_account(text, SystemTime::now());
        }
        let Some(id) = id_of(text) else { return Ok(None) };
        let read = |row: &Row<'_>| Ok((token(row)?, parsed::<Sha256>(row, 8)?));
        let found = self.read(|view| view.one(&format!("{COLUMNS} WHERE id = ?1"), [id], read))?;
        let Some((token, kept)) = found else { return Ok(None) };
        if verify_slices_are_equal(&hash(text).0, &kept.0).is_err() || token.revoked.is_some() {
            return Ok(None);
        }
        self.used(&token);
        Ok(Some(token))
    }

    /// Keeps in mind when a token was used: in memory, until [`Store::write_uses`].
    fn used(&self, token: &Token) {
        locked(&self.0.tokens_seen).insert(token.id.clone(), SystemTime::now());
    }

    /// Writes down when tokens were last used; for whoever tidies up now and then. Does not raise `rev`.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn write_uses(&self) -> Result<()> {
        let seen = std::mem::take(&mut *locked(&self.0.tokens_seen));
        if seen.is_empty() {
            return Ok(());
        }
        self.change(&Actor::house(), |change| {
            for (id, at) in &seen {
                let sql = "UPDATE tokens SET used = ?2 WHERE id = ?1 AND (used IS NULL OR used < ?3)";
                let floor = at.checked_sub(USED_EVERY).unwrap_or(SystemTime::UNIX_EPOCH);
                change.run(sql, params![id, micros(*at), micros(floor)])?;
            }
            Ok(())
        })
    }

    /// Sees that there is an owner: the first token is drawn, and written to `DIR/owner-token` for whoever administers the machine.
    pub(super) fn ensure_owner(&self) -> Result<()> {
        if self.read(|view| Ok::<_, StoreError>(!view.tokens()?.is_empty()))? {
            return Ok(());
        }
        let path = self.dir().join(OWNER_FILE);
        self.change(&Actor::house(), |change| {
            let (_, secret) = change.create_token(OWNER, Role::Owner, None, &[])?;
            // Before the commit: a crash between the two leaves a file that the next start replaces, never a token that nobody knows.
            write_atomically(&path, format!("{}\n", secret.reveal()).as_bytes()).map_err(StoreError::io("write", &path))
        })
    }

    /// The owner's token, from the file that the first start wrote; `None` if an administrator removed it.
    pub fn owner_token(&self) -> Option<TokenSecret> {
        let text = fs::read_to_string(self.dir().join(OWNER_FILE)).ok()?;
        Some(TokenSecret(text.trim().to_owned()))
    }
}
