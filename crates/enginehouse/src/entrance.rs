//! The pool that the front end sees: the fleet, with a waiting room in front for versions whose packages are still being installed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fleet::Fleet;
use model::ids::VersionKey;
use model::pool::{Boxed, Lease, Pool, Reject, Wanted};
use tokio::sync::watch;

/// What stands between a version and its instances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// Its interpreter is looked for, its packages are installed.
    Preparing,
    /// The fleet runs it.
    Ready,
}

type States = BTreeMap<VersionKey, Readiness>;

/// The waiting room.
pub(crate) struct Entrance {
    fleet: Arc<Fleet>,
    states: watch::Sender<States>,
    runtime: tokio::runtime::Handle,
}

impl Entrance {
    /// Everybody waits for `versions` to be prepared. Must be called inside the runtime whose timers are to be used.
    pub(crate) fn new(fleet: Arc<Fleet>, versions: impl Iterator<Item = VersionKey>) -> Arc<Self> {
        let states = versions.map(|key| (key, Readiness::Preparing)).collect();
        Arc::new(Self { fleet, states: watch::channel(states).0, runtime: tokio::runtime::Handle::current() })
    }

    /// The fleet runs these versions, and no others.
    pub(crate) fn open(&self, versions: impl Iterator<Item = VersionKey>) {
        self.states.send_replace(versions.map(|key| (key, Readiness::Ready)).collect());
    }
}

impl Entrance {
    /// The versions that are still being prepared.
    pub(crate) fn preparing(&self) -> BTreeSet<VersionKey> {
        let states = self.states.borrow();
        states.iter().filter(|(_, state)| **state == Readiness::Preparing).map(|(key, _)| key.clone()).collect()
    }
}

impl Pool for Entrance {
    fn try_acquire(&self, wanted: &Wanted) -> Option<Lease> {
        self.fleet.try_acquire(wanted)
    }

    fn acquire(&self, wanted: Wanted, patience: Duration) -> Boxed<'_, Result<Lease, Reject>> {
        if self.states.borrow().get(&wanted.version.config.key) != Some(&Readiness::Preparing) {
            return self.fleet.acquire(wanted, patience);
        }
        Box::pin(async move {
            let since = Instant::now();
            // The caller's runtime may have no timer; ours does.
            let mut alarm = self.runtime.spawn(tokio::time::sleep(patience));
            let mut states = self.states.subscribe();
            let prepared =
                async { states.wait_for(|states| states.get(&wanted.version.config.key) != Some(&Readiness::Preparing)).await.is_ok() };
            tokio::select! {
                prepared = prepared => {
                    alarm.abort();
                    if prepared { self.fleet.acquire(wanted, patience.saturating_sub(since.elapsed())).await } else { Err(Reject::Draining) }
                }
                _ = &mut alarm => Err(Reject::StartFailed(format!(
                    "the packages of {} are still being installed; the terminal shows how far it is. Try again in a moment.",
                    wanted.version.config.key
                ))),
            }
        })
    }
}
