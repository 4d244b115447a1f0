//! A seeded simulation of the scheduler: random settings of all three kinds, random requests, deaths, reloads, samples and slow starts, checked
//! against a shadow of what was promised.
//!
//! `SIM_SEED=n cargo test -p model --test sim_sched` replays one seed with a trace. What load does over minutes is in `sim_load.rs`.
#![allow(clippy::print_stdout, reason = "the trace of a replayed seed")]

mod sim;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::ids::InstanceId;
use model::pool::{Lifecycle, Outcome, Reject};
use model::scaling::{Manual, Scaling};
use model::sched::{Action, Event, ReqId, Scheduler, Serial, Settings};
use model::time::Tick;
use sim::{Dice, play, settings};

const MB: u64 = 1 << 20;

#[derive(Debug)]
struct Process {
    number: Option<u32>,
    ready: bool,
    /// Belongs to an older deployment or is to be replaced: nothing new may come.
    retired: Option<u64>,
    stopping: bool,
    served: u64,
    /// Bytes of the last sample.
    memory: u64,
    /// Broken requests in a row.
    broken: u32,
    holds: BTreeSet<ReqId>,
}

impl Process {
    fn is_current(&self) -> bool {
        self.retired.is_none() && !self.stopping
    }
}

#[derive(Debug)]
struct Request {
    aim: Option<u32>,
    until: u64,
}

struct World {
    dice: Dice,
    kind: u64,
    machine: Scheduler,
    settings: Settings,
    now: u64,
    processes: BTreeMap<Serial, Process>,
    waiting: BTreeMap<ReqId, Request>,
    over: BTreeSet<ReqId>,
    next_req: u64,
    closing: bool,
    trace: bool,
    /// Instances ever started.
    started: u64,
}

impl World {
    fn new(seed: u64, trace: bool) -> Self {
        let mut dice = Dice::new(seed);
        let kind = seed % 3;
        let settings = settings(&mut dice, kind);
        let machine = Scheduler::new(settings.clone(), 1, dice.next());
        let (processes, waiting, over) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        if trace {
            println!("{settings:?}");
        }
        let (now, next_req, started, closing) = (0, 0, 0, false);
        Self { dice, kind, machine, settings, now, processes, waiting, over, next_req, closing, trace, started }
    }

    /// The most instances at once, and how many numbers there are.
    fn most(&self) -> (usize, u32) {
        match &self.settings.scaling {
            Scaling::Automatic(rule) => (rule.max_instances.unwrap_or(u32::MAX).min(self.settings.cap.instances) as usize, 0),
            Scaling::Basic(rule) => (rule.max_instances as usize, rule.max_instances),
            Scaling::Manual(rule) => (rule.instances as usize, rule.instances),
        }
    }

    fn tell(&mut self, event: Event) {
        if self.trace {
            println!("{:>9} {event:?}", self.now);
        }
        self.machine.on(Tick(self.now), event);
        while let Some(action) = self.machine.poll() {
            if self.trace {
                println!("          -> {action:?}");
            }
            self.obey(action);
        }
        self.check();
    }

    fn obey(&mut self, action: Action) {
        match action {
            Action::Start { instance, id, hello, why } => self.start(instance, &id, hello, &why),
            Action::Assign { req, to, .. } => {
                let request = self.waiting.remove(&req).unwrap_or_else(|| panic!("{req:?} does not wait"));
                let overtaken = self.waiting.iter().find(|(other, waits)| waits.aim == request.aim && **other < req);
                assert!(overtaken.is_none(), "{req:?} overtook {overtaken:?}");
                self.give(req, request.aim, to);
            }
            Action::Reject { req, why } => self.reject(req, &why),
            Action::Stop { instance, farewell, .. } => {
                let hard = self.settings.memory.expect("set").hard();
                let process = self.processes.get_mut(&instance).expect("known");
                assert!(!process.stopping, "stopped twice");
                let late = process.retired.is_some_and(|at| Tick(at).after(self.settings.drain).0 <= self.now);
                assert!(process.holds.is_empty() || process.memory > hard || late, "stopped with requests, before the drain limit");
                assert!(!farewell || process.number.is_some() && process.ready, "a farewell to {process:?}");
                process.stopping = true;
            }
            Action::Died { .. } | Action::Note { .. } => {}
        }
    }

    fn start(&mut self, serial: Serial, id: &InstanceId, hello: Option<Lifecycle>, why: &str) {
        assert!(!self.closing, "a start while closing");
        assert!(!why.is_empty(), "started without a reason");
        let (most, numbers) = self.most();
        let current = self.processes.values().filter(|process| process.is_current()).count();
        assert!(current < most, "instance {} of {most}", current + 1);
        let number = match id {
            InstanceId::Number(number) => Some(*number),
            InstanceId::Opaque(_) => None,
        };
        if let Some(number) = number {
            assert!(number < numbers, "number {number} of {numbers}");
            assert!(
                !self.processes.values().any(|process| process.is_current() && process.number == Some(number)),
                "two instances {number}"
            );
            assert_eq!(hello, Some(Lifecycle::Start));
        } else {
            assert_eq!(numbers, 0, "an instance without a number");
            assert!(hello.is_none() || self.settings.warmup, "a warm-up that nobody wants");
        }
        let process =
            Process { number, ready: false, retired: None, stopping: false, served: 0, memory: 0, broken: 0, holds: BTreeSet::new() };
        assert!(self.processes.insert(serial, process).is_none(), "a serial was used twice");
        self.started += 1;
    }

    fn reject(&mut self, req: ReqId, why: &Reject) {
        let request = self.waiting.remove(&req).unwrap_or_else(|| panic!("{req:?} does not wait"));
        match why {
            Reject::Draining => assert!(self.closing),
            Reject::NotServing(_) => assert!(request.aim.is_some_and(|number| number >= self.most().1), "{request:?}"),
            Reject::NoCapacity(_) => {
                assert!(request.until <= self.now || self.waiting.len() >= self.settings.queue, "{request:?} lost its patience early");
            }
            Reject::StartFailed(_) => {
                let serves = |process: &&Process| process.is_current() && (request.aim.is_none() || request.aim == process.number);
                assert_eq!(self.processes.values().find(serves).map(|process| process.ready), None, "{request:?} could have been served");
            }
        }
        self.over.insert(req);
    }

    fn give(&mut self, req: ReqId, aim: Option<u32>, to: Serial) {
        let most = self.settings.concurrency as usize;
        let process = self.processes.get_mut(&to).expect("assigned to an instance that is gone");
        assert!(process.ready && process.is_current(), "assigned to {process:?}");
        assert!(aim.is_none() || aim == process.number, "{req:?} named instance {aim:?}");
        process.holds.insert(req);
        process.served += 1;
        assert!(process.holds.len() <= most, "more than {most} at once");
    }

    /// Nobody waits beside an instance with room, nor longer than it wanted to.
    fn check(&self) {
        let most = self.settings.concurrency as usize;
        for (req, request) in &self.waiting {
            let serves = |process: &&Process| {
                let fits = request.aim.is_none() || request.aim == process.number;
                fits && process.ready && process.is_current() && process.holds.len() < most
            };
            let free = self.processes.values().find(serves);
            assert!(free.is_none(), "{req:?} waits beside {free:?}");
            assert!(request.until > self.now, "{req:?} should have been told");
        }
        if let (Scaling::Manual(rule), false) = (&self.settings.scaling, self.closing) {
            let current = self.processes.values().filter(|process| process.is_current()).count();
            assert!(current == rule.instances as usize || self.machine.deadline().is_some(), "nobody starts the missing ones");
        }
    }

    fn request(&mut self) {
        self.next_req += 1;
        let req = ReqId(self.next_req);
        let aim = if self.kind > 0 && self.dice.below(3) == 0 { Some(self.dice.between(0, 5)) } else { None };
        if let Some(grant) = self.machine.grant(Tick(self.now), aim) {
            assert!(!self.waiting.values().any(|other| other.aim == aim), "overtaken");
            self.give(req, aim, grant.to);
        } else {
            let patience = Duration::from_millis(1 + self.dice.below(20_000));
            let until = Tick(self.now).after(patience).0;
            self.waiting.insert(req, Request { aim, until });
            self.tell(Event::Queued { req, aim, patience });
        }
    }

    fn pick(&mut self, which: impl Fn(&Process) -> bool) -> Option<Serial> {
        let serials: Vec<_> = self.processes.iter().filter(|(_, process)| which(process)).map(|(serial, _)| *serial).collect();
        self.dice.pick(&serials)
    }

    fn finish_one(&mut self) {
        let answered = [Outcome::Answered; 6].into_iter();
        let outcomes: Vec<_> = answered.chain([Outcome::Abandoned, Outcome::TimedOut, Outcome::Broken, Outcome::Replace]).collect();
        let Some(at) = self.pick(|process| !process.holds.is_empty()) else { return };
        let outcome = self.dice.pick(&outcomes).expect("some");
        self.finish(at, outcome);
    }

    fn finish(&mut self, at: Serial, outcome: Outcome) {
        let soft = self.settings.memory.expect("set").soft();
        let process = self.processes.get_mut(&at).expect("known");
        let Some(req) = process.holds.pop_first() else { return };
        match outcome {
            Outcome::Answered => process.broken = 0,
            Outcome::Broken => process.broken += 1,
            _ => {}
        }
        if outcome == Outcome::Replace || process.broken >= 3 || process.memory > soft {
            process.retired.get_or_insert(self.now);
        }
        self.over.insert(req);
        self.tell(Event::Done { at, outcome });
    }

    /// Some leases of a dead instance come back before the machine hears of the death, the others after.
    fn die(&mut self, serial: Serial) {
        for _ in 0..self.dice.below(3) {
            self.finish(serial, Outcome::Broken);
        }
        let process = self.processes.remove(&serial).expect("known");
        self.tell(Event::Exited { instance: serial, why: "exit status 1".into() });
        for req in process.holds {
            self.over.insert(req);
            self.tell(Event::Done { at: serial, outcome: Outcome::Broken });
        }
    }

    fn sample(&mut self) {
        let Some(at) = self.pick(|process| process.ready) else { return };
        let memory = if self.dice.below(10) == 0 { self.dice.below(160) * MB } else { 50 * MB };
        let limits = self.settings.memory.expect("set");
        let process = self.processes.get_mut(&at).expect("known");
        process.memory = memory;
        if process.served > 0 && process.holds.is_empty() && memory > limits.soft() {
            process.retired.get_or_insert(self.now);
        }
        let killed = memory > limits.hard();
        let cpu = Duration::from_micros(self.now / 8 * self.dice.below(8));
        self.tell(Event::Sample { instance: at, cpu, memory });
        assert!(!killed || self.processes[&at].stopping, "over the hard limit and alive");
    }

    /// The shell's timer, sometimes a little late.
    fn advance(&mut self, to: u64) {
        while let Some(at) = self.machine.deadline().filter(|at| at.0 <= to) {
            self.now = self.now.max(at.0 + self.dice.below(2) * self.dice.below(5_000)).min(to.max(at.0));
            self.tell(Event::Tick);
            assert!(self.machine.deadline().is_none_or(|at| at.0 > self.now), "a deadline that a tick does not move");
        }
        self.now = self.now.max(to);
    }

    fn step(&mut self) {
        let far = self.dice.below(100) == 0;
        let to = self.now + self.dice.below(if far { 300_000_000 } else { 400_000 });
        self.advance(to);
        match self.dice.below(100) {
            0..40 => self.request(),
            40..70 => self.finish_one(),
            70..82 => {
                if let Some(serial) = self.pick(|process| !process.ready && !process.stopping) {
                    self.processes.get_mut(&serial).expect("known").ready = true;
                    self.tell(Event::Ready(serial));
                }
            }
            82..85 => self.sample(),
            85..88 => {
                if let Some(serial) = self.pick(|_| true) {
                    self.die(serial);
                }
            }
            88..94 => {
                if let Some(serial) = self.pick(|process| process.stopping) {
                    self.die(serial);
                }
            }
            94..97 => {
                if let Some((req, _)) = self.waiting.pop_last() {
                    self.over.insert(req);
                    self.tell(Event::Gone(req));
                }
            }
            97..99 => self.resize(),
            _ => self.reload(),
        }
    }

    fn retire(&mut self, which: impl Fn(&Process) -> bool) {
        for process in self.processes.values_mut().filter(|process| which(process)) {
            process.retired.get_or_insert(self.now);
        }
    }

    fn reload(&mut self) {
        self.settings = settings(&mut self.dice, self.kind);
        if self.trace {
            println!("{:?}", self.settings);
        }
        self.retire(|_| true);
        self.tell(Event::Reload(self.settings.clone()));
    }

    fn resize(&mut self) {
        let instances = self.dice.between(1, 4);
        if let Scaling::Manual(_) = self.settings.scaling {
            self.settings.scaling = Scaling::Manual(Manual { instances });
            self.retire(|process| process.number.is_some_and(|number| number >= instances));
        }
        self.tell(Event::Resize(instances));
    }

    /// Everything comes to an end, and every request got an answer.
    fn close(&mut self) {
        self.closing = true;
        self.retire(|_| true);
        self.tell(Event::Drain);
        assert!(self.waiting.is_empty(), "somebody still waits: {:?}", self.waiting);
        while self.processes.values().any(|process| !process.holds.is_empty()) {
            self.finish_one();
        }
        while let Some((&serial, process)) = self.processes.first_key_value() {
            assert!(process.stopping, "an idle instance was not told to stop: {process:?}");
            self.die(serial);
        }
        assert!(self.machine.is_empty());
        assert_eq!(self.machine.deadline(), None, "an empty house has no alarm");
        assert_eq!(self.over.len() as u64, self.next_req, "a request was lost");
        assert!(self.started > 0);
    }
}

#[test]
fn nothing_is_lost_and_nothing_is_overloaded() {
    play(|seed, trace| {
        let mut world = World::new(seed, trace);
        world.tell(Event::Tick);
        for _ in 0..600 {
            world.step();
        }
        world.close();
    });
}
