//! What the scheduler wants done.

use std::time::Duration;

use super::{End, ReqId, Serial};
use crate::ids::InstanceId;
use crate::journal::Severity;
use crate::pool::{Lifecycle, Reject};

/// An order to the shell, or a fact worth logging.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Start a process; answer with [`super::Event::Ready`] or [`super::Event::Exited`].
    Start {
        /// Its number, unique and never reused.
        instance: Serial,
        /// Its id within the version.
        id: InstanceId,
        /// What it is asked before it is ready.
        hello: Option<Lifecycle>,
        /// Why, for the log: `pending 412 ms > max_pending_latency 30 ms`.
        why: String,
    },
    /// Give the request to the instance; answer with [`super::Event::Done`] when it is over.
    Assign {
        /// Which request.
        req: ReqId,
        /// Which instance.
        to: Serial,
        /// The instance was started for it.
        cold: bool,
        /// How long it waited.
        waited: Duration,
    },
    /// Tell the request that it gets no instance.
    Reject {
        /// Which request.
        req: ReqId,
        /// Why.
        why: Reject,
    },
    /// End the process politely, then for good; answer with [`super::Event::Exited`].
    Stop {
        /// Which.
        instance: Serial,
        /// Whether it is asked for `/_ah/stop` first.
        farewell: bool,
        /// How long it may take, the farewell included.
        grace: Duration,
        /// Why.
        why: End,
    },
    /// An instance died unasked.
    Died {
        /// Which.
        id: InstanceId,
        /// What happened.
        why: String,
        /// How long until the next attempt, if the machine waits before it.
        again_in: Duration,
    },
    /// Something that the log should say.
    Note {
        /// How grave.
        severity: Severity,
        /// Which instance it is about, if one.
        id: Option<InstanceId>,
        /// One line.
        text: String,
    },
}
