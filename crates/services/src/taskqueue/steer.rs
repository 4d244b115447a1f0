//! What changes queues, or tasks from outside: `Delete`, `ForceRun`, `UpdateQueue`, `PauseQueue`, `PurgeQueue`, `DeleteQueue`, `DeleteGroup`,
//! `UpdateStorageLimit`. In production the last three and pausing are the console's; here an app may do them to itself, and only if it says so.

use std::sync::Arc;

use bytes::Bytes;
use model::taskqueue::is_auto_name;
use store::tasks::Refused;

use super::config::{Steer, to_stored, updated};
use super::dispatch::Told;
use super::house::{LIMIT, tombstone};
use super::{Call, blocking, broken, check_app, find, refuse, text};
use crate::call::Failure;
use crate::proto::taskqueue::task_queue_service_error::ErrorCode;
use crate::proto::taskqueue::{
    TaskQueueDeleteGroupRequest, TaskQueueDeleteGroupResponse, TaskQueueDeleteQueueRequest, TaskQueueDeleteQueueResponse,
    TaskQueueDeleteRequest, TaskQueueDeleteResponse, TaskQueueForceRunRequest, TaskQueueForceRunResponse, TaskQueuePauseQueueRequest,
    TaskQueuePauseQueueResponse, TaskQueuePurgeQueueRequest, TaskQueuePurgeQueueResponse, TaskQueueUpdateQueueRequest,
    TaskQueueUpdateQueueResponse, TaskQueueUpdateStorageLimitRequest, TaskQueueUpdateStorageLimitResponse,
};

/// The SDK's limit: 1000 TB.
const MOST_STORAGE: i64 = 1000 << 40;

impl Call<'_> {
    pub(super) async fn delete(&self, request: TaskQueueDeleteRequest) -> Result<TaskQueueDeleteResponse, Failure> {
        check_app(request.app_id.as_ref(), self.context)?;
        let config = self.app.config();
        let queue = match config.find(&request.queue_name) {
            Ok(found) => found.queue.name.clone(),
            Err(code) => {
                // The stub knows no bad names here.
                let code = if code == ErrorCode::InvalidQueueName { ErrorCode::UnknownQueue } else { code };
                return Ok(TaskQueueDeleteResponse { result: vec![code.into(); request.task_name.len()] });
            }
        };
        let names: Vec<String> = request.task_name.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        let now = self.now;
        let results = self
            .change(move |change| {
                let delete = |name: &String| Ok((change.delete(&queue, name, now, tombstone(now))?, is_auto_name(name, now)));
                names.iter().map(delete).collect::<Result<Vec<_>, store::control::StoreError>>()
            })
            .await?;
        let code = |(result, auto): (Result<(), Refused>, bool)| match result {
            Ok(()) => ErrorCode::Ok.into(),
            Err(Refused::Tombstoned) => ErrorCode::TombstonedTask.into(),
            Err(_) if auto => ErrorCode::TombstonedTask.into(),
            Err(_) => ErrorCode::UnknownTask.into(),
        };
        Ok(TaskQueueDeleteResponse { result: results.into_iter().map(code).collect() })
    }

    pub(super) async fn force_run(&self, request: TaskQueueForceRunRequest) -> Result<TaskQueueForceRunResponse, Failure> {
        check_app(request.app_id.as_ref(), self.context)?;
        let answer = |code: ErrorCode| Ok(TaskQueueForceRunResponse { result: code.into() });
        let config = self.app.config();
        let queue = match config.find(&request.queue_name) {
            Ok(found) if found.is_pull() => return answer(ErrorCode::InvalidQueueMode),
            Ok(found) => found.queue.name.clone(),
            Err(code) => return answer(code),
        };
        let (of, name, now) = (queue.clone(), text(&request.task_name).unwrap_or_default().to_owned(), self.now);
        let Some(id) = self.change(move |change| change.postpone(&of, &name, now)).await? else { return answer(ErrorCode::UnknownTask) };
        self.app.tell(Told::Forced(queue, id));
        answer(ErrorCode::Ok)
    }

    pub(super) async fn update_queue(&self, request: TaskQueueUpdateQueueRequest) -> Result<TaskQueueUpdateQueueResponse, Failure> {
        check_app(request.app_id.as_ref(), self.context)?;
        let queue = updated(&request).map_err(|code| refuse(code, super::add::meaning(code)))?;
        let config = self.app.config();
        if config.gone.contains(&queue.name) {
            return Err(refuse(ErrorCode::TombstonedQueue, format!("The queue `{}` was deleted.", queue.name)));
        }
        let name = queue.name.clone();
        let count = self.read(move |view| Ok(view.queue(&name)?.map_or(0, |queue| queue.tasks))).await?;
        if count > 0
            && config
                .queues
                .get(&queue.name)
                .is_some_and(|known| known.queue.mode != queue.mode && (known.is_pull() || queue.mode == model::queue::QueueMode::Pull))
        {
            let text = format!("The queue `{}` has tasks, so it cannot become a queue of the other kind.", queue.name);
            return Err(refuse(ErrorCode::InvalidQueueMode, text));
        }
        let name = queue.name.clone();
        let house = Arc::clone(self.house);
        let app = Arc::clone(&self.app);
        let rules = to_stored(&request);
        blocking(move || {
            let elsewhere = house.file.steer(&app.id, &name, &Steer::Put(Box::new(queue))).map_err(transient)?;
            if !elsewhere {
                app.tasks.change_now(move |change| change.rule(&name, Some(&rules))).map_err(|error| broken(&error))?;
            }
            app.refresh(&*house.file).map_err(|error| broken(&error))
        })
        .await?;
        Ok(TaskQueueUpdateQueueResponse {})
    }

    pub(super) async fn pause_queue(&self, request: TaskQueuePauseQueueRequest) -> Result<TaskQueuePauseQueueResponse, Failure> {
        self.steer(&request.app_id, &request.queue_name, Steer::Pause(request.pause)).await?;
        Ok(TaskQueuePauseQueueResponse {})
    }

    pub(super) async fn delete_queue(&self, request: TaskQueueDeleteQueueRequest) -> Result<TaskQueueDeleteQueueResponse, Failure> {
        self.steer(&request.app_id, &request.queue_name, Steer::Remove).await?;
        Ok(TaskQueueDeleteQueueResponse {})
    }

    async fn steer(&self, app_id: &Bytes, queue: &Bytes, steer: Steer) -> Result<(), Failure> {
        self.check_named(app_id)?;
        let queue = find(&self.app.config(), queue)?.queue.name;
        let (house, app) = (Arc::clone(self.house), Arc::clone(&self.app));
        blocking(move || house.steer(&app, &queue, &steer).map_err(transient)).await
    }

    /// What the console does is done only to an app that is named.
    fn check_named(&self, app_id: &Bytes) -> Result<(), Failure> {
        let named = !app_id.is_empty() && check_app(Some(app_id), self.context)?;
        if named { Ok(()) } else { Err(refuse(ErrorCode::PermissionDenied, "The request does not say which app is meant.")) }
    }

    pub(super) async fn purge_queue(&self, request: TaskQueuePurgeQueueRequest) -> Result<TaskQueuePurgeQueueResponse, Failure> {
        check_app(request.app_id.as_ref(), self.context)?;
        let queue = find(&self.app.config(), &request.queue_name)?.queue.name;
        let app = Arc::clone(&self.app);
        blocking(move || app.purge(&queue).map_err(|error| broken(&error))).await?;
        Ok(TaskQueuePurgeQueueResponse {})
    }

    pub(super) async fn delete_group(&self, request: TaskQueueDeleteGroupRequest) -> Result<TaskQueueDeleteGroupResponse, Failure> {
        self.check_named(&request.app_id)?;
        let (house, app) = (Arc::clone(self.house), Arc::clone(&self.app));
        blocking(move || {
            for queue in app.config().queues.keys() {
                house.steer(&app, queue, &Steer::Remove).map_err(transient)?;
            }
            Ok(())
        })
        .await?;
        Ok(TaskQueueDeleteGroupResponse {})
    }

    pub(super) async fn update_storage_limit(
        &self,
        request: TaskQueueUpdateStorageLimitRequest,
    ) -> Result<TaskQueueUpdateStorageLimitResponse, Failure> {
        self.check_named(&request.app_id)?;
        let limit = request.limit;
        if !(0..=MOST_STORAGE).contains(&limit) {
            return Err(refuse(ErrorCode::InvalidRequest, "The limit is from 0 to 1000 TB."));
        }
        self.change(move |change| change.set_meta(LIMIT, &limit.to_string())).await?;
        let (house, app) = (Arc::clone(self.house), Arc::clone(&self.app));
        blocking(move || app.refresh(&*house.file).map_err(|error| broken(&error))).await?;
        Ok(TaskQueueUpdateStorageLimitResponse { new_limit: limit })
    }
}

fn transient(text: String) -> Failure {
    refuse(ErrorCode::TransientError, text)
}
