//! Automatic scaling (row Y29): when another instance is started, and how many the load needs.
//!
//! Rules on numbers, without state: the machine measures and obeys. Two measures keep steady load from flapping: what lasts (the average of the
//! last tenth of a second) starts instances, and what was needed within the last minute (the peak) stops none.

use std::fmt;
use std::time::Duration;

use crate::scaling::Automatic;
use crate::time::Tick;

/// `min_pending_latency: automatic`. The documents give no number; the SDK's examples write 30 ms (decision 100).
pub(super) const MIN_PENDING: Duration = Duration::from_millis(30);
/// `max_pending_latency: automatic`: older documents name 10 s as the default.
pub(super) const MAX_PENDING: Duration = Duration::from_secs(10);
/// How soon the average is looked at again while it climbs.
const LOOK: Duration = Duration::from_millis(50);

/// What the decision is made from.
#[derive(Debug, Clone)]
pub(super) struct Load {
    pub(super) now: Tick,
    /// Requests that wait.
    pub(super) waiting: usize,
    /// The first waiting request that no instance under way has room for: since when it waits, and how many wait before it.
    pub(super) unserved: Option<(Tick, usize)>,
    /// Instances that take requests now or soon.
    pub(super) current: usize,
    /// How many are to be ready for traffic that is about to come.
    pub(super) kept: u32,
    /// Requests at the instances: now, on average, at most within a minute.
    pub(super) level: u32,
    pub(super) mean: f64,
    pub(super) peak: u32,
    /// CPU in use, in shares of the class.
    pub(super) cpu: f64,
    /// How long it takes from one finished request to the next; `None` if none ever finished.
    pub(super) pace: Option<Duration>,
    /// How long an instance takes to start.
    pub(super) start: Duration,
}

/// Whether another instance is started.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Need {
    /// No.
    Nothing,
    /// Not yet; look again then.
    Later(Tick),
    /// Yes.
    Start(Reason),
}

/// Why.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Reason {
    FromZero,
    MinInstances(u32),
    Kept(u32),
    MaxPending { waited: Duration, limit: Duration },
    MinPending { waited: Duration, limit: Duration, ahead: usize, expected: Option<Duration> },
    Concurrency { level: u32, instances: usize, requests: u32, target: f64 },
    Cpu { load: f64, instances: usize, target: f64 },
    MinIdle { asked: u32, idle: usize, current: usize },
}

impl Reason {
    /// Whether the instance is started before a request needs it.
    pub(super) fn is_ahead(&self) -> bool {
        !matches!(self, Self::FromZero | Self::MaxPending { .. } | Self::MinPending { .. })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FromZero => f.write_str("a request waits and no instance runs"),
            Self::MinInstances(least) => write!(f, "min_instances {least}"),
            Self::Kept(1) => f.write_str("an instance is to be ready for traffic to come"),
            Self::Kept(least) => write!(f, "{least} instances are to be ready for traffic to come"),
            Self::MaxPending { waited, limit } => {
                write!(f, "pending {} ms >= max_pending_latency {} ms", waited.as_millis(), limit.as_millis())
            }
            Self::MinPending { waited, limit, ahead, expected } => {
                write!(f, "pending {} ms >= min_pending_latency {} ms, ", waited.as_millis(), limit.as_millis())?;
                match expected {
                    Some(expected) => write!(f, "and with {ahead} requests before it would wait {} ms more", expected.as_millis()),
                    None => f.write_str("and no request has finished yet"),
                }
            }
            Self::Concurrency { level, instances, requests, target } => {
                let plural = if *instances == 1 { "" } else { "s" };
                write!(f, "{level} concurrent requests >= {instances} instance{plural} x {requests} x {target}")
            }
            Self::Cpu { load, instances, target } => {
                let plural = if *instances == 1 { "" } else { "s" };
                write!(f, "CPU {:.0} % of {instances} instance{plural} >= target_cpu_utilization {:.0} %", load * 100.0, target * 100.0)
            }
            Self::MinIdle { asked, idle, current } => write!(f, "min_idle_instances {asked}, and {idle} of {current} are idle"),
        }
    }
}

/// How many requests one instance is meant to have at most.
fn target(rule: &Automatic, concurrency: u32) -> f64 {
    f64::from(concurrency) * rule.target_throughput_utilization
}

/// Whether so many requests are more than so many instances are meant to have: "reaches
/// `max_concurrent_requests` × `target_throughput_utilization`".
/// An instance that takes one request at a time is not full with a part of it.
fn passes(requests: f64, instances: usize, target: f64) -> bool {
    let instances = count(instances);
    requests > 0.0 && if target > 1.0 { requests >= instances * target } else { requests > instances }
}

/// How many instances so many requests need.
pub(super) fn needed(requests: u32, rule: &Automatic, concurrency: u32) -> usize {
    let target = target(rule, concurrency);
    if requests == 0 {
        return 0;
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rounded down; at most the requests, which are a u32")]
    let whole = if target > 1.0 { (f64::from(requests) / target) as usize + 1 } else { requests as usize };
    whole
}

/// How many instances the measured CPU needs. More instances than requests would not share the work.
pub(super) fn needed_by_cpu(cpu: f64, peak: u32, rule: &Automatic) -> usize {
    if cpu <= 0.0 {
        return 0;
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped below")]
    let whole = (cpu / rule.target_cpu_utilization).min(1e6).ceil() as usize;
    whole.min(peak as usize)
}

/// How many instances the load of the last minute needs.
pub(super) fn required(cpu: f64, peak: u32, rule: &Automatic, concurrency: u32) -> usize {
    needed(peak, rule, concurrency).max(needed_by_cpu(cpu, peak, rule))
}

/// Whether one more instance should be started. Called again after every start, with the new numbers.
pub(super) fn need(load: &Load, rule: &Automatic, concurrency: u32) -> Need {
    if load.current == 0 && load.waiting > 0 {
        return Need::Start(Reason::FromZero);
    }
    if load.current < rule.min_instances as usize {
        return Need::Start(Reason::MinInstances(rule.min_instances));
    }
    if load.current < load.kept as usize {
        return Need::Start(Reason::Kept(load.kept));
    }
    let mut later = None;
    for part in [pending(load, rule), concurrent(load, rule, concurrency)] {
        match part {
            Need::Start(reason) => return Need::Start(reason),
            Need::Later(at) => later = Some(later.map_or(at, |before: Tick| before.min(at))),
            Need::Nothing => {}
        }
    }
    if let Some(reason) = cpu(load, rule).or_else(|| idle(load, rule, concurrency)) {
        return Need::Start(reason);
    }
    later.map_or(Need::Nothing, Need::Later)
}

/// The pending queue. Younger than the minimum starts nothing, older than the maximum starts one; between them one is started if the queue will
/// last longer than a start takes.
fn pending(load: &Load, rule: &Automatic) -> Need {
    let Some((since, ahead)) = load.unserved else { return Need::Nothing };
    let least = rule.min_pending_latency.unwrap_or(MIN_PENDING);
    let most = rule.max_pending_latency.unwrap_or(MAX_PENDING).max(least);
    let waited = load.now.since(since);
    if waited < least {
        return Need::Later(since.after(least));
    }
    if waited >= most {
        return Need::Start(Reason::MaxPending { waited, limit: most });
    }
    let expected = load.pace.map(|pace| pace.saturating_mul(u32::try_from(ahead + 1).unwrap_or(u32::MAX)));
    if expected.is_none_or(|expected| expected > load.start) {
        return Need::Start(Reason::MinPending { waited, limit: least, ahead, expected });
    }
    Need::Later(since.after(most).min(load.now.after(LOOK)))
}

fn concurrent(load: &Load, rule: &Automatic, concurrency: u32) -> Need {
    let target = target(rule, concurrency);
    if !passes(f64::from(load.level), load.current, target) {
        return Need::Nothing;
    }
    // The average comes near the level but never reaches it.
    if passes(load.mean / 0.9, load.current, target) {
        let target = rule.target_throughput_utilization;
        return Need::Start(Reason::Concurrency { level: load.level, instances: load.current, requests: concurrency, target });
    }
    Need::Later(load.now.after(LOOK))
}

fn cpu(load: &Load, rule: &Automatic) -> Option<Reason> {
    let target = rule.target_cpu_utilization;
    let short = load.current > 0 && needed_by_cpu(load.cpu, load.peak, rule) > load.current;
    short.then(|| Reason::Cpu { load: load.cpu / count(load.current), instances: load.current, target })
}

fn idle(load: &Load, rule: &Automatic, concurrency: u32) -> Option<Reason> {
    let asked = rule.min_idle_instances.unwrap_or_default();
    let busy = required(load.cpu, load.peak, rule, concurrency).min(load.current);
    let idle = load.current - busy;
    (idle < asked as usize).then_some(Reason::MinIdle { asked, idle, current: load.current })
}

/// Whether a request more may have made an instance necessary: what the short way past the queue asks.
pub(super) fn is_tight(level: u32, instances: usize, rule: &Automatic, concurrency: u32) -> bool {
    passes(f64::from(level), instances, target(rule, concurrency))
}

/// When a load that is tight is looked at.
pub(super) fn look(now: Tick) -> Tick {
    now.after(LOOK)
}

#[allow(clippy::cast_precision_loss, reason = "instances of one computer")]
fn count(instances: usize) -> f64 {
    instances as f64
}
