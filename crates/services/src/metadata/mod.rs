//! The metadata server (`metadata.google.internal`, row S7): who an instance is, and tokens of its service account. It answers at the instance's own door,
//! so that the socket says which instance asks; tokens go only to processes of that instance (`peer`). Reasons: docs/decisions/332-metadata-server.md.

mod tree;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, LOCATION, SERVER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri};
use http_body_util::Full;
use model::ids::InstanceId;
use serde_json::{Value, json};

use self::tree::{Asked, Found, Subject};
use crate::call::Caller;
use crate::identity::{Identity, check_scopes};

const FLAVOR: HeaderName = HeaderName::from_static("metadata-flavor");
/// Where Google publishes the certificates of service accounts; ours are published in the same place of the metadata server.
const CERTIFICATES: &str = "/robot/v1/metadata/x509/";
/// Who waits for a change is answered after so long.
const LONGEST_WAIT: Duration = Duration::from_mins(5);

/// The metadata server of a house.
pub struct Metadata {
    identity: Arc<Identity>,
    region: String,
}

/// One request, as far as it matters here.
pub(crate) struct Ask<'a> {
    pub(crate) method: &'a Method,
    pub(crate) target: &'a Uri,
    pub(crate) headers: &'a HeaderMap,
    /// Which instance it comes from, or how it is known that it comes from none that may ask here.
    pub(crate) whose: &'a (dyn Fn() -> Boxed<Result<InstanceId, String>> + Sync),
}

/// Whether a request is for the metadata server, where the door is others' too.
pub(crate) fn is_meant<B>(request: &http::Request<B>) -> bool {
    let path = request.uri().path();
    path.starts_with("/computeMetadata") || path.starts_with(CERTIFICATES) || request.headers().contains_key(FLAVOR)
}

type Boxed<T> = model::pool::Boxed<'static, T>;

impl Metadata {
    /// The metadata server of a house in this region.
    pub fn new(identity: Arc<Identity>, region: String) -> Self {
        Self { identity, region }
    }

    /// Answers one request of an instance.
    pub(crate) async fn answer(&self, caller: &Caller, ask: Ask<'_>) -> Response<Full<Bytes>> {
        let now = SystemTime::now();
        let found = match ask.target.path().strip_prefix(CERTIFICATES) {
            Some(account) => self.certificates(account, &ask, now).await,
            None => self.fact(caller, &ask, now).await,
        };
        response(&found)
    }

    /// Public, and without the header: whoever checks a token asks as anybody would ask Google.
    async fn certificates(&self, account: &str, ask: &Ask<'_>, now: SystemTime) -> Found {
        if *ask.method != Method::GET {
            return Found::refused(StatusCode::METHOD_NOT_ALLOWED, "Certificates are read with GET.");
        }
        let account = percent_encoding::percent_decode_str(account).decode_utf8_lossy();
        match self.identity.certificates(&account, now).await {
            Some(found) => Found::json(&Value::Object(found)),
            None => Found::refused(StatusCode::NOT_FOUND, "There is no such service account here."),
        }
    }

    async fn fact(&self, caller: &Caller, ask: &Ask<'_>, now: SystemTime) -> Found {
        // At a zygote's door, those that it forked may ask too.
        let whose = (ask.whose)().await;
        let account = self.identity.account(&caller.version.app);
        let instance = whose.as_ref().unwrap_or(&caller.instance);
        let subject = Subject { version: &caller.version, instance, region: &self.region, account: &account };
        let asked = tree::read(ask.method, ask.target, ask.headers, subject);
        match &asked {
            Asked::Known(found) => return found.clone(),
            Asked::Later(found, seconds) => {
                tokio::time::sleep(Duration::from_secs(*seconds).min(LONGEST_WAIT)).await;
                return found.clone();
            }
            Asked::Token(_) | Asked::IdToken(_) => {}
        }
        if let Err(why) = whose {
            return Found::refused(StatusCode::FORBIDDEN, &format!("Tokens go to processes of the instance alone: {why}."));
        }
        let app = &caller.version.app;
        let made = match asked {
            Asked::Token(scopes) => {
                if let Err(text) = check_scopes(&scopes) {
                    return Found::refused(StatusCode::BAD_REQUEST, &text);
                }
                self.identity.token(app, scopes, now).map(|(token, expires)| {
                    let left = expires.duration_since(now).unwrap_or_default().as_secs().saturating_sub(1);
                    Found::json(&json!({ "access_token": token, "expires_in": left, "token_type": "Bearer" }))
                })
            }
            Asked::IdToken(audience) => self.identity.id_token(app, &audience, now).await.map(Found::text),
            Asked::Known(_) | Asked::Later(..) => return Found::text(""),
        };
        made.unwrap_or_else(|why| Found::refused(StatusCode::INTERNAL_SERVER_ERROR, &format!("No token can be made: {why}.")))
    }
}

fn response(found: &Found) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(found.body.clone())));
    *response.status_mut() = found.status;
    let headers = response.headers_mut();
    headers.insert(FLAVOR, HeaderValue::from_static("Google"));
    headers.insert(SERVER, HeaderValue::from_static("Metadata Server for Serverless"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(found.kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-frame-options", HeaderValue::from_static("SAMEORIGIN"));
    headers.insert("x-xss-protection", HeaderValue::from_static("0"));
    if found.status == StatusCode::OK
        && let Ok(tag) = HeaderValue::try_from(tree::etag(&found.body))
    {
        headers.insert(ETAG, tag);
    }
    if let Some(Ok(location)) = found.location.as_deref().map(HeaderValue::try_from) {
        headers.insert(LOCATION, location);
    }
    response
}
