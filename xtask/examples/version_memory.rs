//! Memory of a version that is only registered, by what it consists of: `cargo run --release -p xtask --example version_memory`.
#![allow(clippy::print_stdout, reason = "a program that prints")]

use model::config::{SkipFiles, VersionConfig};
use model::handler::{Handler, HandlerKind, Script};
use model::ids::VersionKey;
use model::pattern::{Anchor, Pattern};
use model::runtime::Runtime;
use model::sched::{Scheduler, Settings};
use model::table::Version;
use testkit::process::resident;

const COUNT: usize = 1_000;

fn weigh<T>(name: &str, make: impl Fn() -> T) {
    let before = resident(std::process::id());
    let all: Vec<T> = (0..COUNT).map(|_| make()).collect();
    let each = resident(std::process::id()).saturating_sub(before);
    println!("{name:<32} {each:>6} KB for {COUNT}");
    drop(all);
}

fn config() -> VersionConfig {
    let handler = Handler::new(Pattern::new("/.*", Anchor::Whole).expect("compiles"), HandlerKind::Script(Script::Auto));
    let key = VersionKey::new("default".parse().expect("a service"), "v1".parse().expect("a version")).expect("short");
    VersionConfig::new(key, Runtime::parse("python311").expect("a runtime"), vec![handler])
}

fn main() {
    weigh("skip_files, the defaults", SkipFiles::default);
    weigh("one URL pattern", || Pattern::new("/.*", Anchor::Whole).expect("compiles"));
    weigh("a configuration", config);
    weigh("a version with its routes", || Version::new("demo".parse().expect("an id"), config(), "/app".into(), 1));
    let config = config();
    weigh("a scheduler", || Scheduler::new(Settings::of(&config), 1, 1));
}
