//! `run --test-mode` and `dev-appserver`: test programs outside call services, and test suites start the server themselves (row M4).

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use testkit::{App, Connection, Node, Request, Response};

use crate::{node, workspace};

/// An app that needs no interpreter.
fn app() -> App {
    App::with_yaml("runtime: python27\napi_version: 1\nthreadsafe: true\nhandlers:\n- url: /(.*)\n  static_files: \\1\n  upload: .*\n")
        .file("hello.txt", "hello\n")
}

/// Where test programs call.
pub(crate) fn api(node: &Node) -> SocketAddr {
    let ready: serde_json::Value = serde_json::from_slice(&fs::read(node.ready_file()).expect("a ready file")).expect("JSON");
    ready["api"].as_str().expect("an API address").trim_start_matches("http://").parse().expect("an address")
}

fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(bytes.len()).expect("short")], bytes].concat()
}

fn post(at: SocketAddr, path: &str, service: &str, method: &str, message: &[u8]) -> Response {
    let envelope = [field(2, service.as_bytes()), field(3, method.as_bytes()), field(4, message)].concat();
    let request = Request::new("POST", path).header("Content-Type", "application/octet-stream").body(envelope);
    Connection::open(at).send(&request).expect(200)
}

fn call(at: SocketAddr, service: &str, method: &str, message: &[u8]) -> Vec<u8> {
    post(at, "/rpc_http", service, method, message).body.clone()
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn m4_test_programs_call_without_a_ticket() {
    let node = node().app(&app()).arg("--test-mode").start();
    let at = api(&node);
    let set = [&[0x0b][..], &field(2, b"k"), &field(3, b"a value"), &[0x0c]].concat();
    let get = || call(at, "memcache", "Get", &field(1, b"k"));
    assert_eq!(call(at, "memcache", "Set", &set)[0], 0x0a, "an answer");
    assert!(contains(&get(), b"a value"));
    // The clock stands still, and goes on when a test says so
    call(at, "memcache", "SetClock", &[0x08, 0]);
    let expiring = [&[0x0b][..], &field(2, b"k"), &field(3, b"a value"), &[0x35, 10, 0, 0, 0, 0x0c]].concat();
    call(at, "memcache", "Set", &expiring);
    call(at, "memcache", "AdvanceClock", &[0x08, 0x8f, 0x4e]);
    assert!(contains(&get(), b"a value"), "9.999 seconds later");
    call(at, "memcache", "AdvanceClock", &[0x08, 1]);
    assert!(!contains(&get(), b"a value"));
    // One service forgets, then all
    call(at, "memcache", "Set", &set);
    Connection::open(at).send(&Request::get("/clear?stub=mail")).expect(200);
    assert!(contains(&get(), b"a value"));
    Connection::open(at).send(&Request::new("POST", "/clear").body("")).expect(200);
    assert!(!contains(&get(), b"a value"));
    let status = Connection::open(at).send(&Request::get("/_ah/status")).expect(200).json();
    assert_eq!(status["datastore_emulator_host"], "None");
    // The table of error codes and the hostile messages go by these cards.
    let there: std::collections::BTreeSet<&str> =
        status["services"].as_array().expect("a list").iter().filter_map(|name| name.as_str()).collect();
    assert_eq!(there, services::card::ALL.iter().map(|card| card.name).collect(), "every service that is served has a card");
}

#[test]
fn m4_remote_api_stub_of_python_2_hears_of_errors() {
    let node = node().app(&app()).args(["--test-mode", "-A", "shop"]).start();
    let at = api(&node);
    let hello = Connection::open(at).send(&Request::get("/?rtok=12'34")).expect(200).text();
    assert_eq!(hello, "{app_id: shop, rtok: '1234'}\n");
    let failed = post(at, "/", "search", "Search", b"").body.clone();
    assert!(contains(&failed, b"apiproxy_errors\nCapabilityDisabledError\n"), "{}", String::from_utf8_lossy(&failed));
    assert!(!contains(&call(at, "search", "Search", b""), b"apiproxy_errors"), "SDKs that know rpc_error get no pickle");
}

#[test]
fn m4_web_pages_cannot_call() {
    let node = node().app(&app()).arg("--test-mode").start();
    let at = api(&node);
    let page = Request::new("POST", "/clear").header("Origin", "http://evil.example").body("");
    Connection::open(at).send(&page).expect(403);
    let admin = node.admin().expect("an admin port");
    Connection::open(admin).send(&Request::get("/quit").header("Origin", "http://evil.example")).expect(404);
    Connection::open(admin).send(&Request::get("/quit").host("evil.example")).expect(403);
}

#[test]
fn m4_quit_ends_the_server_in_test_mode_alone() {
    let mut tested = node().app(&app()).arg("--test-mode").start();
    Connection::open(tested.admin().expect("an admin port")).send(&Request::get("/quit")).expect(200);
    assert!(tested.wait().success());
    let other = node().app(&app()).start();
    Connection::open(other.admin().expect("an admin port")).send(&Request::get("/quit")).expect(404);
}

#[test]
fn m4_an_app_that_cannot_be_prepared_does_not_end_a_test_server() {
    let broken = App::with_yaml("runtime: go122\n").file("main.go", "package main\nfunc main() { no }\n");
    let node = node().app(&broken).arg("--test-mode").start();
    node.wait_line("the warning", |line| line.contains("API calls are answered all the same"));
    assert!(!call(api(&node), "memcache", "Stats", b"").is_empty());
}

/// Debian's golang-google-appengine-dev, unmodified: `aetest` starts a `dev_appserver.py` with a Python, reads its stderr, and ends it by its admin port.
#[test]
fn m4_gos_aetest_runs_on_us() {
    let folder = tempfile::tempdir().expect("a folder");
    let package = folder.path().join("src/aet");
    fs::create_dir_all(&package).expect("a folder");
    fs::write(package.join("aet_test.go"), include_str!("go/aetest_test.go")).expect("written");
    script(&folder.path().join("python2.7"), "#!/bin/sh\nexec python3 \"$@\"\n");
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap_or_default());
    let output = Command::new("go")
        .args(["test", "-count=1", "-v", "."])
        .current_dir(&package)
        .env("PATH", path)
        .env("GO111MODULE", "off")
        .env("GOPATH", format!("{}:/usr/share/gocode", folder.path().display()))
        .env("GOCACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("go"))
        .env("ENGINEHOUSE", env!("CARGO_BIN_EXE_enginehouse"))
        .env("APPENGINE_DEV_APPSERVER", workspace().join("packaging/dev_appserver.py"))
        .env("XDG_STATE_HOME", folder.path().join("state"))
        .env("XDG_CACHE_HOME", node().cache())
        .output()
        .expect("Go runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("--- PASS: TestServices") && text.contains("--- PASS: TestTwoAtOnce"), "{text}");
}

fn script(file: &Path, text: &str) {
    fs::write(file, text).expect("written");
    fs::set_permissions(file, fs::Permissions::from_mode(0o755)).expect("executable");
}
