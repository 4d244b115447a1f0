//! queue.yaml: the task queues of an app, after defaults.

use std::time::Duration;

/// All queues of an app.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Queues {
    /// `total_storage_limit` in bytes.
    pub total_storage_limit: Option<u64>,
    /// `resume_paused_queues: false`: deploying the file lets queues that stand still stand still.
    pub keep_paused: bool,
    /// The queues in the file's order; `default` exists even if the file does not name it.
    pub queues: Vec<Queue>,
}

/// One queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// Push or pull.
    pub mode: QueueMode,
    /// How failed tasks are tried again.
    pub retry: QueueRetry,
    /// `[version.]service` that runs the tasks, instead of the one that added them.
    pub target: Option<String>,
    /// Who may use a pull queue over REST.
    pub acl: Vec<QueueAccess>,
}

/// How tasks leave a queue.
#[derive(Debug, Clone, PartialEq)]
pub enum QueueMode {
    /// The house sends them as requests.
    Push {
        /// Tasks a second, on average; zero stands still.
        per_second: f64,
        /// How many may leave at once after a pause.
        bucket_size: u32,
        /// Most tasks in flight; `None` = the house's own limit.
        max_concurrent_requests: Option<u32>,
    },
    /// The app leases them.
    Pull,
}

impl QueueMode {
    /// What a push queue does when the file says nothing: 5 tasks a second, bucket of 5.
    pub const DEFAULT_PUSH: Self = Self::Push { per_second: 5.0, bucket_size: 5, max_concurrent_requests: None };
}

/// `retry_parameters` of a queue or a task.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueRetry {
    /// Most retries; `None` = no limit by count.
    pub limit: Option<u32>,
    /// No retry after this time; `None` = no limit by age.
    pub age_limit: Option<Duration>,
    /// The first wait.
    pub min_backoff: Duration,
    /// The longest wait.
    pub max_backoff: Duration,
    /// How often the wait doubles before it only grows linearly.
    pub max_doublings: u32,
}

impl Default for QueueRetry {
    /// The SDK's defaults: 0.1 s to an hour, 16 doublings, no end.
    fn default() -> Self {
        Self {
            limit: None,
            age_limit: None,
            min_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_hours(1),
            max_doublings: 16,
        }
    }
}

/// One entry of `acl`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueAccess {
    /// The account.
    pub email: String,
    /// `writer_email` may also add tasks; `user_email` may lease and delete.
    pub writer: bool,
}
