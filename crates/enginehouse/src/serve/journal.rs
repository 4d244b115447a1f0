//! The journal as one app's fleet sees it, and taps: what one deployment prints while somebody waits for it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use model::ids::{AppId, InstanceId, VersionKey};
use model::journal::{Entry, Journal, Severity, Tally, Turn};

use crate::journal::Recorder;

/// Lines that a tap keeps: enough for a traceback, few enough for an answer.
const LINES: usize = 60;

/// What instances print is also heard by whoever waits for them.
#[derive(Default)]
pub(crate) struct Taps {
    count: AtomicUsize,
    open: Mutex<Vec<Weak<Tap>>>,
}

impl Taps {
    /// Hears what the instances of a version print that are [named](Tap::hear), until it is dropped.
    pub(crate) fn open(self: &Arc<Self>, app: &AppId, version: &VersionKey) -> Arc<Tap> {
        let tap = Tap { all: Arc::clone(self), app: app.clone(), version: version.clone(), heard: Mutex::default() };
        let tap = Arc::new(tap);
        self.lock().push(Arc::downgrade(&tap));
        self.count.fetch_add(1, Ordering::SeqCst);
        tap
    }

    /// Shows an entry to those whom it concerns.
    pub(crate) fn pass(&self, app: &AppId, entry: &Entry) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let (Some(version), Some(instance)) = (entry.version(), entry.instance()) else { return };
        let taps: Vec<Arc<Tap>> = self.lock().iter().filter_map(Weak::upgrade).collect();
        for tap in taps.iter().filter(|tap| tap.app == *app && tap.version == *version) {
            tap.take(instance, entry);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Tap>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open tap.
pub(crate) struct Tap {
    all: Arc<Taps>,
    app: AppId,
    version: VersionKey,
    heard: Mutex<Heard>,
}

#[derive(Default)]
struct Heard {
    instances: Vec<InstanceId>,
    lines: VecDeque<String>,
}

impl Tap {
    /// Hears this instance from now on.
    pub(crate) fn hear(&self, instance: InstanceId) {
        self.lock().instances.push(instance);
    }

    /// The last lines.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lock().lines.iter().cloned().collect()
    }

    fn take(&self, instance: &InstanceId, entry: &Entry) {
        let mut heard = self.lock();
        if !heard.instances.contains(instance) {
            return;
        }
        match entry {
            Entry::Output(line) => heard.keep(&line.text),
            Entry::Request(request) => {
                for (_, text) in &request.lines {
                    heard.keep(text);
                }
                if let Some(fault) = &request.fault {
                    heard.keep(fault);
                }
            }
            Entry::Notice { .. } => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Heard {
    fn keep(&mut self, text: &str) {
        for line in text.lines() {
            if self.lines.len() == LINES {
                self.lines.pop_front();
            }
            self.lines.push_back(line.to_owned());
        }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.all.count.fetch_sub(1, Ordering::SeqCst);
        self.all.lock().retain(|tap| tap.strong_count() > 0);
    }
}

/// The journal of one app.
pub(crate) struct AppJournal {
    recorder: Arc<Recorder>,
    taps: Arc<Taps>,
    app: AppId,
}

impl AppJournal {
    pub(crate) fn new(recorder: Arc<Recorder>, taps: Arc<Taps>, app: AppId) -> Arc<Self> {
        Arc::new(Self { recorder, taps, app })
    }

    /// Writes down what went wrong with something that belongs to the app and to no version of it.
    pub(crate) fn teller(self: Arc<Self>) -> services::cron::Told {
        Box::new(move |_, text| self.write(Entry::Notice { severity: Severity::Warning, version: None, text }))
    }

    /// A notice about a version.
    pub(crate) fn notice(&self, severity: Severity, version: &VersionKey, text: String) {
        self.write(Entry::Notice { severity, version: Some(version.clone()), text });
    }
}

impl Journal for AppJournal {
    fn write(&self, entry: Entry) {
        self.taps.pass(&self.app, &entry);
        self.recorder.put(Some(self.app.clone()), entry);
    }

    fn wants_requests(&self) -> bool {
        self.recorder.wants_requests()
    }

    fn tally(&self, tally: &Tally<'_>) {
        self.recorder.tally(tally);
    }

    fn turn(&self, version: &VersionKey, turn: Turn) {
        self.recorder.turn(&self.app, version, turn);
    }
}

/// The journal of the front end, which serves all apps.
pub(crate) struct FrontJournal {
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) taps: Arc<Taps>,
}

impl Journal for FrontJournal {
    fn write(&self, entry: Entry) {
        if let Entry::Request(request) = &entry
            && let Some(app) = &request.app
        {
            self.taps.pass(app, &entry);
        }
        self.recorder.write(entry);
    }

    fn wants_requests(&self) -> bool {
        self.recorder.wants_requests()
    }

    fn tally(&self, tally: &Tally<'_>) {
        self.recorder.tally(tally);
    }
}
