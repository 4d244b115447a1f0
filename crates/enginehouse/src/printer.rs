//! The live log on stdout, on a thread of its own: a terminal that does not keep up holds up nobody, neither requests nor the log on disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::SystemTime;

use model::ids::AppId;
use model::journal::{Entry, Severity};

use crate::cli::LogFormat;
use crate::journal::{BACKLOG_BYTES, weight};
use crate::show;
use crate::ui::Ui;

/// Entries that may wait for a slow terminal; more are dropped and counted.
const BACKLOG: usize = 4_096;

/// Which requests are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Requests {
    /// All.
    All,
    /// Those during which the app wrote something or failed are shown; all are kept.
    Eventful,
    /// None; the front end need not even make records.
    None,
}

/// How the log is shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    pub(crate) format: LogFormat,
    pub(crate) requests: Requests,
    /// Each entry says whose it is: there are several apps.
    pub(crate) apps: bool,
    /// Lines of apps that are less grave are not shown.
    pub(crate) level: Option<Severity>,
}

/// An entry, when it was made, and whose it is.
type Shown = (SystemTime, Option<AppId>, Entry);

/// Shows entries.
pub(crate) struct Printer {
    queue: SyncSender<Shown>,
    /// Bytes in the queue.
    waiting: Arc<AtomicUsize>,
    dropped: Arc<AtomicU64>,
    style: Style,
    thread: JoinHandle<()>,
}

impl Printer {
    /// Starts the thread.
    pub(crate) fn start(ui: Ui, style: Style) -> std::io::Result<Self> {
        let (queue, inbox) = sync_channel(BACKLOG);
        let dropped = Arc::new(AtomicU64::new(0));
        let waiting = Arc::new(AtomicUsize::new(0));
        let (count, held) = (Arc::clone(&dropped), Arc::clone(&waiting));
        let thread =
            std::thread::Builder::new().name("live-log".into()).spawn(move || print_all(&inbox, &ui, style.format, &count, &held))?;
        Ok(Self { queue, waiting, dropped, style, thread })
    }

    /// Shows an entry, unless it is not wanted, or drops it; whether it was dropped.
    pub(crate) fn show(&self, at: SystemTime, app: Option<&AppId>, mut entry: Entry) -> bool {
        if let Some(level) = self.style.level {
            match &mut entry {
                Entry::Output(output) if output.severity < level => return false,
                Entry::Request(request) => request.lines.retain(|(severity, _)| *severity >= level),
                _ => {}
            }
        }
        if let Entry::Request(request) = &entry
            && self.style.requests != Requests::All
            && request.lines.is_empty()
            && request.fault.is_none()
        {
            return false;
        }
        let weight = weight(&entry);
        let fits = self.waiting.fetch_add(weight, Ordering::Relaxed) + weight <= BACKLOG_BYTES;
        let app = app.filter(|_| self.style.apps).cloned();
        let full = !fits || matches!(self.queue.try_send((at, app, entry)), Err(TrySendError::Full(_)));
        if full {
            self.waiting.fetch_sub(weight, Ordering::Relaxed);
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        full
    }

    /// Shows what is queued and ends the thread.
    pub(crate) fn close(self) {
        drop(self.queue);
        let _ = self.thread.join();
    }
}

/// Takes whatever is queued at once, so that a burst costs one write.
fn print_all(inbox: &Receiver<Shown>, ui: &Ui, format: LogFormat, dropped: &AtomicU64, waiting: &AtomicUsize) {
    let mut text = String::new();
    let take = |shown: &Shown, text: &mut String| {
        waiting.fetch_sub(weight(&shown.2), Ordering::Relaxed);
        line(shown, text, format);
    };
    while let Ok(first) = inbox.recv() {
        take(&first, &mut text);
        while text.len() < 65_536
            && let Ok(next) = inbox.try_recv()
        {
            take(&next, &mut text);
        }
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let notice = format!("{lost} log entries are not shown here: the output is slower than the app");
            let entry = Entry::Notice { severity: Severity::Warning, version: None, text: notice };
            line(&(SystemTime::now(), None, entry), &mut text, format);
        }
        ui.data(&text);
        text.clear();
    }
}

fn line((at, app, entry): &Shown, text: &mut String, format: LogFormat) {
    match format {
        LogFormat::Text => show::plain_of(app.as_ref(), entry, text),
        LogFormat::Json => {
            let mut json = Vec::new();
            store::log::write_line(*at, entry, &mut json);
            let json = String::from_utf8_lossy(&json);
            match (app, json.strip_prefix('{')) {
                // An id needs no escapes.
                (Some(app), Some(rest)) => text.extend(["{\"app\":\"", app.as_str(), "\",", rest]),
                _ => text.push_str(&json),
            }
        }
    }
}
