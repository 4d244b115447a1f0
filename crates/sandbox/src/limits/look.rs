//! Without cgroups: what a tree of processes uses, read from `/proc`.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Signal};

use super::Usage;
use crate::view::{ABOVE_TEMPORARY, TEMPORARY};

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

/// Bytes in the file systems in memory of the sandbox that this process keeps, or that it is in if a zygote forked it; none if there is none.
fn files_in_memory(root: u32) -> u64 {
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
    let Some(own) = namespace("self") else { return 0 };
    let is_inside = |pid: &str| namespace(pid).is_some_and(|found| found != own);
    let children = fs::read_to_string(format!("/proc/{root}/task/{root}/children")).unwrap_or_default();
    let forked = root.to_string();
    let inside =
        if is_inside(&forked) { Some(forked.as_str()) } else { children.split_ascii_whitespace().next().filter(|first| is_inside(first)) };
    let Some(inside) = inside else { return 0 };
    let used = |place: &str| {
        // What a zygote's children see there is a link, which would lead to our own.
        let places = [format!("/proc/{inside}/root{ABOVE_TEMPORARY}{place}"), format!("/proc/{inside}/root{place}")];
        let known = places.iter().find_map(|place| rustix::fs::statvfs(place).ok());
        known.map_or(0, |known| known.f_blocks.saturating_sub(known.f_bfree) * known.f_frsize)
    };
    TEMPORARY.into_iter().map(used).sum()
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
