//! What is asked of a service.

use std::collections::BTreeMap;
use std::time::Duration;

use model::migrate::guard::Guard;
use model::traffic::TrafficSplit;
use serde_json::Value;

/// How traffic moves to a new split.
#[derive(Debug, Clone, PartialEq)]
pub struct Gradual {
    /// How long it takes; `None` = as usual.
    pub over: Option<Duration>,
    /// What ends it early.
    pub guard: Guard,
}

/// What a PATCH of a service changes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ServiceChange {
    /// The split that is asked for.
    pub split: Option<TrafficSplit>,
    /// Step by step, and not at once.
    pub gradual: Option<Gradual>,
    /// All labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// `networkSettings`; `Some(None)` removes them.
    pub network: Option<Option<Value>>,
}

/// What to do with a migration that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Steer {
    /// Stay where it is.
    Pause,
    /// Go on.
    Resume,
    /// Go back to the split before.
    Abort,
}
