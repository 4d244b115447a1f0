"""Accepts the front end's connections, a thread for each, until SIGTERM asks to stop."""
from __future__ import absolute_import

import atexit
import errno
import fcntl
import os
import select
import signal
import socket
import sys
import time

from . import app as application
from . import config as settings
from . import context, environment, files, hostnames, learn, logs, overfetch, sdk, threadlocals, tracebacks
from .connection import Connection
from .deadline import Timer, now

# How long running requests may take to end after SIGTERM. The supervisor's own limit is usually shorter.
GRACE = 30.0


def close_on_exec(fd):
    fcntl.fcntl(fd, fcntl.F_SETFD, fcntl.fcntl(fd, fcntl.F_GETFD) | fcntl.FD_CLOEXEC)


def take_socket(what):
    """The socket on descriptor 0, which afterwards is /dev/null: app code may read standard input."""
    try:
        taken = socket.fromfd(0, socket.AF_UNIX, socket.SOCK_STREAM)
        taken.getsockname()
    except (socket.error, OSError) as error:
        sys.exit('enginehouse agent: descriptor 0 is not %s (%s). The agent is started by enginehouse, not by hand.' % (what, error))
    close_on_exec(taken.fileno())
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return taken


class Server(object):
    def __init__(self, listener, app, timer, connections, line=None, learner=None):
        self._listener = listener
        self._line = line
        self._learner = learner
        self._app = app
        self._timer = timer
        self._connections = connections
        self._wake_read, self._wake_write = os.pipe()
        for fd in (self._wake_read, self._wake_write):
            close_on_exec(fd)
            fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_NONBLOCK)

    def _wake(self, *_):
        try:
            os.write(self._wake_write, b'x')
        except OSError:
            pass

    def _on_stop(self, *_):
        self._app.stopping = True
        self._wake()

    def run(self):
        signal.signal(signal.SIGTERM, self._on_stop)
        # Ctrl-C reaches every process of the terminal; the supervisor decides what it means. A handler, not SIG_IGN, because
        # that would be inherited by the programs an app starts.
        signal.signal(signal.SIGINT, lambda *_: None)
        self._listener.setblocking(False)
        poll = select.poll()
        poll.register(self._listener.fileno(), select.POLLIN)
        poll.register(self._wake_read, select.POLLIN)
        if self._line is not None:
            poll.register(self._line.fileno(), select.POLLIN)
        while not self._app.stopping:
            try:
                ready = poll.poll(self._learner.pause(self._connections) if self._learner else None)
            except (select.error, OSError):
                continue  # a signal, in Python 2
            if self._line is not None and any(fd == self._line.fileno() for fd, _ in ready):
                # Nothing is ever sent here: the house is gone, and a forked process has no parent whose death would end it.
                os.kill(0, signal.SIGKILL)
            self._accept_all()
            if self._learner:
                self._learner.look(self._connections)
        self._stop()

    def _accept_all(self):
        while True:
            try:
                sock, _ = self._listener.accept()
            except (socket.error, OSError) as error:
                if error.args and error.args[0] not in (errno.EAGAIN, errno.EINTR):
                    logs.note('cannot accept a connection: %s' % error)
                    time.sleep(0.1)  # out of descriptors, usually: wait for others to close instead of spinning
                return
            # An app may set a default timeout for its own sockets; a connection waits for requests as long as it takes.
            sock.settimeout(None)
            close_on_exec(sock.fileno())
            connection = Connection(sock, self._app, self._timer)
            self._connections[connection] = connection
            try:
                application.start(connection, self._connections, self._ended)
            except Exception as error:  # RuntimeError, in Python 2 thread.error
                del self._connections[connection]
                sock.close()
                logs.note('cannot start a thread for a connection: %s' % error)

    def _ended(self):
        if self._app.stopping:
            self._wake()

    def _stop(self):
        """Finishes what runs: idle connections see their end, busy ones after their answer."""
        self._accept_all()
        self._listener.close()
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        limit = now() + GRACE
        while self._connections and now() < limit:
            for connection in list(self._connections.values()):
                if not connection.active:
                    try:
                        connection.sock.shutdown(socket.SHUT_RD)
                    except (socket.error, OSError):
                        pass
            try:
                if poll.poll(200):
                    os.read(self._wake_read, 4096)
            except (select.error, OSError):
                pass


def leave():
    """Ends the process without waiting for threads the app left running."""
    try:
        atexit._run_exitfuncs()
    except BaseException:
        logs.failure()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            pass
    os._exit(0)


class Furniture(object):
    """What is installed in the process before any library or app code is imported."""

    def __init__(self, config):
        sys.argv = ['']
        self.errors = logs.install(config)
        self.guard = None
        if config.first_generation:
            # The application folder belongs to the app's author; the file system is read-only for first-generation code anyway.
            sys.dont_write_bytecode = True
            environment.install()
            context.inherit()
            sdk.install()
            self.guard = files.install(config)
        self.thread_locals = threadlocals.install(config)


def serve(config, listener, furniture, line=None):
    """The life of an instance."""
    tracebacks.rename(config.root, config.shown)
    app = application.App(config, furniture.errors, furniture.thread_locals)
    connections = {}
    timer = Timer(connections, app.injecting)
    timer.start()
    app.interrupt = timer.interrupt
    learner = learn.Learner(line, config, app) if config.learn and line is not None else None
    Server(listener, app, timer, connections, line, learner).run()
    leave()


def main():
    config = settings.load()
    if config.zygote:
        from . import zygote
        config, listener, furniture, line = zygote.run(config)  # comes back in every process that it forked
        serve(config, listener, furniture, line)
    listener = take_socket('a listening Unix socket')
    os.chdir(config.root)
    sys.path[:0] = [config.root] + config.paths
    overfetch.install(config)
    hostnames.install(config)
    serve(config, listener, Furniture(config))
