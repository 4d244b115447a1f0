//! `user` (row S3): the addresses of the sign-in page, and users who show a bearer token (docs/decisions/334-oauth-users.md).

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use http::HeaderValue;
use model::pool::Boxed;
use model::route::host;
use model::user::User;
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::call::{Answer, Context, Failure, Service, read, write};
use crate::card::{self, Card};
use crate::outside::Outside;
use crate::proto::user as pb;

/// What stays as it is in a query value (RFC 3986's unreserved characters).
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The longest destination.
const MOST_URL: usize = 2048;

/// Who stands behind a bearer token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bearer {
    /// Their email.
    pub email: String,
    /// Administrator of the app that is called.
    pub admin: bool,
    /// What the token is for; empty = everything.
    pub scopes: Vec<String>,
    /// The program that got the token.
    pub client_id: String,
}

/// Knows tokens.
pub trait Bearers: Send + Sync {
    /// Who stands behind a token that was sent to an app; `None` if it is nobody's.
    ///
    /// The error says why that cannot be found out now.
    fn find<'a>(&'a self, token: &'a str, app: &'a model::ids::AppId, now: SystemTime) -> Boxed<'a, Result<Option<Bearer>, String>>;
}

/// Knows nobody.
impl Bearers for () {
    fn find<'a>(&'a self, _: &'a str, _: &'a model::ids::AppId, _: SystemTime) -> Boxed<'a, Result<Option<Bearer>, String>> {
        Box::pin(async { Ok(None) })
    }
}

/// The service.
pub struct Users {
    bearers: Arc<dyn Bearers>,
    outside: Arc<Outside>,
    /// The OAuth user of tests.
    tested: Mutex<Option<pb::SetOAuthUserRequest>>,
}

impl Default for Users {
    /// A service that takes no tokens.
    fn default() -> Self {
        Self::new(Arc::new(()), Arc::default())
    }
}

impl Users {
    /// A service that takes these tokens.
    pub fn new(bearers: Arc<dyn Bearers>, outside: Arc<Outside>) -> Self {
        Self { bearers, outside, tested: Mutex::default() }
    }

    /// The page, on the host that the client knows, with the way back.
    fn page(&self, path: &str, destination: &str, context: &Context) -> Result<String, Failure> {
        if destination.len() > MOST_URL {
            return Err(Failure::app(pb::ErrorCode::RedirectUrlTooLong, "The destination URL is too long."));
        }
        let base = context.visit.as_ref().filter(|visit| !visit.authority.is_empty()).map_or_else(String::new, |visit| {
            let scheme = if visit.https { "https" } else { "http" };
            format!("{scheme}://{}", visit.authority)
        });
        let destination = match &*written(destination) {
            absolute if absolute.contains("://") => absolute.to_owned(),
            path if path.starts_with('/') && !path.starts_with("//") => format!("{base}{path}"),
            "" => format!("{base}/"),
            relative => format!("{base}/{}", relative.trim_start_matches('/')),
        };
        // The SDK knows this error for signing in alone; the page that signs out leads nowhere else either.
        if path == "/_ah/login" && !self.is_own(&destination, context) {
            return Err(Failure::app(pb::ErrorCode::NotAllowed, "The destination URL leads to a host that is not the app's."));
        }
        Ok(format!("{base}{path}?continue={}", utf8_percent_encode(&destination, KEPT)))
    }

    /// Whether an address leads to the app; the page would lead nowhere else anyway.
    fn is_own(&self, url: &str, context: &Context) -> bool {
        let authority = context.visit.as_ref().map_or("", |visit| visit.authority.as_str());
        let own = |host: &str| {
            let Some(estate) = self.outside.estate() else { return authority.eq_ignore_ascii_case(host) };
            let found = estate.find(authority);
            found.is_ok_and(|found| host::owns(found.table, found.by, host, authority))
        };
        url.starts_with('/') || model::user::safe_continue(url, own) == url
    }

    /// Test mode: what is said of the OAuth user is added to what was said before (`_Dynamic_SetOAuthUser` of the SDK's stub).
    fn set_oauth_user(&self, asked: pb::SetOAuthUserRequest) {
        let mut tested = self.tested.lock().unwrap_or_else(PoisonError::into_inner);
        let before = tested.take().unwrap_or_else(example);
        let text = |new: Option<String>, old| new.filter(|text| !text.is_empty()).or(old);
        *tested = Some(pb::SetOAuthUserRequest {
            email: text(asked.email, before.email),
            auth_domain: text(asked.auth_domain, before.auth_domain),
            user_id: text(asked.user_id, before.user_id),
            is_admin: asked.is_admin.filter(|admin| *admin).or(before.is_admin),
            scopes: if asked.scopes.is_empty() { before.scopes } else { asked.scopes },
            client_id: text(asked.client_id, before.client_id),
        });
    }

    /// The OAuth user of tests: the one that was set, or the stub's own for calls from outside a request.
    fn tested(&self, asked: &pb::GetOAuthUserRequest, context: &Context) -> Option<Answer> {
        let set = self.tested.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let user = set.or_else(|| context.visit.is_none().then(example)).filter(|_| context.testing)?;
        let wanted = asked.scope.iter().chain(&asked.scopes);
        let scopes: Vec<String> = wanted.filter(|scope| user.scopes.contains(scope)).cloned().collect();
        if scopes.is_empty() && !user.scopes.is_empty() {
            return Some(Err(Failure::app(pb::ErrorCode::OauthInvalidToken, "The user is authorized for none of the scopes.")));
        }
        Some(Ok(write(&pb::GetOAuthUserResponse {
            email: user.email.unwrap_or_default(),
            user_id: user.user_id.unwrap_or_default(),
            auth_domain: user.auth_domain.unwrap_or_default(),
            user_organization: None,
            is_admin: Some(user.is_admin.unwrap_or(false)),
            client_id: user.client_id,
            scopes,
        })))
    }

    async fn oauth_user(&self, asked: pb::GetOAuthUserRequest, context: &Context) -> Answer {
        if let Some(answer) = self.tested(&asked, context) {
            return answer;
        }
        let Some(visit) = context.visit.as_ref().filter(|visit| !visit.internal) else {
            return Err(Failure::app(pb::ErrorCode::NotAllowed, "No client sent this request, so there is no OAuth user."));
        };
        let Some(token) = bearer(visit.authorization.as_ref(), visit.target.query()) else {
            return Err(Failure::app(pb::ErrorCode::OauthInvalidRequest, "The request carries no OAuth token."));
        };
        if token.is_empty() || token.bytes().any(|b| !b.is_ascii_graphic()) {
            return Err(Failure::app(pb::ErrorCode::OauthInvalidRequest, "The Authorization header is malformed."));
        }
        let found = self.bearers.find(&token, context.app(), context.now).await;
        let found = found.map_err(|why| Failure::app(pb::ErrorCode::OauthError, format!("The token cannot be checked: {why}.")))?;
        let invalid = |text: &str| Failure::app(pb::ErrorCode::OauthInvalidToken, text);
        let bearer = found.ok_or_else(|| invalid("The token is nobody's, was revoked or has expired."))?;
        let user =
            User::new(&bearer.email, bearer.admin).ok_or_else(|| invalid("The token belongs to nobody who has an email address."))?;
        let wanted: Vec<String> = asked.scope.into_iter().chain(asked.scopes).filter(|scope| !scope.is_empty()).collect();
        let authorized: Vec<String> =
            wanted.iter().filter(|scope| bearer.scopes.is_empty() || bearer.scopes.contains(scope)).cloned().collect();
        if authorized.is_empty() && !wanted.is_empty() {
            return Err(invalid("The token is for none of the scopes."));
        }
        Ok(write(&pb::GetOAuthUserResponse {
            auth_domain: user.auth_domain().to_owned(),
            user_organization: Some(user.organization().to_owned()),
            email: user.email,
            user_id: user.id,
            is_admin: Some(user.admin),
            client_id: Some(bearer.client_id),
            scopes: authorized,
        }))
    }
}

/// The user that the SDK's stub begins with.
fn example() -> pb::SetOAuthUserRequest {
    pb::SetOAuthUserRequest {
        email: Some("example@example.com".into()),
        auth_domain: Some("gmail.com".into()),
        user_id: Some("0".into()),
        is_admin: Some(false),
        scopes: Vec::new(),
        client_id: Some("123456789.apps.googleusercontent.com".into()),
    }
}

/// What no URL may hold is written as URLs write it: the page leads nowhere else than to what is plain.
fn written(destination: &str) -> Cow<'_, str> {
    const FORBIDDEN: &AsciiSet =
        &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'\\').add(b'^').add(b'`').add(b'{').add(b'|').add(b'}');
    utf8_percent_encode(destination, FORBIDDEN).into()
}

/// The token of a request: in its header, or in its query (RFC 6750 §2).
fn bearer(header: Option<&HeaderValue>, query: Option<&str>) -> Option<String> {
    if let Some(header) = header {
        let text = header.to_str().unwrap_or_default();
        let (scheme, token) = text.split_once(' ')?;
        let known = scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("oauth");
        return known.then(|| token.trim().to_owned());
    }
    let pairs = query?.split('&').filter_map(|pair| pair.split_once('='));
    let found = pairs.into_iter().find(|(name, _)| *name == "access_token" || *name == "oauth_token")?.1;
    percent_decode_str(found).decode_utf8().ok().map(Into::into)
}

impl Service for Users {
    fn card(&self) -> &'static Card {
        &card::USER
    }

    fn clear(&self) {
        *self.tested.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn call<'a>(&'a self, method: &'a str, message: Bytes, context: &'a Context) -> Boxed<'a, Answer> {
        Box::pin(async move {
            match method {
                "CreateLoginURL" => {
                    let asked: pb::CreateLoginUrlRequest = read(message)?;
                    Ok(write(&pb::CreateLoginUrlResponse { login_url: self.page("/_ah/login", &asked.destination_url, context)? }))
                }
                "CreateLogoutURL" => {
                    let asked: pb::CreateLogoutUrlRequest = read(message)?;
                    Ok(write(&pb::CreateLogoutUrlResponse { logout_url: self.page("/_ah/logout", &asked.destination_url, context)? }))
                }
                "GetOAuthUser" => self.oauth_user(read(message)?, context).await,
                "SetOAuthUser" if context.testing => {
                    self.set_oauth_user(read(message)?);
                    Ok(Bytes::new())
                }
                _ => Err(Failure::no_call("user", method)),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s3_tokens_stand_in_the_header_or_in_the_query() {
        let header = |text: &str| HeaderValue::try_from(text).expect("a value");
        let find = |text: &str, query: Option<&str>| bearer(Some(&header(text)), query);
        assert_eq!(find("Bearer abc", None).as_deref(), Some("abc"));
        assert_eq!(find("bearer  abc ", Some("access_token=x")).as_deref(), Some("abc"), "the header goes first");
        assert_eq!(find("OAuth abc", None).as_deref(), Some("abc"));
        assert_eq!(find("Basic abc", Some("access_token=x")), None);
        assert_eq!(find("Bearer", None), None);
        assert_eq!(bearer(None, Some("a=1&access_token=a%2Bb")).as_deref(), Some("a+b"));
        assert_eq!(bearer(None, Some("a=1")), None);
        assert_eq!(bearer(None, None), None);
    }
}
