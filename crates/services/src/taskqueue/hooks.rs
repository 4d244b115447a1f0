//! What only tests ask of queues (`--test-mode`): what tasks there are, whatever their queue, and to be rid of them.

use std::sync::Arc;

use bytes::Bytes;

use super::{Call, broken};
use crate::call::{Answer, Failure, read, write};
use crate::proto::taskqueue as pb;

/// Tasks of a queue that are looked at.
const MOST: i32 = 1000;

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
            _ => Err(Failure::no_call("taskqueue", method)),
        }
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

impl super::House {
    /// Forgets all tasks of the apps that have called, and their names. Blocks.
    pub(super) fn clear(&self) {
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
