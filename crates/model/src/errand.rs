//! Requests of the house's own that go the way of any request: tasks, cron jobs, incoming mail, fetches of one's own services. The front end walks
//! them; whoever has one asks through [`Errands`].

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

use crate::gate::Caller;
use crate::ids::AppId;
use crate::pool::Boxed;

/// One request.
#[derive(Debug, Clone)]
pub struct Errand {
    /// The app that may be asked; a host of another one is answered with 404.
    pub app: AppId,
    /// The host that is asked, with port, routed like any other: [`crate::route::host::of_version`] and its neighbours write one.
    pub authority: String,
    /// On whose behalf: opens `login: admin` to the house itself (row Y18).
    pub caller: Caller,
    /// The address that the app sees (reference: 0.1.0.2 for tasks, 0.1.0.1 for cron).
    pub source: IpAddr,
    /// It counts as encrypted.
    pub https: bool,
    /// The method.
    pub method: Method,
    /// Path and query, as sent.
    pub target: String,
    /// Headers; those that no client may send are removed.
    pub headers: HeaderMap,
    /// Headers that only the house may send.
    pub trusted: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// Time for the app; `None` = as its scaling and the caller have it.
    pub deadline: Option<Duration>,
    /// Bytes of the answer's body that are kept; the rest is not read.
    pub most: usize,
}

/// What came of it. Faults of the house are answers too, as clients see them: 503 without capacity, 404 without a handler.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// As a client would see them.
    pub headers: HeaderMap,
    /// As much as was asked for.
    pub body: Bytes,
    /// There is more than that.
    pub cut: bool,
    /// An instance was asked; otherwise the house answered by itself.
    pub reached: bool,
}

/// There is no answer, or only a part of one; the text says why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unanswered(pub String);

/// Runs errands. Dropping the future gives the errand up.
pub trait Errands: Send + Sync {
    /// Sends one and waits for its answer.
    fn run(&self, errand: Errand) -> Boxed<'static, Result<Answer, Unanswered>>;
}
