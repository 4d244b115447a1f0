//! A `/tmp` of its own for each process that a zygote forks.
//!
//! A forked process has all walls of its zygote, and behind them nobody mounts anything. So it only steps aside, into namespaces of its own, and the
//! *midwife*, a third stub outside the walls, mounts what belongs there. The two speak through seccomp: of all that is behind the walls, `unshare`
//! with one of two values reaches the midwife, who decides (docs/decisions/140-zygotes.md).

use std::collections::BTreeSet;
use std::ffi::c_int;
use std::fs;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use rustix::process::{DumpableBehavior, Pid, PidfdFlags, Resource, Rlimit};
use rustix::thread::ThreadNameSpaceType;

use crate::plan::Plan;
use crate::sys::{self, Answer, Call};
use crate::view::{self, At as _, Result};
use crate::{enter, filter, probe, user};

/// What a forked process steps into. Its user namespace gives it the right to the others and is closed at once: it keeps no capability.
pub(crate) const ASIDE: c_int = libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWIPC;
/// `unshare` of nothing: it has stepped aside and given up every capability.
pub(crate) const READY: c_int = 0;

/// Installs the filter by which forked processes call the midwife, and hands her its other end. `home` is the zygote's mount namespace.
pub(crate) fn announce(midwife: &UnixStream) -> Result<()> {
    let calls = filter::listen().at(|| "seccomp".into())?;
    let home = fs::read_link("/proc/self/ns/mnt").at(|| "looking at the own namespace".into())?;
    let descriptors = [calls.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    let home = home.as_os_str().as_encoded_bytes();
    rustix::net::sendmsg(midwife, &[IoSlice::new(home)], &mut control, SendFlags::NOSIGNAL).at(|| "calling the midwife".into())?;
    Ok(())
}

/// The midwife's whole life: serves until nobody is left behind the walls.
pub(crate) fn serve(zygote: &UnixStream, plan: &Plan, who: (u32, u32)) {
    let Some((calls, home)) = receive(zygote) else { return };
    let mut midwife = Midwife { calls, home, plan, who, aside: BTreeSet::new() };
    while midwife.is_needed() {
        midwife.attend();
    }
}

fn receive(zygote: &UnixStream) -> Option<(OwnedFd, PathBuf)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut home = [0; 64];
    let got = rustix::net::recvmsg(zygote, &mut [IoSliceMut::new(&mut home)], &mut control, RecvFlags::CMSG_CLOEXEC).ok()?;
    let calls = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    })?;
    let home = std::str::from_utf8(home.get(..got.bytes)?).ok()?;
    Some((calls, PathBuf::from(home)))
}

struct Midwife<'a> {
    calls: OwnedFd,
    /// The mount namespace of the zygote, as `/proc/PID/ns/mnt` shows it.
    home: PathBuf,
    plan: &'a Plan,
    who: (u32, u32),
    /// Those who were let out and have not come back yet.
    aside: BTreeSet<u32>,
}

impl Midwife<'_> {
    /// Waits for a call; whether there is still somebody who could make one.
    fn is_needed(&self) -> bool {
        let mut asked = [PollFd::new(&self.calls, PollFlags::IN)];
        match rustix::event::poll(&mut asked, None) {
            Ok(_) => !asked[0].revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL),
            Err(error) => error == rustix::io::Errno::INTR,
        }
    }

    fn attend(&mut self) {
        // Who called may be dead already.
        let Ok(call) = sys::hear(self.calls.as_fd()) else { return };
        let answer = self.judge(&call).unwrap_or_else(|why| {
            enter::say(&format!("no /tmp of its own for a forked instance: {why}"));
            Answer::Refused(libc::EPERM)
        });
        let _ = sys::answer(self.calls.as_fd(), call.id, &answer);
    }

    fn judge(&mut self, call: &Call) -> Result<Answer> {
        let pid = i32::try_from(call.pid).ok().and_then(Pid::from_raw).ok_or("nobody called")?;
        let Ok(process) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { return Ok(Answer::Refused(libc::EPERM)) };
        let folder = PathBuf::from(format!("/proc/{}", call.pid));
        let namespace = fs::read_link(folder.join("ns/mnt")).at(|| "looking at its namespace".into())?;
        let status = fs::read_to_string(folder.join("status")).at(|| "looking at its rights".into())?;
        // Only now is it certain that all this is about who called, and not about a later owner of the number.
        if !sys::is_waiting(self.calls.as_fd(), call.id) {
            return Ok(Answer::Refused(libc::EPERM));
        }
        if call.flags == u64::from(ASIDE.cast_unsigned()) && namespace == self.home {
            self.aside.retain(|pid| Path::new(&format!("/proc/{pid}")).exists());
            self.aside.insert(call.pid);
            return Ok(Answer::GoOn);
        }
        if call.flags == u64::from(READY.cast_unsigned()) && namespace != self.home && self.aside.remove(&call.pid) {
            if !is_bare(&status) {
                return Err("it has kept capabilities".into());
            }
            probe::attempt(0, || self.furnish(pid, &process))?;
            return Ok(Answer::Done);
        }
        Ok(Answer::Refused(libc::EPERM))
    }

    /// In a process of its own, since nobody comes back from another's namespaces.
    fn furnish(&self, pid: Pid, process: &OwnedFd) -> Result<()> {
        if let Some(uid) = self.plan.uid {
            user::become_user(uid).at(|| format!("becoming user {uid}"))?;
        }
        let Some(births) = &self.plan.births else { return Ok(()) };
        if let Some(most) = births.processes {
            let limit = Rlimit { current: Some(most), maximum: Some(most) };
            rustix::process::prlimit(Some(pid), Resource::Nproc, limit).at(|| "limiting its processes".into())?;
        }
        enter_namespaces(process, ThreadNameSpaceType::USER)?;
        rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable).at(|| "opening /proc".into())?;
        user::map(Path::new("/proc/self"), self.who, self.who).at(|| "mapping the user".into())?;
        enter_namespaces(process, ThreadNameSpaceType::MOUNT)?;
        view::renew_temporary(&self.plan.binds, births.tmp_bytes, self.who)
    }
}

fn enter_namespaces(process: &OwnedFd, which: ThreadNameSpaceType) -> Result<()> {
    rustix::thread::move_into_thread_name_spaces(process.as_fd(), which).map_err(io::Error::from).at(|| "entering its namespaces".into())
}

/// Whether a process has no capability and can never get one; by its `/proc/PID/status`.
fn is_bare(status: &str) -> bool {
    let mut sets = status.lines().filter_map(|line| line.strip_prefix("Cap")?.split_once(":\t")).peekable();
    sets.peek().is_some() && sets.all(|(_, set)| set.bytes().all(|digit| digit == b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_has_nothing_is_bare() {
        assert!(is_bare("Name:\tx\nCapInh:\t0000000000000000\nCapBnd:\t0000000000000000\n"));
        assert!(!is_bare("CapInh:\t0000000000000000\nCapBnd:\t0000000000000001\n"));
        assert!(!is_bare("Name:\tx\n"));
    }
}
