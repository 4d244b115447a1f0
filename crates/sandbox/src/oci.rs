//! The same walls as an OCI bundle, for runc, crun or any other runtime that reads one (runtime-spec 1.0.2).

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use serde_json::{Value, json};

use crate::plan::{Bind, Plan};
use crate::sys::{self, Side};
use crate::{etc, init};

/// What runs inside.
#[derive(Debug)]
pub struct Inside<'a> {
    /// Program and arguments.
    pub args: &'a [OsString],
    /// Its whole environment.
    pub env: &'a [(OsString, OsString)],
    /// The house's own binary, which is the first process inside: it passes signals on and waits for orphans.
    pub init: &'a Path,
    /// First argument that makes it so.
    pub role: &'a str,
    /// The cgroup, relative to the top of the trees; `None` where none can be made.
    pub cgroup: Option<&'a str>,
}

/// The descriptor at which the runtime hands over what is to be standard input (`--preserve-fds 1`).
const INPUT: i32 = 3;
/// Where the first process finds the house's binary.
const INIT: &str = "/run/enginehouse-init";

/// Writes the bundle into `folder`, which must be empty.
///
/// # Errors
/// If a file cannot be written.
pub fn write(folder: &Path, plan: &Plan, inside: &Inside<'_>) -> io::Result<()> {
    let root = folder.join("rootfs");
    fs::create_dir_all(root.join("etc"))?;
    let me = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let who = plan.uid.map_or(me, |uid| (uid, uid));
    for (name, text) in etc::own(who.0, who.1, &plan.home.to_string_lossy()) {
        fs::write(root.join("etc").join(name), text)?;
    }
    let mut mounts = vec![
        json!({ "destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "nodev", "noexec"] }),
        json!({ "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"] }),
    ];
    for place in ["/tmp", "/dev/shm"] {
        let size = format!("size={}", plan.tmp_bytes);
        mounts.push(json!({ "destination": place, "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "mode=1777", size] }));
    }
    for path in crate::view::system_folders() {
        match fs::read_link(&path) {
            Ok(to) => std::os::unix::fs::symlink(to, root.join(path.strip_prefix("/").unwrap_or(&path)))?,
            Err(_) if path.exists() => mounts.push(mount(&Bind::read(path))),
            Err(_) => {}
        }
    }
    let hosts = etc::hosts(&plan.hosts);
    if let Some(text) = &hosts {
        fs::write(root.join("etc/hosts"), text)?;
    }
    let shown = crate::view::etc_shown().into_iter().filter(|path| hosts.is_none() || !path.ends_with("hosts"));
    mounts.extend(shown.map(|path| mount(&Bind::read(path))));
    mounts.push(mount(&Bind { target: INIT.into(), ..Bind::read(inside.init) }));
    let mut binds: Vec<_> = plan.binds.iter().collect();
    binds.sort_by_key(|bind| bind.target.components().count());
    mounts.extend(binds.into_iter().map(mount));
    let config = config(plan, inside, who, me, &mounts);
    fs::write(folder.join("config.json"), serde_json::to_vec_pretty(&config)?)
}

fn mount(bind: &Bind) -> Value {
    let access = if bind.writable { "rw" } else { "ro" };
    json!({ "destination": bind.target, "type": "bind", "source": bind.source, "options": ["rbind", "nosuid", "nodev", access] })
}

fn config(plan: &Plan, inside: &Inside<'_>, who: (u32, u32), me: (u32, u32), mounts: &[Value]) -> Value {
    let text = |value: &OsString| value.to_string_lossy().into_owned();
    let mut args = vec![INIT.to_owned(), inside.role.to_owned()];
    args.extend(inside.args.iter().map(text));
    let env: Vec<String> = inside.env.iter().map(|(name, value)| format!("{}={}", text(name), text(value))).collect();
    let mut namespaces = vec!["pid", "ipc", "uts", "mount"];
    let mut linux = json!({
        "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sched_debug", "/proc/acpi", "/proc/scsi"],
        "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        "seccomp": seccomp(),
    });
    if plan.uid.is_none() {
        namespaces.push("user");
        linux["uidMappings"] = json!([{ "containerID": who.0, "hostID": me.0, "size": 1 }]);
        linux["gidMappings"] = json!([{ "containerID": who.1, "hostID": me.1, "size": 1 }]);
    }
    if let Some(cgroup) = inside.cgroup {
        linux["cgroupsPath"] = json!(cgroup);
    }
    linux["namespaces"] = namespaces.into_iter().map(|kind| json!({ "type": kind })).collect();
    json!({
        "ociVersion": "1.0.2",
        "hostname": "localhost",
        "root": { "path": "rootfs", "readonly": true },
        "process": {
            "terminal": false,
            "user": { "uid": who.0, "gid": who.1 },
            "args": args,
            "env": env,
            "cwd": plan.dir,
            "capabilities": { "bounding": [], "effective": [], "inheritable": [], "permitted": [], "ambient": [] },
            "rlimits": [{ "type": "RLIMIT_CORE", "hard": 0, "soft": 0 }],
            "noNewPrivileges": true,
        },
        "mounts": mounts,
        "linux": linux,
    })
}

/// The calls of the own filter that have names there; the runtime leaves out what its library does not know.
fn seccomp() -> Value {
    const REFUSED: [&str; 36] = [
        "mount",
        "umount2",
        "pivot_root",
        "chroot",
        "fsopen",
        "fsconfig",
        "fsmount",
        "fspick",
        "open_tree",
        "move_mount",
        "mount_setattr",
        "unshare",
        "setns",
        "ptrace",
        "process_vm_readv",
        "process_vm_writev",
        "pidfd_getfd",
        "kcmp",
        "bpf",
        "perf_event_open",
        "userfaultfd",
        "fanotify_init",
        "init_module",
        "finit_module",
        "delete_module",
        "kexec_load",
        "reboot",
        "swapon",
        "swapoff",
        "syslog",
        "settimeofday",
        "clock_settime",
        "add_key",
        "request_key",
        "keyctl",
        "open_by_handle_at",
    ];
    json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": REFUSED.as_slice(), "action": "SCMP_ACT_ERRNO", "errnoRet": libc::EPERM }] })
}

/// Lets the runtime that this process is about to become inherit standard input a second time, as the first descriptor after the usual ones.
pub fn offer_input() {
    use std::os::fd::IntoRawFd;
    // Inherited on purpose: it stays open until the exec.
    let _ = rustix::io::dup(rustix::stdio::stdin()).map(IntoRawFd::into_raw_fd);
}

/// The first runtime on the search path.
pub fn runtime() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]).collect();
    ["runc", "crun"].iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name))).find(|program| program.is_file())
}

/// The whole life of the first process of a container: starts the command, passes signals on, waits for orphans.
pub fn attend(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let Some(program) = args.next() else { return ExitCode::from(2) };
    // Runtimes give their containers pipes for standard input; what the app is to have came beside them.
    sys::become_input(INPUT);
    init::signals().block();
    match sys::fork(0) {
        Ok(Side::Parent(app)) => {
            init::let_go(&[]);
            init::attend_alone(app)
        }
        Ok(Side::Child) => {
            let _ = rustix::process::setsid();
            sys::Signals::of(&[]).block();
            let error = Command::new(&program).args(args).exec();
            crate::enter::say(&format!("{}: {error}", program.display()));
            ExitCode::from(127)
        }
        Err(error) => {
            crate::enter::say(&format!("the command cannot be started: {error}"));
            ExitCode::from(126)
        }
    }
}
