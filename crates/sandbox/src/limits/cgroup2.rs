//! cgroup v2: one tree; a part of it is ours where systemd delegates it (`Delegate=yes`, a user's own session), or all of it as root.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{Allowance, Usage, entry, house_name, is_removed, kill_members, sweep};

/// The house's folder.
#[derive(Debug)]
pub(crate) struct Ground {
    folder: PathBuf,
    /// Where the house itself was moved, if it had to make room: a group with processes cannot have groups with limits.
    own: Option<PathBuf>,
}

impl Ground {
    /// Looks from the house's own group upwards for a place where groups with limits can be made and joined.
    pub(crate) fn find() -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
        let top = mounts.lines().find_map(|line| {
            let mut parts = line.split(' ');
            let (_, place, kind) = (parts.next()?, parts.next()?, parts.next()?);
            (kind == "cgroup2").then(|| PathBuf::from(place))
        })?;
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
        if !fs::read_to_string(top.join("cgroup.controllers")).is_ok_and(|list| list.split_whitespace().any(|one| one == "memory")) {
            return None;
        }
        let own = top.join(own);
        own.ancestors().take_while(|folder| folder.starts_with(&top)).find_map(|folder| Self::claim(folder, folder == own && own != top))
    }

    /// Tries to make groups with limits below `parent`; if the house is in it itself, moves it out of the way first.
    fn claim(parent: &Path, inside: bool) -> Option<Self> {
        sweep(parent);
        let mut own = None;
        if inside {
            let leaf = parent.join("enginehouse");
            fs::create_dir_all(&leaf).ok()?;
            for pid in fs::read_to_string(parent.join("cgroup.procs")).unwrap_or_default().lines() {
                // Whoever else is there stays, and then enabling fails below.
                if pid.parse() == Ok(std::process::id()) {
                    fs::write(leaf.join("cgroup.procs"), pid).ok()?;
                }
            }
            own = Some(leaf);
        }
        let folder = parent.join(house_name());
        let made = enable(parent).and_then(|()| fs::create_dir(&folder)).and_then(|()| enable(&folder));
        let ground = Self { folder, own };
        if made.is_ok() && ground.is_usable() {
            return Some(ground);
        }
        ground.remove();
        None
    }

    /// Whether a process of ours may be moved in: shown with one that waits for input.
    fn is_usable(&self) -> bool {
        let Ok(folder) = self.make("probe", &Allowance { memory: 64 << 20, mhz: 600, processes: 10 }) else { return false };
        let child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let joined = child.is_ok_and(|mut child| {
            let joined = fs::write(folder.join("cgroup.procs"), child.id().to_string()).is_ok();
            let _ = child.kill();
            let _ = child.wait();
            joined
        });
        is_removed(&folder);
        joined
    }

    pub(crate) fn make(&self, name: &str, allowance: &Allowance) -> io::Result<PathBuf> {
        let folder = self.folder.join(name);
        fs::create_dir(&folder)?;
        fs::write(folder.join("memory.max"), allowance.memory.to_string())?;
        // What is over the limit must not hide on the disk; and an instance ends as a whole.
        let _ = fs::write(folder.join("memory.swap.max"), "0");
        let _ = fs::write(folder.join("memory.oom.group"), "1");
        let _ = fs::write(folder.join("cpu.weight"), (u64::from(allowance.mhz) / 6).clamp(1, 10_000).to_string());
        let _ = fs::write(folder.join("pids.max"), allowance.processes.to_string());
        Ok(folder)
    }

    pub(crate) fn remove(&self) {
        for group in fs::read_dir(&self.folder).into_iter().flatten().flatten().filter(|group| group.path().is_dir()) {
            is_removed(&group.path());
        }
        is_removed(&self.folder);
        if let Some((own, parent)) = self.own.as_ref().and_then(|own| Some((own, own.parent()?))) {
            // Back to where the house came from, as far as that is allowed while another house has groups there.
            let _ = fs::write(parent.join("cgroup.procs"), std::process::id().to_string());
            is_removed(own);
        }
    }
}

/// Lets groups below `folder` have limits. Memory is a must; without the others there is less to see.
fn enable(folder: &Path) -> io::Result<()> {
    let switch = folder.join("cgroup.subtree_control");
    let on = fs::read_to_string(&switch).unwrap_or_default();
    for controller in ["cpu", "pids"] {
        if !on.split_whitespace().any(|one| one == controller) {
            let _ = fs::write(&switch, format!("+{controller}"));
        }
    }
    if on.split_whitespace().any(|one| one == "memory") { Ok(()) } else { fs::write(&switch, "+memory") }
}

pub(crate) fn usage(folder: &Path) -> Usage {
    let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let memory = entry(&stat, "anon ").unwrap_or_default() + entry(&stat, "shmem ").unwrap_or_default();
    let stat = fs::read_to_string(folder.join("cpu.stat")).unwrap_or_default();
    Usage { cpu: Duration::from_micros(entry(&stat, "usage_usec ").unwrap_or_default()), memory }
}

pub(crate) fn oom_kills(folder: &Path) -> u64 {
    let text = fs::read_to_string(folder.join("memory.events")).unwrap_or_default();
    entry(&text, "oom_kill ").unwrap_or_default()
}

pub(crate) fn kill(folder: &Path) {
    if fs::write(folder.join("cgroup.kill"), "1").is_err() {
        kill_members(folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that looks like a part of the tree; what is written to its files can be read again.
    #[test]
    fn y22_limits_are_written_where_cgroup_v2_expects_them() {
        let tree = tempfile::tempdir().expect("folder");
        let ground = Ground { folder: tree.path().to_owned(), own: None };
        let folder = ground.make("i", &Allowance { memory: 128 << 20, mhz: 1200, processes: 512 }).expect("made");
        let read = |name: &str| fs::read_to_string(folder.join(name)).expect("written");
        assert_eq!((read("memory.max").as_str(), read("cpu.weight").as_str(), read("pids.max").as_str()), ("134217728", "200", "512"));
        assert_eq!(read("memory.oom.group"), "1");
        fs::write(folder.join("memory.stat"), "anon 10\nfile 99\nshmem 5\n").expect("written");
        fs::write(folder.join("cpu.stat"), "usage_usec 2500\nuser_usec 1\n").expect("written");
        fs::write(folder.join("memory.events"), "low 0\noom 2\noom_kill 1\n").expect("written");
        assert_eq!(usage(&folder), Usage { cpu: Duration::from_micros(2500), memory: 15 });
        assert_eq!(oom_kills(&folder), 1);
    }
}
