//! `user` (row S3): the addresses of the sign-in page.

use bytes::Bytes;
use model::pool::Boxed;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::call::{Answer, Context, Failure, Service, read, write};
use crate::proto::user as pb;

/// What stays as it is in a query value (RFC 3986's unreserved characters).
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The longest destination.
const MOST_URL: usize = 2048;

/// The service.
#[derive(Debug, Default)]
pub struct Users;

impl Service for Users {
    fn name(&self) -> &'static str {
        "user"
    }

    fn call<'a>(&'a self, method: &'a str, message: Bytes, context: &'a Context) -> Boxed<'a, Answer> {
        Box::pin(async move {
            match method {
                "CreateLoginURL" => {
                    let asked: pb::CreateLoginUrlRequest = read(message)?;
                    Ok(write(&pb::CreateLoginUrlResponse { login_url: page("/_ah/login", &asked.destination_url, context)? }))
                }
                "CreateLogoutURL" => {
                    let asked: pb::CreateLogoutUrlRequest = read(message)?;
                    Ok(write(&pb::CreateLogoutUrlResponse { logout_url: page("/_ah/logout", &asked.destination_url, context)? }))
                }
                "GetOAuthUser" => Err(Failure::app(pb::ErrorCode::OauthInvalidRequest, "The request carries no OAuth token.")),
                _ => Err(Failure::no_call("user", method)),
            }
        })
    }
}

/// The page, on the host that the client knows, with the way back.
fn page(path: &str, destination: &str, context: &Context) -> Result<String, Failure> {
    if destination.len() > MOST_URL {
        return Err(Failure::app(pb::ErrorCode::RedirectUrlTooLong, "The destination URL is too long."));
    }
    let base = context.visit.as_ref().filter(|visit| !visit.authority.is_empty()).map_or_else(String::new, |visit| {
        let scheme = if visit.https { "https" } else { "http" };
        format!("{scheme}://{}", visit.authority)
    });
    let destination =
        if destination.starts_with('/') || destination.is_empty() { format!("{base}{destination}") } else { destination.into() };
    Ok(format!("{base}{path}?continue={}", utf8_percent_encode(&destination, KEPT)))
}
