//! Entries of the log as the SDK's records of requests: which are wanted, and how they read.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use model::ids::{AppId, InstanceId, VersionKey};
use model::journal::{Entry, Output, Request, Severity};
use model::rpc::Visit;
use store::log::{Filter, Found, Id, Reader};

use super::{LEVELS, MOST, MOST_IDS, USUAL, level};
use crate::call::Failure;
use crate::proto::logservice as pb;

/// Entries that one call looks at; beyond that it returns what it has, with an offset to go on from.
const MOST_ENTRIES: usize = 200_000;
/// Entries before a request's own among which its lines are looked for.
const MOST_LINES: usize = 20_000;

/// What is asked, checked.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Query {
    /// These requests and no others, in this order.
    pub(super) ids: Vec<String>,
    /// Of these versions.
    pub(super) versions: Vec<(String, String)>,
    since: Option<SystemTime>,
    until: Option<SystemTime>,
    before: Option<Place>,
    minimum: Option<Severity>,
    pub(super) incomplete: bool,
    pub(super) lines: bool,
    pub(super) count: usize,
}

/// Where a read goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Behind this entry.
    Entry(Id),
    /// Behind the requests that have not ended.
    Complete,
    /// Behind one that a test told of.
    Told(u64),
}

/// A request that has not ended.
#[derive(Debug)]
pub(super) struct Under {
    pub(super) key: VersionKey,
    pub(super) instance: InstanceId,
    pub(super) visit: Arc<Visit>,
}

/// What an offset says that stands among the requests that have not ended.
const COMPLETE: &str = "-";

impl Query {
    /// Checks what is asked, as the SDK's stub does.
    pub(super) fn of(asked: &pb::LogReadRequest, app: &AppId, testing: bool) -> Result<Self, Failure> {
        let bad = |text: &str| Failure::app(pb::ErrorCode::InvalidRequest, text);
        let named = asked.app_id.rsplit('~').next();
        if !testing && named != Some(app.project()) {
            return Err(bad("An app reads its own log alone."));
        }
        if asked.module_version.is_empty() && asked.version_id.is_empty() && asked.request_id.is_empty() {
            return Err(bad("Versions or requests are to be named."));
        }
        if !asked.module_version.is_empty() && !asked.version_id.is_empty() {
            return Err(bad("Versions are to be named in one way, not in two."));
        }
        let ranged = asked.start_time.is_some() || asked.end_time.is_some() || asked.offset.is_some();
        if !asked.request_id.is_empty() && ranged {
            return Err(bad("Requests that are named have no times or offsets."));
        }
        if asked.combined_log_regex.is_some() || asked.host_regex.is_some() || asked.replica_index.is_some() {
            return Err(bad("The log is not searched for patterns or replicas."));
        }
        if asked.request_id.len() > MOST_IDS {
            return Err(bad("Too many requests are named."));
        }
        let hex = |id: &bytes::Bytes| {
            let text = std::str::from_utf8(id).ok().filter(|id| !id.is_empty() && id.len() <= 512);
            if testing {
                // Tests make them up.
                return text.map(str::to_owned);
            }
            text.filter(|id| id.bytes().all(|b| b.is_ascii_hexdigit())).map(str::to_ascii_lowercase)
        };
        let ids: Option<Vec<String>> = asked.request_id.iter().map(hex).collect();
        let before = match asked.offset.as_ref().and_then(|offset| offset.request_id.as_ref()) {
            None => None,
            Some(text) if **text == *COMPLETE.as_bytes() => Some(Place::Complete),
            Some(text) => {
                let text = std::str::from_utf8(text).unwrap_or_default();
                // Those of the journal have 16 digits.
                let place = if text.len() < 16 { text.parse().ok().map(Place::Told) } else { text.parse().ok().map(Place::Entry) };
                Some(place.ok_or_else(|| bad("The offset is none of this log."))?)
            }
        };
        let minimum = match asked.minimum_log_level {
            None => None,
            Some(level) => {
                let known = usize::try_from(level).ok().and_then(|level| LEVELS.get(level)).copied();
                Some(known.ok_or_else(|| bad("There are the levels 0 to 4."))?)
            }
        };
        let time = |micros: Option<i64>| micros.map(|micros| UNIX_EPOCH + Duration::from_micros(u64::try_from(micros).unwrap_or(0)));
        Ok(Self {
            ids: ids.ok_or_else(|| bad("A request id is malformed."))?,
            versions: versions(asked),
            since: time(asked.start_time),
            until: time(asked.end_time),
            before,
            minimum,
            incomplete: asked.include_incomplete() && !matches!(before, Some(Place::Entry(_) | Place::Complete)),
            lines: asked.include_app_logs(),
            count: match asked.count {
                None => USUAL,
                Some(count) => usize::try_from(count).unwrap_or(0).clamp(1, MOST),
            },
        })
    }

    fn wants(&self, key: Option<&VersionKey>) -> bool {
        key.is_some_and(|key| {
            self.versions.iter().any(|(service, version)| *service == *key.service.as_str() && *version == *key.version.as_str())
        })
    }

    fn wants_time(&self, end: SystemTime) -> bool {
        self.since.is_none_or(|since| end >= since) && self.until.is_none_or(|until| end < until)
    }

    /// Nothing is read that ended before.
    pub(super) fn not_before(&mut self, time: SystemTime) {
        self.since = self.since.max(Some(time));
    }

    /// Whether a request that a test told of is wanted: by when it ended, or by when it began if it has not.
    pub(super) fn wants_told(&self, number: u64, log: &pb::RequestLog) -> bool {
        let named = self.versions.iter().any(|(service, version)| *service == *log.module_id() && *version == log.version_id);
        let time = if log.finished() { log.end_time } else { log.start_time };
        let place = match self.before {
            None => true,
            Some(Place::Told(before)) => number < before,
            Some(Place::Entry(_) | Place::Complete) => false,
        };
        let grave = |minimum: Severity| log.line.iter().any(|line| line.level >= level(minimum));
        named
            && place
            && (log.finished() || self.incomplete)
            && self.wants_time(UNIX_EPOCH + Duration::from_micros(u64::try_from(time).unwrap_or(0)))
            && self.minimum.is_none_or(grave)
    }

    /// The offset behind such a request: its number, as the stub's rows have one.
    pub(super) fn behind_told(number: u64) -> pb::LogOffset {
        pb::LogOffset { request_id: Some(number.to_string().into()) }
    }
}

/// `(service, version)`; old clients write `service:version`.
fn versions(asked: &pb::LogReadRequest) -> Vec<(String, String)> {
    let major = |version: &str| version.split('.').next().unwrap_or_default().to_owned();
    let old = asked.version_id.iter().map(|version| {
        let (service, version) = version.split_once(':').unwrap_or(("default", version));
        (service.to_owned(), major(version))
    });
    let new = asked.module_version.iter().map(|one| (one.module_id().to_owned(), major(one.version_id())));
    old.chain(new).collect()
}

/// Finds at most one more than is asked for, the newest first; before those of the journal stand those that a test `told` of.
pub(super) fn find(
    reader: Option<&Reader>,
    app: &AppId,
    query: &Query,
    under: Vec<Under>,
    mut told: Vec<pb::RequestLog>,
) -> io::Result<Vec<pb::RequestLog>> {
    if !query.ids.is_empty() {
        told.extend(named(reader, app, query)?);
        return Ok(told);
    }
    let mut all = told;
    let mut under: Vec<Under> = under.into_iter().filter(|one| query.wants(Some(&one.key)) && query.minimum.is_none()).collect();
    under.sort_by_key(|one| std::cmp::Reverse(one.visit.at));
    all.extend(under.iter().filter(|one| one.visit.at.is_some_and(|at| query.wants_time(at))).map(|one| incomplete(app, one)));
    let Some(reader) = reader else { return Ok(all) };
    let before = match query.before {
        Some(Place::Entry(id)) => Some(id),
        _ => None,
    };
    for (seen, found) in reader.newest_first(Filter { since: query.since.map(early), ..Filter::default() }, before).enumerate() {
        if all.len() > query.count || seen > MOST_ENTRIES {
            break;
        }
        let found = found?;
        let Entry::Request(request) = &found.entry else { continue };
        if !query.wants(request.version.as_ref()) || !query.wants_time(request.at + request.took) {
            continue;
        }
        let outputs = if query.lines || query.minimum.is_some() { outputs(reader, &found, request)? } else { Vec::new() };
        let gravest = request.lines.iter().map(|(severity, _)| *severity).chain(outputs.iter().map(|line| line.severity)).max();
        if query.minimum.is_none_or(|minimum| gravest.is_some_and(|gravest| gravest >= minimum)) {
            all.push(complete(app, behind(found.id), request, if query.lines { Some(&outputs) } else { None }));
        }
    }
    Ok(all)
}

/// Entries are found by when they began, requests by when they ended; none takes longer than a day.
fn early(since: SystemTime) -> SystemTime {
    since.checked_sub(Duration::from_hours(24)).unwrap_or(UNIX_EPOCH)
}

/// The requests that are named, in one pass; unknown ones are left out.
fn named(reader: Option<&Reader>, app: &AppId, query: &Query) -> io::Result<Vec<pb::RequestLog>> {
    let Some(reader) = reader else { return Ok(Vec::new()) };
    let mut found: HashMap<&str, pb::RequestLog> = HashMap::new();
    let filter =
        if let [one] = query.ids.as_slice() { Filter { request: Some(one.clone()), ..Filter::default() } } else { Filter::default() };
    for entry in reader.newest_first(filter, None) {
        let entry = entry?;
        let Entry::Request(request) = &entry.entry else { continue };
        let Some(id) = query.ids.iter().find(|id| **id == request.log_id) else { continue };
        if !query.wants_time(request.at + request.took) {
            continue;
        }
        let outputs = if query.lines { Some(outputs(reader, &entry, request)?) } else { None };
        found.insert(id, complete(app, behind(entry.id), request, outputs.as_deref()));
        if found.len() == query.ids.len() {
            break;
        }
    }
    Ok(query.ids.iter().filter_map(|id| found.remove(id.as_str())).collect())
}

/// What instances printed or flushed in the request's trace, the oldest first. It was written before the request ended.
fn outputs(reader: &Reader, found: &Found, request: &Request) -> io::Result<Vec<Output>> {
    let Some(trace) = request.trace.map(|trace| format!("{trace:032x}")) else { return Ok(Vec::new()) };
    let mut lines = Vec::new();
    let filter = Filter { request: Some(request.log_id.clone()), trace: Some(trace), since: Some(request.at), ..Filter::default() };
    for entry in reader.newest_first(filter, Some(found.id)).take(MOST_LINES) {
        let entry = entry?;
        if let Entry::Output(line) = entry.entry {
            lines.push(*line);
        }
    }
    lines.reverse();
    Ok(lines)
}

pub(super) fn micros(at: SystemTime) -> i64 {
    at.duration_since(UNIX_EPOCH).ok().and_then(|since| i64::try_from(since.as_micros()).ok()).unwrap_or(0)
}

fn span(took: Duration) -> i64 {
    i64::try_from(took.as_micros()).unwrap_or(i64::MAX)
}

/// The offset behind an entry.
fn behind(id: Id) -> pb::LogOffset {
    pb::LogOffset { request_id: Some(id.to_string().into_bytes().into()) }
}

fn complete(app: &AppId, offset: pb::LogOffset, request: &Request, outputs: Option<&[Output]>) -> pb::RequestLog {
    let end = request.at + request.took;
    let nickname = request.user.as_deref().map(|email| email.split('@').next().unwrap_or(email).to_owned());
    let instance = request.instance.as_ref().map(ToString::to_string);
    let lines = outputs.map(|outputs| lines(request, outputs)).unwrap_or_default();
    let mut log = pb::RequestLog {
        app_id: app.to_string(),
        module_id: request.version.as_ref().map(|key| key.service.to_string()),
        version_id: request.version.as_ref().map(|key| key.version.to_string()).unwrap_or_default(),
        request_id: request.log_id.clone().into_bytes().into(),
        offset: Some(offset),
        ip: request.client.to_string(),
        start_time: micros(request.at),
        end_time: micros(end),
        latency: span(request.took),
        // What the SDK's documents call a CPU second: 1200 megacycles.
        mcycles: request.cpu.map_or(0, |cpu| span(cpu) / 1000 * 1200 / 1000),
        method: request.method.clone(),
        resource: request.target.clone(),
        http_version: request.protocol.to_owned(),
        status: i32::from(request.status),
        response_size: i64::try_from(request.bytes).unwrap_or(i64::MAX),
        referrer: request.referrer.clone(),
        user_agent: request.agent.clone(),
        url_map_entry: request.handler.clone().unwrap_or_default(),
        nickname,
        host: Some(request.host.clone()),
        task_queue_name: request.task.as_ref().map(|task| task.queue.clone()),
        task_name: request.task.as_ref().map(|task| task.name.clone()),
        was_loading_request: Some(request.cold),
        pending_time: Some(span(request.pending)),
        replica_index: instance.as_deref().and_then(|id| id.parse().ok()),
        clone_key: instance.map(|id| id.into_bytes().into()),
        finished: Some(true),
        line: lines,
        app_engine_release: Some(env!("CARGO_PKG_VERSION").into()),
        trace_id: request.trace.map(|trace| format!("{trace:032x}")),
        ..pb::RequestLog::default()
    };
    log.combined = combined(&log);
    log
}

/// The lines that the request's own record has, and those of its trace. The record knows no times; its lines are from when it began.
fn lines(request: &Request, outputs: &[Output]) -> Vec<pb::LogLine> {
    let line = |at: SystemTime, severity: Severity, text: &str| pb::LogLine {
        time: micros(at),
        level: level(severity),
        log_message: text.to_owned(),
        source_location: None,
    };
    let own = request.lines.iter().map(|(severity, text)| line(request.at, *severity, text));
    let others =
        outputs.iter().map(|output| pb::LogLine { source_location: place(output), ..line(output.at, output.severity, &output.text) });
    own.chain(others).collect()
}

fn place(output: &Output) -> Option<pb::SourceLocation> {
    let fields: serde_json::Value = serde_json::from_str(output.fields.as_deref()?).ok()?;
    let place = fields.get("logging.googleapis.com/sourceLocation")?;
    let text = |name: &str| place.get(name).and_then(serde_json::Value::as_str).map(str::to_owned);
    Some(pb::SourceLocation {
        file: text("file"),
        line: place.get("line").and_then(serde_json::Value::as_i64),
        function_name: text("function"),
    })
}

fn incomplete(app: &AppId, under: &Under) -> pb::RequestLog {
    let Under { key, instance, visit } = under;
    let at = visit.at.unwrap_or(UNIX_EPOCH);
    let mut request = Request::new(at, &visit.log_id, visit.client.unwrap_or([0, 0, 0, 0].into()));
    visit.method.as_str().clone_into(&mut request.method);
    request.target = visit.target.path_and_query().map_or_else(String::new, ToString::to_string);
    request.host.clone_from(&visit.authority);
    request.user.clone_from(&visit.user);
    request.version = Some(key.clone());
    request.instance = Some(instance.clone());
    request.trace = Some(visit.trace);
    request.agent = visit.agent.as_ref().map(|agent| String::from_utf8_lossy(agent.as_bytes()).into_owned());
    let offset = pb::LogOffset { request_id: Some(COMPLETE.into()) };
    let mut log = complete(app, offset, &request, None);
    log.end_time = 0;
    log.latency = 0;
    log.finished = Some(false);
    log
}

/// `10.0.0.1 - ann [31/Jan/2026:12:00:00 +0000] "GET /a HTTP/1.1" 200 5 "http://…" "curl"`
pub(super) fn combined(log: &pb::RequestLog) -> String {
    let quoted = |text: Option<&str>| text.filter(|text| !text.is_empty()).map_or_else(|| "-".to_owned(), |text| format!("\"{text}\""));
    let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    format!(
        "{} - {} [{}] \"{} {} {}\" {} {} {} {}",
        or_dash(&log.ip),
        or_dash(log.nickname()),
        day(if log.end_time == 0 { log.start_time } else { log.end_time }),
        log.method,
        log.resource,
        log.http_version,
        log.status,
        log.response_size,
        quoted(log.referrer.as_deref()),
        quoted(log.user_agent.as_deref())
    )
}

/// A day of the Gregorian calendar (Howard Hinnant, `civil_from_days`), as Apache writes it.
fn day(at: i64) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seconds = u64::try_from(at).unwrap_or(0) / 1_000_000;
    let (days, rest) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let name = usize::try_from(month).ok().and_then(|month| MONTHS.get(month - 1)).copied().unwrap_or("Jan");
    format!("{day:02}/{name}/{year}:{:02}:{:02}:{:02} +0000", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests;
