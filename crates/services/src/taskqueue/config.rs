//! The queues of an app as they are in force: what queue.yaml (or a server's state) says, and what was changed since.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use model::brief::hex;
use model::ids::AppId;
use model::queue::{Queue, QueueAccess, QueueMode, QueueRetry};
use model::taskqueue::{Rules, is_queue_name};
use prost::Message as _;

use crate::proto::taskqueue::task_queue_service_error::ErrorCode;
use crate::proto::taskqueue::{TaskQueueRetryParameters, TaskQueueUpdateQueueRequest, task_queue_mode::Mode};

/// Bytes of tasks that an app may keep where nobody says otherwise. Production's free apps had 500 MB; a full disk of one's own is worse.
const STORAGE: u64 = 100 << 30;

/// A change of a queue that its configuration's home may have to know.
#[derive(Debug, Clone, PartialEq)]
pub enum Steer {
    /// Stand still, or go on.
    Pause(bool),
    /// This is how it is now.
    Put(Box<Queue>),
    /// It is gone.
    Remove,
}

/// What the home of queue configurations says.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FileQueues {
    /// The queues, and whether they stand still.
    pub queues: Vec<(Queue, bool)>,
    /// `total_storage_limit`.
    pub storage_limit: Option<u64>,
    /// Changes whenever the configuration does: what was changed otherwise then gives way.
    pub stamp: String,
    /// Everything that changes queues is told here: a queue that it names is there, even if it was deleted once.
    pub is_whole: bool,
}

/// What queue.yaml says besides its queues' rates and retries.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QueueSettings {
    /// `total_storage_limit`; none = the house's own.
    pub storage_limit: Option<u64>,
    /// `acl`, by queue.
    pub access: BTreeMap<String, Vec<QueueAccess>>,
}

/// Where queue configurations live: queue.yaml in `run`, the store in `serve`.
pub trait QueueFile: Send + Sync {
    /// An app's queues.
    fn read(&self, app: &AppId) -> FileQueues;

    /// Changes one; false if it is kept with the tasks instead.
    ///
    /// # Errors
    /// A text for people.
    fn steer(&self, app: &AppId, queue: &str, steer: &Steer) -> Result<bool, String>;

    /// Sets what queue.yaml says of all queues together; false if that is kept elsewhere.
    ///
    /// # Errors
    /// A text for people.
    fn set(&self, _app: &AppId, _settings: &QueueSettings) -> Result<bool, String> {
        Ok(false)
    }

    /// The apps that may have tasks.
    fn apps(&self) -> Vec<AppId>;
}

/// A queue in force.
#[derive(Debug, Clone, PartialEq)]
pub struct Ruled {
    /// What it is.
    pub queue: Queue,
    /// It stands still.
    pub paused: bool,
}

impl Ruled {
    /// It is leased from.
    pub fn is_pull(&self) -> bool {
        self.queue.mode == QueueMode::Pull
    }

    /// The rules of a push queue.
    pub fn rules(&self) -> Option<Rules> {
        match self.queue.mode {
            QueueMode::Push { per_second, bucket_size, max_concurrent_requests } => {
                Some(Rules { per_second, bucket_size, max_concurrent_requests, paused: self.paused })
            }
            QueueMode::Pull => None,
        }
    }

    /// `MODE` of the protocol.
    pub(crate) fn mode(&self) -> Mode {
        if self.is_pull() { Mode::Pull } else { Mode::Push }
    }
}

/// All queues of an app in force.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Config {
    /// By name.
    pub queues: BTreeMap<String, Ruled>,
    /// Queues that were deleted.
    pub gone: BTreeSet<String>,
    /// Most bytes of tasks.
    pub storage_limit: u64,
}

impl Config {
    /// From the home of configurations, and what is kept with the tasks. `default` is always there.
    pub(crate) fn of(file: &FileQueues, kept: &[store::tasks::Queue], limit: Option<u64>) -> Self {
        let mut queues: BTreeMap<String, Ruled> =
            file.queues.iter().map(|(queue, paused)| (queue.name.clone(), Ruled { queue: queue.clone(), paused: *paused })).collect();
        queues.entry("default".into()).or_insert_with(|| Ruled { queue: plain("default"), paused: false });
        let mut gone = BTreeSet::new();
        for kept in kept {
            if let Some(queue) = kept.rules.as_deref().and_then(stored) {
                queues.insert(kept.name.clone(), Ruled { queue, paused: false });
            }
            if kept.gone.is_some() && !(file.is_whole && file.queues.iter().any(|(queue, _)| queue.name == kept.name)) {
                queues.remove(&kept.name);
                gone.insert(kept.name.clone());
            } else if let Some(queue) = queues.get_mut(&kept.name) {
                queue.paused |= kept.paused;
            }
        }
        Self { queues, gone, storage_limit: limit.or(file.storage_limit).unwrap_or(STORAGE) }
    }

    /// The queue of a name, or what the SDK's `_ValidateQueueName` says. Names that could be none have a code of their own.
    pub(crate) fn find(&self, name: &Bytes) -> Result<&Ruled, ErrorCode> {
        let name = super::text(name).filter(|name| !name.is_empty()).ok_or(ErrorCode::InvalidQueueName)?;
        if let Some(found) = self.queues.get(name) {
            return Ok(found);
        }
        if self.gone.contains(name) {
            return Err(ErrorCode::TombstonedQueue);
        }
        Err(if is_queue_name(name) { ErrorCode::UnknownQueue } else { ErrorCode::InvalidQueueName })
    }
}

/// A queue of which only the name is known.
pub(crate) fn plain(name: &str) -> Queue {
    Queue { name: name.into(), mode: QueueMode::DEFAULT_PUSH, retry: QueueRetry::default(), target: None, acl: Vec::new() }
}

/// Retry parameters of the protocol; `None` if they contradict each other.
pub(crate) fn retry(given: &TaskQueueRetryParameters) -> Option<QueueRetry> {
    let seconds = |value: f64| Duration::try_from_secs_f64(value).ok();
    let retry = QueueRetry {
        limit: given.retry_limit.map(u32::try_from).transpose().ok()?,
        age_limit: given
            .age_limit_sec
            .map(|age| u64::try_from(age).ok().filter(|age| *age > 0).map(Duration::from_secs).ok_or(()))
            .transpose()
            .ok()?,
        min_backoff: seconds(given.min_backoff_sec())?,
        max_backoff: seconds(given.max_backoff_sec())?,
        max_doublings: u32::try_from(given.max_doublings()).ok()?,
    };
    // As the SDK's TaskRetryOptions: a minimum alone raises the maximum.
    if retry.min_backoff > retry.max_backoff {
        return given.max_backoff_sec.is_none().then_some(QueueRetry { max_backoff: retry.min_backoff, ..retry });
    }
    Some(retry)
}

/// The same in the protocol's words.
pub(crate) fn shown_retry(retry: &QueueRetry) -> TaskQueueRetryParameters {
    TaskQueueRetryParameters {
        retry_limit: retry.limit.map(|limit| i32::try_from(limit).unwrap_or(i32::MAX)),
        age_limit_sec: retry.age_limit.map(|age| i64::try_from(age.as_secs()).unwrap_or(i64::MAX)),
        min_backoff_sec: Some(retry.min_backoff.as_secs_f64()),
        max_backoff_sec: Some(retry.max_backoff.as_secs_f64()),
        max_doublings: Some(i32::try_from(retry.max_doublings).unwrap_or(i32::MAX)),
    }
}

/// The queue that `UpdateQueue` describes.
pub(crate) fn updated(request: &TaskQueueUpdateQueueRequest) -> Result<Queue, ErrorCode> {
    let name = super::text(&request.queue_name).filter(|name| is_queue_name(name)).ok_or(ErrorCode::InvalidQueueName)?;
    let per_second = request.bucket_refill_per_second;
    if !(0.0..=500.0).contains(&per_second) || request.bucket_capacity < 0 || request.max_concurrent_requests.is_some_and(|most| most < 0) {
        return Err(ErrorCode::InvalidQueueRate);
    }
    let retry = request.retry_parameters.as_ref().map_or(Some(QueueRetry::default()), retry).ok_or(ErrorCode::InvalidRetryParameters)?;
    let mode = match request.mode() {
        Mode::Pull => QueueMode::Pull,
        Mode::Push => QueueMode::Push {
            per_second,
            bucket_size: u32::try_from(request.bucket_capacity).unwrap_or(0),
            max_concurrent_requests: request.max_concurrent_requests.and_then(|most| u32::try_from(most).ok()).filter(|most| *most > 0),
        },
    };
    let account = |writer: bool| move |email: &Bytes| QueueAccess { email: String::from_utf8_lossy(email).into_owned(), writer };
    let acl =
        request.acl.iter().flat_map(|acl| acl.user_email.iter().map(account(false)).chain(acl.writer_email.iter().map(account(true))));
    Ok(Queue { name: name.into(), mode, retry, target: None, acl: acl.collect() })
}

/// How [`updated`] queues are kept.
pub(crate) fn to_stored(request: &TaskQueueUpdateQueueRequest) -> String {
    hex(&request.encode_to_vec())
}

fn stored(text: &str) -> Option<Queue> {
    let digits: Vec<u8> = text.chars().map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    updated(&TaskQueueUpdateQueueRequest::decode(&*bytes).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s1_default_is_always_there_and_changes_survive() {
        let file = FileQueues { queues: vec![(plain("mail"), false)], ..FileQueues::default() };
        let request = TaskQueueUpdateQueueRequest {
            queue_name: Bytes::from_static(b"own"),
            bucket_refill_per_second: 2.5,
            bucket_capacity: 7,
            ..TaskQueueUpdateQueueRequest::default()
        };
        let kept = |name: &str| store::tasks::Queue { name: name.into(), ..store::tasks::Queue::default() };
        let own = store::tasks::Queue { rules: Some(to_stored(&request)), ..kept("own") };
        let mail = store::tasks::Queue { paused: true, ..kept("mail") };
        let config = Config::of(&file, &[own, mail], None);
        assert_eq!(config.queues.keys().collect::<Vec<_>>(), ["default", "mail", "own"]);
        assert!(config.queues["mail"].paused && !config.queues["default"].paused);
        assert_eq!(config.queues["own"].queue.mode, QueueMode::Push { per_second: 2.5, bucket_size: 7, max_concurrent_requests: None });
        let gone = store::tasks::Queue { gone: Some(1), ..kept("mail") };
        let again = Config::of(&FileQueues { is_whole: true, ..file.clone() }, std::slice::from_ref(&gone), None);
        assert!(again.queues.contains_key("mail"), "made again after it was deleted");
        let config = Config::of(&file, &[gone], None);
        assert_eq!(config.find(&Bytes::from_static(b"mail")), Err(ErrorCode::TombstonedQueue));
        assert_eq!(config.find(&Bytes::from_static(b"own")), Err(ErrorCode::UnknownQueue));
        assert_eq!(config.find(&Bytes::from_static(b"a b")), Err(ErrorCode::InvalidQueueName));
        assert_eq!(config.find(&Bytes::new()), Err(ErrorCode::InvalidQueueName));
    }

    #[test]
    fn s1_retry_parameters_are_checked() {
        let given = TaskQueueRetryParameters::default();
        assert_eq!(retry(&given), Some(QueueRetry::default()));
        for bad in [
            TaskQueueRetryParameters { retry_limit: Some(-1), ..given },
            TaskQueueRetryParameters { age_limit_sec: Some(0), ..given },
            TaskQueueRetryParameters { min_backoff_sec: Some(f64::NAN), ..given },
            TaskQueueRetryParameters { min_backoff_sec: Some(9.0), max_backoff_sec: Some(8.0), ..given },
            TaskQueueRetryParameters { max_doublings: Some(-1), ..given },
        ] {
            assert_eq!(retry(&bad), None, "{bad:?}");
        }
    }
}
