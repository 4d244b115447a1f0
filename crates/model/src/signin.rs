//! How users sign in. Sign-in by somebody else: an OpenID provider that knows the users. The front end leads browsers there and back; whoever implements
//! [`Provider`] speaks with it.

use std::fmt;
use std::sync::Arc;

use crate::pool::Boxed;
use crate::user::User;

/// Where a browser is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begin {
    /// Where it is to come back.
    pub redirect: String,
    /// What it is to bring back.
    pub state: String,
    /// What the provider is to write into its token.
    pub nonce: String,
    /// The secret that is shown when the code is redeemed; only its digest is sent before (PKCE, RFC 7636).
    pub verifier: String,
}

/// A browser has come back.
#[derive(Clone, PartialEq, Eq)]
pub struct Finish {
    /// What it brought.
    pub code: String,
    /// As it was in the beginning.
    pub begin: Begin,
}

impl fmt::Debug for Finish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Finish").field("redirect", &self.begin.redirect).finish_non_exhaustive()
    }
}

/// Why nobody is signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unable {
    /// It is the provider's fault, or the network's, and not the visitor's.
    pub broken: bool,
    /// For the visitor.
    pub text: String,
    /// For the log.
    pub detail: String,
}

/// Somebody who knows the users.
pub trait Provider: Send + Sync + fmt::Debug {
    /// Who it is. Sign-ins of another one do not count.
    fn realm(&self) -> &str;

    /// The address that signs in.
    fn begin(&self, begin: Begin) -> Boxed<'static, Result<String, Unable>>;

    /// Who has signed in.
    fn finish(&self, finish: Finish) -> Boxed<'static, Result<User, Unable>>;

    /// Where a browser is sent that has signed out here, to sign out there too; `back` is where it wants to go then.
    fn leave(&self, back: &str) -> Boxed<'static, Option<String>>;
}

/// Who signs users in.
#[derive(Debug, Clone, Default)]
pub enum SignIn {
    /// Our own page, by links that the owner of the server gives out. Whoever has none stays outside.
    #[default]
    Links,
    /// Our own page, for development: one says who one is.
    Open,
    /// A provider that knows the users.
    Provider(Arc<dyn Provider>),
}

impl SignIn {
    /// Under whose name cookies are signed: what one way of signing in has said does not count for another.
    pub fn realm(&self) -> &str {
        match self {
            Self::Links => "links",
            Self::Open => "",
            Self::Provider(provider) => provider.realm(),
        }
    }
}
