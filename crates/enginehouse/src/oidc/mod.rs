//! Sign-in by an OpenID provider (OpenID Connect Core 1.0: authorization code, with PKCE): discovery, the exchange of the code, whose token it is, and who
//! is an administrator. Reasons: docs/decisions/335-openid-connect.md.
#![allow(clippy::doc_markdown, reason = "the texts of flags are shown in a terminal, where backquotes mean what is typed")]

mod client;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, ensure};
use aws_lc_rs::digest::{SHA256, digest};
use clap::Args;
use model::ids::AppId;
use model::pool::Boxed;
use model::signin::{Begin, Finish, Unable};
use model::user::User;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};
use services::jwt::{self, Expected, Wrong};
use services::user::{Bearer, Bearers};

use self::client::{Client, Secret};

/// What stays as it is in a query value (RFC 3986's unreserved characters).
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// What the provider publishes is read again after so long.
const FRESH: Duration = Duration::from_hours(1);
/// A token with an unknown key makes us look again, but not more often than this.
const PAUSE: Duration = Duration::from_secs(10);
/// What is asked for.
const SCOPES: &str = "openid email profile";

/// Who signs users in.
#[allow(clippy::struct_field_names, reason = "the fields are called as their flags")]
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Flags {
    /// Let this OpenID provider sign users in, in place of our own page; register SCHEME://HOST/_ah/login/callback there for each host
    #[arg(help_heading = "Sign-in", long, value_name = "URL", requires = "oidc_client_id")]
    oidc_issuer: Option<String>,
    /// What the provider calls this server
    #[arg(help_heading = "Sign-in", long, value_name = "ID", requires = "oidc_issuer")]
    oidc_client_id: Option<String>,
    /// A file with the secret that the provider has given out for that; without one the server is a public client
    #[arg(help_heading = "Sign-in", long, value_name = "FILE", requires = "oidc_issuer")]
    oidc_client_secret_file: Option<PathBuf>,
    /// An administrator of the apps; may be repeated
    #[arg(help_heading = "Sign-in", long, value_name = "EMAIL", requires = "oidc_issuer")]
    oidc_admin: Vec<String>,
    /// Who has this in the provider's token is an administrator: a claim and its value, or one of its values, as in groups=admins
    #[arg(help_heading = "Sign-in", long, value_name = "CLAIM=VALUE", requires = "oidc_issuer", value_parser = claim)]
    oidc_admin_claim: Option<(String, String)>,
    /// Sign out at the provider too, where it offers that
    #[arg(help_heading = "Sign-in", long, requires = "oidc_issuer")]
    oidc_logout: bool,
    /// Certificates in PEM form by which the provider is known, if the system does not know it
    #[arg(help_heading = "Sign-in", long, value_name = "FILE", requires = "oidc_issuer", hide_short_help = true)]
    oidc_ca: Option<PathBuf>,
}

/// Reads `NAME=VALUE`.
fn claim(text: &str) -> Result<(String, String), String> {
    let split = text.split_once('=').filter(|(name, value)| !name.is_empty() && !value.is_empty());
    split.map(|(name, value)| (name.to_owned(), value.to_owned())).ok_or_else(|| format!("`{text}` is no claim; write groups=admins"))
}

impl Flags {
    /// The provider, if there is one. It is not asked for anything yet: it may be down while we start.
    pub(crate) fn provider(&self) -> anyhow::Result<Option<Arc<Provider>>> {
        let (Some(issuer), Some(client_id)) = (&self.oidc_issuer, &self.oidc_client_id) else { return Ok(None) };
        ensure!(client::is_safe(issuer), "--oidc-issuer {issuer}: an https address is wanted (http only on this machine itself)");
        let secret = match &self.oidc_client_secret_file {
            None => None,
            Some(file) => {
                let text = std::fs::read_to_string(file).with_context(|| format!("cannot read the client secret in {}", file.display()))?;
                let text = text.trim().to_owned();
                ensure!(!text.is_empty(), "the client secret in {} is empty", file.display());
                Some(Secret::new(text))
            }
        };
        let client = Client::new(issuer, self.oidc_ca.as_deref()).map_err(|why| anyhow::anyhow!(why))?;
        Ok(Some(Arc::new(Provider(Arc::new(Inner {
            client,
            issuer: issuer.trim_end_matches('/').to_owned(),
            client_id: client_id.clone(),
            secret,
            rule: Rule { emails: self.oidc_admin.clone(), claim: self.oidc_admin_claim.clone() },
            logout: self.oidc_logout,
            known: Mutex::default(),
        })))))
    }
}

/// Who is an administrator.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Rule {
    emails: Vec<String>,
    claim: Option<(String, String)>,
}

impl Rule {
    fn is_admin(&self, email: &str, claims: &Map<String, Value>) -> bool {
        let listed = self.emails.iter().any(|listed| listed.eq_ignore_ascii_case(email));
        let says = |name: &str, value: &str| match claims.get(name) {
            Some(Value::String(text)) => text == value,
            Some(Value::Array(all)) => all.iter().any(|one| one == value),
            Some(Value::Bool(yes)) => yes.to_string() == value,
            _ => false,
        };
        listed || self.claim.as_ref().is_some_and(|(name, value)| says(name, value))
    }
}

/// What the provider publishes.
#[derive(Debug, Clone)]
struct Published {
    at: Instant,
    about: Arc<Value>,
    keys: Arc<Value>,
}

#[derive(Debug)]
struct Inner {
    client: Client,
    /// Without a slash at its end; providers differ in whether they write one.
    issuer: String,
    client_id: String,
    secret: Option<Secret>,
    rule: Rule,
    logout: bool,
    known: Mutex<Option<Published>>,
}

/// An OpenID provider.
#[derive(Debug)]
pub(crate) struct Provider(Arc<Inner>);

/// Why it did not work, for the log; and whether the provider is to blame.
#[derive(Debug, PartialEq, Eq)]
enum Trouble {
    Broken(String),
    Refused { text: &'static str, detail: String },
}

impl From<String> for Trouble {
    fn from(why: String) -> Self {
        Self::Broken(why)
    }
}

impl From<Trouble> for Unable {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Broken(detail) => Self {
                broken: true,
                text: "The sign-in provider cannot be asked at the moment. Try again in a little while.".into(),
                detail: format!("the OpenID provider: {detail}"),
            },
            Trouble::Refused { text, detail } => {
                Self { broken: false, text: text.into(), detail: format!("a sign-in was refused: {detail}") }
            }
        }
    }
}

impl Inner {
    /// What the provider publishes, not older than `than`. Blocks.
    fn published(&self, than: Duration) -> Result<Published, Trouble> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = known.filter(|known| known.at.elapsed() < than) {
            return Ok(known);
        }
        let about = self.client.json(&format!("{}/.well-known/openid-configuration", self.issuer), None)?;
        let says = about["issuer"].as_str().unwrap_or_default();
        if says.trim_end_matches('/') != self.issuer {
            return Err(format!("it calls itself `{says}`; --oidc-issuer must be the same").into());
        }
        let keys = self.client.json(endpoint(&about, "jwks_uri")?, None)?;
        let published = Published { at: Instant::now(), about: Arc::new(about), keys: Arc::new(keys) };
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(published.clone());
        Ok(published)
    }

    fn address(&self, begin: &Begin) -> Result<String, Trouble> {
        let published = self.published(FRESH)?;
        let endpoint = endpoint(&published.about, "authorization_endpoint")?;
        let challenge = jwt::base64url(digest(&SHA256, begin.verifier.as_bytes()).as_ref());
        let parameters = [
            ("response_type", "code"),
            ("client_id", &self.client_id),
            ("redirect_uri", &begin.redirect),
            ("scope", SCOPES),
            ("state", &begin.state),
            ("nonce", &begin.nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        Ok(with(endpoint, &parameters))
    }

    fn redeem(&self, finish: &Finish) -> Result<User, Trouble> {
        let published = self.published(FRESH)?;
        let parameters = [
            ("grant_type", "authorization_code"),
            ("code", finish.code.as_str()),
            ("redirect_uri", &finish.begin.redirect),
            ("code_verifier", &finish.begin.verifier),
        ];
        let methods = published.about["token_endpoint_auth_methods_supported"].as_array();
        // RFC 8414 §2: the default, if nothing is said.
        let basic = methods.is_none_or(|methods| methods.iter().any(|method| method == "client_secret_basic"));
        let answer =
            self.client.redeem(endpoint(&published.about, "token_endpoint")?, &parameters, &self.client_id, self.secret.as_ref(), basic)?;
        let refused = |detail: String| Trouble::Refused { text: "The sign-in did not work. Try again.", detail };
        let token = answer["id_token"].as_str().ok_or_else(|| refused(format!("no token, but `{}`", answer["error"])))?;
        let mut claims = self.verify(token, Some(&finish.begin.nonce)).map_err(refused)?;
        if !claims.contains_key("email")
            && let (Some(address), Some(access)) = (published.about["userinfo_endpoint"].as_str(), answer["access_token"].as_str())
        {
            let more = self.client.json(address, Some(access))?;
            // OpenID Connect Core §5.3.2: it may be about somebody else.
            if more["sub"] == claims.get("sub").cloned().unwrap_or_default()
                && let Value::Object(more) = more
            {
                for (name, value) in more {
                    claims.entry(name).or_insert(value);
                }
            }
        }
        self.user(&claims)
    }

    /// Checks a token; if its key is not known, once more with the keys of today.
    fn verify(&self, token: &str, nonce: Option<&str>) -> Result<Map<String, Value>, String> {
        let attempt = |than: Duration| -> Result<Result<Map<String, Value>, Wrong>, String> {
            let published = self.published(than).map_err(|trouble| Unable::from(trouble).detail)?;
            let issuer = published.about["issuer"].as_str().unwrap_or_default();
            Ok(jwt::verify(token, &published.keys, &Expected { issuer, audience: &self.client_id, nonce, now: SystemTime::now() }))
        };
        let first = match attempt(FRESH)? {
            Err(Wrong::UnknownKey(_)) => attempt(PAUSE)?,
            first => first,
        };
        first.map_err(|wrong| format!("the provider's token does not count: {wrong}"))
    }

    fn user(&self, claims: &Map<String, Value>) -> Result<User, Trouble> {
        let refused = |text, detail: &str| Trouble::Refused { text, detail: detail.to_owned() };
        let email = claims.get("email").and_then(Value::as_str).unwrap_or_default();
        if email.is_empty() {
            return Err(refused("The sign-in provider does not tell your email address.", "there is no claim `email`"));
        }
        if claims.get("email_verified").is_some_and(|verified| verified == false || verified == "false") {
            return Err(refused("Your email address is not verified at the sign-in provider.", "the email is not verified"));
        }
        let admin = self.rule.is_admin(email, claims);
        User::new(email, admin).ok_or_else(|| refused("Your email address cannot be used here.", "the email is malformed"))
    }
}

fn endpoint<'a>(about: &'a Value, name: &str) -> Result<&'a str, Trouble> {
    let found = about[name].as_str().ok_or_else(|| format!("it publishes no `{name}`"))?;
    if client::is_safe(found) { Ok(found) } else { Err(format!("its `{name}` is not an https address").into()) }
}

/// An address with further parameters.
fn with(address: &str, parameters: &[(&str, &str)]) -> String {
    let mut all = address.to_owned();
    for (name, value) in parameters {
        all.push(if all.contains('?') { '&' } else { '?' });
        all.push_str(name);
        all.push('=');
        all.extend(utf8_percent_encode(value, KEPT));
    }
    all
}

/// Does what blocks on a thread where that is allowed.
fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Trouble> + Send + 'static) -> Boxed<'static, Result<T, Unable>> {
    Box::pin(async move {
        let done = tokio::task::spawn_blocking(work).await;
        Ok(done.unwrap_or_else(|_| Err(Trouble::Broken("the question broke off".into())))?)
    })
}

impl model::signin::Provider for Provider {
    fn realm(&self) -> &str {
        &self.0.issuer
    }

    fn begin(&self, begin: Begin) -> Boxed<'static, Result<String, Unable>> {
        let inner = Arc::clone(&self.0);
        blocking(move || inner.address(&begin))
    }

    fn finish(&self, finish: Finish) -> Boxed<'static, Result<User, Unable>> {
        let inner = Arc::clone(&self.0);
        blocking(move || inner.redeem(&finish))
    }

    fn leave(&self, back: &str) -> Boxed<'static, Option<String>> {
        let (inner, back) = (Arc::clone(&self.0), back.to_owned());
        Box::pin(async move {
            if !inner.logout {
                return None;
            }
            let found = tokio::task::spawn_blocking(move || {
                let published = inner.published(FRESH).ok()?;
                let address = endpoint(&published.about, "end_session_endpoint").ok()?;
                Some(with(address, &[("client_id", &inner.client_id), ("post_logout_redirect_uri", &back)]))
            });
            found.await.ok().flatten()
        })
    }
}

/// Tokens of the provider's, made for us, that clients send to apps.
impl Bearers for Provider {
    fn find<'a>(&'a self, token: &'a str, _: &'a AppId, _: SystemTime) -> Boxed<'a, Result<Option<Bearer>, String>> {
        let (inner, token) = (Arc::clone(&self.0), token.to_owned());
        Box::pin(async move {
            let look = move || -> Result<Option<Bearer>, String> {
                inner.published(FRESH).map_err(|trouble| Unable::from(trouble).detail)?;
                let Ok(claims) = inner.verify(&token, None) else { return Ok(None) };
                let Ok(user) = inner.user(&claims) else { return Ok(None) };
                let scopes = SCOPES.split(' ').map(str::to_owned).collect();
                Ok(Some(Bearer { email: user.email, admin: user.admin, scopes, client_id: inner.client_id.clone() }))
            };
            tokio::task::spawn_blocking(look).await.unwrap_or_else(|_| Err("the question broke off".into()))
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn s3_administrators_are_listed_or_claimed() {
        let claims = |value: Value| value.as_object().expect("an object").clone();
        let rule = Rule { emails: vec!["Ann@example.org".into()], claim: Some(("groups".into(), "admins".into())) };
        assert!(rule.is_admin("ann@example.org", &Map::new()));
        assert!(!rule.is_admin("eve@example.org", &Map::new()));
        for (groups, admin) in
            [(json!("admins"), true), (json!(["a", "admins"]), true), (json!("admin"), false), (json!([]), false), (json!(5), false)]
        {
            assert_eq!(rule.is_admin("eve@example.org", &claims(json!({ "groups": groups }))), admin, "{groups}");
        }
        assert!(!Rule::default().is_admin("ann@example.org", &claims(json!({ "groups": "admins" }))));
        assert_eq!(claim("groups=a=b"), Ok(("groups".into(), "a=b".into())));
        assert!(claim("groups").is_err() && claim("=x").is_err() && claim("x=").is_err());
    }

    #[test]
    fn parameters_are_added_to_addresses() {
        assert_eq!(with("https://a/b", &[("c", "d e"), ("f", "&")]), "https://a/b?c=d%20e&f=%26");
        assert_eq!(with("https://a/b?x=1", &[("c", "d")]), "https://a/b?x=1&c=d");
    }
}
