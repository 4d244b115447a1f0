//! Short stories about one version.

use super::*;
use crate::config::VersionConfig;
use crate::ids::VersionKey;
use crate::runtime::Runtime;
use crate::scaling::{Automatic, Manual};

const S: Duration = Duration::from_secs(1);

/// One instance at most: stories about requests and deaths. What several do is told below and in the simulation.
fn settings(concurrency: u32) -> Settings {
    let automatic = Automatic { max_instances: Some(1), ..Automatic::default() };
    Settings { concurrency, queue: 3, ..scaled(Scaling::Automatic(automatic)) }
}

fn scaled(scaling: Scaling) -> Settings {
    let key = VersionKey::new("default".parse().expect("valid"), "v1".parse().expect("valid")).expect("short");
    let config = VersionConfig::new(key, Runtime::parse("python27").expect("known"), Vec::new());
    Settings::of(&VersionConfig { scaling, ..config })
}

fn at(seconds: u64) -> Tick {
    Tick(seconds * 1_000_000)
}

fn queue(machine: &mut Scheduler, now: u64, req: u64) -> Vec<Action> {
    machine.on(at(now), Event::Queued { req: ReqId(req), aim: None, patience: 60 * S });
    drain(machine)
}

/// What the machine wants done; what it wants said is another story.
fn drain(machine: &mut Scheduler) -> Vec<Action> {
    std::iter::from_fn(|| machine.poll()).filter(|action| !matches!(action, Action::Note { .. })).collect()
}

fn tell(machine: &mut Scheduler, now: u64, event: Event) -> Vec<Action> {
    machine.on(at(now), event);
    drain(machine)
}

fn exited(serial: u64) -> Event {
    Event::Exited { instance: Serial(serial), why: "exit status 1".into() }
}

fn done(serial: u64, outcome: Outcome) -> Event {
    Event::Done { at: Serial(serial), outcome }
}

/// A machine whose first instance (serial 1) serves request 1.
fn serving(concurrency: u32) -> Scheduler {
    let mut machine = Scheduler::new(settings(concurrency), 1, 7);
    queue(&mut machine, 0, 1);
    tell(&mut machine, 1, Event::Ready(Serial(1)));
    machine
}

#[test]
fn one_instance_starts_on_demand_and_takes_whoever_waits() {
    let mut machine = Scheduler::new(settings(2), 1, 7);
    let actions = queue(&mut machine, 0, 1);
    assert!(
        matches!(&actions[..], [Action::Start { instance: Serial(1), id: InstanceId::Opaque(id), .. }] if id.len() >= 12),
        "{actions:?}"
    );
    assert_eq!(queue(&mut machine, 0, 2), []);
    assert_eq!(queue(&mut machine, 0, 3), []);
    assert_eq!(
        tell(&mut machine, 2, Event::Ready(Serial(1))),
        [
            Action::Assign { req: ReqId(1), to: Serial(1), cold: true, waited: 2 * S },
            Action::Assign { req: ReqId(2), to: Serial(1), cold: false, waited: 2 * S },
        ]
    );
    assert_eq!(machine.grant(at(30), None), None, "somebody waits");
    assert_eq!(
        tell(&mut machine, 3, done(1, Outcome::Answered)),
        [Action::Assign { req: ReqId(3), to: Serial(1), cold: false, waited: 3 * S }]
    );
    tell(&mut machine, 4, done(1, Outcome::Answered));
    assert_eq!(machine.grant(at(30), None), Some(Grant { to: Serial(1), cold: false }));
    assert_eq!(machine.grant(at(30), None), None, "the concurrency is used up");
}

#[test]
fn m1_manual_scaling_numbers_its_instances() {
    let mut machine = Scheduler::new(Settings { scaling: Scaling::Manual(Manual { instances: 1 }), ..settings(1) }, 1, 7);
    machine.on(at(0), Event::Queued { req: ReqId(1), aim: Some(0), patience: S });
    assert!(matches!(&drain(&mut machine)[..], [Action::Start { instance: Serial(1), id: InstanceId::Number(0), .. }]));
    machine.on(at(0), Event::Queued { req: ReqId(2), aim: Some(1), patience: S });
    assert!(matches!(&drain(&mut machine)[..], [Action::Reject { req: ReqId(2), why: Reject::NotServing(_) }]));
}

#[test]
fn the_queue_is_bounded_in_length_and_time() {
    let mut machine = Scheduler::new(settings(1), 1, 7);
    for req in 1..=3 {
        queue(&mut machine, 0, req);
    }
    assert!(matches!(&queue(&mut machine, 0, 4)[..], [Action::Reject { req: ReqId(4), why: Reject::NoCapacity(_) }]));
    assert_eq!(tell(&mut machine, 1, Event::Tick), [], "one instance is enough for three");
    assert_eq!(machine.deadline(), Some(at(60)));
    assert_eq!(tell(&mut machine, 60, Event::Tick).len(), 3);
    assert_eq!(machine.deadline(), None);
}

#[test]
fn a_client_that_left_is_not_served() {
    let mut machine = Scheduler::new(settings(1), 1, 7);
    queue(&mut machine, 0, 1);
    tell(&mut machine, 0, Event::Gone(ReqId(1)));
    assert_eq!(tell(&mut machine, 1, Event::Ready(Serial(1))), []);
}

#[test]
fn the_first_young_death_is_forgiven_and_the_second_fails_who_waits() {
    let mut machine = Scheduler::new(settings(1), 1, 7);
    queue(&mut machine, 0, 1);
    let actions = tell(&mut machine, 1, exited(1));
    assert!(matches!(&actions[..], [Action::Died { .. }, Action::Start { instance: Serial(2), .. }]), "{actions:?}");
    let actions = tell(&mut machine, 2, exited(2));
    assert!(matches!(&actions[..], [Action::Died { .. }, Action::Reject { why: Reject::StartFailed(_), .. }]), "{actions:?}");
    assert!(matches!(&queue(&mut machine, 2, 2)[..], [Action::Reject { why: Reject::StartFailed(_), .. }]), "in the pause: at once");
    let again = machine.deadline().expect("another attempt");
    machine.on(again, Event::Tick);
    assert_eq!(drain(&mut machine), [], "nobody asks, nothing starts");
    let actions = queue(&mut machine, 10, 3);
    assert!(matches!(&actions[..], [Action::Start { instance: Serial(3), .. }]), "{actions:?}");
    assert_eq!(tell(&mut machine, 11, exited(3)).len(), 2, "one more failure is enough now");
}

#[test]
fn an_instance_that_dies_is_restarted_without_a_request() {
    let mut machine = serving(1);
    tell(&mut machine, 2, done(1, Outcome::Broken));
    let actions = tell(&mut machine, 20, exited(1));
    assert!(matches!(&actions[..], [Action::Died { .. }, Action::Start { instance: Serial(2), .. }]), "{actions:?}");
}

#[test]
fn an_instance_that_asks_for_it_is_replaced_once_its_requests_are_over() {
    let mut machine = serving(2);
    assert!(machine.grant(at(30), None).is_some());
    let actions = tell(&mut machine, 2, done(1, Outcome::Replace));
    assert!(matches!(&actions[..], [Action::Start { instance: Serial(2), .. }]), "{actions:?}");
    assert_eq!(machine.grant(at(30), None), None, "nothing new goes to the old one");
    let actions = tell(&mut machine, 3, done(1, Outcome::Answered));
    assert!(matches!(&actions[..], [Action::Stop { instance: Serial(1), grace, .. }] if *grace == 3 * S), "{actions:?}");
    assert_eq!(tell(&mut machine, 4, exited(1)), [], "a death that was asked for is none");
}

#[test]
fn three_unreachable_requests_in_a_row_replace_the_instance() {
    let mut machine = serving(1);
    tell(&mut machine, 2, done(1, Outcome::Broken));
    for _ in 0..2 {
        assert!(machine.grant(at(30), None).is_some());
        tell(&mut machine, 2, done(1, Outcome::Broken));
    }
    assert_eq!(machine.grant(at(30), None), None);
}

#[test]
fn a_reload_starts_new_code_and_lets_the_old_finish() {
    let mut machine = serving(1);
    let actions = tell(&mut machine, 2, Event::Reload(settings(1)));
    assert!(matches!(&actions[..], [Action::Start { instance: Serial(2), .. }]), "{actions:?}");
    assert_eq!(queue(&mut machine, 2, 2), [], "new requests wait for new code");
    assert!(matches!(&tell(&mut machine, 3, done(1, Outcome::Answered))[..], [Action::Stop { instance: Serial(1), .. }]));
    assert_eq!(
        tell(&mut machine, 4, Event::Ready(Serial(2))),
        [Action::Assign { req: ReqId(2), to: Serial(2), cold: true, waited: 2 * S }]
    );
}

#[test]
fn a_reload_before_the_first_request_starts_nothing() {
    let mut machine = Scheduler::new(settings(1), 1, 7);
    assert_eq!(tell(&mut machine, 0, Event::Reload(settings(1))), []);
}

#[test]
fn closing_rejects_who_waits_and_ends_who_works() {
    let mut machine = serving(1);
    queue(&mut machine, 1, 2);
    assert_eq!(tell(&mut machine, 2, Event::Drain), [Action::Reject { req: ReqId(2), why: Reject::Draining }]);
    assert_eq!(queue(&mut machine, 2, 3), [Action::Reject { req: ReqId(3), why: Reject::Draining }]);
    assert!(matches!(&tell(&mut machine, 3, done(1, Outcome::Answered))[..], [Action::Stop { .. }]));
    assert!(!machine.is_empty());
    tell(&mut machine, 4, exited(1));
    assert!(machine.is_empty());
}
