//! The loop: what happens next, what the scheduler makes of it, what that means for the instances.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::iter::Peekable;
use std::time::Duration;

use super::dice::{Dice, Stream};
use super::instance::Instance;
use super::report::{MOST_DECISIONS, Step};
use super::{Arrival, Decision, MOST_INSTANCES, Report, Setup, What};
use crate::ids::InstanceId;
use crate::pool::Outcome;
use crate::sched::{Action, Event, ReqId, Scheduler, Serial};
use crate::time::Tick;

/// Why a simulation cannot go on; texts for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stuck {
    /// There are more than [`MOST_INSTANCES`].
    TooMany {
        /// When that happened.
        at: Tick,
    },
    /// The scheduler wants to be woken again and again at the same moment: a mistake of ours.
    Spinning {
        /// The moment.
        at: Tick,
    },
}

impl std::fmt::Display for Stuck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooMany { at } => write!(
                f,
                "{:.1} s into the load there are more than {MOST_INSTANCES} instances; set `max_instances`, or check the rate and the service time",
                at.since(Tick(0)).as_secs_f64()
            ),
            Self::Spinning { at } => {
                write!(
                    f,
                    "the scheduler does not get past {:.6} s, which is a mistake of Enginehouse's; please report it",
                    at.since(Tick(0)).as_secs_f64()
                )
            }
        }
    }
}

/// Appointments in the future.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Ready(Serial),
    /// A request of the instance is done, unless its edition is another by then.
    Finish(Serial, u64),
    Exit(Serial),
    /// Instances are measured.
    Sample,
}

struct Waiting {
    since: Tick,
    service: Duration,
}

/// How often instances are measured while requests run, as the fleet does it.
const SAMPLING: Duration = Duration::from_millis(250);
/// So often in a row the scheduler may want to be woken at one moment.
const SPINS: u32 = 10_000;
/// App Engine counts an instance for this long after its last request.
const AFTERGLOW: Duration = Duration::from_mins(15);

/// A simulation under way.
pub struct Simulation<A: Iterator<Item = Arrival>> {
    setup: Setup,
    machine: Scheduler,
    arrivals: Peekable<A>,
    now: Tick,
    due: BinaryHeap<Reverse<(Tick, u64, Due)>>,
    appointments: u64,
    instances: BTreeMap<Serial, Instance>,
    names: BTreeMap<Serial, InstanceId>,
    waiting: BTreeMap<ReqId, Waiting>,
    next_req: u64,
    services: Dice,
    starts: Dice,
    /// Instances that start, are idle, are busy, are leaving; kept up to date, because counting them at each event would take too long.
    counts: [u64; 4],
    sampling: bool,
    spins: u32,
    report: Report,
    stuck: Option<Stuck>,
    /// How much longer requests take on this class than on the one that was measured.
    stretch: f64,
}

const STARTING: usize = 0;
const IDLE: usize = 1;
const BUSY: usize = 2;
const LEAVING: usize = 3;

fn place(instance: &Instance) -> usize {
    match (instance.stopping, instance.ready, instance.in_flight()) {
        (true, ..) => LEAVING,
        (_, false, _) => STARTING,
        (_, _, 0) => IDLE,
        _ => BUSY,
    }
}

impl<A: Iterator<Item = Arrival>> Simulation<A> {
    /// A simulation at its beginning. Arrivals must be in order.
    pub fn new(mut setup: Setup, arrivals: A) -> Self {
        let stretch = adapt(&mut setup);
        let mut ids = Dice::new(setup.seed, Stream::Ids);
        let report = Report { steps: Vec::new(), decisions: Vec::new(), more_decisions: 0, billed_hours: 0.0 };
        let mut new = Self {
            machine: Scheduler::new(setup.settings.clone(), 1, ids.draw()),
            arrivals: arrivals.peekable(),
            now: Tick(0),
            due: BinaryHeap::new(),
            appointments: 0,
            instances: BTreeMap::new(),
            names: BTreeMap::new(),
            waiting: BTreeMap::new(),
            next_req: 0,
            services: Dice::new(setup.seed, Stream::Services),
            starts: Dice::new(setup.seed, Stream::Starts),
            counts: [0; 4],
            sampling: false,
            spins: 0,
            report,
            stuck: None,
            stretch,
            setup,
        };
        // Fixed numbers of instances and minimums start without a request.
        new.tell(Event::Tick);
        new
    }

    /// How far it is, 0–1 (of the load; what is left of the queue then goes fast).
    pub fn progress(&self) -> f64 {
        (self.now.since(Tick(0)).as_secs_f64() / self.setup.long.as_secs_f64().max(1e-6)).min(1.0)
    }

    /// Instances at the moment.
    pub fn instances(&self) -> usize {
        self.instances.len()
    }

    /// Goes on for at most `turns` turns; true once everything is over.
    ///
    /// # Errors
    /// If it cannot go on.
    pub fn advance(&mut self, turns: u32) -> Result<bool, Stuck> {
        for _ in 0..turns {
            if let Some(stuck) = &self.stuck {
                return Err(stuck.clone());
            }
            if !self.turn() {
                self.close();
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The result; what it says before the end is unfinished.
    pub fn finish(self) -> Report {
        self.report
    }

    /// One thing happens; false if nothing is left to happen.
    fn turn(&mut self) -> bool {
        let arrival = self.arrivals.peek().map(|arrival| arrival.at.max(self.now));
        let due = self.due.peek().map(|Reverse((at, ..))| *at);
        let alarm = self.machine.deadline().map(|at| at.max(self.now));
        let open = || {
            let leaving = |one: &Instance| one.stopping && one.in_flight() > 0;
            !self.waiting.is_empty() || self.counts[BUSY] > 0 || self.instances.values().any(leaving)
        };
        let end = Tick(0).after(self.setup.long);
        // Once the load is over only requests matter, not when the last idle instance goes.
        let next = [arrival, due, alarm].into_iter().flatten().min().filter(|at| arrival.is_some() || *at < end || open());
        let Some(next) = next else {
            self.pass(end);
            return false;
        };
        self.pass(next);
        if alarm == Some(next) && due.is_none_or(|due| due > next) {
            self.spins += 1;
            if self.spins > SPINS {
                self.stuck = Some(Stuck::Spinning { at: next });
            }
            self.tell(Event::Tick);
        } else if due == Some(next) {
            if let Some(Reverse((_, _, due))) = self.due.pop() {
                self.meet(due);
            }
        } else if let Some(arrival) = self.arrivals.next() {
            self.arrive(arrival);
        }
        true
    }

    /// Time passes; what there was in the meantime is booked.
    fn pass(&mut self, to: Tick) {
        while self.now < to {
            self.spins = 0;
            let step = self.setup.step.as_micros() as u64;
            let until = Tick(((self.now.0 / step) + 1) * step).min(to);
            let micros = until.0 - self.now.0;
            let counts = self.counts;
            let now = self.now;
            let book = self.step(now);
            book.long += Duration::from_micros(micros);
            book.starting += counts[STARTING] * micros;
            book.idle += counts[IDLE] * micros;
            book.busy += counts[BUSY] * micros;
            book.leaving += counts[LEAVING] * micros;
            self.now = until;
        }
    }

    /// The step of the report that `at` belongs to.
    fn step(&mut self, at: Tick) -> &mut Step {
        let each = self.setup.step.as_micros() as u64;
        let index = (at.0 / each) as usize;
        while self.report.steps.len() <= index {
            let begun = Tick(self.report.steps.len() as u64 * each);
            self.report.steps.push(Step { at: begun, ..Step::default() });
        }
        &mut self.report.steps[index]
    }

    fn here(&mut self) -> &mut Step {
        self.step(self.now)
    }

    fn arrive(&mut self, arrival: Arrival) {
        // Drawn for each request, so that the same request takes the same time under every setting.
        let drawn = self.setup.service.draw(&mut self.services);
        let service = arrival.service.unwrap_or(drawn).mul_f64(self.stretch);
        let since = self.now;
        self.here().arrived += 1;
        self.next_req += 1;
        let req = ReqId(self.next_req);
        if let Some(grant) = self.machine.grant(self.now, None) {
            self.begin(grant.to, req, &Waiting { since, service }, grant.cold);
            return;
        }
        self.waiting.insert(req, Waiting { since, service });
        let queue = self.waiting.len();
        self.tell(Event::Queued { req, aim: None, patience: self.setup.patience });
        let book = self.here();
        book.queue = book.queue.max(queue);
    }

    fn meet(&mut self, due: Due) {
        match due {
            Due::Ready(serial) => {
                self.change(serial, |instance| instance.ready = true);
                self.tell(Event::Ready(serial));
            }
            Due::Finish(serial, edition) => self.finished(serial, edition),
            Due::Exit(serial) => self.exit(serial),
            Due::Sample => self.sample(),
        }
    }

    /// Changes an instance and keeps the counts and the CPU account.
    fn change<T>(&mut self, serial: Serial, change: impl FnOnce(&mut Instance) -> T) -> Option<T> {
        let now = self.now;
        let instance = self.instances.get_mut(&serial)?;
        self.counts[place(instance)] -= 1;
        let cpu = instance.pass(now);
        let out = change(instance);
        self.counts[place(instance)] += 1;
        let most = (self.counts[STARTING] + self.counts[IDLE] + self.counts[BUSY]) as usize;
        let book = self.here();
        // Booked when it is noticed, which is at most one sampling late.
        book.cpu += cpu;
        book.most = book.most.max(most);
        Some(out)
    }

    fn appoint(&mut self, at: Tick, due: Due) {
        self.appointments += 1;
        self.due.push(Reverse((at, self.appointments, due)));
    }

    /// A request begins at an instance.
    fn begin(&mut self, to: Serial, req: ReqId, waiting: &Waiting, cold: bool) {
        let waited = self.now.since(waiting.since);
        let (since, service) = (waiting.since, waiting.service);
        self.step(since).waits.note(waited);
        self.here().cold += u64::from(cold);
        self.change(to, |instance| instance.take(req.0, since, service));
        self.expect(to);
        if !self.sampling {
            self.sampling = true;
            self.appoint(self.now.after(SAMPLING), Due::Sample);
        }
    }

    /// Makes the appointment for the next request to be done.
    fn expect(&mut self, serial: Serial) {
        let Some(instance) = self.instances.get(&serial) else { return };
        if let Some(next) = instance.next() {
            let edition = instance.edition;
            self.appoint(next, Due::Finish(serial, edition));
        }
    }

    fn finished(&mut self, serial: Serial, edition: u64) {
        if self.instances.get(&serial).is_none_or(|instance| instance.edition != edition) {
            return;
        }
        if let Some(job) = self.change(serial, Instance::finish).flatten() {
            let took = self.now.since(job.arrived);
            self.step(job.arrived).latencies.note(took);
            self.here().answered += 1;
            self.tell(Event::Done { at: serial, outcome: Outcome::Answered });
        }
        self.expect(serial);
    }

    fn exit(&mut self, serial: Serial) {
        let lost = self.change(serial, Instance::drain).unwrap_or_default();
        self.here().cut += lost as u64;
        self.tell(Event::Exited { instance: serial, why: "stopped".into() });
        for _ in 0..lost {
            self.tell(Event::Done { at: serial, outcome: Outcome::Broken });
        }
        if let Some(instance) = self.instances.remove(&serial) {
            self.counts[place(&instance)] -= 1;
            self.bill(&instance);
        }
        self.names.remove(&serial);
    }

    fn bill(&mut self, instance: &Instance) {
        let until = instance.last.after(AFTERGLOW).max(self.now);
        self.report.billed_hours += until.since(instance.begun).as_secs_f64() / 3_600.0;
    }

    /// Tells the scheduler what instances have used, and goes on with it as long as requests run.
    fn sample(&mut self) {
        let serials: Vec<Serial> = self.instances.iter().filter(|(_, one)| one.ready && !one.stopping).map(|(serial, _)| *serial).collect();
        let cores = self.setup.settings.cores;
        for serial in serials {
            let Some(cpu) = self.change(serial, |instance| instance.cpu) else { continue };
            let cpu = Duration::from_micros((cpu * cores) as u64);
            self.tell(Event::Sample { instance: serial, cpu, memory: 0 });
        }
        self.sampling = self.counts[BUSY] > 0;
        if self.sampling {
            self.appoint(self.now.after(SAMPLING), Due::Sample);
        }
    }

    fn tell(&mut self, event: Event) {
        self.machine.on(self.now, event);
        while let Some(action) = self.machine.poll() {
            self.obey(action);
        }
    }

    fn obey(&mut self, action: Action) {
        match action {
            Action::Start { instance, id, hello, why } => {
                let warm = hello.is_some();
                let start = self.setup.start.draw(&mut self.starts);
                let load = self.setup.warmup.draw(&mut self.starts);
                let (before, during) = if warm { (load, Duration::ZERO) } else { (Duration::ZERO, load) };
                self.started(instance, id, during, why);
                self.appoint(self.now.after(start + before), Due::Ready(instance));
            }
            Action::Assign { req, to, cold, .. } => {
                if let Some(waiting) = self.waiting.remove(&req) {
                    self.begin(to, req, &waiting, cold);
                }
            }
            Action::Reject { req, .. } => {
                if self.waiting.remove(&req).is_some() {
                    self.here().rejected += 1;
                }
            }
            Action::Stop { instance, grace, why, .. } => {
                self.here().stops += 1;
                self.change(instance, |instance| instance.stopping = true);
                self.decide(What::Stop, instance, why.to_string());
                let delay = self.setup.stop.min(grace);
                self.appoint(self.now.after(delay), Due::Exit(instance));
            }
            Action::Died { .. } | Action::Note { .. } => {}
        }
    }

    fn started(&mut self, serial: Serial, id: InstanceId, cold: Duration, why: String) {
        self.here().starts += 1;
        self.names.insert(serial, id);
        self.instances.insert(serial, Instance::new(self.now, cold, self.setup.cpu));
        self.counts[STARTING] += 1;
        self.change(serial, |_| ());
        self.decide(What::Start, serial, why);
        if self.instances.len() > MOST_INSTANCES {
            self.stuck = Some(Stuck::TooMany { at: self.now });
        }
    }

    fn decide(&mut self, what: What, serial: Serial, why: String) {
        if self.report.decisions.len() >= MOST_DECISIONS {
            self.report.more_decisions += 1;
            return;
        }
        let instance = self.names.get(&serial).cloned().unwrap_or(InstanceId::Number(0));
        self.report.decisions.push(Decision { at: self.now, instance, what, why });
    }

    /// Books what is still open.
    fn close(&mut self) {
        let left = std::mem::take(&mut self.waiting).len() as u64;
        if left > 0 {
            self.here().rejected += left;
        }
        for instance in std::mem::take(&mut self.instances).into_values() {
            self.bill(&instance);
        }
        // What happened at the very end belongs to the step that ended there.
        while let [.., _, last] = &self.report.steps[..]
            && last.long.is_zero()
        {
            let Some(last) = self.report.steps.pop() else { break };
            if let Some(before) = self.report.steps.last_mut() {
                before.join(&last);
            }
        }
    }
}

/// A class with more CPU than the one that was measured takes less time for the part of a request that is CPU. Returns by which factor requests
/// take longer, and corrects which share of that is CPU.
fn adapt(setup: &mut Setup) -> f64 {
    let cpu = setup.cpu * f64::from(setup.measured_on.cpu_mhz()) / f64::from(setup.class.cpu_mhz());
    let stretch = 1.0 - setup.cpu + cpu;
    setup.cpu = if stretch > 0.0 { cpu / stretch } else { 0.0 };
    stretch
}
