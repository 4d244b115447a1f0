//! What instances use, measured: four times a second while they work, rarely while they do not.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use model::sched::Serial;
use sandbox::limits::Group;

use crate::pool::VersionPool;

/// Between two looks at an instance that works.
const OFTEN: Duration = Duration::from_millis(250);
/// Between two looks at one that does not.
const RARELY: Duration = Duration::from_secs(4);

/// Measures the instances of a house, on a thread of its own: reading `/proc` and cgroups blocks for microseconds, and there may be many.
#[derive(Debug, Clone)]
pub(crate) struct Meter {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    book: Mutex<Book>,
    /// Something was entered, or the house closes.
    news: Condvar,
}

#[derive(Debug, Default)]
struct Book {
    entries: Vec<Entry>,
    /// The thread runs.
    running: bool,
}

#[derive(Debug)]
struct Entry {
    pool: Weak<VersionPool>,
    serial: Serial,
    group: Weak<Group>,
    busy: Busy,
    pause: Duration,
    due: Instant,
    cpu: Duration,
    oom_kills: u64,
}

/// Set when an instance is given work, so that the next look comes soon.
#[derive(Debug, Clone, Default)]
pub(crate) struct Busy(Arc<AtomicBool>);

impl Busy {
    /// The instance has something to do.
    pub(crate) fn set(&self) {
        // Looked at before it is written to: this happens with every request, on any core.
        if !self.0.load(Ordering::Relaxed) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

impl Meter {
    pub(crate) fn new() -> Self {
        Self { shared: Arc::new(Shared { book: Mutex::default(), news: Condvar::new() }) }
    }

    /// Measures the instance as long as its group lives.
    pub(crate) fn watch(&self, pool: &Arc<VersionPool>, serial: Serial, group: &Arc<Group>, busy: Busy) {
        let entry = Entry {
            pool: Arc::downgrade(pool),
            serial,
            group: Arc::downgrade(group),
            busy,
            pause: OFTEN,
            due: Instant::now() + OFTEN,
            cpu: Duration::ZERO,
            oom_kills: 0,
        };
        let mut book = self.shared.lock();
        book.entries.push(entry);
        if !book.running {
            let shared = Arc::clone(&self.shared);
            // Without the thread instances run unmeasured; the next one tries again.
            book.running = std::thread::Builder::new().name("fleet-meter".into()).spawn(move || shared.work()).is_ok();
        }
        drop(book);
        self.shared.news.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread's whole life: until there is nothing to measure.
    fn work(&self) {
        loop {
            let mut book = self.lock();
            book.entries.retain(|entry| entry.group.strong_count() > 0);
            if book.entries.is_empty() {
                book.running = false;
                return;
            }
            let now = Instant::now();
            let mut due: Vec<Entry> = book.entries.extract_if(.., |entry| entry.is_due(now)).collect();
            drop(book);
            // Without the lock: telling the pool may start an instance, which is entered here.
            for entry in &mut due {
                entry.look();
            }
            let mut book = self.lock();
            book.entries.append(&mut due);
            // A flag that is set meanwhile is seen at the next round.
            drop(self.news.wait_timeout(book, OFTEN));
        }
    }
}

impl Entry {
    fn is_due(&self, now: Instant) -> bool {
        self.due <= now || (self.pause > OFTEN && self.busy.0.load(Ordering::Relaxed))
    }

    fn look(&mut self) {
        let (Some(pool), Some(group)) = (self.pool.upgrade(), self.group.upgrade()) else { return };
        let usage = group.usage();
        // Asleep: neither asked for anything nor doing anything by itself (a ten-thousandth of the time is what timers take).
        let idle = !self.busy.0.swap(false, Ordering::Relaxed) && usage.cpu.saturating_sub(self.cpu) < self.pause / 1000;
        self.pause = if idle { (self.pause * 2).min(RARELY) } else { OFTEN };
        self.due = Instant::now() + self.pause;
        self.cpu = usage.cpu;
        let kills = group.oom_kills();
        let memory = if kills > self.oom_kills { usage.memory.max(beyond(&pool)) } else { usage.memory };
        self.oom_kills = kills;
        pool.measured(self.serial, usage.cpu, memory);
    }
}

/// More than the hard limit: what an instance had used that the kernel ended because of it.
pub(crate) fn beyond(pool: &VersionPool) -> u64 {
    pool.memory().hard() + 1
}
