//! The apps whose tasks are kept here. Each is opened when it first calls, or when the process begins to send what is due.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use model::ids::AppId;
use store::control::StoreError;
use store::tasks::{Change, Holding, Tasks};
use tokio::sync::{Notify, mpsc, oneshot};

use super::config::{Config, QueueFile, QueueSettings, Steer};
use super::dispatch::{Dispatcher, Told};
use super::hooks::Hooks;
use super::stats::Board;
use crate::outside::Outside;

/// Under which name the configuration's stamp is kept.
const STAMP: &str = "file";
/// Under which name the limit of storage is kept.
pub(super) const LIMIT: &str = "storage_limit";
/// Tasks that run on when the state is let go are left alone by the next process for so long: the longest deadline, and a little more.
const HELD: Duration = Duration::from_hours(25);

/// Where an app's services keep their state.
pub type Folder = Arc<dyn Fn(&AppId) -> PathBuf + Send + Sync>;

/// All apps.
pub struct House {
    folder: Folder,
    pub(super) file: Arc<dyn QueueFile>,
    pub(super) outside: Arc<Outside>,
    runtime: tokio::runtime::Handle,
    apps: Mutex<BTreeMap<AppId, Arc<App>>>,
    /// This process sends what is due.
    active: AtomicBool,
    pub(super) hooks: Hooks,
    /// A task has ended that this process executed without sending any more.
    left: Notify,
}

/// One app.
pub struct App {
    /// Its id.
    pub id: AppId,
    /// Its tasks.
    pub tasks: Tasks,
    config: ArcSwap<Config>,
    /// Tells the dispatcher; nobody listens while this process sends nothing.
    told: Mutex<Option<Listener>>,
    /// What this process executes without sending any more.
    holding: Mutex<Option<Holding>>,
    /// What was counted.
    pub board: Arc<Board>,
}

/// A dispatcher.
struct Listener {
    sender: mpsc::UnboundedSender<Told>,
    /// It may send tasks. Each has a flag of its own: one that was told to stop must not go on because another one began.
    sends: Arc<AtomicBool>,
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn micros(time: SystemTime) -> i64 {
    i64::try_from(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_micros()).unwrap_or(i64::MAX)
}

impl House {
    /// A house that sends nothing yet. Tasks are sent by `runtime`, which may block on the disk for moments.
    pub fn new(folder: Folder, file: Arc<dyn QueueFile>, outside: Arc<Outside>, runtime: tokio::runtime::Handle) -> Arc<Self> {
        let (apps, active) = (Mutex::default(), AtomicBool::new(false));
        Arc::new(Self { folder, file, outside, runtime, apps, active, hooks: Hooks::default(), left: Notify::new() })
    }

    /// An app, opened if need be. Blocks.
    ///
    /// # Errors
    /// If its tasks cannot be opened.
    pub fn app(self: &Arc<Self>, id: &AppId) -> Result<Arc<App>, StoreError> {
        let mut apps = locked(&self.apps);
        if let Some(app) = apps.get(id) {
            return Ok(Arc::clone(app));
        }
        let (house, name) = (Arc::downgrade(self), id.clone());
        let foreign = move || {
            if let Some(app) = house.upgrade().and_then(|house| locked(&house.apps).get(&name).map(Arc::clone)) {
                app.tell(Told::Stale);
            }
        };
        let tasks = Tasks::open(&(self.folder)(id), foreign)?;
        let config = read_config(&*self.file, id, &tasks)?;
        let app = Arc::new(App {
            id: id.clone(),
            tasks,
            config: ArcSwap::from_pointee(config),
            told: Mutex::default(),
            holding: Mutex::default(),
            board: Arc::new(Board::default()),
        });
        apps.insert(id.clone(), Arc::clone(&app));
        drop(apps);
        if self.is_active() {
            self.send_for(&app);
        }
        Ok(app)
    }

    /// The apps that were opened so far.
    pub(super) fn opened(&self) -> Vec<Arc<App>> {
        locked(&self.apps).values().cloned().collect()
    }

    /// Whether this process sends what is due.
    pub(super) fn is_active(&self) -> bool {
        self.active.load(Ordering::SeqCst)
    }

    /// Begins to send what is due, for all apps that have tasks. Blocks.
    pub fn begin(self: &Arc<Self>) {
        self.active.store(true, Ordering::SeqCst);
        let open: Vec<Arc<App>> = locked(&self.apps).values().map(Arc::clone).collect();
        for app in open {
            self.send_for(&app);
        }
        for id in self.file.apps() {
            if Tasks::exist(&(self.folder)(&id))
                && let Err(error) = self.app(&id)
            {
                tracing::error!(%error, app = %id, "the tasks cannot be opened");
            }
        }
    }

    fn send_for(self: &Arc<Self>, app: &Arc<App>) {
        let mut told = locked(&app.told);
        if told.is_some() {
            return;
        }
        let (sender, receiver) = mpsc::unbounded_channel();
        let sends = Arc::new(AtomicBool::new(true));
        *told = Some(Listener { sender: sender.clone(), sends: Arc::clone(&sends) });
        self.runtime.spawn(Dispatcher::new(Arc::clone(self), Arc::clone(app), sender, sends).run(receiver));
    }

    /// Sends no more. What is in flight is written down, so that whoever sends next leaves it alone; its results are still taken in. Blocks.
    pub fn let_go(&self) {
        self.active.store(false, Ordering::SeqCst);
        let apps: Vec<Arc<App>> = locked(&self.apps).values().map(Arc::clone).collect();
        for app in apps {
            let Some(listener) = locked(&app.told).take() else { continue };
            listener.sends.store(false, Ordering::SeqCst);
            let _ = listener.sender.send(Told::Config);
            if let Err(error) = app.hold() {
                tracing::error!(%error, app = %app.id, "tasks in flight may run twice");
            }
        }
    }

    /// Waits until the tasks have ended that were in flight when the state was let go.
    pub async fn settled(&self) {
        loop {
            let left = self.left.notified();
            if self.opened().iter().all(|app| locked(&app.holding).is_none()) {
                return;
            }
            left.await;
        }
    }

    /// A task has ended that this process executed without sending any more.
    pub(super) async fn release(&self, app: &App, id: i64) {
        app.release(id).await;
        self.left.notify_waiters();
    }

    /// Reads the configuration of an app anew, if it is open. Blocks.
    pub fn reload(&self, id: &AppId) {
        let app = locked(&self.apps).get(id).map(Arc::clone);
        if let Some(app) = app
            && let Err(error) = app.refresh(&*self.file)
        {
            tracing::error!(%error, app = %id, "the queues cannot be read");
        }
    }

    /// The same for all apps that are open. Blocks.
    pub fn reload_all(&self) {
        let ids: Vec<AppId> = locked(&self.apps).keys().cloned().collect();
        for id in ids {
            self.reload(&id);
        }
    }

    /// Sets what is said of all queues together, where their configuration lives. Blocks.
    ///
    /// # Errors
    /// A text for people.
    pub fn set(&self, app: &App, settings: &QueueSettings) -> Result<(), String> {
        if !self.file.set(&app.id, settings)? {
            return Err("the queues of this app stand in its queue.yaml".into());
        }
        // What `UpdateStorageLimit` said before gives way: an empty word is none.
        app.tasks.change_now(|change| change.set_meta(LIMIT, "")).map_err(|error| error.to_string())?;
        app.refresh(&*self.file).map_err(|error| error.to_string())
    }

    /// Changes a queue, where its configuration lives. Blocks.
    ///
    /// # Errors
    /// A text for people.
    pub fn steer(&self, app: &App, queue: &str, steer: &Steer) -> Result<(), String> {
        let elsewhere = self.file.steer(&app.id, queue, steer)?;
        let (name, paused) = (queue.to_owned(), steer.clone());
        let now = micros(SystemTime::now());
        let kept = app.tasks.change_now(move |change| match paused {
            // A queue that was paused in both ways goes on in both.
            Steer::Pause(paused) => change.pause(&name, paused && !elsewhere),
            Steer::Remove => change.delete_queue(&name, now),
            Steer::Put(_) => Ok(()),
        });
        kept.map_err(|error| error.to_string())?;
        if *steer == Steer::Remove {
            app.tell(Told::Purged(queue.to_owned()));
        }
        app.refresh(&*self.file).map_err(|error| error.to_string())
    }
}

fn read_config(file: &dyn QueueFile, id: &AppId, tasks: &Tasks) -> Result<Config, StoreError> {
    let queues = file.read(id);
    let known = tasks.read(|view| view.meta(STAMP))?;
    if known.as_deref() != Some(&queues.stamp) {
        let stamp = queues.stamp.clone();
        tasks.change_now(move |change| {
            // What the file says now is newer than what was said otherwise.
            if known.is_some() {
                change.forget_rules()?;
            }
            change.set_meta(STAMP, &stamp)
        })?;
    }
    let (kept, limit) = tasks.read(|view| Ok((view.queues()?, view.meta(LIMIT)?)))?;
    Ok(Config::of(&queues, &kept, limit.and_then(|limit| limit.parse().ok())))
}

impl App {
    /// Its queues in force.
    pub fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }

    /// Reads its configuration anew. Blocks.
    pub(super) fn refresh(&self, file: &dyn QueueFile) -> Result<(), StoreError> {
        self.config.store(Arc::new(read_config(file, &self.id, &self.tasks)?));
        self.tell(Told::Config);
        Ok(())
    }

    /// Tells the dispatcher.
    pub(super) fn tell(&self, told: Told) {
        if let Some(listener) = &*locked(&self.told) {
            let _ = listener.sender.send(told);
        }
    }

    /// Writes down what is in flight. Blocks.
    fn hold(self: &Arc<Self>) -> Result<(), StoreError> {
        if self.board.in_flight().is_empty() {
            return Ok(());
        }
        let board = Arc::clone(&self.board);
        // What ends before this is written is not in it; what ends afterwards is released.
        let holding = self.tasks.hold(move || board.in_flight(), micros(SystemTime::now() + HELD))?;
        *locked(&self.holding) = Some(holding);
        self.released();
        Ok(())
    }

    async fn release(&self, id: i64) {
        if let Err(error) = self.change(move |change| change.let_go(id)).await {
            // It is left alone until this process ends.
            tracing::error!(%error, app = %self.id, "the end of a task cannot be written");
        }
        self.released();
    }

    fn released(&self) {
        if self.board.in_flight().is_empty() {
            drop(locked(&self.holding).take());
        }
    }

    /// Changes the tasks, and waits until that is on the disk.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Change<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (sender, receiver) = oneshot::channel();
        self.tasks.change(act, move |result| {
            let _ = sender.send(result);
        });
        receiver.await.unwrap_or(Err(StoreError::HandedOver))
    }

    /// Removes all tasks of a queue. Blocks.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn purge(&self, queue: &str) -> Result<(), StoreError> {
        let (name, now) = (queue.to_owned(), micros(SystemTime::now()));
        self.tasks.change_now(move |change| change.purge(&name, now))?;
        self.tell(Told::Purged(queue.to_owned()));
        Ok(())
    }

    /// Sends a task now, whatever its queue's rules say; false if there is none. Blocks.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn force(&self, queue: &str, task: &str) -> Result<bool, StoreError> {
        let (name, of) = (task.to_owned(), queue.to_owned());
        let now = micros(SystemTime::now());
        let found = self.tasks.change_now(move |change| change.postpone(&of, &name, now))?;
        if let Some(id) = found {
            self.tell(Told::Forced(queue.to_owned(), id));
        }
        Ok(found.is_some())
    }

    /// Removes a task. Blocks.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn delete(&self, queue: &str, task: &str) -> Result<Result<(), store::tasks::Refused>, StoreError> {
        let (of, name) = (queue.to_owned(), task.to_owned());
        let now = micros(SystemTime::now());
        self.tasks.change_now(move |change| change.delete(&of, &name, now, tombstone(now)))
    }

    /// Tasks of a queue in the order of `from`. Blocks.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn list(&self, queue: &str, from: &store::tasks::From, most: usize) -> Result<Vec<(store::tasks::Task, super::Shown)>, StoreError> {
        let found = self.tasks.read(|view| view.tasks(queue, from, most))?;
        Ok(found.into_iter().map(|task| (task.clone(), super::spec::decode(&task.spec))).collect())
    }
}

/// Until when a name of now is used.
pub(super) fn tombstone(now: i64) -> i64 {
    now.saturating_add(model::taskqueue::micros(model::taskqueue::TOMBSTONE))
}
