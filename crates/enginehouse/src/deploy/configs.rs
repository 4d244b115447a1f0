//! dispatch.yaml, cron.yaml, queue.yaml and index.yaml: what becomes of them is what `gcloud app deploy` makes of them, over the same slices of
//! Google's APIs.

use std::collections::BTreeSet;
use std::time::Duration;

use appyaml::{Companion, Loaded};
use model::cron::CronJob;
use model::index::{Index, IndexOrder};
use model::queue::{Queue, QueueMode, Queues};
use serde_json::{Map, Value, json};

use crate::client::settings::Session;
use crate::client::{Failure, Outcome, finish, segment};

/// What a file says, in a few words.
pub(super) fn summary(kind: Companion, loaded: &Loaded) -> String {
    use crate::check::count;
    match kind {
        Companion::Dispatch => count(loaded.dispatch.len(), "rule"),
        Companion::Cron => count(loaded.cron.len(), "job"),
        Companion::Queue => count(loaded.queues.queues.len(), "queue"),
        Companion::Index => {
            let plural = if loaded.indexes.len() == 1 { "index" } else { "indexes" };
            format!("{} {plural}", loaded.indexes.len())
        }
        Companion::Dos => "not deployed".to_owned(),
    }
}

/// Puts a file in force; what was done.
pub(super) fn put(session: &Session, kind: Companion, loaded: &Loaded) -> Outcome<String> {
    match kind {
        Companion::Dispatch => dispatch(session, loaded),
        Companion::Cron => cron(session, &loaded.cron),
        Companion::Queue => queues(session, &loaded.queues),
        Companion::Index => indexes(session, &loaded.indexes),
        Companion::Dos => Err(Failure::Usage(
            "dos.yaml is only for `enginehouse run`: a server keeps firewall rules, as production does; see `gcloud app firewall-rules`"
                .into(),
        )),
    }
}

fn dispatch(session: &Session, loaded: &Loaded) -> Outcome<String> {
    let rules = loaded.dispatch.iter().map(|rule| {
        let slash = rule.written.find('/').unwrap_or(rule.written.len());
        let (domain, path) = rule.written.split_at(slash);
        json!({"domain": domain, "path": path, "service": rule.service.as_str()})
    });
    let body = json!({"dispatchRules": rules.collect::<Value>()});
    let started = session.client.patch(&format!("{}?updateMask=dispatchRules", session.app.path()), &body)?;
    finish(&session.client, started, None, &mut |_: &Value| ())?;
    Ok(format!("{} in force", summary(Companion::Dispatch, loaded)))
}

/// The app's place, as the neighbours of the Admin API name it.
fn location(session: &Session, version: &str) -> Outcome<String> {
    let app = segment(&session.app.id);
    let all = session.client.list(&format!("/{version}/projects/{app}/locations"), "locations", None)?;
    let first = all
        .first()
        .and_then(|location| location["locationId"].as_str().or_else(|| location["labels"].as_object()?.values().next()?.as_str()));
    let region = first.ok_or_else(|| Failure::Here(format!("the server does not tell where {} is", session.app.id)))?;
    Ok(format!("projects/{app}/locations/{}", segment(region)))
}

/// `600s`, `0.1s`
fn seconds(time: Duration) -> Value {
    let text = format!("{:.9}", time.as_secs_f64());
    format!("{}s", text.trim_end_matches('0').trim_end_matches('.')).into()
}

/// `[version.]service` as routing; the default service if nothing is said.
fn routing(target: Option<&str>) -> Value {
    match target.map(|target| target.split_once('.').map_or((None, target), |(version, service)| (Some(version), service))) {
        None => json!({"service": "default"}),
        Some((None, service)) => json!({"service": service}),
        Some((Some(version), service)) => json!({"service": service, "version": version}),
    }
}

fn cron(session: &Session, jobs: &[CronJob]) -> Outcome<String> {
    let place = format!("/v1beta1/{}/jobs", location(session, "v1beta1")?);
    let there = session.client.list(&format!("{place}?legacyAppEngineCron=true"), "jobs", None)?;
    let mut wanted: Vec<Value> = jobs.iter().map(job).collect();
    let (mut made, mut gone) = (0, 0);
    for old in there {
        if let Some(same) = wanted.iter().position(|new| is_same_job(&old, new)) {
            wanted.swap_remove(same);
        } else if let Some(id) = old["name"].as_str().and_then(|name| name.rsplit('/').next()) {
            session.client.delete(&format!("{place}/{}?legacyAppEngineCron=true", segment(id)))?;
            gone += 1;
        }
    }
    for new in &wanted {
        session.client.post(&place, new)?;
        made += 1;
    }
    Ok(format!("{} new, {gone} removed, {} as before", made, jobs.len() - made))
}

fn job(job: &CronJob) -> Value {
    let mut body = json!({
        "appEngineHttpTarget": {"appEngineRouting": routing(job.target.as_deref()), "httpMethod": "GET", "relativeUri": job.url},
        "legacyAppEngineCron": true,
        "schedule": job.written,
        "timeZone": job.timezone,
    });
    if !job.description.is_empty() {
        body["description"] = job.description.as_str().into();
    }
    if let Some(retry) = &job.retry {
        let mut config = json!({
            "minBackoffDuration": seconds(retry.min_backoff),
            "maxBackoffDuration": seconds(retry.max_backoff),
            "maxDoublings": retry.max_doublings,
        });
        if let Some(limit) = retry.limit {
            config["retryCount"] = limit.into();
        }
        if let Some(age) = retry.age_limit {
            config["maxRetryDuration"] = seconds(age);
        }
        body["retryConfig"] = config;
    }
    if let Some(deadline) = job.attempt_deadline {
        body["attemptDeadline"] = seconds(deadline);
    }
    body
}

/// Jobs have no names in cron.yaml: they are the same if they do the same.
fn is_same_job(old: &Value, new: &Value) -> bool {
    let fields = ["appEngineHttpTarget", "schedule", "timeZone", "description", "retryConfig", "attemptDeadline"];
    fields.iter().all(|field| old[field] == new[field])
}

fn queues(session: &Session, file: &Queues) -> Outcome<String> {
    let queues = &file.queues;
    let place = format!("/v2beta3/{}/queues", location(session, "v2")?);
    let there = session.client.list(&place, "queues", None)?;
    let mut names: BTreeSet<&str> = queues.iter().map(|queue| queue.name.as_str()).collect();
    for queue in queues {
        let body = queue_body(queue);
        let mask = mask_of(queue).join(",");
        let path = format!("{place}/{}", segment(&queue.name));
        let now = session.client.patch(&format!("{path}?updateMask={mask}"), &body)?;
        if now["state"] == "PAUSED" && !is_still(queue) && !file.keep_paused {
            session.client.post(&format!("{path}:resume"), &json!({}))?;
        }
        if is_still(queue) && now["state"] != "PAUSED" {
            session.client.post(&format!("{path}:pause"), &json!({}))?;
        }
    }
    session.client.patch(&format!("/enginehouse/v1/apps/{}/queues", segment(&session.app.id)), &settings_of(file))?;
    // As gcloud does: a queue that the file does not name any more is paused, never deleted with its tasks.
    names.insert("default");
    let mut paused = 0;
    for old in &there {
        let id = old["name"].as_str().and_then(|name| name.rsplit('/').next()).unwrap_or_default();
        if !names.contains(id) && old["state"] != "PAUSED" {
            session.client.post(&format!("{place}/{}:pause", segment(id)), &json!({}))?;
            paused += 1;
        }
    }
    let paused = if paused == 0 { String::new() } else { format!(", {paused} others paused") };
    Ok(format!("{} in force{paused}", crate::check::count(queues.len(), "queue")))
}

/// A rate of zero stands still, which the API has a state for.
fn is_still(queue: &Queue) -> bool {
    matches!(queue.mode, QueueMode::Push { per_second, .. } if per_second <= 0.0)
}

fn queue_body(queue: &Queue) -> Value {
    let mut body = Map::new();
    match &queue.mode {
        QueueMode::Pull => {
            body.insert("type".into(), "PULL".into());
        }
        QueueMode::Push { per_second, bucket_size, max_concurrent_requests } => {
            let mut rate = json!({"maxBurstSize": bucket_size});
            if *per_second > 0.0 {
                rate["maxDispatchesPerSecond"] = (*per_second).into();
            }
            if let Some(most) = max_concurrent_requests {
                rate["maxConcurrentDispatches"] = (*most).into();
            }
            body.insert("rateLimits".into(), rate);
            if queue.target.is_some() {
                let routing = routing(queue.target.as_deref());
                body.insert("appEngineHttpQueue".into(), json!({"appEngineRoutingOverride": routing}));
            }
        }
    }
    let retry = &queue.retry;
    // The API counts attempts, the file counts those after the first.
    let attempts = retry.limit.map_or(-1, |limit| i64::from(limit) + 1);
    let mut config = json!({
        "maxAttempts": attempts,
        "minBackoff": seconds(retry.min_backoff),
        "maxBackoff": seconds(retry.max_backoff),
        "maxDoublings": retry.max_doublings,
    });
    if let Some(age) = retry.age_limit {
        config["maxRetryDuration"] = seconds(age);
    }
    body.insert("retryConfig".into(), config);
    Value::Object(body)
}

/// The paths of all that a file can say of a queue: what it does not say any more is as if it had never been. Only the rate of a queue that stands still
/// stays, for when it goes on.
fn mask_of(queue: &Queue) -> Vec<&'static str> {
    let mut paths = vec![
        "type",
        "rateLimits.maxBurstSize",
        "rateLimits.maxConcurrentDispatches",
        "retryConfig.maxAttempts",
        "retryConfig.minBackoff",
        "retryConfig.maxBackoff",
        "retryConfig.maxDoublings",
        "retryConfig.maxRetryDuration",
        "appEngineHttpQueue.appEngineRoutingOverride",
    ];
    if !is_still(queue) {
        paths.push("rateLimits.maxDispatchesPerSecond");
    }
    paths
}

/// What Cloud Tasks' form has no place for.
fn settings_of(file: &Queues) -> Value {
    let entries = |queue: &Queue| -> Value { queue.acl.iter().map(|one| json!({"email": one.email, "writer": one.writer})).collect() };
    let listed = file.queues.iter().filter(|queue| !queue.acl.is_empty());
    let access: Map<String, Value> = listed.map(|queue| (queue.name.clone(), entries(queue))).collect();
    json!({"storageLimitBytes": file.total_storage_limit.map(|limit| limit.to_string()), "access": access})
}

fn indexes(session: &Session, indexes: &[Index]) -> Outcome<String> {
    let place = format!("/v1/projects/{}/indexes", segment(&session.app.id));
    let there = session.client.list(&place, "indexes", None)?;
    let mut made = 0;
    for index in indexes {
        let body = index_body(&session.app.id, index)?;
        if there.iter().any(|old| ["kind", "ancestor", "properties"].iter().all(|field| old[field] == body[field])) {
            continue;
        }
        session.client.post(&place, &body)?;
        made += 1;
    }
    Ok(format!("{made} new, {} as before", indexes.len() - made))
}

fn index_body(app: &str, index: &Index) -> Outcome<Value> {
    let mut properties = Vec::new();
    for property in &index.properties {
        let direction = match property.order {
            IndexOrder::Ascending => "ASCENDING",
            IndexOrder::Descending => "DESCENDING",
            IndexOrder::Geospatial => {
                return Err(Failure::Here(format!("index.yaml: geospatial indexes ({}.{}) cannot be deployed", index.kind, property.name)));
            }
        };
        properties.push(json!({"direction": direction, "name": property.name}));
    }
    let ancestor = if index.ancestor { "ALL_ANCESTORS" } else { "NONE" };
    Ok(json!({"projectId": app, "kind": index.kind, "ancestor": ancestor, "properties": properties, "state": "CREATING"}))
}

#[cfg(test)]
mod tests {
    use model::queue::{QueueAccess, QueueRetry};

    use super::*;

    #[test]
    fn targets_are_split_as_the_sdk_splits_them() {
        assert_eq!(routing(None), json!({"service": "default"}));
        assert_eq!(routing(Some("api")), json!({"service": "api"}));
        assert_eq!(routing(Some("v1.api")), json!({"service": "api", "version": "v1"}));
    }

    #[test]
    fn durations_are_those_of_the_api() {
        assert_eq!([seconds(Duration::from_mins(10)), seconds(Duration::from_millis(100))], [json!("600s"), json!("0.1s")]);
    }

    #[test]
    fn what_a_file_says_no_more_is_taken_back() {
        let mut queue =
            Queue { name: "q".into(), mode: QueueMode::DEFAULT_PUSH, retry: QueueRetry::default(), target: None, acl: Vec::new() };
        let masked = |queue: &Queue| mask_of(queue).contains(&"rateLimits.maxDispatchesPerSecond");
        assert!(masked(&queue) && mask_of(&queue).contains(&"appEngineHttpQueue.appEngineRoutingOverride"));
        queue.mode = QueueMode::Push { per_second: 0.0, bucket_size: 5, max_concurrent_requests: None };
        assert!(!masked(&queue));
    }

    #[test]
    fn s2_jobs_arrive_as_they_were_written() {
        let text = "cron:\n- url: /a?b=c\n  description: what\n  schedule: every monday 09:00\n  timezone: Europe/Berlin\n  target: v1.api\n  \
                    attempt_deadline: 7m\n  retry_parameters:\n    job_retry_limit: 4\n    job_age_limit: 2h\n    min_backoff_seconds: 2.5\n    \
                    max_backoff_seconds: 60\n    max_doublings: 3\n- url: /bare\n  schedule: every 24 hours\n- url: /tried\n  schedule: every 2 \
                    hours\n  retry_parameters:\n    job_retry_limit: 1\n";
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("app.yaml"), "runtime: python312\n").expect("written");
        std::fs::write(folder.path().join("cron.yaml"), text).expect("written");
        let loaded = appyaml::load_app(&[folder.path().to_owned()], &appyaml::Options::default());
        assert_eq!(loaded.cron.len(), 3, "{:?}", loaded.diagnostics);
        let now = std::time::SystemTime::now();
        for written in &loaded.cron {
            let document = store::control::Document { name: "j".into(), body: job(written), created: now, updated: now };
            let read = crate::cron::of_state(&document).expect("a job");
            assert_eq!((&read.job, read.method.as_str()), (written, "GET"));
        }
    }

    #[test]
    fn s1_what_cloud_tasks_has_no_place_for_is_said_beside() {
        let mut file = Queues { total_storage_limit: Some(120 << 20), ..Queues::default() };
        let acl = vec![QueueAccess { email: "a@b".into(), writer: true }];
        file.queues = vec![Queue { name: "pulled".into(), mode: QueueMode::Pull, retry: QueueRetry::default(), target: None, acl }];
        let said = json!({"storageLimitBytes": "125829120", "access": {"pulled": [{"email": "a@b", "writer": true}]}});
        assert_eq!(settings_of(&file), said);
        assert_eq!(settings_of(&Queues::default()), json!({"storageLimitBytes": null, "access": {}}));
    }
}
