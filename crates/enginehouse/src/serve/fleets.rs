//! One fleet per app, made on demand, behind one pool.

use std::sync::Arc;
use std::time::Duration;

use model::pool::{Boxed, Lease, Pool, Reject, Wanted};

/// All fleets.
#[derive(Debug, Default)]
pub(crate) struct Fleets {}

impl Fleets {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Ends every process, within `grace`.
    pub(crate) async fn stop(&self, _grace: Duration) {}
}

impl Pool for Fleets {
    fn try_acquire(&self, _wanted: &Wanted) -> Option<Lease> {
        None
    }

    fn acquire(&self, wanted: Wanted, _patience: Duration) -> Boxed<'_, Result<Lease, Reject>> {
        Box::pin(async move { Err(Reject::NotServing(format!("{} does not run", wanted.version.config.key))) })
    }
}
