//! The memory of how often instances died young, and when the next attempt is allowed.

use std::time::Duration;

use super::instance::{Instance, Loss};
use crate::time::Tick;

/// Deaths of one version's instances under automatic scaling, of one number's under basic and manual scaling.
#[derive(Debug, Default)]
pub(super) struct Deaths {
    young: u32,
    reason: String,
    again_at: Option<Tick>,
    last: Option<Tick>,
    /// When an instance answered last.
    worked: Option<Tick>,
    /// An instance had answered shortly before the last death.
    proven: bool,
}

/// An instance that lived this long after becoming ready did not die young.
const GROWN: Duration = Duration::from_secs(10);
/// So many young deaths in a row fail the requests that wait. The first is forgiven: a port may have been taken, a file half written.
const PATIENCE: u32 = 2;
/// Code that was seen to work so short a time ago is not given up: somebody kills the processes, or memory is short for a moment. Nor does it wait long
/// while nobody else serves.
const LATELY: Duration = Duration::from_secs(30);
const SHORT_PAUSE: Duration = Duration::from_millis(400);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

impl Deaths {
    /// Counts a death and returns how long to wait before the next start. Instances that were started side by side are one attempt. `alone`: no
    /// other instance is left.
    pub(super) fn count(&mut self, now: Tick, loss: &Loss, alone: bool, why: String) -> Duration {
        let grown = loss.ready_at.is_some_and(|ready| now.since(ready) >= GROWN);
        let same_attempt = self.young > 0 && self.last.is_some_and(|last| loss.started_at < last);
        self.reason = why;
        self.proven = self.worked.is_some_and(|worked| now.since(worked) < LATELY);
        let mut pause = if same_attempt {
            self.again_at.map_or(Duration::ZERO, |at| at.since(now))
        } else {
            self.last = Some(now);
            self.young = if grown { 1 } else { self.young + 1 };
            match self.young {
                0 | 1 => Duration::ZERO,
                n => FIRST_PAUSE.saturating_mul(1 << (n - 1).min(10)).min(LONGEST_PAUSE),
            }
        };
        if alone && self.proven {
            pause = pause.min(SHORT_PAUSE);
        }
        self.again_at = (!pause.is_zero()).then(|| now.after(pause));
        pause
    }

    /// Why waiting is hopeless, if it is.
    pub(super) fn hopeless(&self) -> Option<&str> {
        (self.young >= PATIENCE && !self.proven).then_some(self.reason.as_str())
    }

    /// The tick before which nothing is started.
    pub(super) fn again_at(&self) -> Option<Tick> {
        self.again_at
    }

    /// Whether nothing may be started now.
    pub(super) fn pausing(&self, now: Tick) -> bool {
        self.again_at.is_some_and(|at| now < at)
    }

    /// The pause is over, if it is.
    pub(super) fn retry(&mut self, now: Tick) {
        if !self.pausing(now) {
            self.again_at = None;
        }
    }

    /// An instance answered. It proves that starting works only if it became ready after the last death.
    pub(super) fn answered(&mut self, now: Tick, instance: &Instance) {
        if self.young > 0 && self.last.is_none_or(|last| instance.ready_at.is_some_and(|ready| ready >= last)) {
            *self = Self::default();
        }
        self.worked = Some(now);
    }
}
