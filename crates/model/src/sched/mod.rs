//! The scheduler: one pure machine per version that decides which request goes to which instance and when instances start and stop.
//!
//! The shell tells it what happened ([`Scheduler::on`]), does what it says ([`Scheduler::poll`] until `None`) and wakes it at
//! [`Scheduler::deadline`]. It never blocks, never fails, and reads no clock. Invariants, checked after every event in debug builds and by
//! the simulation in `tests/sim_sched.rs`: no instance holds more requests than the concurrency; a request waits, is at one instance, or is
//! over; nothing is assigned to an instance that is not ready.

mod action;
mod event;
mod instance;
mod on_demand;
mod pending;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

pub use action::Action;
pub use event::Event;
use instance::{Deaths, Instance, Stage};
use on_demand::Load;
use pending::{Pending, Waiting};

use crate::config::VersionConfig;
use crate::ids::InstanceId;
use crate::pool::{Outcome, Reject};
use crate::scaling::Scaling;
use crate::time::Tick;

/// A request's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReqId(pub u64);

/// An instance's number, never reused in the life of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Serial(pub u64);

/// What a version's configuration says about scheduling.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// How instances come and go; for now it only decides how they are named.
    pub scaling: Scaling,
    /// Most requests that one instance takes at once.
    pub concurrency: u32,
    /// Most requests that wait.
    pub queue: usize,
    /// How long an instance that goes may finish its requests.
    pub drain: Duration,
    /// How long a process may take to end after it was told to.
    pub grace: Duration,
}

impl Settings {
    /// The settings of a version. Requests may take ten minutes under automatic scaling (docs: "how instances are managed"), hence `drain`;
    /// an instance has thirty seconds to shut down under basic and manual scaling and about three under automatic.
    pub fn of(config: &VersionConfig) -> Self {
        let automatic = matches!(config.scaling, Scaling::Automatic(_));
        Self {
            scaling: config.scaling.clone(),
            concurrency: config.concurrency().max(1),
            queue: 1_000,
            drain: Duration::from_mins(10),
            grace: Duration::from_secs(if automatic { 3 } else { 30 }),
        }
    }
}

/// An instance given at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// Which.
    pub to: Serial,
    /// It is the instance's first request.
    pub cold: bool,
}

/// How many instances a version has in which state, for metrics and the console.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Census {
    /// Asked for, not ready yet.
    pub starting: usize,
    /// Ready and without a request.
    pub idle: usize,
    /// Ready, with requests.
    pub busy: usize,
    /// Finishing what they have, or told to end.
    pub leaving: usize,
    /// Requests that wait.
    pub pending: usize,
}

/// The machine.
#[derive(Debug)]
pub struct Scheduler {
    settings: Settings,
    instances: Vec<Instance>,
    pending: Pending,
    deaths: Deaths,
    /// An instance was lost or replaced; another takes its place without waiting for a request.
    lost: bool,
    closing: bool,
    next_serial: u64,
    draw: u64,
    actions: VecDeque<Action>,
}

impl Scheduler {
    /// A machine without instances. Serials count from `first_serial`; `draw` seeds the opaque ids.
    pub fn new(settings: Settings, first_serial: u64, draw: u64) -> Self {
        Self {
            settings,
            instances: Vec::new(),
            pending: Pending::default(),
            deaths: Deaths::default(),
            lost: false,
            closing: false,
            next_serial: first_serial,
            draw,
            actions: VecDeque::new(),
        }
    }

    /// Takes note of an event.
    pub fn on(&mut self, now: Tick, event: Event) {
        match event {
            Event::Queued { req, aim, patience } => self.queued(now, req, aim, patience),
            Event::Gone(req) => self.pending.forget(req),
            Event::Done { at, outcome } => self.done(now, at, outcome),
            Event::Ready(serial) => self.ready(now, serial),
            Event::Exited { instance, why } => self.exited(now, instance, why),
            Event::Reload(settings) => self.reload(now, settings),
            Event::Drain => self.drain(now),
            Event::Sample { .. } | Event::Tick => {}
        }
        self.settle(now);
        #[cfg(debug_assertions)]
        self.check();
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Event::Tick`] is due, if nothing else happens before.
    pub fn deadline(&self) -> Option<Tick> {
        let drains = self.instances.iter().filter_map(|instance| match instance.stage {
            Stage::Draining { until } => Some(until),
            _ => None,
        });
        let again = self.deaths.again_at().filter(|_| !self.closing);
        drains.chain(self.pending.deadline()).chain(again).min()
    }

    /// An instance for a request at once, if one has room and nobody waits: the short way past the queue. Ends with [`Event::Done`].
    pub fn grant(&mut self, aim: Option<u32>) -> Option<Grant> {
        if !self.pending.is_empty() || self.closing {
            return None;
        }
        let cap = self.settings.concurrency;
        let instance = self.instances.iter_mut().find(|instance| instance.has_room(cap) && instance.meets(aim))?;
        Some(Grant { to: instance.serial, cold: instance.take() })
    }

    /// Whether no process is left.
    pub fn is_empty(&self) -> bool {
        self.instances.is_empty()
    }

    /// How many instances there are in which state, and how many requests wait.
    pub fn census(&self) -> Census {
        let mut census = Census { pending: self.pending.len(), ..Census::default() };
        for instance in &self.instances {
            match instance.stage {
                Stage::Starting => census.starting += 1,
                Stage::Ready if instance.in_flight == 0 => census.idle += 1,
                Stage::Ready => census.busy += 1,
                Stage::Draining { .. } | Stage::Stopping => census.leaving += 1,
            }
        }
        census
    }

    fn queued(&mut self, now: Tick, req: ReqId, aim: Option<u32>, patience: Duration) {
        if let Some(why) = self.refusal(aim) {
            self.actions.push_back(Action::Reject { req, why });
        } else {
            self.pending.push(now, req, aim, patience);
        }
    }

    /// Why a request may not even wait.
    fn refusal(&self, aim: Option<u32>) -> Option<Reject> {
        if self.closing {
            return Some(Reject::Draining);
        }
        match (aim, &self.settings.scaling) {
            (None, _) | (Some(0), Scaling::Basic(_) | Scaling::Manual(_)) => {}
            (Some(_), Scaling::Automatic(_)) => {
                return Some(Reject::NotServing("instances have no numbers under automatic scaling".into()));
            }
            (Some(number), _) => return Some(Reject::NotServing(format!("instance {number} does not run"))),
        }
        let full = self.pending.len() >= self.settings.queue;
        full.then(|| Reject::NoCapacity(format!("{} requests wait already", self.pending.len())))
    }

    fn done(&mut self, now: Tick, at: Serial, outcome: Outcome) {
        let Some(instance) = self.instances.iter_mut().find(|instance| instance.serial == at) else { return };
        let replace = instance.finish(outcome);
        if outcome == Outcome::Answered {
            self.deaths.forget();
        }
        if replace && instance.stage == Stage::Ready {
            instance.stage = Stage::Draining { until: now.after(self.settings.drain) };
            self.lost = true;
        }
    }

    fn ready(&mut self, now: Tick, serial: Serial) {
        let found = self.instances.iter_mut().find(|instance| instance.serial == serial && instance.stage == Stage::Starting);
        if let Some(instance) = found {
            instance.stage = Stage::Ready;
            instance.ready_at = now;
        }
    }

    fn exited(&mut self, now: Tick, serial: Serial, why: String) {
        let Some(at) = self.instances.iter().position(|instance| instance.serial == serial) else { return };
        let instance = self.instances.remove(at);
        if !instance.is_current() {
            return;
        }
        let again_in = self.deaths.count(now, &instance, why.clone());
        // Nobody restarts what died while it started and no longer has anybody waiting for it; a request will.
        self.lost = instance.stage == Stage::Ready && self.deaths.hopeless().is_none();
        self.actions.push_back(Action::Died { id: instance.id, why, again_in });
        self.give_up();
    }

    /// Tells everybody who waits that instances do not start.
    fn give_up(&mut self) {
        let Some(reason) = self.deaths.hopeless() else { return };
        let why = Reject::StartFailed(reason.to_owned());
        while let Some(waiting) = self.pending.take(|_| true) {
            self.actions.push_back(Action::Reject { req: waiting.req, why: why.clone() });
        }
    }

    fn reload(&mut self, now: Tick, settings: Settings) {
        self.lost = self.lost || self.instances.iter().any(Instance::is_current);
        self.retire(now);
        self.settings = settings;
        self.deaths.forget();
    }

    fn drain(&mut self, now: Tick) {
        self.closing = true;
        self.lost = false;
        self.retire(now);
        while let Some(waiting) = self.pending.take(|_| true) {
            self.actions.push_back(Action::Reject { req: waiting.req, why: Reject::Draining });
        }
    }

    /// Every instance finishes what it has and goes.
    fn retire(&mut self, now: Tick) {
        let until = now.after(self.settings.drain);
        for instance in self.instances.iter_mut().filter(|instance| instance.is_current()) {
            instance.stage = Stage::Draining { until };
        }
    }

    /// Draws the conclusions: who goes, who gives up, who is served, who starts.
    fn settle(&mut self, now: Tick) {
        self.stop_drained(now);
        self.expire(now);
        self.assign(now);
        self.start(now);
    }

    fn stop_drained(&mut self, now: Tick) {
        let grace = self.settings.grace;
        for instance in &mut self.instances {
            let Stage::Draining { until } = instance.stage else { continue };
            if instance.in_flight == 0 || until <= now {
                instance.stage = Stage::Stopping;
                let why = "its work is done".into();
                self.actions.push_back(Action::Stop { instance: instance.serial, farewell: false, grace, why });
            }
        }
    }

    fn expire(&mut self, now: Tick) {
        while let Some(late) = self.pending.take(|waiting| waiting.until <= now) {
            let busy = self.instances.iter().any(|instance| instance.stage == Stage::Ready);
            let what = if busy { "every instance was busy" } else { "no instance became ready" };
            let why = Reject::NoCapacity(format!("{what} for {} s", now.since(late.since).as_secs()));
            self.actions.push_back(Action::Reject { req: late.req, why });
        }
    }

    fn assign(&mut self, now: Tick) {
        let cap = self.settings.concurrency;
        for instance in &mut self.instances {
            while instance.has_room(cap) {
                let Some(Waiting { req, since, .. }) = self.pending.take(|waiting| instance.meets(waiting.aim)) else { break };
                let cold = instance.take();
                self.actions.push_back(Action::Assign { req, to: instance.serial, cold, waited: now.since(since) });
            }
        }
    }

    fn start(&mut self, now: Tick) {
        if self.deaths.again_at().is_some_and(|at| at <= now) {
            self.deaths.retry();
        }
        if self.closing {
            return;
        }
        if self.deaths.again_at().is_some() {
            // Between two attempts of a version that does not start, requests hear so at once instead of waiting for the next failure.
            self.give_up();
            return;
        }
        let current = self.instances.iter().filter(|instance| instance.is_current()).count();
        let target = on_demand::solve(Load { pending: self.pending.len(), current, lost: self.lost });
        for _ in current..target {
            let serial = Serial(self.next_serial);
            self.next_serial += 1;
            let id = self.name();
            let why = "a request waits".into();
            self.actions.push_back(Action::Start { instance: serial, id: id.clone(), hello: None, why });
            self.instances.push(Instance::new(serial, id));
        }
        self.lost = false;
    }

    /// A name for a new instance (row M1).
    fn name(&mut self) -> InstanceId {
        match self.settings.scaling {
            Scaling::Automatic(_) => {
                let drawn = splitmix(&mut self.draw) >> 16;
                InstanceId::Opaque(format!("{drawn:012x}").into())
            }
            Scaling::Basic(_) | Scaling::Manual(_) => InstanceId::Number(0),
        }
    }

    #[cfg(debug_assertions)]
    fn check(&self) {
        for instance in &self.instances {
            debug_assert!(instance.in_flight == 0 || instance.stage != Stage::Starting, "a starting instance has requests: {self:?}");
        }
        let current = self.instances.iter().filter(|instance| instance.is_current()).count();
        debug_assert!(current <= 1, "more than one current instance: {self:?}");
        let mut waiting: Vec<_> = self.pending.requests().collect();
        waiting.sort_unstable();
        debug_assert!(waiting.windows(2).all(|pair| pair[0] != pair[1]), "a request waits twice: {self:?}");
    }
}

/// The next of a sequence of well-mixed numbers (Steele, Lea and Flood's `SplitMix64`).
fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
