//! Instances that are killed under load: every request is answered, and only what an app had begun is lost.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use testkit::process::{Process, descendants, describe, wait_gone};
use testkit::{App, Connection, Node, Python, Request};

use crate::node;

const REQUESTS: usize = 10_000;
const CONNECTIONS: usize = 8;
const DEATHS: usize = 50;
/// So many requests are answered from one death to the next.
const APART: usize = REQUESTS / (DEATHS + 1);

/// Answers with what it was sent.
const AGENT: &str = r"
def app(environ, start_response):
    length = int(environ.get('CONTENT_LENGTH') or 0)
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [b'answer to ' + environ['wsgi.input'].read(length)]
";

/// The same over HTTP/1.1, with connections that stay.
const SERVER: &str = r"
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def do_GET(self):
        body = b'answer to ' + self.rfile.read(int(self.headers.get('Content-Length') or 0))
        head = 'HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n' % len(body)
        self.wfile.write(head.encode() + body)

    do_POST = do_GET


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


Server(('127.0.0.1', int(os.environ['PORT'])), Handler).serve_forever()
";

/// From before the signal was sent until the process is gone: the signal reaches threads that run a little later.
struct Death {
    begun: Instant,
    over: Instant,
}

/// A request that got no answer of the app's.
struct Lost {
    begun: Instant,
    over: Instant,
    status: u16,
}

/// How far the clients and the killer are; each side waits for the other.
#[derive(Default)]
struct Progress {
    now: Mutex<Counts>,
    changed: Condvar,
}

#[derive(Default)]
struct Counts {
    /// Requests that are over.
    answered: usize,
    deaths: Vec<Death>,
    /// A side has ended, whether well or not: nobody waits for it.
    clients_ended: bool,
    killer_ended: bool,
}

impl Progress {
    fn wait_while(&self, waits: impl FnMut(&mut Counts) -> bool) -> MutexGuard<'_, Counts> {
        let now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        self.changed.wait_while(now, waits).unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Counts)) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut now);
        drop(now);
        self.changed.notify_all();
    }

    /// Not far ahead of the deaths, which take their time on a busy machine.
    fn wait_for_deaths(&self) {
        drop(self.wait_while(|now| {
            let may_go = now.deaths.len() + 2;
            !now.killer_ended && may_go <= DEATHS && now.answered >= may_go * APART
        }));
    }

    fn answered(&self) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        now.answered += 1;
        // The killer waits for these numbers only.
        if now.answered.is_multiple_of(APART) {
            self.changed.notify_all();
        }
    }

    /// Spread over the whole run; between two deaths requests are answered. False if they never will be.
    fn wait_for_answers(&self, number: usize) -> bool {
        self.wait_while(|now| !now.clients_ended && now.answered < number * APART).answered >= number * APART
    }
}

/// However the killer ends, nobody waits for it any more.
struct Last<'a>(&'a Progress);

impl Drop for Last<'_> {
    fn drop(&mut self) {
        self.0.change(|now| now.killer_ended = true);
    }
}

/// Kills any process of the house but itself and its warden.
fn kill_one(node: &Node, number: usize) -> Death {
    let until = Instant::now() + testkit::DEADLINE / 4;
    loop {
        let all: Vec<_> = node.children().into_iter().filter(|one| !describe(*one).contains("__warden")).collect();
        let one = (!all.is_empty()).then(|| all[number % all.len()]);
        let family = one.map(family).unwrap_or_default();
        let begun = Instant::now();
        let pid = one.and_then(|one| Pid::from_raw(i32::try_from(one.pid).ok()?));
        if pid.is_some_and(|pid| kill_process(pid, Signal::KILL).is_ok()) {
            wait_gone(&family);
            return Death { begun, over: Instant::now() };
        }
        assert!(begun < until, "no instance comes back:\n{}", node.everything());
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// What dies with a process, a moment later: whatever it started; but the instances that were forked from a zygote live on without it.
fn family(one: Process) -> BTreeSet<Process> {
    let instance = |one: &Process| testkit::process::variable(one.pid, "ENGINEHOUSE_INSTANCE");
    // The processes around a sandbox are our own binary; everybody inside ends with them.
    let around = describe(one).contains("`enginehouse ");
    let own = instance(&one);
    let started = descendants(one.pid).into_iter().filter(|started| around || instance(started) == own);
    started.chain([one]).collect()
}

/// Sends its share of the requests on one connection, every fourth a POST; returns those that failed.
fn ask(node: &Node, progress: &Progress) -> Vec<Lost> {
    let mut connection = Connection::open(node.address());
    let mut lost = Vec::new();
    for number in 0..REQUESTS / CONNECTIONS {
        let body = number.to_string();
        let (request, expected) = if number % 4 == 3 {
            (Request::post("/", body.as_str()), format!("answer to {body}"))
        } else {
            (Request::get("/"), "answer to ".into())
        };
        progress.wait_for_deaths();
        let begun = Instant::now();
        let answer = connection.send(&request);
        if answer.status == 200 {
            assert_eq!(answer.text(), expected);
        } else {
            assert!(number % 4 == 3, "a GET is lost: {answer:?}\n{}", node.everything());
            lost.push(Lost { begun, over: Instant::now(), status: answer.status });
        }
        progress.answered();
    }
    lost
}

fn survives(app: &App) {
    let node = node().app(app).arg("-qq").start();
    node.get("/").expect(200);
    let progress = Progress::default();
    let lost: Vec<Lost> = std::thread::scope(|scope| {
        let killer = scope.spawn(|| {
            let _last = Last(&progress);
            for number in (1..=DEATHS).take_while(|number| progress.wait_for_answers(*number)) {
                let death = kill_one(&node, number);
                progress.change(|now| now.deaths.push(death));
            }
        });
        let clients: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(|| ask(&node, &progress))).collect();
        let results: Vec<_> = clients.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        progress.change(|now| now.clients_ended = true);
        killer.join().expect("every death takes place");
        results.into_iter().flat_map(|result| result.expect("every request is answered")).collect()
    });
    let Counts { answered, deaths, .. } = progress.now.into_inner().expect("unpoisoned");
    assert_eq!((answered, deaths.len()), (REQUESTS, DEATHS));
    for Lost { begun, over, status } in &lost {
        assert!(*status >= 500, "{status}");
        let in_flight = deaths.iter().any(|death| *begun <= death.over && *over >= death.begun);
        let after = deaths.iter().filter_map(|death| begun.checked_duration_since(death.over)).min();
        assert!(in_flight, "a request was lost that no death explains, {after:?} after one:\n{}", node.everything());
    }
    testkit::node::say(&format!("{} of {REQUESTS} requests lost in {DEATHS} deaths", lost.len()));
    node.get("/").expect(200);
}

#[test]
fn fifty_deaths_of_agents_lose_only_what_was_begun() {
    survives(&App::with_yaml(&Python::Two.yaml("")).file("main.py", AGENT));
}

#[test]
fn fifty_deaths_of_entrypoints_lose_only_what_was_begun() {
    let yaml = Python::Three.yaml("entrypoint: python3 serve.py");
    survives(&App::with_yaml(&yaml).file("serve.py", SERVER));
}
