//! Which walls this machine can build: each is tried in a throw-away process, and what fails is told with its cause and its remedy.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use rustix::process::{WaitOptions, WaitStatus};
use serde::{Deserialize, Serialize};

use crate::limits::{Limits, Means};
use crate::plan::{Plan, Walls};
use crate::sys::{self, Side};
use crate::view::{At as _, Owners, Result};
use crate::{enter, filter, user};

/// Names walls, separated by commas, that are treated as if the machine could not build them: `userns`, `landlock`, `seccomp`, `cgroup`.
pub const PRETEND_MISSING: &str = "ENGINEHOUSE_PRETEND_MISSING";

/// The user that instances become if the house is root; in the range that systemd gives to users that exist only while something runs.
pub const FIRST_UID: u32 = 61_184;
/// The last of that range.
pub const LAST_UID: u32 = 65_519;

/// One wall.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wall {
    /// A root, process table and host name of the instance's own.
    Namespaces,
    /// Another user than the house's.
    User,
    /// Landlock's rules for files.
    Files,
    /// Only the instance's own port may be listened on.
    Ports,
    /// Signals and abstract sockets stay inside.
    Signals,
    /// Dangerous system calls are refused.
    SystemCalls,
    /// Memory is limited by the kernel.
    Memory,
    /// CPU is shared by weight.
    Cpu,
    /// The number of processes is limited.
    Processes,
}

impl Wall {
    /// Its name, for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Namespaces => "namespaces",
            Self::User => "own user",
            Self::Files => "file rules",
            Self::Ports => "port rule",
            Self::Signals => "signal rule",
            Self::SystemCalls => "system call filter",
            Self::Memory => "memory limit",
            Self::Cpu => "CPU share",
            Self::Processes => "process limit",
        }
    }
}

impl fmt::Display for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How one wall stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Which.
    pub wall: Wall,
    /// Whether it stands.
    pub stands: bool,
    /// By what it stands, or what is done without it.
    pub how: String,
    /// Why it does not stand; empty if it does.
    pub cause: String,
    /// What to do about it; empty if it stands.
    pub remedy: String,
}

impl State {
    pub(crate) fn stands(wall: Wall, how: impl Into<String>) -> Self {
        Self { wall, stands: true, how: how.into(), cause: String::new(), remedy: String::new() }
    }

    pub(crate) fn missing(wall: Wall, instead: &str, cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { wall, stands: false, how: instead.into(), cause: cause.into(), remedy: remedy.into() }
    }
}

/// Everything that was found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Every wall, in a fixed order.
    pub states: Vec<State>,
    /// What goes into plans.
    pub walls: Walls,
    /// Whether the house may choose who instances are.
    pub may_choose_user: bool,
}

impl Report {
    /// Walls that do not stand.
    pub fn missing(&self) -> impl Iterator<Item = &State> {
        self.states.iter().filter(|state| !state.stands)
    }
}

/// Tries every wall. Must be called by a process with a single thread: the launcher, started for this.
pub fn look() -> Report {
    let pretended = std::env::var(PRETEND_MISSING).unwrap_or_default();
    let pretends = |name: &str| pretended.split(',').any(|one| one.trim() == name);
    let root = rustix::process::geteuid().is_root();
    let may_choose_user = root && attempt(0, || user::become_user(FIRST_UID).at(|| "setresuid".into())).is_ok();
    let mut states = Vec::new();
    let namespaces = namespaces(may_choose_user, pretends("userns"));
    let has_namespaces = namespaces.stands;
    states.push(namespaces);
    states.push(own_user(root, may_choose_user));
    let version = if pretends("landlock") { Err("left out by ENGINEHOUSE_PRETEND_MISSING".to_owned()) } else { landlock_version() };
    states.extend(landlock(&version));
    let seccomp = system_calls(pretends("seccomp"));
    let has_seccomp = seccomp.stands;
    states.push(seccomp);
    states.extend(limits(pretends("cgroup"), has_namespaces));
    let walls = Walls { namespaces: has_namespaces, landlock: version.is_ok(), seccomp: has_seccomp };
    Report { states, walls, may_choose_user }
}

/// A plan that builds every wall around nothing.
fn rehearsal(uid: Option<u32>) -> Plan {
    Plan {
        walls: Walls { namespaces: true, landlock: false, seccomp: false },
        uid,
        binds: Vec::new(),
        dir: PathBuf::from("/"),
        home: PathBuf::from("/tmp"),
        port: None,
        tmp_bytes: 1 << 20,
        processes: None,
        data_bytes: None,
        groups: Vec::new(),
        keep: Vec::new(),
        linger: false,
        hosts: Vec::new(),
        births: None,
    }
}

fn namespaces(may_choose_user: bool, pretended: bool) -> State {
    let instead = "instances see the machine's processes and its file names";
    if pretended {
        return State::missing(Wall::Namespaces, instead, "left out by ENGINEHOUSE_PRETEND_MISSING", "unset it");
    }
    let plan = rehearsal(may_choose_user.then_some(FIRST_UID));
    let who = enter::own_ids(&plan);
    match attempt(enter::flags(&plan), || enter::furnish(&plan, who, &Owners::default())) {
        Ok(()) => State::stands(Wall::Namespaces, "user, mount, process, IPC, host name and cgroup namespaces"),
        Err(why) => State::missing(Wall::Namespaces, instead, &why, namespaces_remedy()),
    }
}

/// What usually stands in the way.
fn namespaces_remedy() -> String {
    let reads = |path: &str, value: &str| std::fs::read_to_string(path).is_ok_and(|text| text.trim() == value);
    if reads("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        "`sysctl kernel.apparmor_restrict_unprivileged_userns=0`, or an AppArmor profile for enginehouse with `userns,`, or run as root"
            .into()
    } else if reads("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        "`sysctl kernel.unprivileged_userns_clone=1`, or run as root".into()
    } else if reads("/proc/sys/user/max_user_namespaces", "0") {
        "`sysctl user.max_user_namespaces=10000`".into()
    } else if std::path::Path::new("/.dockerenv").exists() || std::path::Path::new("/run/.containerenv").exists() {
        "start the container with `--security-opt seccomp=unconfined --security-opt apparmor=unconfined --cap-add SYS_ADMIN`".into()
    } else {
        "a kernel of 5.12 or later that allows user namespaces, or run as root".into()
    }
}

fn own_user(root: bool, may_choose_user: bool) -> State {
    match (root, may_choose_user) {
        (false, _) => State::stands(Wall::User, "instances are the user that the house is, without any capability"),
        (true, true) => State::stands(Wall::User, format!("instances are user {FIRST_UID} or above, without any capability")),
        (true, false) => State::missing(
            Wall::User,
            "instances are root, without any capability",
            "root may not change its user here (no CAP_SETUID, or the user is not mapped)",
            "start the house as an ordinary user, or give it CAP_SETUID and CAP_SETGID",
        ),
    }
}

fn landlock_version() -> std::result::Result<i64, String> {
    sys::landlock_version().map_err(|error| format!("the kernel offers no Landlock ({error})"))
}

fn landlock(version: &std::result::Result<i64, String>) -> [State; 3] {
    let row = |wall, least: i64, kernel: &str, how: &str, instead: &str| match version {
        Ok(found) if *found >= least => State::stands(wall, format!("{how} (Landlock {found})")),
        Ok(found) => State::missing(
            wall,
            instead,
            format!("this kernel has Landlock {found}, {least} is needed"),
            format!("a kernel of {kernel} or later"),
        ),
        Err(why) => State::missing(wall, instead, why.clone(), format!("a kernel of {kernel} or later with `landlock` in its `lsm=` list")),
    };
    [
        row(Wall::Files, 1, "5.13", "a second wall around files", "only the first wall around files stands"),
        row(Wall::Ports, 4, "6.7", "an instance listens on $PORT alone", "ports other than $PORT are not refused"),
        row(Wall::Signals, 6, "6.12", "signals and abstract sockets stay inside", "abstract sockets of the machine can be reached"),
    ]
}

fn system_calls(pretended: bool) -> State {
    let instead = "all system calls are open";
    if pretended {
        return State::missing(Wall::SystemCalls, instead, "left out by ENGINEHOUSE_PRETEND_MISSING", "unset it");
    }
    let install = || {
        rustix::thread::set_no_new_privs(true).at(|| "no_new_privs".into())?;
        filter::install(false)
    };
    match attempt(0, install) {
        Ok(()) => State::stands(Wall::SystemCalls, "a list of refused system calls (seccomp)"),
        Err(why) => State::missing(Wall::SystemCalls, instead, why, "a kernel with CONFIG_SECCOMP_FILTER"),
    }
}

fn limits(pretended: bool, namespaces: bool) -> [State; 3] {
    let limits = Limits::find(pretended);
    let by = match limits.means() {
        Means::Cgroup2 => "cgroup v2",
        Means::Cgroup1 => "cgroup v1",
        Means::Look => {
            let cause = if pretended { "left out by ENGINEHOUSE_PRETEND_MISSING" } else { "no part of the cgroup tree may be written" };
            let remedy = "run under systemd with `Delegate=yes`, in a user session of systemd, or as root";
            let processes = if namespaces {
                State::stands(Wall::Processes, "RLIMIT_NPROC within the user namespace")
            } else {
                State::missing(Wall::Processes, "an instance may have as many processes as you", cause, remedy)
            };
            return [
                State::missing(Wall::Memory, "memory is looked at four times a second, and may be exceeded for that long", cause, remedy),
                State::missing(Wall::Cpu, "instances share the CPU as processes do, whatever their class", cause, remedy),
                processes,
            ];
        }
    };
    [
        State::stands(Wall::Memory, format!("the instance class's, by {by}")),
        State::stands(Wall::Cpu, format!("by the instance class's weight, by {by}")),
        State::stands(Wall::Processes, by),
    ]
}

/// Does something in a process of its own, perhaps in new namespaces, and tells how it went.
pub(crate) fn attempt(namespaces: i32, act: impl FnOnce() -> Result<()>) -> Result<()> {
    use std::io::Read as _;
    let (heard, told) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).at(|| "making a pipe".into())?;
    match sys::fork(namespaces).at(|| "starting a process".into())? {
        Side::Child => {
            drop(heard);
            let outcome = act();
            if let Err(why) = &outcome {
                let _ = rustix::io::write(&told, why.as_bytes());
            }
            sys::exit(i32::from(outcome.is_err()))
        }
        Side::Parent(child) => {
            drop(told);
            let mut why = String::new();
            let _ = std::fs::File::from(heard).read_to_string(&mut why);
            match rustix::process::waitpid(Some(child), WaitOptions::empty()) {
                Ok(Some((_, status))) if WaitStatus::exit_status(status) == Some(0) => Ok(()),
                Ok(Some((_, status))) if why.is_empty() => Err(format!("ended with {status:?}")),
                Ok(_) => Err(why),
                Err(error) => Err(error.to_string()),
            }
        }
    }
}

/// What the launcher does when it is started to look around: prints the report as JSON.
pub fn print() -> ExitCode {
    use std::io::Write as _;
    let text = serde_json::to_string(&look()).unwrap_or_default();
    let written = writeln!(std::io::stdout(), "{text}");
    if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
