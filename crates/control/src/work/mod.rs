//! Changes carried out: what a request asks for becomes an operation in one transaction, and a driver does what follows from it. The state comes first,
//! then its effects; a driver that is ended anywhere is followed by one that does the same steps again (decision 213).

mod apps;
mod collect;
mod deploy;
mod migration;
mod publish;
mod rules;
mod services;
mod sources;
mod steer;
mod task;
#[cfg(test)]
mod tests;
mod versions;
mod worker;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::engine::Engine;
use model::ids::{AppId, VersionKey};
use model::migrate::guard::Health;
use model::table::{Estate, Naming};
use serde_json::Value;
use store::control::{Actor, Begin, Change, Failure, Lock, Operation, OperationId, Outcome, Store, StoreError};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

pub use collect::Keep;
pub use worker::{Gradual, ServiceChange, Steer};

use crate::status::{Code, Status};
use publish::Publisher;
use task::Task;

/// Counts a version's requests, for migrations that watch it.
pub trait Watch: Send + Sync {
    /// All since some time in the past.
    fn health(&self, app: &AppId, version: &VersionKey) -> Health;
}

/// The host names of an app, given the domains that are mapped to it.
pub type Names = Arc<dyn Fn(&AppId, Vec<String>) -> Naming + Send + Sync>;

/// The names of an app's buckets.
pub type Buckets = Arc<dyn Fn(&AppId) -> Vec<String> + Send + Sync>;

/// What a house is told once.
#[derive(Clone)]
pub struct Settings {
    /// The host names of an app, given the domains that are mapped to it.
    pub naming: Names,
    /// The buckets that every app has: the one for deployments and the default one.
    pub buckets: Buckets,
    /// Who counts requests; without, migrations see what instances report.
    pub watch: Option<Arc<dyn Watch>>,
    /// The app that answers to addresses and bare domains; without, the only one.
    pub fallback: Option<AppId>,
    /// Most versions of an app; App Engine's limit is 210, ours is the disk.
    pub most_versions: Option<u64>,
    /// How long things are kept that nobody needs.
    pub keep: Keep,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("most_versions", &self.most_versions).field("keep", &self.keep).finish_non_exhaustive()
    }
}

/// Carries changes out. Cheap to clone.
///
/// Methods that begin operations block for a transaction, so async callers hand them to a thread; [`House::wait`] waits for the end of one.
#[derive(Clone)]
pub struct House(Arc<Inner>);

struct Inner {
    store: Store,
    engine: Arc<dyn Engine>,
    settings: Settings,
    publisher: Arc<Publisher>,
    runtime: Handle,
    running: Mutex<HashMap<OperationId, Running>>,
    /// Drivers may begin.
    open: AtomicBool,
    /// Tasks that go on until the house stops.
    always: Mutex<Vec<JoinHandle<()>>>,
}

/// An operation that is being driven.
struct Running {
    over: watch::Receiver<bool>,
    steer: mpsc::UnboundedSender<(Steer, String)>,
    task: JoinHandle<()>,
}

impl fmt::Debug for House {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("House").field("store", &self.0.store).finish_non_exhaustive()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl House {
    /// A house over a store; nothing runs before [`House::start`].
    pub fn new(store: Store, engine: Arc<dyn Engine>, settings: Settings, runtime: Handle) -> Self {
        let publisher = Publisher::new(store.clone(), Arc::clone(&engine), &settings);
        Self(Arc::new(Inner {
            store,
            engine,
            settings,
            publisher,
            runtime,
            running: Mutex::default(),
            open: AtomicBool::new(true),
            always: Mutex::default(),
        }))
    }

    /// The state.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// What was last put in force.
    pub fn estate(&self) -> Arc<Estate> {
        self.0.publisher.estate()
    }

    /// Puts the state in force, without changing or driving anything yet: what a new process does before it takes the folder over.
    ///
    /// # Errors
    /// If the state cannot be read.
    pub async fn publish(&self) -> Result<(), Status> {
        let lost = self.blocking(|house| house.0.store.restore_folders().map_err(Status::from)).await?;
        for what in lost {
            tracing::error!("a file of a version is lost; deploy the version again: {what}");
        }
        self.0.publisher.once().await?;
        Ok(())
    }

    /// Puts the state in force, goes on with the operations that were running, and from then on follows every change.
    ///
    /// # Errors
    /// If the state cannot be read.
    pub async fn start(&self) -> Result<(), Status> {
        self.publish().await?;
        let publisher = Arc::clone(&self.0.publisher);
        let house = self.clone();
        let tasks = [self.0.runtime.spawn(publisher.follow()), self.0.runtime.spawn(collect::now_and_then(house))];
        locked(&self.0.always).extend(tasks);
        let left = self.blocking(|house| house.0.store.read(|view| view.running_operations()).map_err(Status::from)).await?;
        for operation in left {
            tracing::info!(operation = operation.name(), target = operation.target, "goes on with an operation");
            self.launch(&operation, true);
        }
        Ok(())
    }

    /// Ends all drivers where they are; the next start goes on. To hand the folder over, release the store afterwards.
    pub async fn stop(&self) {
        self.0.open.store(false, Ordering::SeqCst);
        let tasks: Vec<JoinHandle<()>> =
            locked(&self.0.always).drain(..).chain(locked(&self.0.running).drain().map(|(_, it)| it.task)).collect();
        for task in tasks {
            task.abort();
            // Cancelled is what was asked for; a panic was told by its own task.
            let _ = task.await;
        }
    }

    /// Waits until what the state says now is in force.
    pub async fn settled(&self) {
        self.0.publisher.reached(self.0.store.rev()).await;
    }

    /// Waits until an operation is over, at most so long, and returns how it is then.
    ///
    /// # Errors
    /// If there is no such operation.
    pub async fn wait(&self, app: &AppId, id: OperationId, patience: Duration) -> Result<Operation, Status> {
        let over = locked(&self.0.running).get(&id).map(|running| running.over.clone());
        if let Some(mut over) = over {
            let _ = tokio::time::timeout(patience, over.wait_for(|over| *over)).await;
        }
        let app = app.clone();
        self.blocking(move |house| house.0.store.read(|view| view.operation(&app, &id.to_string())).map_err(Status::from)).await
    }

    /// Begins an operation whose state changes at once: `act` is in the transaction, and says what the operation answers.
    fn quick(
        &self,
        actor: &Actor,
        quick: Quick<'_>,
        act: impl FnOnce(&mut Change<'_>) -> Result<Value, Status>,
    ) -> Result<Operation, Status> {
        let operation = self.0.store.change(actor, |change| {
            let Quick { app, method, target, lock } = quick;
            let begun = change.begin(Begin { app: app.clone(), method, target, work: Value::Null, lock })?;
            let response = act(change)?;
            change.progress(begun.id, &to_value(&Task::Settle { response })?, "")?;
            change.operation(app, &begun.id.to_string()).map_err(Status::from)
        })?;
        self.launch(&operation, false);
        Ok(operation)
    }

    /// Drives an operation from here on. `again` = another process has perhaps begun.
    fn launch(&self, operation: &Operation, again: bool) {
        let (over, seen) = watch::channel(false);
        let (steer, steered) = mpsc::unbounded_channel();
        let (house, driven) = (self.clone(), operation.clone());
        let id = operation.id;
        // Held until it is in the map, so that a driver that ends at once finds itself there.
        let mut running = locked(&self.0.running);
        if !self.0.open.load(Ordering::SeqCst) {
            // Whoever takes the folder over finds it.
            return;
        }
        let task = self.0.runtime.spawn(async move {
            house.drive(&driven, steered, again).await;
            locked(&house.0.running).remove(&id);
            let _ = over.send(true);
        });
        running.insert(id, Running { over: seen, steer, task });
    }

    async fn drive(&self, operation: &Operation, steered: mpsc::UnboundedReceiver<(Steer, String)>, again: bool) {
        let done = match serde_json::from_value::<Task>(operation.work.clone()) {
            Ok(Task::Settle { response }) => self.settle(response).await,
            Ok(Task::Deploy(task)) => self.deploy(operation, *task).await,
            Ok(Task::Migrate { service, migration }) => self.migrate(operation, service, *migration, steered, again).await,
            Ok(Task::End { service, version, instance }) => self.end_instance(operation, &service, &version, &instance),
            Err(error) => {
                tracing::error!(operation = operation.name(), "what is left of an operation cannot be read: {error}");
                Err(Status::new(Code::Internal, "The operation was interrupted and cannot be resumed; repeat the request."))
            }
        };
        self.finish(operation, done).await;
    }

    /// Waits until the state is in force.
    async fn settle(&self, response: Value) -> Result<Value, Status> {
        self.settled().await;
        Ok(response)
    }

    /// Ends an operation's row, trying until it succeeds: nothing else may happen to what it has.
    async fn finish(&self, operation: &Operation, done: Result<Value, Status>) {
        let outcome = match done {
            Ok(response) => Outcome::Done(response),
            Err(status) => {
                Outcome::Failed(Failure { code: i32::from(status.code.number()), message: status.message, details: status.details })
            }
        };
        let mut pause = Duration::from_millis(10);
        loop {
            let (app, id, outcome) = (operation.app.clone(), operation.id, outcome.clone());
            let actor = actor_of(operation);
            let ended = self.blocking(move |house| Ok(house.0.store.change(&actor, |change| change.finish(&app, id, &outcome)))).await;
            match ended {
                // A folder that was handed over: the next process finds the operation as it is.
                Ok(Ok(_) | Err(StoreError::HandedOver)) => return,
                Ok(Err(error)) => tracing::error!(operation = operation.name(), "cannot write that an operation is over: {error}"),
                Err(status) => tracing::error!(operation = operation.name(), "cannot write that an operation is over: {status}"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(5));
        }
    }

    /// Does something that blocks.
    async fn blocking<T: Send + 'static>(&self, act: impl FnOnce(&Self) -> Result<T, Status> + Send + 'static) -> Result<T, Status> {
        let house = self.clone();
        match self.0.runtime.spawn_blocking(move || act(&house)).await {
            Ok(done) => done,
            Err(error) => {
                tracing::error!("a change failed: {error}");
                Err(Status::internal())
            }
        }
    }

    /// A change that belongs to an operation.
    async fn step<T: Send + 'static>(
        &self,
        operation: &Operation,
        act: impl FnOnce(&mut Change<'_>) -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        let (actor, id) = (actor_of(operation), operation.id);
        let step = move |house: &Self| {
            house.0.store.change(&actor, |change| {
                change.as_part_of(id);
                act(change)
            })
        };
        self.blocking(step).await
    }
}

/// An operation whose state changes at once.
struct Quick<'a> {
    app: &'a AppId,
    method: &'static str,
    target: String,
    lock: Lock,
}

/// Who began an operation.
fn actor_of(operation: &Operation) -> Actor {
    Actor { name: operation.user.clone(), token: None }
}

fn to_value(task: &Task) -> Result<Value, Status> {
    serde_json::to_value(task).map_err(|error| {
        tracing::error!("an operation's work cannot be written: {error}");
        Status::internal()
    })
}

impl From<StoreError> for Status {
    fn from(error: StoreError) -> Self {
        let code = match &error {
            StoreError::Missing(_) => Code::NotFound,
            StoreError::Exists(_) => Code::AlreadyExists,
            StoreError::Busy { .. } | StoreError::Stale(_) => Code::Aborted,
            StoreError::Invalid(_) => Code::InvalidArgument,
            StoreError::HandedOver => Code::Unavailable,
            StoreError::Sql(_) | StoreError::Damaged { .. } | StoreError::Io { .. } => {
                tracing::error!("the store: {error}");
                return Self::internal();
            }
        };
        Self::new(code, error.to_string())
    }
}
