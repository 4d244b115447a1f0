//! What a million waiting tasks cost: `cargo run --release -p services --example tasks [COUNT [ROUNDS]]`. Two processes, one with a queue that holds
//! nothing else and one with a queue behind which so many tasks wait for tomorrow, send the same number of tasks to an app that answers at once: in
//! turns, one process at a time, so that whatever else the machine does meets both. A round ends when all ends are on the disk. Memory is what the
//! system says that each process has.
#![allow(clippy::print_stdout, reason = "a program that prints")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
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
const SENT: usize = 20_000;
/// Says to the program that it is one of the two, and how many tasks wait.
const PLAYER: &str = "--player";

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

struct Answers;

impl Errands for Answers {
    fn run(&self, _: Errand) -> Boxed<'static, Result<Answer, Unanswered>> {
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
fn rate(house: &Arc<House>, app: &services::taskqueue::App, waiting: u64) -> f64 {
    fill(app, SENT, now());
    let left = || app.tasks.read(|view| view.queue("default")).ok().flatten().map_or(0, |queue| queue.tasks);
    let begun = Instant::now();
    house.begin();
    while left() > waiting {
        std::thread::sleep(Duration::from_millis(2));
    }
    #[allow(clippy::cast_precision_loss, reason = "small numbers")]
    let rate = SENT as f64 / begun.elapsed().as_secs_f64();
    house.let_go();
    rate
}

fn house(folder: &std::path::Path) -> Arc<House> {
    let id: AppId = "demo".parse().expect("an id");
    let outside = Arc::new(Outside::default());
    let naming = Naming { domains: vec!["localhost".into()], default_hostname: "localhost".into(), ..Naming::default() };
    let table = RoutingTable {
        generation: 1,
        app: id,
        naming,
        services: std::collections::BTreeMap::new(),
        dispatch: Vec::new(),
        firewall: model::firewall::Firewall::default(),
    };
    outside.connect(Links {
        estate: Arc::new(ArcSwap::from_pointee(Estate::of(table))),
        errands: Arc::new(Answers) as _,
        ports: Ports::default(),
        caller: Arc::new(Nobody),
        steer: Arc::new(Nobody),
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let handle = runtime.handle().clone();
    std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
    let path = folder.to_owned();
    House::new(Arc::new(move |_: &AppId| path.clone()), Arc::new(Fast), outside, handle)
}

/// One of the two: says when it is ready, and sends tasks whenever it is told to.
fn play(count: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let house = house(folder.path());
    let app = house.app(&"demo".parse().expect("an id")).expect("opens");
    let begun = Instant::now();
    fill(&app, count, now() + 86_400_000_000);
    let waiting = app.tasks.read(|view| view.queue("default")).expect("read").map_or(0, |queue| queue.tasks);
    println!("{:.1} {}", begun.elapsed().as_secs_f64(), memory());
    for line in std::io::stdin().lines() {
        match line.as_deref() {
            Ok("purge") => {
                let begun = Instant::now();
                app.purge("default").expect("purged");
                println!("{:.1} {}", begun.elapsed().as_secs_f64() * 1000.0, memory());
            }
            Ok(_) => println!("{:.1} {}", rate(&house, &app, waiting), memory()),
            Err(_) => return,
        }
    }
}

struct Player {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    rates: Vec<f64>,
    memory: u64,
}

impl Player {
    /// Starts it; the number is how long it took to add what waits.
    fn start(count: usize) -> (Self, f64) {
        let program = std::env::current_exe().expect("a program");
        let mut command = Command::new(program);
        command.args([PLAYER, &count.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("started");
        let (input, output) = (process.stdin.take().expect("its input"), process.stdout.take().expect("its output"));
        let mut player = Self { process, input, output: BufReader::new(output), rates: Vec::new(), memory: 0 };
        let took = player.hear();
        (player, took)
    }

    fn hear(&mut self) -> f64 {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("it speaks");
        let mut numbers = line.split_whitespace();
        let first = numbers.next().and_then(|number| number.parse().ok()).expect("a number");
        self.memory = numbers.next().and_then(|number| number.parse().ok()).expect("megabytes");
        first
    }

    fn ask(&mut self, what: &str) -> f64 {
        writeln!(self.input, "{what}").and_then(|()| self.input.flush()).expect("it listens");
        self.hear()
    }

    fn round(&mut self) {
        let rate = self.ask("round");
        self.rates.push(rate);
    }

    fn middle(&self) -> f64 {
        let mut all = self.rates.clone();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    }

    fn end(self) {
        let Self { mut process, input, .. } = self;
        drop(input);
        let _ = process.wait();
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let first = args.next();
    if first.as_deref() == Some(PLAYER) {
        return play(args.next().and_then(|count| count.parse().ok()).unwrap_or(0));
    }
    let count: usize = first.and_then(|count| count.parse().ok()).unwrap_or(1_000_000);
    let rounds: usize = args.next().and_then(|count| count.parse().ok()).unwrap_or(9);
    let (mut empty, _) = Player::start(0);
    let (mut full, took) = Player::start(count);
    println!("{count} tasks added in {took:.1} s; rounds of {SENT} tasks that are due:");
    // One round for both that does not count: the database's pages are read, the program's code too.
    empty.ask("round");
    full.ask("round");
    for round in 1..=rounds.max(1) {
        if round % 2 == 1 {
            empty.round();
            full.round();
        } else {
            full.round();
            empty.round();
        }
        let last = |player: &Player| player.rates.last().copied().unwrap_or(0.0);
        println!("{round:3}  nothing else waits {:8.0}/s   {count} wait {:8.0}/s", last(&empty), last(&full));
    }
    println!(
        "middle  nothing else waits {:.0}/s, {} MB; {count} wait {:.0}/s, {} MB; {:.2} times",
        empty.middle(),
        empty.memory,
        full.middle(),
        full.memory,
        full.middle() / empty.middle()
    );
    let purged = full.ask("purge");
    println!("purged in {purged:.1} ms");
    empty.end();
    full.end();
}
