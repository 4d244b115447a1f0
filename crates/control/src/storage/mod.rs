//! The slice of Cloud Storage's JSON API that deployments use: buckets, objects, uploads in one piece, in two parts and resumable, downloads. Contents
//! are the store's content-addressed files, so that a file that was ever uploaded is kept once, whatever names it has.
//!
//! Each app has two buckets of its own as soon as somebody asks for them, `staging.APP.DOMAIN` for deployments and `APP.DOMAIN`.

mod buckets;
mod download;
mod fault;
mod intake;
mod multipart;
mod objects;
mod sums;
mod upload;

use std::collections::BTreeSet;
use std::io;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Body;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};
use store::Store;
use store::control::{Actor, Bucket};

use crate::api::mask::Fields;
pub(crate) use fault::Fault;

/// The body of an answer.
pub(crate) type Reply = UnsyncBoxBody<Bytes, io::Error>;

/// Bytes of a JSON body.
const JSON: usize = 256 * 1024;

/// How long the next piece of a body may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// Who asks.
pub(crate) trait Guest: Sync {
    /// Whether it may look into an app, or change something there; `None` is the whole server.
    fn check(&self, changes: bool, app: Option<&str>) -> Result<(), Fault>;

    /// For the audit log.
    fn actor(&self) -> Actor;
}

/// The slice.
#[derive(Debug)]
pub(crate) struct Storage {
    store: Store,
    /// What the names of apps' own buckets end with.
    domain: String,
    /// Resumable uploads that somebody writes to in this moment.
    busy: Mutex<BTreeSet<String>>,
}

/// Whether a path belongs to the slice.
pub(crate) fn is_ours(path: &str) -> bool {
    let path = path.strip_prefix("/resumable").unwrap_or(path);
    ["/storage/v1/", "/upload/storage/v1/", "/download/storage/v1/"].iter().any(|prefix| path.starts_with(prefix))
}

impl Storage {
    pub(crate) fn new(store: Store, domain: &str) -> Self {
        Self { store, domain: domain.to_owned(), busy: Mutex::default() }
    }

    /// Answers a request whose path [`is_ours`].
    pub(crate) async fn answer<B>(&self, guest: &dyn Guest, request: Request<B>) -> Response<Reply>
    where
        B: Body<Data = Bytes> + Send + Unpin,
    {
        let (head, body) = request.into_parts();
        let ask = Ask::read(&head);
        let answered = match ask {
            Ok(ask) => self.dispatch(guest, &ask, body).await,
            Err(fault) => Err(fault),
        };
        answered.unwrap_or_else(|fault| json(fault.status, &fault.body()))
    }

    async fn dispatch<B>(&self, guest: &dyn Guest, ask: &Ask, body: B) -> Result<Response<Reply>, Fault>
    where
        B: Body<Data = Bytes> + Send + Unpin,
    {
        let segments: Vec<&str> = ask.segments.iter().map(String::as_str).collect();
        match (ask.place, segments.as_slice()) {
            (Place::Upload, [bucket, "o"]) => self.upload(guest, ask, bucket, body).await,
            (Place::Download, [bucket, "o", object]) if ask.method == Method::GET => self.download(guest, ask, bucket, object).await,
            (Place::Json, []) => self.all_buckets(guest, ask, body).await,
            (Place::Json, [bucket]) => self.one_bucket(guest, ask, bucket, body).await,
            (Place::Json, [bucket, "o"]) if ask.method == Method::GET => self.list_objects(guest, ask, bucket).await,
            (Place::Json, [bucket, "o", object]) => match ask.parameter("alt") {
                Some("media") if ask.method == Method::GET => self.download(guest, ask, bucket, object).await,
                _ => self.one_object(guest, ask, bucket, object, body).await,
            },
            (Place::Json, [bucket, "o", object, "rewriteTo" | "copyTo", "b", to, "o", name]) if ask.method == Method::POST => {
                let body = gather(body).await?;
                self.copy(guest, ask, (bucket, object), (to, name), body).await
            }
            _ => Err(Fault::not_found(format!("This server has no method {} {}.", ask.method, ask.path))),
        }
    }

    /// The bucket, which the guest may look into or change.
    async fn bucket(&self, guest: &dyn Guest, changes: bool, name: &str) -> Result<Bucket, Fault> {
        let bucket = self.find_bucket(name).await?;
        let Some(bucket) = bucket else {
            // Whoever may see nothing is not told what there is.
            guest.check(changes, None).or_else(|fault| if fault.status == StatusCode::FORBIDDEN { Ok(()) } else { Err(fault) })?;
            return Err(Fault::no_bucket());
        };
        guest.check(changes, bucket.app.as_deref())?;
        Ok(bucket)
    }

    /// A bucket; an app's own are made when they are first asked for.
    async fn find_bucket(&self, name: &str) -> Result<Option<Bucket>, Fault> {
        let (owner, name) = (self.owner(name).map(str::to_owned), name.to_owned());
        self.off(move |store| {
            let found = store.read(|view| {
                let app = owner.map_or(Ok(None), |owner| match view.find_app(&owner)? {
                    Some(app) => Ok(Some(app)),
                    // Colons cannot stand in the names of buckets: `example.com:app` has `example.com.app`.
                    None => owner.rsplit_once('.').map_or(Ok(None), |(domain, app)| view.find_app(&format!("{domain}:{app}"))),
                })?;
                Ok::<_, Fault>((view.find_bucket(&name)?, app))
            })?;
            match found {
                (Some(bucket), _) => Ok(Some(bucket)),
                (None, Some(app)) => store.change(&Actor::house(), |change| match change.find_bucket(&name)? {
                    Some(bucket) => Ok(Some(bucket)),
                    None => Ok(Some(change.create_bucket(&name, Some(&app.id), &app.location, &Value::Object(Map::new()))?)),
                }),
                (None, None) => Ok(None),
            }
        })
        .await
    }

    /// The app whose own bucket has this name, if there is such an app.
    fn owner<'a>(&self, bucket: &'a str) -> Option<&'a str> {
        let bare = bucket.strip_prefix("staging.").unwrap_or(bucket);
        bare.strip_suffix(self.domain.as_str())?.strip_suffix('.').filter(|app| !app.is_empty())
    }

    /// Asks the store on a thread that may block.
    async fn off<T: Send + 'static>(&self, ask: impl FnOnce(&Store) -> Result<T, Fault> + Send + 'static) -> Result<T, Fault> {
        let store = self.store.clone();
        tokio::task::spawn_blocking(move || ask(&store)).await.unwrap_or_else(|_| Err(Fault::internal()))
    }
}

/// Which of the three hosts of old a path belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Json,
    Upload,
    Download,
}

/// What is asked.
#[derive(Debug)]
struct Ask {
    method: Method,
    path: String,
    place: Place,
    /// What follows `/b`, decoded.
    segments: Vec<String>,
    query: Vec<(String, String)>,
    headers: HeaderMap,
}

impl Ask {
    fn read(head: &http::request::Parts) -> Result<Self, Fault> {
        let path = head.uri.path();
        let bare = path.strip_prefix("/resumable").unwrap_or(path);
        let (place, rest) = if let Some(rest) = bare.strip_prefix("/upload/storage/v1/b") {
            (Place::Upload, rest)
        } else if let Some(rest) = bare.strip_prefix("/download/storage/v1/b") {
            (Place::Download, rest)
        } else {
            let missing = || Fault::not_found(format!("This server has no method {} {path}.", head.method));
            (Place::Json, bare.strip_prefix("/storage/v1/b").ok_or_else(missing)?)
        };
        let segments = rest.trim_end_matches('/').split('/').skip(1).map(decode).collect::<Result<_, _>>()?;
        let pairs = head.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let query = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name)?, decode(&value.replace('+', " "))?))
        });
        let query = query.collect::<Result<_, Fault>>()?;
        Ok(Self { method: head.method.clone(), path: path.to_owned(), place, segments, query, headers: head.headers.clone() })
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().rev().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// What links begin with: the address that the client itself used.
    fn base(&self) -> String {
        let scheme =
            if self.header("x-forwarded-proto").is_some_and(|proto| proto.eq_ignore_ascii_case("https")) { "https" } else { "http" };
        let host = self.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
        format!("{scheme}://{host}")
    }

    /// The part of an answer that is asked for.
    fn select(&self, answer: Value) -> Result<Value, Fault> {
        match self.parameter("fields").filter(|fields| !fields.is_empty()) {
            None => Ok(answer),
            Some(fields) => Ok(Fields::parse(fields).map_err(|status| Fault::invalid(status.message))?.select(answer)),
        }
    }

    /// `ifGenerationMatch` and its kin.
    fn conditions(&self) -> Result<Conditions, Fault> {
        let number = |name: &str| {
            let read = |text: &str| text.parse::<u64>().map_err(|_| Fault::invalid(format!("Invalid unsigned integer value: '{text}'.")));
            self.parameter(name).map(read).transpose()
        };
        Ok(Conditions {
            generation: number("generation")?,
            matches: number("ifGenerationMatch")?,
            differs: number("ifGenerationNotMatch")?,
        })
    }
}

/// What must be so for a request to be carried out.
#[derive(Debug, Clone, Copy, Default)]
struct Conditions {
    generation: Option<u64>,
    matches: Option<u64>,
    differs: Option<u64>,
}

impl Conditions {
    /// Checks them against the generation that there is; 0 = there is none.
    fn check(self, generation: u64) -> Result<(), Fault> {
        let holds = self.matches.is_none_or(|wanted| wanted == generation) && self.differs.is_none_or(|other| other != generation);
        if holds { Ok(()) } else { Err(Fault::condition()) }
    }
}

fn decode(text: &str) -> Result<String, Fault> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(std::borrow::Cow::into_owned).map_err(|_| Fault::invalid("The URL is not UTF-8."))
}

/// A JSON answer.
fn json(status: StatusCode, value: &Value) -> Response<Reply> {
    let text = serde_json::to_vec(value).unwrap_or_default();
    let mut response = Response::new(Full::from(text).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=UTF-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store, max-age=0, must-revalidate"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

/// An answer without a body.
fn empty(status: StatusCode) -> Response<Reply> {
    let mut response = Response::new(Full::new(Bytes::new()).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    response
}

/// A JSON body, an object; none is an empty one.
async fn gather<B: Body<Data = Bytes> + Send + Unpin>(body: B) -> Result<Map<String, Value>, Fault> {
    // The error of a limited body is boxed: too long, or broken off.
    let limited = Limited::new(body.map_err(|_| io::Error::from(io::ErrorKind::ConnectionAborted)), JSON);
    let collected = tokio::time::timeout(PATIENCE, limited.collect()).await.map_err(|_| late())?;
    let bytes = collected.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
        Some(_) => Fault::invalid(format!("The description has more than {JSON} bytes.")),
        None => Fault::invalid("The request broke off."),
    })?;
    object(&bytes.to_bytes())
}

fn late() -> Fault {
    Fault::new(StatusCode::REQUEST_TIMEOUT, "uploadBrokenConnection", "The upload did not go on in time.")
}

fn object(bytes: &[u8]) -> Result<Map<String, Value>, Fault> {
    if bytes.trim_ascii().is_empty() {
        return Ok(Map::new());
    }
    serde_json::from_slice(bytes).map_err(|error| Fault::new(StatusCode::BAD_REQUEST, "parseError", format!("Parse Error: {error}")))
}

fn time(at: SystemTime) -> String {
    jiff::Timestamp::try_from(at).map(|at| at.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
