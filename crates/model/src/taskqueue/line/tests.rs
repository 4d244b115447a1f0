//! The queue against a database that is a set: what is due is sent, once at a time, in order, and no faster than the rules allow.
#![allow(clippy::cast_precision_loss, clippy::cast_possible_wrap, reason = "small numbers")]

use proptest::prelude::*;

use super::*;

const RULES: Rules = Rules { per_second: 5.0, bucket_size: 5, max_concurrent_requests: None, paused: false };
const SECOND: Micros = 1_000_000;

/// A queue and the database behind it.
struct World {
    line: Line,
    now: Micros,
    stored: BTreeSet<(Micros, TaskId)>,
    sent: Vec<(Micros, TaskId)>,
}

impl World {
    fn new(rules: Rules) -> Self {
        Self { line: Line::new(rules, 0), now: 0, stored: BTreeSet::new(), sent: Vec::new() }
    }

    fn add(&mut self, eta: Micros, id: TaskId) {
        self.stored.insert((eta, id));
        self.line.on(self.now, Event::Arrived(eta, id));
    }

    /// Does what the machine wants until it wants nothing more.
    fn settle(&mut self) {
        while let Some(action) = self.line.poll(self.now) {
            match action {
                Action::Load(eta, id, most) => {
                    let tasks: Vec<_> = self.stored.range((eta, id)..).take(most).copied().collect();
                    let all = tasks.len() < most;
                    self.line.on(self.now, Event::Loaded { tasks, all });
                }
                Action::Send(id) => self.sent.push((self.now, id)),
            }
        }
    }

    fn end(&mut self, id: TaskId, outcome: Outcome) {
        self.stored.retain(|(_, other)| *other != id);
        self.line.on(self.now, Event::Ended(id, outcome));
    }

    /// Goes on to the next deadline, ends everything at once, until nothing is left.
    fn run_dry(&mut self) {
        loop {
            self.settle();
            for (_, id) in self.sent.clone() {
                if self.line.flying.contains(&id) {
                    self.end(id, Outcome::Answered);
                }
            }
            self.settle();
            if !self.line.flying.is_empty() {
                continue;
            }
            match self.line.deadline(self.now) {
                Some(at) => self.now = at,
                None => break,
            }
        }
    }
}

#[test]
fn s1_a_bucket_lets_a_burst_through_and_then_keeps_the_rate() {
    let mut world = World::new(RULES);
    for id in 0..20 {
        world.add(0, id);
    }
    world.run_dry();
    let times: Vec<Micros> = world.sent.iter().map(|(at, _)| at / 100_000).collect();
    assert_eq!(times, [0, 0, 0, 0, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30]);
    assert!(world.sent.iter().map(|(_, id)| *id).eq(0..20), "the oldest first");
}

#[test]
fn s1_a_task_waits_for_its_time() {
    let mut world = World::new(RULES);
    world.add(3 * SECOND, 1);
    world.add(SECOND, 2);
    world.run_dry();
    assert_eq!(world.sent, [(SECOND, 2), (3 * SECOND, 1)]);
}

#[test]
fn s1_no_more_in_flight_than_allowed() {
    let mut world = World::new(Rules { max_concurrent_requests: Some(2), ..RULES });
    for id in 0..4 {
        world.add(0, id);
    }
    world.settle();
    assert_eq!((world.line.in_flight(), world.line.deadline(0)), (2, None));
    world.end(0, Outcome::Answered);
    world.settle();
    assert_eq!(world.sent.len(), 3);
}

#[test]
fn s1_paused_queues_and_rate_zero_stand_still_but_for_forced_tasks() {
    for rules in [Rules { paused: true, ..RULES }, Rules { per_second: 0.0, ..RULES }] {
        let mut world = World::new(rules);
        world.add(0, 1);
        world.add(0, 2);
        world.settle();
        assert_eq!((world.sent.len(), world.line.deadline(0)), (0, None));
        world.line.on(0, Event::Forced(2));
        world.settle();
        assert_eq!(world.sent, [(0, 2)]);
        world.end(2, Outcome::Answered);
        world.line.on(0, Event::Ruled(RULES));
        world.settle();
        assert_eq!(world.sent, [(0, 2), (0, 1)]);
    }
}

#[test]
fn s1_an_overloaded_app_is_asked_less() {
    let mut world = World::new(Rules { per_second: 1000.0, bucket_size: 1000, ..RULES });
    for id in 0..100 {
        world.add(0, id);
    }
    world.settle();
    assert_eq!(world.line.in_flight(), 10, "an app shows first what it can take");
    for id in 0..9 {
        world.end(id, Outcome::Overloaded);
    }
    world.settle();
    assert_eq!(world.line.in_flight(), 1);
    world.end(9, Outcome::Answered);
    world.settle();
    assert_eq!(world.line.in_flight(), 2, "and more again once it answers");
}

#[test]
fn s1_a_million_tasks_are_no_more_than_a_window() {
    let mut line = Line::new(RULES, 0);
    for id in 0..1_000_000 {
        line.on(0, Event::Arrived(id * 7 % 1_000_003, id));
    }
    assert!(line.window.is_empty(), "they are read from the database when they are due");
    assert_eq!(line.poll(0), Some(Action::Load(Micros::MIN, TaskId::MIN, WINDOW)));
    let tasks = (0..1000).map(|at| (at, at)).collect();
    line.on(0, Event::Loaded { tasks, all: false });
    for id in 2_000_000..2_005_000 {
        line.on(0, Event::Arrived(500, id));
    }
    assert!(line.window.len() <= 2 * WINDOW);
}

proptest! {
    /// Whatever happens in whatever order: every task is sent, none while it is in flight, none early, and no interval sees more than bucket plus rate.
    #[test]
    fn s1_everything_is_sent_once_and_in_bounds(
        steps in prop::collection::vec((0..6u8, 0..60i64, 0..4i64), 1..200),
        bucket_size in 1..8u32,
        per_second in 1..20u32,
        limit in prop::option::of(1..4u32),
    ) {
        let rules = Rules { per_second: per_second.into(), bucket_size, max_concurrent_requests: limit, paused: false };
        let mut world = World::new(rules);
        let (mut next, mut etas) = (0, BTreeMap::new());
        for (kind, a, b) in steps {
            match kind {
                0..=2 => {
                    let eta = world.now + a * SECOND / 10;
                    etas.insert(next, eta);
                    world.add(eta, next);
                    next += 1;
                }
                3 => world.now += a * SECOND / 20,
                4 => {
                    let id = world.line.flying.iter().nth(usize::try_from(b).unwrap_or(0)).copied();
                    if let Some(id) = id { world.end(id, Outcome::Answered) }
                }
                _ => world.line.on(world.now, Event::Stale),
            }
            world.settle();
            prop_assert!(limit.is_none_or(|limit| world.line.in_flight() <= limit as usize));
        }
        world.run_dry();
        let sent: BTreeSet<TaskId> = world.sent.iter().map(|(_, id)| *id).collect();
        prop_assert_eq!(sent.len(), world.sent.len(), "nothing twice");
        prop_assert_eq!(sent.len() as i64, next, "nothing lost");
        for (at, id) in &world.sent {
            prop_assert!(at >= &etas[id], "not early");
        }
        for (first, (from, _)) in world.sent.iter().enumerate() {
            for (last, (to, _)) in world.sent.iter().enumerate().skip(first) {
                let most = f64::from(bucket_size) + (to - from) as f64 / 1e6 * f64::from(per_second) + 0.01;
                prop_assert!((last - first + 1) as f64 <= most + 1.0, "no faster than the rules");
            }
        }
    }
}
