//! kill -9 of the house while several clients add, lease and delete and tasks are executed: what was acknowledged is there, what was not is absent or
//! complete, and a task is executed twice only if its first execution had not been acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use testkit::node::say;
use testkit::{Node, Python};

use super::{eval, path, scaled};
use crate::{node, on_both};

const CLIENTS: usize = 5;
const ROUNDS: usize = 40;
/// Push tasks that a client adds in a round: all but one in one call, and one by itself.
const PUSHED: usize = 50;
/// Pull tasks that it adds in a round, leases and deletes.
const PULLED: usize = 10;
const KILLS: usize = 4;
/// `max_concurrent_requests` of the queue `three`.
const IN_FLIGHT: usize = 20;
const PATIENCE: Duration = Duration::from_mins(5);

/// The house's lives, and where it answers in this one.
#[derive(Default)]
struct Lives {
    now: Mutex<(usize, Option<SocketAddr>)>,
    changed: Condvar,
}

impl Lives {
    fn set(&self, life: usize, address: Option<SocketAddr>) {
        *self.now.lock().expect("nobody panics with it") = (life, address);
        self.changed.notify_all();
    }

    /// A life after this one.
    fn after(&self, life: Option<usize>) -> (usize, SocketAddr) {
        let begun = Instant::now();
        let mut now: MutexGuard<'_, _> = self.now.lock().expect("nobody panics with it");
        loop {
            if let (new, Some(address)) = *now
                && life.is_none_or(|life| new > life)
            {
                return (new, address);
            }
            assert!(begun.elapsed() < PATIENCE, "a request failed although the house lives");
            now = self.changed.wait_timeout(now, Duration::from_secs(1)).expect("nobody panics with it").0;
        }
    }
}

/// What the clients know.
#[derive(Default)]
struct Book {
    /// Push tasks whose addition was acknowledged.
    pushed: BTreeSet<String>,
    /// Calls of which nobody knows, each to be there as a whole or not at all.
    perhaps: Vec<Vec<String>>,
    pulled: BTreeSet<String>,
    perhaps_pulled: Vec<Vec<String>>,
    leased: Vec<String>,
    deleted: BTreeSet<String>,
    perhaps_deleted: BTreeSet<String>,
}

/// Evaluates an expression in the app; `None` if there is no whole answer.
fn ask(address: SocketAddr, expression: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    write!(stream, "GET {} HTTP/1.0\r\nHost: localhost\r\n\r\n", path(expression)).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8(answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    (head.starts_with("HTTP/1.0 200") || head.starts_with("HTTP/1.1 200"))
        .then(|| body.to_owned())
        .filter(|body| length.is_none_or(|length: usize| body.len() == length))
}

struct Client<'a> {
    number: usize,
    folder: &'a Path,
    lives: &'a Lives,
    book: &'a Mutex<Book>,
    /// The life in which it asks, if the house is alive as far as it knows.
    life: (usize, SocketAddr),
    failures: usize,
}

impl Client<'_> {
    /// Asks once; if the house died under it, waits for its next life.
    fn once(&mut self, expression: &str) -> Option<String> {
        let answer = ask(self.life.1, expression).map(|answer| answer.replace("u'", "'").replace("b'", "'"));
        if answer.is_none() {
            self.failures += 1;
            self.life = self.lives.after(Some(self.life.0));
        }
        answer
    }

    /// Asks what changes nothing if it is done twice; every second time that an answer is missing, asks no more.
    fn surely(&mut self, expression: &str) -> bool {
        loop {
            match self.once(expression) {
                Some(answer) => {
                    assert_eq!(answer, "'kept'", "{expression}");
                    return true;
                }
                None if self.failures.is_multiple_of(2) => return false,
                None => {}
            }
        }
    }

    fn push(&mut self, numbers: std::ops::Range<usize>) {
        let (client, url) = (self.number, format!("/counted?folder={}", self.folder.display()));
        let name = |n: usize| format!("k{client}-{n}");
        let one = format!("Task(url='{url}', method='PUT', payload=('k{client}-%d' % n) * 20, name='k{client}-%d' % n)");
        let sure = self.surely(&format!("safely(lambda: Queue('three').add([{one} for n in range({}, {})]))", numbers.start, numbers.end));
        let names: Vec<String> = numbers.map(name).collect();
        let mut book = self.book.lock().expect("nobody panics with it");
        if sure { book.pushed.extend(names) } else { book.perhaps.push(names) }
    }

    fn pull(&mut self, numbers: std::ops::Range<usize>) {
        let client = self.number;
        let one = format!("Task(('l{client}-%d' % n) * 20, name='l{client}-%d' % n, method='PULL')");
        let sure = self.surely(&format!("safely(lambda: Queue('pull').add([{one} for n in range({}, {})]))", numbers.start, numbers.end));
        let names: Vec<String> = numbers.map(|n| format!("l{client}-{n}")).collect();
        let mut book = self.book.lock().expect("nobody panics with it");
        if sure { book.pulled.extend(names) } else { book.perhaps_pulled.push(names) }
    }

    /// Leases for a day, so that nobody may lease the same again, and deletes the half of it.
    fn lease_and_delete(&mut self) {
        let whole = "str(t.name) if t.payload.decode('ascii') == str(t.name) * 20 else 'torn'";
        let Some(answer) = self.once(&format!("[{whole} for t in Queue('pull').lease_tasks(86400, {})]", PULLED / 2)) else { return };
        let names = listed(&answer);
        assert!(!names.iter().any(|name| name == "torn"), "{answer}");
        let (go, _) = names.split_at(names.len() / 2);
        let go: Vec<String> = go.to_vec();
        self.book.lock().expect("nobody panics with it").leased.extend(names);
        if go.is_empty() {
            return;
        }
        let tasks: Vec<String> = go.iter().map(|name| format!("Task('', name='{name}', method='PULL')")).collect();
        let answer = self.once(&format!("[t.was_deleted for t in Queue('pull').delete_tasks([{}])]", tasks.join(", ")));
        let mut book = self.book.lock().expect("nobody panics with it");
        match answer {
            Some(answer) => {
                assert!(!answer.contains("False"), "what is leased can be deleted: {answer}");
                book.deleted.extend(go);
            }
            None => book.perhaps_deleted.extend(go),
        }
    }

    fn work(&mut self) {
        for round in 0..ROUNDS {
            let first = round * PUSHED;
            self.push(first..first + PUSHED - 1);
            self.push(first + PUSHED - 1..first + PUSHED);
            self.pull(round * PULLED..(round + 1) * PULLED);
            self.lease_and_delete();
        }
    }
}

/// The names in the text of a Python list.
fn listed(text: &str) -> Vec<String> {
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or_else(|| panic!("not a list: {text}"));
    inner.split(',').map(|name| name.trim().trim_matches('\'').to_owned()).filter(|name| !name.is_empty()).collect()
}

#[test]
fn s1_kill_9_loses_no_acknowledged_task() {
    on_both(|python| {
        let home = tempfile::tempdir().expect("a folder");
        let shared = tempfile::tempdir().expect("a folder");
        let storage = home.path().join("storage").to_str().expect("UTF-8").to_owned();
        let app = scaled(python, "automatic_scaling:\n  max_instances: 2\n");
        let start = || node().app(&app).args(["--patience", "300", "--storage", &storage, "-qq"]).share(shared.path()).start();
        let live = |life: usize| std::fs::write(shared.path().join("life"), life.to_string()).expect("written");
        live(0);
        let (lives, book) = (Lives::default(), Mutex::new(Book::default()));
        let mut running = start();
        lives.set(0, Some(running.address()));
        std::thread::scope(|scope| {
            for number in 0..CLIENTS {
                let (lives, book, folder) = (&lives, &book, shared.path());
                scope.spawn(move || Client { number, folder, lives, book, life: lives.after(None), failures: 0 }.work());
            }
            for kill in 1..=KILLS {
                // Somewhere in the middle of everything.
                acknowledged(&book, CLIENTS * ROUNDS * PUSHED * kill / (KILLS + 1));
                lives.set(kill - 1, None);
                running.kill();
                live(kill);
                running = start();
                lives.set(kill, Some(running.address()));
            }
        });
        let book = book.into_inner().expect("nobody panicked with it");
        let begun = Instant::now();
        while eval(&running, "Queue('three').fetch_statistics().tasks") != "0" {
            assert!(begun.elapsed() < PATIENCE, "{python:?}: tasks are left\n{}", running.everything());
            std::thread::park_timeout(Duration::from_millis(50));
        }
        judge_pushed(python, &book, &std::fs::read_to_string(shared.path().join("done")).expect("tasks were executed"));
        judge_pulled(python, &book, &running);
    });
}

/// Waits until so many additions were acknowledged.
fn acknowledged(book: &Mutex<Book>, count: usize) {
    let begun = Instant::now();
    loop {
        let known = book.lock().expect("nobody panics with it");
        if known.pushed.len() + known.perhaps.iter().map(Vec::len).sum::<usize>() >= count {
            return;
        }
        drop(known);
        assert!(begun.elapsed() < PATIENCE, "the clients do not come along");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

fn judge_pushed(python: Python, book: &Book, done: &str) {
    let mut lives: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in done.lines() {
        let parts: Vec<&str> = line.split(' ').collect();
        let [life, name, "whole"] = parts[..] else { panic!("{python:?}: a task came torn: {line}") };
        lives.entry(name).or_default().push(life);
    }
    let lost: Vec<&String> = book.pushed.iter().filter(|name| !lives.contains_key(name.as_str())).collect();
    assert!(lost.is_empty(), "{python:?}: acknowledged, but not executed: {lost:?}");
    for call in &book.perhaps {
        let there = call.iter().filter(|name| lives.contains_key(name.as_str())).count();
        assert!(there == 0 || there == call.len(), "{python:?}: {there} of {} tasks of one call", call.len());
    }
    let known: BTreeSet<&str> = book.pushed.iter().chain(book.perhaps.iter().flatten()).map(String::as_str).collect();
    assert!(lives.keys().all(|name| known.contains(name)), "{python:?}: nobody added what was executed");
    let mut again: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, lives) in &lives {
        let all: BTreeSet<&str> = lives.iter().copied().collect();
        assert_eq!(all.len(), lives.len(), "{python:?}: {name} ran twice although nobody died in between: {lives:?}");
        // Only the last life of those that a task had has acknowledged it.
        lives[..lives.len() - 1].iter().for_each(|life| *again.entry(life).or_default() += 1);
    }
    assert!(again.values().all(|count| *count <= IN_FLIGHT), "{python:?}: more ran again than were in flight at a kill: {again:?}");
    say(&format!(
        "{python:?}: {} tasks, {} calls of which nobody knows, ran again after a kill: {again:?}",
        lives.len(),
        book.perhaps.len()
    ));
}

fn judge_pulled(python: Python, book: &Book, running: &Node) {
    let once: BTreeSet<&String> = book.leased.iter().collect();
    assert_eq!(once.len(), book.leased.len(), "{python:?}: leased twice within a day");
    let left = left(running);
    let gone = |name: &String| book.deleted.contains(name);
    assert!(left.iter().all(|name| !gone(name)), "{python:?}: deleted, and there");
    let missing: Vec<&String> =
        book.pulled.iter().filter(|name| !left.contains(*name) && !gone(name) && !book.perhaps_deleted.contains(*name)).collect();
    assert!(missing.is_empty(), "{python:?}: acknowledged, but not there: {missing:?}");
    for call in &book.perhaps_pulled {
        let there = call.iter().filter(|name| left.contains(*name) || gone(name) || book.perhaps_deleted.contains(*name)).count();
        assert!(there == 0 || there == call.len(), "{python:?}: {there} of {} pull tasks of one call", call.len());
    }
    let free = listed(&eval(running, "[str(t.name) for t in Queue('pull').lease_tasks(86400, 1000)]").replace("u'", "'"));
    assert!(free.iter().all(|name| !once.contains(name)), "{python:?}: a lease was lost");
    say(&format!("{python:?}: {} pull tasks left, {} leased, {} deleted", left.len(), book.leased.len(), book.deleted.len()));
}

/// All tasks of the pull queue.
fn left(running: &Node) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let mut from = String::new();
    loop {
        let page =
            eval(running, &format!("call('QueryTasks', 'task.task_name', queue_name='pull', start_task_name='{from}', max_rows=1000)[0]"));
        let page = listed(&page);
        let Some(last) = page.last().filter(|_| page.len() > 1 || all.is_empty()).cloned() else { return all };
        all.extend(page);
        from = last;
    }
}
