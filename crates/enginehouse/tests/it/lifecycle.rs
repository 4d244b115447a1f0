//! `/_ah/start`, `/_ah/warmup` and `/_ah/stop`, and how instances end.

use std::path::Path;
use std::time::{Duration, Instant};

use testkit::{App, Connection, Node, Python, Request};

use crate::apps::app;
use crate::{node, on_both, serve};

/// Writes each path it is asked for, with some headers, into the file that `SEEN` names; `/_ah/start` is answered as `START` says.
const WITNESS: &str = r"
import os
import time

def app(environ, start_response):
    path = environ['PATH_INFO']
    with open(os.environ['SEEN'], 'a') as seen:
        seen.write('%s %s %s %s\n' % (environ['REQUEST_METHOD'], path, environ['REMOTE_ADDR'], environ['HTTP_HOST']))
    status = os.environ.get('START', '200 OK') if path == '/_ah/start' else '200 OK'
    start_response(status, [('Content-Type', 'text/plain')])
    return [b'served']
";

fn witness(python: Python, extra: &str) -> (App, tempfile::TempDir) {
    (app(python, extra, WITNESS), tempfile::tempdir().expect("folder"))
}

fn seen_by(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("seen")).unwrap_or_default()
}

fn start(app: &App, folder: &Path, env: &[&str]) -> Node {
    let seen = format!("SEEN={}", folder.join("seen").display());
    let flags = env.iter().copied().chain([seen.as_str()]).flat_map(|pair| ["--env-var", pair]);
    // What the app writes lies outside its walls.
    node().app(app).args(flags).args(["--isolation", "none"]).start()
}

#[test]
fn y30_y31_an_instance_is_started_before_it_takes_requests_and_told_before_it_stops() {
    on_both(|python| {
        for scaling in ["manual_scaling:\n  instances: 1", "basic_scaling:\n  max_instances: 1"] {
            let (app, folder) = witness(python, scaling);
            let mut node = start(&app, folder.path(), &[]);
            assert_eq!(node.get("/hello").expect(200).text(), "served");
            let started = node.wait_request("/_ah/start");
            assert_eq!((started["status"].as_u64(), started["method"].as_str()), (Some(200), Some("GET")), "{started}");
            assert_eq!(node.stop().code(), Some(0));
            let seen = seen_by(folder.path());
            let port = node.address().port();
            let mut expected =
                vec![format!("GET /_ah/start 0.1.0.3 dev.default.localhost:{port}"), format!("GET /hello 127.0.0.1 localhost")];
            if python == Python::Three {
                // First-generation apps have the shutdown hook instead.
                expected.push(format!("GET /_ah/stop 0.1.0.3 dev.default.localhost:{port}"));
            }
            assert_eq!(seen.lines().collect::<Vec<_>>(), expected, "{scaling}\n{}", node.everything());
        }
    });
}

#[test]
fn y31_a_missing_handler_is_a_start_and_an_error_is_none() {
    for (answer, starts) in [("404 Not Found", true), ("204 No Content", true), ("500 Broken", false), ("302 Found", false)] {
        let (app, folder) = witness(Python::Three, "manual_scaling:\n  instances: 1");
        let node = start(&app, folder.path(), &[&format!("START={answer}")]);
        let reply = node.get("/hello");
        if starts {
            assert_eq!(reply.expect(200).text(), "served", "{answer}");
        } else {
            assert_eq!(reply.status, 500, "{answer}: {reply:?}");
            assert!(reply.text().contains("/_ah/start"), "{answer}: {reply:?}");
            node.wait_line("why it did not start", |line| line.contains("did not start") && line.contains(&answer[..3]));
        }
    }
}

#[test]
fn y30_y31_the_shutdown_hook_runs_and_strikes_what_still_runs() {
    let main = r"
import time
from google.appengine.api import runtime


class Leave(Exception):
    pass


def hook():
    print('the hook ran, %s' % runtime.is_shutting_down())
    raise Leave()


def app(environ, start_response):
    runtime.set_shutdown_hook(hook)
    try:
        while environ['PATH_INFO'] == '/slow':
            time.sleep(0.01)
    except Leave:
        start_response('200 OK', [])
        return [b'left']
    start_response('200 OK', [])
    return [b'fast']
";
    let app = app(Python::Two, "basic_scaling:\n  max_instances: 1", main);
    let mut node = serve(&app);
    assert_eq!(node.get("/").expect(200).text(), "fast");
    assert_eq!(node.stop().code(), Some(0));
    node.wait_line("what the hook says", |line| line.contains("the hook ran, True"));
}

#[test]
fn y30_y31_an_instance_that_does_not_answer_stop_is_ended_all_the_same() {
    let main = r"
import signal
import time

signal.signal(signal.SIGTERM, signal.SIG_IGN)


def app(environ, start_response):
    start_response('200 OK', [])
    while environ['PATH_INFO'] == '/_ah/stop':
        time.sleep(0.01)
    return [b'served']
";
    let yaml = Python::Three.yaml("entrypoint: python3 serve.py\nmanual_scaling:\n  instances: 1");
    let serve = format!(
        "import os\nfrom wsgiref.simple_server import make_server\n{main}\nmake_server('127.0.0.1', int(os.environ['PORT']), app).serve_forever()\n"
    );
    let mut node = node().app(&App::with_yaml(&yaml).file("serve.py", serve)).start();
    node.get("/").expect(200);
    node.signal(rustix::process::Signal::INT);
    node.wait_line("that it stops", |line| line.contains("stopping"));
    // The second time at once; without it the grace of thirty seconds would pass.
    let since = Instant::now();
    node.signal(rustix::process::Signal::INT);
    assert_eq!(node.wait().code(), Some(130));
    assert!(since.elapsed() < Duration::from_secs(20), "{:?}", since.elapsed());
}

#[test]
fn y21_an_instance_is_warmed_up_before_it_takes_traffic() {
    on_both(|python| {
        let extra = "inbound_services:\n- warmup\nautomatic_scaling:\n  min_instances: 1";
        let (app, folder) = witness(python, extra);
        let node = start(&app, folder.path(), &[]);
        let warmed = node.wait_request("/_ah/warmup");
        assert_eq!(warmed["status"].as_u64(), Some(200), "{warmed}");
        node.get("/hello").expect(200);
        let seen = seen_by(folder.path());
        assert!(seen.starts_with("GET /_ah/warmup 0.1.0.3 "), "{seen}");
    });
}

#[test]
fn y21_without_a_handler_a_first_generation_app_is_imported() {
    let yaml = "runtime: python27\napi_version: 1\nthreadsafe: true\ninbound_services:\n- warmup\nautomatic_scaling:\n  min_instances: 1\n\
                handlers:\n- url: /app\n  script: main.app\n";
    let main = "import sys\nsys.stderr.write('main is imported\\n')\n\n\ndef app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'x']\n";
    let node = serve(&App::with_yaml(yaml).file("main.py", main));
    let warmed = node.wait_request("/_ah/warmup");
    assert!(warmed.to_string().contains("main is imported"), "{warmed}");
}

#[test]
fn h25_a_first_generation_request_that_does_not_come_back_costs_its_instance() {
    // The exception is caught and ignored, as production's hard limit is there for.
    let main = r"
import os
import time


def app(environ, start_response):
    if environ['PATH_INFO'] == '/stuck':
        while True:
            try:
                while True:
                    time.sleep(0.01)
            except BaseException:
                pass
    start_response('200 OK', [])
    return [os.environ['INSTANCE_ID'].encode()]
";
    let app = app(Python::Two, "error_handlers:\n- error_code: timeout\n  file: late.html", main).file("late.html", "late");
    let node = node().app(&app).args(["--deadline", "1"]).start();
    // On a busy machine the first request may need longer than the deadline for loading.
    let first = node.eventually(&Request::get("/"), |answer| answer.status == 200).text();
    assert_eq!(node.get("/stuck").expect(500).text(), "late");
    // Another instance takes its place, and the process that is stuck is gone when the house is.
    node.eventually(&Request::get("/"), |answer| answer.status == 200 && answer.text() != first);
    node.wait_line("why", |line| line.contains(&first) && line.contains("stops"));
}

#[test]
fn h25_the_time_for_loading_is_part_of_the_deadline() {
    let main = "import time\n\nwhile True:\n    time.sleep(0.01)\n";
    let node = node().app(&app(Python::Two, "", main)).args(["--deadline", "1"]).start();
    let answer = node.get("/").expect(500);
    assert!(answer.text().contains("DeadlineExceededError") || answer.text().contains("took too long"), "{answer:?}");
}

#[test]
fn h25_the_app_is_told_how_long_it_has() {
    on_both(|python| {
        let main = "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [environ['HTTP_X_APPENGINE_TIMEOUT_MS'].encode()]\n";
        for (scaling, first, second) in
            [("automatic_scaling:\n  max_instances: 1", "60000", "600000"), ("manual_scaling:\n  instances: 1", "86400000", "86400000")]
        {
            let node = serve(&app(python, scaling, main));
            let expected = if python == Python::Two { first } else { second };
            assert_eq!(Connection::open(node.address()).send(&Request::get("/")).expect(200).text(), expected, "{scaling}");
        }
    });
}
