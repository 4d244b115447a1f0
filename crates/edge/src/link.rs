//! What is known of one connection between its socket, its requests and the sweep: a handful of cells, no timer.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};

use crate::options::Options;
use crate::sweep::{Alarm, Sweep, Swept, millis, remember};

/// What the sweep wants of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing.
    None,
    /// It is idle: give its buffers back.
    Nap,
    /// The head of its next request takes too long.
    SlowHead,
    /// The body of its request comes too slowly.
    SlowBody,
    /// Close it without a word.
    Close,
}

/// Bounds of the sweep in its own unit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pacing {
    head: u64,
    idle: u64,
    nap: u64,
    stall: u64,
    /// Bytes that must move within `stall`.
    quota: u64,
}

impl Pacing {
    pub(crate) fn new(options: &Options) -> Self {
        let timeouts = &options.timeouts;
        let quota = options.limits.min_rate.saturating_mul(timeouts.stall.as_secs().max(1));
        Self { head: millis(timeouts.head), idle: millis(timeouts.idle), nap: millis(timeouts.nap), stall: millis(timeouts.stall), quota }
    }
}

/// How long we waited for the other side to send or take bytes. Time during which we did not ask for any does not count.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    since: Cell<u64>,
    spent: Cell<u64>,
    moved: Cell<u64>,
}

impl Pace {
    pub(crate) fn wait(&self, now: u64) {
        if self.since.get() == 0 {
            self.since.set(now);
        }
    }

    pub(crate) fn moved(&self, length: usize, now: u64, quota: u64) {
        let since = self.since.replace(0);
        if since != 0 {
            self.spent.set(self.spent.get() + now.saturating_sub(since));
        }
        self.moved.set(self.moved.get() + length as u64);
        if self.moved.get() >= quota {
            self.reset();
        }
    }

    pub(crate) fn reset(&self) {
        self.since.set(0);
        self.spent.set(0);
        self.moved.set(0);
    }

    pub(crate) fn waiting(&self) -> bool {
        self.since.get() != 0
    }

    /// Time that is left until it is late.
    pub(crate) fn left(&self, now: u64, most: u64) -> u64 {
        let since = self.since.get();
        let waiting = if since == 0 { 0 } else { now.saturating_sub(since) };
        most.saturating_sub(self.spent.get() + waiting)
    }

    pub(crate) fn late(&self, now: u64, most: u64) -> bool {
        let since = self.since.get();
        since != 0 && self.spent.get() + now.saturating_sub(since) >= most
    }
}

/// One connection.
pub(crate) struct Link {
    pacing: Pacing,
    /// Requests that are being served.
    open: Cell<u32>,
    /// It had a request before.
    served: Cell<bool>,
    idle_since: Cell<u64>,
    head_since: Cell<u64>,
    reading: Pace,
    writing: Pace,
    verdict: Cell<Verdict>,
    /// HTTP/2 multiplexes: bodies have paces of their own.
    multiplexed: Cell<bool>,
    draining: Cell<bool>,
    /// Bytes of a request's body are still to come.
    within_body: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    alarm: RefCell<Option<Rc<Alarm>>>,
}

impl Link {
    pub(crate) fn new(pacing: Pacing, now: u64) -> Rc<Self> {
        Rc::new(Self {
            pacing,
            open: Cell::new(0),
            served: Cell::new(false),
            idle_since: Cell::new(now),
            head_since: Cell::new(0),
            reading: Pace::default(),
            writing: Pace::default(),
            verdict: Cell::new(Verdict::None),
            multiplexed: Cell::new(false),
            draining: Cell::new(false),
            within_body: Cell::new(false),
            waker: RefCell::new(None),
            alarm: RefCell::new(None),
        })
    }

    /// The connection's task waits here too.
    pub(crate) fn listen(&self, cx: &Context<'_>) {
        remember(&self.waker, cx);
    }

    fn wake(&self) {
        let waker = self.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(crate) fn verdict(&self) -> Verdict {
        self.verdict.get()
    }

    /// Forgets a verdict that was carried out.
    pub(crate) fn resume(&self) {
        self.verdict.set(Verdict::None);
    }

    /// An alarm for the connection's only request. It knows the task's waker from the request before. Streams of HTTP/2 have tasks of their own.
    pub(crate) fn alarm(&self, sweep: &Sweep) -> Option<Rc<Alarm>> {
        if self.multiplexed.get() {
            return None;
        }
        let alarm = self.alarm.borrow_mut().get_or_insert_with(|| sweep.silent_alarm()).clone();
        alarm.renew();
        Some(alarm)
    }

    /// Gives memory back.
    pub(crate) fn shrink(&self) {
        self.alarm.take();
    }

    pub(crate) fn multiplex(&self) {
        self.multiplexed.set(true);
    }

    pub(crate) fn drain(&self) {
        self.draining.set(true);
        self.wake();
    }

    pub(crate) fn draining(&self) -> bool {
        self.draining.get()
    }

    /// Whether a request is being served.
    pub(crate) fn busy(&self) -> bool {
        self.open.get() > 0
    }

    /// Whether the client takes nothing of what is being sent.
    pub(crate) fn stuck(&self) -> bool {
        self.writing.waiting()
    }

    /// A request begins.
    pub(crate) fn begin(&self) {
        self.open.set(self.open.get() + 1);
        self.served.set(true);
        self.reading.reset();
    }

    /// A request is over.
    pub(crate) fn end(&self, now: u64) {
        self.open.set(self.open.get().saturating_sub(1));
        self.idle_since.set(now);
        // The next head may have begun long ago, while we were not reading.
        if self.head_since.get() != 0 {
            self.head_since.set(now);
        }
        if self.draining.get() && self.multiplexed.get() {
            self.wake();
        }
    }

    pub(crate) fn partial_head(&self, partial: bool, now: u64) {
        if !partial {
            self.head_since.set(0);
        } else if self.head_since.get() == 0 {
            self.head_since.set(now);
        }
    }

    pub(crate) fn read(&self, length: usize, now: u64) {
        self.reading.moved(length, now, self.pacing.quota);
        if self.verdict.get() == Verdict::Nap {
            self.verdict.set(Verdict::None);
        }
    }

    pub(crate) fn within_body(&self, within: bool) {
        self.within_body.set(within);
    }

    /// Whether a request's body is still being read: its end tells whether the client is there.
    pub(crate) fn reading(&self) -> bool {
        self.within_body.get()
    }

    pub(crate) fn wait_for_body(&self, now: u64) {
        self.reading.wait(now);
    }

    pub(crate) fn wrote(&self, length: usize, now: u64) {
        self.writing.moved(length, now, self.pacing.quota);
    }

    pub(crate) fn wait_for_room(&self, now: u64) {
        self.writing.wait(now);
    }

    fn judge(&self, now: u64) -> Verdict {
        let pacing = &self.pacing;
        if self.writing.late(now, pacing.stall) {
            return Verdict::Close;
        }
        if self.reading.late(now, pacing.stall) && !self.multiplexed.get() {
            return Verdict::SlowBody;
        }
        let head = self.head_since.get();
        if head != 0 && now.saturating_sub(head) >= pacing.head && !self.busy() {
            return Verdict::SlowHead;
        }
        if self.busy() || head != 0 {
            return Verdict::None;
        }
        let idle = now.saturating_sub(self.idle_since.get());
        let most = if self.served.get() { pacing.idle } else { pacing.idle.min(pacing.head) };
        if idle >= most {
            Verdict::Close
        } else if idle >= pacing.nap && !self.multiplexed.get() {
            Verdict::Nap
        } else {
            Verdict::None
        }
    }
}

impl Swept for Link {
    fn sweep(&self, now: u64) {
        let verdict = self.judge(now);
        if verdict != Verdict::None && verdict != self.verdict.get() {
            self.verdict.set(verdict);
            self.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_time_spent_waiting_counts() {
        let pace = Pace::default();
        pace.wait(100);
        assert!(!pace.late(199, 100));
        pace.moved(1, 150, 10);
        assert!(!pace.late(10_000, 100), "nobody waits");
        pace.wait(10_000);
        assert!(pace.late(10_050, 100), "50 before and 50 now");
        pace.moved(10, 10_050, 10);
        pace.wait(10_060);
        assert!(!pace.late(10_100, 100), "enough bytes start a new period");
    }
}
