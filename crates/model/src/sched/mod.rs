//! The scheduler: one pure machine per version that decides which request goes to which instance and when instances start and stop.
//!
//! The shell tells it what happened ([`Scheduler::on`]), does what it says ([`Scheduler::poll`] until `None`) and wakes it at
//! [`Scheduler::deadline`]. It never blocks, never fails, and reads no clock. Invariants, checked after every event in debug builds and by
//! the simulation in `tests/sim_sched.rs`: no instance holds more requests than the concurrency; a request waits, is at one instance, or is
//! over; nothing is assigned to an instance that is not ready; never more instances than the maximum.
//!
//! This file has the events and the requests; `grow` starts instances by the rules of `automatic`, `basic` and `manual`, `shrink` ends them.

mod action;
mod automatic;
mod basic;
mod deaths;
mod end;
mod event;
mod grow;
mod instance;
mod manual;
mod memory;
mod meter;
mod pending;
mod report;
mod roster;
mod settings;
mod shrink;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

pub use action::Action;
pub use end::End;
pub use event::Event;
pub use memory::Memory;
pub use report::{Place, Report};
pub use settings::{Cap, Settings};

use deaths::Deaths;
use instance::{Cpu, Instance, Loss, Stage};
use meter::Meter;
use pending::Pending;
use roster::Roster;

use crate::ids::InstanceId;
use crate::journal::Severity;
use crate::pool::{Outcome, Reject};
use crate::scaling::Scaling;
use crate::time::Tick;

/// A request's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReqId(pub u64);

/// An instance's number, never reused in the life of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Serial(pub u64);

/// An instance given at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// Which.
    pub to: Serial,
    /// It is a loading request: the instance's first, and nothing was asked of the instance before.
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

/// Why one instance is started.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Start {
    why: String,
    /// No request waits for it.
    ahead: bool,
}

/// An instance that was lost or replaced; another takes its place without waiting for a request.
#[derive(Debug)]
struct Lost {
    number: Option<u32>,
    why: String,
}

impl Lost {
    /// `how`: `died`.
    fn of(instance: &Instance, how: &str) -> Self {
        let number = instance.number();
        let name = if number.is_some() { "the one before it".to_owned() } else { format!("instance {}", instance.id) };
        Self { number, why: format!("{name} {how}") }
    }
}

/// The machine.
#[derive(Debug)]
pub struct Scheduler {
    settings: Settings,
    roster: Roster,
    pending: Pending,
    meter: Meter,
    /// Under automatic scaling.
    deaths: Deaths,
    /// Under basic and manual scaling, of numbers that died lately.
    deaths_of: BTreeMap<u32, Deaths>,
    lost: VecDeque<Lost>,
    /// CPU in use, in shares of the class.
    cpu: f64,
    pace: Pace,
    /// How long an instance takes to start.
    start: Option<Duration>,
    /// How many more instances the whole computer bears.
    room: u32,
    /// It was said that the most instances run.
    full: bool,
    /// When the starting rules, or the bound of idle instances, want to look again.
    look: Option<Tick>,
    /// When an instance may have been idle for too long.
    idle_look: Option<Tick>,
    /// When `max_idle_instances` stops something, while there is a surplus.
    trim_at: Option<Tick>,
    /// Instances that are to be ready for traffic to come.
    keep: Option<Keep>,
    /// Drains once nobody waits.
    leaving: bool,
    closing: bool,
    next_serial: u64,
    draw: u64,
    actions: VecDeque<Action>,
}

/// So many instances until then.
#[derive(Debug, Clone, Copy)]
struct Keep {
    least: u32,
    until: Tick,
}

/// How fast requests finish while there is work.
#[derive(Debug, Default)]
struct Pace {
    mean: Option<Duration>,
    /// When the last one finished, or work began after a pause.
    last: Tick,
}

impl Pace {
    /// There is work again.
    fn begin(&mut self, now: Tick) {
        self.last = now;
    }

    /// A request finished.
    fn beat(&mut self, now: Tick) {
        let gap = now.since(self.last);
        self.mean = Some(self.mean.map_or(gap, |mean| (mean * 7 + gap) / 8));
        self.last = now;
    }

    /// From one finished request to the next; no faster than it is just now.
    fn now(&self, now: Tick) -> Option<Duration> {
        self.mean.map(|mean| mean.max(now.since(self.last)))
    }
}

impl Scheduler {
    /// A machine without instances. Serials count from `first_serial`; `draw` seeds the opaque ids.
    pub fn new(settings: Settings, first_serial: u64, draw: u64) -> Self {
        let mut machine = Self {
            settings,
            roster: Roster::default(),
            pending: Pending::default(),
            meter: Meter::default(),
            deaths: Deaths::default(),
            deaths_of: BTreeMap::new(),
            lost: VecDeque::new(),
            cpu: 0.0,
            pace: Pace::default(),
            start: None,
            room: u32::MAX,
            full: false,
            look: None,
            idle_look: None,
            trim_at: None,
            keep: None,
            leaving: false,
            closing: false,
            next_serial: first_serial,
            draw,
            actions: VecDeque::new(),
        };
        machine.arrange();
        machine
    }

    /// Takes note of an event.
    pub fn on(&mut self, now: Tick, event: Event) {
        let measured = matches!(event, Event::Done { .. });
        match event {
            Event::Queued { req, aim, patience } => self.queued(now, req, aim, patience),
            Event::Gone(req) => self.pending.forget(req),
            Event::Done { at, outcome } => self.done(now, at, outcome),
            Event::Ready(serial) => self.ready(now, serial),
            Event::Exited { instance, why } => self.exited(now, instance, why),
            Event::Sample { instance, cpu, memory } => self.sample(now, instance, cpu, memory),
            Event::Reload(settings) => self.reload(now, settings),
            Event::Resize(instances) => self.resize(now, instances),
            Event::Keep { least, until } => self.keep = Some(Keep { least, until }),
            Event::End(serial) => self.retire(now, serial, End::Asked),
            Event::Leave => self.leaving = true,
            Event::Drain => self.drain(now),
            Event::Tick => {}
        }
        self.settle(now, measured);
        #[cfg(debug_assertions)]
        self.check();
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Event::Tick`] is due, if nothing else happens before. `None` while nothing can come of waiting: an idle version costs no timer.
    pub fn deadline(&self) -> Option<Tick> {
        let draining = self.roster.first_draining().map(|(until, _)| until);
        let fixed = [draining, self.pending.deadline(), self.look, self.idle_look, self.deaths.again_at()];
        let mut first: Option<Tick> = None;
        // Asked twice a request, and nearly always all of them are absent.
        for at in fixed.into_iter().flatten() {
            first = Some(first.map_or(at, |first| first.min(at)));
        }
        if self.deaths_of.is_empty() {
            return first;
        }
        self.deaths_of.values().filter_map(Deaths::again_at).chain(first).min()
    }

    /// An instance for a request at once, if one has room and nobody waits: the short way past the queue. Ends with [`Event::Done`].
    /// [`Self::deadline`] may be earlier afterwards.
    pub fn grant(&mut self, now: Tick, aim: Option<u32>) -> Option<Grant> {
        if self.closing || self.pending.free() > 0 {
            return None;
        }
        let to = self.pick(aim)?;
        let cold = self.roster.take(to);
        self.measure(now);
        self.look_if_tight(now);
        Some(Grant { to, cold })
    }

    /// How many more instances the whole computer bears. Counts for automatic scaling beyond a version's first instance.
    pub fn allow(&mut self, room: u32) {
        self.room = room;
    }

    /// Whether more instances are wanted than the computer bears: [`Event::Tick`] should come once there is room.
    pub fn is_short(&self) -> bool {
        self.full && self.room == 0
    }

    /// Whether no process is left.
    pub fn is_empty(&self) -> bool {
        self.roster.is_empty()
    }

    /// How many instances manual scaling has; `None` under the other kinds.
    pub fn size(&self) -> Option<u32> {
        match &self.settings.scaling {
            Scaling::Manual(manual) => Some(manual.instances),
            Scaling::Automatic(_) | Scaling::Basic(_) => None,
        }
    }

    /// Whether the instances that [`Event::Keep`] asked for are ready, as far as limits let them be; under manual scaling whether all are.
    pub fn is_warm(&self, least: u32) -> bool {
        let wanted = match &self.settings.scaling {
            Scaling::Automatic(rule) => (least as usize).min(self.most(rule).0),
            Scaling::Basic(rule) => least.min(rule.max_instances) as usize,
            Scaling::Manual(rule) => rule.instances as usize,
        };
        self.roster.ready() >= wanted
    }

    /// How many instances are to be ready, whatever the load is.
    fn kept_until(&self, now: Tick) -> u32 {
        self.keep.filter(|keep| keep.until > now).map_or(0, |keep| keep.least)
    }

    /// How many instances there are in which state, and how many requests wait.
    pub fn census(&self) -> Census {
        let mut census = Census { pending: self.pending.len(), ..Census::default() };
        for instance in self.roster.all() {
            match instance.stage {
                Stage::Starting => census.starting += 1,
                Stage::Ready if instance.in_flight == 0 => census.idle += 1,
                Stage::Ready => census.busy += 1,
                Stage::Draining { .. } | Stage::Stopping => census.leaving += 1,
            }
        }
        census
    }

    fn pick(&self, aim: Option<u32>) -> Option<Serial> {
        let cap = self.settings.concurrency;
        match aim {
            None => self.roster.pick(cap),
            Some(number) => self.roster.pick_number(number, cap),
        }
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
        let numbers = match &self.settings.scaling {
            Scaling::Automatic(_) => 0,
            Scaling::Basic(basic) => basic.max_instances,
            Scaling::Manual(manual) => manual.instances,
        };
        if let Some(number) = aim.filter(|number| *number >= numbers) {
            let why = match numbers {
                0 => "instances have no numbers under automatic scaling".into(),
                1 => format!("there is no instance {number}, only 0"),
                _ => format!("there is no instance {number}, only 0 to {}", numbers - 1),
            };
            return Some(Reject::NotServing(why));
        }
        let full = self.pending.len() >= self.settings.queue;
        full.then(|| Reject::NoCapacity(format!("{} requests wait already", self.pending.len())))
    }

    fn done(&mut self, now: Tick, at: Serial, outcome: Outcome) {
        let verdict = self.roster.finish(now, at, outcome);
        self.measure(now);
        let Some(instance) = self.roster.get(at) else { return };
        self.pace.beat(now);
        if matches!(outcome, Outcome::Answered | Outcome::Faulty) {
            match instance.number() {
                Some(number) => self.deaths_of.entry(number).or_default().answered(now, instance),
                None => self.deaths.answered(now, instance),
            }
        }
        match instance.stage {
            Stage::Draining { .. } if instance.in_flight == 0 => self.end(at),
            Stage::Ready => self.judge(now, at, verdict),
            _ => {}
        }
    }

    fn ready(&mut self, now: Tick, serial: Serial) {
        if !self.roster.set_ready(now, serial) {
            return;
        }
        if let Some(instance) = self.roster.get(serial) {
            let took = now.since(instance.started_at);
            self.start = Some(self.start.map_or(took, |before| (before + took) / 2));
        }
        self.expect_idle(now);
    }

    fn exited(&mut self, now: Tick, serial: Serial, why: String) {
        let Some(instance) = self.roster.remove(serial) else { return };
        self.count_cpu(now);
        self.measure(now);
        if !instance.is_current() {
            return;
        }
        let again_in = self.mourn(now, &Loss::of(&instance), Lost::of(&instance, "died"), why.clone());
        self.actions.push_back(Action::Died { id: instance.id, why, again_in });
    }

    /// An instance is lost that nobody asked to go.
    fn mourn(&mut self, now: Tick, gone: &Loss, lost: Lost, why: String) -> Duration {
        let alone = self.roster.current() == 0;
        let deaths = match lost.number {
            Some(number) => self.deaths_of.entry(number).or_default(),
            None => &mut self.deaths,
        };
        let again_in = deaths.count(now, gone, alone, why);
        // Nobody restarts what died while it started and no longer has anybody waiting for it; a request will.
        if gone.ready_at.is_some() && deaths.hopeless().is_none() && !self.closing {
            self.lost.push_back(lost);
        }
        again_in
    }

    fn reload(&mut self, now: Tick, settings: Settings) {
        let before = self.roster.current();
        let needed = match &self.settings.scaling {
            Scaling::Automatic(rule) => automatic::needed(self.meter.peak(now), rule, self.settings.concurrency).clamp(1, before.max(1)),
            _ => before,
        };
        let numbers: Vec<u32> = self.roster.numbers().map(|(number, _)| number).collect();
        self.retire_all(now, End::Deployment);
        self.lost.clear();
        self.settings = settings;
        let why = || "a new deployment".to_owned();
        match &self.settings.scaling {
            Scaling::Automatic(_) if before > 0 => {
                self.lost.extend((0..needed).map(|_| Lost { number: None, why: why() }));
            }
            Scaling::Basic(rule) if before > 0 => {
                let numbers = numbers.into_iter().filter(|number| *number < rule.max_instances);
                self.lost.extend(numbers.map(|number| Lost { number: Some(number), why: why() }));
            }
            _ => {}
        }
        (self.deaths, self.deaths_of, self.cpu, self.full) = (Deaths::default(), BTreeMap::new(), 0.0, false);
        self.arrange();
    }

    fn resize(&mut self, now: Tick, instances: u32) {
        let Scaling::Manual(manual) = &mut self.settings.scaling else { return };
        manual.instances = instances;
        let surplus: Vec<_> = self.roster.numbers().filter(|(number, _)| *number >= instances).map(|(_, serial)| serial).collect();
        for serial in surplus {
            self.retire(now, serial, End::Resized(instances));
        }
        let gone: Vec<_> = self.pending.aimed().map(|(number, _)| number).filter(|number| *number >= instances).collect();
        for number in gone {
            self.reject_aimed(number, &Reject::NotServing(format!("there is no instance {number} any more")));
        }
        self.deaths_of.retain(|number, _| *number < instances);
        self.lost.clear();
    }

    fn drain(&mut self, now: Tick) {
        self.closing = true;
        self.lost.clear();
        self.retire_all(now, End::Closing);
        self.reject_all(&Reject::Draining);
        (self.deaths, self.deaths_of) = (Deaths::default(), BTreeMap::new());
    }

    /// What the kind of scaling says about the order in which instances are asked.
    fn arrange(&mut self) {
        let automatic = matches!(self.settings.scaling, Scaling::Automatic(_));
        self.roster.prefer_low_numbers(matches!(self.settings.scaling, Scaling::Basic(_)));
        self.roster.set_core(if automatic { 1 } else { usize::MAX });
    }

    /// Draws the conclusions: who goes, who gives up, who is served, who starts. `measured`: the event has measured the load.
    fn settle(&mut self, now: Tick, measured: bool) {
        self.look = None;
        self.stop_drained(now);
        self.expire(now);
        self.assign(now);
        if !measured || self.roster.in_flight() != self.meter.level() {
            self.measure(now);
        }
        if self.leaving && !self.closing && self.pending.is_empty() {
            self.drain(now);
        }
        if self.closing {
            self.idle_look = None;
            return;
        }
        self.grow(now);
        self.shrink(now);
    }

    fn measure(&mut self, now: Tick) {
        if self.meter.level() == 0 && self.roster.in_flight() > 0 {
            self.pace.begin(now);
        }
        self.meter.set(now, self.roster.in_flight());
        self.arrange_core(now);
    }

    fn expire(&mut self, now: Tick) {
        while let Some(late) = self.pending.take_late(now) {
            let what = if self.roster.ready() > 0 { "every instance was busy" } else { "no instance became ready" };
            let why = Reject::NoCapacity(format!("{what} for {} s", now.since(late.since).as_secs()));
            self.actions.push_back(Action::Reject { req: late.req, why });
        }
    }

    /// Gives every instance with room to whoever waits longest for it.
    fn assign(&mut self, now: Tick) {
        while !self.pending.is_empty() {
            let aimed = self.pending.aimed().filter_map(|(number, place)| Some((place, self.pick(Some(number))?))).min();
            let free = self.pending.first_free().and_then(|place| Some((place, self.pick(None)?)));
            let Some((place, to)) = aimed.into_iter().chain(free).min() else { return };
            let Some(waiting) = self.pending.take(place) else { return };
            let cold = self.roster.take(to);
            self.actions.push_back(Action::Assign { req: waiting.req, to, cold, waited: now.since(waiting.since) });
        }
    }

    fn reject_all(&mut self, why: &Reject) {
        while let Some(waiting) = self.pending.take_first() {
            self.actions.push_back(Action::Reject { req: waiting.req, why: why.clone() });
        }
    }

    fn reject_free(&mut self, why: &Reject) {
        while let Some(waiting) = self.pending.first_free().and_then(|place| self.pending.take(place)) {
            self.actions.push_back(Action::Reject { req: waiting.req, why: why.clone() });
        }
    }

    fn reject_aimed(&mut self, number: u32, why: &Reject) {
        while let Some(waiting) = self.pending.take_aimed(number) {
            self.actions.push_back(Action::Reject { req: waiting.req, why: why.clone() });
        }
    }

    fn note(&mut self, severity: Severity, id: Option<InstanceId>, text: String) {
        self.actions.push_back(Action::Note { severity, id, text });
    }

    fn sample(&mut self, now: Tick, serial: Serial, used: Duration, memory: u64) {
        let cores = self.settings.cores;
        let Some(instance) = self.roster.get_mut(serial) else { return };
        if instance.stage == Stage::Stopping {
            return self.weigh_last(serial, memory);
        }
        instance.cpu = Some(Cpu::sample(instance.cpu, now, used, cores));
        self.count_cpu(now);
        self.weigh(now, serial, memory);
    }

    fn count_cpu(&mut self, now: Tick) {
        self.cpu = self.roster.in_order().filter_map(|instance| instance.cpu).map(|cpu| cpu.load(now)).sum();
    }

    #[cfg(debug_assertions)]
    fn check(&self) {
        self.pending.check();
        self.roster.check();
        let most = self.settings.concurrency;
        let over = self.roster.in_order().find(|instance| instance.in_flight > most);
        debug_assert!(over.is_none(), "too many requests at {over:?}");
        let servable = self.pending.first_free().is_some() && self.pick(None).is_some();
        debug_assert!(!servable, "somebody waits beside a free instance: {self:?}");
    }
}
