"""A forked instance behind walls gets a /tmp of its own.

Behind the walls nobody mounts anything. So the new process only steps aside, into namespaces of its own; then somebody outside mounts what
belongs there. Both hear of each other through two calls of `unshare` (docs/decisions/140-zygotes.md).
"""
from __future__ import absolute_import

import ctypes
import os

CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUSER = 0x00020000, 0x08000000, 0x10000000
PR_CAPBSET_DROP = 24
LINUX_CAPABILITY_VERSION_3 = 0x20080522
# The same numbers on every processor.
SYS_LANDLOCK_CREATE_RULESET, SYS_LANDLOCK_RESTRICT_SELF = 444, 446
LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET, LANDLOCK_SCOPE_SIGNAL = 1, 2


def step():
    libc = ctypes.CDLL(None, use_errno=True)
    _must(libc.unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWIPC), 'stepping aside')
    _give_up_capabilities(libc)
    # Not carried out: returns when the new /tmp is there.
    _must(libc.unshare(0), 'waiting for /tmp')
    _leave_others_alone(libc)


def _give_up_capabilities(libc):
    """A new user namespace begins with all of them."""
    capability = 0
    while libc.prctl(PR_CAPBSET_DROP, ctypes.c_ulong(capability), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)) == 0:
        capability += 1
    header = (ctypes.c_uint32 * 2)(LINUX_CAPABILITY_VERSION_3, 0)
    _must(libc.capset(header, (ctypes.c_uint32 * 6)()), 'giving up capabilities')


def _leave_others_alone(libc):
    """The zygote's own wall lets its children signal each other; a kernel without this wall has been named by the house."""
    # Files, ports, scopes: only the last.
    rules = (ctypes.c_uint64 * 3)(0, 0, LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | LANDLOCK_SCOPE_SIGNAL)
    made = libc.syscall(SYS_LANDLOCK_CREATE_RULESET, rules, ctypes.c_size_t(ctypes.sizeof(rules)), 0)
    if made >= 0:
        libc.syscall(SYS_LANDLOCK_RESTRICT_SELF, made, 0)
        os.close(made)


def _must(result, what):
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, '%s: %s' % (what, os.strerror(error)))
