//! An entry of the log as a `LogEntry` of Cloud Logging.

use std::time::Duration;

use model::journal::{Entry, Output, Request, Severity, Stream};
use serde_json::{Map, Value, json};
use store::log::Found;

/// The logs that an app has.
pub(super) const LOGS: [&str; 4] = ["appengine.googleapis.com/request_log", "appengine.googleapis.com/varlog/system", "stderr", "stdout"];

/// The whole name of a log.
pub(super) fn log_name(app: &str, log: &str) -> String {
    format!("projects/{app}/logs/{}", log.replace('/', "%2F"))
}

/// The entry as clients see it.
pub(super) fn show(app: &str, found: &Found) -> Value {
    let (log, payload) = match &found.entry {
        Entry::Request(request) => (LOGS[0], requested(app, request)),
        Entry::Output(line) => (stream(line.stream), printed(app, line)),
        Entry::Notice { text, .. } => (LOGS[1], noticed(text)),
    };
    let mut entry = payload;
    entry.insert("logName".into(), json!(log_name(app, log)));
    entry.insert("resource".into(), resource(app, &found.entry));
    entry.insert("timestamp".into(), json!(crate::slices::text(found.at)));
    entry.insert("insertId".into(), json!(found.id.to_string()));
    if found.entry.severity() != Severity::Default {
        entry.insert("severity".into(), json!(found.entry.severity().name()));
    }
    let labels = found.entry.instance().map(|id| json!({"appengine.googleapis.com/instance_name": id.to_string()}));
    entry.extend(labels.map(|labels| ("labels".to_owned(), labels)));
    Value::Object(entry)
}

fn stream(stream: Stream) -> &'static str {
    match stream {
        Stream::Stderr => LOGS[2],
        Stream::Stdout => LOGS[3],
    }
}

/// Every entry has a service and a version, empty ones if it concerns no version: gcloud reads both without looking.
fn resource(app: &str, entry: &Entry) -> Value {
    let key = entry.version();
    let service = key.map_or("", |key| key.service.as_str());
    let version = key.map_or("", |key| key.version.as_str());
    json!({"type": "gae_app", "labels": {"project_id": app, "module_id": service, "version_id": version}})
}

fn noticed(text: &str) -> Map<String, Value> {
    Map::from_iter([("textPayload".to_owned(), json!(text))])
}

fn printed(app: &str, line: &Output) -> Map<String, Value> {
    let mut entry = Map::new();
    // A structured line keeps its fields, and its message beside them.
    let fields = line.fields.as_deref().and_then(|fields| serde_json::from_str::<Map<String, Value>>(fields).ok());
    match fields {
        Some(mut fields) => {
            fields.entry("message").or_insert_with(|| json!(line.text));
            entry.insert("jsonPayload".into(), Value::Object(fields));
        }
        None => {
            entry.insert("textPayload".into(), json!(line.text));
        }
    }
    if let Some(trace) = &line.trace {
        entry.insert("trace".into(), json!(format!("projects/{app}/traces/{trace}")));
    }
    entry
}

fn requested(app: &str, request: &Request) -> Map<String, Value> {
    let end = request.at.checked_add(request.took).unwrap_or(request.at);
    let key = request.version.as_ref();
    let mut log = json!({
        "@type": "type.googleapis.com/google.appengine.logging.v1.RequestLog",
        "appId": app,
        "moduleId": key.map_or("", |key| key.service.as_str()),
        "versionId": key.map_or("", |key| key.version.as_str()),
        "requestId": request.log_id,
        "ip": request.client.to_string(),
        "startTime": crate::slices::text(request.at),
        "endTime": crate::slices::text(end),
        "latency": seconds(request.took),
        "method": request.method,
        "resource": request.target,
        "httpVersion": request.protocol,
        "status": request.status,
        "responseSize": request.bytes.to_string(),
        "host": request.host,
        "first": true,
        "finished": true,
    });
    let mut add = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            log[name] = value;
        }
    };
    add("pendingTime", (!request.pending.is_zero()).then(|| json!(seconds(request.pending))));
    add("wasLoadingRequest", request.cold.then_some(json!(true)));
    add("instanceId", request.instance.as_ref().map(|id| json!(id.to_string())));
    add("urlMapEntry", request.handler.as_ref().map(|handler| json!(handler)));
    add("nickname", request.user.as_ref().map(|user| json!(user)));
    add("userAgent", request.agent.as_ref().map(|agent| json!(agent)));
    add("referrer", request.referrer.as_ref().map(|referrer| json!(referrer)));
    add("traceId", request.trace.map(|trace| json!(format!("{trace:032x}"))));
    let lines = lines(request, &crate::slices::text(end));
    add("line", (!lines.is_empty()).then_some(Value::Array(lines)));
    let mut entry = Map::from_iter([("protoPayload".to_owned(), log)]);
    if let Some(trace) = request.trace {
        entry.insert("trace".into(), json!(format!("projects/{app}/traces/{trace:032x}")));
    }
    entry
}

/// What the app logged meanwhile, and what went wrong.
fn lines(request: &Request, end: &str) -> Vec<Value> {
    let line = |severity: Severity, text: &str| json!({"time": end, "severity": severity.name(), "logMessage": text});
    let logged = request.lines.iter().map(|(severity, text)| line(*severity, text));
    logged.chain(request.fault.iter().map(|fault| line(Severity::Error, fault))).collect()
}

fn seconds(duration: Duration) -> String {
    format!("{}.{:06}s", duration.as_secs(), duration.subsec_micros())
}
