//! The queue of requests that wait for an instance: bounded in length and in time, first come first served.

use std::collections::VecDeque;
use std::time::Duration;

use super::ReqId;
use crate::time::Tick;

/// A request that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) req: ReqId,
    pub(super) aim: Option<u32>,
    pub(super) since: Tick,
    pub(super) until: Tick,
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Pending {
    queue: VecDeque<Waiting>,
}

impl Pending {
    pub(super) fn push(&mut self, now: Tick, req: ReqId, aim: Option<u32>, patience: Duration) {
        self.queue.push_back(Waiting { req, aim, since: now, until: now.after(patience) });
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn forget(&mut self, req: ReqId) {
        self.queue.retain(|waiting| waiting.req != req);
    }

    /// Takes the first request for which `fits` holds.
    pub(super) fn take(&mut self, fits: impl Fn(&Waiting) -> bool) -> Option<Waiting> {
        let at = self.queue.iter().position(fits)?;
        self.queue.remove(at)
    }

    /// The tick at which the first patience ends.
    pub(super) fn deadline(&self) -> Option<Tick> {
        self.queue.iter().map(|waiting| waiting.until).min()
    }

    #[cfg(debug_assertions)]
    pub(super) fn requests(&self) -> impl Iterator<Item = ReqId> + '_ {
        self.queue.iter().map(|waiting| waiting.req)
    }
}
