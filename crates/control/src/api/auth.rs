//! Who asks, and what they may: bearer tokens with a role, scopes, and perhaps one app (row T6).

use http::{HeaderMap, HeaderValue, header};
use model::ids::AppId;
use serde_json::json;
use store::control::{Actor, Role, Store, Token};

use super::ask::Query;
use crate::status::{Code, Status};

/// Where Google says how to sign in.
const HELP: &str = "Expected OAuth 2 access token, login cookie or other valid authentication credential. \
                    See https://developers.google.com/identity/sign-in/web/devconsole-project.";
const REALM: &str = "Bearer realm=\"https://accounts.google.com/\"";

/// Scopes by the last part of their names.
pub(crate) const SCOPES: [&str; 3] = [
    "https://www.googleapis.com/auth/cloud-platform",
    "https://www.googleapis.com/auth/appengine.admin",
    "https://www.googleapis.com/auth/cloud-platform.read-only",
];

/// What a request would do, as far as permission goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Looks.
    Look,
    /// Deploys, shifts traffic, ends instances.
    Deploy,
    /// Everything else within an app: settings, firewall, domains, certificates, deleting a service.
    Administer,
    /// What concerns the whole server: making apps, tokens.
    Own,
}

impl Deed {
    fn role(self) -> Role {
        match self {
            Self::Look => Role::Viewer,
            Self::Deploy => Role::Deployer,
            Self::Administer => Role::Admin,
            Self::Own => Role::Owner,
        }
    }
}

/// The bearer of a good token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    token: Token,
}

impl Caller {
    /// Whose token it is.
    pub(crate) fn token(&self) -> &Token {
        &self.token
    }

    /// For operations and the audit log.
    pub(crate) fn actor(&self) -> Actor {
        self.token.actor()
    }

    /// Whether it may do something to an app; `None` stands for the server.
    ///
    /// # Errors
    /// 403 for a token of another app, one with too little a role, or without the scope.
    pub(crate) fn check(&self, deed: Deed, app: Option<&str>) -> Result<(), Status> {
        let scoped = self.token.scopes.is_empty() || self.token.scopes.iter().any(|scope| allows(scope, deed));
        if !scoped {
            return Err(insufficient_scope());
        }
        let own = match (&self.token.app, app) {
            (None, _) => true,
            (Some(own), Some(app)) => own.as_str() == app,
            (Some(_), None) => false,
        };
        if own && self.token.role >= deed.role() {
            Ok(())
        } else {
            Err(Status::new(Code::PermissionDenied, "The caller does not have permission"))
        }
    }

    /// The only app that it may see.
    pub(crate) fn app(&self) -> Option<&AppId> {
        self.token.app.as_ref()
    }
}

/// GET takes any of the three scopes; everything else needs the first (the discovery document's scopes of each method).
fn allows(scope: &str, deed: Deed) -> bool {
    let known = SCOPES.iter().position(|known| *known == scope || known.rsplit('/').next() == Some(scope));
    match known {
        Some(0) => true,
        Some(_) => deed == Deed::Look,
        None => false,
    }
}

/// Finds out who asks. The token stands in the Authorization header or in the query.
///
/// # Errors
/// 401 if there is no token or it is none of ours.
pub(crate) fn authenticate(store: &Store, headers: &HeaderMap, query: &Query) -> Result<Caller, Status> {
    let text = bearer(headers).or_else(|missing| query.get("access_token").or_else(|| query.get("oauth_token")).ok_or(missing))?;
    store.authenticate(text)?.map(|token| Caller { token }).ok_or_else(stranger)
}

/// The token of the Authorization header; empty if it holds something else.
///
/// # Errors
/// 401 if there is no header.
pub(crate) fn bearer(headers: &HeaderMap) -> Result<&str, Status> {
    let missing = || unauthenticated(&format!("Request is missing required authentication credential. {HELP}"), "CREDENTIALS_MISSING");
    let text = headers.get(header::AUTHORIZATION).ok_or_else(missing)?.to_str().unwrap_or_default();
    Ok(text.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map_or("", |(_, token)| token.trim()))
}

/// 401: a token that is none of ours.
pub(crate) fn stranger() -> Status {
    unauthenticated(&format!("Request had invalid authentication credentials. {HELP}"), "ACCESS_TOKEN_INVALID")
}

/// Whether a token for these scopes may look at an app, or change it.
///
/// # Errors
/// 403.
pub(crate) fn check_scopes(scopes: &[String], looks: bool) -> Result<(), Status> {
    let deed = if looks { Deed::Look } else { Deed::Deploy };
    if scopes.is_empty() || scopes.iter().any(|scope| allows(scope, deed)) { Ok(()) } else { Err(insufficient_scope()) }
}

fn info(reason: &str) -> serde_json::Value {
    json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": "googleapis.com",
        "metadata": {"service": "appengine.googleapis.com"},
    })
}

fn unauthenticated(message: &str, reason: &str) -> Status {
    Status { details: vec![info(reason)], ..Status::new(Code::Unauthenticated, message) }
}

fn insufficient_scope() -> Status {
    let message = "Request had insufficient authentication scopes.";
    Status { details: vec![info("ACCESS_TOKEN_SCOPE_INSUFFICIENT")], ..Status::new(Code::PermissionDenied, message) }
}

/// What WWW-Authenticate says about a refusal, if it concerns the token.
pub(crate) fn challenge(status: &Status) -> Option<HeaderValue> {
    let reason = status.details.first().and_then(|detail| detail["reason"].as_str());
    let text = match reason {
        Some("CREDENTIALS_MISSING") => REALM.to_owned(),
        Some("ACCESS_TOKEN_INVALID") => format!("{REALM}, error=\"invalid_token\""),
        Some("ACCESS_TOKEN_SCOPE_INSUFFICIENT") => format!("{REALM}, error=\"insufficient_scope\", scope=\"{}\"", SCOPES[0]),
        _ => return None,
    };
    HeaderValue::try_from(text).ok()
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn caller(role: Role, app: Option<&str>, scopes: &[&str]) -> Caller {
        let token = Token {
            id: "1".into(),
            name: "me".into(),
            role,
            app: app.map(|app| app.parse().expect("valid")),
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            created: SystemTime::UNIX_EPOCH,
            used: None,
            revoked: None,
        };
        Caller { token }
    }

    #[test]
    fn t6_roles_are_steps() {
        let steps = [Role::Viewer, Role::Deployer, Role::Admin, Role::Owner];
        for (at, deed) in [Deed::Look, Deed::Deploy, Deed::Administer, Deed::Own].into_iter().enumerate() {
            for (held, role) in steps.into_iter().enumerate() {
                assert_eq!(caller(role, None, &[]).check(deed, Some("demo")).is_ok(), held >= at, "{role} {deed:?}");
            }
        }
    }

    #[test]
    fn t6_a_token_of_an_app_is_for_that_app() {
        let own = caller(Role::Owner, Some("demo"), &[]);
        assert!(own.check(Deed::Administer, Some("demo")).is_ok());
        for app in [Some("other"), None] {
            let refused = own.check(Deed::Look, app).expect_err("another app");
            assert_eq!((refused.code, refused.message.as_str()), (Code::PermissionDenied, "The caller does not have permission"));
        }
    }

    #[test]
    fn t6_scopes_narrow_what_a_role_allows() {
        let with = |scope: &str| caller(Role::Owner, None, &[scope]);
        for (scope, look, deploy) in [
            ("https://www.googleapis.com/auth/cloud-platform", true, true),
            ("cloud-platform", true, true),
            ("appengine.admin", true, false),
            ("https://www.googleapis.com/auth/cloud-platform.read-only", true, false),
            ("email", false, false),
        ] {
            assert_eq!(with(scope).check(Deed::Look, None).is_ok(), look, "{scope}");
            assert_eq!(with(scope).check(Deed::Deploy, None).is_ok(), deploy, "{scope}");
        }
        let refused = with("email").check(Deed::Look, None).expect_err("no scope");
        assert!(challenge(&refused).is_some_and(|value| value.to_str().is_ok_and(|text| text.contains("insufficient_scope"))));
    }
}
