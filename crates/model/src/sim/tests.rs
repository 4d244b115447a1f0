//! Outcomes that anybody would expect of a simulation.

use std::time::Duration;

use super::profile::{Profile, Spacing};
use super::*;
use crate::config::VersionConfig;
use crate::ids::VersionKey;
use crate::runtime::Runtime;
use crate::scaling::{Automatic, Basic, Manual, Scaling};

const REST: Duration = Duration::from_mins(10);

fn setup(scaling: Scaling) -> Setup {
    let key = VersionKey::new("default".parse().expect("a service"), "v1".parse().expect("a version")).expect("short");
    let runtime = Runtime::parse("python312").expect("a runtime");
    let config = VersionConfig { scaling, ..VersionConfig::new(key, runtime, Vec::new()) };
    Setup {
        settings: Settings::of(&config),
        class: InstanceClass::F1,
        measured_on: InstanceClass::F1,
        start: Delay::Fixed(Duration::from_millis(500)),
        warmup: Delay::Fixed(Duration::ZERO),
        stop: Duration::from_millis(100),
        service: Delay::Fixed(Duration::from_millis(100)),
        cpu: 0.2,
        patience: Duration::from_mins(1),
        long: Duration::ZERO,
        step: Duration::from_secs(10),
        seed: 1,
    }
}

fn run(mut setup: Setup, load: &str) -> Report {
    let profile = Profile::parse(load, REST).expect("a profile");
    setup.long = profile.long();
    let mut simulation = Simulation::new(setup.clone(), profile.arrivals(Spacing::Poisson, setup.seed));
    while !simulation.advance(10_000).expect("goes on") {}
    simulation.finish()
}

fn automatic(change: impl FnOnce(&mut Automatic)) -> Setup {
    let mut automatic = Automatic::default();
    change(&mut automatic);
    setup(Scaling::Automatic(automatic))
}

#[test]
fn a_simulation_repeats_itself() {
    let setup = automatic(|_| ());
    let first = run(setup.clone(), "5x1m,50x1m");
    assert_eq!(first, run(setup.clone(), "5x1m,50x1m"));
    assert_ne!(first, run(Setup { seed: 2, ..setup }, "5x1m,50x1m"));
}

#[test]
fn every_request_is_accounted_for() {
    for load in ["5", "0..100/60s", "1x1m,200x10s,1x1m", "0"] {
        for scaling in [
            Scaling::default(),
            Scaling::Automatic(Automatic { max_instances: Some(1), ..Automatic::default() }),
            Scaling::Basic(Basic { max_instances: 3, idle_timeout: Duration::from_mins(1) }),
            Scaling::Manual(Manual { instances: 2 }),
        ] {
            let report = run(setup(scaling.clone()), load);
            let total = report.total();
            assert_eq!(total.arrived, total.answered + total.rejected + total.cut, "{load} {scaling:?}: {total:?}");
            assert_eq!(total.waits.count(), total.answered + total.cut, "{load} {scaling:?}");
            assert!(total.long >= Profile::parse(load, REST).expect("a profile").long(), "{load} {scaling:?}");
            assert!(total.utilization() <= 1.0, "{load} {scaling:?}: {}", total.utilization());
        }
    }
}

#[test]
fn time_adds_up() {
    let report = run(automatic(|_| ()), "5x95s");
    let lengths: Vec<u64> = report.steps.iter().map(|step| step.long.as_secs()).collect();
    assert_eq!(&lengths[..9], &[10; 9]);
    let total = report.total();
    assert!((total.rate(total.arrived) - 5.0).abs() < 1.0, "{total:?}");
    assert!(report.billed_hours >= total.hours(), "{} {}", report.billed_hours, total.hours());
    assert_eq!(report.joined(3).iter().map(|step| step.arrived).sum::<u64>(), total.arrived);
}

#[test]
fn a_larger_class_answers_sooner() {
    let of = |class| {
        let report = run(Setup { class, cpu: 0.5, ..automatic(|_| ()) }, "1x5m");
        report.total().latencies.quantile(0.5)
    };
    let (small, large) = (of(InstanceClass::F1), of(InstanceClass::F4));
    assert!(large < small && large > small / 4, "{small:?} {large:?}");
}

#[test]
fn what_cannot_be_simulated_says_so() {
    let setup = automatic(|automatic| automatic.max_concurrent_requests = 1);
    let slow = Setup { service: Delay::Fixed(Duration::from_hours(1)), long: REST, ..setup };
    let profile = Profile::parse("10000", REST).expect("a profile");
    let mut simulation = Simulation::new(slow, profile.arrivals(Spacing::Even, 1));
    for _ in 0..100 {
        match simulation.advance(100) {
            Ok(over) => assert!(!over),
            Err(stuck) => return assert!(stuck.to_string().contains("max_instances"), "{stuck}"),
        }
    }
}
