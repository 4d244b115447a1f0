//! `enginehouse deploy` before a double: what is sent in which order, and what is not.

use serde_json::{Value, json};
use testkit::App;

use super::double::{Asked, Double};
use super::{error, run};

const YAML: &str = "runtime: python27\napi_version: 1\nthreadsafe: true\nservice: default\nhandlers:\n- url: /.*\n  script: main.app\n";

fn app() -> App {
    App::with_yaml(YAML).file("main.py", "app = 1").file("same.py", "app = 1").file("junk.pyc", "")
}

/// A server with the app `demo`, whose default service is at `old`, which has every file but those with this sum.
fn server(missing: &'static [&'static str], end: Value) -> impl Fn(&Asked) -> (u16, Value) {
    move |asked| {
        let service = json!({"id": "default", "split": {"allocations": {"old": 1}}});
        let operation = |name: &str| json!({"name": format!("apps/demo/operations/{name}"), "metadata": {}});
        let old = json!({"id": "old", "servingStatus": "SERVING", "manualScaling": {"instances": 2}});
        match asked.what().as_str() {
            "GET /v1/apps/demo" => (200, json!({"id": "demo", "codeBucket": "staging.demo", "defaultHostname": "demo.localhost"})),
            "GET /v1/apps/demo/services/default" => (200, service),
            "GET /v1/apps/demo/services/default/versions/old" => (200, old),
            "POST /enginehouse/v1/apps/demo/files:missing" => (200, json!({"missing": missing})),
            "POST /enginehouse/v1/apps/demo/files:upload" => (200, json!({})),
            "POST /v1/apps/demo/services/default/versions" => (200, operation("make")),
            "GET /v1/apps/demo/operations/make" => (200, end.clone()),
            "PATCH /v1/apps/demo/services/default" | "PATCH /v1/apps/demo/services/default/versions/old" => {
                let mut done = operation("switch");
                done["done"] = true.into();
                (200, done)
            }
            what => error(404, &format!("There is no {what}.")),
        }
    }
}

fn made() -> Value {
    let version = json!({"id": "v2", "versionUrl": "https://v2-dot-demo.localhost"});
    json!({"name": "apps/demo/operations/make", "done": true, "metadata": {}, "response": version})
}

#[test]
fn t9_a_deployment_switches_when_the_version_is_ready() {
    let double = Double::start(server(&[], made()));
    let app = app();
    let path = app.path().to_str().expect("UTF-8");
    let done = run(&double, &["deploy", path, "--version", "v2", "--quiet"], "");
    assert_eq!((done.code, done.stdout.as_str()), (Some(0), "https://demo.localhost\n"), "{done:?}");
    let sent = double.mutations();
    let order: Vec<String> = sent.iter().map(Asked::what).collect();
    let wanted = [
        "POST /enginehouse/v1/apps/demo/files:missing",
        "POST /v1/apps/demo/services/default/versions",
        "PATCH /v1/apps/demo/services/default",
        "PATCH /v1/apps/demo/services/default/versions/old",
    ];
    assert_eq!(order, wanted);
    assert_eq!(sent[0].body["sha1"].as_array().map(Vec::len), Some(2), "the same text is one file: {}", sent[0].body);
    let version = &sent[1].body;
    assert_eq!((&version["id"], &version["runtime"]), (&json!("v2"), &json!("python27")));
    let files: Vec<&String> = version["deployment"]["files"].as_object().expect("files").keys().collect();
    assert_eq!(files, ["app.yaml", "main.py", "same.py"]);
    assert_eq!(sent[2].body["split"]["allocations"], json!({"v2": 1.0}));
    assert_eq!(sent[3].body, json!({"servingStatus": "STOPPED"}), "manual scaling would run on for nobody");
}

#[test]
fn t9_only_missing_files_are_sent() {
    // The double never has them, so that a deployment gives up after a few attempts.
    let double = Double::start(server(&["2f9a8e5d8f4b5cbf9d1d4ad8e2ccbf1b8ed6c0a7"], made()));
    let app = app();
    let done = run(&double, &["deploy", app.path().to_str().expect("UTF-8"), "-q"], "");
    assert_eq!(done.code, Some(0), "a sum that nobody asked about is nobody's: {done:?}");
    let stubborn = Double::start(|asked: &Asked| match asked.what().as_str() {
        "POST /enginehouse/v1/apps/demo/files:missing" => (200, json!({"missing": asked.body["sha1"]})),
        _ => server(&[], made())(asked),
    });
    let done = run(&stubborn, &["deploy", app.path().to_str().expect("UTF-8"), "-q"], "");
    assert_eq!(done.code, Some(1), "{done:?}");
    let streams: Vec<Asked> = stubborn.mutations().into_iter().filter(|asked| asked.path.ends_with("files:upload")).collect();
    let text = streams[0].body.as_str().expect("a stream").to_owned();
    assert!(text.contains(" 7\napp = 1") && text.contains(&format!(" {}\n{YAML}", YAML.len())), "{text}");
    assert!(stubborn.mutations().iter().all(|asked| !asked.path.ends_with("/versions")), "nothing is made of files that are not there");
}

#[test]
fn t9_a_version_that_does_not_start_changes_nothing_and_shows_its_log() {
    let end = json!({"name": "apps/demo/operations/make", "done": true, "error": {"code": 9, "message": "The version does not start.",
        "details": [{"@type": "type.googleapis.com/google.rpc.DebugInfo", "stackEntries": ["Traceback (most recent call last):", "ImportError: nope"]}]}});
    let double = Double::start(server(&[], end));
    let app = app();
    let done = run(&double, &["deploy", app.path().to_str().expect("UTF-8"), "--quiet"], "");
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(done.stderr.contains("ImportError: nope") && done.stderr.contains("goes on serving"), "{}", done.stderr);
    assert!(double.mutations().iter().all(|asked| asked.method != "PATCH"));
}

#[test]
fn t9_nothing_is_sent_of_a_dry_run_a_refusal_or_a_mistake() {
    let double = Double::start(server(&[], made()));
    let app = app();
    let path = app.path().to_str().expect("UTF-8");
    let dry = run(&double, &["deploy", path, "--version", "v2", "--dry-run"], "");
    assert_eq!(dry.code, Some(0), "{dry:?}");
    assert!(dry.stderr.contains("3 files") && dry.stderr.contains("all, as soon as it is ready, from old"), "{}", dry.stderr);
    let refused = run(&double, &["deploy", path], "no\n");
    assert_eq!(refused.code, Some(7), "{refused:?}");
    let wrong = App::with_yaml("runtime: python27\nthreadsafe: maybe\nhandelers: []\n");
    let done = run(&double, &["deploy", wrong.path().to_str().expect("UTF-8"), "-q"], "");
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(done.stderr.contains("handelers") && done.stderr.contains("maybe"), "all mistakes at once: {}", done.stderr);
    assert_eq!(double.mutations().len(), 0);
}

#[test]
fn t9_configuration_is_deployed_only_if_it_is_named() {
    let double = Double::start(|asked: &Asked| match asked.what().as_str() {
        "PATCH /v1/apps/demo" => (200, json!({"name": "apps/demo/operations/x", "done": true})),
        _ => server(&[], made())(asked),
    });
    let app = app().file("dispatch.yaml", "dispatch:\n- url: \"*/mobile/*\"\n  service: mobile\n").file("cron.yaml", "cron: nonsense\n");
    let at = |name: &str| app.join(name).to_str().expect("UTF-8").to_owned();
    let done = run(&double, &["deploy", &at("dispatch.yaml"), "-q"], "");
    assert_eq!(done.code, Some(0), "{done:?}");
    let sent = double.mutations();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].path, "/v1/apps/demo?updateMask=dispatchRules");
    assert_eq!(sent[0].body, json!({"dispatchRules": [{"domain": "*", "path": "/mobile/*", "service": "mobile"}]}));
    let done = run(&double, &["deploy", &at("app.yaml"), "-q"], "");
    assert_eq!(done.code, Some(0), "a mistake in a file that is not deployed is no matter: {done:?}");
    let done = run(&double, &["deploy", &at("cron.yaml"), "-q"], "");
    assert_eq!(done.code, Some(1), "{done:?}");
}
