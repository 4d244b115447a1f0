//! What becomes of a task after it was sent.

use std::time::Duration;

use super::Micros;
use crate::queue::QueueRetry;

/// How a task was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// Retries so far (`X-AppEngine-TaskRetryCount`).
    pub retries: u32,
    /// How often an instance had it (`X-AppEngine-TaskExecutionCount`).
    pub executions: u32,
    /// When it was sent for the first time.
    pub first_try: Micros,
    /// The status of the answer; `None` if there was none.
    pub status: Option<u16>,
    /// An instance had it: it did not fail for want of one.
    pub reached: bool,
    /// When it ended.
    pub now: Micros,
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is done.
    Done,
    /// It is tried again.
    Again {
        /// When.
        eta: Micros,
        /// Its retries then.
        retries: u32,
        /// Its executions then.
        executions: u32,
    },
    /// It has no retries left.
    GivenUp,
}

/// Judges an attempt: 200 to 299 is success.
pub fn judge(attempt: &Attempt, retry: &QueueRetry) -> Verdict {
    if attempt.status.is_some_and(|status| (200..300).contains(&status)) {
        return Verdict::Done;
    }
    let retries = attempt.retries.saturating_add(1);
    let age = Duration::from_micros(u64::try_from(attempt.now.saturating_sub(attempt.first_try)).unwrap_or(0));
    if !retry.allows(retries, age) {
        return Verdict::GivenUp;
    }
    let executions = attempt.executions.saturating_add(u32::from(attempt.reached));
    Verdict::Again { eta: attempt.now.saturating_add(super::micros(retry.backoff(retries))), retries, executions }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIED: Attempt = Attempt { retries: 0, executions: 0, first_try: 5_000_000, status: Some(500), reached: true, now: 6_000_000 };

    #[test]
    fn h12_only_2xx_is_success_and_only_instances_execute() {
        let retry = QueueRetry::default();
        for status in [200, 201, 299] {
            assert_eq!(judge(&Attempt { status: Some(status), ..TRIED }, &retry), Verdict::Done);
        }
        for status in [Some(199), Some(302), Some(404), Some(503), None] {
            assert_eq!(judge(&Attempt { status, ..TRIED }, &retry), Verdict::Again { eta: 6_100_000, retries: 1, executions: 1 });
        }
        let nobody = Attempt { reached: false, retries: 1, ..TRIED };
        assert_eq!(judge(&nobody, &retry), Verdict::Again { eta: 6_200_000, retries: 2, executions: 0 });
    }

    #[test]
    fn s1_limits_end_a_task() {
        let never = QueueRetry { limit: Some(0), ..QueueRetry::default() };
        assert_eq!(judge(&TRIED, &never), Verdict::GivenUp);
        let age = QueueRetry { age_limit: Some(Duration::from_millis(999)), ..QueueRetry::default() };
        assert_eq!(judge(&TRIED, &age), Verdict::GivenUp);
    }
}
