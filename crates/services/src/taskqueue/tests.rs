//! Processes that let the state go and take it over while tasks are in flight; the app is played by the test.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use model::errand::{Answer, Errand, Errands, Unanswered};
use model::ids::{AppId, VersionKey};
use model::pool::{Boxed, Caller, Instance, Lifecycle};
use model::table::{Estate, Naming, RoutingTable, Version};
use tokio::sync::oneshot;

use super::{App, FileQueues, House, Order, Push, QueueFile, Steer};
use crate::outside::{Links, Outside, Ports};

struct Nothing;

impl QueueFile for Nothing {
    fn read(&self, _: &AppId) -> FileQueues {
        FileQueues::default()
    }

    fn steer(&self, _: &AppId, _: &str, _: &Steer) -> Result<bool, String> {
        Ok(false)
    }

    fn apps(&self) -> Vec<AppId> {
        vec!["demo".parse().expect("an id")]
    }
}

impl Caller for Nothing {
    fn call(&self, _: Arc<Version>, _: Arc<Instance>, _: Lifecycle, _: Duration) -> Boxed<'static, Result<u16, String>> {
        Box::pin(std::future::ready(Err("nobody".into())))
    }
}

impl model::steer::Steer for Nothing {
    fn steer(&self, _: &AppId, key: &VersionKey, _: model::steer::Change) -> Boxed<'static, Result<(), model::steer::Refused>> {
        Box::pin(std::future::ready(Err(model::steer::Refused::Missing(key.clone()))))
    }
}

type Reply = oneshot::Sender<Result<Answer, Unanswered>>;

/// The app: tasks wait for what the test says.
#[derive(Default)]
struct Player(Mutex<Vec<(String, Option<Reply>)>>);

impl Errands for Player {
    fn run(&self, errand: Errand) -> Boxed<'static, Result<Answer, Unanswered>> {
        let header = |name: &str| errand.trusted.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let (reply, answer) = oneshot::channel();
        let told = format!("{} {}", header("x-appengine-taskname"), header("x-appengine-taskretrycount"));
        self.0.lock().expect("nobody panics with it").push((told, Some(reply)));
        Box::pin(async move { answer.await.unwrap_or_else(|_| Err(Unanswered("cut off".into()))) })
    }
}

impl Player {
    fn asked(&self) -> Vec<String> {
        self.0.lock().expect("nobody panics with it").iter().map(|(told, _)| told.clone()).collect()
    }

    /// Answers the call of that number; 0 cuts it off.
    fn answer(&self, call: usize, status: u16) {
        let reply = self.0.lock().expect("nobody panics with it")[call].1.take().expect("asked once");
        if let Ok(status) = StatusCode::from_u16(status) {
            let answer = Answer { status, headers: HeaderMap::new(), body: Bytes::new(), cut: false, reached: true };
            reply.send(Ok(answer)).expect("somebody waits");
        }
    }
}

/// A process.
struct Process {
    house: Arc<House>,
    player: Arc<Player>,
    app: Arc<App>,
    /// Its thread ends with it.
    _end: oneshot::Sender<()>,
}

impl Process {
    fn start(folder: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel::<()>();
        std::thread::spawn(move || runtime.block_on(ended));
        let (outside, player) = (Arc::new(Outside::default()), Arc::new(Player::default()));
        let naming = Naming { domains: vec!["localhost".into()], default_hostname: "localhost".into(), ..Naming::default() };
        let id: AppId = "demo".parse().expect("an id");
        let table = RoutingTable {
            generation: 1,
            app: id.clone(),
            naming,
            services: std::collections::BTreeMap::new(),
            dispatch: Vec::new(),
            firewall: model::firewall::Firewall::default(),
        };
        outside.connect(Links {
            estate: Arc::new(ArcSwap::from_pointee(Estate::of(table))),
            errands: Arc::clone(&player) as _,
            ports: Ports::default(),
            caller: Arc::new(Nothing),
            steer: Arc::new(Nothing),
        });
        let path = folder.to_owned();
        let house = House::new(Arc::new(move |_: &AppId| path.clone()), Arc::new(Nothing), outside, handle);
        let app = house.app(&id).expect("opened");
        house.begin();
        Self { house, player, app, _end: end }
    }

    fn add(&self, name: &str) {
        let queue = self.app.config().queues["default"].clone();
        let push = Push { service: "default".into(), ..Push::default() };
        let order = Order { name: Some(name.into()), method: "GET".into(), url: "/".into(), push, ..Order::default() };
        self.app.order(&queue, &order).expect("added");
    }

    fn tasks(&self) -> u64 {
        self.app.tasks.read(|view| view.queue("default")).expect("read").map_or(0, |queue| queue.tasks)
    }

    /// Waits until the app was asked for these, and nothing else.
    #[track_caller]
    fn asked(&self, wanted: &[&str]) {
        until(|| self.player.asked().len() >= wanted.len(), || format!("{:?} instead of {wanted:?}", self.player.asked()));
        assert_eq!(self.player.asked(), wanted);
    }

    #[track_caller]
    fn emptied(&self) {
        until(|| self.tasks() == 0, || format!("{} tasks are left", self.tasks()));
    }
}

#[track_caller]
fn until(is: impl Fn() -> bool, what: impl Fn() -> String) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < Duration::from_mins(1), "{}", what());
        std::thread::yield_now();
    }
}

#[test]
fn s1_whoever_takes_the_state_back_sends_nothing_twice() {
    let folder = tempfile::tempdir().expect("a folder");
    let process = Process::start(folder.path());
    process.add("first");
    process.asked(&["first 0"]);
    process.house.let_go();
    process.house.begin();
    // It is due later than the first one, which would go before it.
    process.add("second");
    process.asked(&["first 0", "second 0"]);
    process.player.answer(1, 200);
    process.player.answer(0, 500);
    process.asked(&["first 0", "second 0", "first 1"]);
    process.player.answer(2, 200);
    process.emptied();
}

#[test]
fn s1_the_next_process_leaves_alone_what_is_in_flight() {
    let folder = tempfile::tempdir().expect("a folder");
    let old = Process::start(folder.path());
    old.add("first");
    old.asked(&["first 0"]);
    old.house.let_go();
    let new = Process::start(folder.path());
    new.add("second");
    new.asked(&["second 0"]);
    old.player.answer(0, 200);
    until(|| new.tasks() == 1, || "the end of the first one is not written".into());
    new.player.answer(0, 500);
    new.asked(&["second 0", "second 1"]);
    new.player.answer(1, 204);
    new.emptied();
    assert_eq!(old.player.asked(), ["first 0"]);
}

#[test]
fn s1_what_was_cut_off_is_sent_by_the_next_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let old = Process::start(folder.path());
    old.add("first");
    old.asked(&["first 0"]);
    old.house.let_go();
    let new = Process::start(folder.path());
    new.add("second");
    new.asked(&["second 0"]);
    new.player.answer(0, 200);
    until(|| new.tasks() == 1, || "the second one is not done".into());
    old.player.answer(0, 0);
    new.asked(&["second 0", "first 0"]);
    new.player.answer(1, 200);
    new.emptied();
}

#[test]
fn s1_nobody_holds_what_a_dead_process_had() {
    let folder = tempfile::tempdir().expect("a folder");
    let old = Process::start(folder.path());
    old.add("first");
    old.asked(&["first 0"]);
    // It wrote down what was in flight and then died, and the lock with it.
    let (id, _) = old.app.tasks.read(|view| Ok(view.due("default", (0, 0), 1)?[0])).map(|(eta, id)| (id, eta)).expect("read");
    drop(old.app.tasks.hold(move || vec![id], i64::MAX).expect("held"));
    let new = Process::start(folder.path());
    new.asked(&["first 0"]);
    new.player.answer(0, 200);
    new.emptied();
}
