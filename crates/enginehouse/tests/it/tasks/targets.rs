//! Who runs a task: versions, services, instances, and instances that are not there (`X-AppEngine-FailFast`).

use serde_json::Value;
use testkit::{App, ServeNode};

use super::{app, asked, eval, path, scaled};
use crate::{node, on_both};

#[test]
fn h12_a_task_that_fails_fast_waits_for_no_instance() {
    on_both(|python| {
        let (home, shared) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let storage = home.path().join("storage").to_str().expect("UTF-8").to_owned();
        let app = scaled(python, "automatic_scaling:\n  max_instances: 1\n  max_concurrent_requests: 1\n");
        let running = node().app(&app).args(["--patience", "300", "--storage", &storage]).share(shared.path()).start();
        let go = |name: &str| std::fs::write(shared.path().join(format!("go-{name}")), "").expect("written");
        let notes = || std::fs::read_to_string(shared.path().join("notes")).unwrap_or_default();
        let url = |name: &str| format!("/waits?folder={}&name={name}", shared.path().display());
        let add = |name: &str, queue: &str, more: &str| {
            let added = format!("taskqueue.add(url='{}', method='GET', queue_name='{queue}', name='{name}'{more}) and None", url(name));
            assert_eq!(eval(&running, &added), "None", "{python:?}");
        };
        // In a queue that stands still, so that only who is told to run does.
        add("fast", "slow", ", headers={'X-AppEngine-FailFast': 'true'}");
        add("patient", "slow", "");
        add("busy", "three", "");
        let until = |what: &str, is: &dyn Fn() -> bool| {
            let begun = std::time::Instant::now();
            while !is() {
                assert!(begun.elapsed().as_secs() < 120, "{python:?} {what}: {}\n{}", notes(), running.everything());
                std::thread::park_timeout(std::time::Duration::from_millis(20));
            }
        };
        until("the only instance is busy", &|| notes().contains("begun busy"));
        go("fast");
        go("patient");
        let described = || -> Value {
            serde_json::from_str(&asked(&storage, &["tasks", "describe", "fast", "--queue", "slow", "--format", "json"])).expect("JSON")
        };
        asked(&storage, &["tasks", "run", "patient", "--queue", "slow"]);
        asked(&storage, &["tasks", "run", "fast", "--queue", "slow"]);
        until("the task fails", &|| described()["retries"] == 1);
        let told = described();
        let last = &told["lastTry"];
        assert_eq!(
            (&told["executions"], &last["status"], &last["reason"]),
            (&0.into(), &503.into(), &"Instance Unavailable".into()),
            "{told}"
        );
        assert!(!notes().contains("begun fast") && !notes().contains("begun patient"), "{python:?}: {}", notes());
        go("busy");
        until("the patient one runs", &|| notes().contains("begun patient 0 -"));
        asked(&storage, &["tasks", "run", "fast", "--queue", "slow"]);
        until("the other one runs", &|| notes().contains("begun fast 1 Instance Unavailable"));
    });
}

/// A service with two instances of its own.
fn worker(app: App) -> App {
    let yaml = std::fs::read_to_string(app.join("app.yaml")).expect("read");
    app.write("app.yaml", format!("service: worker\nmanual_scaling:\n  instances: 2\n{yaml}"));
    app
}

#[test]
fn h12_tasks_go_to_versions_services_and_instances() {
    on_both(|python| {
        let server = ServeNode::with(env!("CARGO_BIN_EXE_enginehouse"), ["--project", "demo", "--patience", "300"]);
        let main = app(python);
        let queues = main.join("queue.yaml");
        server.deploy("demo", &main, &["--version", "v1", queues.to_str().expect("UTF-8")]);
        server.deploy("demo", &main, &["--version", "v2", "--no-promote"]);
        server.deploy("demo", &worker(app(python)), &["--version", "w1"]);
        let host = "demo.local.r.localhost";
        let add = |at: &str, name: &str, more: &str| {
            let expression = format!("taskqueue.add(url='/work', method='GET', name='{name}'{more}) and None");
            assert_eq!(server.get(at, &path(&expression)).expect(200).text(), "None", "{python:?} {name}");
        };
        add(host, "plain", "");
        add(host, "version", ", target='v2'");
        add(host, "service", ", target='worker'");
        add(host, "version-of-service", ", target='w1.worker'");
        add(host, "instance-0", ", target='0.w1.worker'");
        add(host, "instance-1", ", target='1.w1.worker'");
        add(host, "nobody", ", target='v9'");
        // The queue's target goes before the task's; what is not there is the default service's.
        add(host, "queue", ", queue_name='named', target='worker'");
        add(&format!("v2.{host}"), "from-v2", "");
        add(&format!("worker.{host}"), "from-worker", "");
        let text = server.eventually(host, "/seen", |answer| answer.json().as_array().is_some_and(|seen| seen.len() == 10)).text();
        let seen: Vec<Value> = serde_json::from_str(&text).expect("JSON");
        let ran = |name: &str| {
            let one = seen.iter().find(|one| one["HTTP_X_APPENGINE_TASKNAME"] == name).unwrap_or_else(|| panic!("{name}: {text}"));
            ["service", "version", "instance"].map(|part| one[part].as_str().unwrap_or_default().to_owned())
        };
        for (name, service, version) in [
            ("plain", "default", "v1"),
            ("version", "default", "v2"),
            ("service", "worker", "w1"),
            ("version-of-service", "worker", "w1"),
            ("instance-0", "worker", "w1"),
            ("instance-1", "worker", "w1"),
            ("nobody", "default", "v1"),
            ("queue", "default", "v1"),
            ("from-v2", "default", "v2"),
            ("from-worker", "worker", "w1"),
        ] {
            assert_eq!(ran(name)[..2], [service, version], "{python:?}: {name}");
        }
        assert_eq!([&ran("instance-0")[2], &ran("instance-1")[2]], ["0", "1"], "{python:?}: {text}");
    });
}
