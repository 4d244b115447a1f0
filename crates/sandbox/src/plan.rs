//! The plan of the walls around one instance: a value that the house writes and the launcher reads.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Which walls stand. What the machine cannot do is left out by who makes the plan, and named to the user there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walls {
    /// Own user, mount, process, IPC, host name and cgroup namespaces, with a root that holds only what is bound.
    pub namespaces: bool,
    /// Landlock: files, the port, signals.
    pub landlock: bool,
    /// The list of refused system calls.
    pub seccomp: bool,
}

/// A folder or file of the machine that the instance sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// Where it is.
    pub source: PathBuf,
    /// Where the instance sees it.
    pub target: PathBuf,
    /// Whether the instance may write there.
    pub writable: bool,
    /// Whether it belongs to the user and not to the system: its owner's files count as the instance's own.
    pub owned: bool,
}

impl Bind {
    /// Read-only, at its own place.
    pub fn read(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self { source: path.clone(), target: path, writable: false, owned: false }
    }

    /// Read-only, at another place; its owner's files can be read whatever their mode.
    pub fn shown_at(source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Self {
        Self { source: source.into(), target: target.into(), writable: false, owned: true }
    }

    /// Writable, at its own place.
    pub fn write(path: impl Into<PathBuf>) -> Self {
        Self { writable: true, owned: true, ..Self::read(path) }
    }
}

/// What each process that a zygote forks gets for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Births {
    /// Most bytes in its `/tmp`, and in its `/dev/shm`.
    pub tmp_bytes: u64,
    /// Most processes and threads.
    pub processes: Option<u64>,
}

/// Everything that the launcher needs to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Which walls stand.
    pub walls: Walls,
    /// Who the instance is, if the house may choose; otherwise it is who the house is.
    pub uid: Option<u32>,
    /// What it sees besides the system.
    pub binds: Vec<Bind>,
    /// Its working directory, as it sees it.
    pub dir: PathBuf,
    /// Its home, as it sees it; one of the writable binds, or below `/tmp`.
    pub home: PathBuf,
    /// The only port that it may listen on.
    pub port: Option<u16>,
    /// Most bytes in `/tmp`, and in `/dev/shm`.
    pub tmp_bytes: u64,
    /// Most processes and threads; `None` = as many as the house may have.
    pub processes: Option<u64>,
    /// Most bytes of data (`RLIMIT_DATA`) of one process.
    pub data_bytes: Option<u64>,
    /// `cgroup.procs` files that the instance joins.
    pub groups: Vec<PathBuf>,
    /// Descriptors above 2 that the command inherits.
    pub keep: Vec<i32>,
    /// The command leaves processes behind that live on without it; the sandbox ends with the last.
    pub linger: bool,
    /// Lines that its `/etc/hosts` has besides the machine's.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// The command forks instances (a zygote), each of which gets this for itself.
    pub births: Option<Births>,
}
