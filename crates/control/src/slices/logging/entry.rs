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

/// The entry as clients see it; with `apart`, the lines of a request stand before it, each for itself.
pub(super) fn show(app: &str, found: &Found, apart: bool) -> Vec<Value> {
    let (log, payload) = match &found.entry {
        Entry::Request(request) => (LOGS[0], requested(app, request, apart)),
        Entry::Output(line) => (stream(line.stream), printed(app, line)),
        Entry::Notice { text, .. } => (LOGS[1], noticed(text)),
    };
    let own = about(app, found, log, found.entry.severity(), payload);
    let Entry::Request(request) = &found.entry else { return vec![own] };
    if !apart {
        return vec![own];
    }
    let lines = request.lines.iter().enumerate().map(|(number, (severity, text))| {
        // What was printed without a level went to stdout, as far as anybody can tell now.
        let log = if *severity == Severity::Default { LOGS[3] } else { LOGS[2] };
        let mut line = noticed(text);
        line.extend(trace(app, request));
        let mut line = about(app, found, log, *severity, line);
        line["insertId"] = json!(format!("{}-{number:04}", found.id));
        line
    });
    lines.chain([own]).collect()
}

/// What every entry says.
fn about(app: &str, found: &Found, log: &str, severity: Severity, payload: Map<String, Value>) -> Value {
    let mut entry = payload;
    entry.insert("logName".into(), json!(log_name(app, log)));
    entry.insert("resource".into(), resource(app, &found.entry));
    entry.insert("timestamp".into(), json!(crate::slices::text(found.at)));
    entry.insert("insertId".into(), json!(found.id.to_string()));
    if severity != Severity::Default {
        entry.insert("severity".into(), json!(severity.name()));
    }
    let labels = found.entry.instance().map(|id| json!({"appengine.googleapis.com/instance_name": id.to_string()}));
    entry.extend(labels.map(|labels| ("labels".to_owned(), labels)));
    Value::Object(entry)
}

fn trace(app: &str, request: &Request) -> Option<(String, Value)> {
    request.trace.map(|trace| ("trace".to_owned(), json!(format!("projects/{app}/traces/{trace:032x}"))))
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

fn requested(app: &str, request: &Request, apart: bool) -> Map<String, Value> {
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
    add("taskQueueName", request.task.as_ref().map(|task| json!(task.queue)));
    add("taskName", request.task.as_ref().map(|task| json!(task.name)));
    add("referrer", request.referrer.as_ref().map(|referrer| json!(referrer)));
    add("traceId", request.trace.map(|trace| json!(format!("{trace:032x}"))));
    let lines = lines(request, &crate::slices::text(end), apart);
    add("line", (!lines.is_empty()).then_some(Value::Array(lines)));
    let mut entry = Map::from_iter([("protoPayload".to_owned(), log)]);
    entry.extend(trace(app, request));
    entry
}

/// What the app logged meanwhile, and what went wrong.
fn lines(request: &Request, end: &str, apart: bool) -> Vec<Value> {
    let line = |severity: Severity, text: &str| json!({"time": end, "severity": severity.name(), "logMessage": text});
    let logged = request.lines.iter().filter(|_| !apart).map(|(severity, text)| line(*severity, text));
    logged.chain(request.fault.iter().map(|fault| line(Severity::Error, fault))).collect()
}

fn seconds(duration: Duration) -> String {
    format!("{}.{:06}s", duration.as_secs(), duration.subsec_micros())
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::UNIX_EPOCH;

    use super::*;

    fn found() -> Found {
        let at = UNIX_EPOCH + Duration::from_millis(1_500);
        let mut request = Request::new(at, "log-id", IpAddr::V4(Ipv4Addr::LOCALHOST));
        request.status = 200;
        request.took = Duration::from_micros(12);
        request.lines = vec![(Severity::Default, "printed".into()), (Severity::Warning, "careful".into())];
        request.trace = Some(7);
        let entry = Entry::Request(Box::new(request));
        Found { id: "0000000100000010".parse().expect("an id"), at, entry, json: String::new() }
    }

    #[test]
    fn t9_lines_of_a_request_stand_where_the_runtime_has_them() {
        let within = show("demo", &found(), false);
        assert_eq!(within.len(), 1);
        assert_eq!(within[0]["protoPayload"]["line"][1]["logMessage"], "careful");
        assert_eq!((&within[0]["severity"], &within[0]["protoPayload"]["latency"]), (&json!("WARNING"), &json!("0.000012s")));
        let apart = show("demo", &found(), true);
        let texts: Vec<_> = apart.iter().map(|entry| (entry["logName"].as_str(), entry["textPayload"].as_str())).collect();
        let name = |log| {
            Some(match log {
                0 => "projects/demo/logs/stdout",
                1 => "projects/demo/logs/stderr",
                _ => "projects/demo/logs/appengine.googleapis.com%2Frequest_log",
            })
        };
        assert_eq!(texts, [(name(0), Some("printed")), (name(1), Some("careful")), (name(2), None)]);
        assert_eq!(apart[2]["protoPayload"].get("line"), None);
        assert_eq!(apart[0]["trace"], apart[2]["trace"], "they are found by their trace");
        // Texts of one length, as gcloud compares them.
        assert!(apart.iter().all(|entry| entry["timestamp"] == "1970-01-01T00:00:01.500000Z"));
    }
}
