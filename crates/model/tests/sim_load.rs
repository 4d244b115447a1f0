//! A seeded simulation of load over minutes: capacity comes within its bound after a step, steady load neither starts nor stops anything, and
//! what is not needed any more goes.
//!
//! `SIM_SEED=n cargo test -p model --test sim_load NAME` replays one seed with a trace.
#![allow(clippy::print_stdout, reason = "the trace of a replayed seed")]

mod sim;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::pool::Outcome;
use model::scaling::{Automatic, Basic, Manual, Scaling};
use model::sched::{Action, Cap, Event, ReqId, Scheduler, Serial, Settings};
use model::time::Tick;
use sim::{Dice, automatic, plain, play};

const SECOND: u64 = 1_000_000;
const MINUTE: u64 = 60 * SECOND;

/// What will happen.
#[derive(Debug, Clone, Copy)]
enum What {
    /// A request; with a client, the next one comes when this one is answered.
    Arrive {
        client: bool,
    },
    Finish {
        at: Serial,
        client: bool,
    },
    Ready(Serial),
    Exit(Serial),
}

struct World {
    dice: Dice,
    machine: Scheduler,
    now: u64,
    agenda: BTreeMap<(u64, u64), What>,
    next: u64,
    waiting: BTreeMap<ReqId, bool>,
    ready: BTreeSet<Serial>,
    /// How long a process takes to start, and a request at most and at least.
    start: Duration,
    service: (Duration, Duration),
    /// When instances started and stopped, and why.
    starts: Vec<(u64, String)>,
    stops: Vec<(u64, String)>,
    longest_wait: Duration,
    refused: u32,
    trace: bool,
}

impl World {
    fn new(settings: &Settings, start: Duration, service: (Duration, Duration), seed: u64, trace: bool) -> Self {
        if trace {
            println!("{settings:?}, start {start:?}, service {service:?}");
        }
        let mut world = Self {
            dice: Dice::new(seed ^ 0x5eed),
            machine: Scheduler::new(settings.clone(), 1, seed),
            now: 0,
            agenda: BTreeMap::new(),
            next: 0,
            waiting: BTreeMap::new(),
            ready: BTreeSet::new(),
            start,
            service,
            starts: Vec::new(),
            stops: Vec::new(),
            longest_wait: Duration::ZERO,
            refused: 0,
            trace,
        };
        world.tell(Event::Tick);
        world
    }

    fn plan(&mut self, after: Duration, what: What) {
        self.next += 1;
        self.agenda.insert((Tick(self.now).after(after).0, self.next), what);
    }

    fn tell(&mut self, event: Event) {
        self.machine.on(Tick(self.now), event);
        while let Some(action) = self.machine.poll() {
            if self.trace && !matches!(action, Action::Assign { .. }) {
                println!("{:>11.3} {action:?}", Duration::from_micros(self.now).as_secs_f64());
            }
            match action {
                Action::Start { instance, why, .. } => {
                    self.starts.push((self.now, why));
                    self.plan(self.start, What::Ready(instance));
                }
                Action::Assign { req, to, waited, .. } => {
                    let client = self.waiting.remove(&req).expect("it waits");
                    self.longest_wait = self.longest_wait.max(waited);
                    self.serve(to, client);
                }
                Action::Reject { req, .. } => {
                    let client = self.waiting.remove(&req).expect("it waits");
                    self.refused += 1;
                    self.plan(Duration::from_secs(1), What::Arrive { client });
                }
                Action::Stop { instance, why, .. } => {
                    self.stops.push((self.now, why.to_string()));
                    self.ready.remove(&instance);
                    self.plan(Duration::from_millis(20), What::Exit(instance));
                }
                Action::Died { .. } | Action::Note { .. } => {}
            }
        }
    }

    fn serve(&mut self, at: Serial, client: bool) {
        assert!(self.ready.contains(&at), "given to an instance that does not serve");
        let (least, most) = self.service;
        let spread = u64::try_from(most.saturating_sub(least).as_micros()).expect("short") + 1;
        let service = least + Duration::from_micros(self.dice.below(spread));
        self.plan(service, What::Finish { at, client });
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Arrive { client } => {
                self.next += 1;
                let req = ReqId(self.next);
                if let Some(grant) = self.machine.grant(Tick(self.now), None) {
                    self.serve(grant.to, client);
                } else {
                    self.waiting.insert(req, client);
                    self.tell(Event::Queued { req, aim: None, patience: Duration::from_mins(1) });
                }
            }
            What::Finish { at, client } => {
                self.tell(Event::Done { at, outcome: Outcome::Answered });
                if client {
                    self.happen(What::Arrive { client });
                }
            }
            What::Ready(serial) => {
                self.ready.insert(serial);
                self.tell(Event::Ready(serial));
            }
            What::Exit(serial) => self.tell(Event::Exited { instance: serial, why: "stopped".into() }),
        }
    }

    /// Lets time pass; `busy` counts the ticks that only the machine asked for.
    fn run(&mut self, until: u64) -> u32 {
        let mut ticks = 0;
        loop {
            let planned = self.agenda.first_key_value().map(|((at, _), _)| *at);
            let deadline = self.machine.deadline().map(|at| at.0.max(self.now));
            let Some(at) = planned.into_iter().chain(deadline).min().filter(|at| *at <= until) else { break };
            self.now = at;
            if planned == Some(at) {
                let (_, what) = self.agenda.pop_first().expect("seen");
                self.happen(what);
            } else {
                ticks += 1;
                self.tell(Event::Tick);
            }
        }
        self.now = until;
        ticks
    }

    /// So many clients, each with one request at a time.
    fn clients(&mut self, count: u32) {
        for _ in 0..count {
            self.happen(What::Arrive { client: true });
        }
    }

    /// No client asks again.
    fn hush(&mut self) {
        for what in self.agenda.values_mut() {
            match what {
                What::Arrive { client } | What::Finish { client, .. } => *client = false,
                What::Ready(_) | What::Exit(_) => {}
            }
        }
        self.waiting.values_mut().for_each(|client| *client = false);
    }

    /// Requests at random moments, so many a second on average.
    fn arrivals(&mut self, per_second: f64, until: u64) {
        let mut at = self.now;
        loop {
            // An exponential gap, from a fraction of 2^32.
            let draw = f64::from(u32::try_from(self.dice.below(u64::from(u32::MAX))).expect("fits") + 1) / 4_294_967_296.0;
            at = Tick(at).after(Duration::from_secs_f64(-draw.ln() / per_second)).0;
            if at > until {
                return;
            }
            self.next += 1;
            self.agenda.insert((at, self.next), What::Arrive { client: false });
        }
    }

    fn changes(&self, since: u64) -> Vec<&(u64, String)> {
        self.starts.iter().chain(&self.stops).filter(|(at, _)| *at >= since).collect()
    }
}

fn roomy(scaling: Scaling, starts: u32) -> Settings {
    let cap = Cap { instances: 40, why: "of the test".into() };
    Settings { cap, starts, ..plain(scaling) }
}

/// The bound that docs/guide/scaling.md names: with every pending latency and start time, `starts` more instances; one round more because the
/// first instance starts alone.
#[test]
fn y29_capacity_is_reached_within_the_bound_after_a_step() {
    play(|seed, trace| {
        let mut dice = Dice::new(seed);
        let rule = Automatic { min_instances: 0, max_instances: None, max_idle_instances: None, ..automatic(&mut dice) };
        let starts = dice.between(1, 4);
        let settings = roomy(Scaling::Automatic(rule.clone()), starts);
        let start = dice.millis(50, 2_000);
        let clients = dice.between(1, 150);
        let mut world = World::new(&settings, start, (Duration::from_secs(3), Duration::from_secs(4)), seed, trace);
        let warm = dice.between(0, 3);
        world.run(SECOND);
        world.clients(warm);
        world.run(10 * MINUTE);
        let stepped = world.now;
        world.clients(clients);
        let needed = (clients + warm).div_ceil(10).min(40);
        let patience = rule.min_pending_latency.unwrap_or(Duration::from_millis(30));
        let bound = (start + patience) * (needed.div_ceil(starts) + 1) + Duration::from_millis(500);
        world.run(Tick(stepped).after(bound).0);
        assert!(world.ready.len() >= needed as usize, "{} of {needed} instances after {bound:?}", world.ready.len());
        assert!(world.waiting.is_empty() || world.ready.len() == 40, "{} wait", world.waiting.len());
    });
}

#[test]
fn y29_steady_load_starts_and_stops_nothing() {
    play(|seed, trace| {
        let mut dice = Dice::new(seed);
        let settings = roomy(Scaling::Automatic(automatic(&mut dice)), dice.between(1, 4));
        let service = dice.millis(200, 1_000);
        let mut world = World::new(&settings, dice.millis(50, 1_000), (service, service * 2), seed, trace);
        world.clients(dice.between(1, 20));
        world.run(2 * MINUTE);
        let settled = world.now;
        world.run(settled + MINUTE);
        assert_eq!(world.changes(settled), Vec::<&(u64, String)>::new());
    });
}

/// Random arrivals are steady only on average: an instance may come or go, but not again and again.
#[test]
fn y29_random_arrivals_do_not_flap() {
    play(|seed, trace| {
        let mut dice = Dice::new(seed);
        let settings = roomy(Scaling::Automatic(automatic(&mut dice)), dice.between(1, 4));
        let service = dice.millis(100, 2_000);
        let mut world = World::new(&settings, dice.millis(50, 1_000), (service / 2, service * 2), seed, trace);
        world.arrivals(f64::from(dice.between(1, 40)) / 10.0, 15 * MINUTE);
        world.run(5 * MINUTE);
        let settled = world.now;
        world.run(15 * MINUTE);
        let changes = world.changes(settled);
        assert!(changes.len() <= 6, "{} in ten minutes: {changes:?}", changes.len());
        assert_eq!(world.refused, 0);
    });
}

#[test]
fn y29_instances_go_to_zero_and_an_idle_version_asks_for_nothing() {
    play(|seed, trace| {
        let mut dice = Dice::new(seed);
        let rule = automatic(&mut dice);
        let kept = rule.min_instances.max(rule.min_idle_instances.unwrap_or_default());
        let mut settings = roomy(Scaling::Automatic(rule), 2);
        settings.idle = Duration::from_mins(15);
        let mut world = World::new(&settings, dice.millis(50, 500), (Duration::from_millis(10), Duration::from_secs(2)), seed, trace);
        world.clients(dice.between(1, 60));
        world.run(30 * SECOND);
        world.hush();
        let quiet = world.now;
        world.run(quiet + 20 * MINUTE);
        let kept = kept.min(settings_most(&settings)) as usize;
        assert_eq!(world.ready.len(), kept, "of {} started", world.starts.len());
        assert_eq!(world.run(quiet + 1_000 * MINUTE), 0, "an idle version has no timer");
        assert_eq!(world.machine.deadline(), None);
    });
}

fn settings_most(settings: &Settings) -> u32 {
    match &settings.scaling {
        Scaling::Automatic(rule) => rule.max_instances.unwrap_or(u32::MAX).min(settings.cap.instances),
        Scaling::Basic(rule) => rule.max_instances,
        Scaling::Manual(rule) => rule.instances,
    }
}

#[test]
fn y30_basic_instances_come_with_the_load_and_go_with_the_timeout() {
    play(|seed, trace| {
        let mut dice = Dice::new(seed);
        let (most, clients) = (dice.between(1, 6), dice.between(1, 50));
        let timeout = dice.millis(5_000, 600_000);
        let settings = plain(Scaling::Basic(Basic { max_instances: most, idle_timeout: timeout }));
        let start = dice.millis(50, 1_000);
        let mut world = World::new(&settings, start, (Duration::from_secs(1), Duration::from_secs(2)), seed, trace);
        assert!(world.starts.is_empty(), "nobody asked");
        world.clients(clients);
        world.run(Tick(0).after(start * 2).0);
        assert_eq!(world.ready.len(), clients.div_ceil(10).min(most) as usize);
        world.run(world.now + 20 * SECOND);
        let settled = world.now;
        world.run(settled + MINUTE);
        assert_eq!(world.changes(settled), Vec::<&(u64, String)>::new(), "steady load");
        world.hush();
        world.run(Tick(world.now).after(timeout + Duration::from_mins(3)).0);
        assert!(world.ready.is_empty());
        assert_eq!(world.machine.deadline(), None);
    });
}

#[test]
fn y31_manual_instances_all_start_at_once_and_stay() {
    play(|seed, trace| {
        let mut dice = Dice::new(seed);
        let instances = dice.between(1, 20);
        let start = dice.millis(50, 5_000);
        let mut world = World::new(
            &plain(Scaling::Manual(Manual { instances })),
            start,
            (Duration::from_millis(100), Duration::from_millis(900)),
            seed,
            trace,
        );
        world.run(Tick(0).after(start).0);
        assert_eq!(world.ready.len(), instances as usize);
        world.clients(dice.between(1, 60));
        world.run(world.now + 10 * SECOND);
        world.hush();
        world.run(world.now + 600 * MINUTE);
        assert_eq!((world.starts.len(), world.stops.len()), (instances as usize, 0));
    });
}
