//! Splits and migrations of a real server, with real instances behind.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use model::route::split::bucket_of_address;
use serde_json::{Value, json};
use testkit::http1::{Connection, Request, Response};
use testkit::{App, Python, ServeNode};

const HOST: &str = "shop.local.r.localhost";
const SERVICE: &str = "/v1/apps/shop/services/default";
const OWN: &str = "/enginehouse/v1/apps/shop/services/default";

/// A server that believes the tests about who asks.
fn trusting() -> ServeNode {
    ServeNode::with(env!("CARGO_BIN_EXE_enginehouse"), ["--project", "shop", "--trusted-proxy", "127.0.0.0/8"])
}

/// An app that can be warmed up, tells its version, and fails below `/fail` if it is `broken`.
fn app(broken: bool) -> App {
    let status = if broken { "500 Broken" } else { "200 OK" };
    let main = format!(
        "import os\n\n\ndef app(environ, start_response):\n    failing = environ['PATH_INFO'].startswith('/fail')\n    \
         start_response('{status}' if failing else '200 OK', [])\n    return [os.environ['GAE_VERSION'].encode()]\n"
    );
    crate::apps::app(Python::Three, "inbound_services:\n- warmup\n", &main)
}

fn ask(server: &ServeNode, address: IpAddr, target: &str) -> Response {
    Connection::open(server.http()).send(&Request::get(target).host(HOST).header("X-Forwarded-For", &address.to_string()))
}

fn version(server: &ServeNode, address: IpAddr) -> String {
    ask(server, address, "/").expect(200).text()
}

/// Addresses all over the buckets.
fn addresses() -> impl Iterator<Item = IpAddr> {
    (0..60_u32).map(|n| Ipv4Addr::from_bits(0xcb00_7100 + n * 77).into())
}

/// The first address in one of the last ten buckets, whose clients move first from one version to another.
fn first_mover() -> IpAddr {
    let mut all = (0_u32..).map(|n| IpAddr::from(Ipv4Addr::from_bits(0x0a00_0000 + n)));
    all.find(|address| bucket_of_address(*address) >= 990).expect("one of a thousand")
}

fn allocations(server: &ServeNode) -> Value {
    server.api("GET", SERVICE, "").expect(200).json()["split"]["allocations"].clone()
}

/// Begins to move everything to `v2`; the operation.
fn migrate(server: &ServeNode, further: &str) -> Value {
    let body = json!({"split": {"shardBy": "IP", "allocations": {"v2": 1}}}).to_string();
    server.api("PATCH", &format!("{SERVICE}?updateMask=split&migrateTraffic=true{further}"), &body).expect(200).json()
}

/// Waits until the service's split gives something to `v2`.
fn until_moving(server: &ServeNode) {
    let mover = first_mover();
    let request = Request::get("/").host(HOST).header("X-Forwarded-For", &mover.to_string());
    let until = std::time::Instant::now() + testkit::DEADLINE;
    while Connection::open(server.http()).send(&request).expect(200).text() != "v2" {
        assert!(std::time::Instant::now() < until, "nothing moves: {}", allocations(server));
    }
}

#[test]
fn t4_t10_clients_keep_their_version_over_changes_and_restarts() {
    let mut server = trusting();
    for version in ["v1", "v2"] {
        server.deploy("shop", &app(false), &["--version", version]);
    }
    server.split("shop", "default", "IP", &json!({"v1": 0.6, "v2": 0.4}));
    let first: BTreeMap<IpAddr, String> = addresses().map(|address| (address, version(&server, address))).collect();
    for (address, got) in &first {
        let told = server.api("GET", &format!("{OWN}/traffic:explain?ip={address}"), "").expect(200).json();
        assert_eq!(
            (told["version"].as_str(), told["bucket"].as_u64()),
            (Some(got.as_str()), Some(bucket_of_address(*address).into())),
            "{told}"
        );
    }
    server.split("shop", "default", "IP", &json!({"v1": 0.3, "v2": 0.7}));
    let second: BTreeMap<IpAddr, String> = addresses().map(|address| (address, version(&server, address))).collect();
    for (address, was) in &first {
        assert!(was == "v1" || second[address] == "v2", "{address} left a version that only gained");
    }
    assert!(first != second);
    // The buckets are not those of a fresh 30/70 split: they are remembered.
    server.kill();
    server.restart();
    server.eventually(HOST, "/", |answer| answer.status == 200);
    for (address, was) in &second {
        assert_eq!(version(&server, *address), *was, "{address}");
    }
    // Hosts that name a version are not asked (T5), and set no cookie.
    server.split("shop", "default", "COOKIE", &json!({"v1": 0.5, "v2": 0.5}));
    let named = server.get(&format!("v1-dot-{HOST}"), "/").expect(200);
    assert_eq!((named.text().as_str(), named.header("set-cookie")), ("v1", None));
    let drawn = server.get(HOST, "/").expect(200);
    let bucket = drawn.header("set-cookie").and_then(|cookie| cookie.strip_prefix("GOOGAPPUID=")?.split(';').next()).expect("a cookie");
    let told = server.api("GET", &format!("{OWN}/traffic:explain?cookie={bucket}"), "").expect(200).json();
    assert_eq!(told["version"].as_str(), Some(drawn.text().as_str()), "{told}");
    let again = Request::get("/").host(HOST).header("Cookie", &format!("GOOGAPPUID={bucket}"));
    assert_eq!(Connection::open(server.http()).send(&again).expect(200).text(), drawn.text());
}

#[test]
fn t3_a_guard_brings_traffic_back_from_a_version_that_fails() {
    let server = trusting();
    server.deploy("shop", &app(false), &["--version", "v1"]);
    server.deploy("shop", &app(true), &["--version", "v2", "--no-promote"]);
    let operation = migrate(&server, "&migrateOver=3600s&abortIf=error-rate%3E1%25");
    until_moving(&server);
    let (unhappy, happy) = (first_mover(), addresses().find(|address| bucket_of_address(*address) < 500).expect("one"));
    for _ in 0..20 {
        ask(&server, unhappy, "/fail").expect(500);
        ask(&server, happy, "/fail").expect(200);
    }
    let ended = server.ended(operation);
    let why = ended["error"]["message"].as_str().unwrap_or_default();
    assert!(why.contains("exceeds error-rate>1%; beside it the old version had 0.0 % (0 of "), "{ended}");
    assert_eq!(allocations(&server), json!({"v1": 1}));
    ask(&server, unhappy, "/fail").expect(200);
}

#[test]
fn t3_a_migration_is_paused_resumed_and_aborted() {
    let mut server = trusting();
    server.deploy("shop", &app(false), &["--version", "v1"]);
    server.deploy("shop", &app(false), &["--version", "v2", "--no-promote"]);
    let operation = migrate(&server, "&migrateOver=3600s");
    until_moving(&server);
    assert_eq!(allocations(&server), json!({"v1": 0.99, "v2": 0.01}));
    for order in ["pause", "resume", "pause"] {
        server.api("POST", &format!("{OWN}/migration:{order}"), "").expect(200);
    }
    // A restart goes on with the step that it was at, paused as it was.
    server.kill();
    server.restart();
    server.eventually(HOST, "/", |answer| answer.status == 200);
    assert_eq!(allocations(&server), json!({"v1": 0.99, "v2": 0.01}));
    server.api("POST", &format!("{OWN}/migration:abort"), "").expect(200);
    let ended = server.ended(operation);
    assert!(ended["error"]["message"].as_str().is_some_and(|why| why.contains("aborted")), "{ended}");
    assert_eq!(allocations(&server), json!({"v1": 1}));
}

#[test]
fn t3_what_a_migration_needs_is_told() {
    let server = trusting();
    server.deploy("shop", &app(false), &["--version", "v1"]);
    server.deploy(
        "shop",
        &crate::apps::app(Python::Three, "", "def app(environ, start_response):\n    start_response('200 OK', [])\n    return []\n"),
        &["--version", "cold", "--no-promote"],
    );
    let patch = |split: Value| {
        let answer = server.api("PATCH", &format!("{SERVICE}?updateMask=split&migrateTraffic=true"), &json!({"split": split}).to_string());
        (answer.status, answer.text())
    };
    for (split, want) in [
        (json!({"allocations": {"v1": 1}}), "shardBy"),
        (json!({"shardBy": "IP", "allocations": {"v1": 0.5, "cold": 0.5}}), "exactly one version"),
        (json!({"shardBy": "IP", "allocations": {"cold": 1}}), "warmup requests are not enabled"),
    ] {
        let (status, text) = patch(split);
        assert!(status == 400 && text.contains(want), "{status} {text}");
    }
    assert_eq!(allocations(&server), json!({"v1": 1}));
}
