//! A thousand versions that nobody asks for: what they cost. A test binary of its own, because it measures its process.

use std::sync::Arc;
use std::time::Duration;

use fleet::prepare::Quiet;
use fleet::{Fleet, Options};
use model::config::{SkipFiles, VersionConfig};
use model::ids::VersionKey;
use model::journal::{Entry, Journal};
use model::runtime::Runtime;
use model::sched::Census;
use model::table::Version;

struct Silent;

impl Journal for Silent {
    fn write(&self, _entry: Entry) {}
}

const VERSIONS: u64 = 1_000;

fn config(number: u64) -> VersionConfig {
    let key = VersionKey::new("default".parse().expect("valid"), format!("v{number}").parse().expect("valid")).expect("short");
    let mut config = VersionConfig::new(key, Runtime::parse("go122").expect("known"), Vec::new());
    config.entrypoint = Some("./server".into());
    config.skip_files = SkipFiles(Vec::new());
    config
}

/// CPU time in hundredths of a second.
fn cpu() -> u64 {
    let text = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<&str> = text.rsplit_once(')').expect("a name").1.split_whitespace().collect();
    fields[11].parse::<u64>().expect("a number") + fields[12].parse::<u64>().expect("a number")
}

#[tokio::test]
async fn y29_a_thousand_idle_versions_cost_little_memory_and_no_cpu() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path().join("app");
    std::fs::create_dir(&root).expect("created");
    std::fs::write(root.join("server"), "#!/bin/sh\n").expect("written");
    let handle = tokio::runtime::Handle::current();
    let mut options = Options::new("demo".parse().expect("valid"), Arc::new(Silent), dir.path().join("cache"), handle);
    options.launcher = env!("CARGO_BIN_EXE_enginehouse-launch").into();
    let fleet = Fleet::new(options).expect("a fleet");
    let version = |number| Arc::new(Version::new("demo".parse().expect("an id"), config(number), root.clone(), 1));
    let prepared = fleet.prepare(&version(0), &Quiet).expect("prepared");
    let before = testkit::process::resident(std::process::id());
    fleet.publish((0..VERSIONS).map(|number| (version(number), prepared.clone())).collect());
    tokio::task::yield_now().await;
    let grown = testkit::process::resident(std::process::id()).saturating_sub(before);
    assert!(grown < 50 * 1024, "{grown} KB for {VERSIONS} versions");
    assert!(fleet.census().iter().all(|(_, census)| *census == Census::default()));
    // What the tasks of a thousand pools do while nothing happens.
    let begun = cpu();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(cpu() - begun <= 2, "{} hundredths of a second of CPU in a second", cpu() - begun);
    println!("{grown} KB for {VERSIONS} idle versions");
    fleet.stop(Duration::from_secs(1)).await;
}
