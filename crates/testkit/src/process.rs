//! Looks at /proc: who descends from whom, and whether anything was left behind.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// A process that cannot be confused with a later one of the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// When it started, in the kernel's ticks.
    pub started: u64,
}

struct Stat {
    process: Process,
    parent: u32,
    zombie: bool,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; the fields after the last `)` are plain.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let started = fields.get(19)?.parse().ok()?;
    Some(Stat { process: Process { pid, started }, parent: fields.get(1)?.parse().ok()?, zombie: fields.first() == Some(&"Z") })
}

fn all() -> Vec<Stat> {
    let entries = std::fs::read_dir("/proc").expect("/proc is readable");
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter_map(stat).collect()
}

/// The process of this number, if there is one.
pub fn find(pid: u32) -> Option<Process> {
    stat(pid).filter(|found| !found.zombie).map(|found| found.process)
}

/// Everything that descends from `root`.
pub fn descendants(root: u32) -> BTreeSet<Process> {
    let all = all();
    let mut family = BTreeSet::from([root]);
    let mut found = BTreeSet::new();
    loop {
        let before = family.len();
        for one in &all {
            if family.contains(&one.parent) && family.insert(one.process.pid) {
                found.insert(one.process);
            }
        }
        if family.len() == before {
            return found;
        }
    }
}

/// Those of `processes` that still run.
pub fn alive(processes: &BTreeSet<Process>) -> BTreeSet<Process> {
    processes.iter().copied().filter(|process| stat(process.pid).is_some_and(|now| now.process == *process && !now.zombie)).collect()
}

/// Waits until none of `processes` runs any more.
///
/// # Panics
///
/// If one of them goes on for a quarter of the deadline.
#[track_caller]
pub fn wait_gone(processes: &BTreeSet<Process>) {
    let until = Instant::now() + crate::DEADLINE / 4;
    for one in processes {
        let Some(descriptor) =
            i32::try_from(one.pid).ok().and_then(Pid::from_raw).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
        else {
            continue;
        };
        // Looked at after the descriptor was made: it is this process and no later one of its number.
        while !alive(&BTreeSet::from([*one])).is_empty() {
            assert!(Instant::now() < until, "it does not end: {}", describe(*one));
            // Wakes at its end; looks again now and then, so that a process that goes on is told of.
            let _ = poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&Timespec { tv_sec: 0, tv_nsec: 50_000_000 }));
        }
    }
}

/// A variable's entry (`NAME=VALUE`) in the environment that a process began with.
pub fn variable(pid: u32, name: &str) -> Option<String> {
    let environ = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    let mut entries = environ.split(|&byte| byte == 0).map(String::from_utf8_lossy);
    entries.find(|entry| entry.strip_prefix(name).is_some_and(|rest| rest.starts_with('='))).map(std::borrow::Cow::into_owned)
}

/// KiB in memory of a process.
///
/// # Panics
///
/// If it does not run.
#[track_caller]
pub fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Processes that carry `mark` in their environment, or work in one of `folders`.
pub fn marked(mark: &str, folders: &[&Path]) -> BTreeSet<Process> {
    let own = std::process::id();
    let name = mark.split_once('=').map_or(mark, |(name, _)| name);
    let belongs = |pid: u32| {
        let place = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
        variable(pid, name).is_some_and(|entry| entry == mark) || folders.iter().any(|folder| place.starts_with(folder))
    };
    all().into_iter().filter(|one| !one.zombie && one.process.pid != own && belongs(one.process.pid)).map(|one| one.process).collect()
}

/// The command line, for messages.
pub fn describe(process: Process) -> String {
    let line = std::fs::read(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default();
    format!("{} `{}`", process.pid, String::from_utf8_lossy(&line).replace('\0', " ").trim())
}
