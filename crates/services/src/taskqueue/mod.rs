//! `taskqueue`: push and pull queues of an app, kept in its `tasks.db`. Calls come in here; what is due is sent by [`dispatch`].
//!
//! Errors and their order are those of the SDK's `taskqueue_stub.py`; where production's limits are tighter, they hold (decision 301).

mod add;
mod check;
mod config;
mod dispatch;
mod errand;
mod hooks;
mod house;
mod look;
mod order;
mod pull;
mod spec;
mod stats;
mod steer;

use std::sync::Arc;

use bytes::Bytes;
use model::pool::Boxed;
use store::control::StoreError;

use crate::call::{Answer, Context, Failure, Service, read, write};
use crate::card::{self, Card};
use crate::proto::taskqueue::task_queue_service_error::ErrorCode;

pub use config::{Config, FileQueues, QueueFile, QueueSettings, Ruled, Steer};
pub use house::{App, Folder, House};
pub use order::{Declined, Order};
pub use spec::{Push, Shown};

/// The largest message (the SDK's `MAX_REQUEST_SIZE`).
const MOST: usize = 32 << 20;

/// The service.
pub struct TaskQueue(pub Arc<House>);

/// A refusal with one of the service's codes.
pub(crate) fn refuse(code: ErrorCode, detail: impl Into<String>) -> Failure {
    Failure::app(code, detail)
}

/// The disk did not do its part; the caller may try again.
pub(crate) fn broken(error: &StoreError) -> Failure {
    tracing::error!(%error, "tasks");
    refuse(ErrorCode::TransientError, "The tasks of this app cannot be read or written now.")
}

/// Runs what blocks on a thread that may.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Failure> + Send + 'static) -> Result<T, Failure> {
    let joined = tokio::task::spawn_blocking(work).await;
    joined.unwrap_or_else(|_| Err(refuse(ErrorCode::InternalError, "The call broke off.")))
}

/// A name from a message.
pub(crate) fn text(bytes: &Bytes) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// Whether the call is about the caller's own app; another one's is not its to touch.
fn check_app(asked: Option<&Bytes>, context: &Context) -> Result<bool, Failure> {
    match asked {
        None => Ok(false),
        Some(asked) if text(asked).is_some_and(|asked| context.is_own(asked)) => Ok(true),
        Some(_) => Err(refuse(ErrorCode::PermissionDenied, "An app can only use its own queues.")),
    }
}

impl Service for TaskQueue {
    fn card(&self) -> &'static Card {
        &card::TASKQUEUE
    }

    fn most(&self) -> usize {
        MOST
    }

    fn clear(&self) {
        self.0.clear();
    }

    fn call<'a>(&'a self, method: &'a str, message: Bytes, context: &'a Context) -> Boxed<'a, Answer> {
        Box::pin(async move {
            let (house, app) = (Arc::clone(&self.0), context.app().clone());
            let app = blocking(move || house.app(&app).map_err(|error| broken(&error))).await?;
            let now = if context.testing { self.0.hooks.now(context.now) } else { house::micros(context.now) };
            let call = Call { app, house: &self.0, context, now };
            macro_rules! answer {
                ($method:ident) => {{
                    let request = read(message)?;
                    write(&call.$method(request).await?)
                }};
            }
            Ok(match method {
                "Add" => answer!(add),
                "BulkAdd" => answer!(bulk_add),
                "FetchQueues" => write(&call.fetch_queues(&read(message)?)?),
                "FetchQueueStats" => answer!(fetch_queue_stats),
                "Delete" => answer!(delete),
                "ForceRun" => answer!(force_run),
                "UpdateQueue" => answer!(update_queue),
                "PauseQueue" => answer!(pause_queue),
                "PurgeQueue" => answer!(purge_queue),
                "DeleteQueue" => answer!(delete_queue),
                "DeleteGroup" => answer!(delete_group),
                "QueryTasks" => answer!(query_tasks),
                "FetchTask" => answer!(fetch_task),
                "QueryAndOwnTasks" => answer!(query_and_own_tasks),
                "ModifyTaskLease" => answer!(modify_task_lease),
                "UpdateStorageLimit" => answer!(update_storage_limit),
                _ if context.testing => call.hook(method, message).await?,
                _ => return Err(Failure::no_call("taskqueue", method)),
            })
        })
    }
}

/// One call.
pub(crate) struct Call<'a> {
    app: Arc<App>,
    house: &'a Arc<House>,
    context: &'a Context,
    now: i64,
}

/// The queue of a name, or the refusal that the SDK's stub has for it.
fn find(config: &Config, name: &Bytes) -> Result<Ruled, Failure> {
    config.find(name).cloned().map_err(|code| {
        let shown = String::from_utf8_lossy(name);
        let text = match code {
            ErrorCode::UnknownQueue => format!("There is no queue `{shown}`; queues stand in queue.yaml."),
            ErrorCode::TombstonedQueue => format!("The queue `{shown}` was deleted."),
            _ => format!("`{shown}` is no name of a queue."),
        };
        refuse(code, text)
    })
}

impl Call<'_> {
    /// Changes the tasks, and waits until that is on the disk.
    async fn change<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut store::tasks::Change<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Failure> {
        self.app.change(act).await.map_err(|error| broken(&error))
    }

    /// Reads the tasks.
    async fn read<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&store::tasks::View<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Failure> {
        let app = Arc::clone(&self.app);
        blocking(move || app.tasks.read(ask).map_err(|error| broken(&error))).await
    }
}

#[cfg(test)]
mod tests;
