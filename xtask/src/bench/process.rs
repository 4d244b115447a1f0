//! Child processes of a benchmark: pinned to a core, measured by the kernel's own accounting, always killed and reaped.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// A running server under test.
pub(crate) struct Server {
    child: Child,
    name: String,
}

impl Server {
    /// Starts `command` (program and arguments) on `core`, its output in `log`.
    pub(crate) fn start(name: &str, core: &str, command: &[String], env: &[(String, String)], log: &Path) -> Result<Self> {
        let out = fs::File::create(log).with_context(|| format!("creating {}", log.display()))?;
        let child = Command::new("taskset")
            .args(["-c", core])
            .args(command)
            .envs(env.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .with_context(|| format!("starting {name}: {}", command.join(" ")))?;
        Ok(Self { child, name: name.to_owned() })
    }

    /// The process that `taskset` became.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `port` answers a request with any status.
    pub(crate) fn wait_ready(&mut self, port: u16, limit: Duration) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < limit {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended at once: {status}", self.name);
            }
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        bail!("{} did not listen on port {port} within {limit:?}", self.name)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for pid in tree(self.child.id()).into_iter().rev() {
            signal(pid, "TERM");
        }
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(5) {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        for pid in tree(self.child.id()).into_iter().rev() {
            signal(pid, "KILL");
        }
        if self.child.wait().is_err() {
            crate::say(&format!("could not reap {}", self.name));
        }
    }
}

fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).stderr(Stdio::null()).status();
    if let Err(error) = sent {
        crate::say(&format!("kill: {error}"));
    }
}

/// `pid` and all its descendants.
pub(crate) fn tree(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut next = 0;
    while let Some(&parent) = all.get(next) {
        next += 1;
        let tasks = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
        for task in tasks {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            all.extend(children.split_whitespace().filter_map(|p| p.parse::<u32>().ok()));
        }
    }
    all
}

/// CPU time of each thread of the processes so far, in nanoseconds, from the scheduler's own counters.
pub(crate) fn thread_ns(pids: &[u32]) -> BTreeMap<String, u64> {
    let tasks = pids.iter().flat_map(|pid| fs::read_dir(format!("/proc/{pid}/task"))).flatten().flatten();
    tasks
        .filter_map(|task| {
            let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
            Some((task.path().display().to_string(), text.split(' ').next()?.parse().ok()?))
        })
        .collect()
}

/// What was spent since `before`, without threads that have ended meanwhile (idle helpers of the start).
pub(crate) fn spent_ns(before: &BTreeMap<String, u64>, pids: &[u32]) -> u64 {
    thread_ns(pids).iter().map(|(thread, now)| now.saturating_sub(before.get(thread).copied().unwrap_or(0))).sum()
}

/// CPU time of the processes so far, in nanoseconds.
pub(crate) fn cpu_ns(pids: &[u32]) -> u64 {
    thread_ns(pids).values().sum()
}

/// The same in the coarser steps of 10 ms, but with the threads that have ended: for servers that start one for each request.
pub(crate) fn cpu_ns_of_all_threads(pids: &[u32]) -> u64 {
    const TICK_NS: u64 = 10_000_000;
    let ticks = |pid: &u32| -> u64 {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after_name = text.rsplit_once(')').map_or("", |(_, rest)| rest);
        after_name.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum()
    };
    pids.iter().map(ticks).sum::<u64>() * TICK_NS
}

/// Private memory of a process in KiB.
pub(crate) fn private_kib(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    Ok(text
        .lines()
        .filter(|line| line.starts_with("Private_"))
        .filter_map(|line| line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()))
        .sum())
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// One GET on a connection of its own; returns the status.
pub(crate) fn get(port: u16, host: &str, path: &str) -> Result<u16> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let head = String::from_utf8_lossy(&answer[..answer.len().min(12)]).into_owned();
    head.split(' ').nth(1).and_then(|s| s.parse().ok()).with_context(|| format!("no status in {head:?}"))
}

/// Makes sure that a tool is installed, by the system's package manager if this process may.
pub(crate) fn need(program: &str, package: &str) -> Result<()> {
    let there = || Command::new("which").arg(program).stdout(Stdio::null()).status().is_ok_and(|s| s.success());
    if there() {
        return Ok(());
    }
    crate::say(&format!("installing {package}"));
    let done = Command::new("apt-get")
        .args(["install", "-y", "-qq", "--no-install-recommends", package])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdout(Stdio::null())
        .status();
    if done.is_ok_and(|s| s.success()) && there() {
        return Ok(());
    }
    bail!("`{program}` is missing: install the package `{package}`")
}
