//! Tidying up, now and then: operations that are long over, files that nobody needs, when tokens were used.

use std::time::Duration;

use store::control::Actor;
use store::files::{Collected, Grace};

use super::House;
use crate::status::Status;

/// How long things are kept that nobody needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Operations that are over.
    pub operations: Duration,
    /// Files.
    pub files: Grace,
    /// How often is looked.
    pub every: Duration,
}

impl Default for Keep {
    fn default() -> Self {
        Self { operations: Duration::from_hours(24 * 7), files: Grace::default(), every: Duration::from_mins(10) }
    }
}

/// Tidies up for ever.
pub(super) async fn now_and_then(house: House) {
    loop {
        tokio::time::sleep(house.0.settings.keep.every).await;
        match house.collect().await {
            Ok(collected) if collected != Collected::default() => tracing::info!("removed what nobody needs: {collected:?}"),
            Ok(_) => {}
            Err(status) => tracing::error!("cannot remove what nobody needs: {status}"),
        }
    }
}

impl House {
    /// Tidies up once.
    ///
    /// # Errors
    /// If the state or the disk refuses.
    pub async fn collect(&self) -> Result<Collected, Status> {
        self.blocking(|house| {
            let (store, keep) = (&house.0.store, house.0.settings.keep);
            if !store.is_master() {
                return Ok(Collected::default());
            }
            store.write_uses()?;
            store.change(&Actor::house(), |change| change.forget_operations(keep.operations))?;
            Ok(store.collect(&keep.files)?)
        })
        .await
    }
}
