//! cgroup v1: one tree for each controller, writable as root. Groups are made at the top of each.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Allowance, Usage, entry, house_name, is_removed, kill_members, number, sweep};

/// The house's folder in each tree that is of use.
#[derive(Debug)]
pub(crate) struct Ground {
    memory: PathBuf,
    cpu: Option<PathBuf>,
    cpuacct: Option<PathBuf>,
    pids: Option<PathBuf>,
}

/// The folders of one instance.
#[derive(Debug)]
pub(crate) struct Folders {
    memory: PathBuf,
    cpu: Option<PathBuf>,
    cpuacct: Option<PathBuf>,
    pids: Option<PathBuf>,
}

/// The mount point of each controller's tree.
fn mounts(text: &str, controller: &str) -> Option<PathBuf> {
    text.lines().find_map(|line| {
        let mut parts = line.split(' ');
        let (_, place, kind, options) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        (kind == "cgroup" && options.split(',').any(|option| option == controller)).then(|| PathBuf::from(place))
    })
}

impl Ground {
    /// `None` if memory cannot be limited this way.
    pub(crate) fn find() -> Option<Self> {
        let text = fs::read_to_string("/proc/self/mounts").ok()?;
        let name = house_name();
        let claim = |controller: &str| {
            let top = mounts(&text, controller)?;
            sweep(&top);
            let folder = top.join(&name);
            match fs::create_dir(&folder) {
                Ok(()) => Some(folder),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Some(folder),
                Err(_) => None,
            }
        };
        let ground = Self { memory: claim("memory")?, cpu: claim("cpu"), cpuacct: claim("cpuacct"), pids: claim("pids") };
        // A folder that can be made and not used is of no use.
        let probe = ground.make("probe", &Allowance { memory: 64 << 20, mhz: 600, processes: 10 });
        let usable = probe.is_ok();
        if let Ok(folders) = probe {
            for folder in folders.all() {
                is_removed(folder);
            }
        }
        if usable {
            return Some(ground);
        }
        ground.remove();
        None
    }

    pub(crate) fn make(&self, name: &str, allowance: &Allowance) -> io::Result<Folders> {
        let make = |parent: &Option<PathBuf>, file: &str, value: String| -> io::Result<Option<PathBuf>> {
            let Some(folder) = parent.as_ref().map(|parent| parent.join(name)) else { return Ok(None) };
            // Two controllers may share one tree.
            fs::create_dir_all(&folder)?;
            if !file.is_empty() {
                fs::write(folder.join(file), value)?;
            }
            Ok(Some(folder))
        };
        let memory = make(&Some(self.memory.clone()), "memory.limit_in_bytes", allowance.memory.to_string())?;
        Ok(Folders {
            memory: memory.unwrap_or_default(),
            // 1024 is the share of somebody without a group.
            cpu: make(&self.cpu, "cpu.shares", (u64::from(allowance.mhz) * 1024 / 600).to_string())?,
            cpuacct: make(&self.cpuacct, "", String::new())?,
            pids: make(&self.pids, "pids.max", allowance.processes.to_string())?,
        })
    }

    pub(crate) fn remove(&self) {
        for folder in [Some(&self.memory), self.cpu.as_ref(), self.cpuacct.as_ref(), self.pids.as_ref()].into_iter().flatten() {
            for group in fs::read_dir(folder).into_iter().flatten().flatten().filter(|group| group.path().is_dir()) {
                is_removed(&group.path());
            }
            is_removed(folder);
        }
    }
}

impl Folders {
    pub(crate) fn all(&self) -> impl Iterator<Item = &Path> {
        [Some(&self.memory), self.cpu.as_ref(), self.cpuacct.as_ref(), self.pids.as_ref()].into_iter().flatten().map(PathBuf::as_path)
    }

    pub(crate) fn usage(&self) -> Usage {
        let stat = fs::read_to_string(self.memory.join("memory.stat")).unwrap_or_default();
        let memory = entry(&stat, "rss ").unwrap_or_default() + entry(&stat, "shmem ").unwrap_or_default();
        let cpu = self.cpuacct.as_ref().and_then(|folder| number(&folder.join("cpuacct.usage"))).unwrap_or_default();
        Usage { cpu: Duration::from_nanos(cpu), memory }
    }

    pub(crate) fn oom_kills(&self) -> u64 {
        let text = fs::read_to_string(self.memory.join("memory.oom_control")).unwrap_or_default();
        entry(&text, "oom_kill ").unwrap_or_default()
    }

    pub(crate) fn kill(&self) {
        kill_members(&self.memory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_are_found_by_their_mounts() {
        let text = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\ncgroup2 /u cgroup2 rw,memory 0 0\n";
        assert_eq!(mounts(text, "cpuacct"), Some("/sys/fs/cgroup/cpu,cpuacct".into()));
        assert_eq!(mounts(text, "memory"), None);
    }
}
