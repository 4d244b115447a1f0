//! One entry as a line of JSON, and back. The order of the fields is the order in which people read them; names and units are documented in
//! docs/guide/logs.md.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use model::ids::{InstanceId, ServiceId, VersionId, VersionKey};
use model::journal::{Entry, Output, Request, Severity, Stream, TaskNames};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Characters of one message that are kept; the rest is cut.
const LONGEST: usize = 65_536;
/// Bytes of the messages of one request that are kept.
const ALL_LINES: usize = 1024 * 1024;
/// Bytes of a target or another header that are kept.
const LONGEST_FIELD: usize = 16_384;

/// What a line says.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Object<'a> {
    Request(Box<RequestObject<'a>>),
    Output(Box<OutputObject<'a>>),
    Notice { time: f64, severity: Severity, service: Option<&'a ServiceId>, version: Option<&'a VersionId>, message: &'a str },
}

#[derive(Serialize)]
struct OutputObject<'a> {
    time: f64,
    severity: Severity,
    service: &'a ServiceId,
    version: &'a VersionId,
    instance: String,
    stream: Stream,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct RequestObject<'a> {
    time: f64,
    severity: Severity,
    log_id: &'a str,
    client: IpAddr,
    method: &'a str,
    host: &'a str,
    target: &'a str,
    protocol: &'a str,
    status: u16,
    bytes: u64,
    took_us: u64,
    pending_us: u64,
    cpu_us: Option<u64>,
    service: Option<&'a ServiceId>,
    version: Option<&'a VersionId>,
    instance: Option<String>,
    cold: bool,
    handler: Option<&'a str>,
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    referrer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task_queue: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<String>,
    fault: Option<&'a str>,
    lines: Vec<LineObject<'a>>,
}

#[derive(Serialize)]
struct LineObject<'a> {
    severity: Severity,
    message: &'a str,
}

/// Appends an entry of this time, with its line end.
pub fn write(at: SystemTime, entry: &Entry, out: &mut Vec<u8>) {
    // Strings, numbers and checked JSON always serialise, and a vector takes everything.
    let _ = serde_json::to_writer(&mut *out, &object(at, entry));
    out.push(b'\n');
}

fn object(at: SystemTime, entry: &Entry) -> Object<'_> {
    match entry {
        Entry::Request(request) => Object::Request(Box::new(request_object(request))),
        Entry::Output(line) => Object::Output(Box::new(OutputObject {
            time: stamp(line.at),
            severity: line.severity,
            service: &line.version.service,
            version: &line.version.version,
            instance: line.instance.to_string(),
            stream: line.stream,
            message: cut(&line.text, LONGEST),
            trace: line.trace.as_deref(),
            fields: line.fields.as_deref().and_then(|fields| serde_json::from_str(fields).ok()),
        })),
        Entry::Notice { severity, version, text } => Object::Notice {
            time: stamp(at),
            severity: *severity,
            service: version.as_ref().map(|key| &key.service),
            version: version.as_ref().map(|key| &key.version),
            message: cut(text, LONGEST),
        },
    }
}

fn request_object(request: &Request) -> RequestObject<'_> {
    RequestObject {
        time: stamp(request.at),
        severity: request.severity(),
        log_id: &request.log_id,
        client: request.client,
        method: cut(&request.method, LONGEST_FIELD),
        host: cut(&request.host, LONGEST_FIELD),
        target: cut(&request.target, LONGEST_FIELD),
        protocol: request.protocol,
        status: request.status,
        bytes: request.bytes,
        took_us: micros(request.took),
        pending_us: micros(request.pending),
        cpu_us: request.cpu.map(micros),
        service: request.version.as_ref().map(|key| &key.service),
        version: request.version.as_ref().map(|key| &key.version),
        instance: request.instance.as_ref().map(ToString::to_string),
        cold: request.cold,
        handler: request.handler.as_deref(),
        user: request.user.as_deref(),
        agent: request.agent.as_deref().map(|text| cut(text, LONGEST_FIELD)),
        referrer: request.referrer.as_deref().map(|text| cut(text, LONGEST_FIELD)),
        task_queue: request.task.as_ref().map(|task| task.queue.as_str()),
        task_name: request.task.as_ref().map(|task| task.name.as_str()),
        trace: request.trace.map(|trace| format!("{trace:032x}")),
        fault: request.fault.as_deref().map(|text| cut(text, LONGEST)),
        lines: lines(request),
    }
}

/// The lines of a request, as many as one entry may hold.
fn lines(request: &Request) -> Vec<LineObject<'_>> {
    let mut left = ALL_LINES;
    let mut kept = Vec::with_capacity(request.lines.len());
    for (severity, text) in &request.lines {
        let message = cut(text, LONGEST);
        let Some(rest) = left.checked_sub(message.len()) else {
            kept.push(LineObject { severity: Severity::Warning, message: "further lines of this request are not kept" });
            break;
        };
        left = rest;
        kept.push(LineObject { severity: *severity, message });
    }
    kept
}

fn cut(text: &str, most: usize) -> &str {
    if text.len() <= most { text } else { &text[..text.floor_char_boundary(most)] }
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

/// Seconds since 1970 with microseconds: exact, sortable, and free of time zones.
fn stamp(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH).map_or(0.0, |since| (since.as_secs_f64() * 1e6).round() / 1e6)
}

/// The same, read back.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Kept {
    Request(Box<KeptRequest>),
    Output(Box<KeptOutput>),
    Notice(KeptNotice),
}

#[derive(Deserialize)]
struct KeptNotice {
    time: f64,
    severity: Severity,
    service: Option<ServiceId>,
    version: Option<VersionId>,
    message: String,
}

#[derive(Deserialize)]
struct KeptOutput {
    time: f64,
    severity: Severity,
    service: ServiceId,
    version: VersionId,
    instance: String,
    stream: Stream,
    message: String,
    trace: Option<String>,
    fields: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct KeptRequest {
    time: f64,
    log_id: String,
    client: IpAddr,
    method: String,
    host: String,
    target: String,
    protocol: String,
    status: u16,
    bytes: u64,
    took_us: u64,
    pending_us: u64,
    cpu_us: Option<u64>,
    service: Option<ServiceId>,
    version: Option<VersionId>,
    instance: Option<String>,
    cold: bool,
    handler: Option<String>,
    user: Option<String>,
    agent: Option<String>,
    referrer: Option<String>,
    task_queue: Option<String>,
    task_name: Option<String>,
    trace: Option<String>,
    fault: Option<String>,
    lines: Vec<KeptLine>,
}

#[derive(Deserialize)]
struct KeptLine {
    severity: Severity,
    message: String,
}

/// Reads a line; `None` if it is torn or foreign.
pub(super) fn read(text: &str) -> Option<(SystemTime, Entry)> {
    Some(match serde_json::from_str(text).ok()? {
        Kept::Request(kept) => (time(kept.time)?, Entry::Request(Box::new(request(*kept)?))),
        Kept::Output(kept) => (time(kept.time)?, Entry::Output(Box::new(output(*kept)?))),
        Kept::Notice(kept) => {
            let version = kept.service.zip(kept.version).and_then(|(service, version)| VersionKey::new(service, version).ok());
            (time(kept.time)?, Entry::Notice { severity: kept.severity, version, text: kept.message })
        }
    })
}

fn output(kept: KeptOutput) -> Option<Output> {
    Some(Output {
        at: time(kept.time)?,
        version: VersionKey::new(kept.service, kept.version).ok()?,
        instance: instance(kept.instance),
        stream: kept.stream,
        severity: kept.severity,
        text: kept.message,
        trace: kept.trace,
        fields: kept.fields.map(|fields| fields.to_string()),
    })
}

fn request(kept: KeptRequest) -> Option<Request> {
    let mut request = Request::new(time(kept.time)?, &kept.log_id, kept.client);
    request.method = kept.method;
    request.host = kept.host;
    request.target = kept.target;
    request.protocol = match kept.protocol.as_str() {
        "HTTP/1.0" => "HTTP/1.0",
        "HTTP/2.0" => "HTTP/2.0",
        _ => "HTTP/1.1",
    };
    request.status = kept.status;
    request.bytes = kept.bytes;
    request.took = Duration::from_micros(kept.took_us);
    request.pending = Duration::from_micros(kept.pending_us);
    request.cpu = kept.cpu_us.map(Duration::from_micros);
    request.version = kept.service.zip(kept.version).and_then(|(service, version)| VersionKey::new(service, version).ok());
    request.instance = kept.instance.map(instance);
    request.cold = kept.cold;
    request.handler = kept.handler;
    request.user = kept.user;
    request.agent = kept.agent;
    request.referrer = kept.referrer;
    request.task = kept.task_queue.zip(kept.task_name).map(|(queue, name)| TaskNames { queue, name });
    request.trace = kept.trace.and_then(|trace| u128::from_str_radix(&trace, 16).ok());
    request.fault = kept.fault;
    request.lines = kept.lines.into_iter().map(|line| (line.severity, line.message)).collect();
    Some(request)
}

/// A number is read as an opaque id too: both are shown alike.
fn instance(id: String) -> InstanceId {
    InstanceId::Opaque(id.into())
}

/// Not before 1970 and not beyond what a clock can show.
fn time(seconds: f64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(seconds).ok()?)
}
