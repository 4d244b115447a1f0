//! Push queues: which task is sent when, and what becomes of one that failed. Times are microseconds since 1970 and come in as arguments.

mod line;
mod names;
mod verdict;

pub use line::{Action, Event, Line, Outcome, Rules, TaskId};
pub use names::{AUTO_NAME, is_auto_name, is_queue_name, is_task_name};
pub use verdict::{Attempt, Verdict, judge};

use std::time::Duration;

use crate::queue::QueueRetry;

/// Microseconds since 1970.
pub type Micros = i64;

/// Bytes of a push task (the SDK's `MAX_PUSH_TASK_SIZE_BYTES`).
pub const MOST_PUSH: usize = 100 << 10;
/// Bytes of a pull task (the SDK's `MAX_PULL_TASK_SIZE_BYTES`).
pub const MOST_PULL: usize = 1 << 20;
/// Tasks in one call.
pub const MOST_ADDED: usize = 100;
/// Tasks that are leased at once.
pub const MOST_LEASED: i64 = 1000;
/// Bytes of a tag.
pub const MOST_TAG: usize = 500;
/// Bytes of a URL.
pub const MOST_URL: usize = 2083;
/// How far ahead a task may be put off.
pub const MOST_ETA: Duration = Duration::from_hours(30 * 24);
/// The longest lease.
pub const MOST_LEASE: Duration = Duration::from_hours(7 * 24);
/// The name of a task that is gone cannot be used again for so long (App Engine's documents: up to nine days).
pub const TOMBSTONE: Duration = Duration::from_hours(9 * 24);

/// A duration in microseconds.
pub fn micros(duration: Duration) -> Micros {
    Micros::try_from(duration.as_micros()).unwrap_or(Micros::MAX)
}

impl QueueRetry {
    /// Whether a task may be tried again: `retry` is which retry this would be, from 1, `age` the time since its first try. With both limits, it is given
    /// up when both are reached (the SDK's `Retry.CanRetry`).
    pub fn allows(&self, retry: u32, age: Duration) -> bool {
        let count = self.limit.map(|limit| limit >= retry);
        let time = self.age_limit.map(|limit| limit >= age);
        match (count, time) {
            (None, None) => true,
            (Some(one), None) | (None, Some(one)) => one,
            (Some(count), Some(time)) => count || time,
        }
    }

    /// How long to wait before a retry, counted from 1: doubled `max_doublings` times, then grown by the same step (the SDK's `CalculateBackoffUsec`).
    pub fn backoff(&self, retry: u32) -> Duration {
        let doublings = retry.saturating_sub(1).min(self.max_doublings);
        let steps = retry.saturating_sub(doublings).max(1);
        let seconds = self.min_backoff.as_secs_f64() * 2f64.powi(i32::try_from(doublings).unwrap_or(1023).min(1023)) * f64::from(steps);
        Duration::try_from_secs_f64(seconds).map_or(self.max_backoff, |wait| wait.min(self.max_backoff))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s1_backoff_doubles_then_grows_by_steps() {
        let retry = QueueRetry {
            min_backoff: Duration::from_secs(10),
            max_backoff: Duration::from_secs(200),
            max_doublings: 3,
            ..QueueRetry::default()
        };
        let waits: Vec<u64> = (1..=6).map(|count| retry.backoff(count).as_secs()).collect();
        // The documents' example for queue.yaml: 10, 20, 40, 80, 160, 200 …
        assert_eq!(waits, [10, 20, 40, 80, 160, 200]);
        let linear = QueueRetry { max_doublings: 0, ..retry };
        assert_eq!((1..=3).map(|count| linear.backoff(count).as_secs()).collect::<Vec<_>>(), [10, 20, 30]);
        let endless = QueueRetry { max_doublings: u32::MAX, ..QueueRetry::default() };
        assert_eq!(endless.backoff(u32::MAX), Duration::from_hours(1));
    }

    #[test]
    fn s1_two_limits_must_both_be_reached() {
        let none = QueueRetry::default();
        assert!(none.allows(u32::MAX, Duration::MAX));
        let count = QueueRetry { limit: Some(2), ..none.clone() };
        assert!(count.allows(2, Duration::MAX) && !count.allows(3, Duration::ZERO));
        let age = QueueRetry { age_limit: Some(Duration::from_secs(9)), ..none };
        assert!(age.allows(99, Duration::from_secs(9)) && !age.allows(1, Duration::from_secs(10)));
        let both = QueueRetry { limit: Some(2), ..age };
        assert!(
            both.allows(2, Duration::from_secs(10)) && both.allows(3, Duration::from_secs(9)) && !both.allows(3, Duration::from_secs(10))
        );
    }
}
