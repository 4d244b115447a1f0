"""What a forked instance must not have in common with the others: random numbers, open files, cached identities.

Locks need nothing: the zygote has one thread, and that one holds none while it forks. Python itself renews what it keeps per process
and calls what libraries gave to os.register_at_fork.
"""
from __future__ import absolute_import

import fcntl
import os
import sys


def afresh(preloaded):
    for renew in (_random, _numpy, _ssl, _uuid, _tempfile, _multiprocessing, _asyncio):
        renew(preloaded)
    for fd in preloaded.files:
        _reopen(fd)


def _module(name):
    return sys.modules.get(name)


def _random(preloaded):
    random = _module('random')
    if random is not None:
        random.seed()
        for generator in preloaded.generators:
            generator.seed()


def _numpy(_):
    module = _module('numpy.random')
    if module is not None:
        module.seed()


def _ssl(_):
    ssl = _module('ssl')
    if ssl is not None and hasattr(ssl, 'RAND_add'):
        ssl.RAND_add(os.urandom(32), 0.0)  # OpenSSL before 1.1.1 does not notice a fork


def _uuid(_):
    uuid = _module('uuid')
    if uuid is not None and hasattr(uuid, '_last_timestamp'):
        uuid._last_timestamp = None


def _tempfile(_):
    tempfile = _module('tempfile')
    if tempfile is not None:
        tempfile.tempdir = None  # TMPDIR is another
        tempfile._name_sequence = None


def _multiprocessing(_):
    process = _module('multiprocessing.process')
    if process is not None:
        process.current_process().authkey = os.urandom(32)
    util = _module('multiprocessing.util')
    if util is not None and hasattr(util, '_run_after_forkers'):
        util._run_after_forkers()


def _asyncio(_):
    events = _module('asyncio.events')
    local = getattr(getattr(events, '_event_loop_policy', None), '_local', None)
    if getattr(local, '_loop', None) is not None:
        local._loop = None  # it would share its poll set with the zygote's
        local._set_called = False


def _reopen(fd):
    """The same file at the same place, but with a position of its own."""
    try:
        flags = fcntl.fcntl(fd, fcntl.F_GETFL) & ~(os.O_CREAT | os.O_EXCL | os.O_TRUNC)
        own = os.open('/proc/self/fd/%d' % fd, flags)
        try:
            os.lseek(own, os.lseek(fd, 0, os.SEEK_CUR), os.SEEK_SET)
            inherited = fcntl.fcntl(fd, fcntl.F_GETFD)
            os.dup2(own, fd)
            fcntl.fcntl(fd, fcntl.F_SETFD, inherited)
        finally:
            os.close(own)
    except EnvironmentError:
        pass
