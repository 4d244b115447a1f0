//! The log of an app: kept on disk, read while it runs and afterwards, bounded, structured.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use testkit::http1::Request;
use testkit::{App, Finished, Node, Python};

use crate::apps::{app, static_only};
use crate::{command, node};

/// Prints what its query says, plainly or as a structured line of the request's own trace.
const TALKER: &str = r"
import json, os, sys

def app(environ, start_response):
    path = environ['PATH_INFO']
    trace = environ.get('HTTP_X_CLOUD_TRACE_CONTEXT', '').split('/')[0]
    if path == '/plain':
        os.write(1, b'plain words \x1b[2J\xff\n')
    elif path == '/structured':
        line = {'severity': 'NOTICE', 'message': 'structured words', 'user': 'ann',
                'logging.googleapis.com/trace': 'projects/demo/traces/' + trace}
        os.write(1, (json.dumps(line) + '\n').encode())
    elif path == '/flood':
        os.write(1, b'noise of an app that has lost its mind\n' * 400000 + b'the end\n')
    elif path == '/logged':
        sys.stderr.write('said within the request\n')
    start_response('200 OK', [('Set-Cookie', 'secret=biscuit')])
    return [environ.get('HTTP_X_APPENGINE_REQUEST_LOG_ID', '').encode()]
";

fn talker() -> App {
    app(Python::Three, "", TALKER)
}

fn storage(node: &Node) -> PathBuf {
    node.home().join("state/enginehouse/demo")
}

#[track_caller]
fn read(node: &Node, args: &[&str]) -> Vec<Value> {
    let finished = finished(node, &[args, &["--format", "json"]].concat());
    assert_eq!(finished.code, Some(0), "{finished:?}");
    finished.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn finished(node: &Node, args: &[&str]) -> Finished {
    let storage = storage(node);
    command([&["logs", "--storage", storage.to_str().expect("UTF-8")], args].concat())
}

/// Waits until the log on disk holds an entry like this.
#[track_caller]
fn wait(node: &Node, args: &[&str], wanted: impl Fn(&Value) -> bool) -> Value {
    let until = std::time::Instant::now() + testkit::DEADLINE;
    loop {
        let found = read(node, args);
        if let Some(entry) = found.iter().find(|entry| wanted(entry)) {
            return entry.clone();
        }
        assert!(std::time::Instant::now() < until, "never there, only {found:?}\n{}", node.everything());
        std::thread::park_timeout(std::time::Duration::from_millis(5));
    }
}

#[test]
fn h10_requests_are_found_by_their_log_id_with_the_lines_of_their_trace() {
    let node = node().app(&talker()).start();
    let id = node.get("/structured").expect(200).text();
    node.get("/logged").expect(200);
    wait(&node, &[], |entry| entry["target"] == "/logged");
    let line = wait(&node, &[], |entry| entry["message"] == "structured words");
    assert_eq!((line["severity"].as_str(), line["stream"].as_str()), (Some("NOTICE"), Some("stdout")));
    assert_eq!(line["fields"], serde_json::json!({"user": "ann"}));
    let found = read(&node, &["--request", &id]);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().any(|entry| entry["type"] == "request" && entry["log_id"] == id.as_str() && entry["trace"] == line["trace"]));
    assert!(found.iter().any(|entry| entry["message"] == "structured words"));
    let logged = read(&node, &[]).into_iter().find(|entry| entry["target"] == "/logged").expect("there");
    assert_eq!(logged["lines"][0]["message"], "said within the request");
}

#[test]
fn the_log_outlives_the_run_and_goes_on_with_the_next() {
    let home = tempfile::tempdir().expect("folder");
    let storage = home.path().join("storage");
    let app = static_only("- url: /(.*)\n  static_files: a.txt\n  upload: a\\.txt\n").file("a.txt", "hello");
    for target in ["/first", "/second"] {
        let node = node().app(&app).arg("--storage").arg(&storage).start();
        node.send(
            &Request::get(target).header("Cookie", "secret=biscuit").header("Authorization", "Bearer sesame").header("User-Agent", "me"),
        )
        .expect(200);
    }
    let text = storage.to_str().expect("UTF-8");
    let all = command(["logs", "--storage", text, "--format", "json", "--limit", "0"]);
    let targets: Vec<Value> = all.stdout.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")["target"].clone()).collect();
    let targets: Vec<&str> = targets.iter().filter_map(Value::as_str).collect();
    assert_eq!(targets, ["/first", "/second"]);
    assert!(all.stdout.contains("\"agent\":\"me\"") && !all.stdout.contains("biscuit") && !all.stdout.contains("sesame"), "{}", all.stdout);
    let newest = command(["logs", "--storage", text, "--limit", "1"]);
    assert!(newest.stdout.contains("200 GET /second") && newest.stdout.lines().count() == 1, "{newest:?}");
    let none = command(["logs", "--storage", text, "--level", "error"]);
    assert_eq!((none.code, none.stdout.as_str()), (Some(0), ""));
}

#[test]
fn hostile_lines_are_harmless_on_a_terminal() {
    let node = node().app(&talker()).start();
    node.get("/plain").expect(200);
    wait(&node, &[], |entry| entry["message"].as_str().is_some_and(|text| text.starts_with("plain words")));
    let text = finished(&node, &["--color", "always"]).stdout;
    let line = text.lines().find(|line| line.contains("plain words")).expect("shown");
    assert!(line.contains("plain words \u{fffd}[2J\u{fffd}"), "{line:?}");
}

#[test]
fn a_flood_is_bounded_and_said() {
    let node = node().app(&talker()).args(["--log-limit", "4M"]).start();
    node.get("/flood").expect(200);
    let mark = wait(&node, &["--level", "warning"], |entry| entry["message"].as_str().is_some_and(|text| text.contains("lines dropped")));
    assert!(mark["message"].as_str().is_some_and(|text| text.split(' ').next().is_some_and(|number| number.parse::<u64>().is_ok())));
    node.get("/").expect(200);
    let kept =
        std::fs::read_dir(storage(&node).join("logs")).expect("there").map(|file| file.expect("there").metadata().expect("there").len());
    assert!(kept.sum::<u64>() <= 4 << 20);
}

/// `enginehouse logs --follow`, ended on drop.
struct Follower(Child, BufReader<std::process::ChildStdout>);

impl Follower {
    fn start(node: &Node, args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_enginehouse"));
        command.args(["logs", "--follow", "--format", "json", "--storage"]).arg(storage(node)).args(args);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("starts");
        let out = BufReader::new(child.stdout.take().expect("piped"));
        Self(child, out)
    }

    fn next(&mut self) -> Value {
        let mut line = String::new();
        self.1.read_line(&mut line).expect("readable");
        serde_json::from_str(&line).expect("JSON")
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn following_shows_what_comes_over_rotations() {
    let app = static_only("- url: /(.*)\n  static_files: a.txt\n  upload: a\\.txt\n").file("a.txt", "hello");
    let node = node().app(&app).args(["--log-limit", "4M"]).start();
    node.get("/before").expect(200);
    let mut follower = Follower::start(&node, &["--service", "default"]);
    assert_eq!(follower.next()["target"], "/before");
    let mut connection = node.connect();
    let long = "x".repeat(10_000);
    // Each segment holds 256 KiB.
    for number in 0..100 {
        connection.send(&Request::get(&format!("/{number}?{long}"))).expect(200);
    }
    for number in 0..100 {
        let entry = follower.next();
        assert!(entry["target"].as_str().is_some_and(|target| target.starts_with(&format!("/{number}?"))), "{number}: {entry}");
    }
    assert!(std::fs::read_dir(storage(&node).join("logs")).expect("there").count() > 2);
}

#[test]
fn what_is_not_there_is_said_plainly() {
    let home = tempfile::tempdir().expect("folder");
    let path = home.path().to_str().expect("UTF-8");
    let nowhere = command(["logs", "--storage", &format!("{path}/none")]);
    assert!(nowhere.code == Some(1) && nowhere.stderr.contains("no storage folder"), "{nowhere:?}");
    let empty = command(["logs", "--storage", path]);
    assert!(empty.code == Some(1) && empty.stderr.contains("nothing is logged"), "{empty:?}");
    let no_app = command(["logs", path]);
    assert!(no_app.code == Some(1) && no_app.stderr.contains("no app in"), "{no_app:?}");
    let wrong = command(["logs", "--storage", path, "--since", "yesterday"]);
    assert!(wrong.code == Some(2) && wrong.stderr.contains("neither a time"), "{wrong:?}");
}

#[test]
fn the_house_tells_what_goes_on_inside_if_asked() {
    let node = node().app(&talker()).env("ENGINEHOUSE_LOG", "fleet=trace").start();
    node.get("/").expect(200);
    node.wait_line("a started process", |line| line.contains("a process was started") && line.contains("DEBUG fleet"));
    node.wait_line("the scheduler", |line| line.contains("the scheduler says"));
    let wrong = node_with_log("fleet=loud");
    assert!(wrong.code == Some(0) && wrong.stderr.contains("ENGINEHOUSE_LOG"), "{wrong:?}");
}

fn node_with_log(wanted: &str) -> Finished {
    let app = talker();
    node().args(["check", app.path().to_str().expect("UTF-8")]).env("ENGINEHOUSE_LOG", wanted).output()
}

#[test]
fn a_limit_of_zero_keeps_nothing() {
    let app = static_only("- url: /\n  static_files: a.txt\n  upload: a\\.txt\n").file("a.txt", "hello");
    let node = node().app(&app).args(["--log-limit", "0"]).start();
    node.get("/").expect(200);
    node.wait_request("/");
    assert!(!storage(&node).join("logs").exists());
}
