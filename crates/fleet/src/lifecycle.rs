//! What an instance is asked by the house itself: `/_ah/start` or `/_ah/warmup` before its first request, `/_ah/stop` after its last
//! (docs/decisions/110-lifecycle-requests.md).

use std::sync::Arc;
use std::time::Duration;

use model::gate::{Caller, Internal};
use model::ids::VersionKey;
use model::journal::{Entry, Severity};
use model::pool::{Instance, Lifecycle};
use model::table::Version;

use crate::fleet::House;
use crate::pool::VersionPool;
use crate::report::Step;

/// Before an instance takes requests. The error says why it does not.
pub(crate) async fn greet(
    pool: &VersionPool,
    version: &Arc<Version>,
    instance: &Arc<Instance>,
    hello: Option<Lifecycle>,
) -> Result<(), String> {
    let (Some(caller), Some(hello)) = (pool.house.caller.get(), hello) else { return Ok(()) };
    pool.follow(&Step::Greeting);
    let who = if hello == Lifecycle::Start { Internal::Start } else { Internal::Warmup };
    let limit = version.config.deadline(Caller::Internal(who));
    let answer = caller.call(Arc::clone(version), Arc::clone(instance), hello, limit).await;
    let Err(why) = verdict(&answer) else { return Ok(()) };
    if hello == Lifecycle::Start {
        return Err(format!("it did not start: {} {why}; 200 to 299 and 404 mean that it has", hello.path()));
    }
    pool.follow(&Step::Cold(format!("{} {why}", hello.path())));
    // A loading request will do what the warm-up could not.
    let text = format!("the warm-up of instance {} failed: {} {why}", instance.id, hello.path());
    note(&pool.house, &pool.key, Severity::Warning, text);
    Ok(())
}

/// Whether an answer means that the instance has started: 200 to 299, or 404, which says that there is no handler (docs: "how instances are
/// managed").
fn verdict(answer: &Result<u16, String>) -> Result<(), String> {
    match answer {
        Ok(200..=299 | 404) => Ok(()),
        Ok(status) => Err(format!("was answered with status {status}")),
        Err(why) => Err(format!("was not answered: {why}")),
    }
}

/// What is left of the grace for SIGTERM once `/_ah/stop` has taken its share.
const LAST: Duration = Duration::from_secs(3);

/// After an instance's last request.
pub(crate) async fn part(house: &House, version: &Arc<Version>, instance: &Arc<Instance>, grace: Duration) {
    let Some(caller) = house.caller.get() else { return };
    let limit = grace.saturating_sub(LAST.min(grace / 10));
    let call = caller.call(Arc::clone(version), Arc::clone(instance), Lifecycle::Stop, limit);
    let why = match tokio::time::timeout(limit, call).await {
        // No handler, no farewell.
        Ok(answer) => verdict(&answer).err(),
        Err(_) => Some(format!("took longer than {} s", limit.as_secs())),
    };
    if let Some(why) = why {
        let text = format!("instance {} ends although {} {why}", instance.id, Lifecycle::Stop.path());
        note(house, &instance.version, Severity::Warning, text);
    }
}

fn note(house: &House, version: &VersionKey, severity: Severity, text: String) {
    house.journal.write(Entry::Notice { severity, version: Some(version.clone()), text });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn y30_y31_success_and_404_mean_started() {
        for status in [200, 204, 299, 404] {
            assert_eq!(verdict(&Ok(status)), Ok(()));
        }
        for status in [302, 400, 403, 500, 503] {
            assert!(verdict(&Ok(status)).is_err_and(|why| why.contains(&status.to_string())));
        }
        assert!(verdict(&Err("it died".into())).is_err_and(|why| why.contains("it died")));
    }
}
