//! Pull queues: `QueryAndOwnTasks` leases, `ModifyTaskLease` changes a lease.

use std::time::Duration;

use model::taskqueue::{MOST_LEASE, MOST_LEASED, micros};
use store::tasks::{Refused, Task, Wish};

use super::house::tombstone;
use super::{Call, find, refuse, spec, text};
use crate::call::Failure;
use crate::proto::taskqueue::task_queue_query_and_own_tasks_response as owned;
use crate::proto::taskqueue::task_queue_service_error::ErrorCode;
use crate::proto::taskqueue::{
    TaskQueueModifyTaskLeaseRequest, TaskQueueModifyTaskLeaseResponse, TaskQueueQueryAndOwnTasksRequest, TaskQueueQueryAndOwnTasksResponse,
};

/// How long a lease is, in microseconds.
fn lease(seconds: f64) -> Result<i64, Failure> {
    let length = Duration::try_from_secs_f64(seconds).ok().filter(|length| *length <= MOST_LEASE);
    length.map(micros).ok_or_else(|| refuse(ErrorCode::InvalidRequest, "A lease lasts from 0 seconds to 7 days."))
}

impl Call<'_> {
    pub(super) async fn query_and_own_tasks(
        &self,
        request: TaskQueueQueryAndOwnTasksRequest,
    ) -> Result<TaskQueueQueryAndOwnTasksResponse, Failure> {
        let config = self.app.config();
        let queue = find(&config, &request.queue_name)?;
        if !queue.is_pull() {
            return Err(refuse(ErrorCode::InvalidQueueMode, format!("`{}` is no pull queue.", queue.queue.name)));
        }
        let length = lease(request.lease_seconds)?;
        if !(1..=MOST_LEASED).contains(&request.max_tasks) {
            return Err(refuse(ErrorCode::InvalidRequest, format!("From 1 to {MOST_LEASED} tasks can be leased at once.")));
        }
        if request.tag.is_some() && !request.group_by_tag() {
            return Err(refuse(ErrorCode::InvalidRequest, "Tag specified, but group_by_tag was not."));
        }
        let wish = Wish {
            now: self.now,
            until: self.now.saturating_add(length),
            most: usize::try_from(request.max_tasks).unwrap_or(1),
            group: request.group_by_tag(),
            tag: request.tag.as_ref().filter(|tag| !tag.is_empty()).map(|tag| tag.to_vec()),
            tombstone: tombstone(self.now),
        };
        let (name, usual) = (queue.queue.name, queue.queue.retry);
        let leased = self
            .change(move |change| {
                change.lease(&name, &wish, |task| {
                    let own = spec::decode(&task.spec).retry;
                    own.as_ref().unwrap_or(&usual).allows(task.retries.saturating_add(1), Duration::ZERO)
                })
            })
            .await?;
        Ok(TaskQueueQueryAndOwnTasksResponse { task: leased.into_iter().map(owned_task).collect() })
    }

    pub(super) async fn modify_task_lease(
        &self,
        request: TaskQueueModifyTaskLeaseRequest,
    ) -> Result<TaskQueueModifyTaskLeaseResponse, Failure> {
        let config = self.app.config();
        let queue = find(&config, &request.queue_name)?;
        if !queue.is_pull() {
            return Err(refuse(ErrorCode::InvalidQueueMode, format!("`{}` is no pull queue.", queue.queue.name)));
        }
        if queue.paused {
            return Err(refuse(ErrorCode::QueuePaused, format!("The queue `{}` is paused.", queue.queue.name)));
        }
        let until = self.now.saturating_add(lease(request.lease_seconds)?);
        let (name, of) = (text(&request.task_name).unwrap_or_default().to_owned(), queue.queue.name);
        let (eta, now) = (request.eta_usec, self.now);
        match self.change(move |change| change.modify(&of, &name, eta, now, until)).await? {
            Ok(()) => Ok(TaskQueueModifyTaskLeaseResponse { updated_eta_usec: until }),
            Err(Refused::Expired) => Err(refuse(ErrorCode::TaskLeaseExpired, "The lease is over, or somebody else's.")),
            Err(Refused::Tombstoned) => Err(refuse(ErrorCode::TombstonedTask, "The task was deleted.")),
            Err(_) => Err(refuse(ErrorCode::UnknownTask, "There is no such task.")),
        }
    }
}

fn owned_task(task: Task) -> owned::Task {
    owned::Task {
        task_name: task.name.into(),
        eta_usec: task.eta,
        retry_count: Some(i32::try_from(task.retries).unwrap_or(i32::MAX)),
        body: Some(spec::decode(&task.spec).body),
        tag: task.tag.map(Into::into),
    }
}
