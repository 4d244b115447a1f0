//! Cloud Logging: `entries:list` over an app's log, as `gcloud app logs read`, `gcloud app logs tail` and `gcloud logging read` ask for it. Entries
//! are shown as App Engine writes them: requests in `appengine.googleapis.com/request_log` with a `RequestLog`, lines in `stdout` and `stderr`, what
//! the house did in `appengine.googleapis.com/varlog/system`.

mod entry;
mod filter;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use http::Method;
use model::ids::VersionKey;
use serde_json::{Map, Value, json};
use store::log::{Filter as Wanted, Found, Id, Reader};

use super::{Ask, Ground};
use crate::status::Status;
use filter::Filter;

/// Entries on a page unless less is asked for, and the most (Cloud Logging's own figures).
const PAGE: usize = 50;
const MOST: usize = 1000;
/// A page is given out after this time with what was found, and a token to go on.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn answer(ground: &dyn Ground, ask: &Ask<'_>) -> Result<Value, Status> {
    let (segments, verb) = ask.segments();
    let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
    match (ask.method, parts.as_slice(), verb.as_deref()) {
        (&Method::POST, ["entries"], Some("list")) => list(ground, ask),
        (&Method::POST, ["entries"], Some("tail")) => Err(super::beyond("entries:tail, which only exists as gRPC,")),
        (&Method::POST, ["entries"], Some("write")) => Err(super::beyond("Writing log entries over the API")),
        (&Method::GET, ["projects", app, "logs"], None) => {
            super::region(ground, app)?;
            let names: Vec<String> = entry::LOGS.iter().map(|log| entry::log_name(app, log)).collect();
            Ok(json!({"logNames": names}))
        }
        _ => Err(ask.unknown()),
    }
}

/// What is asked for.
struct Query {
    app: String,
    filter: Filter,
    newest_first: bool,
    size: usize,
    after: Option<Id>,
}

impl Query {
    fn read(ask: &Ask<'_>) -> Result<Self, Status> {
        let known = ["resourceNames", "projectIds", "filter", "orderBy", "pageSize", "pageToken"];
        let body = ask.object("request", &known)?;
        let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
        let order = text("orderBy").trim().to_ascii_lowercase();
        let newest_first = match order.as_str() {
            "" | "timestamp" | "timestamp asc" => false,
            "timestamp desc" => true,
            _ => return Err(Status::field("orderBy", "Entries are ordered by `timestamp asc` or `timestamp desc`.")),
        };
        let size = match body.get("pageSize").map_or(Some(0), Value::as_i64) {
            Some(0) => PAGE,
            Some(size) if size > 0 => usize::try_from(size).unwrap_or(MOST).min(MOST),
            _ => return Err(Status::field("pageSize", "The page size is a number that is not negative.")),
        };
        let after = Some(text("pageToken")).filter(|token| !token.is_empty()).map(str::parse).transpose();
        let after = after.map_err(|_| Status::field("pageToken", "page_token is not one that this server gave out."))?;
        let filter = Filter::parse(text("filter")).map_err(|why| Status::field("filter", format!("Unparseable filter: {why}.")))?;
        Ok(Self { app: app(&body)?, filter, newest_first, size, after })
    }
}

/// The one app whose log is wanted.
fn app(body: &Map<String, Value>) -> Result<String, Status> {
    let listed = body.get("resourceNames").or_else(|| body.get("projectIds")).and_then(Value::as_array);
    let names: Vec<&str> = listed.into_iter().flatten().filter_map(Value::as_str).collect();
    match names.as_slice() {
        [name] => Ok(super::ask::until_slash(name.strip_prefix("projects/").unwrap_or(name)).to_owned()),
        _ => Err(Status::field("resourceNames", "Name one resource, `projects/PROJECT`.")),
    }
}

fn list(ground: &dyn Ground, ask: &Ask<'_>) -> Result<Value, Status> {
    let query = Query::read(ask)?;
    super::region(ground, &query.app)?;
    let Some(log) = ground.log(&query.app) else { return Ok(json!({})) };
    let bounds = query.filter.bounds();
    let wanted = Wanted {
        service: bounds.service,
        version: bounds.version,
        level: bounds.level,
        since: bounds.since,
        until: bounds.until,
        ..Wanted::default()
    };
    let page = read(ground, &log, &query, wanted).map_err(|error| {
        tracing::warn!(%error, app = query.app, "the log cannot be read");
        Status::internal()
    })?;
    Ok(page.into_json(query.newest_first))
}

#[derive(Default)]
struct Page {
    entries: Vec<Value>,
    next: Option<Id>,
}

impl Page {
    /// Requests stand in the log at their end and are shown with their beginning, so that a page must be put into order.
    fn into_json(mut self, newest_first: bool) -> Value {
        let key = |entry: &Value| {
            let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
            (model::time::stamp(&text("timestamp")), text("insertId"))
        };
        self.entries.sort_by_cached_key(key);
        if newest_first {
            self.entries.reverse();
        }
        let mut answer = Map::new();
        if !self.entries.is_empty() {
            answer.insert("entries".into(), Value::Array(self.entries));
        }
        if let Some(next) = self.next {
            answer.insert("nextPageToken".into(), json!(next.to_string()));
        }
        Value::Object(answer)
    }
}

fn read(ground: &dyn Ground, log: &Reader, query: &Query, wanted: Wanted) -> std::io::Result<Page> {
    let mut found: Box<dyn Iterator<Item = std::io::Result<Found>>> =
        if query.newest_first { Box::new(log.newest_first(wanted, query.after)) } else { Box::new(log.forward(wanted, query.after)) };
    let until = Instant::now() + PATIENCE;
    let mut page = Page::default();
    let mut last = None;
    let mut own_lines: BTreeMap<VersionKey, bool> = BTreeMap::new();
    loop {
        let Some(one) = found.next().transpose()? else { return Ok(page) };
        let apart = match one.entry.version() {
            Some(key) => *own_lines.entry(key.clone()).or_insert_with(|| ground.has_own_lines(&query.app, key)),
            None => false,
        };
        let mut shown = entry::show(&query.app, &one, apart);
        shown.retain(|entry| query.filter.wants(entry));
        // A request and its lines are not torn apart, so a page may be a little longer than was asked for if it holds nothing else.
        let full = page.entries.len() >= query.size || (!page.entries.is_empty() && page.entries.len() + shown.len() > query.size);
        if full || Instant::now() > until {
            // There is more: the next page begins after the last entry that was looked at.
            page.next = last;
            return Ok(page);
        }
        last = Some(one.id);
        page.entries.append(&mut shown);
    }
}
