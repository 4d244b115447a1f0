//! What the fleet tells whoever manages versions: how instances do, and whether a version could serve.

use std::sync::Arc;
use std::time::Duration;

use model::engine::InstanceReport;
use model::ids::{InstanceId, VersionKey};
use model::pool::{Instance, Lifecycle, Outcome};
use model::table::Version;
use model::time::Tick;

use crate::fleet::Fleet;
use crate::output;
use crate::pool::VersionPool;

/// What happened to an instance.
#[derive(Debug, Clone)]
pub enum Step {
    /// It was asked for.
    Starting(InstanceId),
    /// It listens, and is asked for `/_ah/start` or `/_ah/warmup`.
    Greeting,
    /// Its warm-up failed, and why.
    Cold(String),
    /// It takes requests.
    Ready(Arc<Instance>),
    /// It is gone, and why.
    Died(String),
}

/// Why a version could not be brought to serve.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unready(pub String);

/// What one instance did.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    pub(crate) errors: u64,
    /// Of the last seconds, each in the slot of its number.
    slots: [Slot; SLOTS],
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    number: u64,
    requests: u32,
    micros: u64,
}

/// How busy an instance was within the last minute.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Pace {
    pub(crate) qps: f32,
    pub(crate) latency_ms: u32,
}

const SLOTS: usize = 7;
/// Microseconds of a slot; one slot is always incomplete, six are a minute.
const WIDTH: u64 = 10_000_000;

impl Tally {
    /// A request is over.
    pub(crate) fn count(&mut self, now: Tick, took: Duration, outcome: Outcome) {
        if !matches!(outcome, Outcome::Answered | Outcome::Abandoned) {
            self.errors += 1;
        }
        let number = now.0 / WIDTH;
        let slot = &mut self.slots[usize::try_from(number % SLOTS as u64).unwrap_or_default()];
        if slot.number != number {
            *slot = Slot { number, ..Slot::default() };
        }
        slot.requests += 1;
        slot.micros += u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    }

    /// Requests a second and their average time.
    pub(crate) fn pace(&self, now: Tick) -> Pace {
        let newest = now.0 / WIDTH;
        let fresh = self.slots.iter().filter(|slot| slot.number + 6 >= newest && slot.requests > 0);
        let (requests, micros) = fresh
            .fold((0_u64, 0_u64), |(requests, micros), slot| (requests + u64::from(slot.requests), micros.saturating_add(slot.micros)));
        #[allow(clippy::cast_precision_loss, reason = "requests of a minute")]
        let qps = requests as f32 / 60.0;
        let latency = micros.checked_div(requests).unwrap_or_default() / 1000;
        Pace { qps, latency_ms: u32::try_from(latency).unwrap_or(u32::MAX) }
    }
}

impl Fleet {
    /// Starts what is missing to `count` instances of a version that was [added](Self::add), and keeps them for `time`. Resolves once they are ready, or
    /// as many as limits allow; fails with the first instance that does not come up. `told` hears each step.
    ///
    /// # Errors
    /// If the version does not run, or an instance died before it was ready.
    pub async fn raise(&self, version: &Version, count: u32, time: Duration, told: &(dyn Fn(&Step) + Send + Sync)) -> Result<(), Unready> {
        let Some(pool) = self.find(version) else { return Err(gone(&version.config.key)) };
        let mut steps = pool.keep(count, time);
        while !pool.is_warm(count) {
            let Some(step) = steps.recv().await else { return Err(gone(&version.config.key)) };
            told(&step);
            if let Step::Died(why) = step {
                return Err(Unready(plainly(&why)));
            }
        }
        while let Ok(step) = steps.try_recv() {
            told(&step);
        }
        Ok(())
    }

    /// Asks a ready instance of a version for `/_ah/warmup`, whether the app wants warm-up requests or not: what does not answer, or answers with 500
    /// or above, could serve nobody.
    ///
    /// # Errors
    /// If no instance is ready, or it does not answer well.
    pub async fn check(&self, version: &Arc<Version>, limit: Duration) -> Result<(), Unready> {
        let (Some(pool), Some(caller)) = (self.find(version), self.house().caller.get()) else {
            return Err(gone(&version.config.key));
        };
        let Some(instance) = pool.any_ready() else { return Err(gone(&version.config.key)) };
        match caller.call(Arc::clone(version), instance, Lifecycle::Warmup, limit).await {
            Ok(500..) | Err(_) if is_leaving(&pool) => Err(gone(&version.config.key)),
            Ok(status @ 500..) => {
                Err(Unready(format!("the app answered its first request, for {}, with status {status}", Lifecycle::Warmup.path())))
            }
            Ok(_) => Ok(()),
            Err(why) => Err(Unready(format!("the app did not answer its first request, for {}: {why}", Lifecycle::Warmup.path()))),
        }
    }

    /// Whether a version runs, or runs no code.
    pub fn runs(&self, version: &Version) -> bool {
        self.find(version).is_some()
    }

    /// The instances of all deployments of a version, the serving one's first.
    pub fn reports(&self, key: &VersionKey) -> Vec<InstanceReport> {
        self.pools_of(key).iter().flat_map(|pool| pool.reports()).collect()
    }

    /// Ends an instance politely; false if there is none of this id.
    pub fn end(&self, key: &VersionKey, id: &InstanceId) -> bool {
        self.pools_of(key).iter().any(|pool| pool.end(id))
    }
}

fn is_leaving(pool: &VersionPool) -> bool {
    pool.any_ready().is_none()
}

fn gone(key: &VersionKey) -> Unready {
    Unready(format!("{key} was stopped or replaced meanwhile"))
}

/// Without the lines that the process printed last: they are in the log, and whoever asks has them from there.
fn plainly(why: &str) -> String {
    why.lines().next().unwrap_or_default().trim_end_matches(output::LAST_LINES).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t9_the_pace_is_that_of_the_last_minute() {
        let mut tally = Tally::default();
        let at = |seconds: u64| Tick(seconds * 1_000_000);
        for second in 0..120 {
            tally.count(at(second), Duration::from_millis(20), Outcome::Answered);
        }
        tally.count(at(119), Duration::from_millis(20), Outcome::Faulty);
        let pace = tally.pace(at(119));
        assert!((0.9..1.25).contains(&pace.qps) && pace.latency_ms == 20, "{pace:?}");
        assert_eq!((tally.errors, tally.pace(at(500))), (1, Pace { qps: 0.0, latency_ms: 0 }));
    }
}
