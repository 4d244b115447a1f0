//! Who stands behind the bearer tokens that clients send to apps: service accounts, and people who have a token of the server
//! (docs/decisions/334-oauth-users.md).

use std::sync::Arc;
use std::time::SystemTime;

use model::ids::AppId;
use model::pool::Boxed;
use services::identity::Signer;
use services::user::{Bearer, Bearers};
use store::access;
use store::control::{Role, Token};

/// Knows the tokens of people; the server's own, of which a run has none.
pub(crate) type People = Box<dyn Fn(&str) -> Result<Option<Token>, String> + Send + Sync>;

/// All that are known.
pub(crate) struct Known {
    pub(crate) signer: Signer,
    pub(crate) people: Option<People>,
    /// The OpenID provider, if there is one.
    pub(crate) provider: Option<Arc<dyn Bearers>>,
}

impl Bearers for Known {
    fn find<'a>(&'a self, token: &'a str, app: &'a AppId, now: SystemTime) -> Boxed<'a, Result<Option<Bearer>, String>> {
        Box::pin(async move {
            if access::is_one(token) {
                let found = (self.signer)()?.open(token, now);
                return Ok(found.map(|access| Bearer {
                    email: access.app.service_account(),
                    admin: access.app == *app,
                    scopes: access.scopes,
                    client_id: access.app.number().to_string(),
                }));
            }
            if let Some(provider) = self.provider.as_ref().filter(|_| token.matches('.').count() == 2) {
                return provider.find(token, app, now).await;
            }
            let found = self.people.as_ref().map_or(Ok(None), |people| people(token))?;
            Ok(found.map(|token| Bearer {
                admin: token.role >= Role::Admin && token.app.as_ref().is_none_or(|own| own == app),
                // Tokens of programs are called as one likes; they are nobody's in the sense of this API.
                email: token.name,
                scopes: token.scopes,
                client_id: token.id,
            }))
        })
    }
}
