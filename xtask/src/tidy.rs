//! The house rules as code: what a reviewer should not have to count.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::say;

/// Most lines of a source file that are not tests.
const FILE_LINES: usize = 800;
/// Most packages in the lock file.
const LOCK_PACKAGES: usize = 270;
/// Who may know whom; `enginehouse` and `xtask` may know everyone.
const ARROWS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("appyaml", &["model"]),
    ("store", &["model"]),
    ("sandbox", &[]),
    ("control", &["appyaml", "model", "store"]),
    ("fleet", &["model", "sandbox"]),
    ("edge", &["model"]),
    ("services", &["model", "store"]),
    ("testkit", &[]),
];
/// File names that say nothing.
const VAGUE: &[&str] = &["utils.rs", "util.rs", "helpers.rs", "common.rs", "misc.rs"];

/// Checks every rule and fails with the whole list of what is wrong.
pub(crate) fn run(root: &Path) -> Result<()> {
    let mut wrong = Vec::new();
    let sources = rust_files(root)?;
    for path in &sources {
        check_file(root, path, &mut wrong)?;
    }
    check_arrows(root, &mut wrong)?;
    check_lock(root, &mut wrong)?;
    check_map(root, &mut wrong)?;
    check_walk(root, &mut wrong)?;
    check_rows(root, &sources, &mut wrong)?;
    crate::purity::check(root, &sources, &mut wrong)?;
    if wrong.is_empty() {
        say(&format!("tidy: {} source files, all rules hold", sources.len()));
        return Ok(());
    }
    for line in &wrong {
        say(&format!("tidy: {line}"));
    }
    bail!("{} house rules are broken", wrong.len())
}

/// Every Rust source of the workspace, in order.
pub(crate) fn rust_files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for top in ["crates", "xtask", "benches", "fuzz"] {
        collect(&root.join(top), &mut found)?;
    }
    found.sort();
    Ok(found)
}

fn collect(dir: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    if !dir.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name == "target") {
                continue;
            }
            collect(&path, found)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

fn check_file(root: &Path, path: &Path, wrong: &mut Vec<String>) -> Result<()> {
    let text = fs::read_to_string(path)?;
    let name = path.strip_prefix(root).unwrap_or(path).display().to_string();
    if !text.starts_with("//!") {
        wrong.push(format!("{name}: the first line must be a `//!` comment that says what is here"));
    }
    let product = text.split("\n#[cfg(test)]\nmod tests").next().unwrap_or(&text).lines().count();
    let is_test = name.contains("/tests/") || name.ends_with("tests.rs");
    if product > FILE_LINES && !is_test {
        wrong.push(format!("{name}: {product} lines, at most {FILE_LINES} are allowed; split it"));
    }
    if path.file_name().and_then(|n| n.to_str()).is_some_and(|n| VAGUE.contains(&n)) {
        wrong.push(format!("{name}: the name says nothing; name the file after what it holds"));
    }
    for banned in [concat!("to", "do!("), concat!("unimpl", "emented!("), concat!("#[ig", "nore")] {
        if text.contains(banned) {
            wrong.push(format!("{name}: `{banned}` is not allowed"));
        }
    }
    Ok(())
}

fn check_arrows(root: &Path, wrong: &mut Vec<String>) -> Result<()> {
    let output = Command::new("cargo")
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root)
        .output()
        .context("running cargo metadata")?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).context("cargo metadata prints JSON")?;
    let packages = metadata["packages"].as_array().context("packages")?;
    let own: BTreeSet<&str> = packages.iter().filter_map(|p| p["name"].as_str()).collect();
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let Some(allowed) = allowed.get(name) else { continue };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let target = dependency["name"].as_str().unwrap_or_default();
            let is_dev = dependency["kind"].as_str() == Some("dev");
            if own.contains(target) && !is_dev && !allowed.contains(&target) {
                wrong.push(format!("crate `{name}` may not depend on `{target}`"));
            }
        }
    }
    Ok(())
}

fn check_lock(root: &Path, wrong: &mut Vec<String>) -> Result<()> {
    let count = fs::read_to_string(root.join("Cargo.lock"))?.matches("\n[[package]]").count();
    if count > LOCK_PACKAGES {
        wrong.push(format!("Cargo.lock: {count} packages, at most {LOCK_PACKAGES}"));
    }
    Ok(())
}

/// ARCHITECTURE.md names every crate, and no crate that is not there.
fn check_map(root: &Path, wrong: &mut Vec<String>) -> Result<()> {
    let map = fs::read_to_string(root.join("ARCHITECTURE.md")).context("reading ARCHITECTURE.md")?;
    let mut there = BTreeSet::new();
    for entry in fs::read_dir(root.join("crates"))? {
        there.insert(entry?.file_name().to_string_lossy().into_owned());
    }
    for name in &there {
        if !map.contains(&format!("`crates/{name}`")) {
            wrong.push(format!("ARCHITECTURE.md does not name `crates/{name}`"));
        }
    }
    for named in map.split("`crates/").skip(1).filter_map(|rest| rest.split(['`', '/']).next()) {
        if !there.contains(named) {
            wrong.push(format!("ARCHITECTURE.md names `crates/{named}`, which does not exist"));
        }
    }
    Ok(())
}

/// Each step of the walk that ARCHITECTURE.md lists (table rows with a function in back quotes) is called in the walk's source, in that order.
fn check_walk(root: &Path, wrong: &mut Vec<String>) -> Result<()> {
    let map = fs::read_to_string(root.join("ARCHITECTURE.md"))?;
    let source = root.join("crates/edge/src/walk.rs");
    let Ok(walk) = fs::read_to_string(&source) else {
        wrong.push("crates/edge/src/walk.rs is missing: the walk of ARCHITECTURE.md must be code".into());
        return Ok(());
    };
    let steps: Vec<&str> = map
        .lines()
        .skip_while(|line| !line.contains("The walk"))
        .filter(|line| line.starts_with("| ") && line.contains('`'))
        .filter_map(|line| line.split('`').nth(1))
        .take_while(|step| !step.is_empty())
        .collect();
    if steps.len() < 6 {
        wrong.push("ARCHITECTURE.md: the table under \"The walk\" is missing".into());
    }
    for step in steps {
        let call = step.split('(').next().unwrap_or(step);
        if !walk.contains(call) {
            wrong.push(format!("ARCHITECTURE.md lists `{call}` as a step of the walk, crates/edge/src/walk.rs does not call it"));
        }
    }
    Ok(())
}

/// Every requirement row that docs/rows.md claims has a test that names it.
fn check_rows(root: &Path, sources: &[PathBuf], wrong: &mut Vec<String>) -> Result<()> {
    let Ok(claimed) = fs::read_to_string(root.join("docs/reference/rows.md")) else {
        wrong.push("docs/reference/rows.md is missing: it lists the requirement rows that are done".into());
        return Ok(());
    };
    let mut tests = String::new();
    for path in sources {
        tests.push_str(&fs::read_to_string(path)?.to_lowercase());
    }
    for row in claimed.lines().filter_map(|line| line.strip_prefix("| ")).filter_map(|line| line.split(' ').next()) {
        let is_row = row.len() >= 2 && row.starts_with(['Y', 'H', 'M', 'S', 'T']) && row[1..].bytes().all(|b| b.is_ascii_digit());
        if is_row && !tests.contains(&format!("fn {}_", row.to_lowercase())) {
            wrong.push(format!("docs/reference/rows.md claims {row}, but no test is named `{}_…`", row.to_lowercase()));
        }
    }
    Ok(())
}
