//! Without cgroups: what a tree of processes uses, read from `/proc`.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Signal};

use super::Usage;

/// The fields of `/proc/PID/stat` after the name, which may contain anything.
pub(crate) fn fields(stat: &str) -> Option<impl Iterator<Item = &str>> {
    Some(stat.rsplit_once(") ")?.1.split(' '))
}

/// The processes that these started, and those that they started, and so on; with themselves.
fn tree(roots: &[u32]) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    let mut todo = roots.to_vec();
    while let Some(pid) = todo.pop() {
        if !found.insert(pid) {
            continue;
        }
        // Each thread has children of its own.
        for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            todo.extend(children.split_ascii_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
    }
    found
}

/// What the trees below these processes use.
pub(crate) fn usage(roots: &[u32]) -> Usage {
    let mut usage = Usage::default();
    for pid in tree(roots) {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let kilobytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or_default()
        };
        usage.memory += (kilobytes("RssAnon:") + kilobytes("RssShmem:")) * 1024;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // User and system time, its own and that of children it has waited for.
        let ticks: u64 = fields(&stat).into_iter().flatten().skip(11).take(4).filter_map(|field| field.parse::<u64>().ok()).sum();
        usage.cpu += Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second());
    }
    usage.memory += roots.iter().map(|&keeper| files_in_memory(keeper)).sum::<u64>();
    usage
}

/// Bytes in the file systems in memory of the sandbox that this process keeps; none if it keeps none.
fn files_in_memory(keeper: u32) -> u64 {
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
    let own = namespace("self");
    let children = fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children")).unwrap_or_default();
    let Some(first) = children.split_ascii_whitespace().next() else { return 0 };
    if own.is_none() || namespace(&keeper.to_string()) != own || namespace(first) == own {
        return 0;
    }
    let used = |place: &str| {
        let known = rustix::fs::statvfs(format!("/proc/{first}/root/{place}")).ok();
        known.map_or(0, |known| known.f_blocks.saturating_sub(known.f_bfree) * known.f_frsize)
    };
    used("tmp") + used("dev/shm")
}

/// Ends the trees.
pub(crate) fn kill(roots: &[u32]) {
    for pid in tree(roots) {
        if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
    }
}

/// The number, as the house sees it, of the process that calls itself `inner` in the sandbox whose keeper is `keeper`.
pub fn host_pid(keeper: u32, inner: u32) -> Option<u32> {
    tree(&[keeper]).into_iter().find(|pid| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
        let mut numbers = numbers.split_ascii_whitespace();
        // One number for each namespace, the innermost last.
        numbers.next().is_some() && numbers.next_back().and_then(|number| number.parse().ok()) == Some(inner)
    })
}
