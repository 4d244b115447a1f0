//! `Add` and `BulkAdd`.

use std::collections::BTreeSet;

use model::route::host;
use model::taskqueue::{MOST_ADDED, Micros, TaskId};
use prost::Message as _;
use store::tasks::{Added, Fresh, Refused};

use super::check::check;
use super::config::Config;
use super::dispatch::Told;
use super::spec::{Push, encode};
use super::{Call, check_app, refuse};
use crate::call::Failure;
use crate::proto::remote_api::rpc_error;
use crate::proto::taskqueue::task_queue_bulk_add_response::TaskResult;
use crate::proto::taskqueue::task_queue_mode::Mode;
use crate::proto::taskqueue::task_queue_service_error::ErrorCode;
use crate::proto::taskqueue::{TaskQueueAddRequest, TaskQueueAddResponse, TaskQueueBulkAddRequest, TaskQueueBulkAddResponse};

/// Bytes of all tasks of a transaction (the SDK's `MAX_TRANSACTIONAL_REQUEST_SIZE_BYTES`).
const MOST_TRANSACTIONAL: usize = 1 << 20;

impl Call<'_> {
    pub(super) async fn add(&self, request: TaskQueueAddRequest) -> Result<TaskQueueAddResponse, Failure> {
        let response = self.bulk_add(TaskQueueBulkAddRequest { add_request: vec![request] }).await?;
        let Some(result) = response.taskresult.into_iter().next() else { return Err(refuse(ErrorCode::InternalError, "")) };
        match result.result() {
            ErrorCode::Ok => Ok(TaskQueueAddResponse { chosen_task_name: result.chosen_task_name }),
            code => Err(refuse(code, meaning(code))),
        }
    }

    pub(super) async fn bulk_add(&self, request: TaskQueueBulkAddRequest) -> Result<TaskQueueBulkAddResponse, Failure> {
        let tasks = request.add_request;
        let Some(first) = tasks.first() else { return Err(refuse(ErrorCode::InvalidRequest, "There is no task in the request.")) };
        if tasks.len() > MOST_ADDED {
            return Err(refuse(ErrorCode::TooManyTasks, format!("At most {MOST_ADDED} tasks can be added at once.")));
        }
        if first.queue_name.is_empty() {
            return Err(refuse(ErrorCode::UnknownQueue, "The first task names no queue."));
        }
        for task in &tasks {
            check_app(task.app_id.as_ref(), self.context)?;
        }
        let config = self.app.config();
        let mut names = BTreeSet::new();
        let mut codes: Vec<ErrorCode> = Vec::with_capacity(tasks.len());
        for task in &tasks {
            codes.push(match check(task, &config, self.now) {
                ErrorCode::Ok if task.queue_name != first.queue_name => ErrorCode::InvalidRequest,
                ErrorCode::Ok if !task.task_name.is_empty() && !names.insert(&task.task_name) => ErrorCode::DuplicateTaskName,
                code => code,
            });
        }
        if codes.iter().any(|code| *code != ErrorCode::Ok) {
            // All or nothing, as far as mistakes of the request go.
            let skipped = |code| if code == ErrorCode::Ok { ErrorCode::Skipped } else { code };
            return Ok(response(codes.into_iter().map(|code| (skipped(code), None))));
        }
        if first.transaction.is_some() || first.datastore_transaction.is_some() {
            return Err(transactional(&tasks));
        }
        if config.find(&first.queue_name).is_ok_and(|queue| queue.mode() != first.mode()) {
            let kind = |mode| if mode == Mode::Pull { "pull" } else { "push" };
            let text =
                format!("The task is for a {} queue, which `{}` is not.", kind(first.mode()), String::from_utf8_lossy(&first.queue_name));
            return Err(refuse(ErrorCode::InvalidQueueMode, text));
        }
        self.store(&config, tasks).await
    }

    /// Writes the tasks, answers once they are on the disk, and then lets them be sent.
    async fn store(&self, config: &Config, tasks: Vec<TaskQueueAddRequest>) -> Result<TaskQueueBulkAddResponse, Failure> {
        let queue = tasks.first().and_then(|task| super::text(&task.queue_name)).unwrap_or_default().to_owned();
        let push = tasks.first().is_some_and(|task| task.mode() == Mode::Push);
        let fresh: Vec<Fresh> = tasks.iter().map(|task| self.fresh(task)).collect();
        let (name, now, limit) = (queue.clone(), self.now, config.storage_limit);
        let results = self
            .change(move |change| {
                let more: u64 = fresh.iter().map(|task| task.size).sum();
                if change.bytes()?.saturating_add(more) > limit {
                    return Ok(None);
                }
                let added = fresh.iter().map(|task| Ok((task.eta, change.add(&name, task, now)?)));
                added.collect::<Result<Vec<_>, store::control::StoreError>>().map(Some)
            })
            .await?;
        let Some(results) = results else {
            let text = format!("The tasks of this app take {limit} bytes, which is their limit (total_storage_limit of queue.yaml).");
            return Err(Failure::Rpc(rpc_error::Code::OverQuota, text));
        };
        let arrived: Vec<(Micros, TaskId)> =
            results.iter().filter_map(|(eta, added)| added.as_ref().ok().map(|added| (*eta, added.id))).collect();
        if push && !arrived.is_empty() {
            self.app.tell(Told::Arrived(queue, arrived));
        }
        let chosen = tasks.iter().map(|task| task.task_name.is_empty());
        Ok(response(results.into_iter().zip(chosen).map(|((_, added), chosen)| match added {
            Ok(Added { name, .. }) => (ErrorCode::Ok, chosen.then_some(name)),
            Err(Refused::Exists) => (ErrorCode::TaskAlreadyExists, None),
            Err(_) => (ErrorCode::TombstonedTask, None),
        })))
    }

    fn fresh(&self, task: &TaskQueueAddRequest) -> Fresh {
        let push = (task.mode() == Mode::Push).then(|| self.push(task));
        Fresh {
            name: super::text(&task.task_name).filter(|name| !name.is_empty()).map(str::to_owned),
            eta: task.eta_usec,
            tag: task.tag.as_ref().filter(|tag| !tag.is_empty()).map(|tag| tag.to_vec()),
            size: u64::try_from(task.encoded_len()).unwrap_or(u64::MAX),
            spec: encode(task, push),
        }
    }

    /// Who is to run a task. The SDK puts the host of the request that adds it into the task if it is given no target, so that host means "whoever adds
    /// it": its service, and its version unless that takes the service's traffic ("if the default version changes, the task will run in the new one").
    fn push(&self, task: &TaskQueueAddRequest) -> Push {
        let version = &self.context.caller.version;
        let key = &version.config.key;
        let asked =
            task.header.iter().find(|header| header.key.eq_ignore_ascii_case(b"host")).and_then(|header| super::text(&header.value));
        let own_host = self.context.visit.as_ref().map(|visit| visit.authority.as_str());
        let estate = self.house.outside.estate();
        let found = asked.and_then(|host| {
            let found = estate.as_ref()?.find(host).ok().filter(|found| found.table.app == version.app)?;
            let aim = host::aim_at(found.table, &found.host, found.by, b"/_ah/queue").ok()?;
            Some((aim.service.to_string(), aim.named.then(|| aim.version.config.key.version.to_string()), aim.instance))
        });
        let table = self.house.outside.table(&version.app);
        let service = table.as_ref().and_then(|table| table.services.get(&key.service));
        let takes_traffic = service.is_none_or(|service| service.split.parts().any(|(id, _)| *id == key.version));
        match found {
            Some((service, named, instance)) if asked != own_host || named.is_some() => Push { service, version: named, instance },
            _ => Push { service: key.service.to_string(), version: (!takes_traffic).then(|| key.version.to_string()), instance: None },
        }
    }
}

fn response(results: impl Iterator<Item = (ErrorCode, Option<String>)>) -> TaskQueueBulkAddResponse {
    let result = |(code, name): (ErrorCode, Option<String>)| TaskResult { result: code.into(), chosen_task_name: name.map(Into::into) };
    TaskQueueBulkAddResponse { taskresult: results.map(result).collect() }
}

/// Tasks of a transaction are the datastore's to keep until it commits.
fn transactional(tasks: &[TaskQueueAddRequest]) -> Failure {
    if tasks.iter().map(prost::Message::encoded_len).sum::<usize>() > MOST_TRANSACTIONAL {
        return refuse(ErrorCode::TransactionalRequestTooLarge, "The tasks of the transaction are larger than 1 MiB.");
    }
    if tasks.iter().any(|task| !task.task_name.is_empty()) {
        return refuse(ErrorCode::InvalidRequest, "A task of a transaction cannot have a name.");
    }
    refuse(
        ErrorCode::DatastoreCapabilityDisabled,
        "Transactions need the datastore, which Enginehouse does not have yet; add the task without one.",
    )
}

/// For people.
pub(super) fn meaning(code: ErrorCode) -> String {
    code.as_str_name().replace('_', " ").to_ascii_lowercase()
}
