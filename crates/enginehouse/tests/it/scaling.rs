//! Instances come and go by the scaling blocks of app.yaml (rows Y29, Y30, Y31), through the real server.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};

use testkit::{App, DEADLINE, Node, Python, Request};

use crate::apps::app;
use crate::{node, on_both, serve};

/// `/slow?PORT` tells the test behind the port which process has the request, and waits for a line from it. Everything else answers with the
/// process and the instance at once.
const SLOW: &str = r"
import binascii
import os
import socket

# Process numbers are the sandbox's own.
PROCESS = binascii.hexlify(os.urandom(8)).decode('ascii')


def app(environ, start_response):
    name = os.environ.get('GAE_INSTANCE') or os.environ.get('INSTANCE_ID')
    text = '%s %s' % (PROCESS, name)
    if environ['PATH_INFO'] == '/slow':
        behind = socket.create_connection(('127.0.0.1', int(environ['QUERY_STRING'])))
        behind.sendall(text.encode('ascii') + b'\n')
        behind.recv(1)
        behind.close()
    start_response('200 OK', [('X-Path', environ['PATH_INFO'])])
    return [text.encode('ascii')]
";

/// What stands behind an app's slow requests.
struct Behind(TcpListener);

/// A request that an instance has.
struct Held {
    stream: TcpStream,
    process: String,
}

impl Behind {
    fn new() -> Self {
        Self(TcpListener::bind(("127.0.0.1", 0)).expect("a port"))
    }

    fn target(&self) -> String {
        format!("/slow?{}", self.0.local_addr().expect("bound").port())
    }

    /// Waits until an instance has one more request.
    fn next(&self) -> Held {
        let (stream, _) = self.0.accept().expect("an instance connects");
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        let mut process = String::new();
        BufReader::new(&stream).read_line(&mut process).expect("it says who it is");
        Held { stream, process: process.trim().to_owned() }
    }
}

impl Held {
    fn release(mut self) {
        self.stream.write_all(b".").expect("it still waits");
    }
}

/// The process and the instance that answer.
#[track_caller]
fn who(node: &Node, host: &str) -> (String, String) {
    let text = node.send(&Request::get("/").host(host)).expect(200).text();
    let (process, instance) = text.split_once(' ').expect("two words");
    (process.to_owned(), instance.to_owned())
}

fn message(line: &str) -> Option<String> {
    let entry: serde_json::Value = serde_json::from_str(line).ok()?;
    Some(entry["message"].as_str()?.to_owned())
}

/// Waits for a notice with all these words.
#[track_caller]
fn notice(node: &Node, words: &[&str]) -> String {
    let found = |line: &str| message(line).filter(|text| words.iter().all(|word| text.contains(word)));
    let line = node.wait_line(&words.join(" … "), |line| found(line).is_some());
    message(&line).expect("found before")
}

#[test]
fn y29_concurrent_requests_start_instances_up_to_max_instances() {
    on_both(|python| {
        let scaling = "automatic_scaling:\n  max_instances: 2\n  max_concurrent_requests: 2\n  min_pending_latency: 10ms";
        let node = serve(&app(python, scaling, SLOW));
        let behind = Behind::new();
        std::thread::scope(|scope| {
            let asking: Vec<_> = (0..5).map(|_| scope.spawn(|| node.get(&behind.target()).expect(200).text())).collect();
            let held: Vec<Held> = (0..4).map(|_| behind.next()).collect();
            let mut load: BTreeMap<&str, u32> = BTreeMap::new();
            for one in &held {
                *load.entry(&one.process).or_default() += 1;
            }
            assert_eq!(load.values().collect::<Vec<_>>(), [&2, &2], "two instances with two requests each: {load:?}");
            notice(&node, &["starts: a request waits and no instance runs"]);
            notice(&node, &["no instance more is started", "max_instances 2 is reached"]);
            held.into_iter().for_each(Held::release);
            // The fifth waited for a free instance.
            behind.next().release();
            let answers: BTreeSet<String> = asking.into_iter().map(|one| one.join().expect("answered")).collect();
            assert_eq!(answers.len(), 2, "{answers:?}");
        });
        let starts = node.everything().lines().filter_map(message).filter(|text| text.contains(" starts: ")).count();
        assert_eq!(starts, 2, "{}", node.everything());
    });
}

#[test]
fn y29_a_request_that_finds_no_instance_in_time_is_over_quota() {
    let scaling = "automatic_scaling:\n  max_instances: 1\n  max_concurrent_requests: 1";
    let node = node().app(&app(Python::Three, scaling, SLOW)).args(["--patience", "0.3"]).start();
    // Loaded, so that patience is spent on waiting for room alone.
    node.eventually(&Request::get("/"), |answer| answer.status == 200);
    let behind = Behind::new();
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| node.get(&behind.target()).expect(200));
        let held = behind.next();
        node.get("/").expect(503);
        held.release();
        asking.join().expect("answered");
    });
    node.get("/").expect(200);
}

#[test]
fn y29_min_instances_run_before_anybody_asks() {
    on_both(|python| {
        let node = serve(&app(python, "automatic_scaling:\n  min_instances: 2\n  max_instances: 3", SLOW));
        notice(&node, &["starts: min_instances 2"]);
        wait_ready(&node, 2);
        // Equals take turns.
        let asked: BTreeSet<_> = (0..4).map(|_| who(&node, "localhost").0).collect();
        assert_eq!(asked.len(), 2, "{asked:?}");
    });
}

/// The instance that a line calls ready.
fn is_ready(line: &str) -> Option<String> {
    Some(message(line)?.strip_prefix("instance ")?.split_once(" is ready")?.0.to_owned())
}

/// The instances that were ready so far.
fn ready(node: &Node) -> Vec<String> {
    node.everything().lines().filter_map(is_ready).collect()
}

/// Waits until so many instances were ready since the start.
#[track_caller]
fn wait_ready(node: &Node, count: usize) {
    // Every line is looked at once.
    let seen = Cell::new(0);
    node.wait_line("enough instances", |line| {
        seen.set(seen.get() + usize::from(is_ready(line).is_some()));
        seen.get() >= count
    });
}

/// As `SLOW`, but computes while it waits.
const BUSY: &str = r"
def app(environ, start_response):
    import os, socket
    if environ['PATH_INFO'] == '/slow':
        behind = socket.create_connection(('127.0.0.1', int(environ['QUERY_STRING'])))
        behind.sendall(b'busy\n')
        behind.setblocking(False)
        waits = True
        while waits:
            try:
                waits = len(behind.recv(1)) == 0
            except (IOError, OSError):
                pass
    start_response('200 OK', [])
    return [(os.environ.get('GAE_INSTANCE') or os.environ.get('INSTANCE_ID')).encode('ascii')]
";

#[test]
fn y29_cpu_above_its_target_starts_an_instance() {
    on_both(|python| {
        // Neither concurrency nor waiting can be the reason.
        let scaling = "automatic_scaling:\n  target_cpu_utilization: 0.5\n  max_instances: 2\n  max_concurrent_requests: 10\n  \
                       target_throughput_utilization: 0.95\n  min_pending_latency: 15s\n  max_pending_latency: 15s";
        let node = serve(&app(python, scaling, BUSY));
        let first = node.get("/").expect(200).text();
        let behind = Behind::new();
        std::thread::scope(|scope| {
            let asking: Vec<_> = (0..2).map(|_| scope.spawn(|| node.get(&behind.target()).expect(200).text())).collect();
            let held: Vec<Held> = (0..2).map(|_| behind.next()).collect();
            notice(&node, &[" starts: CPU ", ">= target_cpu_utilization 50 %"]);
            wait_ready(&node, 2);
            // The new one is not asked for what the old one has, but for what comes; not while the old one gets so little of a shared computer that it
            // is below its target.
            node.eventually(&Request::get("/"), |answer| answer.text() != first);
            held.into_iter().for_each(Held::release);
            for one in asking {
                assert_eq!(one.join().expect("answered"), first);
            }
        });
    });
}

/// A Node.js server that answers with its instance; `/slow?PORT` waits for who is behind the port.
const SERVER: &str = r"
const net = require('net');
require('http').createServer((request, response) => {
  const url = new URL(request.url, 'http://x');
  const text = process.env.GAE_INSTANCE;
  if (url.pathname !== '/slow') return response.end(text);
  const behind = net.connect(Number(url.search.slice(1)), '127.0.0.1', () => behind.write(text + '\n'));
  behind.on('data', () => { behind.destroy(); response.end(text); });
}).listen(process.env.PORT);
";

#[test]
fn y29_idle_instances_of_a_server_of_its_own_wait_ahead_of_the_load() {
    let yaml = "runtime: nodejs22\nautomatic_scaling:\n  min_idle_instances: 1\n  max_instances: 3\n  max_concurrent_requests: 1\n";
    let node = serve(&App::with_yaml(yaml).file("server.js", SERVER));
    notice(&node, &["starts: min_idle_instances 1, and 0 of 0 are idle"]);
    wait_ready(&node, 1);
    let behind = Behind::new();
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| node.get(&behind.target()).expect(200).text());
        let held = behind.next();
        // The idle one is taken: another starts, although nobody waits for it.
        notice(&node, &["starts: min_idle_instances 1, and 0 of 1 are idle"]);
        wait_ready(&node, 2);
        // It is there before its request.
        let spare = node.get("/").expect(200).text();
        held.release();
        assert_ne!(asking.join().expect("answered"), spare);
    });
}

#[test]
fn y29_max_instances_of_the_command_line_bounds_what_the_file_does_not() {
    let scaling = "automatic_scaling:\n  max_concurrent_requests: 1\n  min_pending_latency: 10ms";
    let node = node().app(&app(Python::Three, scaling, SLOW)).args(["--max-instances", "1"]).start();
    let behind = Behind::new();
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..2).map(|_| scope.spawn(|| node.get(&behind.target()).expect(200))).collect();
        let held = behind.next();
        notice(&node, &["no instance more is started", "limit of this computer", "--max-instances"]);
        held.release();
        behind.next().release();
        for one in asking {
            drop(one.join().expect("answered"));
        }
    });
    assert_eq!(ready(&node).len(), 1);
}

#[test]
fn y30_basic_instances_start_on_demand_and_stop_when_idle() {
    on_both(|python| {
        let node = serve(&app(python, "basic_scaling:\n  max_instances: 2\n  idle_timeout: 1s", SLOW));
        assert_eq!(who(&node, "localhost").1, "0");
        notice(&node, &["instance 0 starts: 1 request waits and no instance has room"]);
        // Addressed by number, it starts although 0 has room.
        let (first, number) = who(&node, "1.localhost");
        assert_eq!(number, "1");
        notice(&node, &["instance 1 starts: a request for instance 1 waits"]);
        notice(&node, &["instance 0 stops: idle for 1 s"]);
        notice(&node, &["instance 1 stops: idle for 1 s"]);
        // The number comes back with another process.
        let (second, number) = who(&node, "1.localhost");
        assert_eq!(number, "1");
        assert_ne!(first, second);
    });
}

#[test]
fn y31_manual_instances_run_from_the_start_and_are_addressed_by_number() {
    on_both(|python| {
        let files = App::new()
            .file("app.yaml", python.yaml(""))
            .file("main.py", SLOW)
            .file("api/app.yaml", python.yaml("service: api\nmanual_scaling:\n  instances: 3"))
            .file("api/main.py", SLOW);
        let node = node().file(&files, "app.yaml").file(&files, "api/app.yaml").start();
        wait_ready(&node, 3);
        assert_eq!(ready(&node).into_iter().collect::<BTreeSet<_>>(), BTreeSet::from(["0".into(), "1".into(), "2".into()]));
        notice(&node, &["instance 2 starts: manual_scaling, instances 3"]);
        let mut processes = BTreeSet::new();
        for number in 0..3 {
            let host = format!("{number}.api.localhost");
            let (process, instance) = who(&node, &host);
            assert_eq!(instance, number.to_string());
            assert_eq!(who(&node, &host).0, process, "the same one every time");
            assert_eq!(who(&node, &format!("{number}-dot-dev-dot-api.localhost")).0, process);
            processes.insert(process);
        }
        assert_eq!(processes.len(), 3);
        // Whoever names no number gets each in turn.
        let spread: BTreeSet<_> = (0..6).map(|_| who(&node, "api.localhost").0).collect();
        assert_eq!(spread, processes);
    });
}

#[test]
fn y31_an_instance_that_dies_comes_back_under_its_number() {
    on_both(|python| {
        let dies = SLOW.replace("    start_response", "    if environ['PATH_INFO'] == '/die':\n        os._exit(3)\n    start_response");
        let node = serve(&app(python, "manual_scaling:\n  instances: 2", &dies));
        wait_ready(&node, 2);
        let before = who(&node, "1.localhost").0;
        let other = who(&node, "0.localhost").0;
        let answer = node.send(&Request::new("POST", "/die").host("1.localhost"));
        assert!(answer.status >= 500, "{}", answer.status);
        notice(&node, &["instance 1 is gone"]);
        notice(&node, &["instance 1 starts: the one before it died"]);
        wait_ready(&node, 3);
        let (after, number) = who(&node, "1.localhost");
        assert_eq!(number, "1");
        assert_ne!(after, before);
        assert_eq!(who(&node, "0.localhost").0, other, "the others stay");
    });
}

#[test]
fn y22_an_instance_above_its_memory_finishes_and_is_replaced() {
    on_both(|python| {
        // A little more than the class has, and less than a fifth more, with what the instance has besides: little if it is forked.
        let (megabytes, limit) = if python == Python::Two { (132, "128 MB") } else { (405, "384 MiB") };
        let grows = SLOW.replace(
            "    start_response",
            &format!("    if environ['PATH_INFO'] == '/grow':\n        globals()['held'] = b'x' * ({megabytes} << 20)\n    start_response"),
        );
        let node = serve(&app(python, "automatic_scaling:\n  max_instances: 1", &grows));
        let (before, id) = who(&node, "localhost");
        assert!(node.get("/grow").expect(200).text().starts_with(&before), "the request is finished");
        let line = notice(&node, &["Exceeded soft memory limit of", "Consider setting a larger instance class in app.yaml."]);
        assert!(line.starts_with(&format!("instance {id}: Exceeded soft memory limit of {limit} with ")), "{line}");
        assert!(line.contains("after servicing 2 requests total"), "{line}");
        notice(&node, &[&format!("starts: instance {id} is replaced")]);
        notice(&node, &[&format!("instance {id} stops: soft memory limit")]);
        assert_ne!(who(&node, "localhost").0, before);
    });
}

#[test]
fn m1_an_automatic_instance_has_an_opaque_id_the_same_for_the_app_and_the_log() {
    on_both(|python| {
        let node = serve(&app(python, "", SLOW));
        let (_, id) = who(&node, "localhost");
        assert!(id.len() == 12 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
        notice(&node, &[&format!("instance {id} starts: ")]);
        assert_eq!(node.wait_request("/")["instance"], *id);
    });
}

#[test]
fn y29_the_reasons_are_in_the_text_log() {
    let node = node().app(&app(Python::Three, "automatic_scaling:\n  max_instances: 1", SLOW)).text_log().start();
    node.get("/").expect(200);
    let line = node.wait_line("the reason", |line| line.contains(" starts: "));
    assert!(line.contains("default/dev: instance ") && line.contains("a request waits and no instance runs"), "{line}");
}
