//! A simulation of one version under load: the real scheduler, imagined instances. `enginehouse simulate` shows what comes of it.
//!
//! Pure like everything here: arrivals, times and the seed come in, a [`Report`] comes out, and the same input gives the same report. An instance
//! is imagined as a place where requests share a CPU: a request takes its service time if nothing else wants the CPU, and longer in proportion if
//! what its instance's requests want together is more than there is.
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "estimates; every number is far below 2^52 and not negative"
)]

mod delay;
mod dice;
mod histogram;
mod instance;
pub mod price;
pub mod profile;
mod report;
#[cfg(test)]
mod tests;
mod world;

use std::time::Duration;

pub use delay::Delay;
pub use histogram::Histogram;
pub use report::{Decision, Report, Step, What};
pub use world::{Simulation, Stuck};

use crate::scaling::InstanceClass;
use crate::sched::Settings;
use crate::time::Tick;

/// One request of the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// When it comes, counted from the beginning.
    pub at: Tick,
    /// How long it takes, if the load knows.
    pub service: Option<Duration>,
}

/// What is simulated besides the load.
#[derive(Debug, Clone, PartialEq)]
pub struct Setup {
    /// The scaling block, as the scheduler takes it.
    pub settings: Settings,
    /// Decides how much CPU an instance has.
    pub class: InstanceClass,
    /// The class for which [`Self::service`] and [`Self::cpu`] were measured.
    pub measured_on: InstanceClass,
    /// From the start of a process until it takes requests.
    pub start: Delay,
    /// How much longer the first request of an instance takes; before traffic, if there is a warmup or start request.
    pub warmup: Delay,
    /// From the order to end until the process is gone.
    pub stop: Duration,
    /// How long a request takes that has its instance for itself.
    pub service: Delay,
    /// Which share of it is CPU time, 0–1.
    pub cpu: f64,
    /// How long a request waits for an instance.
    pub patience: Duration,
    /// How long the load lasts; the simulation goes on until every request is over.
    pub long: Duration,
    /// How long one step of the report is.
    pub step: Duration,
    /// Seeds every draw.
    pub seed: u64,
}

/// The simulation gives up beyond this many instances at once.
pub const MOST_INSTANCES: usize = 2_000;
/// More arrivals than this are not simulated; the shell refuses them.
pub const MOST_ARRIVALS: usize = 5_000_000;
/// More steps than this are not reported; the shell refuses them.
pub const MOST_STEPS: u64 = 10_000;
/// Loads are at most this long.
pub const LONGEST: Duration = Duration::from_hours(31 * 24);
