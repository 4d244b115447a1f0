//! Requests of the house's own: `/_ah/start`, `/_ah/warmup`, `/_ah/stop`.

use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use model::config::{InboundService, VersionConfig};
use model::handler::{Login, Secure};
use model::ids::InstanceId;
use model::pool::{Endpoint, Instance, Lifecycle};
use model::table::Version;

use crate::app::{self, end};
use crate::node::{Node, PATIENCE, config, files, options, script, table};

/// Asks an instance at `endpoint` for `what`.
fn call(node: &Node, config: VersionConfig, endpoint: Endpoint, what: Lifecycle, limit: Duration) -> Result<u16, String> {
    let version = Arc::new(Version::new(crate::node::app(), config, "/nowhere".into(), 1));
    let instance = Instance { serial: 77, id: InstanceId::Number(3), version: version.config.key.clone(), endpoint, door: None };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(node.running.caller().call(version, Arc::new(instance), what, limit))
}

fn node() -> Node {
    Node::files(options(), table(config("nodejs22", vec![script("/.*")]), Path::new("/nowhere")))
}

#[test]
fn y21_y30_y31_the_house_asks_as_an_internal_client() {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let (endpoint, _) = app::http(move |received, wire| {
        tell.lock().expect("unpoisoned").send(received.clone()).expect("told");
        wire.answer("204 No Content", "");
        true
    });
    let node = node();
    let guarded = vec![
        model::handler::Handler { login: Login::Required, secure: Secure::Always, ..script("/_ah/start") },
        files("/.*", "static"),
        script("/_ah/.*"),
    ];
    for (what, path) in [(Lifecycle::Start, "/_ah/start"), (Lifecycle::Warmup, "/_ah/warmup"), (Lifecycle::Stop, "/_ah/stop")] {
        assert_eq!(call(&node, config("nodejs22", guarded.clone()), endpoint.clone(), what, Duration::from_secs(90)), Ok(204));
        let received = told.recv_timeout(PATIENCE).expect("asked");
        assert_eq!(received.line, format!("GET {path} HTTP/1.1"));
        for (name, value) in [
            ("host", "v1.default.localhost"),
            ("x-appengine-user-ip", "0.1.0.3"),
            ("x-appengine-timeout-ms", "90000"),
            ("x-appengine-country", "ZZ"),
        ] {
            assert_eq!(received.header(name).as_deref(), Some(value), "{name}");
        }
        assert_eq!(received.header("content-length"), None);
    }
    let records = node.journal.wait(3);
    assert_eq!(records[0].target, "/_ah/start");
    assert_eq!(records[0].client.to_string(), "0.1.0.3");
    assert_eq!((records[0].status, &records[0].instance), (204, &Some(InstanceId::Number(3))));
    assert!(records[0].handler.is_some());
}

#[test]
fn y21_y30_y31_what_no_script_answers() {
    let (endpoint, connections) = app::http(|_, wire| {
        wire.answer("200 OK", "");
        true
    });
    let node = node();
    let only_files = || config("nodejs22", vec![files("/.*", "static"), script("/app")]);
    let ask = |config, what| call(&node, config, endpoint.clone(), what, PATIENCE);
    assert_eq!(ask(only_files(), Lifecycle::Stop), Ok(404));
    assert_eq!(connections.load(std::sync::atomic::Ordering::SeqCst), 0);
    // The process itself decides about `/_ah/start`, and about `/_ah/warmup` if the version asked for it.
    assert_eq!(ask(only_files(), Lifecycle::Start), Ok(200));
    assert_eq!(ask(only_files(), Lifecycle::Warmup), Ok(404));
    let mut warm = only_files();
    warm.inbound.insert(InboundService::Warmup);
    assert_eq!(ask(warm, Lifecycle::Warmup), Ok(200));
}

#[test]
fn y21_y30_y31_the_agent_is_told_what_is_asked() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let endpoint = app::agent(directory.path(), move |environ, agent| {
        tell.lock().expect("unpoisoned").send(environ.clone()).expect("told");
        agent.send(&[(b'L', b"1getting ready"), (b'H', b"200 OK\0Content-Type\0text/plain"), (b'D', b"ok"), (b'E', &end(0, ""))]);
        true
    });
    let node = node();
    for (what, kind) in [(Lifecycle::Start, "start"), (Lifecycle::Warmup, "warmup"), (Lifecycle::Stop, "stop")] {
        // Also without a handler: the agent stands in for it.
        assert_eq!(call(&node, config("python27", vec![script("/app")]), endpoint.clone(), what, PATIENCE), Ok(200));
        let environ = told.recv_timeout(PATIENCE).expect("asked");
        assert_eq!(environ.get("enginehouse.kind"), Some(kind));
        assert_eq!(environ.get("PATH_INFO"), Some(what.path()));
        assert_eq!(environ.get("REMOTE_ADDR"), Some("0.1.0.3"));
        assert_eq!(environ.get("HTTP_HOST"), Some("v1.default.localhost"));
        assert_eq!(environ.get("REQUEST_METHOD"), Some("GET"));
    }
    assert_eq!(node.journal.wait(3)[0].lines[0].1, "getting ready");
}

#[test]
fn y21_y30_y31_failures_are_told() {
    let node = node();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let endpoint = app::agent(directory.path(), |_, agent| {
        agent.send(&[(b'E', &end(1, "Traceback: boom"))]);
        true
    });
    let why = call(&node, config("python27", vec![script("/.*")]), endpoint, Lifecycle::Start, PATIENCE);
    assert_eq!(why, Err("Traceback: boom".into()));
    // Nobody answers within the limit.
    let (endpoint, _) = app::http(|_, wire| std::io::Read::read(&mut wire.reader, &mut [0; 1]).is_ok_and(|length| length > 0));
    let why = call(&node, config("nodejs22", vec![script("/.*")]), endpoint, Lifecycle::Warmup, Duration::from_millis(50));
    assert!(why.is_err_and(|why| why.contains("too long")));
    assert!(node.journal.wait(2).iter().all(|record| record.fault.is_some()));
}

#[test]
fn y30_y31_a_house_that_closes_still_says_goodbye() {
    let (endpoint, _) = app::http(|_, wire| {
        wire.answer("200 OK", "");
        true
    });
    let mut node = node();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(node.running.close(PATIENCE));
    assert!(std::net::TcpStream::connect(node.address).is_err(), "nobody listens any more");
    let stop = |node: &Node| call(node, config("nodejs22", vec![script("/.*")]), endpoint.clone(), Lifecycle::Stop, PATIENCE);
    assert_eq!(stop(&node), Ok(200));
    let caller = node.running.caller();
    drop(node.running);
    let version = Arc::new(Version::new(crate::node::app(), config("nodejs22", vec![script("/.*")]), "/nowhere".into(), 1));
    let instance = Instance { serial: 1, id: InstanceId::Number(0), version: version.config.key.clone(), endpoint, door: None };
    let late = runtime.block_on(caller.call(version, Arc::new(instance), Lifecycle::Stop, PATIENCE));
    assert!(late.is_err(), "{late:?}");
}
