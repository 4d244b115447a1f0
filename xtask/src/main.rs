//! The project's own chores: `cargo xtask tidy | conformance | bench | release`. Nothing here ships.

mod bench;
mod conformance;
mod conformance_services;
mod peer;
mod purity;
mod release;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

const USAGE: &str = "usage: cargo xtask COMMAND

  tidy                      the house rules: sizes, names, arrows between crates, docs that must agree with code
  conformance               the cases recorded from the SDK, and how many we agree with
  conformance services [NAME...]
                            calls to the SDK's own api_server.py and to ours: what differs, and why
  bench [NAME...]           speed beside nginx, haproxy and others, interleaved in one run
        [--rounds N] [--seconds N] [--no-build] [--binary FILE] [--list]
  release [--train]         builds what ships, optimised for the loads it was trained on; --train makes that profile anew
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<()> {
    let Some((command, rest)) = args.split_first() else { bail!("{USAGE}") };
    match command.as_str() {
        "tidy" => tidy::run(&root()?),
        "conformance" => match rest.split_first() {
            Some((what, names)) if what == "services" => conformance_services::run(&root()?, names),
            Some((what, _)) => bail!("unknown conformance `{what}`\n\n{USAGE}"),
            None => conformance::run(),
        },
        "bench" => bench::run(&root()?, rest),
        "release" => release::run(&root()?, rest),
        _ => bail!("unknown command `{command}`\n\n{USAGE}"),
    }
}

/// The workspace's folder.
fn root() -> Result<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(own.parent().context("xtask lies in the workspace")?.to_owned())
}

/// Beside the output, which another command may read.
#[allow(clippy::print_stderr, reason = "a chore talks to the person who started it")]
fn note(text: &str) {
    eprintln!("note: {text}");
}

/// The one place that prints.
#[allow(clippy::print_stdout, reason = "a chore talks to the person who started it")]
fn say(text: &str) {
    println!("{text}");
}
