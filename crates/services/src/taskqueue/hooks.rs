//! What only tests ask of queues (`--test-mode`): what tasks there are, whatever their queue, to be rid of them, and a clock that stands still.
//!
//! Calls see the clock of tests (leases, ETAs, names that are used up); what is due is sent by the real one, as in the SDK's stub.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use model::queue::{QueueMode, QueueRetry};
use model::taskqueue::Micros;
use store::tasks::{From, Task};

use super::config::{Ruled, shown_retry};
use super::dispatch::Told;
use super::house::micros;
use super::{Call, broken, look, refuse, spec};
use crate::call::{Answer, Failure, read, write};
use crate::proto::remote_api::rpc_error::Code;
use crate::proto::taskqueue as pb;
use crate::proto::taskqueue::get_queue_state_info_response::{QueueInfo, TaskInfo};
use crate::proto::taskqueue::task_queue_service_error::ErrorCode;

/// Tasks of a queue that are looked at.
const MOST: i32 = 1000;

/// The last millisecond of the year 9999: beyond it neither dates nor sums are what they seem.
const LATEST: i64 = 253_402_300_799_999;

/// What tests have set.
#[derive(Debug, Default)]
pub(super) struct Hooks {
    /// The clock stands here.
    clock: Mutex<Option<Micros>>,
    /// Tasks are sent only if somebody says so of each.
    still: AtomicBool,
}

impl Hooks {
    /// What calls take for now.
    pub(super) fn now(&self, real: SystemTime) -> Micros {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or_else(|| micros(real))
    }

    fn stop_at(&self, now: Option<Micros>) {
        *self.clock.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// Whether push queues stand still, whatever their rules say.
    pub(super) fn still(&self) -> bool {
        self.still.load(Ordering::SeqCst)
    }
}

impl Call<'_> {
    /// One of the methods of `TaskQueueStubService`.
    pub(super) async fn hook(&self, method: &str, message: Bytes) -> Answer {
        match method {
            "GetFilteredTasks" => self.filtered(read(message)?).await,
            "GetQueues" => self.queues().await,
            "FlushQueue" => {
                let asked: pb::FlushQueueRequest = read(message)?;
                self.purge_queue(pb::TaskQueuePurgeQueueRequest { queue_name: asked.queue_name, ..Default::default() }).await?;
                Ok(Bytes::new())
            }
            "DeleteTask" => {
                self.delete(read(message)?).await?;
                Ok(Bytes::new())
            }
            "SetTaskQueueClock" => {
                let asked: pb::SetTaskQueueClockRequest = read(message)?;
                self.house.hooks.stop_at(Some(asked.clock_time_milliseconds.clamp(0, LATEST) * 1000));
                Ok(Bytes::new())
            }
            "GetQueueStateInfo" => self.state().await,
            "SetUpStub" => self.set_up(&read(message)?).await,
            "LoadQueueXml" | "PatchQueueYamlParser" => {
                let text = format!("{method}() is for stubs that are written in Python; queues stand in queue.yaml.");
                Err(Failure::Rpc(Code::CallNotFound, text))
            }
            _ => Err(Failure::no_call("taskqueue", method)),
        }
    }

    /// Begins anew, as with a new stub: no tasks, the real clock, and tasks are sent by themselves only if that is said.
    async fn set_up(&self, asked: &pb::SetUpStubRequest) -> Answer {
        if asked.all_queues_valid() {
            return Err(refuse(ErrorCode::InvalidRequest, "Only the queues of queue.yaml are there (all_queues_valid)."));
        }
        let house = Arc::clone(self.house);
        let still = !asked.auto_task_running();
        super::blocking(move || {
            house.clear();
            house.stand_still(still);
            Ok(())
        })
        .await?;
        Ok(Bytes::new())
    }

    /// All queues and their tasks, by ETA.
    async fn state(&self) -> Answer {
        let mut queues = Vec::new();
        for (name, ruled) in &self.app.config().queues {
            let (of, most) = (name.clone(), usize::try_from(MOST).unwrap_or(0));
            let found = self.read(move |view| view.tasks(&of, &From::Eta(i64::MIN, String::new()), most)).await?;
            queues.push(queue_info(ruled, found));
        }
        Ok(write(&pb::GetQueueStateInfoResponse { queues }))
    }

    async fn filtered(&self, asked: pb::GetFilteredTasksRequest) -> Answer {
        let config = self.app.config();
        let names: Vec<&String> =
            config.queues.keys().filter(|name| asked.queue_names.is_empty() || asked.queue_names.contains(name)).collect();
        let is = |wanted: Option<&str>, found: &[u8]| wanted.is_none_or(|wanted| wanted.is_empty() || wanted.as_bytes() == found);
        let mut all = pb::TaskQueueQueryTasksResponse::default();
        for name in names {
            let queue_name = Bytes::copy_from_slice(name.as_bytes());
            let request = pb::TaskQueueQueryTasksRequest { queue_name, max_rows: Some(MOST), ..Default::default() };
            let found = self.query_tasks(request).await?.task.into_iter();
            all.task.extend(found.filter(|task| is(asked.name.as_deref(), &task.task_name) && is(asked.url.as_deref(), task.url())));
        }
        // `0:00:05.000000 from now`: for people, and the one thing that the stub's console shows
        let delta = |task: &pb::task_queue_query_tasks_response::Task| {
            let micros = task.eta_usec - self.now;
            let ago = if micros < 0 { " ago" } else { " from now" };
            let seconds = micros.unsigned_abs() / 1_000_000;
            format!("{}:{:02}:{:02}.{:06}{ago}", seconds / 3600, seconds / 60 % 60, seconds % 60, micros.unsigned_abs() % 1_000_000)
        };
        let eta_delta = all.task.iter().map(delta).collect();
        Ok(write(&pb::GetFilteredTasksResponse { query_tasks_response: (!all.task.is_empty()).then_some(all), eta_delta }))
    }

    async fn queues(&self) -> Answer {
        let queues = self.fetch_queues(&pb::TaskQueueFetchQueuesRequest { max_rows: MOST, ..Default::default() })?;
        let queue_name = queues.queue.iter().map(|queue| queue.queue_name.clone()).collect();
        let stats = self.fetch_queue_stats(pb::TaskQueueFetchQueueStatsRequest { queue_name, ..Default::default() }).await?;
        Ok(write(&pb::GetQueuesResponse { fetch_queues_response: queues, fetch_queue_stats_response: stats }))
    }
}

fn queue_info(ruled: &Ruled, tasks: Vec<Task>) -> QueueInfo {
    let queue = &ruled.queue;
    let (rate, bucket, concurrent) = match queue.mode {
        QueueMode::Push { per_second, bucket_size, max_concurrent_requests } => {
            (Some(per_second), Some(bucket_size), max_concurrent_requests)
        }
        // The stub gives every queue a bucket.
        QueueMode::Pull => (None, Some(5), None),
    };
    let number = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
    QueueInfo {
        queue_name: Some(queue.name.clone()),
        formatted_rate_string: rate.map(|rate| format!("{rate}/s")),
        bucket_size: bucket.map(number),
        max_concurrent_requests: concurrent.map(number),
        retry_parameters: (queue.retry != QueueRetry::default()).then(|| shown_retry(&queue.retry)),
        target: queue.target.clone(),
        mode: Some(if ruled.is_pull() { "pull" } else { "push" }.into()),
        acl: look::shown_acl(queue),
        task_infos: tasks.into_iter().map(|task| task_info(ruled, task)).collect(),
    }
}

/// A task, and the request that would add it.
fn task_info(ruled: &Ruled, task: Task) -> TaskInfo {
    let shown = spec::decode(&task.spec);
    let header = |(key, value): (Vec<u8>, Vec<u8>)| pb::task_queue_add_request::Header { key: key.into(), value: value.into() };
    let name = Bytes::from(task.name.into_bytes());
    let add_request = pb::TaskQueueAddRequest {
        queue_name: ruled.queue.name.clone().into(),
        task_name: name.clone(),
        eta_usec: task.eta,
        // What is usual is left out, as clients leave it out.
        method: shown.method.as_deref().filter(|method| *method != "POST").map(spec::method_number),
        url: (!shown.url.is_empty()).then(|| shown.url.into()),
        header: shown.headers.into_iter().map(header).collect(),
        body: shown.has_body.then_some(shown.body),
        description: shown.description,
        retry_parameters: spec::given_retry(&task.spec),
        mode: ruled.is_pull().then(|| ruled.mode().into()),
        tag: task.tag.map(Into::into),
        dispatch_deadline_usec: shown.deadline.map(model::taskqueue::micros),
        ..pb::TaskQueueAddRequest::default()
    };
    TaskInfo { task_name: Some(name), eta_millis: Some(task.eta / 1000), add_request: Some(add_request) }
}

impl super::House {
    /// Sends tasks only if somebody says so of each, or by themselves again.
    pub fn stand_still(&self, still: bool) {
        self.hooks.still.store(still, Ordering::SeqCst);
        for app in self.opened() {
            app.tell(Told::Config);
        }
    }

    /// Forgets all tasks of the apps that have called, and their names. Blocks.
    pub(super) fn clear(&self) {
        self.hooks.stop_at(None);
        for app in self.opened() {
            if let Err(error) = clear(&app) {
                // What is left is told to whoever asks next.
                drop(broken(&error));
            }
        }
    }
}

fn clear(app: &Arc<super::App>) -> Result<(), store::control::StoreError> {
    let names: Vec<String> = app.config().queues.keys().cloned().collect();
    for name in &names {
        app.purge(name)?;
    }
    app.tasks.change_now(move |change| names.iter().try_for_each(|name| change.forget_names(name)))
}
