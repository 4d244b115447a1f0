//! One deployment on its way to its instances: prepared when somebody needs it, and a waiting room until then.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fleet::Progress;
use model::engine::Stage;
use model::journal::Severity;
use model::table::Version;
use tokio::sync::watch;

use super::journal::AppJournal;

/// A preparation that failed is tried again for a request, but not more often than this.
const AGAIN: Duration = Duration::from_secs(5);
/// Lines of an installation or a build that are kept for the error.
const LINES: usize = 40;

/// How far preparation is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    /// Nobody has needed it yet.
    Idle,
    /// Files are copied, packages installed.
    Preparing,
    /// Its fleet runs it.
    Ready,
    /// It cannot be prepared, and why.
    Failed(String, Instant),
}

/// Hears how a preparation goes on.
type Teller = Arc<dyn Fn(Stage) + Send + Sync>;

/// One deployment of a version.
pub(crate) struct Slot {
    pub(crate) version: Arc<Version>,
    state: watch::Sender<State>,
    /// Requests that wait here.
    guests: AtomicUsize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    tellers: Vec<Teller>,
    lines: VecDeque<String>,
    /// It stays although no snapshot has it yet.
    pinned: Option<Instant>,
}

/// A request in the waiting room.
pub(crate) struct Guest(Arc<Slot>);

impl Drop for Guest {
    fn drop(&mut self) {
        self.0.guests.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Slot {
    pub(crate) fn new(version: Arc<Version>) -> Arc<Self> {
        Arc::new(Self { version, state: watch::channel(State::Idle).0, guests: AtomicUsize::new(0), inner: Mutex::default() })
    }

    /// Takes a place in the waiting room.
    pub(crate) fn enter(self: &Arc<Self>) -> Guest {
        self.guests.fetch_add(1, Ordering::SeqCst);
        Guest(Arc::clone(self))
    }

    /// Whether somebody waits here.
    pub(crate) fn has_guests(&self) -> bool {
        self.guests.load(Ordering::SeqCst) > 0
    }

    /// Keeps it for so long, even if no snapshot has it.
    pub(crate) fn pin(&self, time: Duration) {
        self.lock().pinned = Some(Instant::now() + time);
    }

    /// It stays only as long as a snapshot has it.
    pub(crate) fn unpin(&self) {
        self.lock().pinned = None;
    }

    pub(crate) fn is_pinned(&self) -> bool {
        self.lock().pinned.is_some_and(|until| until > Instant::now())
    }

    pub(crate) fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Whether preparation has to begin now; says so to one caller only.
    pub(crate) fn begin(&self) -> bool {
        self.state.send_if_modified(|state| {
            let due = match state {
                State::Idle => true,
                State::Failed(_, at) => at.elapsed() >= AGAIN,
                State::Preparing | State::Ready => false,
            };
            if due {
                *state = State::Preparing;
            }
            due
        })
    }

    /// The same, however recently it failed.
    pub(crate) fn begin_anew(&self) -> bool {
        self.state.send_if_modified(|state| {
            let due = !matches!(state, State::Preparing | State::Ready);
            if due {
                *state = State::Preparing;
            }
            due
        })
    }

    /// Preparation is over.
    pub(crate) fn settle(&self, outcome: Result<(), String>) {
        self.lock().tellers.clear();
        self.state.send_replace(match outcome {
            Ok(()) => State::Ready,
            Err(why) => State::Failed(why, Instant::now()),
        });
    }

    /// Waits until preparation is over.
    pub(crate) async fn settled(&self) -> Result<(), String> {
        let mut state = self.state.subscribe();
        let found = state.wait_for(|state| matches!(state, State::Ready | State::Failed(..))).await;
        match found.as_deref() {
            Ok(State::Failed(why, _)) => Err(why.clone()),
            // The sender lives in this very slot.
            _ => Ok(()),
        }
    }

    /// Lets `teller` hear how preparation goes on.
    pub(crate) fn tell(&self, teller: Teller) {
        self.lock().tellers.push(teller);
    }

    /// What an installation or a build printed last.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lock().lines.iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Carries a preparation's progress to whoever waits, and to the log.
pub(crate) struct Telling {
    pub(crate) slot: Arc<Slot>,
    pub(crate) journal: Arc<AppJournal>,
}

impl Progress for Telling {
    fn step(&self, text: &str) {
        self.journal.notice(Severity::Info, &self.slot.version.config.key, text.to_owned());
        let tellers = self.slot.lock().tellers.clone();
        for teller in tellers {
            teller(Stage::Building(text.to_owned()));
        }
    }

    fn line(&self, text: &str) {
        let mut inner = self.slot.lock();
        if inner.lines.len() == LINES {
            inner.lines.pop_front();
        }
        inner.lines.push_back(text.to_owned());
        let tellers = inner.tellers.clone();
        drop(inner);
        for teller in tellers {
            teller(Stage::Building(text.to_owned()));
        }
    }
}
