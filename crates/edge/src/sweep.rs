//! The coarse clock of one core: a single timer that looks after every connection and deadline of its thread. A tokio timer per request would
//! cost two more syscalls a request (docs/decisions/040-edge-runtime.md).

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::Notify;

/// Something that the sweep looks at, once a step.
pub(crate) trait Swept {
    /// `now` in milliseconds of the core's clock.
    fn sweep(&self, now: u64);
}

/// The clock and its list.
pub(crate) struct Sweep {
    start: Instant,
    /// The same moment on both clocks, renewed with every step.
    anchor: Cell<(Instant, SystemTime)>,
    step: Duration,
    now: Cell<u64>,
    awake: Cell<bool>,
    entries: RefCell<Vec<Weak<dyn Swept>>>,
    wanted: Notify,
}

impl Sweep {
    pub(crate) fn new(step: Duration) -> Self {
        let start = Instant::now();
        let anchor = Cell::new((start, SystemTime::now()));
        Self { start, anchor, step, now: Cell::new(1), awake: Cell::new(false), entries: RefCell::default(), wanted: Notify::new() }
    }

    /// Milliseconds since the core started, at most one step old while anything is looked after.
    pub(crate) fn now(&self) -> u64 {
        self.now.get()
    }

    /// The time of day at `at`, without another look at the clock: at most one step behind if somebody sets it.
    pub(crate) fn day(&self, at: Instant) -> SystemTime {
        let (then, day) = self.anchor.get();
        day + at.saturating_duration_since(then)
    }

    fn tick(&self) -> u64 {
        let at = Instant::now();
        self.anchor.set((at, SystemTime::now()));
        let now = u64::try_from(at.duration_since(self.start).as_millis()).unwrap_or(u64::MAX).max(1);
        self.now.set(now);
        now
    }

    /// Looks after `entry` for as long as it lives.
    pub(crate) fn watch(&self, entry: Weak<dyn Swept>) {
        if !self.awake.get() {
            self.tick();
            self.wanted.notify_one();
        }
        self.entries.borrow_mut().push(entry);
    }

    /// Runs for the life of the core. Sleeps without a timer while there is nothing to look after.
    pub(crate) async fn run(&self, mut each_step: impl FnMut(u64)) {
        loop {
            if self.entries.borrow().is_empty() {
                self.awake.set(false);
                self.wanted.notified().await;
            }
            self.awake.set(true);
            tokio::time::sleep(self.step).await;
            let now = self.tick();
            let alive: Vec<Rc<dyn Swept>> = {
                let mut entries = self.entries.borrow_mut();
                entries.retain(|entry| entry.strong_count() > 0);
                entries.iter().filter_map(Weak::upgrade).collect()
            };
            for entry in alive {
                entry.sweep(now);
            }
            each_step(now);
        }
    }

    /// Runs `work` for at most `limit`; `None` when it took longer.
    pub(crate) async fn within<F: Future>(&self, limit: Duration, work: F) -> Option<F::Output> {
        let alarm = self.alarm(limit);
        let mut work = std::pin::pin!(work);
        std::future::poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => alarm.poll(cx).map(|()| None),
        })
        .await
    }

    /// An alarm that rings after `limit`, on the next step.
    pub(crate) fn alarm(&self, limit: Duration) -> Rc<Alarm> {
        let alarm = self.silent_alarm();
        alarm.set(Some(self.now() + millis(limit)));
        alarm
    }

    /// An alarm that rings once it is set.
    pub(crate) fn silent_alarm(&self) -> Rc<Alarm> {
        let alarm = Rc::new(Alarm { at: Cell::new(u64::MAX), rang: Cell::new(false), waker: RefCell::new(None) });
        self.watch(Rc::downgrade(&alarm) as Weak<dyn Swept>);
        alarm
    }
}

/// `limit` in the unit of the clock, at least one.
pub(crate) fn millis(limit: Duration) -> u64 {
    u64::try_from(limit.as_millis()).unwrap_or(u64::MAX / 2).max(1)
}

/// A point in time that a task waits for besides its work.
pub(crate) struct Alarm {
    at: Cell<u64>,
    rang: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Alarm {
    /// Ready once the time has come.
    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        if self.rang.get() {
            return Poll::Ready(());
        }
        remember(&self.waker, cx);
        Poll::Pending
    }

    /// Moves the time; `None` silences the alarm.
    pub(crate) fn set(&self, at: Option<u64>) {
        self.at.set(at.unwrap_or(u64::MAX));
    }

    /// As good as new: it may ring again, once it is set.
    pub(crate) fn renew(&self) {
        self.set(None);
        self.rang.set(false);
    }
}

impl Swept for Alarm {
    fn sweep(&self, now: u64) {
        if now >= self.at.get() && !self.rang.replace(true) {
            let waker = self.waker.borrow_mut().take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

/// Keeps the task's waker, cloning it only when it changed.
pub(crate) fn remember(slot: &RefCell<Option<Waker>>, cx: &Context<'_>) {
    let mut slot = slot.borrow_mut();
    match slot.as_ref() {
        Some(waker) if waker.will_wake(cx.waker()) => {}
        _ => *slot = Some(cx.waker().clone()),
    }
}
