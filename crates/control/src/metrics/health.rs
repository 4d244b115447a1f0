//! How one version fares, for migrations that watch it.

use std::sync::PoisonError;

use model::ids::{AppId, VersionKey};
use model::migrate::guard::Health;

use super::{CLASSES, Meter, Metrics};
use crate::work::Watch;

/// The place of 5xx among the classes.
const FAILED: usize = CLASSES.len() - 1;

impl Watch for Metrics {
    fn health(&self, app: &AppId, version: &VersionKey) -> Health {
        let mut sum = Meter::default();
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            // A change of settings, or a deployment of the same name, puts another object in the version's place: what was counted stays counted, as
            // who watches looks at what came since.
            for slot in shard.slots.values().filter(|slot| slot.key.0 == *app && slot.key.1 == *version) {
                sum.merge(&slot.counts.none);
                for meter in slot.counts.handlers.iter().flatten() {
                    sum.merge(meter);
                }
            }
            let past = shard.past.iter().filter(|((of, key), _)| of == app && key == version);
            for meter in past.flat_map(|(_, past)| past.handlers.values()) {
                sum.merge(meter);
            }
        }
        Health { requests: sum.classes.iter().sum(), errors: sum.classes[FAILED], took: sum.took.counts().collect() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use model::config::VersionConfig;
    use model::journal::Tally;
    use model::runtime::Runtime;
    use model::table::Version;

    use super::*;

    #[test]
    fn t3_a_version_of_one_app_is_watched() {
        let key = VersionKey::new("default".parse().expect("valid"), "v1".parse().expect("valid")).expect("short");
        let version = |app: &str| {
            let config = VersionConfig::new(key.clone(), Runtime::parse("python312").expect("known"), Vec::new());
            Arc::new(Version::new(app.parse().expect("an id"), config, "/nowhere".into(), 1))
        };
        let (one, two) = (version("one"), version("two"));
        let metrics = Metrics::default();
        for (version, status, millis) in [(&one, 200, 3), (&one, 500, 30), (&one, 404, 700_000), (&two, 500, 3)] {
            let took = Duration::from_millis(millis);
            metrics.tally(&Tally { version: Some(version), handler: None, status, bytes: 0, took, pending: None, cold: false });
        }
        let health = metrics.health(&one.app, &key);
        assert_eq!((health.requests, health.errors), (3, 1));
        assert_eq!(health.took.iter().map(|(_, count)| count).sum::<u64>(), 3);
        assert_eq!(health.took.last(), Some(&(u64::MAX, 1)));
        // Another object in its place, and the page of metrics, which folds what is gone.
        let again = version("one");
        drop(one);
        metrics.sum();
        let took = Duration::from_millis(3);
        metrics.tally(&Tally { version: Some(&again), handler: None, status: 500, bytes: 0, took, pending: None, cold: false });
        let after = metrics.health(&again.app, &key);
        assert_eq!((after.requests, after.errors), (4, 2));
        assert_eq!((after.since(&health).requests, after.since(&health).errors), (1, 1));
    }
}
