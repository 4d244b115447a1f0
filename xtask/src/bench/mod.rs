//! Benchmarks beside the peers. The figure that counts is CPU per request of the server under test, as a ratio inside interleaved rounds: absolute
//! times drift on shared machines, ratios hold. The server is pinned to core 0, the load generator and the upstream to core 1.

mod deploy;
mod instances;
mod load;
mod peers;
mod process;
mod proxy;
mod services;
mod start;
mod worker;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::{release, say};

/// What the user asked for.
#[derive(Clone)]
pub(crate) struct Options {
    /// Interleaved rounds.
    rounds: u32,
    /// Seconds of load for each server in each round.
    seconds: u32,
    /// All servers of a comparison are under load at the same time instead of in turn.
    together: bool,
    /// Where files and logs go.
    dir: PathBuf,
    /// The server's binary.
    enginehouse: PathBuf,
    /// Another build of it, for one more row.
    against: Option<PathBuf>,
    /// The workspace.
    root: PathBuf,
}

impl Options {
    /// The workspace's folder.
    fn root(&self) -> &Path {
        &self.root
    }
}

pub(crate) use process::free_port;

type Bench = fn(&Options) -> Result<Vec<String>>;

const ALL: &[(&str, &str, Bench)] = &[
    ("proxy", "proxied 1 KB, keep-alive, beside nginx and haproxy", proxy::proxied),
    ("static-1k", "static 1 KB beside nginx", proxy::static_1k),
    ("static-100k", "static 100 KB beside nginx", proxy::static_100k),
    ("static-10m", "static 10 MB beside nginx", proxy::static_10m),
    ("tls", "proxied 1 KB over TLS, keep-alive", proxy::tls),
    ("handshake", "a full TLS handshake and 1 KB for each request", proxy::handshake),
    ("h2", "proxied 1 KB over HTTP/2 without TLS", proxy::h2),
    ("handlers", "proxied 1 KB with 10 and with 1,000 handlers", proxy::handlers),
    ("idle", "private memory of an idle keep-alive connection", start::idle),
    ("start", "first static answer and first WSGI answer after the start", start::start),
    ("wsgi", "CPU of a WSGI worker beside gunicorn, on Python 2.7 and 3", worker::wsgi),
    ("scheduling", "CPU that scheduling adds to a request at 64 concurrent", instances::scheduling),
    ("idle-versions", "memory and CPU of 1,000 versions that nobody asks", instances::idle_versions),
    ("cold-start", "a Flask app without instances beside a fresh gunicorn", instances::cold_start),
    ("deploy", "an unchanged and a changed app of 1,000 files onto a server", deploy::deploy),
    ("services", "API calls beside the SDK's api_server.py", services::services),
    ("dev-appserver", "requests per CPU second beside dev_appserver", worker::dev_appserver),
];

/// Runs the named benchmarks, or all.
pub(crate) fn run(root: &Path, args: &[String]) -> Result<()> {
    let (mut rounds, mut seconds, mut together, mut fresh, mut names) = (5, 2, false, true, Vec::new());
    let (mut binary, mut against) = (None, None);
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let mut number = || rest.next().and_then(|n| n.parse().ok());
        match arg.as_str() {
            "--rounds" => rounds = number().unwrap_or(rounds),
            "--seconds" => seconds = number().unwrap_or(seconds),
            "--binary" => binary = rest.next(),
            "--against" => against = rest.next(),
            "--list" => {
                for (name, what, _) in ALL {
                    say(&format!("{name:14} {what}"));
                }
                return Ok(());
            }
            "--together" => together = true,
            "--no-build" => fresh = false,
            name if ALL.iter().any(|(known, _, _)| *known == name) => names.push(name.to_owned()),
            other => bail!("unknown benchmark `{other}`; see cargo xtask bench --list"),
        }
    }
    let existing = |file: &String| fs::canonicalize(file).with_context(|| format!("there is no {file}"));
    let enginehouse = match binary {
        Some(binary) => existing(binary)?,
        None if fresh => release::build(root)?,
        None => release::shipped(root)?,
    };
    let against = against.map(existing).transpose()?;
    let options = Options { together, against, ..options(root, enginehouse, rounds, seconds)? };
    for (name, what, bench) in ALL {
        if names.is_empty() || names.iter().any(|n| n == name) {
            say(&format!("\n## {name}: {what} ({rounds} rounds of {seconds} s)\n"));
            for line in bench(&options)? {
                say(&line);
            }
        }
    }
    Ok(())
}

/// What a release is optimised for: the loads of these, once.
const TRAINING: &[&str] = &["proxy", "static-1k", "static-100k", "tls", "handshake", "h2", "handlers", "wsgi"];

/// Puts the loads on a binary that counts what it does.
pub(crate) fn train(root: &Path, enginehouse: PathBuf) -> Result<()> {
    let options = options(root, enginehouse, 1, 2)?;
    for (name, what, bench) in ALL.iter().filter(|(name, ..)| TRAINING.contains(name)) {
        say(&format!("training with {name}: {what}"));
        bench(&options)?;
    }
    Ok(())
}

fn options(root: &Path, enginehouse: PathBuf, rounds: u32, seconds: u32) -> Result<Options> {
    let dir = root.join("target/bench");
    fs::create_dir_all(dir.join("tmp"))?;
    for (program, package) in
        [("nginx", "nginx"), ("haproxy", "haproxy"), ("wrk", "wrk"), ("h2load", "nghttp2-client"), ("taskset", "util-linux")]
    {
        process::need(program, package)?;
    }
    Ok(Options { rounds, seconds, together: false, dir, enginehouse, against: None, root: root.to_owned() })
}

/// The median; 0 of nothing.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn medians() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(&[4.0, 1.0]) - 2.5).abs() < f64::EPSILON);
    }
}
