//! Queues of a server's apps: documents of its store in Cloud Tasks' form (`control::slices`), as `deploy` and gcloud write them.

use std::time::Duration;

use model::ids::AppId;
use model::queue::{Queue, QueueAccess, QueueMode, QueueRetry};
use serde_json::{Map, Value, json};
use services::taskqueue::{FileQueues, QueueFile, QueueSettings, Steer};
use store::control::{Actor, Document, Kind, Page, Store, StoreError};

/// The document of what is said of all queues together.
const SETTINGS: &str = "settings";

/// The queues of a server's apps.
pub(crate) struct StoredQueues(pub(crate) Store);

impl QueueFile for StoredQueues {
    fn read(&self, app: &AppId) -> FileQueues {
        let found = self.0.read::<_, StoreError>(|view| {
            Ok((view.documents(app, Kind::Queue, &Page::all())?, view.find_document(app, Kind::Queues, SETTINGS)?))
        });
        let (documents, said) = found.unwrap_or_else(|error| {
            tracing::error!(%error, %app, "the queues cannot be read");
            (Vec::new(), None)
        });
        let mut settings = said.and_then(|said| super::ward::settings(&said.body).ok()).unwrap_or_default();
        let mut queues: Vec<(Queue, bool)> = documents.iter().map(queue).collect();
        for (queue, _) in &mut queues {
            queue.acl = settings.access.remove(&queue.name).unwrap_or_default();
        }
        FileQueues { queues, storage_limit: settings.storage_limit, stamp: "store".into(), is_whole: true }
    }

    fn set(&self, app: &AppId, settings: &QueueSettings) -> Result<bool, String> {
        let entries =
            |all: &Vec<QueueAccess>| -> Value { all.iter().map(|one| json!({"email": one.email, "writer": one.writer})).collect() };
        let access: Map<String, Value> = settings.access.iter().map(|(queue, all)| (queue.clone(), entries(all))).collect();
        let body = json!({"storageLimitBytes": settings.storage_limit.map(|limit| limit.to_string()), "access": access});
        let put = self.0.change::<_, StoreError>(&Actor::house(), |change| change.put_document(app, Kind::Queues, SETTINGS, &body));
        put.map(|_| true).map_err(|error| error.to_string())
    }

    fn steer(&self, app: &AppId, queue: &str, steer: &Steer) -> Result<bool, String> {
        let changed = self.0.change::<_, StoreError>(&Actor::house(), |change| {
            let known = change.find_document(app, Kind::Queue, queue)?.map(|document| document.body);
            let mut body = known.unwrap_or_else(|| json!({"state": "RUNNING"}));
            match steer {
                Steer::Pause(paused) => body["state"] = json!(if *paused { "PAUSED" } else { "RUNNING" }),
                Steer::Put(queue) => write(&mut body, queue),
                Steer::Remove => return change.delete_document(app, Kind::Queue, queue).map(|_| ()),
            }
            change.put_document(app, Kind::Queue, queue, &body).map(|_| ())
        });
        changed.map(|()| true).map_err(|error| error.to_string())
    }

    fn apps(&self) -> Vec<AppId> {
        let apps = self.0.read::<_, StoreError>(|view| view.apps(&Page::all())).unwrap_or_default();
        apps.into_iter().map(|app| app.id).collect()
    }
}

/// A queue, and whether it stands still.
fn queue(document: &Document) -> (Queue, bool) {
    let body = &document.body;
    let number = |value: &Value| value.as_u64().and_then(|number| u32::try_from(number).ok());
    let limits = &body["rateLimits"];
    let mode = if body["type"] == "PULL" {
        QueueMode::Pull
    } else {
        // What the document does not say is as in a queue.yaml that does not say it.
        QueueMode::Push {
            per_second: limits["maxDispatchesPerSecond"].as_f64().unwrap_or(5.0),
            bucket_size: number(&limits["maxBurstSize"]).unwrap_or(5),
            max_concurrent_requests: number(&limits["maxConcurrentDispatches"]).filter(|most| *most > 0),
        }
    };
    let config = &body["retryConfig"];
    let usual = QueueRetry::default();
    let duration = |name: &str| {
        let seconds = config[name].as_str()?.strip_suffix('s')?.parse::<f64>().ok()?;
        Duration::try_from_secs_f64(seconds).ok()
    };
    let retry = QueueRetry {
        // The API counts attempts, queue.yaml those after the first; -1 is no limit.
        limit: config["maxAttempts"].as_i64().filter(|most| *most > 0).and_then(|most| u32::try_from(most - 1).ok()),
        age_limit: duration("maxRetryDuration").filter(|age| !age.is_zero()),
        min_backoff: duration("minBackoff").unwrap_or(usual.min_backoff),
        max_backoff: duration("maxBackoff").unwrap_or(usual.max_backoff),
        max_doublings: number(&config["maxDoublings"]).unwrap_or(usual.max_doublings),
    };
    let part = |name: &str| body["routing"][name].as_str().filter(|part| !part.is_empty());
    let target = match (part("version"), part("service")) {
        (Some(version), service) => Some(format!("{version}.{}", service.unwrap_or("default"))),
        (None, service) => service.map(str::to_owned),
    };
    let queue = Queue { name: document.name.clone(), mode, retry, target, acl: Vec::new() };
    (queue, matches!(body["state"].as_str(), Some("PAUSED" | "DISABLED")))
}

/// Writes what `UpdateQueue` said; the rest stays.
fn write(body: &mut Value, queue: &Queue) {
    match queue.mode {
        QueueMode::Pull => body["type"] = json!("PULL"),
        QueueMode::Push { per_second, bucket_size, max_concurrent_requests } => {
            body["rateLimits"] = json!({"maxDispatchesPerSecond": per_second, "maxBurstSize": bucket_size});
            if let Some(most) = max_concurrent_requests {
                body["rateLimits"]["maxConcurrentDispatches"] = json!(most);
            }
        }
    }
    let seconds = |duration: Duration| format!("{}.{:03}s", duration.as_secs(), duration.subsec_millis());
    let retry = &queue.retry;
    body["retryConfig"] = json!({
        "maxAttempts": retry.limit.map_or(-1, |limit| i64::from(limit) + 1),
        "minBackoff": seconds(retry.min_backoff),
        "maxBackoff": seconds(retry.max_backoff),
        "maxDoublings": retry.max_doublings,
    });
    if let Some(age) = retry.age_limit {
        body["retryConfig"]["maxRetryDuration"] = json!(seconds(age));
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn s1_queues_go_into_documents_and_back() {
        let retry = QueueRetry {
            limit: Some(0),
            age_limit: Some(Duration::from_secs(90)),
            min_backoff: Duration::from_millis(1500),
            ..QueueRetry::default()
        };
        let mode = QueueMode::Push { per_second: 0.5, bucket_size: 9, max_concurrent_requests: Some(3) };
        let given = Queue { name: "mail".into(), mode, retry, target: None, acl: Vec::new() };
        let mut body = json!({"state": "PAUSED", "routing": {"service": "api", "version": "v2"}});
        write(&mut body, &given);
        let document = Document { name: "mail".into(), body, created: SystemTime::UNIX_EPOCH, updated: SystemTime::UNIX_EPOCH };
        assert_eq!(queue(&document), (Queue { target: Some("v2.api".into()), ..given }, true));
        let bare = Document { name: "q".into(), body: json!({"retryConfig": {"maxAttempts": -1}}), ..document };
        let (read, paused) = queue(&bare);
        assert_eq!((read.mode, read.retry, read.target, paused), (QueueMode::DEFAULT_PUSH, QueueRetry::default(), None, false));
    }
}
