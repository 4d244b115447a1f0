//! A process that changes the store from several threads is killed again and again, wherever it is. What it was told to be done, is done; nothing is
//! half done.

use std::collections::BTreeMap;
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use model::ids::{AppId, ServiceId};
use store::Store;
use store::control::{Page, Service, StoreError};
use store::files::Grace;

use crate::scene::{BUCKET, actor, check, deploy, id, open, upload};

const DIR: &str = "ENGINEHOUSE_TEST_STORE";
const ROUNDS: usize = 25;

/// What the parent runs; does nothing unless it is asked to.
#[test]
fn child() {
    let Some(dir) = env::var_os(DIR) else { return };
    let store = open(Path::new(&dir));
    let from = store.rev();
    deploy(&store, "default", "v0", &[("app.yaml", "x")]).expect("deployed");
    std::thread::scope(|scope| {
        scope.spawn(|| for_ever(|n| count(&store, n).map(|()| format!("count {n}")), from));
        scope.spawn(|| for_ever(|n| upload(&store, &format!("o{n}"), &format!("text {n}")).map(|()| format!("object o{n}")), from));
        scope.spawn(|| for_ever(|n| create(&store, n), from));
        scope.spawn(|| for_ever(|_| collect(&store), from));
    });
}

/// Does something again and again, and says what is done.
fn for_ever(act: impl Fn(u64) -> Result<String, StoreError>, from: u64) {
    for n in from.. {
        match act(n) {
            Ok(done) if done.is_empty() => {}
            Ok(done) => {
                let mut out = std::io::stdout().lock();
                // One write, so that the parent never reads half a line of somebody else.
                let _ = out.write_all(format!("done {done}\n").as_bytes()).and_then(|()| out.flush());
            }
            // The collector of this test gives nobody time: content may be gone before it has a name.
            Err(StoreError::Missing(_) | StoreError::Sql(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

fn count(store: &Store, n: u64) -> Result<(), StoreError> {
    store.change(&actor(), |change| {
        let (app, service): (AppId, ServiceId) = (id("demo"), id("default"));
        let mut held = change.service(&app, &service)?;
        held.labels.insert("n".to_owned(), n.to_string());
        change.put_service("services.patch", Service { ..held })?;
        Ok(())
    })
}

fn create(store: &Store, n: u64) -> Result<String, StoreError> {
    let version = format!("v{n}");
    deploy(store, "default", &version, &[("app.yaml", "x"), ("a/b", &version)])?;
    if n.is_multiple_of(3) {
        store.change(&actor(), |change| change.delete_version(&id("demo"), &id("default"), &id(&version)))?;
        return Ok(format!("deleted {version}"));
    }
    Ok(format!("version {version}"))
}

fn collect(store: &Store) -> Result<String, StoreError> {
    let none = std::time::Duration::ZERO;
    // Uploads and drafts of others are under way all the time.
    store.collect(&Grace { files: none, staged: std::time::Duration::from_hours(1), uploads: std::time::Duration::from_hours(1) })?;
    Ok(String::new())
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs the child until it has said `lines` lines, and kills it; returns what was said until its end.
fn run(dir: &Path, lines: usize) -> Vec<String> {
    let mut command = Command::new(env::current_exe().expect("known"));
    command.args(["crash::child", "--exact", "--nocapture", "--test-threads=1"]).env(DIR, dir).stdout(Stdio::piped());
    let mut child = Killed(command.spawn().expect("started"));
    let mut said = Vec::new();
    let mut reader = BufReader::new(child.0.stdout.take().expect("piped"));
    let mut line = String::new();
    while reader.read_line(&mut line).expect("readable") > 0 {
        if let Some(done) = line.trim_end().strip_prefix("done ") {
            said.push(done.to_owned());
        }
        if said.len() == lines {
            child.0.kill().expect("killed");
        }
        line.clear();
    }
    assert!(said.len() >= lines, "the child ended by itself after {said:?}");
    said
}

#[test]
fn a_killed_process_leaves_whole_things() {
    let home = tempfile::tempdir().expect("a folder");
    let dir = home.path().join("data");
    let mut last = 0;
    for round in 0..ROUNDS {
        let said = run(&dir, 1 + round * 7 % 60);
        let store = Store::open(&dir).expect("opens again");
        check(&store);
        assert!(store.rev() > last);
        last = store.rev();
        let mut count = None;
        for done in &said {
            match done.split_once(' ').expect("two words") {
                ("count", n) => count = n.parse::<u64>().ok(),
                ("object", name) => {
                    assert!(store.read(|view| view.find_object(BUCKET, name)).expect("read").is_some(), "{name}");
                }
                ("version", version) => {
                    let found = store.read(|view| view.find_version(&id("demo"), &id("default"), version)).expect("read");
                    assert!(found.is_some(), "{version}");
                }
                ("deleted", version) => {
                    let found = store.read(|view| view.find_version(&id("demo"), &id("default"), version)).expect("read");
                    assert!(found.is_none(), "{version}");
                }
                other => panic!("{other:?}"),
            }
        }
        let service = store.read(|view| view.service(&id("demo"), &id("default"))).expect("read");
        let written: BTreeMap<String, String> = service.labels;
        if let Some(count) = count {
            assert!(written["n"].parse::<u64>().expect("a number") >= count, "{written:?} after {count}");
        }
        finish_left_over(&store);
    }
}

/// What a driver does with operations that were under way.
fn finish_left_over(store: &Store) {
    let left = store.read(|view| view.running_operations()).expect("read");
    for operation in left {
        let failure = store::control::Failure { code: 13, message: "interrupted".to_owned(), details: Vec::new() };
        let failed = store::control::Outcome::Failed(failure);
        store.change(&actor(), |change| change.finish(&operation.app, operation.id, &failed)).expect("finished");
    }
    assert!(store.read(|view| view.operations(&id("demo"), Some(false), &Page::all())).expect("read").is_empty());
}
