//! The slices as gcloud speaks to them.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::SystemTime;

use serde_json::json;

use super::*;
use crate::api::ask::Query;

/// An app called demo without a log, in memory.
#[derive(Default)]
struct Plain(Mutex<BTreeMap<(String, u8, String), Document>>);

impl Plain {
    fn all(&self) -> std::sync::MutexGuard<'_, BTreeMap<(String, u8, String), Document>> {
        self.0.lock().expect("nobody panics with it")
    }
}

impl Ground for Plain {
    fn region(&self, app: &str) -> Result<Option<String>, Status> {
        Ok((app == "demo").then(|| "us-east1".to_owned()))
    }

    fn host(&self, app: &str) -> Result<Option<String>, Status> {
        Ok(Some(format!("{app}.ue.r.localhost")))
    }

    fn documents(&self, app: &str, kind: Kind) -> Result<Vec<Document>, Status> {
        Ok(self.all().iter().filter(|(key, _)| key.0 == app && key.1 == kind as u8).map(|(_, document)| document.clone()).collect())
    }

    fn document(&self, app: &str, kind: Kind, name: &str) -> Result<Option<Document>, Status> {
        Ok(self.all().get(&(app.to_owned(), kind as u8, name.to_owned())).cloned())
    }

    fn put(&self, app: &str, kind: Kind, name: &str, body: &Value) -> Result<Document, Status> {
        let at = SystemTime::UNIX_EPOCH;
        let document = Document { name: name.to_owned(), body: body.clone(), created: at, updated: at };
        self.all().insert((app.to_owned(), kind as u8, name.to_owned()), document.clone());
        Ok(document)
    }

    fn remove(&self, app: &str, kind: Kind, name: &str) -> Result<bool, Status> {
        Ok(self.all().remove(&(app.to_owned(), kind as u8, name.to_owned())).is_some())
    }

    fn has_own_lines(&self, _: &str, _: &VersionKey) -> bool {
        true
    }

    fn log(&self, _: &str) -> Option<Reader> {
        None
    }
}

#[track_caller]
#[allow(clippy::needless_pass_by_value, reason = "tests write the body in place")]
fn ask(ground: &Plain, line: &str, body: Value) -> Result<Value, Status> {
    let (method, target) = line.split_once(' ').expect("METHOD TARGET");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let query = Query::parse(query);
    assert!(is_ours(path), "{path} is no slice's");
    let method = method.parse().expect("a method");
    answer(ground, &Ask { method: &method, path, query: &query, body: &body })
}

#[track_caller]
fn good(ground: &Plain, line: &str, body: Value) -> Value {
    ask(ground, line, body).unwrap_or_else(|status| panic!("{line}: {status}"))
}

const PLACE: &str = "projects/demo/locations/us-east1";

#[test]
fn t9_the_admin_api_keeps_its_own_paths() {
    for path in [
        "/v1/apps/demo",
        "/v1/apps/demo/locations",
        "/v1/projects/demo/locations/l/applications/a/services/s",
        "/v1beta/projects/demo/locations",
        "/v1/projects",
        "/",
        "/v2/other",
    ] {
        assert!(!is_ours(path), "{path}");
    }
    for path in ["/v1/projects/demo/services/cloudtasks.googleapis.com", "/v2/entries:list", "/v1/projects/example.com:demo/indexes"] {
        assert!(is_ours(path), "{path}");
    }
}

#[test]
fn t9_cron_yaml_becomes_jobs_that_gcloud_finds_again() {
    let ground = Plain::default();
    let places = good(&ground, "GET /v1beta1/projects/demo/locations?pageSize=100&alt=json", Value::Null);
    assert_eq!(places["locations"][0]["labels"]["cloud.googleapis.com/region"], "us-east1");
    let job = json!({
        "appEngineHttpTarget": {"appEngineRouting": {"service": "default"}, "httpMethod": "GET", "relativeUri": "/tasks/summary"},
        "description": "daily", "legacyAppEngineCron": true, "schedule": "every 24 hours", "timeZone": "UTC",
    });
    let list = format!("GET /v1beta1/{PLACE}/jobs?legacyAppEngineCron=True&pageSize=100");
    assert_eq!(good(&ground, &list, Value::Null), json!({}));
    let made = good(&ground, &format!("POST /v1beta1/{PLACE}/jobs"), job.clone());
    let twin = good(&ground, &format!("POST /v1beta1/{PLACE}/jobs"), job.clone());
    assert_ne!(made["name"], twin["name"], "the same job may stand in the file twice");
    let listed = good(&ground, &list, Value::Null);
    for field in ["appEngineHttpTarget", "description", "schedule", "timeZone"] {
        assert_eq!(listed["jobs"][0][field], job[field]);
    }
    assert_eq!(good(&ground, &format!("GET /v1beta1/{PLACE}/jobs"), Value::Null), json!({}), "without the flag others are listed");
    let name = made["name"].as_str().expect("a name");
    assert_eq!(good(&ground, &format!("POST /v1/{name}:pause"), json!({}))["state"], "PAUSED");
    good(&ground, &format!("DELETE /v1beta1/{name}?legacyAppEngineCron=True"), Value::Null);
    assert_eq!(ask(&ground, &format!("GET /v1beta1/{name}"), Value::Null).expect_err("gone").code, Code::NotFound);
}

#[test]
fn t9_jobs_that_could_never_run_are_refused() {
    let ground = Plain::default();
    let create = format!("POST /v1beta1/{PLACE}/jobs");
    for (job, field) in [
        (json!({"schedule": "whenever"}), "job.schedule"),
        (json!({"schedule": "every 1 hours", "timeZone": "Mars/Base"}), "job.timeZone"),
        (json!({"schedule": "every 1 hours", "pubsubTarget": {}}), "job.pubsubTarget"),
        (json!({"schedule": "every 1 hours", "wrong": 1}), "job.wrong"),
        (json!({"schedule": "every 1 hours", "appEngineHttpTarget": {"relativeUri": "http://x"}}), "job.appEngineHttpTarget.relativeUri"),
        (json!({"schedule": "every 1 hours", "name": "x"}), "job.name"),
    ] {
        let status = ask(&ground, &create, job).expect_err(field);
        assert_eq!(status.details[0]["fieldViolations"][0]["field"], field);
    }
    let elsewhere = "POST /v1beta1/projects/demo/locations/mars/jobs";
    assert_eq!(ask(&ground, elsewhere, json!({"schedule": "every 1 hours"})).expect_err("no such place").code, Code::NotFound);
    assert_eq!(ask(&ground, "GET /v1beta1/projects/other/locations", Value::Null).expect_err("no such app").code, Code::NotFound);
}

#[test]
fn t9_queue_yaml_becomes_queues_that_gcloud_finds_again() {
    let ground = Plain::default();
    let queue = json!({
        "name": format!("{PLACE}/queues/mail"),
        "appEngineHttpQueue": {"appEngineRoutingOverride": {"service": "worker", "version": "v2"}},
        "rateLimits": {"maxBurstSize": 40, "maxConcurrentDispatches": 10, "maxDispatchesPerSecond": 20.0},
        "retryConfig": {"maxAttempts": -1, "maxDoublings": 3, "minBackoff": "10s", "maxBackoff": "200s", "maxRetryDuration": "0s"},
        "taskTtl": "2678400s", "tombstoneTtl": "3600s",
    });
    let mask = "rateLimits.maxBurstSize,rateLimits.maxConcurrentDispatches,rateLimits.maxDispatchesPerSecond,retryConfig.maxAttempts,\
                retryConfig.maxDoublings,retryConfig.minBackoff,retryConfig.maxBackoff,retryConfig.maxRetryDuration,\
                appEngineHttpQueue.appEngineRoutingOverride,taskTtl,tombstoneTtl";
    let upsert = format!("PATCH /v2beta3/{PLACE}/queues/mail?updateMask={mask}");
    let made = good(&ground, &upsert, queue.clone());
    assert_eq!(made["rateLimits"], queue["rateLimits"]);
    assert_eq!(made["retryConfig"], queue["retryConfig"]);
    assert_eq!(made["state"], "RUNNING");
    assert_eq!(made["appEngineHttpQueue"]["appEngineRoutingOverride"]["host"], "v2.worker.demo.ue.r.localhost");
    let change = format!("PATCH /v2beta3/{PLACE}/queues/mail?updateMask=rateLimits.maxBurstSize");
    let changed = good(&ground, &change, json!({"rateLimits": {"maxBurstSize": 7}, "retryConfig": {"maxDoublings": 9}}));
    assert_eq!(changed["rateLimits"]["maxBurstSize"], 7);
    assert_eq!(changed["retryConfig"]["maxDoublings"], 3, "what the mask does not name stays");
    assert_eq!(good(&ground, &format!("POST /v2beta3/{PLACE}/queues/mail:pause"), json!({}))["state"], "PAUSED");
    let flat = good(&ground, &format!("GET /v2/{PLACE}/queues/mail"), Value::Null);
    assert_eq!((&flat["state"], &flat["appEngineRoutingOverride"]["service"]), (&json!("PAUSED"), &json!("worker")));
    assert_eq!(good(&ground, &format!("POST /v2/{PLACE}/queues/mail:resume"), json!({}))["state"], "RUNNING");
    // A queue without routing has none to compare.
    let plain = good(&ground, &format!("PATCH /v2beta3/{PLACE}/queues/default?updateMask=taskTtl"), json!({"taskTtl": "60s"}));
    assert_eq!(plain["appEngineHttpQueue"], json!({"appEngineRoutingOverride": {}}));
    let listed = good(&ground, &format!("GET /v2beta3/{PLACE}/queues?pageSize=1"), Value::Null);
    assert_eq!((listed["queues"].as_array().map(Vec::len), &listed["nextPageToken"]), (Some(1), &json!("default")));
    let rest = good(&ground, &format!("GET /v2beta3/{PLACE}/queues?pageSize=1&pageToken=default"), Value::Null);
    assert_eq!((&rest["queues"][0]["name"], rest.get("nextPageToken")), (&made["name"], None));
    assert_eq!(good(&ground, &format!("DELETE /v2/{PLACE}/queues/mail"), Value::Null), json!({}));
}

#[test]
fn t9_queues_out_of_range_are_refused() {
    let ground = Plain::default();
    for (name, body, field) in [
        ("a", json!({"rateLimits": {"maxDispatchesPerSecond": 501}}), "queue.rateLimits.maxDispatchesPerSecond"),
        ("a", json!({"retryConfig": {"minBackoff": "soon"}}), "queue.retryConfig.minBackoff"),
        ("a_b", json!({}), "queue.name"),
        ("a", json!({"colour": 1}), "queue.colour"),
    ] {
        let status = ask(&ground, &format!("PATCH /v2beta3/{PLACE}/queues/{name}"), body).expect_err(field);
        assert_eq!(status.details[0]["fieldViolations"][0]["field"], field);
    }
    let task = json!({"task": {"appEngineHttpRequest": {}}});
    let nowhere = ask(&ground, &format!("POST /v2/{PLACE}/queues/a/tasks"), task.clone()).expect_err("no queue");
    assert_eq!(nowhere.code, Code::NotFound);
    let nobody = ask(&ground, &format!("POST /v2/{PLACE}/queues/default/tasks"), task).expect_err("nobody keeps tasks here");
    assert_eq!(nobody.code, Code::Unimplemented);
    for (task, field) in [
        (json!({"colour": 1}), "task.colour"),
        (json!({"appEngineHttpRequest": {"httpMethod": "BREW"}}), "task.appEngineHttpRequest.httpMethod"),
        (json!({"appEngineHttpRequest": {"httpMethod": 8}}), "task.appEngineHttpRequest.httpMethod"),
        (json!({"appEngineHttpRequest": {"body": "%"}}), "task.appEngineHttpRequest.body"),
        (json!({"appEngineHttpRequest": {"headers": {"a": 1}}}), "task.appEngineHttpRequest.headers"),
        (json!({"appEngineHttpRequest": {}, "dispatchDeadline": "soon"}), "task.dispatchDeadline"),
        (json!({"appEngineHttpRequest": {}, "name": "x"}), "task.name"),
        (json!({"pullMessage": {}}), "task.pullMessage"),
        (json!(1), "task"),
    ] {
        let status = ask(&ground, &format!("POST /v2/{PLACE}/queues/default/tasks"), json!({"task": task})).expect_err(field);
        assert_eq!(status.details[0]["fieldViolations"][0]["field"], field);
    }
}

#[test]
fn t9_indexes_are_made_once_and_removed() {
    let ground = Plain::default();
    let index = json!({"ancestor": "NONE", "kind": "Cat", "projectId": "demo", "state": "CREATING", "properties": [
        {"direction": "ASCENDING", "name": "name"}, {"direction": "DESCENDING", "name": "age"},
    ]});
    let done = good(&ground, "POST /v1/projects/demo/indexes", index.clone());
    assert_eq!((&done["done"], &done["response"]["state"]), (&json!(true), &json!("READY")));
    assert_eq!(ask(&ground, "POST /v1/projects/demo/indexes", index.clone()).expect_err("twice").code, Code::AlreadyExists);
    let listed = good(&ground, "GET /v1/projects/demo/indexes", Value::Null);
    assert_eq!(listed["indexes"][0]["properties"], index["properties"]);
    let id = listed["indexes"][0]["indexId"].as_str().expect("an id");
    assert_eq!(good(&ground, &format!("DELETE /v1/projects/demo/indexes/{id}"), Value::Null)["done"], true);
    assert_eq!(good(&ground, "GET /v1/projects/demo/indexes", Value::Null), json!({}));
    for wrong in [json!({}), json!({"kind": "A"}), json!({"kind": "A", "properties": [{"name": "x", "direction": "UP"}]})] {
        assert_eq!(ask(&ground, "POST /v1/projects/demo/indexes", wrong).expect_err("refused").code, Code::InvalidArgument);
    }
}

#[test]
fn t9_services_that_are_spoken_are_enabled() {
    let ground = Plain::default();
    let one = |name: &str| good(&ground, &format!("GET /v1/projects/demo/services/{name}"), Value::Null);
    assert_eq!(one("cloudtasks.googleapis.com")["state"], "ENABLED");
    assert_eq!(one("bigquery.googleapis.com")["state"], "DISABLED");
    let done = good(&ground, "POST /v1/projects/demo/services/datastore.googleapis.com:enable", json!({}));
    assert_eq!((&done["done"], &done["response"]["service"]["state"]), (&json!(true), &json!("ENABLED")));
    let refused = ask(&ground, "POST /v1/projects/demo/services/bigquery.googleapis.com:enable", json!({})).expect_err("not here");
    assert!(refused.message.contains("does not speak"), "{refused}");
    assert_eq!(
        good(&ground, "GET /v1/projects/demo/services?filter=state:ENABLED", Value::Null)["services"].as_array().map(Vec::len),
        Some(8)
    );
}

#[test]
fn t9_requests_for_entries_are_checked() {
    let ground = Plain::default();
    let names = good(&ground, "GET /v2/projects/demo/logs", Value::Null)["logNames"].clone();
    let wanted = ["stdout", "stderr", "appengine.googleapis.com%2Frequest_log"].map(|log| format!("projects/demo/logs/{log}"));
    let all = names.as_array().expect("names");
    assert!(wanted.iter().all(|name| all.iter().any(|known| known == name)), "{names}");
    assert_eq!(ask(&ground, "GET /v2/projects/nobody/logs", Value::Null).expect_err("no such app").code, Code::NotFound);
    assert_eq!(good(&ground, "POST /v2/entries:list", json!({"resourceNames": ["projects/demo"], "orderBy": "timestamp desc"})), json!({}));
    for (body, field) in [
        (json!({"resourceNames": ["projects/demo"], "orderBy": "severity"}), "orderBy"),
        (json!({"resourceNames": ["projects/demo"], "filter": "a="}), "filter"),
        (json!({"resourceNames": ["projects/demo"], "pageToken": "zz"}), "pageToken"),
        (json!({"resourceNames": ["projects/demo"], "pageSize": -1}), "pageSize"),
        (json!({}), "resourceNames"),
    ] {
        let status = ask(&ground, "POST /v2/entries:list", body).expect_err(field);
        assert_eq!(status.details[0]["fieldViolations"][0]["field"], field);
    }
    assert!(only_reads(&Method::POST, "/v2/entries:list") && !only_reads(&Method::POST, "/v1/projects/demo/indexes"));
    assert_eq!(app_of("/v2/entries:list", &json!({"resourceNames": ["projects/demo"]})).as_deref(), Some("demo"));
    assert_eq!(app_of("/v2/projects/demo/locations", &Value::Null).as_deref(), Some("demo"));
}
