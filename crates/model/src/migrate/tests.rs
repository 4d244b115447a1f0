//! Migrations in a world that may go wrong at any point.

use proptest::prelude::*;

use super::*;
use crate::ids::VersionKey;
use crate::runtime::Runtime;
use crate::scaling::{Automatic, Manual};

fn id(text: &str) -> VersionId {
    text.parse().expect("a name")
}

fn split(by: Option<ShardBy>, parts: &[(&str, u16)]) -> TrafficSplit {
    TrafficSplit::new(by, parts.iter().map(|(version, share)| (id(version), *share)).collect()).expect("a split")
}

fn config(version: &str) -> VersionConfig {
    let key = VersionKey::new("default".parse().expect("a name"), id(version)).expect("short");
    let mut config = VersionConfig::new(key, Runtime::parse("python312").expect("a runtime"), Vec::new());
    config.inbound.insert(InboundService::Warmup);
    config
}

fn all(by: ShardBy, version: &str) -> TrafficSplit {
    split(Some(by), &[(version, WHOLE)])
}

fn begin(from: TrafficSplit, by: ShardBy, guard: &str) -> Migration {
    let guard = guard.parse().expect("a guard");
    Migration::begin(from, &all(by, "new"), &config("new"), Ramp::default(), guard).expect("may begin")
}

fn seen(old: (u64, u64), new: (u64, u64)) -> Event {
    let health = |(requests, errors)| Health { requests, errors, took: Vec::new() };
    Event::Seen(Box::new(Seen { old: health(old), new: health(new), old_instances: 10, new_instances: 1 }))
}

/// Drives a migration in which all goes well; the splits that were in force.
fn drive(migration: &mut Migration, now: &mut Millis) -> Vec<TrafficSplit> {
    let mut splits = Vec::new();
    for _ in 0..10_000 {
        match migration.wants(*now) {
            Wants::Warm { .. } => migration.on(*now, Event::Warmed),
            Wants::Split(split) => {
                splits.push(split);
                migration.on(*now, Event::InForce);
            }
            Wants::Look(within) => {
                *now += u64::try_from(within.as_millis()).expect("short");
                migration.on(*now, seen((0, 0), (0, 0)));
            }
            Wants::Nothing(_) => return splits,
        }
    }
    panic!("it never ends: {migration:?}");
}

#[test]
fn t3_what_is_missing_is_told() {
    let target = config("new");
    assert_eq!(check(&all(ShardBy::Ip, "new"), &target), Ok(()));
    assert_eq!(check(&TrafficSplit::all(id("new")), &target), Err(Refusal::NoShardBy));
    assert_eq!(check(&split(Some(ShardBy::Ip), &[("new", 500), ("old", 500)]), &target), Err(Refusal::NotOne));
    let mut cold = target.clone();
    cold.inbound.clear();
    let error = check(&all(ShardBy::Ip, "new"), &cold).expect_err("cold");
    assert!(error.to_string().contains("inbound_services: [warmup]"), "{error}");
    let manual = VersionConfig { scaling: Scaling::Manual(Manual { instances: 3 }), ..target };
    let error = check(&all(ShardBy::Ip, "new"), &manual).expect_err("manual");
    assert_eq!(
        error.to_string(),
        "Traffic cannot be migrated gradually to version `new`: it has manual scaling, and automatic scaling is needed."
    );
}

#[test]
fn t3_traffic_moves_step_by_step_and_all_of_it() {
    let mut migration = begin(TrafficSplit::all(id("old")), ShardBy::Ip, "");
    let mut now = 1_000;
    let splits = drive(&mut migration, &mut now);
    assert_eq!(splits.iter().map(|split| split.share("new")).collect::<Vec<_>>(), [10, 50, 100, 250, 500, 750, 1000]);
    assert_eq!(migration.outcome(), Some(&Outcome::Done));
    assert_eq!(now - 1_000, 6 * 3_000, "six steps are held, the last one is not");
    assert_eq!(migration.progress(now).text, "100 % of the traffic goes to `new`; done");
    assert_eq!(migration.notes().len(), 7);
}

#[test]
fn t3_the_target_is_warmed_to_its_share_of_what_the_old_version_needs() {
    assert_eq!([needed(0, 10, None), needed(10, 10, None), needed(10, 250, None), needed(10, 1000, None)], [1, 1, 3, 10]);
    assert_eq!([needed(100, 1000, Some(4)), needed(100, 1000, Some(0)), needed(u32::MAX, 1000, None)], [4, 1, u32::MAX]);
    let mut migration = begin(TrafficSplit::all(id("old")), ShardBy::Ip, "");
    migration.on(0, seen((0, 0), (0, 0)));
    assert_eq!(migration.wants(0), Wants::Warm { version: id("new"), instances: 1 });
    let mut target = config("new");
    target.scaling = Scaling::Automatic(Automatic { max_instances: Some(2), ..Automatic::default() });
    let steps = Ramp { steps: vec![], hold: Duration::ZERO };
    let mut migration =
        Migration::begin(TrafficSplit::all(id("old")), &all(ShardBy::Ip, "new"), &target, steps, Guard::default()).expect("may begin");
    migration.on(0, seen((0, 0), (0, 0)));
    assert_eq!(migration.wants(0), Wants::Warm { version: id("new"), instances: 2 });
}

#[test]
fn t3_several_old_versions_lose_in_proportion() {
    let from = split(Some(ShardBy::Cookie), &[("a", 600), ("b", 300), ("new", 100)]);
    let mut migration = begin(from, ShardBy::Cookie, "");
    let splits = drive(&mut migration, &mut 0);
    let told: Vec<_> = splits.iter().map(|split| (split.share("a"), split.share("b"), split.share("new"))).collect();
    assert_eq!(told, [(500, 250, 250), (334, 166, 500), (167, 83, 750), (0, 0, 1000)]);
}

#[test]
fn t3_a_target_that_has_everything_is_done_at_once() {
    let migration = begin(TrafficSplit::all(id("new")), ShardBy::Ip, "");
    assert_eq!(migration.wants(0), Wants::Nothing(Outcome::Done));
}

#[test]
fn t3_a_target_that_cannot_be_warmed_gets_nothing() {
    let mut migration = begin(TrafficSplit::all(id("old")), ShardBy::Ip, "");
    migration.on(0, Event::NotWarm("ImportError: flask".into()));
    assert_eq!(migration.wants(0), Wants::Split(TrafficSplit::all(id("old"))));
    migration.on(0, Event::InForce);
    let reason = "version `new` could not be warmed up: ImportError: flask".to_owned();
    assert_eq!(migration.wants(0), Wants::Nothing(Outcome::Aborted { reason, reverted: true }));
}

#[test]
fn t3_a_pause_keeps_the_split_and_an_abort_leads_back() {
    let mut migration = begin(split(Some(ShardBy::Ip), &[("a", 500), ("b", 500)]), ShardBy::Ip, "");
    migration.on(0, Event::Warmed);
    migration.on(0, Event::InForce);
    migration.on(1, Event::Pause);
    for now in [10_000, 20_000] {
        assert!(matches!(migration.wants(now), Wants::Look(_)));
        migration.on(now, seen((0, 0), (0, 0)));
    }
    assert_eq!(migration.progress(20_000).text, "1 % of the traffic goes to `new`; watching it for 0 s more, paused");
    migration.on(20_000, Event::Resume);
    migration.on(22_999, seen((0, 0), (0, 0)));
    assert!(matches!(migration.wants(22_999), Wants::Look(_)), "a step that was paused is held anew");
    migration.on(23_000, seen((0, 0), (0, 0)));
    assert!(matches!(migration.wants(23_000), Wants::Warm { .. }));
    migration.on(23_001, Event::Abort("ada@example.com wants it".into()));
    assert_eq!(migration.wants(23_001), Wants::Split(migration.from().clone()));
    migration.on(23_002, Event::InForce);
    let reason = "ada@example.com wants it".to_owned();
    assert_eq!(migration.outcome(), Some(&Outcome::Aborted { reason, reverted: true }));
    assert_eq!(migration.progress(23_002).share, 0);
}

#[test]
fn t3_another_split_in_force_ends_it_without_going_back() {
    let mut migration = begin(TrafficSplit::all(id("old")), ShardBy::Ip, "");
    migration.on(0, Event::Superseded("the split was set to `x`".into()));
    assert!(matches!(migration.wants(0), Wants::Nothing(Outcome::Aborted { reverted: false, .. })));
}

#[test]
fn t3_a_guard_goes_back_with_evidence() {
    let mut migration = begin(TrafficSplit::all(id("old")), ShardBy::Ip, "error-rate>1%");
    migration.on(0, seen((50_000, 40), (0, 0)));
    migration.on(0, Event::Warmed);
    migration.on(0, Event::InForce);
    migration.on(1_000, seen((51_000, 41), (10, 1)));
    assert!(matches!(migration.wants(1_000), Wants::Look(_)), "one error proves nothing");
    migration.on(3_500, seen((53_000, 42), (19, 1)));
    assert!(matches!(migration.wants(3_500), Wants::Look(_)), "the guard has seen too little to go on");
    migration.on(4_000, seen((53_500, 43), (40, 6)));
    assert_eq!(migration.wants(4_000), Wants::Split(TrafficSplit::all(id("old"))));
    migration.on(4_001, Event::InForce);
    let reason = "`new` with 1 % of the traffic: error-rate 15.0 % (6 of 40 requests) exceeds error-rate>1%; beside it the old version had 0.1 % (3 of \
                  3500 requests)"
        .to_owned();
    assert_eq!(migration.outcome(), Some(&Outcome::Aborted { reason, reverted: true }));
}

#[test]
fn t3_a_guard_that_sees_nobody_does_not_wait_for_ever() {
    let mut migration = begin(TrafficSplit::all(id("old")), ShardBy::Ip, "error-rate>1%");
    let mut now = 0;
    drive(&mut migration, &mut now);
    assert_eq!(migration.outcome(), Some(&Outcome::Done));
    assert_eq!(now, 7 * 15_000);
}

/// The target's instances are gone each time that anybody looks.
fn falling(migration: &mut Migration, new: (u64, u64)) {
    let health = |(requests, errors)| Health { requests, errors, took: Vec::new() };
    migration.on(0, Event::Seen(Box::default()));
    for _ in 0..3 {
        assert!(matches!(migration.wants(0), Wants::Warm { .. }));
        migration.on(0, Event::Warmed);
        migration.on(0, Event::InForce);
        migration.on(0, Event::Seen(Box::new(Seen { new: health(new), ..Seen::default() })));
    }
}

#[test]
fn t3_a_target_that_falls_and_fails_is_given_up() {
    let mut migration = begin(TrafficSplit::all(id("old")), ShardBy::Ip, "");
    falling(&mut migration, (10, 9));
    assert_eq!(migration.wants(0), Wants::Split(TrafficSplit::all(id("old"))));
    assert_eq!(migration.notes().last().expect("a note").text, "version `new` lost all its instances 3 times, and 9 of 10 requests failed");
}

#[test]
fn t3_a_target_that_needs_no_instances_takes_over_all_the_same() {
    let mut migration = begin(TrafficSplit::all(id("old")), ShardBy::Ip, "");
    falling(&mut migration, (10, 0));
    assert!(matches!(migration.wants(0), Wants::Look(_)));
    migration.on(3_000, Event::Seen(Box::default()));
    assert!(matches!(migration.wants(3_000), Wants::Warm { .. }), "the next step");
}

#[derive(Debug, Clone)]
enum Fate {
    Well,
    Twice,
    Restart,
    NotWarm,
    Pause,
    Resume,
    Abort,
    ClockBack,
    Fall,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        30 => Just(Fate::Well),
        5 => Just(Fate::Twice),
        5 => Just(Fate::Restart),
        2 => Just(Fate::NotWarm),
        2 => Just(Fate::Pause),
        6 => Just(Fate::Resume),
        1 => Just(Fate::Abort),
        2 => Just(Fate::ClockBack),
        1 => Just(Fate::Fall),
    ]
}

fn from() -> impl Strategy<Value = (TrafficSplit, ShardBy)> {
    let old = prop_oneof![
        Just(TrafficSplit::all(id("a"))),
        Just(split(Some(ShardBy::Ip), &[("a", 600), ("b", 200), ("c", 200)])),
        Just(split(Some(ShardBy::Cookie), &[("a", 333), ("b", 333), ("new", 334)])),
        Just(split(None, &[("a", 1), ("b", 2), ("c", 997)])),
    ];
    (old, prop_oneof![Just(ShardBy::Ip), Just(ShardBy::Cookie), Just(ShardBy::Random)])
}

proptest! {
    #[test]
    fn t3_whatever_happens_the_split_is_whole_and_clients_move_once((from, by) in from(), fates in proptest::collection::vec(fate(), 0..60)) {
        let mut migration = begin(from.clone(), by, "error-rate>50%");
        let (mut now, mut in_force) = (1_000_000, from.clone());
        for fate in fates {
            // Written down and read again: nothing is lost.
            let text = serde_json::to_string(&migration).expect("writes");
            prop_assert_eq!(&serde_json::from_str::<Migration>(&text).expect("reads"), &migration);
            let wants = migration.wants(now);
            match (&wants, &fate) {
                (_, Fate::Restart) => migration.on(now, Event::Restarted),
                (_, Fate::Pause) => migration.on(now, Event::Pause),
                (_, Fate::Resume) => migration.on(now, Event::Resume),
                (_, Fate::Abort) => migration.on(now, Event::Abort("wanted".into())),
                (_, Fate::ClockBack) => now -= 5_000,
                (_, Fate::Fall) => migration.on(now, Event::Seen(Box::default())),
                (Wants::Warm { instances, .. }, Fate::NotWarm) => {
                    prop_assert!(*instances >= 1);
                    migration.on(now, Event::NotWarm("no".into()));
                }
                (Wants::Warm { .. }, _) => migration.on(now, Event::Warmed),
                (Wants::Split(split), fate) => {
                    prop_assert_eq!(split.parts().map(|(_, share)| share).sum::<u16>(), WHOLE);
                    let back = *split == from;
                    // A first step may change by what clients are told apart; afterwards nobody comes back to an old version, unless all do.
                    let comparable = in_force.by() == split.by() || in_force.only().is_some();
                    if !back && comparable {
                        for bucket in (0..WHOLE).filter(|bucket| in_force.owner(*bucket) != split.owner(*bucket)) {
                            prop_assert_eq!(split.owner(bucket).as_str(), "new");
                        }
                    }
                    in_force = split.clone();
                    migration.on(now, Event::InForce);
                    if matches!(fate, Fate::Twice) {
                        migration.on(now, Event::InForce);
                    }
                }
                (Wants::Look(within), _) => {
                    now += u64::try_from(within.as_millis()).expect("short");
                    migration.on(now, seen((0, 0), (0, 0)));
                }
                (Wants::Nothing(_), _) => {}
            }
            prop_assert!(!migration.progress(now).text.is_empty());
        }
        // In the end it ends, and as it says.
        migration.on(now, Event::Resume);
        if let Some(last) = drive(&mut migration, &mut now).pop() {
            in_force = last;
        }
        match migration.outcome().expect("over") {
            Outcome::Done => prop_assert_eq!(in_force.only().map(VersionId::as_str), Some("new")),
            Outcome::Aborted { reverted, .. } => {
                prop_assert!(reverted);
                prop_assert_eq!(in_force, from);
            }
        }
    }
}
