//! What is written down: one record a request, the app's own log lines, and what happened to instances.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::ids::{AppId, InstanceId, VersionKey};
use crate::sched::End;
use crate::table::Version;
use crate::trace::Place;

/// One entry of the log.
#[derive(Debug, Clone)]
pub enum Entry {
    /// A request is over.
    Request(Box<Request>),
    /// A line that belongs to no request: stdout and stderr of an instance.
    Output(Box<Output>),
    /// Something the house did or noticed: an instance started, died, was restarted; a reload.
    Notice {
        /// How grave.
        severity: Severity,
        /// Whom it concerns, if one version.
        version: Option<VersionKey>,
        /// One line.
        text: String,
    },
}

impl Entry {
    /// How grave it is. A request is as grave as the gravest of its lines, and at least as its status: 5xx is an error, 4xx a warning.
    pub fn severity(&self) -> Severity {
        match self {
            Self::Request(request) => request.severity(),
            Self::Output(line) => line.severity,
            Self::Notice { severity, .. } => *severity,
        }
    }

    /// The version that it concerns.
    pub fn version(&self) -> Option<&VersionKey> {
        match self {
            Self::Request(request) => request.version.as_ref(),
            Self::Output(line) => Some(&line.version),
            Self::Notice { version, .. } => version.as_ref(),
        }
    }

    /// The instance that it concerns.
    pub fn instance(&self) -> Option<&InstanceId> {
        match self {
            Self::Request(request) => request.instance.as_ref(),
            Self::Output(line) => Some(&line.instance),
            Self::Notice { .. } => None,
        }
    }
}

/// A line that an instance printed.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// When: what a structured line says of itself, otherwise when it was read.
    pub at: SystemTime,
    /// Which version.
    pub version: VersionKey,
    /// Which instance.
    pub instance: InstanceId,
    /// Where it was printed.
    pub stream: Stream,
    /// How grave.
    pub severity: Severity,
    /// The line without its end, or the message of a structured line.
    pub text: String,
    /// The trace that a structured line names, without `projects/…/traces/`: the key to its request.
    pub trace: Option<String>,
    /// What else a structured line says, as one JSON object.
    pub fields: Option<String>,
}

/// Where an instance printed a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the variants say it")]
pub enum Stream {
    Stdout,
    Stderr,
}

/// The record of one request, whatever happened to it.
#[derive(Debug, Clone)]
pub struct Request {
    /// When it arrived.
    pub at: SystemTime,
    /// The request log id (row H10).
    pub log_id: String,
    /// The client.
    pub client: IpAddr,
    /// Method, as sent.
    pub method: String,
    /// Host header, as sent.
    pub host: String,
    /// Path and query, as sent.
    pub target: String,
    /// `HTTP/1.1`, `HTTP/2.0`.
    pub protocol: &'static str,
    /// Status of the answer; 0 if the client left before one began.
    pub status: u16,
    /// Bytes of body sent.
    pub bytes: u64,
    /// From the request's head to the last byte of the answer.
    pub took: Duration,
    /// Time in the pending queue.
    pub pending: Duration,
    /// The app, once known.
    pub app: Option<AppId>,
    /// The version, once known.
    pub version: Option<VersionKey>,
    /// The instance, if one was asked.
    pub instance: Option<InstanceId>,
    /// The instance was started for this request.
    pub cold: bool,
    /// `file:line` of the handler that matched, with its pattern.
    pub handler: Option<String>,
    /// The signed-in user.
    pub user: Option<String>,
    /// CPU time of the app, if the runtime tells.
    pub cpu: Option<Duration>,
    /// What went wrong, in one line or a traceback.
    pub fault: Option<String>,
    /// Lines that the app logged during the request.
    pub lines: Vec<(Severity, String)>,
    /// The trace that the app was told (row H7).
    pub trace: Option<u128>,
    /// `User-Agent`, as sent.
    pub agent: Option<String>,
    /// `Referer`, as sent.
    pub referrer: Option<String>,
    /// The task that it is, if it is one.
    pub task: Option<TaskNames>,
    /// Where it stands in its trace and when what happened, if the trace is wanted.
    pub span: Option<Box<Span>>,
}

/// Which task a request is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskNames {
    /// Its queue.
    pub queue: String,
    /// Its own name.
    pub name: String,
}

impl Request {
    /// The record of a request that has just arrived and of which nothing is known.
    pub fn new(at: SystemTime, log_id: &str, client: IpAddr) -> Self {
        Self {
            at,
            log_id: log_id.to_owned(),
            client,
            method: String::new(),
            host: String::new(),
            target: String::new(),
            protocol: "HTTP/1.1",
            status: 0,
            bytes: 0,
            took: Duration::ZERO,
            pending: Duration::ZERO,
            app: None,
            version: None,
            instance: None,
            cold: false,
            handler: None,
            user: None,
            cpu: None,
            fault: None,
            lines: Vec::new(),
            trace: None,
            agent: None,
            referrer: None,
            task: None,
            span: None,
        }
    }
}

impl Request {
    /// As grave as the gravest of its lines, and at least as its status.
    pub fn severity(&self) -> Severity {
        let own = match self.status {
            500.. => Severity::Error,
            400..500 => Severity::Warning,
            _ if self.fault.is_some() => Severity::Error,
            _ => Severity::Info,
        };
        self.lines.iter().map(|(severity, _)| *severity).fold(own, Severity::max)
    }
}

/// What a trace shows of a request beyond its record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The place in the trace.
    pub place: Place,
    /// It came over TLS.
    pub https: bool,
    /// When an instance was asked for, counted from the request's beginning.
    pub wanted: Option<Duration>,
    /// When the instance was sent the request.
    pub asked: Option<Duration>,
    /// When the head of its answer was there.
    pub answered: Option<Duration>,
}

/// A request's end, for whoever only counts. Borrowed, so that counting costs no memory.
#[derive(Debug, Clone, Copy)]
pub struct Tally<'a> {
    /// The version, once known.
    pub version: Option<&'a Arc<Version>>,
    /// The index of the handler that matched.
    pub handler: Option<usize>,
    /// Status of the answer; 0 if the client left before one began.
    pub status: u16,
    /// Bytes of body sent.
    pub bytes: u64,
    /// From the request's head to the last byte of the answer.
    pub took: Duration,
    /// Time in the pending queue, if an instance was asked.
    pub pending: Option<Duration>,
    /// The instance was started for this request.
    pub cold: bool,
}

/// A turn in the life of an instance, for whoever only counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It is being started.
    Started,
    /// It takes requests.
    Ready {
        /// Since it was started.
        after: Duration,
    },
    /// It is told to end.
    Stopped(End),
    /// It ended by itself.
    Died,
}

/// How grave a line is: the levels of Cloud Logging, which include the five of the SDK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs, reason = "the variants say it")]
pub enum Severity {
    Default,
    Debug,
    Info,
    Notice,
    Warning,
    Error,
    Critical,
    Alert,
    Emergency,
}

impl Severity {
    /// All, the least grave first.
    pub const ALL: [Self; 9] =
        [Self::Default, Self::Debug, Self::Info, Self::Notice, Self::Warning, Self::Error, Self::Critical, Self::Alert, Self::Emergency];

    /// The name in capitals.
    pub fn name(self) -> &'static str {
        match self {
            Self::Default => "DEFAULT",
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Notice => "NOTICE",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
            Self::Critical => "CRITICAL",
            Self::Alert => "ALERT",
            Self::Emergency => "EMERGENCY",
        }
    }

    /// Reads a name in any case. Cloud Logging also takes what other libraries write: `WARN`, `TRACE`, `FATAL`, `ERR`, `CRIT`, `EMERG`.
    pub fn parse(text: &str) -> Option<Self> {
        let same = |name: &str| text.eq_ignore_ascii_case(name);
        if let Some(found) = Self::ALL.into_iter().find(|level| same(level.name())) {
            return Some(found);
        }
        let others = [
            ("WARN", Self::Warning),
            ("TRACE", Self::Debug),
            ("FATAL", Self::Critical),
            ("ERR", Self::Error),
            ("CRIT", Self::Critical),
            ("EMERG", Self::Emergency),
        ];
        others.into_iter().find(|(name, _)| same(name)).map(|(_, level)| level)
    }
}

/// Takes entries. Must not block the caller.
pub trait Journal: Send + Sync {
    /// Writes one down.
    fn write(&self, entry: Entry);

    /// Whether request records are wanted at all, so that the front end can skip building them.
    fn wants_requests(&self) -> bool {
        true
    }

    /// Counts a request that is over; called for each, whether its record is wanted or not.
    fn tally(&self, _tally: &Tally<'_>) {}

    /// Counts a turn in the life of one of the version's instances.
    fn turn(&self, _version: &VersionKey, _turn: Turn) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severities_are_read_in_any_case_and_ordered() {
        assert_eq!(Severity::parse("warning"), Some(Severity::Warning));
        assert_eq!(Severity::parse("Warn"), Some(Severity::Warning));
        assert_eq!(Severity::parse("loud"), None);
        assert!(Severity::ALL.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(Severity::ALL.iter().all(|level| Severity::parse(level.name()) == Some(*level)));
    }
}
