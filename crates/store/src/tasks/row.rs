//! What rows hold.

use std::time::{Duration, SystemTime};

use rusqlite::Row;

use crate::control::Result;

/// The moment, in microseconds since 1970.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// A task that is to be added. Times are microseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fresh {
    /// Its name; the house chooses one if there is none.
    pub name: Option<String>,
    /// When it is due.
    pub eta: i64,
    /// Pull tasks: what it is grouped by.
    pub tag: Option<Vec<u8>>,
    /// Bytes that count towards the limit of storage.
    pub size: u64,
    /// Everything that never changes, as its owner writes it.
    pub spec: Vec<u8>,
}

/// How a task was last tried.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Run {
    /// When it was sent.
    pub dispatched: i64,
    /// How long that took.
    pub elapsed: i64,
    /// The status of the answer.
    pub code: Option<u16>,
    /// Why it is tried again.
    pub reason: Option<String>,
}

/// A task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Its number, never used twice.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// When it is due; of a leased task, when the lease ends.
    pub eta: i64,
    /// What it is grouped by.
    pub tag: Option<Vec<u8>>,
    /// When it was added.
    pub created: i64,
    /// Retries, or leases.
    pub retries: u32,
    /// How often an instance had it.
    pub executions: u32,
    /// When it was first sent.
    pub first_try: Option<i64>,
    /// How it was last tried.
    pub run: Option<Run>,
    /// What its owner wrote.
    pub spec: Vec<u8>,
}

/// A task that is to be sent, by time and number.
pub type Due = (i64, i64);

/// What is known of a queue besides its configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// How many tasks it has.
    pub tasks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// It was paused.
    pub paused: bool,
    /// Its configuration, if it was given otherwise than by a file.
    pub rules: Option<String>,
    /// When it was deleted.
    pub gone: Option<i64>,
    /// When it was last purged.
    pub purged: Option<i64>,
}

pub(super) const TASK: &str = "id, name, eta, tag, created, retries, executions, first_try, dispatched, elapsed, code, reason, spec";

pub(super) fn task(row: &Row<'_>) -> Result<Task> {
    let dispatched: Option<i64> = row.get(8)?;
    let run = match dispatched {
        Some(dispatched) => {
            Some(Run { dispatched, elapsed: row.get::<_, Option<i64>>(9)?.unwrap_or(0), code: row.get(10)?, reason: row.get(11)? })
        }
        None => None,
    };
    Ok(Task {
        id: row.get(0)?,
        name: row.get(1)?,
        eta: row.get(2)?,
        tag: row.get(3)?,
        created: row.get(4)?,
        retries: row.get(5)?,
        executions: row.get(6)?,
        first_try: row.get(7)?,
        run,
        spec: row.get(12)?,
    })
}

pub(super) const QUEUE: &str = "name, tasks, bytes, paused, rules, gone, purged";

pub(super) fn queue(row: &Row<'_>) -> Result<Queue> {
    let count = |at| Ok::<_, rusqlite::Error>(u64::try_from(row.get::<_, i64>(at)?).unwrap_or(0));
    Ok(Queue {
        name: row.get(0)?,
        tasks: count(1)?,
        bytes: count(2)?,
        paused: row.get(3)?,
        rules: row.get(4)?,
        gone: row.get(5)?,
        purged: row.get(6)?,
    })
}
