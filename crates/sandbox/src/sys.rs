//! The system calls that no safe wrapper offers. All `unsafe` code of the house is here: small functions, one call each.
#![allow(unsafe_code, reason = "the only module that may; each block says why it is sound")]

use std::ffi::{c_int, c_long, c_uint};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use rustix::process::Pid;

/// Which side of a fork this is.
pub(crate) enum Side {
    /// The new process.
    Child,
    /// The old one, and the child's number.
    Parent(Pid),
}

fn checked(result: c_long) -> io::Result<c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Forks into new namespaces (`CLONE_NEW…`, or none). Must be called by a process with one thread, which launchers are.
pub(crate) fn fork(namespaces: c_int) -> io::Result<Side> {
    let flags = c_long::from(namespaces | libc::SIGCHLD);
    // SAFETY: without CLONE_VM the child gets a copy of the memory, and as launchers have one thread, no lock in it is held by a thread that the
    // child lacks. The stack argument 0 keeps the stack. (s390 alone has other argument order; both orders begin with two zeros or flags there,
    // and the crate refuses to build for it below.)
    let pid = checked(unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) })?;
    Ok(i32::try_from(pid).ok().and_then(Pid::from_raw).map_or(Side::Child, Side::Parent))
}

#[cfg(target_arch = "s390x")]
compile_error!("clone(2) takes its arguments in another order here");

/// Moves this process into a new user namespace.
pub(crate) fn unshare_user() -> io::Result<()> {
    // SAFETY: no memory is touched.
    checked(c_long::from(unsafe { libc::unshare(libc::CLONE_NEWUSER) })).map(drop)
}

/// `struct mount_attr` of <linux/mount.h>.
#[repr(C)]
#[derive(Default)]
pub(crate) struct MountAttr {
    pub(crate) set: u64,
    pub(crate) clear: u64,
    pub(crate) propagation: u64,
    pub(crate) userns_fd: u64,
}

pub(crate) const MOUNT_RDONLY: u64 = 0x1;
pub(crate) const MOUNT_NOSUID: u64 = 0x2;
pub(crate) const MOUNT_NODEV: u64 = 0x4;
pub(crate) const MOUNT_IDMAP: u64 = 0x0010_0000;

/// Changes the flags of a mount, of those below it too if `whole`.
pub(crate) fn mount_setattr(mount: BorrowedFd<'_>, whole: bool, attr: &MountAttr) -> io::Result<()> {
    let flags = libc::AT_EMPTY_PATH | if whole { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a string with an end, the structure lives through the call, and its size is the one given.
    let result = unsafe {
        libc::syscall(libc::SYS_mount_setattr, mount.as_raw_fd(), c"".as_ptr(), flags, std::ptr::from_ref(attr), size_of::<MountAttr>())
    };
    checked(result).map(drop)
}

/// Lets every descriptor above 2 end at the next exec, except for `keep`.
pub(crate) fn close_others(keep: &[RawFd]) -> io::Result<()> {
    // SAFETY: descriptors are only marked; nothing that Rust owns is closed under it.
    checked(c_long::from(unsafe { libc::close_range(3, c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC.cast_signed()) }))?;
    for &descriptor in keep {
        // SAFETY: only a flag of the descriptor changes; a number that is not open is an error and nothing else.
        checked(c_long::from(unsafe { libc::fcntl(descriptor, libc::F_SETFD, 0) }))?;
    }
    Ok(())
}

/// Closes a descriptor that came from before the launcher.
pub(crate) fn close(descriptor: RawFd) {
    // SAFETY: the plan names descriptors that the launcher was born with; nothing of Rust's own ever owned them.
    unsafe { libc::close(descriptor) };
}

/// A copy of a descriptor that came from before this process; the original is closed.
pub(crate) fn inherited(descriptor: RawFd) -> io::Result<OwnedFd> {
    if descriptor < 3 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: a number that is not open is an error and nothing else; a copy is made, and only that is owned.
    let copy = checked(c_long::from(unsafe { libc::fcntl(descriptor, libc::F_DUPFD_CLOEXEC, 3) }))?;
    close(descriptor);
    let copy = RawFd::try_from(copy).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Puts a descriptor that came from before this process in the place of standard input.
pub(crate) fn become_input(descriptor: RawFd) {
    // SAFETY: numbers of descriptors that nothing of Rust's own owns; standard input is never closed by Rust.
    unsafe { libc::dup2(descriptor, 0) };
    close(descriptor);
}

/// Installs a filter of system calls. What it says about some of them is decided by who holds the descriptor.
pub(crate) fn listen(program: &mut [libc::sock_filter]) -> io::Result<OwnedFd> {
    let program = libc::sock_fprog { len: u16::try_from(program.len()).unwrap_or(0), filter: program.as_mut_ptr() };
    let (operation, flags) = (libc::SECCOMP_SET_MODE_FILTER, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER);
    // SAFETY: the program lives through the call, which copies it, and its length is the one given.
    let descriptor = checked(unsafe { libc::syscall(libc::SYS_seccomp, operation, flags, &raw const program) })?;
    let descriptor = RawFd::try_from(descriptor).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made it, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// A system call that waits for somebody's decision.
pub(crate) struct Call {
    pub(crate) id: u64,
    /// Who makes it.
    pub(crate) pid: u32,
    /// Its first argument.
    pub(crate) flags: u64,
}

/// What becomes of a call.
pub(crate) enum Answer {
    /// It is carried out.
    GoOn,
    /// It succeeds without doing anything.
    Done,
    /// It fails with this error.
    Refused(c_int),
}

/// Waits for the next call.
pub(crate) fn hear(calls: BorrowedFd<'_>) -> io::Result<Call> {
    // SAFETY: all zeros are a valid value of this plain structure, and what the kernel demands.
    let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the structure is the one that this request fills, and lives through the call.
    checked(c_long::from(unsafe { libc::ioctl(calls.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut call) }))?;
    Ok(Call { id: call.id, pid: call.pid, flags: call.data.args[0] })
}

/// Whether who made the call still waits for it.
pub(crate) fn is_waiting(calls: BorrowedFd<'_>, id: u64) -> bool {
    // SAFETY: the number is the one that this request reads, and lives through the call.
    unsafe { libc::ioctl(calls.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &raw const id) == 0 }
}

/// Decides about a call.
pub(crate) fn answer(calls: BorrowedFd<'_>, id: u64, answer: &Answer) -> io::Result<()> {
    let (error, flags) = match answer {
        Answer::GoOn => (0, u32::try_from(libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE).unwrap_or(1)),
        Answer::Done => (0, 0),
        Answer::Refused(error) => (-error, 0),
    };
    let answer = libc::seccomp_notif_resp { id, val: 0, error, flags };
    // SAFETY: the structure is the one that this request reads, and lives through the call.
    checked(c_long::from(unsafe { libc::ioctl(calls.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw const answer) })).map(drop)
}

/// Signals that a stub waits for instead of being interrupted by them.
#[derive(Clone, Copy)]
pub(crate) struct Signals(libc::sigset_t);

impl Signals {
    /// The set of these.
    pub(crate) fn of(signals: &[c_int]) -> Self {
        // SAFETY: all zeros are a valid value of this plain structure.
        let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
        // SAFETY: the set is ours and alive.
        unsafe { libc::sigemptyset(&raw mut set) };
        for &signal in signals {
            // SAFETY: as above; a wrong number is only an error.
            unsafe { libc::sigaddset(&raw mut set, signal) };
        }
        Self(set)
    }

    /// Makes this the set of blocked signals.
    pub(crate) fn block(&self) {
        // SAFETY: the set is alive; the old one is not asked for.
        unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut()) };
    }

    /// Waits for one of them.
    pub(crate) fn wait(&self) -> c_int {
        // SAFETY: the set is alive; details of the signal are not asked for.
        unsafe { libc::sigwaitinfo(&raw const self.0, std::ptr::null_mut()) }
    }
}

/// Gives a signal its default effect again.
pub(crate) fn reset(signal: c_int) {
    // SAFETY: no handler is installed, so none can run in a wrong state.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

/// Ends this process at once, without what Rust does at an end: for children that are copies.
pub(crate) fn exit(code: c_int) -> ! {
    // SAFETY: it does not return, and leaves everything to the kernel.
    unsafe { libc::_exit(code) }
}

/// The version of Landlock that the kernel offers.
pub(crate) fn landlock_version() -> io::Result<i64> {
    const LANDLOCK_CREATE_RULESET_VERSION: c_uint = 1;
    // SAFETY: no structure is given, as this flag demands.
    checked(unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0_usize, LANDLOCK_CREATE_RULESET_VERSION) })
}
