//! One job through time: when it is due, and what follows from how a run ended. Pure; docs/decisions/311-cron.md has the choices.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{CronJob, CronRetry, Schedule, Window};

/// A job that runs now and then, one run at a time.
#[derive(Debug, Clone)]
pub struct Course {
    schedule: Schedule,
    zone: TimeZone,
    retry: Option<CronRetry>,
    kept: Kept,
}

/// What of it outlives a process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// When the schedule has it run next; none under [`Window::Free`] while it runs.
    #[serde(with = "stamp", default)]
    scheduled: Option<Timestamp>,
    /// When a failed run is tried again.
    #[serde(with = "stamp", default)]
    again: Option<Timestamp>,
    /// Runs that failed one after the other, since the schedule last had its turn.
    #[serde(default)]
    failures: u32,
    /// When the first of these began.
    #[serde(with = "stamp", default)]
    first: Option<Timestamp>,
    #[serde(default)]
    running: bool,
    #[serde(default)]
    paused: bool,
}

/// What becomes of runs whose time passed while nobody looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missed {
    /// Nothing.
    Skip,
    /// One run, however many were missed.
    Once,
}

impl Kept {
    /// Whether it ran when this was kept.
    pub fn is_running(&self) -> bool {
        self.running
    }
}

impl Course {
    /// A job from `now` on, with what is known of it from before.
    pub fn new(job: &CronJob, kept: Option<Kept>, missed: Missed, now: Timestamp) -> Self {
        // What the parser let through is known; an older state may name a zone that is gone.
        let zone = TimeZone::get(&job.timezone).unwrap_or(TimeZone::UTC);
        let known = kept.is_some();
        let mut course = Self { schedule: job.schedule.clone(), zone, retry: job.retry.clone(), kept: kept.unwrap_or_default() };
        if course.kept.running {
            // The process ended under it.
            course.end(now, false);
        }
        let next = course.next(now);
        if !known || (missed == Missed::Skip && course.kept.scheduled.is_none_or(|at| at <= now)) {
            course.kept.scheduled = next;
        }
        if missed == Missed::Skip && course.kept.again.is_some_and(|at| at <= now) {
            course.kept.again = None;
        }
        // A clock that was ahead must not silence the job for years.
        course.kept.scheduled = course.kept.scheduled.map_or(next, |at| Some(next.map_or(at, |next| at.min(next))));
        course
    }

    /// A job that another process runs, which will tell how that ends.
    pub fn elsewhere(job: &CronJob, kept: Kept) -> Self {
        let zone = TimeZone::get(&job.timezone).unwrap_or(TimeZone::UTC);
        Self { schedule: job.schedule.clone(), zone, retry: job.retry.clone(), kept }
    }

    /// The same job with other settings, and the same schedule.
    #[must_use]
    pub fn changed(self, job: &CronJob) -> Self {
        Self { retry: job.retry.clone(), ..self }
    }

    /// What is to be kept.
    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    /// When it is to run next; `None` while it runs or is paused.
    pub fn due(&self) -> Option<Timestamp> {
        if self.kept.running || self.kept.paused {
            return None;
        }
        [self.kept.scheduled, self.kept.again].into_iter().flatten().min()
    }

    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        self.kept.running
    }

    /// Whether it is paused.
    pub fn is_paused(&self) -> bool {
        self.kept.paused
    }

    /// Failed runs since the schedule last had its turn.
    pub fn failures(&self) -> u32 {
        self.kept.failures
    }

    /// A run begins, because it is due or because somebody wants it; false if one is under way.
    pub fn start(&mut self, now: Timestamp) -> bool {
        if self.kept.running {
            return false;
        }
        let is_retry = self.kept.again.is_some_and(|at| at <= now) && self.kept.scheduled.is_none_or(|at| at > now);
        if !is_retry {
            (self.kept.failures, self.kept.first) = (0, None);
        }
        (self.kept.again, self.kept.running) = (None, true);
        self.kept.first.get_or_insert(now);
        if self.is_free() {
            self.kept.scheduled = None;
        } else if self.kept.scheduled.is_none_or(|at| at <= now) {
            self.kept.scheduled = self.next(now);
        }
        true
    }

    /// It is over. A time that passed meanwhile is skipped: runs do not pile up.
    pub fn end(&mut self, now: Timestamp, good: bool) {
        self.kept.running = false;
        if self.kept.scheduled.is_none_or(|at| at <= now) {
            self.kept.scheduled = self.next(now);
        }
        if good {
            (self.kept.failures, self.kept.first) = (0, None);
            return;
        }
        self.kept.failures = self.kept.failures.saturating_add(1);
        let since = self.kept.first.map_or(Duration::ZERO, |first| now.duration_since(first).try_into().unwrap_or_default());
        let wait =
            self.retry.as_ref().filter(|retry| retry.allows(self.kept.failures, since)).map(|retry| retry.backoff(self.kept.failures));
        self.kept.again = wait.and_then(|wait| now.checked_add(SignedDuration::try_from(wait).ok()?).ok());
    }

    /// Pauses it, or lets it go on from now.
    pub fn pause(&mut self, paused: bool, now: Timestamp) {
        if self.kept.paused && !paused {
            (self.kept.again, self.kept.failures, self.kept.first) = (None, 0, None);
            self.kept.scheduled = self.next(now);
        }
        self.kept.paused = paused;
    }

    fn is_free(&self) -> bool {
        matches!(self.schedule, Schedule::Interval { window: Window::Free, .. })
    }

    fn next(&self, after: Timestamp) -> Option<Timestamp> {
        self.schedule.next_after(after, &self.zone)
    }
}

impl CronRetry {
    /// Whether a job that failed so often, for so long, is tried again. Of two limits the one that is reached later counts, as with queues.
    pub fn allows(&self, failures: u32, since: Duration) -> bool {
        match (self.limit, self.age_limit) {
            (None, None) => true,
            (Some(limit), None) => failures <= limit,
            (None, Some(age)) => since < age,
            (Some(limit), Some(age)) => failures <= limit || since < age,
        }
    }

    /// How long to wait after the given number of failures: doubled so often, then growing by the same step.
    pub fn backoff(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(self.max_doublings).min(63);
        let steps = failures.saturating_sub(doublings).max(1);
        let wait =
            self.min_backoff.checked_mul(u32::try_from(1_u64 << doublings).unwrap_or(u32::MAX)).and_then(|wait| wait.checked_mul(steps));
        wait.unwrap_or(self.max_backoff).min(self.max_backoff)
    }
}

/// Moments as microseconds since 1970.
mod stamp {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[allow(clippy::ref_option, reason = "serde has it so")]
    pub(super) fn serialize<S: Serializer>(at: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
        at.map(Timestamp::as_microsecond).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
        let micros = Option::<i64>::deserialize(from)?;
        Ok(micros.and_then(|micros| Timestamp::from_microsecond(micros).ok()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn job(schedule: &str, retry: Option<CronRetry>) -> CronJob {
        CronJob {
            url: "/".into(),
            description: String::new(),
            written: schedule.into(),
            schedule: Schedule::parse(schedule).expect("valid"),
            timezone: "UTC".into(),
            target: None,
            retry,
            attempt_deadline: None,
        }
    }

    fn retry(limit: Option<u32>, age: Option<u64>) -> CronRetry {
        CronRetry {
            limit,
            age_limit: age.map(Duration::from_secs),
            min_backoff: Duration::from_secs(10),
            max_backoff: Duration::from_mins(5),
            max_doublings: 2,
        }
    }

    fn at(text: &str) -> Timestamp {
        format!("2026-01-01T{text}Z").parse().expect("a time")
    }

    fn due(course: &Course) -> String {
        course.due().map_or("never".into(), |at| at.to_string().replace("2026-01-01T", "").replace('Z', ""))
    }

    #[test]
    fn s2_an_interval_counts_from_the_end_of_a_run() {
        let mut course = Course::new(&job("every 5 minutes", None), None, Missed::Once, at("10:00:00"));
        assert_eq!(due(&course), "10:05:00");
        assert!(course.start(at("10:05:00")) && !course.start(at("10:05:01")), "one run at a time");
        assert_eq!(due(&course), "never");
        course.end(at("10:07:00"), true);
        assert_eq!(due(&course), "10:12:00");
    }

    #[test]
    fn s2_a_run_that_takes_too_long_skips_its_turns() {
        let mut course = Course::new(&job("every 5 minutes synchronized", None), None, Missed::Once, at("10:01:00"));
        assert_eq!(due(&course), "10:05:00");
        course.start(at("10:05:00"));
        course.end(at("10:17:00"), true);
        assert_eq!(due(&course), "10:20:00");
    }

    #[test]
    fn s2_failures_are_tried_again_until_the_limits() {
        let mut course = Course::new(&job("every day 10:00", Some(retry(Some(3), None))), None, Missed::Once, at("09:00:00"));
        let mut now = at("10:00:00");
        let mut waits = Vec::new();
        for _ in 0..4 {
            assert_eq!(course.due(), Some(now));
            course.start(now);
            course.end(now, false);
            let next = course.due().expect("there is always a next day");
            waits.push(next.duration_since(now).as_secs());
            now = next;
        }
        assert_eq!(waits, [10, 20, 40, 86_400 - 70]);
        let both = retry(Some(1), Some(60));
        assert!(
            both.allows(1, Duration::from_secs(90)) && both.allows(5, Duration::from_secs(30)) && !both.allows(2, Duration::from_mins(1))
        );
        assert!(!retry(Some(0), None).allows(1, Duration::ZERO) && retry(None, None).allows(u32::MAX, Duration::MAX));
        assert_eq!(retry(None, None).backoff(u32::MAX), Duration::from_mins(5));
        let mut none = Course::new(&job("every 10 minutes", None), None, Missed::Once, at("09:00:00"));
        none.start(at("09:10:00"));
        none.end(at("09:10:00"), false);
        assert_eq!(due(&none), "09:20:00", "without retry_parameters the schedule decides");
    }

    #[test]
    fn s2_what_was_missed_runs_once_or_not_at_all() {
        let job = job("every 1 hours synchronized", None);
        let kept = Course::new(&job, None, Missed::Once, at("01:30:00")).kept().clone();
        let text = serde_json::to_string(&kept).expect("JSON");
        let kept: Kept = serde_json::from_str(&text).expect("the same");
        let mut once = Course::new(&job, Some(kept.clone()), Missed::Once, at("07:30:00"));
        assert_eq!(due(&once), "02:00:00");
        once.start(at("07:30:00"));
        once.end(at("07:30:01"), true);
        assert_eq!(due(&once), "08:00:00");
        assert_eq!(due(&Course::new(&job, Some(kept.clone()), Missed::Skip, at("07:30:00"))), "08:00:00");
        assert_eq!(due(&Course::new(&job, Some(kept), Missed::Once, at("00:10:00"))), "01:00:00", "the clock was ahead");
    }

    #[test]
    fn s2_a_run_under_which_the_process_ended_has_failed() {
        let job = job("every day 10:00", Some(retry(Some(3), None)));
        let mut course = Course::new(&job, None, Missed::Once, at("09:00:00"));
        course.start(at("10:00:00"));
        let after = Course::new(&job, Some(course.kept().clone()), Missed::Once, at("10:30:00"));
        assert_eq!((due(&after), after.failures()), ("10:30:10".into(), 1));
        let mut going = Course::elsewhere(&job, course.kept().clone());
        assert_eq!(due(&going), "never", "another process runs it");
        going.end(at("10:31:00"), true);
        assert_eq!((going.due().map(|at| at.to_string()), going.failures()), (Some("2026-01-02T10:00:00Z".into()), 0));
    }

    #[test]
    fn s2_pauses_last_and_are_not_made_up_for() {
        let mut course = Course::new(&job("every 1 hours synchronized", None), None, Missed::Once, at("01:30:00"));
        course.pause(true, at("01:31:00"));
        assert_eq!(due(&course), "never");
        course.pause(false, at("05:10:00"));
        assert_eq!(due(&course), "06:00:00");
    }

    proptest! {
        #[test]
        fn s2_there_is_always_a_next_time(steps in proptest::collection::vec((0_u64..10_000, 0_u8..5), 1..60), free in any::<bool>()) {
            let written = if free { "every 10 minutes" } else { "every 10 minutes synchronized" };
            let job = job(written, Some(retry(Some(2), None)));
            let mut now = at("00:00:00");
            let mut course = Course::new(&job, None, Missed::Once, now);
            for (pause, what) in steps {
                now = now.checked_add(SignedDuration::from_secs(i64::try_from(pause).expect("small"))).expect("in range");
                match what {
                    0 => { course.start(now); }
                    1 if course.is_running() => course.end(now, true),
                    2 if course.is_running() => course.end(now, false),
                    3 => course = Course::new(&job, Some(course.kept().clone()), Missed::Once, now),
                    4 => { course.pause(true, now); course.pause(false, now); }
                    _ => {}
                }
                prop_assert_eq!(course.due().is_none(), course.is_running());
                prop_assert!(course.failures() <= 3);
            }
        }
    }
}
