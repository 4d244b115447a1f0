//! One instance as the scheduler sees it, and the memory of how often instances died.

use std::time::Duration;

use super::Serial;
use crate::ids::InstanceId;
use crate::pool::Outcome;
use crate::time::Tick;

/// Where an instance is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The process was asked for and does not take requests yet.
    Starting,
    /// Takes requests.
    Ready,
    /// Finishes what it has, until the tick.
    Draining { until: Tick },
    /// Was told to end.
    Stopping,
}

/// The instance.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) serial: Serial,
    pub(super) id: InstanceId,
    pub(super) stage: Stage,
    pub(super) in_flight: u32,
    /// Requests ever given to it; the first is the loading request.
    pub(super) served: u64,
    pub(super) ready_at: Tick,
    /// Requests in a row that could not reach it.
    pub(super) broken: u32,
}

/// So many unreachable requests in a row mean that the process lives but does not work.
const BROKEN_LIMIT: u32 = 3;

impl Instance {
    pub(super) fn new(serial: Serial, id: InstanceId) -> Self {
        Self { serial, id, stage: Stage::Starting, in_flight: 0, served: 0, ready_at: Tick(0), broken: 0 }
    }

    /// Whether it serves, or will, requests that come now.
    pub(super) fn is_current(&self) -> bool {
        matches!(self.stage, Stage::Starting | Stage::Ready)
    }

    pub(super) fn has_room(&self, cap: u32) -> bool {
        self.stage == Stage::Ready && self.in_flight < cap
    }

    /// Whether a request that named instance `aim` may go here.
    pub(super) fn meets(&self, aim: Option<u32>) -> bool {
        aim.is_none_or(|number| self.id == InstanceId::Number(number))
    }

    /// Takes one request; true if it is the loading request.
    pub(super) fn take(&mut self) -> bool {
        self.in_flight += 1;
        self.served += 1;
        self.served == 1
    }

    /// One request is over; true if the process should be replaced.
    pub(super) fn finish(&mut self, outcome: Outcome) -> bool {
        self.in_flight = self.in_flight.saturating_sub(1);
        match outcome {
            Outcome::Answered => self.broken = 0,
            Outcome::Broken => self.broken += 1,
            Outcome::Replace => return true,
            Outcome::Abandoned | Outcome::TimedOut => {}
        }
        self.broken >= BROKEN_LIMIT
    }
}

/// How often instances died young, and when the next attempt is allowed.
#[derive(Debug, Default)]
pub(super) struct Deaths {
    young: u32,
    reason: String,
    again_at: Option<Tick>,
}

/// An instance that lived this long after becoming ready did not die young.
const GROWN: Duration = Duration::from_secs(10);
/// So many young deaths in a row fail the requests that wait. The first is forgiven: a port may have been taken, a file half written.
const PATIENCE: u32 = 2;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

impl Deaths {
    /// Counts a death and returns how long to wait before the next start.
    pub(super) fn count(&mut self, now: Tick, instance: &Instance, why: String) -> Duration {
        let grown = instance.stage != Stage::Starting && now.since(instance.ready_at) >= GROWN;
        self.young = if grown { 1 } else { self.young + 1 };
        self.reason = why;
        let pause = match self.young {
            0 | 1 => Duration::ZERO,
            n => FIRST_PAUSE.saturating_mul(1 << (n - 1).min(10)).min(LONGEST_PAUSE),
        };
        self.again_at = (!pause.is_zero()).then(|| now.after(pause));
        pause
    }

    /// Why waiting is hopeless, if it is.
    pub(super) fn hopeless(&self) -> Option<&str> {
        (self.young >= PATIENCE).then_some(self.reason.as_str())
    }

    /// The tick before which nothing is started.
    pub(super) fn again_at(&self) -> Option<Tick> {
        self.again_at
    }

    /// The pause is over.
    pub(super) fn retry(&mut self) {
        self.again_at = None;
    }

    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}
