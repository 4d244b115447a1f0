//! gcloud's conversations, request by request as gcloud 578 sends them (spellings included), with what it needs of the answers. gcloud itself is in
//! `gcloud.rs`; this runs where it is not installed.

use serde_json::{Value, json};
use testkit::{Connection, Request, Response, ServeNode};

use super::server;

/// One request as gcloud sends it.
#[track_caller]
fn ask(server: &ServeNode, method: &str, target: &str, body: Option<&Value>) -> Response {
    let token = server.owner_token();
    let mut request = Request::new(method, target)
        .header("accept", "application/json")
        .header("accept-encoding", "gzip, deflate")
        .header("authorization", &format!("Bearer {token}"))
        .header("user-agent", "google-cloud-sdk gcloud/578.0.0 command/gcloud.app.deploy");
    if let Some(body) = body {
        request = request.header("content-type", "application/json").body(body.to_string());
    } else if method != "GET" {
        request = request.header("content-length", "0");
    }
    Connection::open(server.admin()).send(&request)
}

#[track_caller]
fn good(server: &ServeNode, line: &str, body: impl Into<Option<Value>>) -> Value {
    let (method, target) = line.split_once(' ').expect("METHOD TARGET");
    let response = ask(server, method, target, body.into().as_ref());
    assert_eq!(response.status, 200, "{line}: {}", response.text());
    response.json()
}

/// Polls as gcloud does.
#[track_caller]
fn done(server: &ServeNode, operation: Value) -> Value {
    let name = operation["name"].as_str().expect("an operation").to_owned();
    assert!(name.starts_with("apps/demo/operations/"), "{operation}");
    let ended = server.ended(operation);
    assert_eq!((ended.get("error"), &ended["name"]), (None, &json!(name)), "{ended}");
    ended
}

/// A file below 5 MiB: in two parts, lines end with LF alone, the boundary stands in single quotes.
#[track_caller]
fn upload(server: &ServeNode, name: &str, content: &str) {
    let line = "===============8412049223436790301==";
    let size = content.len();
    let body = format!(
        "--{line}\nContent-Type: application/json\nMIME-Version: 1.0\n\n{{\"size\": \"{size}\"}}\n--{line}\nContent-Type: \
         application/octet-stream\nMIME-Version: 1.0\nContent-Transfer-Encoding: binary\n\n{content}\n--{line}--"
    );
    let target = format!("/upload/storage/v1/b/staging.demo.localhost/o?alt=json&name={name}&uploadType=multipart");
    let response = super::send(server, "POST", &target, &format!("multipart/related; boundary='{line}'"), body.as_bytes()).expect(200);
    assert_eq!((&response.json()["name"], &response.json()["size"]), (&json!(name), &json!(size.to_string())));
}

const APP: &str = "apps/demo";
/// `one\n` and `two\n` by their SHA-1.
const ONE: &str = "c7059bb19433cc3cabaa6236c83d56668a843dd2";
const TWO: &str = "7bbef45b3bc70855010e02460717643125c3beca";

/// 6.4 MB of digits.
const LARGE: &str = "f95faa7882eea4906e29b22ffc768dd0755ad089";

fn version(id: &str, page: &str) -> Value {
    let file = |sum: &str| json!({"sha1Sum": sum, "sourceUrl": format!("https://storage.googleapis.com/staging.demo.localhost/{sum}")});
    json!({
        "deployment": {"files": {"static/index.html": file(page)}},
        "entrypoint": {"shell": ""},
        "handlers": [{
            "securityLevel": "SECURE_OPTIONAL",
            "staticFiles": {"path": "static/\\1", "uploadPathRegex": "static/.*"},
            "urlRegex": "/(.*)",
        }],
        "id": id,
        "runtime": "python27",
        "runtimeApiVersion": "1",
        "threadsafe": true,
    })
}

/// What gcloud looks at before it uploads.
#[track_caller]
fn look(server: &ServeNode) -> Vec<String> {
    ask(server, "GET", "/storage/v1/b/runtime-builders/o/experiments.yaml?alt=media", None).expect(404);
    let app = good(server, &format!("GET /v1/{APP}?alt=json"), None);
    assert_eq!(app["codeBucket"], "staging.demo.localhost");
    assert!(app["defaultHostname"].as_str().is_some_and(|host| host.contains('.')), "{app}");
    assert_eq!(app["servingStatus"], "SERVING");
    good(server, &format!("GET /v1/{APP}/services?alt=json&pageSize=100"), None);
    let bucket = good(server, "GET /storage/v1/b/staging.demo.localhost?alt=json&fields=lifecycle", None);
    assert!(bucket.as_object().is_some_and(|bucket| bucket.keys().all(|field| field == "lifecycle")), "{bucket}");
    let objects = good(server, "GET /storage/v1/b/staging.demo.localhost/o?alt=json&maxResults=1000", None);
    let items = objects["items"].as_array().map_or(&[][..], Vec::as_slice);
    assert!(items.iter().all(|item| item["timeCreated"].is_string()));
    items.iter().filter_map(|item| item["name"].as_str()).map(str::to_owned).collect()
}

/// What gcloud does to give a version all traffic.
#[track_caller]
fn promote(server: &ServeNode, id: &str) {
    let service = format!("{APP}/services/default");
    let full = good(server, &format!("GET /v1/{service}/versions/{id}?alt=json&view=FULL"), None);
    assert_eq!(full["servingStatus"], "SERVING");
    let split = json!({"split": {"allocations": {id: 1.0}, "shardBy": "UNSPECIFIED"}});
    let patched = good(server, &format!("PATCH /v1/{service}?alt=json&migrateTraffic=False&updateMask=split"), Some(split));
    done(server, patched);
    assert_eq!(good(server, &format!("GET /v1/{service}?alt=json"), None)["split"], json!({"allocations": {id: 1}}));
}

#[test]
fn t9_gcloud_app_deploy_as_recorded() {
    let server = server();
    assert!(look(&server).is_empty());
    upload(&server, ONE, "one\n");
    let create = format!("POST /v1/{APP}/services/default/versions?alt=json");
    let created = good(&server, &create, Some(version("20261121t202455", ONE)));
    assert_eq!(done(&server, created)["response"]["id"], "20261121t202455");
    promote(&server, "20261121t202455");
    assert_eq!(server.get("demo.local.r.localhost", "/index.html").text(), "one\n");
    // Another one, of which one file is there already.
    assert_eq!(look(&server), [ONE]);
    upload(&server, TWO, "two\n");
    let mut second = version("v2", TWO);
    second["deployment"]["files"]["static/old.html"] = version("", ONE)["deployment"]["files"]["static/index.html"].clone();
    let created = good(&server, &create, Some(second));
    done(&server, created);
    let versions = good(&server, &format!("GET /v1/{APP}/services/default/versions?alt=json&pageSize=100"), None);
    assert_eq!(versions["versions"].as_array().map(Vec::len), Some(2));
    assert_eq!(server.get("demo.local.r.localhost", "/index.html").text(), "one\n", "it is not promoted yet");
    promote(&server, "v2");
    assert_eq!(server.get("demo.local.r.localhost", "/index.html").text(), "two\n");
    assert_eq!(server.get("demo.local.r.localhost", "/old.html").text(), "one\n");
    assert_eq!(server.get("20261121t202455-dot-demo.local.r.localhost", "/index.html").text(), "one\n");
}

#[test]
fn t9_gcloud_app_deploy_of_a_large_file_as_recorded() {
    let server = server();
    look(&server);
    let page = "0123456789abcdef".repeat(400_000);
    let total = page.len();
    let begin = format!("/resumable/upload/storage/v1/b/staging.demo.localhost/o?alt=json&name={LARGE}&uploadType=resumable");
    let token = server.owner_token();
    let request = Request::new("POST", &begin)
        .header("authorization", &format!("Bearer {token}"))
        .header("content-type", "application/json; charset=utf-8")
        .header("X-Upload-Content-Type", "application/octet-stream")
        .header("X-Upload-Content-Length", &total.to_string())
        .host(&format!("localhost:{}", server.admin().port()))
        .body(format!("{{\"size\":\"{total}\"}}"));
    let session = Connection::open(server.admin()).send(&request).expect(200);
    let location = session.header("location").expect("where the pieces go").to_owned();
    let target = location.strip_prefix(&server.admin_url()).expect("the address that was asked").to_owned();
    let put = |from: usize, to: usize| {
        let request = Request::new("PUT", &target)
            .header("authorization", &format!("Bearer {token}"))
            .header("Content-Range", &format!("bytes {from}-{}/{total}", to - 1));
        Connection::open(server.admin()).send(&request.body(&page.as_bytes()[from..to]))
    };
    let half = put(0, 3 << 20).expect(308);
    assert_eq!(half.header("range"), Some("bytes=0-3145727"));
    let whole = put(3 << 20, total).expect(200);
    assert_eq!(whole.json()["size"], total.to_string());
    let created = good(&server, &format!("POST /v1/{APP}/services/default/versions?alt=json"), Some(version("v1", LARGE)));
    done(&server, created);
    assert_eq!(server.get("demo.local.r.localhost", "/index.html").body.len(), total);
}

#[test]
fn t9_gclouds_other_commands_as_recorded() {
    let server = server();
    look(&server);
    for (id, sum, page) in [("v1", ONE, "one\n"), ("v2", TWO, "two\n")] {
        upload(&server, sum, page);
        let created = good(&server, &format!("POST /v1/{APP}/services/default/versions?alt=json"), Some(version(id, sum)));
        done(&server, created);
    }
    let service = format!("{APP}/services/default");
    // services set-traffic --splits v1=1,v2=7 --split-by ip, cookie: the arithmetic of its own.
    for (split, shard) in [
        (json!({"v1": 0.13, "v2": 0.87}), "IP"),
        (json!({"v1": 0.07, "v2": 0.93}), "IP"),
        (json!({"v1": 0.461_000_000_000_000_13, "v2": 0.539}), "COOKIE"),
        (json!({"v1": 0.333, "v2": 0.667}), "RANDOM"),
        (json!({"v1": 0.459_999_999_999_999_96, "v2": 0.54}), "ip"),
    ] {
        let body = json!({"split": {"allocations": split, "shardBy": shard}});
        let patched = good(&server, &format!("PATCH /v1/{service}?alt=json&migrateTraffic=False&updateMask=split"), Some(body));
        done(&server, patched);
        let now = good(&server, &format!("GET /v1/{service}?alt=json"), None);
        assert_eq!(now["split"]["shardBy"], shard.to_ascii_uppercase());
        let sum: f64 = now["split"]["allocations"].as_object().expect("an object").values().filter_map(Value::as_f64).sum();
        assert!((sum - 1.0).abs() < 1e-9, "{now}");
    }
    // app update: on v1beta, with a comma behind the last field of its mask.
    let body = json!({"featureSettings": {}, "sslPolicy": "MODERN"});
    let patched = good(&server, &format!("PATCH /v1beta/{APP}?alt=json&updateMask=sslPolicy%2C"), Some(body));
    let name = patched["name"].as_str().expect("a name").to_owned();
    done(&server, patched);
    assert_eq!(good(&server, &format!("GET /v1beta/{name}?alt=json"), None)["done"], true);
    assert_eq!(good(&server, &format!("GET /v1/{APP}?alt=json"), None)["sslPolicy"], "MODERN");
    // dispatch.yaml.
    let rules =
        json!([{"domain": "*", "path": "/favicon.ico", "service": "default"}, {"domain": "*", "path": "/mobile/*", "service": "default"}]);
    let patched = good(&server, &format!("PATCH /v1/{APP}?alt=json&updateMask=dispatchRules%2C"), Some(json!({"dispatchRules": rules})));
    done(&server, patched);
    assert_eq!(good(&server, &format!("GET /v1/{APP}?alt=json"), None)["dispatchRules"], rules);
    // regions list reads the first label and the metadata.
    let regions = good(&server, &format!("GET /v1/{APP}/locations?alt=json&pageSize=100"), None);
    let first = &regions["locations"][0];
    assert!(first["labels"].as_object().is_some_and(|labels| !labels.is_empty()), "{regions}");
    assert_eq!(first["metadata"]["standardEnvironmentAvailable"], true);
    let runtimes = good(&server, &format!("GET /v1/{APP}:listRuntimes?alt=json&environment=STANDARD"), None);
    assert!(runtimes["runtimes"].as_array().is_some_and(|all| all.iter().any(|one| one["name"] == "python312")), "{runtimes}");
    good(&server, &format!("GET /v1/{APP}/operations?alt=json&filter=done%3Afalse&pageSize=100"), None);
    assert!(good(&server, &format!("GET /v1/{APP}/operations?alt=json&pageSize=100"), None)["operations"].is_array());
    good(&server, &format!("GET /v1/{APP}/services/default/versions/v1/instances?alt=json&pageSize=100"), None);
    let all = json!({"split": {"allocations": {"v2": 1.0}, "shardBy": "UNSPECIFIED"}});
    let patched = good(&server, &format!("PATCH /v1/{service}?alt=json&migrateTraffic=False&updateMask=split"), Some(all));
    done(&server, patched);
    let deleted = good(&server, &format!("DELETE /v1/{service}/versions/v1?alt=json"), None);
    done(&server, deleted);
}

#[test]
fn t9_configuration_files_as_gcloud_deploys_them() {
    let mut server = server();
    let region = good(&server, "GET /v1beta1/projects/demo/locations?alt=json&pageSize=100", None);
    let region =
        region["locations"][0]["labels"].as_object().and_then(|labels| labels.values().next()?.as_str()).expect("a label").to_owned();
    let place = format!("projects/demo/locations/{region}");
    let job = json!({
        "appEngineHttpTarget": {"appEngineRouting": {"service": "default"}, "httpMethod": "GET", "relativeUri": "/tasks/summary"},
        "description": "daily", "legacyAppEngineCron": true, "schedule": "every 24 hours", "timeZone": "UTC",
    });
    good(&server, &format!("POST /v1beta1/{place}/jobs?alt=json"), Some(job.clone()));
    assert_eq!(good(&server, "GET /v1/projects/demo/services/cloudtasks.googleapis.com?alt=json", None)["state"], "ENABLED");
    good(&server, "GET /v2/projects/demo/locations?alt=json&pageSize=100", None);
    let queue = json!({
        "name": format!("{place}/queues/mail"), "rateLimits": {"maxBurstSize": 5, "maxDispatchesPerSecond": 1.0},
        "appEngineHttpQueue": {"appEngineRoutingOverride": {"service": "worker"}}, "taskTtl": "2678400s", "tombstoneTtl": "3600s",
    });
    let mask = "rateLimits.maxBurstSize%2CrateLimits.maxDispatchesPerSecond%2CappEngineHttpQueue.appEngineRoutingOverride%2CtaskTtl%2CtombstoneTtl";
    good(&server, &format!("PATCH /v2beta3/{place}/queues/mail?alt=json&updateMask={mask}"), Some(queue));
    let index = json!({"ancestor": "NONE", "kind": "Cat", "projectId": "demo", "state": "CREATING", "properties": [
        {"direction": "ASCENDING", "name": "name"}, {"direction": "DESCENDING", "name": "age"},
    ]});
    assert_eq!(good(&server, "POST /v1/projects/demo/indexes?alt=json", Some(index))["done"], true);
    // All of it outlives a crash.
    server.kill();
    server.restart();
    let jobs = good(&server, &format!("GET /v1beta1/{place}/jobs?alt=json&legacyAppEngineCron=True&pageSize=100"), None);
    assert_eq!(jobs["jobs"][0]["appEngineHttpTarget"], job["appEngineHttpTarget"]);
    let queues = good(&server, &format!("GET /v2beta3/{place}/queues?alt=json&pageSize=100"), None);
    let host = queues["queues"][0]["appEngineHttpQueue"]["appEngineRoutingOverride"]["host"].as_str().expect("a host");
    assert!(host.starts_with("worker.demo."), "{host}");
    assert_eq!(good(&server, "GET /v1/projects/demo/indexes?alt=json", None)["indexes"][0]["kind"], "Cat");
    let name = jobs["jobs"][0]["name"].as_str().expect("a name");
    good(&server, &format!("DELETE /v1beta1/{name}?alt=json&legacyAppEngineCron=True"), None);
}

#[test]
fn t9_logs_as_gcloud_reads_them() {
    let server = server();
    look(&server);
    upload(&server, ONE, "one\n");
    let created = good(&server, &format!("POST /v1/{APP}/services/default/versions?alt=json"), Some(version("v1", ONE)));
    done(&server, created);
    server.get("demo.local.r.localhost", "/index.html?who=gcloud").expect(200);
    server.get("demo.local.r.localhost", "/missing").expect(404);
    let logs: Vec<String> = ["crash.log", "nginx.request", "request_log", "stderr", "stdout"]
        .iter()
        .map(|log| format!("\"projects/demo/logs/appengine.googleapis.com%2F{log}\""))
        .chain(["\"projects/demo/logs/stderr\"".to_owned()])
        .collect();
    let filter = format!("resource.type=\"gae_app\" AND resource.labels.module_id=\"default\" AND logName=({})", logs.join(" OR "));
    let body = |filter: &str| json!({"filter": filter, "orderBy": "timestamp desc", "pageSize": 5, "resourceNames": ["projects/demo"]});
    let until = std::time::Instant::now() + testkit::DEADLINE;
    let entries = loop {
        let read = good(&server, "POST /v2/entries:list?alt=json", Some(body(&filter)));
        let entries = read["entries"].as_array().cloned().unwrap_or_default();
        if entries.len() >= 2 {
            break entries;
        }
        assert!(std::time::Instant::now() < until, "{read}");
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    };
    assert_eq!(entries[0]["protoPayload"]["resource"], "/missing", "the newest first");
    assert_eq!(entries[1]["protoPayload"]["status"], 200);
    assert_eq!(entries[1]["resource"]["labels"], json!({"project_id": "demo", "module_id": "default", "version_id": "v1"}));
    let warnings = good(&server, "POST /v2/entries:list?alt=json", Some(body(&format!("{filter} AND severity>=WARNING"))));
    assert_eq!(warnings["entries"].as_array().map(Vec::len), Some(1), "{warnings}");
    // tail: from the last timestamp on, each entry once.
    let at = entries[0]["timestamp"].as_str().expect("a time");
    let since = format!("{filter} AND timestamp>=\"{at}\" AND timestamp<\"2100-01-01T00:00:00.000000+00:00\"");
    let next = json!({"filter": since, "orderBy": "timestamp asc", "pageSize": 1000, "resourceNames": ["projects/demo"]});
    let tail = good(&server, "POST /v2/entries:list?alt=json", Some(next));
    assert_eq!(tail["entries"].as_array().map(Vec::len), Some(1), "{tail}");
}
