//! Apps on a server: deployed, addressed by their host names, apart from each other.

use serde_json::json;
use testkit::{Python, ServeNode};

use super::{shop, telling};

#[test]
fn h14_two_projects_live_side_by_side() {
    let server = ServeNode::with(env!("CARGO_BIN_EXE_enginehouse"), ["--project", "shop", "--project", "blog"]);
    server.deploy("shop", &telling(Python::Three, "", "shop"), &["--version", "v1"]);
    server.deploy("blog", &telling(Python::Two, "", "blog"), &["--version", "w1"]);
    for (host, said) in [
        ("shop.local.r.localhost", "shop v1"),
        ("shop.localhost", "shop v1"),
        ("default-dot-shop.local.r.localhost", "shop v1"),
        ("v1-dot-default-dot-shop.local.r.localhost", "shop v1"),
        ("v1-dot-shop.localhost", "shop v1"),
        ("blog.local.r.localhost", "blog w1"),
        ("w1.default.blog.localhost", "blog w1"),
    ] {
        let answer = server.get(host, "/").expect(200);
        assert_eq!(answer.text(), said, "{host}");
        assert_eq!(answer.header("server"), Some("Enginehouse"), "no word of development");
    }
    server.get("other.local.r.localhost", "/").expect(404);
    let metrics = server.api("GET", "/metrics", "").expect(200).text();
    for app in ["shop", "blog"] {
        assert!(metrics.contains(&format!("enginehouse_instance_starts_total{{app=\"{app}\"")), "{metrics}");
        assert!(server.data().join("apps").join(app).join("logs").is_dir(), "each app has a log of its own");
    }
}

#[test]
fn y31_an_instance_has_a_host_of_its_own() {
    let server = shop();
    server.deploy("shop", &telling(Python::Three, "manual_scaling:\n  instances: 2\n", "shop"), &["--version", "v1"]);
    for number in 0..2 {
        let answer = server.get(&format!("{number}-dot-v1-dot-default-dot-shop.local.r.localhost"), "/").expect(200);
        assert_eq!(answer.text(), "shop v1");
    }
    let instances = server.api("GET", "/v1/apps/shop/services/default/versions/v1/instances", "").expect(200).json();
    assert_eq!(instances["instances"].as_array().map(Vec::len), Some(2), "{instances}");
}

#[test]
fn t9_a_version_that_cannot_serve_changes_nothing() {
    let server = shop();
    server.deploy("shop", &telling(Python::Three, "", "good"), &["--version", "v1"]);
    let broken = crate::apps::app(Python::Three, "", "import nothing_of_this_name\n");
    let refused = server.try_deploy("shop", &broken, &["--version", "v2"]);
    assert_ne!(refused.code, Some(0));
    assert!(refused.stderr.contains("nothing_of_this_name"), "the app's own words: {}", refused.stderr);
    assert_eq!(server.get("shop.localhost", "/").expect(200).text(), "good v1");
    let found = server.api("GET", "/v1/apps/shop/services/default/versions/v2", "");
    assert_eq!(found.status, 404, "{}", found.text());
}

#[test]
fn versions_come_back_after_a_restart_and_are_prepared_when_they_are_needed() {
    let mut server = shop();
    server.deploy("shop", &telling(Python::Three, "", "shop"), &["--version", "v1"]);
    server.deploy("shop", &telling(Python::Three, "", "shop"), &["--version", "v2", "--no-promote"]);
    assert_eq!(server.node().stop().code(), Some(0));
    server.restart();
    assert!(server.node().children().len() < 2, "nobody has asked for anything yet");
    assert_eq!(server.get("shop.localhost", "/").expect(200).text(), "shop v1");
    assert_eq!(server.get("v2-dot-shop.localhost", "/").expect(200).text(), "shop v2");
    server.split("shop", "default", "IP", &json!({"v2": 1}));
    assert_eq!(server.get("shop.localhost", "/").expect(200).text(), "shop v2");
}
