//! Service accounts: what an app's own tokens allow in the Admin API (docs/decisions/331-access-tokens.md).

use std::sync::OnceLock;
use std::time::SystemTime;

use super::error::StoreError;
use super::tokens::{Role, Token};
use super::{Actor, Result, Store};
use crate::access::{AccessKey, SECRET};

/// What the store keeps in mind about them.
#[derive(Default)]
pub(super) struct Accounts {
    key: OnceLock<AccessKey>,
    role: OnceLock<Role>,
}

impl Store {
    /// What service accounts may do in their own apps; only the first time counts. Without it, they may deploy.
    pub fn allow_service_accounts(&self, role: Role) {
        let _ = self.0.service_accounts.role.set(role);
    }

    /// The key of access tokens, drawn on first use.
    ///
    /// # Errors
    /// If the database refuses, or if nobody has drawn it yet and this process may not write.
    pub fn access_key(&self) -> Result<AccessKey> {
        if let Some(key) = self.0.service_accounts.key.get() {
            return Ok(key.clone());
        }
        let known = self.read(|view| view.secret(SECRET))?.and_then(|known| <[u8; 32]>::try_from(known).ok());
        let secret = match known {
            Some(known) => known,
            None => self.change::<_, StoreError>(&Actor::house(), |change| change.secret_or_draw(SECRET))?,
        };
        Ok(self.0.service_accounts.key.get_or_init(|| AccessKey::new(&secret)).clone())
    }

    /// The service account of an access token, as long as its app exists.
    pub(super) fn service_account(&self, text: &str, now: SystemTime) -> Result<Option<Token>> {
        let Some(access) = self.access_key()?.open(text, now) else { return Ok(None) };
        let Some(app) = self.read(|view| view.find_app(access.app.as_str()))? else { return Ok(None) };
        Ok(Some(Token {
            id: "service-account".into(),
            name: app.id.service_account(),
            role: self.0.service_accounts.role.get().copied().unwrap_or(Role::Deployer),
            app: Some(app.id),
            scopes: access.scopes,
            created: now,
            used: None,
            revoked: None,
        }))
    }
}
