//! Who the instance is: user namespaces, ids, capabilities.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::process::{DumpableBehavior, Gid, Pid, Signal, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::sys::{self, Side};

/// Maps one user and one group in the namespace of the process whose folder in `/proc` this is.
pub(crate) fn map(process: &Path, inside: (u32, u32), outside: (u32, u32)) -> io::Result<()> {
    // Without the right to set groups anybody may map the own group (user_namespaces(7)).
    let _ = fs::write(process.join("setgroups"), "deny");
    fs::write(process.join("uid_map"), format!("{} {} 1", inside.0, outside.0))?;
    fs::write(process.join("gid_map"), format!("{} {} 1", inside.1, outside.1))
}

/// A user namespace in which what belongs to `owner` belongs to `instance`, for mounts that show it so.
pub(crate) fn ownership(owner: (u32, u32), instance: (u32, u32)) -> io::Result<OwnedFd> {
    let child = match sys::fork(libc::CLONE_NEWUSER)? {
        Side::Child => loop {
            std::thread::park();
        },
        Side::Parent(child) => child,
    };
    let process = Path::new("/proc").join(child.as_raw_nonzero().to_string());
    let made = map(&process, owner, instance).and_then(|()| fs::File::open(process.join("ns/user")));
    let _ = rustix::process::kill_process(child, Signal::KILL);
    let _ = rustix::process::waitpid(Some(child), rustix::process::WaitOptions::empty());
    made.map(OwnedFd::from)
}

/// Hands over the pipes for output, so that `/dev/stderr` can be opened by whoever writes to it by name (PHP's `error_log`).
pub(crate) fn own_pipes(uid: u32) {
    let (user, group) = (Uid::from_raw(uid), Gid::from_raw(uid));
    for stream in [rustix::stdio::stdout(), rustix::stdio::stderr()] {
        let is_pipe = rustix::fs::fstat(stream).is_ok_and(|found| rustix::fs::FileType::from_raw_mode(found.st_mode).is_fifo());
        if is_pipe {
            // Refused: the name cannot be opened, as before.
            let _ = rustix::fs::fchown(stream, Some(user), Some(group));
        }
    }
}

/// Becomes somebody without rights. Whoever could do anything before can do nothing afterwards.
pub(crate) fn become_user(uid: u32) -> io::Result<()> {
    let (user, group) = (Uid::from_raw(uid), Gid::from_raw(uid));
    rustix::thread::set_thread_groups(&[])?;
    rustix::thread::set_thread_res_gid(group, group, group)?;
    rustix::thread::set_thread_res_uid(user, user, user)?;
    // A change of user makes /proc/self root's; what follows writes there.
    rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable)?;
    Ok(())
}

/// Moves into a user namespace of its own in which only the own user exists, so that limits per user count this instance alone.
pub(crate) fn own_namespace(uid: u32) -> io::Result<()> {
    sys::unshare_user()?;
    map(Path::new("/proc/self"), (uid, uid), (uid, uid))
}

/// Gives up every capability, for good.
pub(crate) fn drop_capabilities() -> io::Result<()> {
    for capability in CapabilitySet::all().iter() {
        // Refused where there is nothing to give up.
        let _ = rustix::thread::remove_capability_from_bounding_set(capability);
    }
    let _ = rustix::thread::clear_ambient_capability_set();
    let none = CapabilitySet::empty();
    rustix::thread::set_capabilities(None::<Pid>, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    Ok(())
}
