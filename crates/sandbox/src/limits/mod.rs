//! What an instance may use, and what it has used: by cgroup v2 where a part of the tree is ours, by cgroup v1 as root, otherwise by looking.

mod cgroup1;
mod cgroup2;
mod look;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub use look::host_pid;

/// What one instance may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Bytes of memory at which the kernel ends it.
    pub memory: u64,
    /// Its share of the CPU, in App Engine's MHz: twice as many get twice as much where there is not enough for all.
    pub mhz: u32,
    /// Most processes and threads.
    pub processes: u64,
}

/// What one instance has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// CPU time of all its processes.
    pub cpu: Duration,
    /// Bytes of memory that cannot be taken back: anonymous pages and files in memory.
    pub memory: u64,
}

/// By what instances are limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Means {
    /// cgroup v2.
    Cgroup2,
    /// cgroup v1.
    Cgroup1,
    /// Nothing enforces a limit; usage is looked up and whoever has too much is ended.
    Look,
}

/// Where the groups of a house are made.
#[derive(Debug)]
pub struct Limits {
    ground: Ground,
    /// Groups that could not be removed yet, because the kernel was not done with their processes.
    graveyard: Mutex<Vec<PathBuf>>,
}

#[derive(Debug)]
enum Ground {
    Cgroup2(cgroup2::Ground),
    Cgroup1(cgroup1::Ground),
    Look,
}

/// The group of one instance. Dropping it removes it; its processes must have ended.
#[derive(Debug)]
pub struct Group {
    limits: Arc<Limits>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Cgroup2(PathBuf),
    Cgroup1(cgroup1::Folders),
    Look(Mutex<Vec<u32>>),
}

/// The first part of the names of all our groups.
const PREFIX: &str = "enginehouse-";

impl Limits {
    /// Finds the best means, and removes what houses that crashed left behind. `none` skips cgroups, for tests.
    pub fn find(none: bool) -> Self {
        let ground = if none {
            Ground::Look
        } else if let Some(ground) = cgroup2::Ground::find() {
            Ground::Cgroup2(ground)
        } else if let Some(ground) = cgroup1::Ground::find() {
            Ground::Cgroup1(ground)
        } else {
            Ground::Look
        };
        Self { ground, graveyard: Mutex::default() }
    }

    /// By what instances are limited.
    pub fn means(&self) -> Means {
        match &self.ground {
            Ground::Cgroup2(_) => Means::Cgroup2,
            Ground::Cgroup1(_) => Means::Cgroup1,
            Ground::Look => Means::Look,
        }
    }

    /// Makes the group of one instance.
    ///
    /// # Errors
    /// If the system refuses; the instance may run without limits then, if the caller thinks so.
    pub fn group(self: &Arc<Self>, name: &str, allowance: &Allowance) -> io::Result<Group> {
        self.bury();
        let kind = match &self.ground {
            Ground::Cgroup2(ground) => Kind::Cgroup2(ground.make(name, allowance)?),
            Ground::Cgroup1(ground) => Kind::Cgroup1(ground.make(name, allowance)?),
            Ground::Look => Kind::Look(Mutex::default()),
        };
        Ok(Group { limits: Arc::clone(self), kind })
    }

    /// Tries again to remove what could not be removed.
    fn bury(&self) {
        let mut graveyard = self.graveyard.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        graveyard.retain(|folder| !is_removed(folder));
    }
}

impl Drop for Limits {
    fn drop(&mut self) {
        self.bury();
        match &self.ground {
            Ground::Cgroup2(ground) => ground.remove(),
            Ground::Cgroup1(ground) => ground.remove(),
            Ground::Look => {}
        }
    }
}

impl Group {
    /// The files that a process joins by writing its number, or `0` for itself, to each.
    pub fn doors(&self) -> Vec<PathBuf> {
        match &self.kind {
            Kind::Cgroup2(folder) => vec![folder.join("cgroup.procs")],
            Kind::Cgroup1(folders) => folders.all().map(|folder| folder.join("cgroup.procs")).collect(),
            Kind::Look(_) => Vec::new(),
        }
    }

    /// Where it is below the top of the trees, `/enginehouse-1-2/name`; `None` without cgroups.
    pub fn place(&self) -> Option<String> {
        let folder = match &self.kind {
            Kind::Cgroup2(folder) => folder.clone(),
            Kind::Cgroup1(folders) => folders.all().next()?.to_owned(),
            Kind::Look(_) => return None,
        };
        let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
        let tops = mounts.lines().filter_map(|line| line.split(' ').nth(1)).filter(|top| folder.starts_with(top));
        // The innermost mount is the tree's own.
        let top = tops.max_by_key(|top| top.len())?;
        Some(format!("/{}", folder.strip_prefix(top).ok()?.display()))
    }

    /// Counts a process, by its number as the house sees it, and all that it starts from now on.
    ///
    /// # Errors
    /// If the process is gone, or the system refuses.
    pub fn add(&self, pid: u32) -> io::Result<()> {
        if let Kind::Look(roots) = &self.kind {
            roots.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(pid);
        }
        self.doors().iter().try_for_each(|door| std::fs::write(door, pid.to_string()))
    }

    /// What its processes have used until now.
    pub fn usage(&self) -> Usage {
        match &self.kind {
            Kind::Cgroup2(folder) => cgroup2::usage(folder),
            Kind::Cgroup1(folders) => folders.usage(),
            Kind::Look(roots) => look::usage(&roots.lock().unwrap_or_else(std::sync::PoisonError::into_inner)),
        }
    }

    /// How many of its processes the kernel has ended because memory ran out.
    pub fn oom_kills(&self) -> u64 {
        match &self.kind {
            Kind::Cgroup2(folder) => cgroup2::oom_kills(folder),
            Kind::Cgroup1(folders) => folders.oom_kills(),
            Kind::Look(_) => 0,
        }
    }

    /// Ends all its processes.
    pub fn kill(&self) {
        match &self.kind {
            Kind::Cgroup2(folder) => cgroup2::kill(folder),
            Kind::Cgroup1(folders) => folders.kill(),
            Kind::Look(roots) => look::kill(&roots.lock().unwrap_or_else(std::sync::PoisonError::into_inner)),
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let folders: Vec<PathBuf> = match &self.kind {
            Kind::Cgroup2(folder) => vec![folder.clone()],
            Kind::Cgroup1(folders) => folders.all().map(Path::to_owned).collect(),
            Kind::Look(_) => return,
        };
        let left = folders.into_iter().filter(|folder| !is_removed(folder));
        self.limits.graveyard.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(left);
    }
}

/// Removes a group; whether it is gone.
fn is_removed(folder: &Path) -> bool {
    match std::fs::remove_dir(folder) {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// The name of this house's groups: its number and the moment of its start, so that another process with that number is not taken for it, and a
/// number of its own for each house of one process: one that ends takes its folder along.
fn house_name() -> String {
    static HOUSES: AtomicU64 = AtomicU64::new(0);
    let pid = std::process::id();
    format!("{PREFIX}{pid}-{}.{}", started(pid).unwrap_or_default(), HOUSES.fetch_add(1, Ordering::Relaxed))
}

/// When a process started, in the kernel's ticks.
fn started(pid: u32) -> Option<u64> {
    look::fields(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?.nth(19)?.parse().ok()
}

/// Removes the groups of houses that do not run any more, with whatever is in them.
fn sweep(top: &Path) {
    for entry in std::fs::read_dir(top).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some((pid, start)) = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-')) else { continue };
        let lives = pid.parse().ok().and_then(started).is_some_and(|now| start.split('.').next() == Some(&*now.to_string()));
        if !lives {
            for group in std::fs::read_dir(entry.path()).into_iter().flatten().flatten().filter(|group| group.path().is_dir()) {
                kill_members(&group.path());
                is_removed(&group.path());
            }
            is_removed(&entry.path());
        }
    }
}

/// Ends every process of a group, one by one, until no new ones come up.
fn kill_members(folder: &Path) {
    for _ in 0..20 {
        let members = std::fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        let pids: Vec<_> = members.lines().filter_map(|line| rustix::process::Pid::from_raw(line.parse().ok()?)).collect();
        if pids.is_empty() {
            return;
        }
        for pid in pids {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        std::thread::yield_now();
    }
}

/// The number behind a name in a file of `name number` lines.
fn entry(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

/// The number in a file.
fn number(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_by_their_whole_name() {
        let text = "anon_thp 5\nanon 7\nshmem 9\n";
        assert_eq!((entry(text, "anon "), entry(text, "shmem "), entry(text, "file ")), (Some(7), Some(9), None));
    }

    #[test]
    fn y22_usage_of_a_process_is_looked_up_without_cgroups() {
        let limits = Arc::new(Limits::find(true));
        assert_eq!(limits.means(), Means::Look);
        let group = limits.group("x", &Allowance { memory: 1 << 30, mhz: 600, processes: 100 }).expect("a group");
        group.add(std::process::id()).expect("counted");
        assert!(group.usage().memory > 100_000, "{:?}", group.usage());
        assert_eq!(group.oom_kills(), 0);
    }

    #[test]
    fn leftovers_of_dead_houses_are_recognised() {
        let top = tempfile::tempdir().expect("folder");
        let own = top.path().join(house_name());
        let dead = top.path().join(format!("{PREFIX}999999999-1"));
        for folder in [&own, &dead, &dead.join("a"), &top.path().join("other")] {
            std::fs::create_dir(folder).expect("made");
        }
        sweep(top.path());
        assert!(own.exists() && top.path().join("other").exists() && !dead.exists());
    }
}
