//! Nanoseconds of CPU that scheduling takes per request: `cargo run --release -p xtask --example sched_bench`.
#![allow(clippy::print_stdout, reason = "a program that prints")]

use std::collections::VecDeque;
use std::time::Duration;

use model::config::VersionConfig;
use model::ids::VersionKey;
use model::pool::Outcome;
use model::runtime::Runtime;
use model::scaling::{Automatic, Manual, Scaling};
use model::sched::{Action, Event, ReqId, Scheduler, Serial, Settings};
use model::time::Tick;

const ROUNDS: u32 = 400_000;
const CONCURRENT: usize = 64;

/// A version with so many instances, all ready.
fn machine(scaling: Scaling, concurrency: u32, instances: usize) -> Scheduler {
    let key = VersionKey::new("default".parse().expect("a name"), "v1".parse().expect("a name")).expect("short");
    let config = VersionConfig::new(key, Runtime::parse("python312").expect("a runtime"), Vec::new());
    let settings = Settings { concurrency, starts: 1_000, ..Settings::of(&VersionConfig { scaling, ..config }) };
    let mut machine = Scheduler::new(settings, 1, 7);
    machine.on(Tick(1), Event::Tick);
    for serial in (1..).map(Serial).take(instances) {
        machine.on(Tick(2), Event::Ready(serial));
    }
    while machine.poll().is_some() {}
    machine
}

/// Nanoseconds that this thread has run.
fn cpu() -> u64 {
    std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default().split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0)
}

/// 64 requests at a time: the oldest ends, another comes. With less room than that, the others wait in the queue.
fn run(machine: &mut Scheduler) -> u64 {
    let mut now = 1_000;
    let mut at: VecDeque<Serial> = VecDeque::new();
    let mut next = 0;
    let mut ask = |machine: &mut Scheduler, at: &mut VecDeque<Serial>, now: u64| {
        next += 1;
        match machine.grant(Tick(now), None) {
            Some(grant) => at.push_back(grant.to),
            None => machine.on(Tick(now), Event::Queued { req: ReqId(next), aim: None, patience: Duration::from_mins(1) }),
        }
    };
    (0..CONCURRENT).for_each(|_| ask(machine, &mut at, now));
    let begun = cpu();
    for _ in 0..ROUNDS {
        now += 50;
        let serial = at.pop_front().expect("some are at instances");
        machine.on(Tick(now), Event::Done { at: serial, outcome: Outcome::Answered });
        ask(machine, &mut at, now);
        if machine.deadline().is_some_and(|due| due.0 <= now) {
            machine.on(Tick(now), Event::Tick);
        }
        while let Some(action) = machine.poll() {
            if let Action::Assign { to, .. } = action {
                at.push_back(to);
            }
        }
    }
    (cpu() - begun) / u64::from(ROUNDS)
}

fn main() {
    let automatic = |instances: u32| {
        Scaling::Automatic(Automatic {
            min_instances: instances,
            max_instances: Some(instances),
            max_concurrent_requests: 80,
            ..Automatic::default()
        })
    };
    println!("CPU per request, {CONCURRENT} concurrent:");
    for instances in [1, 10, 100, 1_000] {
        let each = run(&mut machine(automatic(instances), 80, instances as usize));
        println!("  automatic, {instances:>5} instances           {each:>6} ns");
    }
    for instances in [1, 100] {
        let each = run(&mut machine(Scaling::Manual(Manual { instances }), 80, instances as usize));
        println!("  manual,    {instances:>5} instances           {each:>6} ns");
    }
    let each = run(&mut machine(automatic(5), 10, 5));
    println!("  automatic,     5 full instances, 14 wait {each:>6} ns");
    println!("one idle version: {} bytes of state", std::mem::size_of::<Scheduler>());
}
