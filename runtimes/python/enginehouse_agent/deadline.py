"""DeadlineExceededError for requests of the first generation that run too long, and the timely sending of log lines.

One thread sleeps until the first moment anything is due and is woken only if a request brings an earlier one, so a request costs
a comparison, not a timer. The exception strikes the request's thread between two bytecodes; that can be at the very moment the
request ends, so both sides follow an order: the timer says `firing` before it looks whether the request is `armed`, the request
clears `armed` before it looks at `firing`. One of them always sees the other.
"""
from __future__ import absolute_import

import os
import select
import sys
import threading
import time

from . import logs

PY2 = sys.version_info[0] == 2

FOREVER = 1e300
# Log lines of a long request are shown while it runs, this many seconds late at most.
LOG_DELAY = 1.0

if hasattr(time, 'monotonic'):
    now = time.monotonic
else:
    def now(_times=os.times):
        return _times()[4]  # Linux counts this one from boot: no jumps when somebody sets the clock


class DeadlineExceededError(BaseException):
    """The request took longer than it may; there is a moment left to answer something."""

    def __str__(self):
        return BaseException.__str__(self) or 'The overall deadline for responding to the HTTP request was exceeded.'


def error_class():
    """The class the app itself knows by this name, so that its `except` clauses match."""
    module = sys.modules.get('google.appengine.runtime')
    return getattr(module, 'DeadlineExceededError', DeadlineExceededError)


def is_deadline(error):
    return isinstance(error, (DeadlineExceededError, error_class()))


def margin(seconds):
    """How long before the hard limit the app is told: a tenth, at most a second."""
    return min(1.0, seconds / 10.0)


def _load_injector():
    try:
        import ctypes
        inject = ctypes.pythonapi.PyThreadState_SetAsyncExc
        inject.argtypes = (ctypes.c_long if sys.version_info < (3, 7) else ctypes.c_ulong, ctypes.py_object)
        clear = ctypes.PYFUNCTYPE(ctypes.c_int, inject.argtypes[0], ctypes.c_void_p)(('PyThreadState_SetAsyncExc', ctypes.pythonapi))
        return inject, lambda ident: clear(ident, None)
    except (ImportError, AttributeError):
        logs.note('this Python has no ctypes: requests get no DeadlineExceededError, the front end still ends them')
        return None, None


class Timer(object):
    def __init__(self, connections, injecting):
        self._connections = connections
        self._inject, self._clear = _load_injector() if injecting else (None, None)
        self.wake_at = FOREVER
        self._aim = threading.Lock()
        self._read, self._write = os.pipe()
        for fd in (self._read, self._write):
            _nonblocking(fd)

    def start(self):
        thread = threading.Thread(target=self._run, name='enginehouse-timer')
        thread.daemon = True
        thread.start()

    def wake(self, when):
        """Call if `when < wake_at`."""
        self.wake_at = when
        try:
            os.write(self._write, b'x')
        except OSError:
            pass  # the pipe is full: it will wake anyway

    def _run(self):
        while True:
            try:
                self._turn()
            except Exception:
                logs.failure()
                time.sleep(1)

    def _turn(self):
        # Reset before looking: a request that comes during the look then sees FOREVER and wakes us.
        self.wake_at = FOREVER
        moment = now()
        nearest = FOREVER
        for connection in list(self._connections.values()):
            when = connection.deadline_at
            if connection.armed and when is not None:
                if when <= moment:
                    self._fire(connection, connection.serial, error_class())
                else:
                    nearest = min(nearest, when)
            when = connection.flush_at
            if when is not None:
                if when <= moment:
                    connection.flush_logs()
                else:
                    nearest = min(nearest, when)
        if nearest < self.wake_at:
            self.wake_at = nearest
        wait = self.wake_at - now()
        ready, _, _ = select.select([self._read], [], [], None if wait > 1e6 else max(0.0, wait) + 0.01)
        if ready:
            os.read(self._read, 4096)

    def _fire(self, connection, serial, error):
        with self._aim:
            connection.firing = True
            if connection.armed and connection.serial == serial:
                connection.armed = False
                connection.fired = True
                # Python 3 raises classes only, Python 2 what it is given.
                connection.struck = error if isinstance(error, type) else type(error)
                if self._inject is not None:
                    self._inject(connection.ident, error if PY2 else connection.struck)
            connection.firing = False

    def interrupt(self, own, error):
        """Strikes every request but the one on connection `own`."""
        for connection in list(self._connections.values()):
            if connection is not own:
                self._fire(connection, connection.serial, error)

    def settle(self, connection):
        """On the request's thread, after `armed` was cleared: returns when no exception is in flight any more."""
        while True:
            try:
                while connection.firing:
                    time.sleep(0.0005)
                if self._clear is not None:
                    self._clear(connection.ident)
                connection.fired = False
                return
            except BaseException as error:
                if not is_deadline(error) and not isinstance(error, connection.struck):
                    raise


def _nonblocking(fd):
    import fcntl
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_NONBLOCK)
    fcntl.fcntl(fd, fcntl.F_SETFD, fcntl.fcntl(fd, fcntl.F_GETFD) | fcntl.FD_CLOEXEC)


def writable(sock):
    poll = select.poll()  # select() itself cannot take descriptors above 1023
    poll.register(sock.fileno(), select.POLLOUT)
    return bool(poll.poll(0))
