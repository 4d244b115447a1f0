//! What a simulation saw, step by step.

use std::time::Duration;

use super::Histogram;
use crate::ids::InstanceId;
use crate::time::Tick;

/// One step of time, or several joined.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Step {
    /// When it begins.
    pub at: Tick,
    /// How long it is.
    pub long: Duration,
    /// Requests that came.
    pub arrived: u64,
    /// Requests that were answered.
    pub answered: u64,
    /// Requests that got no instance.
    pub rejected: u64,
    /// Requests that went down with their instance.
    pub cut: u64,
    /// Requests that were the first of their instance.
    pub cold: u64,
    /// How long the requests that came in this step waited for an instance, as far as they got one.
    pub waits: Histogram,
    /// The same for the whole time until their answer.
    pub latencies: Histogram,
    /// Instances started.
    pub starts: u64,
    /// Instances told to end.
    pub stops: u64,
    /// Instances × microseconds while they started.
    pub starting: u64,
    /// The same while they had nothing to do.
    pub idle: u64,
    /// The same while they had requests.
    pub busy: u64,
    /// The same between the order to end and the end.
    pub leaving: u64,
    /// Most instances at once, those that are leaving not counted.
    pub most: usize,
    /// Most requests that waited at once.
    pub queue: usize,
    /// Microseconds of CPU that requests used.
    pub cpu: f64,
}

impl Step {
    /// Adds the step that follows.
    pub fn join(&mut self, next: &Self) {
        self.long += next.long;
        self.arrived += next.arrived;
        self.answered += next.answered;
        self.rejected += next.rejected;
        self.cut += next.cut;
        self.cold += next.cold;
        self.waits.add(&next.waits);
        self.latencies.add(&next.latencies);
        self.starts += next.starts;
        self.stops += next.stops;
        self.starting += next.starting;
        self.idle += next.idle;
        self.busy += next.busy;
        self.leaving += next.leaving;
        self.most = self.most.max(next.most);
        self.queue = self.queue.max(next.queue);
        self.cpu += next.cpu;
    }

    /// Instances on average, by what they did: starting, idle, busy, leaving.
    pub fn mean(&self, of: u64) -> f64 {
        if self.long.is_zero() { 0.0 } else { of as f64 / self.long.as_micros() as f64 }
    }

    /// Hours that instances were there, whatever they did.
    pub fn hours(&self) -> f64 {
        (self.starting + self.idle + self.busy + self.leaving) as f64 / 3.6e9
    }

    /// Which share of the CPU of ready instances was used.
    pub fn utilization(&self) -> f64 {
        let ready = (self.idle + self.busy) as f64;
        if ready > 0.0 { self.cpu / ready } else { 0.0 }
    }

    /// Per second.
    pub fn rate(&self, of: u64) -> f64 {
        if self.long.is_zero() { 0.0 } else { of as f64 / self.long.as_secs_f64() }
    }
}

/// Something that the scheduler did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// When.
    pub at: Tick,
    /// To which instance.
    pub instance: InstanceId,
    /// What.
    pub what: What,
    /// Why, in its own words.
    pub why: String,
}

/// What the scheduler did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants say it")]
pub enum What {
    Start,
    Stop,
}

/// Decisions that are kept; more are counted.
pub(super) const MOST_DECISIONS: usize = 10_000;

/// What the simulation saw.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// From the beginning until the last request was over.
    pub steps: Vec<Step>,
    /// The beginning.
    pub decisions: Vec<Decision>,
    /// How many more there were.
    pub more_decisions: u64,
    /// Hours of instances as App Engine counts them: from its start until 15 minutes after an instance was done with its last request, or until its
    /// end if that is later (pricing page, "accrual of instance hours").
    pub billed_hours: f64,
}

impl Report {
    /// All steps joined.
    pub fn total(&self) -> Step {
        self.joined(self.steps.len()).pop().unwrap_or_default()
    }

    /// The steps in groups of `each`.
    pub fn joined(&self, each: usize) -> Vec<Step> {
        let group = |steps: &[Step]| {
            let mut whole = steps[0].clone();
            steps[1..].iter().for_each(|step| whole.join(step));
            whole
        };
        self.steps.chunks(each.max(1)).map(group).collect()
    }
}
