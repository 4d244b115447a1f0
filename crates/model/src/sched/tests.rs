//! Short stories about one version.

use super::*;
use crate::config::VersionConfig;
use crate::ids::VersionKey;
use crate::runtime::Runtime;
use crate::scaling::{Automatic, Basic, Manual};

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

/// Automatic scaling with room for many.
fn automatic(change: impl FnOnce(&mut Automatic)) -> Settings {
    let mut rule = Automatic::default();
    change(&mut rule);
    scaled(Scaling::Automatic(rule))
}

fn millis(millis: u64) -> Tick {
    Tick(millis * 1_000)
}

/// Why the instances start that are started now.
fn starts(actions: &[Action]) -> Vec<&str> {
    actions.iter().filter(|action| matches!(action, Action::Start { .. })).map(reason).collect()
}

fn reason(action: &Action) -> &str {
    match action {
        Action::Start { why, .. } => why,
        _ => "",
    }
}

/// Tells and returns everything, what is said included.
fn hear(machine: &mut Scheduler, now: Tick, event: Event) -> Vec<Action> {
    machine.on(now, event);
    std::iter::from_fn(|| machine.poll()).collect()
}

/// One instance, ready, with so many requests at `now`.
fn loaded(settings: Settings, now: Tick, requests: u32) -> Scheduler {
    let mut machine = Scheduler::new(settings, 1, 7);
    hear(&mut machine, Tick(0), Event::Queued { req: ReqId(1), aim: None, patience: 600 * S });
    hear(&mut machine, Tick(0), Event::Ready(Serial(1)));
    (1..requests).for_each(|_| assert!(machine.grant(now, None).is_some()));
    machine
}

#[test]
fn y29_a_request_younger_than_min_pending_latency_starts_nothing() {
    let mut machine = loaded(automatic(|rule| rule.min_pending_latency = Some(Duration::from_millis(500))), millis(0), 10);
    // The average of the concurrency is no reason here.
    for one in 0..10 {
        let actions = hear(&mut machine, millis(1 + one), Event::Queued { req: ReqId(10 + one), aim: None, patience: 60 * S });
        assert_eq!(starts(&actions), Vec::<&str>::new());
    }
    let mut found = Vec::new();
    while found.is_empty() {
        let at = machine.deadline().expect("it looks again");
        found = hear(&mut machine, at, Event::Tick);
        let by_pending = starts(&found).iter().any(|why| why.starts_with("pending"));
        assert!(!by_pending || at >= millis(501), "at {at:?}: {found:?}");
    }
}

#[test]
fn y29_a_request_older_than_max_pending_latency_starts_one() {
    let rule = |rule: &mut Automatic| {
        rule.target_throughput_utilization = 0.95;
        rule.max_concurrent_requests = 1;
        rule.min_pending_latency = Some(Duration::from_millis(10));
        rule.max_pending_latency = Some(Duration::from_millis(400));
    };
    let mut machine = Scheduler::new(Settings { concurrency: 1, ..automatic(rule) }, 1, 7);
    queue(&mut machine, 0, 1);
    // A start takes half a second and requests finish every 20 ms, so that waiting is quicker than a start.
    hear(&mut machine, millis(500), Event::Ready(Serial(1)));
    for one in 26..50 {
        hear(&mut machine, millis(20 * one), done(1, Outcome::Answered));
        assert!(machine.grant(millis(20 * one), None).is_some());
    }
    assert_eq!(starts(&hear(&mut machine, millis(990), Event::Queued { req: ReqId(2), aim: None, patience: 60 * S })), Vec::<&str>::new());
    let mut found = Vec::new();
    while starts(&found).is_empty() {
        let now = machine.deadline().expect("it looks again");
        found = hear(&mut machine, now, Event::Tick);
        assert_eq!(starts(&found).is_empty(), now < millis(1_390), "{found:?}");
    }
    assert_eq!(starts(&found), ["pending 400 ms >= max_pending_latency 400 ms"]);
}

#[test]
fn y29_from_zero_the_start_is_immediate_and_a_loading_request() {
    let mut machine = Scheduler::new(Settings { warmup: true, ..automatic(|_| {}) }, 1, 7);
    let actions = queue(&mut machine, 5, 1);
    assert!(
        matches!(&actions[..], [Action::Start { hello: None, why, .. }] if why == "a request waits and no instance runs"),
        "{actions:?}"
    );
    let actions = tell(&mut machine, 6, Event::Ready(Serial(1)));
    assert!(matches!(&actions[..], [Action::Assign { cold: true, .. }]), "{actions:?}");
}

#[test]
fn y29_lasting_concurrency_starts_an_instance_and_a_moment_does_not() {
    let mut machine = loaded(automatic(|_| {}), millis(1_000), 6);
    let look = machine.deadline().expect("six of ten are many");
    assert_eq!(starts(&hear(&mut machine, look, Event::Tick)), Vec::<&str>::new(), "not after {look:?}");
    hear(&mut machine, look, done(1, Outcome::Answered));
    assert!(machine.deadline().is_none_or(|at| at >= Tick(look.0 + 60_000_000)), "five are not");
    assert!(machine.grant(look, None).is_some());
    let mut actions = Vec::new();
    while starts(&actions).is_empty() {
        let at = machine.deadline().expect("it looks again");
        assert!(at < millis(4_000), "too late");
        actions = hear(&mut machine, at, Event::Tick);
    }
    assert_eq!(starts(&actions), ["6 concurrent requests >= 1 instance x 10 x 0.6"]);
}

#[test]
fn y29_cpu_above_the_target_starts_an_instance_if_there_is_work_to_share() {
    for (requests, expected) in [(1, 0), (3, 1)] {
        let mut machine = loaded(automatic(|_| {}), millis(0), requests);
        let mut started = Vec::new();
        for second in 1..30 {
            // F1 has a quarter of a core; this is all of it.
            let sample = Event::Sample { instance: Serial(1), cpu: Duration::from_millis(250 * second), memory: 1 };
            started.extend(hear(&mut machine, millis(1_000 * second), sample));
        }
        assert_eq!(starts(&started).len(), expected, "{requests} requests: {started:?}");
        assert!(starts(&started).iter().all(|why| why.starts_with("CPU ") && why.ends_with("target_cpu_utilization 60 %")), "{started:?}");
    }
}

#[test]
fn y29_min_instances_start_with_the_first_tick_warm_and_stay() {
    let settings = automatic(|rule| {
        rule.min_instances = 2;
        rule.min_idle_instances = Some(1);
    });
    let mut machine = Scheduler::new(Settings { warmup: true, ..settings }, 1, 7);
    let actions = hear(&mut machine, at(0), Event::Tick);
    assert_eq!(starts(&actions), ["min_instances 2", "min_instances 2"]);
    assert!(actions.iter().all(|action| matches!(action, Action::Start { hello: Some(crate::pool::Lifecycle::Warmup), .. })));
    (1..=2).for_each(|serial| drop(hear(&mut machine, at(1), Event::Ready(Serial(serial)))));
    let idle = machine.deadline().expect("idle instances are looked at once");
    assert!(hear(&mut machine, idle, Event::Tick).is_empty(), "they stay");
    assert_eq!(machine.deadline(), None);
    assert!(machine.grant(at(2_000), None).is_some_and(|grant| !grant.cold), "it was warmed up");
}

#[test]
fn y29_an_idle_instance_is_kept_ready_beside_the_busy_ones() {
    let mut machine = Scheduler::new(automatic(|rule| rule.min_idle_instances = Some(1)), 1, 7);
    assert_eq!(starts(&hear(&mut machine, at(0), Event::Tick)), ["min_idle_instances 1, and 0 of 0 are idle"]);
    hear(&mut machine, at(1), Event::Ready(Serial(1)));
    assert!(machine.grant(at(2), None).is_some());
    let actions = hear(&mut machine, at(2), Event::Tick);
    assert_eq!(starts(&actions), ["min_idle_instances 1, and 0 of 1 are idle"]);
}

#[test]
fn y29_idle_instances_end_and_say_why() {
    let mut machine = loaded(automatic(|_| {}), millis(0), 1);
    hear(&mut machine, at(1), done(1, Outcome::Answered));
    let mut actions = Vec::new();
    let mut now = at(1);
    while actions.is_empty() {
        now = machine.deadline().expect("it will be idle for too long");
        actions = hear(&mut machine, now, Event::Tick);
    }
    assert_eq!(now, at(901));
    assert!(matches!(&actions[..], [Action::Stop { farewell: false, why, .. }] if why.to_string() == "idle for 900 s"), "{actions:?}");
}

#[test]
fn y29_what_max_idle_instances_does_not_allow_is_stopped_slowly() {
    let settings = automatic(|rule| {
        rule.max_idle_instances = Some(1);
        rule.max_concurrent_requests = 1;
    });
    let mut machine = Scheduler::new(Settings { concurrency: 1, starts: 10, ..settings }, 1, 7);
    (0..6).for_each(|req| drop(hear(&mut machine, millis(100 * req), Event::Queued { req: ReqId(req), aim: None, patience: 60 * S })));
    let mut stops = Vec::new();
    (1..=6).for_each(|serial| drop(hear(&mut machine, millis(700), Event::Ready(Serial(serial)))));
    (1..=6).for_each(|serial| drop(hear(&mut machine, millis(900), done(serial, Outcome::Answered))));
    while let Some(now) = machine.deadline().filter(|at| *at < Tick(600_000_000)) {
        let actions = hear(&mut machine, now, Event::Tick);
        stops.extend(actions.iter().filter_map(|action| if let Action::Stop { why, .. } = action { Some((now, *why)) } else { None }));
    }
    assert!(stops.len() >= 3, "{stops:?}");
    assert!(stops.iter().all(|(now, why)| now.0 >= 150_000_000 && matches!(why, End::Surplus { idle: 2.., most: 1 })), "{stops:?}");
    assert!(machine.census().idle >= 1);
}

#[test]
fn y29_the_most_instances_are_kept_and_told_once() {
    for (settings, words) in [
        (automatic(|rule| rule.max_instances = Some(1)), "max_instances 1 is reached"),
        (
            Settings { cap: Cap { instances: 1, why: "1 core".into() }, ..automatic(|_| {}) },
            "the limit of this computer, 1 instances (1 core) is reached",
        ),
    ] {
        let mut machine = loaded(settings, millis(0), 10);
        let mut said = Vec::new();
        for req in 0..20 {
            let event = Event::Queued { req: ReqId(100 + req), aim: None, patience: 60 * S };
            said.extend(hear(&mut machine, millis(100 * req), event));
        }
        assert!(matches!(&said[..], [Action::Note { text, .. }] if text.ends_with(words)), "{said:?}");
    }
}

#[test]
fn y29_the_whole_computer_may_have_no_room() {
    let mut machine = Scheduler::new(automatic(|rule| rule.min_instances = 3), 1, 7);
    machine.allow(0);
    assert_eq!(starts(&hear(&mut machine, at(0), Event::Tick)).len(), 1, "the first is never withheld");
    assert!(machine.is_short());
    machine.allow(1);
    assert_eq!(starts(&hear(&mut machine, at(1), Event::Tick)).len(), 1);
    machine.allow(9);
    assert_eq!(starts(&hear(&mut machine, at(2), Event::Tick)).len(), 1);
    assert!(!machine.is_short());
}

#[test]
fn y29_starts_side_by_side_are_bounded() {
    let mut machine = Scheduler::new(Settings { starts: 2, ..automatic(|rule| rule.min_instances = 5) }, 1, 7);
    assert_eq!(starts(&hear(&mut machine, at(0), Event::Tick)).len(), 2);
    assert_eq!(starts(&hear(&mut machine, at(1), Event::Ready(Serial(1)))).len(), 1);
}

#[test]
fn y29_load_is_spread_over_what_it_needs_and_the_rest_stays_idle() {
    let settings = automatic(|rule| {
        rule.max_concurrent_requests = 4;
        rule.target_throughput_utilization = 0.5;
    });
    let mut machine = Scheduler::new(Settings { concurrency: 4, starts: 10, ..settings }, 1, 7);
    for serial in 1..=3 {
        hear(&mut machine, millis(100 * serial), Event::Queued { req: ReqId(serial), aim: None, patience: 60 * S });
    }
    machine.settings.scaling = Scaling::Automatic(Automatic { min_instances: 3, max_concurrent_requests: 4, ..Automatic::default() });
    hear(&mut machine, millis(400), Event::Tick);
    (1..=3).for_each(|serial| drop(hear(&mut machine, millis(500), Event::Ready(Serial(serial)))));
    (0..3).for_each(|_| drop(hear(&mut machine, millis(600), done(1, Outcome::Answered))));
    machine.settings.scaling = Scaling::Automatic(Automatic { max_concurrent_requests: 4, ..Automatic::default() });
    // Minutes later one is enough, and gets all of a little load.
    for _ in 0..5 {
        assert_eq!(machine.grant(at(300), None).map(|grant| grant.to), Some(Serial(1)));
        hear(&mut machine, at(300), done(1, Outcome::Answered));
    }
    // Much load needs them all, and each gets its part.
    let mut given: Vec<u64> = (0..12).map(|_| machine.grant(at(301), None).expect("room").to.0).collect();
    given.sort_unstable();
    assert_eq!(given, [1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]);
}

#[test]
fn y22_over_the_soft_limit_an_instance_finishes_and_is_replaced() {
    let mut machine = loaded(automatic(|_| {}), millis(0), 2);
    let sample = Event::Sample { instance: Serial(1), cpu: Duration::ZERO, memory: 140 << 20 };
    assert_eq!(hear(&mut machine, at(1), sample), [], "not during a request");
    let actions = hear(&mut machine, at(2), done(1, Outcome::Answered));
    let line = "Exceeded soft memory limit of 128 MB with 140 MB after servicing 2 requests total. Consider setting a larger instance class in \
                app.yaml.";
    assert!(matches!(&actions[..], [Action::Note { text, .. }, Action::Start { .. }] if text == line), "{actions:?}");
    let actions = hear(&mut machine, at(3), done(1, Outcome::Answered));
    assert!(matches!(&actions[..], [Action::Stop { why: End::SoftMemory, .. }]), "{actions:?}");
}

#[test]
fn y22_over_the_hard_limit_an_instance_is_killed_at_once() {
    let mut machine = loaded(automatic(|_| {}), millis(0), 2);
    let actions = hear(&mut machine, at(1), Event::Sample { instance: Serial(1), cpu: Duration::ZERO, memory: 200 << 20 });
    assert!(
        matches!(
            &actions[..],
            [Action::Note { text, .. }, Action::Stop { grace: Duration::ZERO, farewell: false, .. }, Action::Start { .. }]
                if text.starts_with("Exceeded hard memory limit of 128 MB with 200 MB after servicing 2 requests")
        ),
        "{actions:?}"
    );
}

#[test]
fn y22_the_kernel_may_end_an_instance_that_was_just_judged() {
    let mut machine = loaded(automatic(|_| {}), millis(0), 1);
    let sample = |mb: u64| Event::Sample { instance: Serial(1), cpu: Duration::ZERO, memory: mb << 20 };
    hear(&mut machine, at(1), sample(140));
    let actions = hear(&mut machine, at(2), done(1, Outcome::Broken));
    assert!(actions.iter().any(|action| matches!(action, Action::Stop { why: End::SoftMemory, .. })), "{actions:?}");
    let actions = hear(&mut machine, at(2), sample(200));
    assert!(matches!(&actions[..], [Action::Note { text, .. }] if text.starts_with("Exceeded hard memory limit of 128 MB")), "{actions:?}");
    assert_eq!(hear(&mut machine, at(2), sample(200)), [], "said once");
}

#[test]
fn y30_basic_instances_say_hello_and_farewell_and_reuse_their_number() {
    let rule = Basic { max_instances: 2, idle_timeout: 300 * S };
    let mut machine = Scheduler::new(scaled(Scaling::Basic(rule)), 1, 7);
    assert_eq!(hear(&mut machine, at(0), Event::Tick), []);
    let actions = queue(&mut machine, 0, 1);
    assert!(
        matches!(&actions[..], [Action::Start { id: InstanceId::Number(0), hello: Some(crate::pool::Lifecycle::Start), .. }]),
        "{actions:?}"
    );
    tell(&mut machine, 1, Event::Ready(Serial(1)));
    tell(&mut machine, 2, done(1, Outcome::Answered));
    assert_eq!(tell(&mut machine, 301, Event::Tick), [], "looked at after five minutes");
    assert_eq!(machine.deadline(), Some(at(302)));
    let actions = tell(&mut machine, 302, Event::Tick);
    let [Action::Stop { farewell: true, grace, why, .. }] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!((*grace, *why), (30 * S, End::Idle(300 * S)));
    let actions = queue(&mut machine, 310, 2);
    assert!(matches!(&actions[..], [Action::Start { id: InstanceId::Number(0), instance: Serial(2), .. }]), "{actions:?}");
}

#[test]
fn y31_a_number_that_does_not_start_is_tried_again_and_does_not_hold_up_the_others() {
    let mut machine = Scheduler::new(scaled(Scaling::Manual(Manual { instances: 2 })), 1, 7);
    assert_eq!(starts(&hear(&mut machine, at(0), Event::Tick)).len(), 2);
    tell(&mut machine, 1, Event::Ready(Serial(2)));
    assert_eq!(tell(&mut machine, 1, exited(1)).len(), 2, "the first failure is forgiven");
    assert_eq!(tell(&mut machine, 2, exited(3)).len(), 1, "then it waits");
    machine.on(at(2), Event::Queued { req: ReqId(1), aim: Some(0), patience: 60 * S });
    assert!(matches!(&drain(&mut machine)[..], [Action::Reject { why: Reject::StartFailed(_), .. }]));
    assert!(machine.grant(at(2), Some(1)).is_some());
    assert!(machine.grant(at(2), None).is_some(), "whoever takes any gets the other");
    let again = machine.deadline().expect("another attempt");
    let actions = hear(&mut machine, again, Event::Tick);
    assert!(matches!(&actions[..], [Action::Start { id: InstanceId::Number(0), .. }]), "{actions:?}");
}

#[test]
fn y31_the_number_of_instances_can_change() {
    let mut machine = Scheduler::new(scaled(Scaling::Manual(Manual { instances: 1 })), 1, 7);
    hear(&mut machine, at(0), Event::Tick);
    assert_eq!(starts(&hear(&mut machine, at(1), Event::Resize(3))).len(), 2);
    (1..=3).for_each(|serial| drop(tell(&mut machine, 2, Event::Ready(Serial(serial)))));
    let actions = tell(&mut machine, 3, Event::Resize(1));
    assert_eq!(actions.iter().filter(|action| matches!(action, Action::Stop { farewell: true, .. })).count(), 2, "{actions:?}");
    assert_eq!(machine.grant(at(4), Some(2)), None);
    assert!(machine.grant(at(4), Some(0)).is_some());
}

#[test]
fn an_idle_instance_that_dies_is_not_missed_while_others_do_the_work() {
    let mut machine = loaded(automatic(|rule| rule.min_idle_instances = Some(2)), millis(0), 1);
    (2..=3).for_each(|serial| drop(hear(&mut machine, at(1), Event::Ready(Serial(serial)))));
    machine.settings.scaling = Scaling::Automatic(Automatic::default());
    let actions = hear(&mut machine, at(30), exited(3));
    assert_eq!(starts(&actions), Vec::<&str>::new(), "{actions:?}");
    let actions = hear(&mut machine, at(31), exited(2));
    assert_eq!(starts(&actions), Vec::<&str>::new(), "{actions:?}");
    let actions = hear(&mut machine, at(50), exited(1));
    assert!(matches!(starts(&actions)[..], [why] if why.ends_with(" died")), "{actions:?}");
}

#[test]
fn a_healthy_instance_does_not_excuse_one_that_never_starts() {
    let mut machine = loaded(automatic(|rule| rule.min_instances = 2), millis(0), 1);
    let mut attempts = 0;
    for second in 1..20 {
        hear(&mut machine, at(second), done(1, Outcome::Answered));
        assert!(machine.grant(at(second), None).is_some());
        let starting: Vec<u64> = (2..100).filter(|&serial| machine.roster.get(Serial(serial)).is_some()).collect();
        for serial in starting {
            attempts += 1;
            hear(&mut machine, at(second), exited(serial));
        }
        hear(&mut machine, at(second), Event::Tick);
    }
    assert!((3..10).contains(&attempts), "{attempts} attempts in 20 s");
}

#[test]
fn kills_do_not_make_code_hopeless_that_works() {
    let mut machine = serving(1);
    tell(&mut machine, 2, done(1, Outcome::Answered));
    queue(&mut machine, 3, 2);
    tell(&mut machine, 3, done(1, Outcome::Broken));
    let mut now = 3;
    for serial in 1..=8 {
        // The one that worked, then each that is started instead of it.
        let actions = tell(&mut machine, now, exited(serial));
        assert!(!actions.iter().any(|action| matches!(action, Action::Reject { .. })), "{serial}: {actions:?}");
        queue(&mut machine, now, 100 + serial);
        now += 1;
        tell(&mut machine, now, Event::Tick);
    }
    // Half a minute later it is another story.
    let actions = tell(&mut machine, 40, exited(9));
    assert!(actions.iter().any(|action| matches!(action, Action::Reject { why: Reject::StartFailed(_), .. })), "{actions:?}");
}

#[test]
fn t3_what_is_kept_for_traffic_to_come_starts_stays_and_goes() {
    let automatic = Automatic { max_instances: Some(3), ..Automatic::default() };
    let mut machine = Scheduler::new(scaled(Scaling::Automatic(automatic)), 1, 7);
    let starts = tell(&mut machine, 0, Event::Keep { least: 5, until: at(3_600) });
    assert_eq!(starts.len(), 3, "as many as there may be: {starts:?}");
    assert!(!machine.is_warm(5));
    for serial in 1..=3 {
        tell(&mut machine, 1, Event::Ready(Serial(serial)));
    }
    assert!(machine.is_warm(5));
    assert!(machine.reports().all(|one| one.why.contains("traffic to come") && one.place == Place::Ready && !one.resident));
    assert_eq!(tell(&mut machine, 3_000, Event::Tick), [], "idle for long, but kept");
    let stops = tell(&mut machine, 3_700, Event::Tick);
    assert_eq!(stops.iter().filter(|action| matches!(action, Action::Stop { .. })).count(), 3, "{stops:?}");
}

#[test]
fn t3_basic_scaling_keeps_numbers_ready_too() {
    let rule = Basic { max_instances: 2, idle_timeout: 300 * S };
    let mut machine = Scheduler::new(scaled(Scaling::Basic(rule)), 1, 7);
    let starts = tell(&mut machine, 0, Event::Keep { least: 1, until: at(1_000) });
    assert!(matches!(&starts[..], [Action::Start { id: InstanceId::Number(0), .. }]), "{starts:?}");
    tell(&mut machine, 1, Event::Ready(Serial(1)));
    assert!(machine.is_warm(1) && machine.reports().all(|one| one.resident));
    assert_eq!(tell(&mut machine, 900, Event::Tick), []);
    assert!(matches!(&tell(&mut machine, 1_400, Event::Tick)[..], [Action::Stop { .. }]));
}

#[test]
fn t9_an_instance_that_is_deleted_is_replaced_if_scaling_wants_one() {
    let mut machine = Scheduler::new(scaled(Scaling::Manual(Manual { instances: 1 })), 1, 7);
    tell(&mut machine, 0, Event::Tick);
    tell(&mut machine, 1, Event::Ready(Serial(1)));
    let actions = tell(&mut machine, 2, Event::End(Serial(1)));
    assert!(matches!(&actions[..], [Action::Stop { why: End::Asked, farewell: true, .. }, Action::Start { .. }]), "{actions:?}");
}

#[test]
fn t8_who_waits_is_served_before_a_version_leaves() {
    let mut machine = Scheduler::new(settings(1), 1, 7);
    queue(&mut machine, 0, 1);
    assert_eq!(tell(&mut machine, 1, Event::Leave), [], "somebody waits");
    let actions = tell(&mut machine, 2, Event::Ready(Serial(1)));
    assert!(matches!(&actions[..], [Action::Assign { .. }]), "{actions:?}");
    assert!(matches!(&tell(&mut machine, 3, done(1, Outcome::Answered))[..], [Action::Stop { why: End::Closing, .. }]));
}
