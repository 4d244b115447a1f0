//! What is written down: one record a request, the app's own log lines, and what happened to instances.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::ids::{InstanceId, VersionKey};

/// One entry of the log.
#[derive(Debug, Clone)]
pub enum Entry {
    /// A request is over.
    Request(Box<Request>),
    /// A line that belongs to no request: stdout and stderr of an instance.
    Output {
        /// Which version.
        version: VersionKey,
        /// Which instance.
        instance: InstanceId,
        /// How grave.
        severity: Severity,
        /// The line, without its end.
        text: String,
    },
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
}

/// How grave a line is; the numbers are those of the SDK's log levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs, reason = "the variants say it")]
pub enum Severity {
    Debug = 0,
    Info = 1,
    Warning = 2,
    Error = 3,
    Critical = 4,
}

/// Takes entries. Must not block the caller.
pub trait Journal: Send + Sync {
    /// Writes one down.
    fn write(&self, entry: Entry);

    /// Whether request records are wanted at all, so that the front end can skip building them.
    fn wants_requests(&self) -> bool {
        true
    }
}
