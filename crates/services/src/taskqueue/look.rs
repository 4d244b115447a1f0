//! What queues and tasks are there: `FetchQueues`, `FetchQueueStats`, `QueryTasks`, `FetchTask`.

use model::queue::QueueMode;
use model::taskqueue::is_auto_name;
use store::tasks::{From, Task};

use super::config::{Ruled, shown_retry};
use super::{Call, check_app, find, refuse, spec, text};
use crate::call::Failure;
use crate::proto::taskqueue::task_queue_fetch_queue_stats_response::QueueStats;
use crate::proto::taskqueue::task_queue_fetch_queues_response::Queue;
use crate::proto::taskqueue::task_queue_query_tasks_response as queried;
use crate::proto::taskqueue::task_queue_service_error::ErrorCode;
use crate::proto::taskqueue::{
    TaskQueueAcl, TaskQueueFetchQueueStatsRequest, TaskQueueFetchQueueStatsResponse, TaskQueueFetchQueuesRequest,
    TaskQueueFetchQueuesResponse, TaskQueueFetchTaskRequest, TaskQueueFetchTaskResponse, TaskQueueQueryTasksRequest,
    TaskQueueQueryTasksResponse, TaskQueueScannerQueueInfo,
};

/// Tasks that are shown at once.
const MOST_ROWS: usize = 1000;
/// Bytes of tasks that are shown at once; an answer has 32 MB.
const MOST_BYTES: usize = 30 << 20;

impl Call<'_> {
    pub(super) fn fetch_queues(&self, request: &TaskQueueFetchQueuesRequest) -> Result<TaskQueueFetchQueuesResponse, Failure> {
        check_app(request.app_id.as_ref(), self.context)?;
        let most = usize::try_from(request.max_rows).unwrap_or(0);
        let config = self.app.config();
        Ok(TaskQueueFetchQueuesResponse { queue: config.queues.values().take(most).map(shown_queue).collect() })
    }

    pub(super) async fn fetch_queue_stats(
        &self,
        request: TaskQueueFetchQueueStatsRequest,
    ) -> Result<TaskQueueFetchQueueStatsResponse, Failure> {
        check_app(request.app_id.as_ref(), self.context)?;
        let names: Vec<String> = request.queue_name.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        let config = self.app.config();
        let asked = names.clone();
        let found = self
            .read(move |view| {
                let one = |name: &String| Ok((view.queue(name)?.map_or(0, |queue| queue.tasks), view.oldest(name)?));
                asked.iter().map(one).collect::<Result<Vec<_>, store::control::StoreError>>()
            })
            .await?;
        let stats = names.iter().zip(found).map(|(name, (tasks, oldest))| QueueStats {
            num_tasks: i32::try_from(tasks).unwrap_or(i32::MAX),
            oldest_eta_usec: oldest.unwrap_or(-1),
            scanner_info: config.queues.contains_key(name).then(|| self.scanned(name)),
        });
        Ok(TaskQueueFetchQueueStatsResponse { queuestats: stats.collect() })
    }

    fn scanned(&self, queue: &str) -> TaskQueueScannerQueueInfo {
        let seen = self.app.board.seen(queue, self.now);
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        TaskQueueScannerQueueInfo {
            executed_last_minute: number(seen.last_minute),
            executed_last_hour: number(seen.last_hour),
            sampling_duration_seconds: 60.0,
            requests_in_flight: Some(i32::try_from(seen.in_flight).unwrap_or(i32::MAX)),
            enforced_rate: Some(seen.enforced_rate),
        }
    }

    pub(super) async fn query_tasks(&self, request: TaskQueueQueryTasksRequest) -> Result<TaskQueueQueryTasksResponse, Failure> {
        check_app(request.app_id.as_ref(), self.context)?;
        let config = self.app.config();
        let queue = find(&config, &request.queue_name)?.queue.name;
        let start = request.start_task_name.as_ref().and_then(text).unwrap_or_default().to_owned();
        let from = match (&request.start_tag, request.start_eta_usec) {
            (Some(tag), eta) => From::Tag(tag.to_vec(), eta.unwrap_or(i64::MIN), start),
            (None, Some(eta)) => From::Eta(eta, start),
            (None, None) => From::Name(start),
        };
        let most = usize::try_from(request.max_rows()).unwrap_or(0).min(MOST_ROWS);
        let found = self.read(move |view| view.tasks(&queue, &from, most)).await?;
        let mut room = MOST_BYTES;
        let fits = |task: &Task| {
            let whole = room >= task.spec.len();
            room = room.saturating_sub(task.spec.len());
            whole
        };
        Ok(TaskQueueQueryTasksResponse { task: found.into_iter().take_while(fits).map(shown_task).collect() })
    }

    pub(super) async fn fetch_task(&self, request: TaskQueueFetchTaskRequest) -> Result<TaskQueueFetchTaskResponse, Failure> {
        check_app(request.app_id.as_ref(), self.context)?;
        let config = self.app.config();
        let queue = find(&config, &request.queue_name)?.queue.name;
        let name = text(&request.task_name).unwrap_or_default().to_owned();
        let (now, asked) = (self.now, name.clone());
        let (found, gone) = self.read(move |view| Ok((view.find(&queue, &asked)?, view.is_tombstoned(&queue, &asked, now)?))).await?;
        match found {
            Some(task) => Ok(TaskQueueFetchTaskResponse { task: TaskQueueQueryTasksResponse { task: vec![shown_task(task)] } }),
            None if gone || is_auto_name(&name, now) => Err(refuse(ErrorCode::TombstonedTask, format!("The task `{name}` is gone."))),
            None => Err(refuse(ErrorCode::UnknownTask, format!("There is no task `{name}`."))),
        }
    }
}

fn shown_queue(ruled: &Ruled) -> Queue {
    let queue = &ruled.queue;
    let (rate, bucket, concurrent) = match queue.mode {
        QueueMode::Push { per_second, bucket_size, max_concurrent_requests } => (per_second, bucket_size, max_concurrent_requests),
        QueueMode::Pull => (0.0, 0, None),
    };
    Queue {
        queue_name: queue.name.clone().into(),
        bucket_refill_per_second: rate,
        bucket_capacity: f64::from(bucket),
        user_specified_rate: (!ruled.is_pull()).then(|| format!("{rate}/s")),
        paused: ruled.paused,
        retry_parameters: Some(shown_retry(&queue.retry)),
        max_concurrent_requests: concurrent.map(|most| i32::try_from(most).unwrap_or(i32::MAX)),
        mode: Some(ruled.mode().into()),
        acl: shown_acl(queue),
        header_override: Vec::new(),
        creator_name: None,
    }
}

/// Who may use a queue, if that is said.
pub(super) fn shown_acl(queue: &model::queue::Queue) -> Option<TaskQueueAcl> {
    let accounts = |writer: bool| queue.acl.iter().filter(move |one| one.writer == writer).map(|one| one.email.clone().into()).collect();
    (!queue.acl.is_empty()).then(|| TaskQueueAcl { user_email: accounts(false), writer_email: accounts(true) })
}

fn shown_task(task: Task) -> queried::Task {
    let shown = spec::decode(&task.spec);
    let count = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
    let header = |(key, value): (Vec<u8>, Vec<u8>)| queried::task::Header { key: key.into(), value: value.into() };
    queried::Task {
        task_name: task.name.into(),
        eta_usec: task.eta,
        url: (!shown.url.is_empty()).then(|| shown.url.into()),
        method: shown.method.as_deref().map(spec::method_number),
        retry_count: Some(count(task.retries)),
        header: shown.headers.into_iter().map(header).collect(),
        body_size: Some(i32::try_from(shown.body.len()).unwrap_or(i32::MAX)),
        body: shown.has_body.then_some(shown.body),
        creation_time_usec: task.created,
        crontimetable: None,
        runlog: task.run.map(|run| queried::task::RunLog {
            dispatched_usec: run.dispatched,
            lag_usec: 0,
            elapsed_usec: run.elapsed,
            response_code: run.code.map(i64::from),
            retry_reason: run.reason,
        }),
        description: shown.description,
        payload: None,
        retry_parameters: spec::given_retry(&task.spec),
        first_try_usec: task.first_try,
        tag: task.tag.map(Into::into),
        execution_count: Some(count(task.executions)),
        dispatch_deadline_usec: shown.deadline.map(model::taskqueue::micros),
    }
}
