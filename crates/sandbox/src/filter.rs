//! seccomp: system calls that no app needs and that have opened too many doors. They fail with EPERM, so that programs that merely try go on.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch, sock_filter,
};

use crate::view::Result;
use crate::{birth, sys};

/// Refused whatever the arguments: mounts and namespaces, other processes' memory, the kernel itself, the clock, keys, files by handle.
const REFUSED: [c_long; 53] = [
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_mount_setattr,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_fanotify_init,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_lookup_dcookie,
    libc::SYS_nfsservctl,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    libc::SYS_personality,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
];

/// Refused as if the kernel did not know them: programs then use what they used before these came. `clone3` hides its flags from filters, and
/// `io_uring` does what it does past them.
const UNKNOWN: [c_long; 4] = [libc::SYS_clone3, libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register];

/// `clone` with any of these is refused.
const NEW_NAMESPACES: u64 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP) as u64;

/// Installs the filters on this process, and all that come from it, for good. Where a midwife decides about `unshare`, they leave it to her.
pub(crate) fn install(midwife: bool) -> Result<()> {
    let programs = programs(midwife).map_err(|error| format!("seccomp: {error}"))?;
    programs.iter().try_for_each(|program| seccompiler::apply_filter(program)).map_err(|error| format!("seccomp: {error}"))
}

/// Installs the filter that lets a midwife decide about `unshare`; she hears the calls on what is returned.
pub(crate) fn listen() -> std::io::Result<OwnedFd> {
    // Instruction codes of <linux/bpf_common.h>: load a word of `struct seccomp_data`; jump if equal; return.
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let low_half = if cfg!(target_endian = "little") { 16 } else { 20 };
    sys::listen(&mut [
        step(0x20, 0, 0, 0),
        step(0x15, 0, 4, u32::try_from(libc::SYS_unshare).unwrap_or(u32::MAX)),
        step(0x20, 0, 0, low_half),
        step(0x15, 1, 0, birth::ASIDE.cast_unsigned()),
        step(0x15, 0, 2, birth::READY.cast_unsigned()),
        step(0x06, 0, 0, libc::SECCOMP_RET_USER_NOTIF),
        step(0x06, 0, 0, libc::SECCOMP_RET_ALLOW),
        step(0x06, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned()),
    ])
}

fn programs(midwife: bool) -> std::result::Result<Vec<BpfProgram>, seccompiler::BackendError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let mut refused: BTreeMap<i64, Vec<SeccompRule>> = REFUSED.into_iter().map(|call| (call, Vec::new())).collect();
    if midwife {
        refused.remove(&libc::SYS_unshare);
    }
    let mut flags = Vec::new();
    // Any of the bits: one rule each, since a condition compares all bits of its mask at once.
    for bit in (0..64).map(|n| 1_u64 << n).filter(|bit| NEW_NAMESPACES & bit != 0) {
        let condition = SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(bit), bit)?;
        flags.push(SeccompRule::new(vec![condition])?);
    }
    refused.insert(libc::SYS_clone, flags);
    // Typing into the terminal of somebody else.
    let typing = SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, libc::TIOCSTI)?;
    refused.insert(libc::SYS_ioctl, vec![SeccompRule::new(vec![typing])?]);
    let unknown = UNKNOWN.into_iter().map(|call| (call, Vec::new())).collect();
    let eperm = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    let enosys = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
    let mut programs = vec![
        SeccompFilter::new(refused, SeccompAction::Allow, eperm, arch)?.try_into()?,
        SeccompFilter::new(unknown, SeccompAction::Allow, enosys, arch)?.try_into()?,
    ];
    if cfg!(target_arch = "x86_64") {
        programs.push(no_second_numbering());
    }
    Ok(programs)
}

/// On x86-64 every call has a second number, with bit 30 set (x32), that the lists above do not know.
fn no_second_numbering() -> BpfProgram {
    // Instruction codes of <linux/bpf_common.h>: load a word; jump if greater or equal; return.
    let step = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    vec![
        step(0x20, 0, 0, 0),
        step(0x35, 0, 1, 0x4000_0000),
        step(0x06, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned()),
        step(0x06, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]
}
