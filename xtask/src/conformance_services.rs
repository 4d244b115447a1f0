//! `cargo xtask conformance services`: the calls of `conformance/services/*.json` to the SDK's own `api_server.py` and to ours. Answers are equal, but for
//! differences that are listed with their reasons.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::peer::{Peer, python2, sdk};
use crate::say;

/// Runs all calls, or those of the named services.
pub(crate) fn run(root: &Path, names: &[String]) -> Result<()> {
    let built = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--quiet", "--package", "enginehouse"])
        .current_dir(root)
        .status()?;
    if !built.success() {
        bail!("enginehouse does not build");
    }
    let folder = root.join("conformance/services");
    let python = python2()?;
    let sdk = sdk(root, &python)?;
    let (theirs, ours) = (Peer::theirs(root)?, Peer::ours(root, &root.join("target/debug/enginehouse"))?);
    let output = Command::new(&python)
        .arg(folder.join("drive.py"))
        .arg(&sdk)
        .args([theirs.port.to_string(), ours.port.to_string()])
        .args(sheets(&folder, names)?)
        .output()
        .context("Python does not run")?;
    if !output.status.success() {
        bail!("the driver failed:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    tell(&serde_json::from_slice(&output.stdout).context("the driver prints JSON")?)
}

fn sheets(folder: &Path, names: &[String]) -> Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .filter(|path| names.is_empty() || path.file_stem().is_some_and(|stem| names.iter().any(|name| stem == name.as_str())))
        .collect();
    found.sort();
    ensure!(!found.is_empty(), "there are no calls of {}", names.join(", "));
    Ok(found)
}

fn tell(found: &Value) -> Result<()> {
    let number = |count: &Value, what: &str| count[what].as_u64().unwrap_or(0);
    let (mut agree, mut differ) = (0, 0);
    say("conformance/services: calls to the SDK's api_server.py (1.9.88) and to ours");
    for (service, count) in found["counts"].as_object().into_iter().flatten() {
        if count["absent"] == true {
            say(&format!("  {service:<21} is not there yet"));
            continue;
        }
        say(&format!("  {service:<21} {:>4} agree, {:>3} differ on purpose", number(count, "agree"), number(count, "differ")));
        (agree, differ) = (agree + number(count, "agree"), differ + number(count, "differ"));
    }
    let texts = |name: &str| -> Vec<String> {
        found[name].as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
    };
    let wrong = texts("wrong");
    say(&format!("  {:<21} {agree:>4} agree, {differ:>3} differ on purpose, {} wrong", "all", wrong.len()));
    for line in texts("listed") {
        say(&format!("    {line}"));
    }
    if wrong.is_empty() { Ok(()) } else { bail!("{} calls differ:\n{}", wrong.len(), wrong.join("\n")) }
}
