//! cron.yaml: scheduled requests and when they are due. Time comes in as an argument.

mod course;
mod groc;
mod next;

use std::time::Duration;

pub use course::{Course, Kept, Missed};
pub use groc::ScheduleError;

/// One job.
#[derive(Debug, Clone, PartialEq)]
pub struct CronJob {
    /// The path that is requested.
    pub url: String,
    /// The owner's note.
    pub description: String,
    /// `schedule:` as written.
    pub written: String,
    /// When.
    pub schedule: Schedule,
    /// IANA name of the zone that `schedule` is read in; `UTC` by default.
    pub timezone: String,
    /// `version`, `service` or `version.service` that is asked instead of the default service.
    pub target: Option<String>,
    /// How a failed run is tried again; `None` = not at all.
    pub retry: Option<CronRetry>,
    /// `attempt_deadline`.
    pub attempt_deadline: Option<Duration>,
}

/// `retry_parameters` of a job.
#[derive(Debug, Clone, PartialEq)]
pub struct CronRetry {
    /// Most retries.
    pub limit: Option<u32>,
    /// No retry after this time.
    pub age_limit: Option<Duration>,
    /// The first wait.
    pub min_backoff: Duration,
    /// The longest wait.
    pub max_backoff: Duration,
    /// How often the wait doubles.
    pub max_doublings: u32,
}

/// A parsed `schedule:`; [`Schedule::parse`] reads it, [`Schedule::next_after`] says when it is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schedule {
    /// `every N minutes`, `every N hours`.
    Interval {
        /// The distance between runs, at least a minute.
        every: Duration,
        /// From when to when.
        window: Window,
    },
    /// `1st,third monday of sep,oct 17:00`.
    Days {
        /// Days of the month, or weekdays and which of them.
        days: Days,
        /// Months, 1–12; never empty.
        months: Vec<u8>,
        /// Minute of the day.
        minute: u16,
    },
}

/// When an interval schedule runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// Counted from the end of the last run.
    Free,
    /// `synchronized`: at multiples of the interval from midnight.
    Synchronized,
    /// `from HH:MM to HH:MM`: minutes of the day, both included.
    Between(u16, u16),
}

/// Which days a `Days` schedule names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Days {
    /// `1,15 of month`: days of the month, 1–31.
    OfMonth(Vec<u8>),
    /// Weekdays (0 = Sunday) and which of them in the month (1–5).
    Weekdays {
        /// 0–6, 0 is Sunday.
        weekdays: Vec<u8>,
        /// 1–5.
        ordinals: Vec<u8>,
    },
}
