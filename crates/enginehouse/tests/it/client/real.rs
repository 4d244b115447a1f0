//! The commands before the real server, with real apps.

use std::path::Path;

use serde_json::Value;
use testkit::{App, Finished, Python, ServeNode};

use super::ask;
use crate::apps::app;

/// A server with the app `shop`, and a home for commands.
struct Shop {
    server: ServeNode,
    home: tempfile::TempDir,
}

impl Shop {
    fn open() -> Self {
        let server = ServeNode::with(env!("CARGO_BIN_EXE_enginehouse"), ["--project", "shop"]);
        let home = tempfile::tempdir().expect("a folder");
        let remember = |key: &str, value: &str| {
            let done = ask(home.path(), "", &["config", "set", key, "-"], value);
            assert_eq!(done.code, Some(0), "{done:?}");
        };
        remember("server", &server.admin_url());
        remember("token", &server.owner_token());
        Self { server, home }
    }

    /// A command, whatever comes of it.
    fn ask(&self, args: &[&str]) -> Finished {
        ask(self.home.path(), "", args, "")
    }

    /// A command that succeeds; its standard output.
    #[track_caller]
    fn run(&self, args: &[&str]) -> String {
        let done = self.ask(args);
        assert_eq!(done.code, Some(0), "{args:?}: {done:?}");
        done.stdout
    }

    #[track_caller]
    fn deploy(&self, app: &App, more: &[&str]) -> Finished {
        let args: Vec<&str> = ["deploy", path(app.path()), "--quiet"].iter().chain(more).copied().collect();
        let done = self.ask(&args);
        assert_eq!(done.code, Some(0), "{done:?}");
        done
    }

    /// What a version of the default service says, or the service itself.
    fn says(&self, version: &str) -> String {
        let dot = if version.is_empty() { String::new() } else { format!("{version}-dot-") };
        self.server.get(&format!("{dot}shop.local.r.localhost"), "/").text()
    }

    fn versions(&self) -> String {
        self.run(&["versions", "list", "--format", "value(id,trafficAllocation,servingStatus)"])
    }
}

fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn saying(python: Python, text: &str) -> App {
    app(python, "", &main(text))
}

fn main(text: &str) -> String {
    format!("def app(environ, start):\n    start('200 OK', [('Content-Type', 'text/plain')])\n    return [b'{text}']\n")
}

#[test]
fn t9_an_app_is_deployed_changed_and_taken_back() {
    crate::on_both(|python| {
        let shop = Shop::open();
        let app = saying(python, "one").file("static/a.txt", "a");
        let first = shop.deploy(&app, &["--version", "v1"]);
        assert!(first.stderr.contains("3 files") && first.stderr.contains("v1 is ready"), "{}", first.stderr);
        let url = first.stdout.trim();
        assert_eq!(url, format!("http://shop.local.r.localhost:{}", shop.server.http().port()));
        assert_eq!(shop.says(""), "one");

        let same = shop.deploy(&app, &["--version", "v1-again", "--no-promote"]);
        assert!(same.stderr.contains("the server has all files"), "{}", same.stderr);
        assert!(same.stdout.contains("//v1-again-dot-shop."), "{}", same.stdout);

        app.write("main.py", main("two"));
        let changed = shop.deploy(&app, &["--version", "v2"]);
        assert!(changed.stderr.contains("1 file,") && changed.stderr.contains("all traffic of default to v2"), "{}", changed.stderr);
        assert_eq!((shop.says(""), shop.says("v1"), shop.says("v1-again")), ("two".into(), "one".into(), "one".into()));

        shop.run(&["traffic", "rollback", "--quiet"]);
        assert_eq!(shop.says(""), "one");
        assert_eq!(shop.versions(), "v1\t1.0\tSERVING\nv1-again\t0.0\tSERVING\nv2\t0.0\tSERVING\n");
    });
}

#[test]
fn t9_an_app_that_does_not_start_leaves_the_old_one_serving() {
    let shop = Shop::open();
    let app = saying(Python::Three, "fine");
    shop.deploy(&app, &["--version", "good"]);
    app.write("main.py", "import this_does_not_exist\n");
    let failed = shop.ask(&["deploy", path(app.path()), "--quiet", "--version", "bad"]);
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert!(failed.stderr.contains("this_does_not_exist") && failed.stderr.contains("goes on serving"), "{}", failed.stderr);
    assert_eq!(shop.says(""), "fine");
    assert_eq!(shop.versions(), "good\t1.0\tSERVING\n");
}

#[test]
fn t9_versions_services_and_instances_are_looked_after() {
    let shop = Shop::open();
    let manual = |text: &str| app(Python::Three, "manual_scaling:\n  instances: 1\n", &main(text));
    shop.deploy(&manual("one"), &["--version", "v1"]);
    shop.deploy(&manual("two"), &["--version", "v2"]);
    assert_eq!(shop.versions(), "v1\t0.0\tSTOPPED\nv2\t1.0\tSERVING\n", "the version before would run for nobody");
    let instances = shop.run(&["instances", "list", "--format", "value(version,id)"]);
    assert_eq!(instances, "v2\t0\n");
    shop.run(&["versions", "start", "v1", "-q"]);
    shop.run(&["traffic", "set", "v1=60", "v2=40", "--by", "cookie", "-q"]);
    let table = shop.run(&["traffic", "show"]);
    assert!(table.contains("v1          60 %  COOKIE") && table.contains("v2          40 %  COOKIE"), "{table}");
    let explained: Value = serde_json::from_str(&shop.run(&["traffic", "explain", "--cookie", "999", "--format", "json"])).expect("JSON");
    assert!(explained["version"].is_string() && explained["why"].is_string(), "{explained}");
    let refused = shop.ask(&["versions", "delete", "v1", "-q"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    shop.run(&["traffic", "set", "v2", "-q"]);
    shop.run(&["versions", "delete", "v1", "-q"]);
    assert_eq!(shop.versions(), "v2\t1.0\tSERVING\n");
    let missing = shop.ask(&["versions", "describe", "v1"]);
    assert_eq!(missing.code, Some(5), "{missing:?}");
    let operations = shop.run(&["operations", "list", "--format", "value(metadata.method,status)"]);
    assert!(operations.lines().any(|line| line == "google.appengine.v1.Versions.DeleteVersion\tDONE"), "{operations}");
    let audit = shop.run(&["audit", "--format", "value(action,target)"]);
    assert!(audit.contains("apps/shop/services/default"), "{audit}");
    let diff = shop.deploy(&saying(Python::Three, "three"), &["--version", "v3", "--no-promote"]);
    assert_eq!(diff.code, Some(0));
    let diff = shop.run(&["versions", "diff", "v2", "v3"]);
    assert!(diff.contains("manualScaling.instances") && diff.contains("main.py"), "{diff}");
}

#[test]
fn t6_tokens_may_do_what_their_role_says() {
    let shop = Shop::open();
    let secret = shop.run(&["token", "create", "guest", "--role", "viewer", "--app", "shop"]);
    let as_guest = |args: &[&str]| {
        let args: Vec<&str> = args.iter().copied().chain(["--token", secret.trim()]).collect();
        shop.ask(&args)
    };
    assert_eq!(as_guest(&["services", "list"]).code, Some(0));
    let app = saying(Python::Three, "never");
    let refused = as_guest(&["deploy", path(app.path()), "-q"]);
    assert_eq!(refused.code, Some(4), "{refused:?}");
    assert!(!refused.stderr.contains(secret.trim()), "{}", refused.stderr);
    let id = shop.run(&["token", "list", "--format", "value(id,name)"]);
    let id = id.lines().find_map(|line| line.strip_suffix("\tguest")).expect("the token is listed").to_owned();
    shop.run(&["token", "revoke", &id, "-q"]);
    assert_eq!(as_guest(&["services", "list"]).code, Some(4));
}

#[test]
fn t3_a_migration_is_held_and_ended() {
    let shop = Shop::open();
    let warm = |text: &str| app(Python::Three, "inbound_services:\n- warmup\n", &main(text));
    shop.deploy(&warm("one"), &["--version", "v1"]);
    shop.deploy(&warm("two"), &["--version", "v2", "--no-promote"]);
    let id = shop.run(&["traffic", "migrate", "v2", "--over", "3600", "--async", "-q"]);
    let pending = shop.run(&["operations", "list", "--pending", "--format", "value(id)"]);
    assert_eq!(pending, id);
    for step in ["pause", "resume", "abort"] {
        shop.run(&["traffic", step]);
    }
    let ended = shop.ask(&["operations", "wait", id.trim()]);
    assert_eq!(ended.code, Some(1), "an aborted migration did not do what it was told: {ended:?}");
    assert_eq!(shop.run(&["traffic", "show", "--format", "value(version,share)"]), "v1\t1.0\n");
}

#[test]
fn t9_firewall_and_domains_are_looked_after() {
    let shop = Shop::open();
    shop.run(&["firewall", "create", "100", "--action", "deny", "--source-range", "192.0.2.0/24", "--description", "noise", "-q"]);
    assert!(shop.run(&["firewall", "test", "192.0.2.7"]).contains("is turned away by the rule 100"));
    assert!(shop.run(&["firewall", "test", "198.51.100.1"]).contains("is let in by the rule 2147483647"));
    shop.run(&["firewall", "update", "default", "--description", "all others", "-q"]);
    shop.run(&["firewall", "delete", "100", "-q"]);
    assert_eq!(shop.run(&["firewall", "list", "--format", "value(priority,description)"]), "2147483647\tall others\n");
    shop.run(&["domains", "create", "shop.example.org", "--certificates", "manual", "-q"]);
    assert_eq!(shop.run(&["domains", "list", "--format", "value(id)"]), "shop.example.org\n");
    shop.run(&["domains", "delete", "shop.example.org", "-q"]);
    assert_eq!(shop.run(&["domains", "list", "--format", "value(id)"]), "");
}

#[test]
fn t9_configuration_of_the_app_is_deployed() {
    let shop = Shop::open();
    let app = saying(Python::Three, "one")
        .file("dispatch.yaml", "dispatch:\n- url: \"*/mobile/*\"\n  service: default\n")
        .file(
            "cron.yaml",
            "cron:\n- url: /a\n  schedule: every 24 hours\n- url: /b\n  schedule: every monday 09:00\n  timezone: Europe/Berlin\n",
        )
        .file("queue.yaml", "queue:\n- name: mail\n  rate: 5/s\n- name: slow\n  rate: 0/s\n")
        .file("index.yaml", "indexes:\n- kind: Cat\n  properties:\n  - name: name\n  - name: age\n    direction: desc\n");
    shop.deploy(&app, &["--version", "v1"]);
    let deploy = |name: &str| {
        let done = shop.ask(&["deploy", path(&app.join(name)), "-q"]);
        assert_eq!(done.code, Some(0), "{name}: {done:?}");
        done.stderr
    };
    assert!(deploy("dispatch.yaml").contains("1 rule in force"));
    assert!(shop.run(&["apps", "describe"]).contains("/mobile/*"));
    assert!(deploy("cron.yaml").contains("2 new, 0 removed, 0 as before"));
    assert!(deploy("cron.yaml").contains("0 new, 0 removed, 2 as before"));
    app.write("cron.yaml", "cron:\n- url: /a\n  schedule: every 24 hours\n");
    assert!(deploy("cron.yaml").contains("0 new, 1 removed, 1 as before"));
    assert!(deploy("queue.yaml").contains("3 queues in force"));
    assert!(deploy("queue.yaml").contains("3 queues in force"));
    assert!(deploy("index.yaml").contains("1 new, 0 as before"));
    assert!(deploy("index.yaml").contains("0 new, 1 as before"));
}

#[test]
fn s1_what_queue_yaml_says_is_carried_and_taken_back() {
    let shop = Shop::open();
    let whole = "total_storage_limit: 2M\nqueue:\n- name: mail\n  rate: 5/s\n  max_concurrent_requests: 3\n  target: v1\n  retry_parameters:\n    \
                 task_age_limit: 1d\n- name: pulled\n  mode: pull\n  acl:\n  - user_email: a@example.org\n  - writer_email: b@example.org\n";
    let app = saying(Python::Three, "one").file("queue.yaml", whole);
    shop.deploy(&app, &["--version", "v1"]);
    let deploy = || {
        let done = shop.ask(&["deploy", path(&app.join("queue.yaml")), "-q"]);
        assert_eq!(done.code, Some(0), "{done:?}");
    };
    let told = |queue: &str| shop.server.done("GET", &format!("/enginehouse/v1/apps/shop/queues{queue}"), "");
    deploy();
    assert_eq!(told("")["storageLimitBytes"], (2 << 20).to_string());
    let mail = told("/mail");
    assert_eq!(
        (&mail["target"], &mail["maxConcurrentRequests"], &mail["retry"]["taskAgeLimitSeconds"]),
        (&"v1".into(), &3.into(), &86_400.into())
    );
    let access = serde_json::json!([{"email": "a@example.org", "writer": false}, {"email": "b@example.org", "writer": true}]);
    assert_eq!(told("/pulled")["access"], access);
    // Somebody pauses a queue; the file says whether deploying resumes it.
    shop.run(&["queues", "pause", "mail"]);
    app.write("queue.yaml", format!("resume_paused_queues: false\n{whole}"));
    deploy();
    assert_eq!(told("/mail")["state"], "PAUSED");
    app.write("queue.yaml", "queue:\n- name: mail\n  rate: 5/s\n- name: pulled\n  mode: pull\n");
    deploy();
    let mail = told("/mail");
    assert_eq!((&mail["state"], mail.get("target"), mail["retry"].get("taskAgeLimitSeconds")), (&"RUNNING".into(), None, None), "{mail}");
    assert_eq!((mail.get("maxConcurrentRequests"), told("/pulled").get("access")), (None, None));
    assert_eq!(told("")["storageLimitBytes"], (100_u64 << 30).to_string());
}

#[test]
fn t9_an_app_that_does_not_exist_is_made() {
    let shop = Shop::open();
    let app = saying(Python::Three, "new");
    shop.deploy(&app, &["--project", "other", "--version", "v1"]);
    assert_eq!(shop.server.get("other.local.r.localhost", "/").text(), "new");
    let apps = shop.run(&["apps", "list", "--format", "value(id)"]);
    assert_eq!(apps, "other\nshop\n");
    let which = shop.ask(&["services", "list"]);
    assert_eq!(which.code, Some(2), "with two apps nothing is guessed: {which:?}");
    assert!(which.stderr.contains("other, shop"), "{}", which.stderr);
}
