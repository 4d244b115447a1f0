//! Where every entry goes: counted, written to disk, shown, exported. Requests only put it in a queue; a thread does the rest.

use std::collections::HashMap;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use control::Metrics;
use control::otlp::Exporter;
use model::ids::{AppId, VersionKey};
use model::journal::{Entry, Journal, Severity, Tally, Turn};
use store::log::Writer;

use crate::printer::{Printer, Requests, Style};
use crate::ui::Ui;

/// Entries that may wait for a slow disk; more are dropped and counted.
const BACKLOG: usize = 8_192;
/// Bytes of text that may wait.
pub(crate) const BACKLOG_BYTES: usize = 32 * 1024 * 1024;
/// How often a disk that refuses is tried again, and complained about.
const RETRY: Duration = Duration::from_secs(30);

enum Note {
    /// With the app that it is about.
    Entry(SystemTime, Option<AppId>, Entry),
    Close,
}

/// Where entries are kept.
pub(crate) enum Keeping {
    /// Nowhere.
    Nowhere,
    /// All in one place.
    Here(Writer),
    /// Each app's in a folder of its own, and those about no app in another.
    PerApp(PerApp),
}

/// The folder of an app's log, or of that of the server itself.
type Place = Box<dyn Fn(Option<&AppId>) -> PathBuf + Send>;

/// The logs of many apps.
pub(crate) struct PerApp {
    /// Where the log of an app is, or that of the server itself.
    place: Place,
    /// Bytes that each may take.
    limit: u64,
    open: HashMap<Option<AppId>, Writer>,
}

impl PerApp {
    /// Logs in the folders that `place` names, which are made on first use.
    pub(crate) fn new(limit: u64, place: impl Fn(Option<&AppId>) -> PathBuf + Send + 'static) -> Self {
        Self { place: Box::new(place), limit, open: HashMap::new() }
    }

    fn writer(&mut self, app: Option<&AppId>) -> std::io::Result<&mut Writer> {
        let whose = app.cloned();
        if !self.open.contains_key(&whose) {
            let dir = (self.place)(app);
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
            self.open.insert(whose.clone(), Writer::open(&dir, self.limit)?);
        }
        self.open.get_mut(&whose).ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotFound))
    }
}

impl Keeping {
    fn append(&mut self, at: SystemTime, app: Option<&AppId>, entry: &Entry) -> std::io::Result<()> {
        match self {
            Self::Nowhere => Ok(()),
            Self::Here(writer) => writer.append(at, entry),
            Self::PerApp(all) => all.writer(app)?.append(at, entry),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Nowhere => Ok(()),
            Self::Here(writer) => writer.flush(),
            Self::PerApp(all) => {
                // All of them, even if one refuses.
                let written: Vec<_> = all.open.values_mut().map(Writer::flush).collect();
                written.into_iter().collect()
            }
        }
    }
}

/// What is lost, and where.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    /// Entries for which the queue had no room.
    pub(crate) queue: AtomicU64,
    /// Entries that could not be written to disk.
    pub(crate) disk: AtomicU64,
    /// Entries that were not shown.
    pub(crate) terminal: AtomicU64,
}

/// Takes every entry. Shared by the front end and the fleet.
pub(crate) struct Recorder {
    queue: SyncSender<Note>,
    /// Bytes in the queue.
    waiting: Arc<AtomicUsize>,
    losses: Arc<Losses>,
    metrics: Arc<Metrics>,
    requests: bool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Recorder {
    /// Starts the threads.
    pub(crate) fn start(
        ui: Ui,
        style: Style,
        keeping: Keeping,
        metrics: Arc<Metrics>,
        exporter: Option<Exporter>,
    ) -> std::io::Result<Arc<Self>> {
        let (queue, inbox) = sync_channel(BACKLOG);
        let waiting = Arc::new(AtomicUsize::new(0));
        let losses = Arc::new(Losses::default());
        let traced = exporter.is_some();
        let desk = Desk {
            exporter,
            keeps_requests: style.requests != Requests::None,
            waiting: Arc::clone(&waiting),
            losses: Arc::clone(&losses),
            told: 0,
            keeping,
            resting: None,
            printer: Printer::start(ui, style)?,
        };
        let thread = std::thread::Builder::new().name("journal".into()).spawn(move || desk.work(&inbox))?;
        let requests = style.requests != Requests::None || traced;
        Ok(Arc::new(Self { queue, waiting, losses, metrics, requests, thread: Mutex::new(Some(thread)) }))
    }

    /// Writes what is queued and ends the threads.
    pub(crate) fn close(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = self.queue.send(Note::Close);
            let _ = thread.join();
        }
    }

    /// What was lost so far.
    pub(crate) fn losses(&self) -> Arc<Losses> {
        Arc::clone(&self.losses)
    }

    /// A notice of the house itself.
    pub(crate) fn notice(&self, severity: Severity, text: impl Into<String>) {
        self.write(Entry::Notice { severity, version: None, text: text.into() });
    }

    /// Counts a turn in the life of an instance.
    pub(crate) fn turn(&self, app: &AppId, version: &VersionKey, turn: Turn) {
        self.metrics.turn(app, version, turn);
    }

    /// Takes an entry about an app.
    pub(crate) fn put(&self, app: Option<AppId>, entry: Entry) {
        let weight = weight(&entry);
        let before = self.waiting.fetch_add(weight, Ordering::Relaxed);
        let fits = before + weight <= BACKLOG_BYTES;
        if !fits || self.queue.try_send(Note::Entry(SystemTime::now(), app, entry)).is_err() {
            self.waiting.fetch_sub(weight, Ordering::Relaxed);
            self.losses.queue.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Journal for Recorder {
    fn write(&self, entry: Entry) {
        let app = if let Entry::Request(request) = &entry { request.app.clone() } else { None };
        self.put(app, entry);
    }

    fn wants_requests(&self) -> bool {
        self.requests
    }

    fn tally(&self, tally: &Tally<'_>) {
        self.metrics.tally(tally);
    }
}

/// The memory that an entry holds, roughly.
pub(crate) fn weight(entry: &Entry) -> usize {
    match entry {
        Entry::Request(request) => {
            512 + request.target.len()
                + request.fault.as_ref().map_or(0, String::len)
                + request.lines.iter().map(|(_, text)| text.len() + 32).sum::<usize>()
        }
        Entry::Output(line) => 256 + line.text.len() + line.fields.as_ref().map_or(0, String::len),
        Entry::Notice { text, .. } => 128 + text.len(),
    }
}

/// The writing side.
struct Desk {
    waiting: Arc<AtomicUsize>,
    losses: Arc<Losses>,
    /// Entries lost in the queue that were told of.
    told: u64,
    keeping: Keeping,
    exporter: Option<Exporter>,
    /// Requests are written and shown, not only exported.
    keeps_requests: bool,
    /// Since when the disk refuses.
    resting: Option<Instant>,
    printer: Printer,
}

impl Desk {
    fn work(mut self, inbox: &Receiver<Note>) {
        while let Ok(first) = inbox.recv() {
            let mut open = self.take(first);
            while open && let Ok(next) = inbox.try_recv() {
                open = self.take(next);
            }
            self.tell_losses();
            self.flush();
            if !open {
                break;
            }
        }
        self.printer.close();
    }

    fn take(&mut self, note: Note) -> bool {
        let Note::Entry(at, app, entry) = note else { return false };
        self.waiting.fetch_sub(weight(&entry), Ordering::Relaxed);
        if let Entry::Request(request) = &entry {
            if let Some(exporter) = &self.exporter {
                exporter.offer(request);
            }
            if !self.keeps_requests {
                return true;
            }
        }
        self.store(at, app.as_ref(), &entry);
        self.show(at, app.as_ref(), entry);
        true
    }

    fn show(&self, at: SystemTime, app: Option<&AppId>, entry: Entry) {
        if self.printer.show(at, app, entry) {
            self.losses.terminal.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn store(&mut self, at: SystemTime, app: Option<&AppId>, entry: &Entry) {
        if matches!(self.keeping, Keeping::Nowhere) {
            return;
        }
        if self.resting.is_some_and(|since| since.elapsed() < RETRY) {
            self.losses.disk.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.resting = None;
        let written = self.keeping.append(at, app, entry);
        self.note_failure(written);
    }

    fn flush(&mut self) {
        let written = self.keeping.flush();
        self.note_failure(written);
    }

    /// The live log hears of it; the app is served all the same.
    fn note_failure(&mut self, written: std::io::Result<()>) {
        let Err(error) = written else { return };
        self.losses.disk.fetch_add(1, Ordering::Relaxed);
        self.resting = Some(Instant::now());
        let text = format!("the log cannot be written to disk: {error}; it is only shown here for the next {} s", RETRY.as_secs());
        self.show(SystemTime::now(), None, Entry::Notice { severity: Severity::Error, version: None, text });
    }

    fn tell_losses(&mut self) {
        let lost = self.losses.queue.load(Ordering::Relaxed);
        if lost > self.told {
            let text = format!("{} log entries were lost: more came than could be written", lost - self.told);
            self.told = lost;
            let (at, entry) = (SystemTime::now(), Entry::Notice { severity: Severity::Warning, version: None, text });
            self.store(at, None, &entry);
            self.show(at, None, entry);
        }
    }
}
