//! One instance as the scheduler sees it.

use std::time::Duration;

use super::{End, Serial};
use crate::ids::InstanceId;
use crate::pool::Outcome;
use crate::time::Tick;

/// Where an instance is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The process was asked for and does not take requests yet.
    Starting,
    /// Takes requests.
    Ready,
    /// Finishes what it has, until the tick.
    Draining { until: Tick },
    /// Was told to end.
    Stopping,
}

/// The instance.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) serial: Serial,
    pub(super) id: InstanceId,
    pub(super) stage: Stage,
    pub(super) in_flight: u32,
    /// Requests ever given to it.
    pub(super) served: u64,
    /// It was asked for `/_ah/start` or `/_ah/warmup`, so that its first request loads nothing.
    pub(super) greeted: bool,
    pub(super) started_at: Tick,
    pub(super) ready_at: Option<Tick>,
    /// Since when it has no request; only meaningful while it has none.
    pub(super) idle_since: Tick,
    /// Requests in a row that could not reach it.
    pub(super) broken: u32,
    /// Where it stands among those with as many requests.
    pub(super) turn: u64,
    /// Not needed for the load: asked only if the others are full.
    pub(super) spare: bool,
    pub(super) cpu: Option<Cpu>,
    /// The memory of the last sample, if it was above the soft limit.
    pub(super) swollen: Option<u64>,
    /// Why it was started.
    pub(super) born: String,
    /// Why it leaves.
    pub(super) why: End,
}

/// So many unreachable requests in a row mean that the process lives but does not work.
const BROKEN_LIMIT: u32 = 3;

impl Instance {
    pub(super) fn new(serial: Serial, id: InstanceId, greeted: bool, born: String, now: Tick) -> Self {
        Self {
            serial,
            id,
            stage: Stage::Starting,
            in_flight: 0,
            served: 0,
            greeted,
            started_at: now,
            ready_at: None,
            idle_since: Tick(0),
            broken: 0,
            turn: 0,
            spare: false,
            cpu: None,
            swollen: None,
            born,
            why: End::Closing,
        }
    }

    /// Whether it serves, or will, requests that come now.
    pub(super) fn is_current(&self) -> bool {
        matches!(self.stage, Stage::Starting | Stage::Ready)
    }

    pub(super) fn number(&self) -> Option<u32> {
        number(&self.id)
    }

    /// Takes one request; true if it is a loading request.
    pub(super) fn take(&mut self) -> bool {
        self.in_flight += 1;
        self.served += 1;
        self.served == 1 && !self.greeted
    }

    /// One request is over; returned is why the process should be replaced, if it should.
    pub(super) fn finish(&mut self, now: Tick, outcome: Outcome) -> Option<End> {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.idle_since = now;
        match outcome {
            Outcome::Answered | Outcome::Faulty => self.broken = 0,
            Outcome::Broken => self.broken += 1,
            Outcome::Replace => return Some(End::Replaced),
            Outcome::Abandoned | Outcome::TimedOut => {}
        }
        (self.broken >= BROKEN_LIMIT).then_some(End::Unreachable)
    }
}

/// The number of a numbered instance.
pub(super) fn number(id: &InstanceId) -> Option<u32> {
    match id {
        InstanceId::Number(number) => Some(*number),
        InstanceId::Opaque(_) => None,
    }
}

/// What is remembered of an instance that died.
#[derive(Debug, Clone)]
pub(super) struct Loss {
    pub(super) id: InstanceId,
    pub(super) current: bool,
    pub(super) started_at: Tick,
    pub(super) ready_at: Option<Tick>,
}

impl Loss {
    pub(super) fn of(instance: &Instance) -> Self {
        let (current, started_at, ready_at) = (instance.is_current(), instance.started_at, instance.ready_at);
        Self { id: instance.id.clone(), current, started_at, ready_at }
    }
}

/// What an instance used of its class's CPU.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cpu {
    at: Tick,
    used: Duration,
    /// Smoothed; 1.0 is the whole share of the class.
    load: f64,
}

/// Over this long, samples are smoothed: a start or one heavy request is no trend.
const SMOOTH: f64 = 5.0;
/// A measurement that is older says nothing: instances that do nothing are measured rarely.
const STALE: Duration = Duration::from_secs(10);

impl Cpu {
    /// A first sample is only the beginning of a measurement.
    pub(super) fn sample(before: Option<Self>, now: Tick, used: Duration, cores: f64) -> Self {
        let Some(before) = before else { return Self { at: now, used, load: 0.0 } };
        let passed = now.since(before.at).as_secs_f64();
        if passed <= 0.0 {
            return before;
        }
        let load = used.saturating_sub(before.used).as_secs_f64() / passed / cores.max(0.001);
        let weight = passed / (SMOOTH + passed);
        Self { at: now, used, load: before.load + (load - before.load) * weight }
    }

    /// The part of the class's share that is in use.
    pub(super) fn load(self, now: Tick) -> f64 {
        if now.since(self.at) > STALE { 0.0 } else { self.load }
    }
}
