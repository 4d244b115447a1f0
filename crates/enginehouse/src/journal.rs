//! The live log: turns journal entries into lines on stdout, for people or as JSON, on a thread of its own so that no request waits for a terminal.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anstyle::Style;
use model::ids::{InstanceId, ServiceId, VersionId, VersionKey};
use model::journal::{Entry, Journal, Request, Severity};
use serde::Serialize;

use crate::cli::LogFormat;
use crate::ui::{BOLD, DIM, GREEN, RED, Ui, YELLOW};

/// Entries that may wait for a slow terminal; more are dropped and counted.
const BACKLOG: usize = 8_192;
/// Characters of one logged line or traceback that are shown; the rest is cut with a mark.
const LONGEST: usize = 16_384;

/// Which requests are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Requests {
    /// All.
    All,
    /// Those during which the app wrote something or failed.
    Eventful,
    /// None; the front end need not even keep records.
    None,
}

enum Note {
    Entry(Entry),
    Close,
}

/// Writes the log. Shared by the front end and the fleet.
pub(crate) struct Printer {
    queue: SyncSender<Note>,
    dropped: Arc<AtomicU64>,
    requests: bool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Printer {
    /// Starts the writing thread.
    pub(crate) fn start(ui: Ui, format: LogFormat, requests: Requests) -> std::io::Result<Arc<Self>> {
        let (queue, inbox) = sync_channel(BACKLOG);
        let dropped = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&dropped);
        let thread = std::thread::Builder::new().name("journal".into()).spawn(move || write_all(&inbox, &ui, format, requests, &count))?;
        Ok(Arc::new(Self { queue, dropped, requests: requests != Requests::None, thread: Mutex::new(Some(thread)) }))
    }

    /// Writes what is queued and ends the thread.
    pub(crate) fn close(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = self.queue.send(Note::Close);
            let _ = thread.join();
        }
    }

    /// A notice of the house itself.
    pub(crate) fn notice(&self, severity: Severity, text: impl Into<String>) {
        self.write(Entry::Notice { severity, version: None, text: text.into() });
    }
}

impl Journal for Printer {
    fn write(&self, entry: Entry) {
        if let Err(TrySendError::Full(_)) = self.queue.try_send(Note::Entry(entry)) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn wants_requests(&self) -> bool {
        self.requests
    }
}

/// Takes whatever is queued at once, so that a burst costs one write.
fn write_all(inbox: &Receiver<Note>, ui: &Ui, format: LogFormat, requests: Requests, dropped: &AtomicU64) {
    let mut text = String::new();
    while let Ok(first) = inbox.recv() {
        let mut open = take(first, &mut text, format, requests);
        while open && text.len() < 65_536 {
            let Ok(next) = inbox.try_recv() else { break };
            open = take(next, &mut text, format, requests);
        }
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let notice = format!("{lost} log entries were dropped: the output is slower than the app");
            line(&Entry::Notice { severity: Severity::Warning, version: None, text: notice }, &mut text, format);
        }
        ui.data(&text);
        text.clear();
        if !open {
            return;
        }
    }
}

fn take(note: Note, text: &mut String, format: LogFormat, requests: Requests) -> bool {
    match note {
        Note::Entry(Entry::Request(request)) if requests != Requests::All && request.lines.is_empty() && request.fault.is_none() => true,
        Note::Entry(entry) => {
            line(&entry, text, format);
            true
        }
        Note::Close => false,
    }
}

fn line(entry: &Entry, text: &mut String, format: LogFormat) {
    match format {
        LogFormat::Text => plain(entry, text),
        LogFormat::Json => {
            // Strings and numbers always serialise.
            text.push_str(&serde_json::to_string(&object(entry)).unwrap_or_default());
            text.push('\n');
        }
    }
}

/// Lines for people.
fn plain(entry: &Entry, text: &mut String) {
    match entry {
        Entry::Request(request) => plain_request(request, text),
        Entry::Output { version, instance, severity, text: said } => {
            let style = severity_style(*severity);
            for part in cut(said).lines() {
                let _ = writeln!(text, "{DIM}{}{DIM:#} {style}{}{style:#}", whose(version, Some(instance)), printable(part));
            }
        }
        Entry::Notice { severity, version, text: said } => {
            let style = severity_style(*severity);
            let whom = version.as_ref().map(|key| format!("{key}: ")).unwrap_or_default();
            let mark = if *severity >= Severity::Warning { "!" } else { "·" };
            for (n, part) in cut(said).lines().enumerate() {
                let head = if n == 0 { format!("{mark} {whom}") } else { "    ".to_owned() };
                let _ = writeln!(text, "{style}{head}{}{style:#}", printable(part));
            }
        }
    }
}

fn plain_request(request: &Request, text: &mut String) {
    let style = status_style(request.status);
    let status = if request.status == 0 { "---".to_owned() } else { request.status.to_string() };
    let _ = write!(text, "{style}{status}{style:#} {BOLD}{}{BOLD:#} {}", printable(&request.method), printable(&request.target));
    let _ = write!(text, " {DIM}{}{DIM:#}", span(request.took));
    if let Some(version) = &request.version {
        let _ = write!(text, " {}", whose(version, request.instance.as_ref()));
    }
    if request.cold {
        text.push_str(" ❄");
    }
    if let Some(handler) = &request.handler {
        let _ = write!(text, " {DIM}{}{DIM:#}", printable(handler));
    }
    if let Some(user) = &request.user {
        let _ = write!(text, " {DIM}{}{DIM:#}", printable(user));
    }
    text.push('\n');
    for (severity, said) in &request.lines {
        below(text, *severity, said);
    }
    if let Some(fault) = &request.fault {
        below(text, Severity::Error, fault);
    }
}

/// One logged message under its request; further lines of it are indented alike.
fn below(text: &mut String, severity: Severity, said: &str) {
    let style = severity_style(severity);
    let name = severity_name(severity);
    for (n, part) in cut(said).lines().enumerate() {
        let head = if n == 0 { name } else { "" };
        let _ = writeln!(text, "    {style}{head:<8} {}{style:#}", printable(part));
    }
}

fn whose(version: &VersionKey, instance: Option<&InstanceId>) -> String {
    match instance {
        Some(instance) => format!("{version}/{}", short(instance)),
        None => version.to_string(),
    }
}

/// The first digits of an opaque id are enough for the eye.
fn short(instance: &InstanceId) -> String {
    instance.to_string().chars().take(8).collect()
}

/// `870 µs`, `12 ms`, `3.4 s`.
fn span(took: Duration) -> String {
    let micros = took.as_micros();
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => format!("{} ms", micros / 1_000),
        _ => format!("{:.1} s", took.as_secs_f64()),
    }
}

fn status_style(status: u16) -> Style {
    match status {
        200..=299 => GREEN,
        300..=399 => Style::new(),
        400..=499 => YELLOW,
        _ => RED,
    }
}

fn severity_style(severity: Severity) -> Style {
    match severity {
        Severity::Debug => DIM,
        Severity::Info => Style::new(),
        Severity::Warning => YELLOW,
        Severity::Error | Severity::Critical => RED,
    }
}

fn severity_name(severity: Severity) -> &'static str {
    match severity {
        Severity::Debug => "DEBUG",
        Severity::Info => "INFO",
        Severity::Warning => "WARNING",
        Severity::Error => "ERROR",
        Severity::Critical => "CRITICAL",
    }
}

/// Takes control characters out, so that neither a client nor an app can play with the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

fn cut(text: &str) -> &str {
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => &text[..at],
        None => text,
    }
}

/// What one line of the JSON log says. The order of the fields is the order in which people read them.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Object<'a> {
    Request(Box<RequestObject<'a>>),
    Output { time: f64, severity: Severity, service: &'a ServiceId, version: &'a VersionId, instance: String, message: &'a str },
    Notice { time: f64, severity: Severity, service: Option<&'a ServiceId>, version: Option<&'a VersionId>, message: &'a str },
}

#[derive(Serialize)]
struct RequestObject<'a> {
    time: f64,
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
    fault: Option<&'a str>,
    lines: Vec<LineObject<'a>>,
}

#[derive(Serialize)]
struct LineObject<'a> {
    severity: Severity,
    message: &'a str,
}

/// The same as one object.
fn object(entry: &Entry) -> Object<'_> {
    match entry {
        Entry::Request(request) => Object::Request(Box::new(request_object(request))),
        Entry::Output { version, instance, severity, text } => Object::Output {
            time: stamp(SystemTime::now()),
            severity: *severity,
            service: &version.service,
            version: &version.version,
            instance: instance.to_string(),
            message: cut(text),
        },
        Entry::Notice { severity, version, text } => Object::Notice {
            time: stamp(SystemTime::now()),
            severity: *severity,
            service: version.as_ref().map(|key| &key.service),
            version: version.as_ref().map(|key| &key.version),
            message: cut(text),
        },
    }
}

fn request_object(request: &Request) -> RequestObject<'_> {
    RequestObject {
        time: stamp(request.at),
        log_id: &request.log_id,
        client: request.client,
        method: &request.method,
        host: &request.host,
        target: &request.target,
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
        fault: request.fault.as_deref().map(cut),
        lines: request.lines.iter().map(|(severity, text)| LineObject { severity: *severity, message: cut(text) }).collect(),
    }
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

/// Seconds since 1970 with microseconds: exact, sortable, and free of time zones.
fn stamp(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH).map_or(0.0, |since| (since.as_secs_f64() * 1e6).round() / 1e6)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn request() -> Request {
        Request {
            at: UNIX_EPOCH + Duration::from_millis(1_500),
            log_id: "abc".into(),
            client: Ipv4Addr::LOCALHOST.into(),
            method: "GET".into(),
            host: "localhost".into(),
            target: "/a\u{1b}[2J?x=1".into(),
            protocol: "HTTP/1.1",
            status: 200,
            bytes: 5,
            took: Duration::from_micros(12_345),
            pending: Duration::ZERO,
            version: Some(VersionKey::new("default".parse().expect("valid"), "v1".parse().expect("valid")).expect("short")),
            instance: Some(InstanceId::Opaque("e4b565394caa".into())),
            cold: true,
            handler: Some("app.yaml:7 /.*".into()),
            user: None,
            cpu: None,
            fault: Some("Traceback:\n  boom".into()),
            lines: vec![(Severity::Warning, "careful".into())],
        }
    }

    #[test]
    fn a_request_is_one_line_with_the_apps_lines_below() {
        let mut text = String::new();
        plain(&Entry::Request(Box::new(request())), &mut text);
        let bare = anstream::adapter::strip_str(&text).to_string();
        assert_eq!(
            bare,
            "200 GET /a\u{fffd}[2J?x=1 12 ms default/v1/e4b56539 ❄ app.yaml:7 /.*\n    WARNING  careful\n    ERROR    Traceback:\n               boom\n"
        );
    }

    #[test]
    fn a_request_is_one_json_object_a_line() {
        let mut text = String::new();
        line(&Entry::Request(Box::new(request())), &mut text, LogFormat::Json);
        assert_eq!(text.lines().count(), 1);
        let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(value["time"], 1.5);
        assert_eq!(value["status"], 200);
        assert_eq!(value["cold"], true);
        assert_eq!(value["lines"][0]["severity"], "WARNING");
        assert_eq!(value["service"], "default");
    }

    #[test]
    fn spans_read_well() {
        for (micros, text) in [(870, "870 µs"), (12_345, "12 ms"), (3_400_000, "3.4 s")] {
            assert_eq!(span(Duration::from_micros(micros)), text);
        }
    }
}
