//! The house seen from outside: metrics, health, the admin port, the Admin API. A crate of its own because it is a failure boundary: the front end
//! must go on serving while whoever watches or administers it misbehaves, so everything here runs on threads of its own.
#![warn(missing_docs)]
#![allow(
    clippy::redundant_closure_for_method_calls,
    reason = "`store::control::View` has a lifetime, with which a method's path is not general enough"
)]

mod admin;
pub mod api;
mod metrics;
pub mod otlp;
mod slices;
mod socket;
pub mod status;
mod storage;
pub mod version;
pub mod ward;
pub mod within;
pub mod work;

use std::collections::BTreeSet;

use model::ids::{AppId, VersionKey};
use model::sched::Census;

pub use admin::{Admin, AdminError, Bound};
pub use metrics::Metrics;

/// What is looked at.
pub trait Subject: Send + Sync {
    /// How many instances each version has in which state.
    fn census(&self) -> Vec<((AppId, VersionKey), Census)>;

    /// How the house is.
    fn state(&self) -> State;

    /// Versions whose packages are still being installed.
    fn preparing(&self) -> BTreeSet<(AppId, VersionKey)>;

    /// Walls around instances that are missing, each with its cause.
    fn missing_walls(&self) -> Vec<String>;

    /// Things that were counted elsewhere.
    fn counters(&self) -> Vec<Counter>;
}

/// How the house is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It serves.
    Serving,
    /// It finishes what it has.
    Draining,
    /// A part of it is gone.
    Broken,
}

/// A number that only rises.
#[derive(Debug, Clone, Copy)]
pub struct Counter {
    /// Its name.
    pub name: &'static str,
    /// What it counts.
    pub help: &'static str,
    /// What tells it from others of the same name, which stand beside it.
    pub label: Option<(&'static str, &'static str)>,
    /// How many.
    pub value: u64,
}
