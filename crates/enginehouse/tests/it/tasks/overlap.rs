//! Tasks that take longer than the process that sent them goes on sending: hand-overs, ends, and a process that dies under them.

use std::path::Path;
use std::time::{Duration, Instant};

use testkit::{Python, ServeNode};

use super::{app, path};
use crate::on_both;

const HOST: &str = "demo.localhost";

struct Server {
    node: ServeNode,
    shared: tempfile::TempDir,
}

impl Server {
    fn start(python: Python, grace: &str) -> Self {
        let shared = tempfile::tempdir().expect("a folder");
        let share = format!("{}:rw", shared.path().display());
        let args = ["--project", "demo", "--patience", "300", "--grace", grace, "--share", &share];
        let node = ServeNode::with(env!("CARGO_BIN_EXE_enginehouse"), args);
        let app = app(python);
        let queues = app.join("queue.yaml");
        node.deploy("demo", &app, &[queues.to_str().expect("UTF-8")]);
        Self { node, shared }
    }

    fn folder(&self) -> &Path {
        self.shared.path()
    }

    /// Adds a task that waits until it may go.
    fn add(&self, name: &str) {
        let url = format!("/waits?folder={}&name={name}", self.folder().display());
        let expression = format!("taskqueue.add(url='{url}', method='GET', queue_name='three', name='{name}') and None");
        self.node.eventually(HOST, &path(&expression), |answer| answer.status == 200 && answer.text() == "None");
    }

    fn let_go(&self, name: &str) {
        std::fs::write(self.folder().join(format!("go-{name}")), "").expect("written");
    }

    fn notes(&self) -> String {
        std::fs::read_to_string(self.folder().join("notes")).unwrap_or_default()
    }

    fn count(&self, line: &str) -> usize {
        self.notes().lines().filter(|note| note.starts_with(line)).count()
    }

    #[track_caller]
    fn until(&self, what: &str, is: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !is(self) {
            assert!(begun.elapsed() < Duration::from_mins(2), "{what}: {}\n{}", self.notes(), self.node.log());
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    fn tasks(&self) -> u64 {
        self.node.done("GET", "/enginehouse/v1/apps/demo/queues/three", "")["tasks"].as_u64().expect("a number")
    }
}

#[test]
fn s1_a_long_task_outlives_a_hand_over_and_is_not_sent_twice() {
    on_both(|python| {
        let mut server = Server::start(python, "1");
        server.add("long");
        server.until("the task begins", |server| server.count("begun long") == 1);
        let heir = server.node.begin_upgrade();
        // The new process sends, and leaves alone what the old one has.
        server.let_go("probe");
        server.add("probe");
        server.until("another task ends", |server| server.count("ended probe") == 1 && server.tasks() == 1);
        assert_eq!((server.count("begun long"), server.count("ended long")), (1, 0), "{python:?}: {}", server.notes());
        server.let_go("long");
        server.node.node().handed_over(heir);
        server.until("the queue is empty", |server| server.tasks() == 0);
        assert_eq!((server.count("begun long"), server.count("ended long")), (1, 1), "{python:?}: {}", server.notes());
    });
}

#[test]
fn s1_the_task_of_a_process_that_died_after_its_hand_over_runs_again() {
    let mut server = Server::start(Python::Two, "300");
    server.add("long");
    server.until("the task begins", |server| server.count("begun long") == 1);
    let heir = server.node.begin_upgrade();
    assert_eq!(server.count("begun long"), 1);
    server.node.node().kill_predecessor(heir);
    server.until("the task begins again", |server| server.count("begun long") == 2);
    server.let_go("long");
    server.until("the queue is empty", |server| server.tasks() == 0);
    assert_eq!((server.count("begun long"), server.count("ended long")), (2, 1), "{}", server.notes());
}

#[test]
fn s1_a_task_that_was_cut_off_by_the_end_runs_again_at_the_next_start() {
    let mut server = Server::start(Python::Two, "1");
    server.add("long");
    server.until("the task begins", |server| server.count("begun long") == 1);
    assert_eq!(server.node.node().stop().code(), Some(0));
    assert_eq!(server.count("ended long"), 0);
    server.node.restart();
    server.until("the task begins again", |server| server.count("begun long") == 2);
    server.let_go("long");
    server.until("the queue is empty", |server| server.tasks() == 0);
}
