//! Cron jobs of the state: whenever the state changes, those of the apps that changed are read again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use model::ids::AppId;
use serde_json::json;
use services::cron::Cron;
use store::control::{Kind, Page, Store, StoreError};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::cron::{Desk, of_state};
use crate::journal::Recorder;

/// Follows the state until it is dropped.
pub(crate) struct Jobs {
    cron: Arc<Cron>,
    following: JoinHandle<()>,
    open: Arc<AtomicBool>,
}

impl Jobs {
    /// Reads all jobs and lets them run. This process has the state. Must be called in a runtime.
    pub(crate) fn start(store: &Store, cron: &Arc<Cron>, journal: &Arc<Recorder>) -> Self {
        let wake = Arc::new(Notify::new());
        let weak = Arc::downgrade(&wake);
        store.on_change(move |_| {
            if let Some(wake) = weak.upgrade() {
                wake.notify_one();
            }
        });
        let open = Arc::new(AtomicBool::new(true));
        let follower = Follower { store: store.clone(), cron: Arc::clone(cron), journal: Arc::clone(journal), open: Arc::clone(&open) };
        cron.open();
        let following = tokio::spawn(async move {
            let mut known = BTreeMap::new();
            loop {
                let follower = follower.clone();
                let before = std::mem::take(&mut known);
                let Ok(after) = tokio::task::spawn_blocking(move || follower.look(before)).await else { return };
                known = after;
                wake.notified().await;
            }
        });
        Self { cron: Arc::clone(cron), following, open }
    }
}

impl Drop for Jobs {
    fn drop(&mut self) {
        self.open.store(false, Ordering::SeqCst);
        self.following.abort();
        self.cron.close();
    }
}

#[derive(Clone)]
struct Follower {
    store: Store,
    cron: Arc<Cron>,
    journal: Arc<Recorder>,
    open: Arc<AtomicBool>,
}

impl Follower {
    /// Reads the jobs of apps that changed; by app, the revision that was read.
    fn look(&self, known: BTreeMap<AppId, u64>) -> BTreeMap<AppId, u64> {
        match self.read(&known) {
            Ok(read) => read,
            Err(error) => {
                self.journal.notice(model::journal::Severity::Error, format!("the cron jobs cannot be read: {error}"));
                known
            }
        }
    }

    fn read(&self, known: &BTreeMap<AppId, u64>) -> Result<BTreeMap<AppId, u64>, StoreError> {
        let apps = self.store.read::<_, StoreError>(|view| view.apps(&Page::all()))?;
        let mut read = BTreeMap::new();
        for app in apps {
            if known.get(&app.id) != Some(&app.rev) {
                let disabled =
                    matches!(app.fields.get("servingStatus").and_then(|status| status.as_str()), Some("USER_DISABLED" | "SYSTEM_DISABLED"));
                let documents = self.store.read::<_, StoreError>(|view| view.documents(&app.id, Kind::Cron, &Page::all()))?;
                let jobs = if disabled { Vec::new() } else { documents.iter().filter_map(of_state).collect() };
                self.set(&app.id, jobs);
            }
            read.insert(app.id, app.rev);
        }
        for gone in known.keys().filter(|app| !read.contains_key(*app)) {
            self.set(gone, Vec::new());
        }
        Ok(read)
    }

    fn set(&self, app: &AppId, jobs: Vec<services::cron::Job>) {
        if self.open.load(Ordering::SeqCst) {
            self.cron.set(app, jobs);
        }
    }
}

/// Pauses of jobs are part of the state.
pub(crate) fn keep_pauses(desk: &Desk, store: &Store) {
    let store = store.clone();
    desk.pauses_in(Box::new(move |app, name, paused, actor| {
        store.change(actor, |change| {
            let Some(found) = change.find_document(app, Kind::Cron, name)? else { return Ok(false) };
            let mut body = found.body;
            body["state"] = json!(if paused { "PAUSED" } else { "ENABLED" });
            change.put_document(app, Kind::Cron, name, &body)?;
            Ok::<_, control::status::Status>(true)
        })
    }));
}
