//! What was counted of an app's queues: in flight, executed in the last minute and hour.

use std::collections::BTreeMap;
use std::sync::Mutex;

use model::taskqueue::TaskId;

use super::house::locked;

const MINUTE: i64 = 60_000_000;
const HOUR: usize = 60;

/// The counts of all queues. The dispatcher writes, calls read.
#[derive(Debug, Default)]
pub struct Board(Mutex<BTreeMap<String, Counts>>);

#[derive(Debug, Default)]
struct Counts {
    flying: Vec<TaskId>,
    rate: f64,
    /// Executions by minute, the newest last.
    minutes: Vec<(i64, u64)>,
}

/// What is told of one queue.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Seen {
    /// Tasks in flight.
    pub in_flight: usize,
    /// Tasks a second that it may send now.
    pub enforced_rate: f64,
    /// Executed in the last minute.
    pub last_minute: u64,
    /// Executed in the last hour.
    pub last_hour: u64,
}

impl Board {
    pub(super) fn sent(&self, queue: &str, id: TaskId) {
        locked(&self.0).entry(queue.to_owned()).or_default().flying.push(id);
    }

    /// It was not sent after all.
    pub(super) fn recalled(&self, queue: &str, id: TaskId) {
        locked(&self.0).entry(queue.to_owned()).or_default().flying.retain(|other| *other != id);
    }

    pub(super) fn ended(&self, queue: &str, id: TaskId, now: i64) {
        let mut all = locked(&self.0);
        let counts = all.entry(queue.to_owned()).or_default();
        counts.flying.retain(|other| *other != id);
        let minute = now / MINUTE;
        match counts.minutes.last_mut() {
            Some((at, count)) if *at == minute => *count += 1,
            _ => counts.minutes.push((minute, 1)),
        }
        let old = counts.minutes.len().saturating_sub(HOUR + 1);
        counts.minutes.drain(..old);
    }

    pub(super) fn rate(&self, queue: &str, rate: f64) {
        locked(&self.0).entry(queue.to_owned()).or_default().rate = rate;
    }

    /// All tasks in flight.
    pub(super) fn in_flight(&self) -> Vec<TaskId> {
        locked(&self.0).values().flat_map(|counts| counts.flying.iter().copied()).collect()
    }

    /// What is told of a queue at a moment.
    pub fn seen(&self, queue: &str, now: i64) -> Seen {
        let all = locked(&self.0);
        let Some(counts) = all.get(queue) else { return Seen::default() };
        let within = |minutes: i64| {
            let recent = counts.minutes.iter().filter(|(at, _)| *at > now / MINUTE - minutes);
            recent.map(|(_, count)| count).sum()
        };
        Seen { in_flight: counts.flying.len(), enforced_rate: counts.rate, last_minute: within(1), last_hour: within(60) }
    }
}
