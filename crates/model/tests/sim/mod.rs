//! What the simulations of the scheduler share: dice, random settings, and how a seed is chosen and replayed.
#![allow(clippy::disallowed_methods, reason = "SIM_SEED comes from the environment")]
#![allow(clippy::print_stdout, reason = "the trace of a replayed seed")]
#![allow(dead_code, reason = "each simulation uses a part")]

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use model::config::VersionConfig;
use model::ids::VersionKey;
use model::runtime::Runtime;
use model::scaling::{Automatic, Basic, Manual, Scaling};
use model::sched::{Cap, Settings};

/// How many seeds every simulation plays.
pub(crate) const SEEDS: u64 = 256;

/// Xorshift: small, seeded, good enough to be surprising.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        let mut dice = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..4 {
            dice.next();
        }
        dice
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub(crate) fn between(&mut self, least: u32, most: u32) -> u32 {
        least + u32::try_from(self.below(u64::from(most - least) + 1)).expect("small")
    }

    pub(crate) fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.below(2) == 0).then(|| make(self))
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        (!from.is_empty()).then(|| from[usize::try_from(self.below(from.len() as u64)).expect("small")])
    }

    pub(crate) fn millis(&mut self, least: u32, most: u32) -> Duration {
        Duration::from_millis(self.between(least, most).into())
    }
}

/// The settings of a version that says nothing.
pub(crate) fn plain(scaling: Scaling) -> Settings {
    let key = VersionKey::new("default".parse().expect("valid"), "v1".parse().expect("valid")).expect("short");
    let config = VersionConfig::new(key, Runtime::parse("python27").expect("known"), Vec::new());
    Settings::of(&VersionConfig { scaling, ..config })
}

pub(crate) fn automatic(dice: &mut Dice) -> Automatic {
    let max_instances = dice.maybe(|dice| dice.between(1, 6));
    let min_pending = dice.maybe(|dice| dice.millis(10, 2_000));
    let min_idle = dice.maybe(|dice| dice.between(0, 2));
    Automatic {
        max_instances,
        min_instances: dice.between(0, 2).min(max_instances.unwrap_or(2)),
        max_idle_instances: dice.maybe(|dice| dice.between(min_idle.unwrap_or(1).max(1), 3)),
        min_idle_instances: min_idle,
        target_cpu_utilization: f64::from(dice.between(50, 95)) / 100.0,
        target_throughput_utilization: f64::from(dice.between(50, 95)) / 100.0,
        min_pending_latency: min_pending,
        max_pending_latency: dice.maybe(|dice| min_pending.unwrap_or_default() + dice.millis(10, 3_000)),
        ..Automatic::default()
    }
}

/// Settings of one of the three kinds.
pub(crate) fn settings(dice: &mut Dice, kind: u64) -> Settings {
    let scaling = match kind % 3 {
        0 => Scaling::Automatic(automatic(dice)),
        1 => Scaling::Basic(Basic { max_instances: dice.between(1, 4), idle_timeout: dice.millis(500, 20_000) }),
        _ => Scaling::Manual(Manual { instances: dice.between(1, 4) }),
    };
    let cap = Cap { instances: dice.between(1, 8), why: "the dice say so".into() };
    Settings {
        concurrency: dice.between(1, 4),
        queue: 20,
        warmup: dice.below(2) == 0,
        idle: dice.millis(1_000, 100_000),
        starts: dice.between(1, 3),
        cap,
        ..plain(scaling)
    }
}

/// Plays every seed, or with a trace the one that `SIM_SEED` names.
pub(crate) fn play(run: impl Fn(u64, bool)) {
    if let Some(seed) = std::env::var("SIM_SEED").ok().and_then(|text| text.parse().ok()) {
        return run(seed, true);
    }
    for seed in 1..=SEEDS {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(seed, false))) {
            println!("seed {seed} failed; SIM_SEED={seed} replays it with a trace");
            resume_unwind(panic);
        }
    }
}
