//! CPU that scheduling costs a request: leases taken from a real fleet with real instances and given back, nothing else. Run by
//! `cargo xtask bench scheduling`; prints one line of JSON a case.
//!
//! 64 tasks on each thread's own runtime, as a core of the front end runs them, hold a lease for a turn of the others. The same loop without a
//! pool is subtracted.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program that prints, and may fail")]

use std::cell::Cell;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fleet::{Fleet, Options, prepare::Quiet};
use model::config::{SkipFiles, VersionConfig};
use model::ids::VersionKey;
use model::journal::{Entry, Journal};
use model::pool::{Outcome, Pool, Wanted};
use model::runtime::Runtime;
use model::scaling::{Automatic, Scaling};
use model::sched::Census;
use model::table::Version;

/// Does nothing but listen.
const LISTENER: &str =
    "import os, socket, time\ns = socket.socket()\ns.bind(('127.0.0.1', int(os.environ['PORT'])))\ns.listen()\ntime.sleep(1e6)\n";
/// Requests at once.
const TASKS: usize = 64;
/// Requests of each measurement.
const REQUESTS: u64 = 1_000_000;

struct Silent;

impl Journal for Silent {
    fn write(&self, _: Entry) {}
}

/// A scaling block and how many threads ask.
struct Case {
    name: &'static str,
    scaling: Automatic,
    threads: usize,
    /// Instances that are there before it begins.
    instances: usize,
}

fn cases() -> Vec<Case> {
    let many = Automatic { min_instances: 12, max_instances: Some(12), ..Automatic::default() };
    let few = Automatic { min_instances: 4, max_instances: Some(4), ..Automatic::default() };
    let one = Automatic { min_instances: 1, max_instances: Some(1), max_concurrent_requests: 80, ..Automatic::default() };
    vec![
        Case { name: "12 instances, room for all", scaling: many.clone(), threads: 1, instances: 12 },
        Case { name: "12 instances, two cores ask", scaling: many, threads: 2, instances: 12 },
        Case { name: "1 instance with 80 concurrent requests", scaling: one, threads: 1, instances: 1 },
        Case { name: "4 instances full, 24 always wait", scaling: few, threads: 1, instances: 4 },
    ]
}

fn main() -> ExitCode {
    if let Some(code) = fleet::launch::intercept() {
        return code;
    }
    let dir = std::env::temp_dir().join(format!("leases-{}", std::process::id()));
    std::fs::create_dir_all(dir.join("app")).unwrap();
    std::fs::write(dir.join("app/listen.py"), LISTENER).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let handle = runtime.handle().clone();
    // The fleet's own thread, as in the server.
    std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
    let base = measure(1, || Nothing);
    for case in cases() {
        let mut options = Options::new("demo".parse().unwrap(), Arc::new(Silent), dir.join("cache"), handle.clone());
        options.capacity = std::sync::Arc::new(fleet::Capacity::new(Some(64)));
        let fleet = Fleet::new(options).unwrap();
        let version = version(&dir, &case);
        let wanted = Wanted { version: Arc::clone(&version), instance: None };
        let prepared = fleet.prepare(&version, &Quiet).unwrap();
        fleet.publish(vec![(version, prepared)]);
        settle(&fleet, case.instances);
        let cost = measure(case.threads, || Asking { fleet: Arc::clone(&fleet), wanted: wanted.clone() });
        let queued = 100.0 * cost.queued;
        println!(
            "{{\"case\": \"{}\", \"cpu_us\": {:.3}, \"base_us\": {:.3}, \"queued_percent\": {queued:.1}}}",
            case.name,
            cost.micros - base.micros,
            base.micros
        );
        handle.block_on(fleet.stop(Duration::from_secs(5)));
    }
    let _ = std::fs::remove_dir_all(&dir);
    ExitCode::SUCCESS
}

fn version(dir: &std::path::Path, case: &Case) -> Arc<Version> {
    let key = VersionKey::new("default".parse().unwrap(), "v1".parse().unwrap()).unwrap();
    let mut config = VersionConfig::new(key, Runtime::parse("python312").unwrap(), vec![anything()]);
    config.entrypoint = Some("exec python3 -S listen.py".to_owned());
    config.skip_files = SkipFiles(Vec::new());
    config.scaling = Scaling::Automatic(case.scaling.clone());
    Arc::new(Version::new("demo".parse().expect("an id"), config, dir.join("app"), 1))
}

fn anything() -> model::handler::Handler {
    use model::handler::{Handler, HandlerKind, Script};
    use model::pattern::{Anchor, Pattern};
    Handler::new(Pattern::new("/.*", Anchor::Whole).unwrap(), HandlerKind::Script(Script::Auto))
}

/// Waits until so many instances are ready.
fn settle(fleet: &Fleet, instances: usize) {
    for _ in 0..6_000 {
        let total = fleet.census().into_iter().fold(Census::default(), |_, (_, census)| census);
        if total.idle + total.busy >= instances && total.starting == 0 {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("the instances did not start");
}

/// What one request does with the pool; true if it had to wait in the queue.
trait Ask: Send + 'static {
    fn ask(&self) -> impl Future<Output = bool>;
}

/// Only the loop itself.
struct Nothing;

impl Ask for Nothing {
    async fn ask(&self) -> bool {
        tokio::task::yield_now().await;
        false
    }
}

/// The way of a request through the front end: the short way first, then the queue.
struct Asking {
    fleet: Arc<Fleet>,
    wanted: Wanted,
}

impl Ask for Asking {
    async fn ask(&self) -> bool {
        let short = self.fleet.try_acquire(&self.wanted);
        let queued = short.is_none();
        let mut lease = match short {
            Some(lease) => lease,
            None => self.fleet.acquire(self.wanted.clone(), Duration::from_mins(1)).await.unwrap(),
        };
        tokio::task::yield_now().await;
        lease.outcome = Outcome::Answered;
        queued
    }
}

struct Cost {
    /// CPU of all threads for one request.
    micros: f64,
    /// Which part of the requests waited in the queue.
    queued: f64,
}

fn measure<A: Ask>(threads: usize, ask: impl Fn() -> A) -> Cost {
    run(threads, &ask, REQUESTS / 10);
    let before = cpu_ns();
    let queued = run(threads, &ask, REQUESTS);
    #[allow(clippy::cast_precision_loss, reason = "figures, not accounts")]
    let each = |of: u64| of as f64 / REQUESTS as f64;
    Cost { micros: each(cpu_ns() - before) / 1e3, queued: each(queued) }
}

fn run<A: Ask>(threads: usize, ask: &impl Fn() -> A, requests: u64) -> u64 {
    let workers: Vec<_> = (0..threads)
        .map(|_| {
            let ask = ask();
            std::thread::spawn(move || core(ask, TASKS / threads, requests / threads as u64))
        })
        .collect();
    workers.into_iter().map(|worker| worker.join().unwrap()).sum()
}

fn core<A: Ask>(ask: A, tasks: usize, requests: u64) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (left, queued, ask) = (Rc::new(Cell::new(requests)), Rc::new(Cell::new(0)), Rc::new(ask));
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let tasks: Vec<_> = (0..tasks)
            .map(|_| {
                let (left, queued, ask) = (Rc::clone(&left), Rc::clone(&queued), Rc::clone(&ask));
                tokio::task::spawn_local(async move {
                    while left.get() > 0 {
                        left.set(left.get() - 1);
                        let waited = ask.ask().await;
                        queued.set(queued.get() + u64::from(waited));
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    queued.get()
}

/// CPU time of this process so far, the instances not counted. Threads that have ended count, too; the kernel counts in steps of 10 ms.
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = text.rsplit_once(')').unwrap().1;
    let ticks: u64 = after_name.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
    ticks * 10_000_000
}
