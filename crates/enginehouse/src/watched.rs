//! What the admin port sees of the running house.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use control::otlp::Tallied;
use control::{Counter, State, Subject};
use edge::Pulse;
use fleet::Fleet;
use model::ids::{AppId, VersionKey};
use model::sched::Census;

use crate::entrance::Entrance;
use crate::journal::Losses;

/// The parts that are looked at.
pub(crate) struct Watched {
    pub(crate) app: AppId,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) entrance: Arc<Entrance>,
    pub(crate) pulse: Pulse,
    pub(crate) losses: Arc<Losses>,
    pub(crate) spans: Option<Arc<Tallied>>,
    pub(crate) draining: Arc<AtomicBool>,
}

impl Subject for Watched {
    fn census(&self) -> Vec<((AppId, VersionKey), Census)> {
        self.fleet.census().into_iter().map(|(key, census)| ((self.app.clone(), key), census)).collect()
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
        self.entrance.preparing().into_iter().map(|key| (self.app.clone(), key)).collect()
    }

    fn missing_walls(&self) -> Vec<String> {
        self.fleet.complaints()
    }

    fn counters(&self) -> Vec<Counter> {
        counters(&self.losses, self.spans.as_deref())
    }
}

/// What the log lost, and what became of spans.
pub(crate) fn counters(losses: &Losses, spans: Option<&Tallied>) -> Vec<Counter> {
    let (name, help) = ("enginehouse_log_lost_total", "Log entries that were lost, by where: in the queue, to the disk, to the terminal.");
    let lost = |place, count: &AtomicU64| Counter { name, help, label: Some(("where", place)), value: count.load(Ordering::Relaxed) };
    let mut all = vec![lost("queue", &losses.queue), lost("disk", &losses.disk), lost("terminal", &losses.terminal)];
    if let Some(spans) = spans {
        let (name, help) = ("enginehouse_spans_total", "Spans of traces by what became of them.");
        for (end, count) in [("exported", &spans.exported), ("dropped", &spans.dropped)] {
            all.push(Counter { name, help, label: Some(("end", end)), value: count.load(Ordering::Relaxed) });
        }
    }
    all
}
