//! `cargo xtask conformance`: the shared cases, recorded from the SDK, against what we do. Prints counts and every difference that nobody
//! explained. The comparison itself is the tests' own.

#[path = "../../crates/appyaml/tests/conformance/compare.rs"]
mod config;

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::say;

/// What came out of the cases of one kind.
#[derive(Default)]
struct Count {
    agree: usize,
    listed: usize,
}

/// Runs all cases.
pub(crate) fn run() -> Result<()> {
    let mut counts: BTreeMap<String, Count> = BTreeMap::new();
    let mut wrong = Vec::new();
    for case in config::cases() {
        let text = |key: &str| case[key].as_str().unwrap_or_default().to_owned();
        let name = text("name");
        let count = counts.entry(text("kind")).or_default();
        match (config::compare(&case), config::exception(&name)) {
            (Ok(()), None) => count.agree += 1,
            (Err(_), Some(_)) => count.listed += 1,
            (Err(difference), None) => wrong.push(format!("{name}: {difference}")),
            (Ok(()), Some(_)) => wrong.push(format!("{name}: is listed as an exception but agrees")),
        }
    }
    say("config_cases.json: our reading of configuration files against SDK 1.9.88");
    for (kind, count) in &counts {
        say(&format!("  {kind:<17} {:>3} agree, {:>2} differ on purpose", count.agree, count.listed));
    }
    let (agree, listed) = counts.values().fold((0, 0), |(agree, listed), count| (agree + count.agree, listed + count.listed));
    say(&format!("  {:<17} {agree:>3} agree, {listed:>2} differ on purpose, {} wrong", "all", wrong.len()));
    for (name, why) in config::EXCEPTIONS {
        say(&format!("    {name}: {why}"));
    }
    say("cases.json: the SDK's own tests of its front end, asked of our rules");
    rules()?;
    if wrong.is_empty() { Ok(()) } else { bail!("{} cases differ:\n{}", wrong.len(), wrong.join("\n")) }
}

/// The cases that are asked of `model`'s rules live in a test of that crate, which prints the same kind of lines.
fn rules() -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let args = ["test", "--quiet", "--package", "model", "--test", "rules", "cases::", "--", "--nocapture"];
    let output = Command::new(cargo).args(args).output().context("cargo does not run")?;
    let text = String::from_utf8_lossy(&output.stdout);
    for line in text.lines().filter_map(|line| line.strip_prefix("cases.json ")) {
        say(&format!("  {line}"));
    }
    if output.status.success() { Ok(()) } else { bail!("cases.json: {text}") }
}
