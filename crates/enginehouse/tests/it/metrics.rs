//! The admin port: metrics, health, and who may read them.

use testkit::http1::{Connection, Request, Response};
use testkit::{App, Node, Python};

use crate::apps::{app, static_only};
use crate::{command, node};

const MAIN: &str = "def app(environ, start_response):\n    status = (environ['QUERY_STRING'] or '200') + ' Fine'\n    start_response(status, [])\n    return [b'hello']\n";

fn both() -> App {
    app(Python::Three, "", MAIN)
}

fn ask(node: &Node, request: &Request) -> Response {
    Connection::open(node.admin().expect("an admin port")).send(request)
}

fn metrics(node: &Node) -> String {
    ask(node, &Request::get("/metrics")).expect(200).text()
}

/// The value of the series of this name whose labels hold all of `labels`.
fn value(page: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let line = page.lines().find(|line| {
        let rest = line.strip_prefix(name).unwrap_or("x");
        rest.starts_with(['{', ' ']) && labels.iter().all(|label| rest.contains(label))
    })?;
    line.rsplit(' ').next()?.parse().ok()
}

/// Waits until the series has the value: a request is counted when its last byte is out.
#[track_caller]
fn wait(node: &Node, name: &str, labels: &[&str], wanted: f64) -> String {
    let until = std::time::Instant::now() + testkit::DEADLINE;
    loop {
        let page = metrics(node);
        if value(&page, name, labels).is_some_and(|found| (found - wanted).abs() < 0.5) {
            return page;
        }
        assert!(std::time::Instant::now() < until, "{name} {labels:?} is never {wanted}:\n{page}");
        std::thread::park_timeout(std::time::Duration::from_millis(5));
    }
}

#[test]
fn requests_and_instances_are_counted() {
    let node = node().app(&both()).start();
    for _ in 0..3 {
        node.get("/some/path").expect(200);
    }
    node.get("/?418");
    let handler = r#"handler="/.*""#;
    wait(&node, "enginehouse_requests_total", &[r#"service="default""#, handler, r#"class="2xx""#], 3.0);
    let page = wait(&node, "enginehouse_request_duration_seconds_count", &[handler], 4.0);
    assert!(value(&page, "enginehouse_cold_requests_total", &[r#"version="dev""#]) == Some(1.0), "{page}");
    assert_eq!(value(&page, "enginehouse_pending_seconds_count", &[]), Some(4.0));
    assert_eq!(value(&page, "enginehouse_instance_starts_total", &[]), Some(1.0));
    assert_eq!(value(&page, "enginehouse_instance_start_seconds_count", &[]), Some(1.0));
    assert_eq!(value(&page, "enginehouse_instances", &[r#"state="idle""#]), Some(1.0));
    assert_eq!(value(&page, "enginehouse_log_lost_total", &[r#"where="disk""#]), Some(0.0));
    assert!(value(&page, "process_resident_memory_bytes", &[]).is_some_and(|bytes| bytes > 1e6));
    assert!(!page.contains("/some/path"), "paths make no series");
}

#[test]
fn requests_are_counted_even_if_nobody_wants_them_logged() {
    let app = static_only("- url: /a\n  static_files: a.txt\n  upload: a\\.txt\n").file("a.txt", "hello");
    let node = node().app(&app).arg("-qq").start();
    node.get("/a").expect(200);
    node.get("/b").expect(404);
    wait(&node, "enginehouse_requests_total", &[r#"handler="/a""#, r#"class="2xx""#], 1.0);
    wait(&node, "enginehouse_requests_total", &[r#"handler="none""#, r#"class="4xx""#], 1.0);
}

#[test]
fn health_tells_versions_and_states() {
    let node = node().app(&both()).start();
    node.get("/").expect(200);
    let health = ask(&node, &Request::get("/healthz")).expect(200).json();
    assert_eq!(health["status"], "serving", "{health}");
    let version = &health["versions"][0];
    assert_eq!((version["service"].as_str(), version["version"].as_str()), (Some("default"), Some("dev")), "{health}");
    assert_eq!(version["instances"]["idle"], 1, "{health}");
}

#[test]
fn only_localhost_may_read_and_nobody_may_change() {
    let node = node().app(&both()).start();
    let refused = ask(&node, &Request::get("/metrics").host("evil.example")).expect(403);
    assert!(!refused.text().contains("enginehouse_"));
    assert_eq!(ask(&node, &Request::post("/metrics", "")).expect(405).header("allow"), Some("GET, HEAD"));
    ask(&node, &Request::get("/nothing")).expect(404);
    assert!(node.admin().expect("there").ip().is_loopback());
}

#[test]
fn the_admin_port_can_be_chosen_or_closed() {
    let app = static_only("- url: /a\n  static_files: a.txt\n  upload: a\\.txt\n").file("a.txt", "hello");
    assert_eq!(node().app(&app).args(["--admin-port", "off"]).start().admin(), None);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let refused = command(["run", app.path().to_str().expect("UTF-8"), "--port", "0", "--admin-port", &port]);
    assert!(refused.code == Some(1) && refused.stderr.contains("--admin-port"), "{refused:?}");
}
