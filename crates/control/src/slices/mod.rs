//! The neighbours of the Admin API that Google's tools ask during a deployment: Cloud Scheduler (cron.yaml), Cloud Tasks (queue.yaml), Datastore
//! (index.yaml), Service Usage and Cloud Logging. Each is the slice of its API that these tools use; what is beyond it answers 501 and says so.
//!
//! What they configure is kept as documents of the app, in the API's own JSON. Whoever runs jobs and
//! tasks reads them there.

mod ask;
mod house;
mod indexes;
mod logging;
mod mask;
mod paging;
mod scheduler;
mod tasks;
mod usage;

use std::collections::BTreeMap;
use std::time::SystemTime;

use http::Method;
use model::ids::VersionKey;
use serde_json::Value;
use store::control::{Document, Kind};
use store::log::Reader;

pub(crate) use ask::Ask;
pub(crate) use house::House;

use crate::status::{Code, Status};

/// What the slices stand on.
pub(crate) trait Ground: Send + Sync {
    /// Where the app lives; `None` if there is no such app.
    fn region(&self, app: &str) -> Result<Option<String>, Status>;

    /// The app's host name.
    fn host(&self, app: &str) -> Result<Option<String>, Status>;

    /// All documents of a kind, by name.
    fn documents(&self, app: &str, kind: Kind) -> Result<Vec<Document>, Status>;

    /// One of them.
    fn document(&self, app: &str, kind: Kind, name: &str) -> Result<Option<Document>, Status>;

    /// Makes or replaces one.
    fn put(&self, app: &str, kind: Kind, name: &str, body: &Value) -> Result<Document, Status>;

    /// Removes one; whether it was there.
    fn remove(&self, app: &str, kind: Kind, name: &str) -> Result<bool, Status>;

    /// What the ward of a collection says (decision 300); `None` where there is none.
    fn ward(&self, _app: &str, _inquiry: Inquiry<'_>) -> Result<Option<Value>, Status> {
        Ok(None)
    }

    /// Whether the lines of a version's requests are entries of their own, as they are with all runtimes but the oldest.
    fn has_own_lines(&self, app: &str, version: &VersionKey) -> bool;

    /// The app's log, if anything was ever logged.
    fn log(&self, app: &str) -> Option<Reader>;
}

/// A question for a ward.
pub(crate) struct Inquiry<'a> {
    /// GET looks, everything else changes.
    pub(crate) method: &'a Method,
    /// The collection, and what it is about.
    pub(crate) path: &'a [&'a str],
    /// The verb, as in `queues/default:pause`.
    pub(crate) verb: Option<&'a str>,
    /// The query.
    pub(crate) query: BTreeMap<String, String>,
    /// The body.
    pub(crate) body: Value,
}

impl<'a> Inquiry<'a> {
    /// Without verb, query and body.
    pub(crate) fn new(method: &'a Method, path: &'a [&'a str]) -> Self {
        Self { method, path, verb: None, query: BTreeMap::new(), body: serde_json::json!({}) }
    }
}

/// Whether a path belongs to a slice, and not to the Admin API.
pub(crate) fn is_ours(path: &str) -> bool {
    api(path).is_some()
}

/// What the caller must be allowed to do: entries are listed with POST, and that changes nothing.
pub(crate) fn only_reads(method: &Method, path: &str) -> bool {
    matches!(*method, Method::GET | Method::HEAD) || path == "/v2/entries:list"
}

/// The app that a request is about, if its path or its body says so.
pub(crate) fn app_of(path: &str, body: &Value) -> Option<String> {
    let mut parts = path.trim_start_matches('/').split('/').skip(1);
    let named = match (parts.next(), parts.next()) {
        (Some("projects"), Some(app)) => Some(ask::decode(app)),
        _ => None,
    };
    named.or_else(|| body["resourceNames"][0].as_str()?.strip_prefix("projects/").map(|app| ask::until_slash(app).to_owned()))
}

#[derive(Debug, Clone, Copy)]
enum Api {
    Scheduler,
    Tasks,
    Indexes,
    Usage,
    Logging,
}

fn api(path: &str) -> Option<Api> {
    let mut parts = path.trim_start_matches('/').split('/');
    let version = parts.next()?;
    let resource: Vec<&str> = parts.take(5).collect();
    let kind = |at: usize| resource.get(at).map(|part| part.split(':').next().unwrap_or(part));
    match (version, kind(0)?) {
        ("v2", "entries") => return Some(Api::Logging),
        (_, "projects") => {}
        _ => return None,
    }
    match (version, kind(2)?, kind(4)) {
        ("v1beta1", "locations", _) | ("v1", "locations", None | Some("jobs")) => Some(Api::Scheduler),
        ("v2" | "v2beta2" | "v2beta3", "locations", None | Some("queues")) => Some(Api::Tasks),
        ("v1", "indexes", _) => Some(Api::Indexes),
        ("v1" | "v1beta1", "services", _) => Some(Api::Usage),
        ("v2", "logs", _) => Some(Api::Logging),
        _ => None,
    }
}

/// Answers a request whose path [`is_ours`].
pub(crate) fn answer(ground: &dyn Ground, ask: &Ask<'_>) -> Result<Value, Status> {
    match api(ask.path) {
        Some(Api::Scheduler) => scheduler::answer(ground, ask),
        Some(Api::Tasks) => tasks::answer(ground, ask),
        Some(Api::Indexes) => indexes::answer(ground, ask),
        Some(Api::Usage) => usage::answer(ground, ask),
        Some(Api::Logging) => logging::answer(ground, ask),
        None => Err(ask.unknown()),
    }
}

/// Where the app lives, which must exist.
fn region(ground: &dyn Ground, app: &str) -> Result<String, Status> {
    ground.region(app)?.ok_or_else(|| Status::not_found(format!("Could not find Application \"{app}\".")))
}

/// The one location that an app has, in the form in which Scheduler and Tasks list them.
fn locations(ground: &dyn Ground, ask: &Ask<'_>, app: &str, wanted: Option<&str>) -> Result<Value, Status> {
    let region = region(ground, app)?;
    // gcloud reads the region out of the first label.
    let location = serde_json::json!({
        "name": format!("projects/{app}/locations/{region}"),
        "locationId": region,
        "labels": {"cloud.googleapis.com/region": region},
    });
    match wanted {
        _ if ask.method != Method::GET => Err(ask.unknown()),
        None => Ok(serde_json::json!({"locations": [location]})),
        Some(wanted) if wanted == region => Ok(location),
        Some(wanted) => Err(Status::not_found(format!("The location \"{wanted}\" was not found; the app {app} lives in {region}."))),
    }
}

/// What a path of an API with locations leads to.
enum Regional<'p> {
    /// A place in the collection.
    Within { app: &'p str, location: &'p str, rest: &'p [&'p str] },
    /// The locations themselves, which all such APIs have.
    Answer(Value),
}

/// Reads `projects/APP/locations/LOCATION/COLLECTION…`; the location must be the app's.
fn regional<'p>(ground: &dyn Ground, ask: &Ask<'_>, parts: &'p [&'p str], collection: &str) -> Result<Regional<'p>, Status> {
    match parts {
        [_, app, "locations"] => locations(ground, ask, app, None).map(Regional::Answer),
        [_, app, "locations", wanted] => locations(ground, ask, app, Some(wanted)).map(Regional::Answer),
        [_, app, _, location, found, rest @ ..] if *found == collection => {
            check_location(ground, app, location)?;
            Ok(Regional::Within { app, location, rest })
        }
        _ => Err(ask.unknown()),
    }
}

/// Refuses locations other than the app's.
fn check_location(ground: &dyn Ground, app: &str, location: &str) -> Result<(), Status> {
    let region = region(ground, app)?;
    if location == region || location == "-" {
        return Ok(());
    }
    Err(Status::not_found(format!("The location \"{location}\" was not found; the app {app} lives in {region}.")))
}

/// A time in RFC 3339, always as long: `gcloud app logs tail` compares times as texts.
fn text(at: SystemTime) -> String {
    jiff::Timestamp::try_from(at).map(|at| format!("{at:.6}")).unwrap_or_default()
}

fn beyond(what: &str) -> Status {
    Status::new(Code::Unimplemented, format!("{what} is not part of what this server does."))
}

#[cfg(test)]
mod tests;
