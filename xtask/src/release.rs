//! `cargo xtask release`: the binary that ships. It is compiled with a profile of what the front end does under load (docs/decisions/280), which lies
//! in the repository and is made anew by `cargo xtask release --train`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::{bench, note, say};

/// Where the profile lies, below the workspace.
const PROFILE: &str = "packaging/profile/enginehouse.profdata";
/// The compiler that it was made with: another one names functions differently.
const COMPILER: &str = "packaging/profile/rustc.txt";

pub(crate) fn run(root: &Path, args: &[String]) -> Result<()> {
    match args {
        [] => {}
        [flag] if flag == "--train" => train(root)?,
        _ => bail!("usage: cargo xtask release [--train]"),
    }
    say(&build(root)?.display().to_string());
    Ok(())
}

/// Builds what ships; its path.
pub(crate) fn build(root: &Path) -> Result<PathBuf> {
    let rustc = Rustc::ask()?;
    let known = fs::read_to_string(root.join(COMPILER)).unwrap_or_default();
    let flags = if known.trim() == rustc.version {
        // Functions that changed since the profile was made are compiled without it; that is no reason for a warning each.
        format!("-Cprofile-use={} -Cllvm-args=-no-pgo-warn-mismatch", root.join(PROFILE).display())
    } else {
        note(&format!("the profile was made with {}; building without it", if known.is_empty() { "nothing" } else { known.trim() }));
        String::new()
    };
    compile(root, &rustc, "target", &flags)
}

/// The path of what was built before.
pub(crate) fn shipped(root: &Path) -> Result<PathBuf> {
    let program = place(root, "target", &Rustc::ask()?);
    ensure!(program.exists(), "there is no {}; build it with cargo xtask release", program.display());
    Ok(program)
}

/// Builds with counters, puts the benchmarks' loads on it, and keeps what was counted.
fn train(root: &Path) -> Result<()> {
    let rustc = Rustc::ask()?;
    let profdata = rustc.tool("llvm-profdata")?;
    let raw = root.join("target/training/raw");
    if raw.exists() {
        fs::remove_dir_all(&raw)?;
    }
    note("compiling with counters");
    let program = compile(root, &rustc, "target/training", &format!("-Cprofile-generate={}", raw.display()))?;
    bench::train(root, program)?;
    let profile = root.join(PROFILE);
    fs::create_dir_all(profile.parent().context("a file lies in a folder")?)?;
    let merged = Command::new(profdata).args(["merge", "--sparse", "-o"]).arg(&profile).arg(&raw).status()?;
    ensure!(merged.success(), "the counts could not be merged");
    fs::write(root.join(COMPILER), rustc.version + "\n")?;
    Ok(())
}

fn compile(root: &Path, rustc: &Rustc, into: &str, flags: &str) -> Result<PathBuf> {
    // With a named target, build scripts and macros are compiled without the flags.
    let built = Command::new("cargo")
        .args(["build", "--release", "--locked", "-p", "enginehouse", "--target", &rustc.host, "--target-dir", into])
        .env("RUSTFLAGS", flags)
        .current_dir(root)
        .status()?;
    ensure!(built.success(), "the release build failed");
    Ok(place(root, into, rustc))
}

fn place(root: &Path, into: &str, rustc: &Rustc) -> PathBuf {
    root.join(into).join(&rustc.host).join("release/enginehouse")
}

/// The compiler in use.
struct Rustc {
    host: String,
    /// `rustc 1.95.0 (…) on x86_64-unknown-linux-gnu`.
    version: String,
    sysroot: PathBuf,
}

impl Rustc {
    fn ask() -> Result<Self> {
        let ask = |arg: &[&str]| -> Result<String> {
            let output = Command::new("rustc").args(arg).output().context("rustc cannot be run")?;
            Ok(String::from_utf8(output.stdout)?)
        };
        let about = ask(&["-vV"])?;
        let host = about.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?.to_owned();
        let version = format!("{} on {host}", about.lines().next().unwrap_or_default());
        Ok(Self { host, version, sysroot: ask(&["--print", "sysroot"])?.trim().into() })
    }

    /// A program of the compiler's own LLVM; only that reads what it wrote.
    fn tool(&self, name: &str) -> Result<PathBuf> {
        let tool = self.sysroot.join("lib/rustlib").join(&self.host).join("bin").join(name);
        if !tool.exists() {
            let added = Command::new("rustup").args(["component", "add", "llvm-tools"]).status();
            ensure!(added.is_ok_and(|status| status.success()) && tool.exists(), "{name} is missing: rustup component add llvm-tools");
        }
        Ok(tool)
    }
}
