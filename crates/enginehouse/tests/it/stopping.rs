//! Ctrl-C at whatever moment: requests are finished, nothing is left behind. (Every node checks for left processes when it ends.)

use std::net::TcpListener;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use testkit::{App, Python, Request};

use crate::apps::{ECHO, app, echo};
use crate::{node, on_both, serve, serve_sharing};

/// Answers when the file named in the query appears.
const PATIENT: &str = r"
import os
import time


def app(environ, start_response):
    if environ['QUERY_STRING']:
        open(environ['QUERY_STRING'] + '.begun', 'w').close()
        while not os.path.exists(environ['QUERY_STRING']):
            time.sleep(0.005)
    start_response('200 OK', [])
    return [b'finished']
";

/// Waits for a file that another process writes.
#[track_caller]
fn wait_for(path: &std::path::Path) {
    let until = Instant::now() + testkit::DEADLINE;
    while !path.exists() {
        assert!(Instant::now() < until, "{} does not appear", path.display());
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

#[test]
fn ctrl_c_while_idle() {
    on_both(|python| {
        for signal in [Signal::INT, Signal::TERM] {
            let mut node = serve(&echo(python));
            node.get("/").expect(200);
            assert!(!node.children().is_empty());
            node.signal(signal);
            assert_eq!(node.wait().code(), Some(0), "{signal:?}");
        }
    });
}

#[test]
fn ctrl_c_before_anything_was_asked() {
    let mut node = serve(&echo(Python::Two));
    assert_eq!(node.stop().code(), Some(0));
}

#[test]
fn ctrl_c_finishes_requests_in_flight() {
    on_both(|python| {
        let app = app(python, "", PATIENT);
        let (mut node, shared) = serve_sharing(&app);
        let signal = shared.path().join("go-on");
        let path = format!("/?{}", signal.display());
        node.get("/").expect(200);
        let address = node.address();
        let waiting = std::thread::spawn(move || testkit::Connection::open(address).send(&Request::get(&path)));
        wait_for(&signal.with_extension("begun"));
        node.signal(Signal::INT);
        // Once it drains, nobody new is let in.
        node.wait_line("that it stops", |line| line.contains("stopping"));
        std::fs::write(&signal, "").expect("file");
        assert_eq!(waiting.join().expect("the request ends").expect(200).text(), "finished");
        assert_eq!(node.wait().code(), Some(0));
    });
}

#[test]
fn a_second_ctrl_c_does_not_wait() {
    on_both(|python| {
        let app = app(python, "", PATIENT);
        let (mut node, shared) = serve_sharing(&app);
        let signal = shared.path().join("never");
        let path = format!("/?{}", signal.display());
        let address = node.address();
        let waiting = std::thread::spawn(move || {
            let mut connection = testkit::Connection::open(address);
            let _ = connection.write(&Request::get(&path).bytes());
            connection.read(false)
        });
        wait_for(&signal.with_extension("begun"));
        node.signal(Signal::INT);
        node.wait_line("that it stops", |line| line.contains("stopping"));
        let since = Instant::now();
        node.signal(Signal::INT);
        assert_eq!(node.wait().code(), Some(130));
        assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
        let _ = waiting.join();
    });
}

#[test]
fn ctrl_c_while_packages_are_being_installed() {
    on_both(|python| {
        let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
        let index = format!("http://{}/simple", silent.local_addr().expect("an address"));
        let needs = if python == Python::Two { "libraries:\n- name: markupsafe\n  version: latest" } else { "" };
        let app = app(python, needs, ECHO).file("requirements.txt", "no-such-package-for-enginehouse==1\n");
        let home = tempfile::tempdir().expect("folder");
        let mut node = node().app(&app).env("PIP_INDEX_URL", index.as_str()).env("XDG_CACHE_HOME", home.path()).spawn();
        node.ready();
        // pip has come as far as asking.
        let _asking = silent.accept().expect("pip asks");
        assert!(!node.children().is_empty());
        node.signal(Signal::INT);
        assert_eq!(node.wait().code(), Some(0));
    });
}

#[test]
fn ctrl_c_while_an_instance_starts() {
    on_both(|python| {
        // Its module never comes to an end.
        let main =
            "import os\nimport time\nopen(os.environ['BEGUN'], 'w').close()\nwhile not os.path.exists('/never'):\n    time.sleep(0.01)\n";
        let app = app(python, "", main);
        let home = tempfile::tempdir().expect("folder");
        let begun = home.path().join("begun");
        let mut node = node().app(&app).args(["--env-var", &format!("BEGUN={}", begun.display())]).share(home.path()).start();
        let address = node.address();
        let waiting = std::thread::spawn(move || {
            let mut connection = testkit::Connection::open(address);
            let _ = connection.write(&Request::get("/").bytes());
            connection.read(false)
        });
        wait_for(&begun);
        node.signal(Signal::INT);
        node.wait_line("that it stops", |line| line.contains("stopping"));
        node.signal(Signal::INT);
        assert_eq!(node.wait().code(), Some(130));
        let _ = waiting.join();
    });
}

#[test]
fn ctrl_c_at_any_moment_of_the_start() {
    let app = echo(Python::Three);
    for micros in [0, 300, 1_000, 3_000, 10_000, 30_000, 100_000, 300_000] {
        let mut node = node().app(&app).spawn();
        std::thread::park_timeout(Duration::from_micros(micros));
        node.signal(Signal::INT);
        let status = node.wait();
        // Before the handler is in place the signal itself ends the process, which has started nothing yet.
        let by_signal = std::os::unix::process::ExitStatusExt::signal(&status) == Some(2);
        assert!(
            status.code() == Some(0) || (by_signal && node.everything().is_empty()),
            "after {micros} µs: {status}\n{}",
            node.everything()
        );
        assert!(!node.ready_file().exists());
    }
}

#[test]
fn ctrl_c_during_a_reload() {
    on_both(|python| {
        for micros in [0, 20_000, 80_000, 150_000, 400_000] {
            let app = echo(python);
            let mut node = serve(&app);
            node.get("/").expect(200);
            app.write("main.py", ECHO.replace("VERSION = '1'", "VERSION = '2'"));
            std::thread::park_timeout(Duration::from_micros(micros));
            assert_eq!(node.stop().code(), Some(0), "after {micros} µs");
        }
    });
}

#[test]
fn processes_that_the_app_started_end_too() {
    on_both(|python| {
        let main = r"
import subprocess
import sys

children = []


def app(environ, start_response):
    children.append(subprocess.Popen([sys.executable, '-c', 'import time\nwhile True: time.sleep(60)']))
    start_response('200 OK', [])
    return [b'started']
";
        let app = App::with_yaml(&python.yaml("")).file("main.py", main);
        let mut node = serve(&app);
        let answer = node.get("/");
        assert!(answer.status == 200 || answer.status == 500, "{answer:?}");
        assert_eq!(node.stop().code(), Some(0));
    });
}

#[test]
fn a_house_that_is_killed_leaves_nothing_behind() {
    on_both(|python| {
        let main = r"
import subprocess
import sys


def app(environ, start_response):
    subprocess.Popen([sys.executable, '-c', 'import time\nwhile True: time.sleep(60)'])
    start_response('200 OK', [])
    return [b'started']
";
        let mut node = serve(&app(python, "", main));
        node.get("/");
        assert!(!node.children().is_empty());
        node.signal(Signal::KILL);
        assert_eq!(node.wait().code(), None);
    });
}
