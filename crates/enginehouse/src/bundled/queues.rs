//! Task queues: where their configuration lives in `run` and in `serve`, and what people see of them (`enginehouse queues`, `enginehouse tasks`).

mod documents;
mod order;
mod ward;

use std::sync::Arc;

use arc_swap::ArcSwap;
use model::ids::AppId;
use model::queue::Queues;
use services::taskqueue::{FileQueues, QueueFile, Steer};

pub(crate) use documents::StoredQueues;
pub(crate) use ward::QueuesWard;

/// queue.yaml of the app that runs.
pub(crate) struct YamlQueues {
    app: AppId,
    queues: ArcSwap<Queues>,
}

impl YamlQueues {
    /// As it was read at the start.
    pub(crate) fn new(app: AppId, queues: Queues) -> Arc<Self> {
        Arc::new(Self { app, queues: ArcSwap::from_pointee(queues) })
    }

    /// Takes what was read anew; tells whether it is different.
    pub(crate) fn set(&self, queues: &Queues) -> bool {
        let changed = **self.queues.load() != *queues;
        if changed {
            self.queues.store(Arc::new(queues.clone()));
        }
        changed
    }
}

impl QueueFile for YamlQueues {
    fn read(&self, _: &AppId) -> FileQueues {
        let queues = self.queues.load();
        FileQueues {
            queues: queues.queues.iter().map(|queue| (queue.clone(), false)).collect(),
            storage_limit: queues.total_storage_limit,
            stamp: format!("{queues:?}"),
            is_whole: false,
        }
    }

    fn steer(&self, _: &AppId, _: &str, _: &Steer) -> Result<bool, String> {
        Ok(false)
    }

    fn apps(&self) -> Vec<AppId> {
        vec![self.app.clone()]
    }
}
