//! What a million waiting tasks cost: `cargo run --release -p services --example tasks [COUNT]`. An app that answers at once is sent tasks from a queue that holds nothing
//! else, and then from one behind which so many tasks wait for tomorrow; memory is what the system says that the process has.
#![allow(clippy::print_stdout, reason = "a program that prints")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use model::errand::{Answer, Errand, Errands, Unanswered};
use model::ids::{AppId, VersionKey};
use model::pool::{Boxed, Caller, Instance, Lifecycle};
use model::queue::{Queue, QueueMode, QueueRetry};
use model::steer;
use model::table::{Estate, Naming, RoutingTable, Version};
use services::outside::{Links, Outside, Ports};
use services::taskqueue::{FileQueues, House, QueueFile, Steer};
use store::tasks::Fresh;

/// Tasks that are sent in each round.
const SENT: usize = 5000;
const ROUNDS: usize = 5;

struct Fast;

impl QueueFile for Fast {
    fn read(&self, _: &AppId) -> FileQueues {
        let mode = QueueMode::Push { per_second: 1e6, bucket_size: 1_000_000, max_concurrent_requests: None };
        let queue = Queue { name: "default".into(), mode, retry: QueueRetry::default(), target: None, acl: Vec::new() };
        FileQueues { queues: vec![(queue, false)], ..FileQueues::default() }
    }

    fn steer(&self, _: &AppId, _: &str, _: &Steer) -> Result<bool, String> {
        Ok(false)
    }

    fn apps(&self) -> Vec<AppId> {
        Vec::new()
    }
}

#[derive(Default)]
struct Answers(AtomicUsize);

impl Errands for Answers {
    fn run(&self, _: Errand) -> Boxed<'static, Result<Answer, Unanswered>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        let answer = Answer { status: StatusCode::OK, headers: HeaderMap::new(), body: Bytes::new(), cut: false, reached: true };
        Box::pin(std::future::ready(Ok(answer)))
    }
}

/// Nothing else is asked for here.
struct Nobody;

impl Caller for Nobody {
    fn call(&self, _: Arc<Version>, _: Arc<Instance>, _: Lifecycle, _: Duration) -> Boxed<'static, Result<u16, String>> {
        Box::pin(std::future::ready(Err("nobody".into())))
    }
}

impl steer::Steer for Nobody {
    fn steer(&self, _: &AppId, key: &VersionKey, _: steer::Change) -> Boxed<'static, Result<(), steer::Refused>> {
        Box::pin(std::future::ready(Err(steer::Refused::Missing(key.clone()))))
    }
}

fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0) / 1024
}

fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_micros()).unwrap_or(0)
}

fn fill(app: &services::taskqueue::App, count: usize, eta: i64) {
    for _ in 0..count.div_ceil(1000) {
        let added = app.tasks.change_now(move |change| {
            for _ in 0..1000 {
                let task = Fresh { name: None, eta, tag: None, size: 100, spec: vec![0x12, 5, b'/', b'w', b'o', b'r', b'k'] };
                let _ = change.add("default", &task, now())?;
            }
            Ok(())
        });
        added.expect("written");
    }
}

/// Sends tasks that are due; returns how many a second.
fn rate(house: &Arc<House>, app: &services::taskqueue::App, answers: &Answers) -> f64 {
    fill(app, SENT, now());
    let before = answers.0.load(Ordering::SeqCst);
    let begun = Instant::now();
    house.begin();
    while answers.0.load(Ordering::SeqCst) < before + SENT {
        std::thread::sleep(Duration::from_millis(1));
    }
    #[allow(clippy::cast_precision_loss, reason = "small numbers")]
    let rate = SENT as f64 / begun.elapsed().as_secs_f64();
    house.let_go();
    rate
}

fn main() {
    let count = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(1_000_000);
    let folder = tempfile::tempdir().expect("a folder");
    let id: AppId = "demo".parse().expect("an id");
    let outside = Arc::new(Outside::default());
    let answers = Arc::new(Answers::default());
    let naming = Naming { domains: vec!["localhost".into()], default_hostname: "localhost".into(), ..Naming::default() };
    let table = RoutingTable {
        generation: 1,
        app: id.clone(),
        naming,
        services: std::collections::BTreeMap::new(),
        dispatch: Vec::new(),
        firewall: model::firewall::Firewall::default(),
    };
    let estate = Arc::new(ArcSwap::from_pointee(Estate::of(table)));
    outside.connect(Links {
        estate,
        errands: Arc::clone(&answers) as _,
        ports: Ports::default(),
        caller: Arc::new(Nobody),
        steer: Arc::new(Nobody),
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let handle = runtime.handle().clone();
    std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
    let path = folder.path().to_owned();
    let house = House::new(Arc::new(move |_: &AppId| path.clone()), Arc::new(Fast), outside, handle);
    let app = house.app(&id).expect("opens");
    let rates = |text: &str| {
        let mut all: Vec<f64> = (0..ROUNDS).map(|_| rate(&house, &app, &answers)).collect();
        all.sort_by(f64::total_cmp);
        println!("{text}: {:.0} tasks a second (middle of {ROUNDS}), {} MB", all[ROUNDS / 2], memory());
    };
    rates("nothing else waits");
    let begun = Instant::now();
    fill(&app, count, now() + 86_400_000_000);
    println!("{count} tasks added in {:.1} s, {} MB", begun.elapsed().as_secs_f64(), memory());
    rates("they wait for tomorrow");
    let begun = Instant::now();
    app.purge("default").expect("purged");
    println!("purged in {:.1} ms", begun.elapsed().as_secs_f64() * 1000.0);
}
