//! What the admin port sees of the running server.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use control::otlp::Tallied;
use control::{Counter, State, Subject};
use edge::Pulse;
use model::ids::{AppId, VersionKey};
use model::sched::Census;

use super::fleets::Fleets;
use crate::journal::Losses;

/// The parts that are looked at.
pub(crate) struct Watched {
    pub(crate) fleets: Arc<Fleets>,
    pub(crate) pulse: Pulse,
    pub(crate) losses: Arc<Losses>,
    pub(crate) spans: Option<Arc<Tallied>>,
    pub(crate) draining: Arc<AtomicBool>,
}

impl Subject for Watched {
    fn census(&self) -> Vec<((AppId, VersionKey), Census)> {
        self.fleets.census().into_iter().map(|(app, key, census)| ((app, key), census)).collect()
    }

    fn state(&self) -> State {
        if self.draining.load(Ordering::Relaxed) {
            State::Draining
        } else if self.pulse.is_whole() {
            State::Serving
        } else {
            State::Broken
        }
    }

    fn preparing(&self) -> BTreeSet<(AppId, VersionKey)> {
        self.fleets.preparing().into_iter().collect()
    }

    fn missing_walls(&self) -> Vec<String> {
        self.fleets.missing_walls()
    }

    fn counters(&self) -> Vec<Counter> {
        crate::watched::counters(&self.losses, self.spans.as_deref())
    }
}
