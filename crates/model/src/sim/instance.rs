//! An imagined instance: requests that share a CPU.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::time::Tick;

/// Progress is counted in fractions of a microsecond, so that slowed-down requests lose nothing to rounding.
const FRACTIONS: u64 = 1 << 16;

/// One request at an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Job {
    /// The instance's progress at which it is done. First, because the soonest comes first.
    until: u64,
    /// Its number.
    pub(super) req: u64,
    /// When it arrived.
    pub(super) arrived: Tick,
}

/// The instance.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) begun: Tick,
    /// When it was done with its last request.
    pub(super) last: Tick,
    pub(super) ready: bool,
    pub(super) stopping: bool,
    /// The first request takes this much longer.
    pub(super) cold: Duration,
    /// Counts changes of its requests, so that an appointment made before one is known to be void.
    pub(super) edition: u64,
    jobs: BinaryHeap<Reverse<Job>>,
    /// What a request would have achieved that had been there from the beginning.
    progress: u64,
    at: Tick,
    /// Microseconds of CPU.
    pub(super) cpu: f64,
    /// CPU that one request wants of the whole, 0–1.
    share: f64,
}

impl Instance {
    pub(super) fn new(now: Tick, cold: Duration, share: f64) -> Self {
        let jobs = BinaryHeap::new();
        Self { begun: now, last: now, ready: false, stopping: false, cold, edition: 0, jobs, progress: 0, at: now, cpu: 0.0, share }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.jobs.len()
    }

    /// How fast each request goes, 0–1.
    fn speed(&self) -> f64 {
        let wanted = self.jobs.len() as f64 * self.share;
        if wanted > 1.0 { 1.0 / wanted } else { 1.0 }
    }

    fn pace(&self) -> u64 {
        ((self.speed() * FRACTIONS as f64) as u64).max(1)
    }

    /// Lets time pass and returns the microseconds of CPU that were used in it.
    pub(super) fn pass(&mut self, now: Tick) -> f64 {
        let micros = now.0.saturating_sub(self.at.0);
        self.at = now;
        if self.jobs.is_empty() || micros == 0 {
            return 0.0;
        }
        let used = micros as f64 * (self.jobs.len() as f64 * self.share).min(1.0);
        self.progress = self.progress.saturating_add(micros.saturating_mul(self.pace()));
        self.cpu += used;
        used
    }

    /// Takes a request. Time must have passed up to now.
    pub(super) fn take(&mut self, req: u64, arrived: Tick, service: Duration) {
        let micros = u64::try_from((service + std::mem::take(&mut self.cold)).as_micros()).unwrap_or(u64::MAX);
        let until = self.progress.saturating_add(micros.saturating_mul(FRACTIONS));
        self.jobs.push(Reverse(Job { until, req, arrived }));
        self.edition += 1;
    }

    /// The request that is done by now, if one is.
    pub(super) fn finish(&mut self) -> Option<Job> {
        let Reverse(first) = self.jobs.peek()?;
        if first.until > self.progress {
            return None;
        }
        self.last = self.at;
        self.edition += 1;
        self.jobs.pop().map(|Reverse(job)| job)
    }

    /// When the next request is done, if nothing changes.
    pub(super) fn next(&self) -> Option<Tick> {
        let Reverse(first) = self.jobs.peek()?;
        Some(Tick(self.at.0.saturating_add(first.until.saturating_sub(self.progress).div_ceil(self.pace()))))
    }

    /// The process is gone with whatever it had.
    pub(super) fn drain(&mut self) -> usize {
        let lost = self.jobs.len();
        self.jobs.clear();
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(share: f64, jobs: u64) -> (u64, f64) {
        let mut instance = Instance::new(Tick(0), Duration::ZERO, share);
        for req in 0..jobs {
            instance.take(req, Tick(0), Duration::from_millis(100));
        }
        let mut end = Tick(0);
        while let Some(next) = instance.next() {
            end = next;
            instance.pass(end);
            while instance.finish().is_some() {}
        }
        (end.0, instance.cpu)
    }

    #[test]
    fn requests_share_the_cpu() {
        assert_eq!(run(0.5, 1), (100_000, 50_000.0));
        assert_eq!(run(0.5, 2), (100_000, 100_000.0));
        let (end, cpu) = run(0.5, 4);
        assert!((199_000..=201_000).contains(&end) && (cpu - 200_000.0).abs() < 1_000.0, "{end} {cpu}");
        assert_eq!(run(0.0, 80), (100_000, 0.0));
    }

    #[test]
    fn the_first_request_pays_for_the_start() {
        let mut instance = Instance::new(Tick(0), Duration::from_millis(30), 0.1);
        instance.take(1, Tick(0), Duration::from_millis(100));
        instance.take(2, Tick(0), Duration::from_millis(100));
        assert_eq!(instance.next(), Some(Tick(100_000)));
        instance.pass(Tick(100_000));
        assert_eq!(instance.finish().map(|job| job.req), Some(2));
        assert_eq!(instance.finish(), None);
        assert_eq!(instance.next(), Some(Tick(130_000)));
    }
}
