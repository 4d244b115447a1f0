//! Fast starts: instances that are forked from a zygote are as good as fresh ones.

use std::path::PathBuf;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use testkit::{App, Node, Python, Request};

use crate::{node, on_both};

/// Tells what an instance shares with others and what not.
const APP: &str = r"
import json
import os
import random
import shelf
import tempfile


def app(environ, start_response):
    with open('/proc/self/environ', 'rb') as file:
        marks = [item.split('=')[1] for item in file.read().decode().split(chr(0)) if item.startswith('ENGINEHOUSE_INSTANCE=')]
    answer = {
        'pid': os.getpid(),
        'session': os.getsid(0),
        'born_in': shelf.PID,
        'mark': marks[0],
        'random': random.random(),
        'temporary': (tempfile.mkdtemp(prefix='mine'), [name for name in os.listdir('/tmp') if name.startswith('mine')])[1],
        'owner': os.stat(tempfile.mkdtemp()).st_uid == os.getuid(),
        'other': os.environ.get('OTHER'),
        'instance': os.environ.get('GAE_INSTANCE') or os.environ.get('INSTANCE_ID'),
    }
    start_response('200 OK', [('Content-Type', 'application/json')])
    return [json.dumps(answer).encode()]
";

fn app(python: Python) -> App {
    crate::apps::app(python, "", APP).file("shelf.py", "import os\nPID = os.getpid()\n")
}

/// An instance's answer, and where it runs.
struct Seen {
    answer: Value,
    /// As this process sees it; the instance may have a namespace of its own.
    pid: u32,
    /// The process that forked it, if that is one of the agent.
    zygote: Option<u32>,
}

impl Seen {
    #[track_caller]
    fn of(node: &Node) -> Self {
        let answer = node.get("/").expect(200).json();
        Self::told(node, answer)
    }

    #[track_caller]
    fn told(node: &Node, answer: Value) -> Self {
        let mark = format!("ENGINEHOUSE_INSTANCE={}", answer["mark"].as_str().expect("a mark"));
        let inside = answer["pid"].to_string();
        let children = node.children();
        let pids =
            children.iter().map(|process| process.pid).filter(|pid| status(*pid, "NSpid:").is_some_and(|ids| ids.ends_with(&inside)));
        let pid = pids.into_iter().find(|pid| about(*pid, "environ").contains(&mark)).expect("the instance is among the processes");
        let parent: u32 = status(pid, "PPid:").expect("it lives").parse().expect("a number");
        // The sandbox's own first process still has the launcher's arguments.
        let command = about(parent, "cmdline");
        let zygote = Some(parent).filter(|_| command.contains("enginehouse_agent") && !command.contains("__launch"));
        Self { answer, pid, zygote }
    }

    /// Kills it, and waits until that was noticed.
    fn kill(&self, node: &Node, noticed: &str) {
        kill(self.pid);
        let id = self.answer["instance"].as_str().expect("an id");
        node.wait_line("the death", |line| line.contains(&format!("instance {id} is gone: {noticed}")));
    }
}

fn kill(pid: u32) {
    let pid = Pid::from_raw(pid.cast_signed()).expect("not zero");
    kill_process(pid, Signal::KILL).expect("it lives");
}

fn about(pid: u32, what: &str) -> String {
    String::from_utf8_lossy(&std::fs::read(PathBuf::from(format!("/proc/{pid}/{what}"))).unwrap_or_default()).into_owned()
}

/// A line of the process's status; of several numbers separated by tabs the last counts.
fn status(pid: u32, name: &str) -> Option<String> {
    let text = about(pid, "status");
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().last().map(str::to_owned)
}

/// Waits until the zygote was told what the first instance imports; it does so before it forks again.
fn learned(node: &Node) {
    node.wait_line("what was learned", |line| line.contains("which the zygote imports ahead"));
}

#[test]
fn instances_are_forked_from_a_zygote_and_share_nothing_but_libraries() {
    on_both(|python| {
        let node = crate::serve(&app(python));
        let first = Seen::of(&node);
        assert!(first.zygote.is_some());
        assert_eq!(first.answer["born_in"], first.answer["pid"], "the app's own modules are imported by each instance");
        assert_eq!(first.answer["session"], first.answer["pid"]);
        let alone = |seen: &Seen| seen.answer["temporary"].as_array().is_some_and(|all| all.len() == 1) && seen.answer["owner"] == true;
        assert!(alone(&first), "/tmp is its own: {}", first.answer);
        first.kill(&node, "killed by SIGKILL");
        let second = Seen::of(&node);
        assert_eq!(second.zygote, first.zygote, "both come from one zygote");
        assert!(alone(&second), "and ended with the first: {}", second.answer);
        for different in ["pid", "random", "mark", "instance", "session"] {
            assert_ne!(first.answer[different], second.answer[different], "{different}");
        }
    });
}

#[test]
fn without_preloading_instances_are_started_afresh() {
    on_both(|python| {
        for args in [["--preload", "none"], ["--isolation", "none"]] {
            let variables = "env_variables:\n  ENGINEHOUSE_PRELOAD: none\n";
            let app = crate::apps::app(python, variables, APP).file("shelf.py", "PID = 1\n");
            let node = node().app(&app).args(args).start();
            assert_eq!(Seen::of(&node).zygote, None);
        }
    });
}

#[test]
fn an_app_may_have_its_own_modules_preloaded() {
    on_both(|python| {
        let app = app(python);
        let node = node().app(&app).args(["--preload", "app"]).start();
        let first = Seen::of(&node);
        assert_eq!(first.answer["born_in"], first.answer["pid"], "nobody knew yet");
        learned(&node);
        first.kill(&node, "killed by SIGKILL");
        let second = Seen::of(&node);
        assert_ne!(second.answer["born_in"], second.answer["pid"]);
        // What is imported belongs to one deployment.
        app.write("shelf.py", "PID = 'changed'\n");
        node.eventually(&Request::get("/"), |answer| answer.status == 200 && answer.json()["born_in"] == "changed");
    });
}

#[test]
fn a_killed_zygote_takes_nothing_with_it() {
    on_both(|python| {
        let node = crate::serve(&app(python));
        let first = Seen::of(&node);
        kill(first.zygote.expect("forked"));
        node.wait_line("the end of the zygote", |line| line.contains("the zygote is gone; its instances live on"));
        assert_eq!(Seen::of(&node).pid, first.pid, "the instance lives on");
        first.kill(&node, "it ended, and the zygote that could say how is gone");
        let second = Seen::of(&node);
        assert!(second.zygote.is_some_and(|zygote| Some(zygote) != first.zygote), "another zygote was started");
    });
}

#[test]
fn a_reload_keeps_the_zygote() {
    on_both(|python| {
        let app = app(python);
        let node = node().app(&app).args(["--isolation", "none"]).start();
        let first = Seen::of(&node);
        app.write("shelf.py", "PID = 'changed'\n");
        let changed = |answer: &testkit::Response| answer.status == 200 && answer.json()["born_in"] == "changed";
        let answer = node.eventually(&Request::get("/"), changed);
        assert_eq!(Seen::told(&node, answer.json()).zygote, first.zygote);
        // Other variables are another matter: libraries may have looked at them.
        app.write("app.yaml", python.yaml("env_variables:\n  OTHER: '1'\n"));
        let answer = node.eventually(&Request::get("/"), |answer| answer.status == 200 && answer.json()["other"] == "1");
        assert_ne!(Seen::told(&node, answer.json()).zygote, first.zygote);
    });
}

#[test]
fn a_library_that_starts_threads_means_fresh_starts() {
    on_both(|python| {
        let library = "import threading\nthread = threading.Thread(target=threading.Event().wait)\nthread.daemon = True\nthread.start()\n";
        let library = App::new().file("restless.py", library);
        let app = app(python).file("main.py", format!("import restless\n{APP}"));
        let path = format!("PYTHONPATH={}", library.path().display());
        let share = library.path().display().to_string();
        let node = node().app(&app).args(["--env-var", &path, "--share", &share]).start();
        let first = Seen::of(&node);
        assert!(first.zygote.is_some(), "nobody knew yet");
        learned(&node);
        first.kill(&node, "killed by SIGKILL");
        assert_eq!(Seen::of(&node).zygote, None);
        node.wait_line("the refusal", |line| line.contains("started afresh") && line.contains("restless leaves a thread running"));
    });
}
