//! Asking an instance: over HTTP/1.1 or through the Python agent's frames. What an answer means is decided elsewhere.

pub(crate) mod agent;
pub(crate) mod frames;
pub(crate) mod http;
mod line;
pub(crate) mod response;

use std::cell::{Cell, RefCell};
use std::time::Duration;

use ::http::{HeaderMap, StatusCode};
use bytes::{Bytes, BytesMut};
use model::journal::Severity;
use model::retry::Reach;
use tokio::net::{TcpStream, UnixStream};

use crate::body::Kind;
use crate::fault::Fault;
use crate::sweep::millis;
use crate::upload::Upload;

/// What an instance said.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Kind,
}

/// Why there is no reply, and what another instance could be asked with.
pub(crate) struct Failed {
    pub(crate) fault: Fault,
    /// How far the request came and its body, if it may be asked again.
    pub(crate) again: Option<(Reach, Upload)>,
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        Self { fault, again: None }
    }
}

impl Failed {
    /// An instance broke down.
    fn after(fault: Fault, reach: Reach, upload: Upload) -> Self {
        Self { fault, again: upload.rewind().map(|upload| (reach, upload)) }
    }
}

/// What the app said besides its response. Shared with the body's stream, which may outlive the walk.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) lines: RefCell<Vec<(Severity, String)>>,
    bytes: Cell<usize>,
    pub(crate) cpu: Cell<Option<Duration>>,
    pub(crate) fault: RefCell<Option<String>>,
}

/// Bytes of log that one request may keep in memory; what follows is dropped, with a line that says so.
const LOG_BYTES: usize = 1024 * 1024;

impl Notes {
    pub(crate) fn line(&self, severity: Severity, text: &[u8]) {
        let before = self.bytes.get();
        if before > LOG_BYTES {
            return;
        }
        self.bytes.set(before + text.len() + 32);
        let mut lines = self.lines.borrow_mut();
        if self.bytes.get() > LOG_BYTES {
            lines.push((Severity::Warning, "further lines of this request are not kept: it logged more than 1 MiB".to_owned()));
        } else {
            lines.push((severity, String::from_utf8_lossy(text).into_owned()));
        }
    }
}

/// Idle connections of one core, by instance.
#[derive(Default)]
pub(crate) struct Idle {
    pub(crate) agents: line::Lines<UnixStream>,
    pub(crate) http: line::Lines<TcpStream>,
    pruned: Cell<u64>,
}

/// How often idle connections are looked through, and how long one may stay unused.
const PRUNE: Duration = Duration::from_secs(2);
const UNUSED: Duration = Duration::from_mins(1);

impl Idle {
    /// Closes connections whose instance is gone or that nobody used for long.
    pub(crate) fn prune(&self, now: u64) {
        if now.saturating_sub(self.pruned.get()) < millis(PRUNE) {
            return;
        }
        self.pruned.set(now);
        let oldest = now.saturating_sub(millis(UNUSED));
        self.agents.prune(oldest);
        self.http.prune(oldest);
    }
}

/// Pieces of a body that are joined at the end; a single one is not copied.
#[derive(Default)]
struct Pieces {
    first: Bytes,
    more: BytesMut,
}

impl Pieces {
    fn push(&mut self, piece: Bytes) {
        if self.first.is_empty() {
            self.first = piece;
        } else {
            if self.more.is_empty() {
                self.more.extend_from_slice(&self.first);
            }
            self.more.extend_from_slice(&piece);
        }
    }

    fn join(self) -> Bytes {
        if self.more.is_empty() { self.first } else { self.more.freeze() }
    }
}
