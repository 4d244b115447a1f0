//! `system`: background threads, and what the instance uses.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use model::pool::{Boxed, Instance};
use model::scaling::Scaling;

use crate::call::{Answer, Context, Failure, Service, read, write};
use crate::card::{self, Card};
use crate::outside::Outside;
use crate::proto::system::{self as pb, ErrorCode as Code};

/// Background threads of one instance (the SDK's `python_runtime` factories: 10).
const THREADS: usize = 10;
/// Megacycles in a second of CPU, as the SDK's quota API has it.
const MEGACYCLES: f64 = 1_200.0;
/// Measurements are kept so far apart…
const APART: Duration = Duration::from_secs(5);
/// …and so many of them: ten minutes and a little.
const KEPT: usize = 125;

/// The service.
pub struct System {
    outside: Arc<Outside>,
}

/// What is known of an instance while it runs.
#[derive(Debug)]
pub struct Seat {
    instance: OnceLock<Weak<Instance>>,
    threads: AtomicUsize,
    usage: Mutex<Usage>,
}

impl Default for Seat {
    fn default() -> Self {
        Self { instance: OnceLock::new(), threads: AtomicUsize::new(0), usage: Mutex::new(Usage::new(Instant::now())) }
    }
}

impl Seat {
    /// The instance listens.
    pub(crate) fn take(&self, instance: &Arc<Instance>) {
        let _ = self.instance.set(Arc::downgrade(instance));
    }

    pub(crate) fn measured(&self, now: Instant, cpu: Duration, memory: u64) {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner).measured(now, cpu, memory);
    }

    /// One more background thread, if there may be one.
    fn enter(self: &Arc<Self>) -> Option<Thread> {
        let more = |count: usize| (count < THREADS).then_some(count + 1);
        self.threads.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).ok()?;
        Some(Thread(Arc::clone(self)))
    }
}

/// A background thread, until it is dropped.
struct Thread(Arc<Seat>);

impl Drop for Thread {
    fn drop(&mut self) {
        self.0.threads.fetch_sub(1, Ordering::SeqCst);
    }
}

impl System {
    /// With the house's other parts.
    pub fn new(outside: Arc<Outside>) -> Self {
        Self { outside }
    }

    /// Sends `/_ah/background` to the instance that asks. The app's side of the SDK waits for it inside the call's own request, so nobody waits here.
    fn start(&self, context: &Context) -> Answer {
        let caller = &context.caller;
        if matches!(caller.version.config.scaling, Scaling::Automatic(_)) {
            let text = "Background threads need basic or manual scaling; under automatic scaling instances may end at any time.";
            return Err(Failure::app(Code::BackendRequired, text));
        }
        let gone = || Failure::app(Code::InternalError, "The instance does not run any more.");
        let instance = caller.seat.instance.get().and_then(Weak::upgrade).ok_or_else(gone)?;
        let full = || Failure::app(Code::LimitReached, format!("The instance has {THREADS} background threads already."));
        let thread = caller.seat.enter().ok_or_else(full)?;
        let id = draw();
        let (outside, version, own) = (Arc::clone(&self.outside), Arc::clone(&caller.version), id.clone());
        tokio::spawn(async move {
            // What the thread raises is in the app's log.
            let _ = outside.background(version, instance, own).await;
            drop(thread);
        });
        Ok(write(&pb::StartBackgroundRequestResponse { request_id: Some(id) }))
    }
}

impl Service for System {
    fn card(&self) -> &'static Card {
        &card::SYSTEM
    }

    fn call<'a>(&'a self, method: &'a str, message: Bytes, context: &'a Context) -> Boxed<'a, Answer> {
        Box::pin(async move {
            match method {
                "StartBackgroundRequest" => {
                    read::<pb::StartBackgroundRequestRequest>(message)?;
                    self.start(context)
                }
                "GetSystemStats" => {
                    read::<pb::GetSystemStatsRequest>(message)?;
                    let usage = context.caller.seat.usage.lock().unwrap_or_else(PoisonError::into_inner);
                    Ok(write(&usage.stats(Instant::now())))
                }
                _ => Err(Failure::no_call("system", method)),
            }
        })
    }
}

/// A word that nobody else has.
fn draw() -> String {
    format!("{:016x}", RandomState::new().hash_one(Instant::now()))
}

/// What an instance has used.
#[derive(Debug)]
struct Usage {
    born: Instant,
    latest: Sample,
    past: VecDeque<Sample>,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Instant,
    /// Since the start.
    cpu: Duration,
    memory: u64,
}

impl Usage {
    fn new(born: Instant) -> Self {
        Self { born, latest: Sample { at: born, cpu: Duration::ZERO, memory: 0 }, past: VecDeque::new() }
    }

    fn measured(&mut self, at: Instant, cpu: Duration, memory: u64) {
        self.latest = Sample { at, cpu, memory };
        if self.past.back().is_none_or(|last| at.duration_since(last.at) >= APART) {
            if self.past.len() == KEPT {
                self.past.pop_front();
            }
            self.past.push_back(self.latest);
        }
    }

    fn stats(&self, now: Instant) -> pb::GetSystemStatsResponse {
        let (minute, minutes) = (Duration::from_mins(1), Duration::from_mins(10));
        let cpu = pb::SystemStat {
            total: Some(self.latest.cpu.as_secs_f64() * MEGACYCLES),
            rate1m: Some(self.rate(now, minute)),
            rate10m: Some(self.rate(now, minutes)),
            ..pb::SystemStat::default()
        };
        let memory = pb::SystemStat {
            current: Some(megabytes(self.latest.memory)),
            average1m: Some(self.average(now, minute)),
            average10m: Some(self.average(now, minutes)),
            ..pb::SystemStat::default()
        };
        pb::GetSystemStatsResponse { cpu: Some(cpu), memory: Some(memory) }
    }

    /// Megacycles a second.
    fn rate(&self, now: Instant, window: Duration) -> f64 {
        let window = window.min(now.duration_since(self.born));
        let since = now.checked_sub(window).unwrap_or(self.born);
        let before = self.past.iter().rev().find(|sample| sample.at <= since).map_or(Duration::ZERO, |sample| sample.cpu);
        let used = self.latest.cpu.saturating_sub(before).as_secs_f64();
        if window.is_zero() { 0.0 } else { used * MEGACYCLES / window.as_secs_f64() }
    }

    /// Megabytes. An idle instance is not measured: what was measured last holds until the next time.
    fn average(&self, now: Instant, window: Duration) -> f64 {
        let since = now.checked_sub(window).unwrap_or(self.born);
        let (mut until, mut sum, mut total) = (now, 0.0, 0.0);
        for sample in std::iter::once(&self.latest).chain(self.past.iter().rev()) {
            let from = sample.at.max(since);
            let time = until.saturating_duration_since(from).as_secs_f64();
            (sum, total, until) = (sum + time * megabytes(sample.memory), total + time, until.min(from));
            if sample.at <= since {
                break;
            }
        }
        if total > 0.0 { sum / total } else { megabytes(self.latest.memory) }
    }
}

#[allow(clippy::cast_precision_loss, reason = "bytes of an instance")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_is_told_by_time() {
        let born = Instant::now();
        let at = |seconds: u64| born + Duration::from_secs(seconds);
        let mut usage = Usage::new(born);
        assert_eq!(usage.stats(born).cpu.and_then(|cpu| cpu.rate1m), Some(0.0));
        for second in 0..=120 {
            // A tenth of a core; 100 MiB, and 200 in the second minute.
            usage.measured(at(second), Duration::from_millis(100 * second), if second < 60 { 100 << 20 } else { 200 << 20 });
        }
        let stats = usage.stats(at(120));
        let near =
            |found: Option<f64>, wanted: f64| assert!(found.is_some_and(|found| (found - wanted).abs() <= wanted / 10.0), "{stats:?}");
        let (cpu, memory) = (stats.cpu.unwrap_or_default(), stats.memory.unwrap_or_default());
        near(cpu.total, 12.0 * MEGACYCLES);
        near(cpu.rate1m, 0.1 * MEGACYCLES);
        near(cpu.rate10m, 0.1 * MEGACYCLES);
        near(memory.current, 200.0);
        near(memory.average1m, 200.0);
        near(memory.average10m, 150.0);
        near(usage.stats(at(100_000)).memory.and_then(|memory| memory.average1m), 200.0);
    }

    #[test]
    fn threads_are_counted() {
        let seat = Arc::new(Seat::default());
        let mut threads: Vec<_> = (0..THREADS).filter_map(|_| seat.enter()).collect();
        assert!(threads.len() == THREADS && seat.enter().is_none());
        threads.pop();
        assert!(seat.enter().is_some());
    }
}
