"""A zygote: a process that has imported an app's libraries and forks instances of it, each in the time of a fork.

It has one thread, does what the house orders over a socket on descriptor 0, one order after the other, and runs no request itself.
The control frames are described in docs/design/agent-protocol.md. What makes a forked instance as good as a fresh one:

  - there is one thread when it is forked, so no lock is held by anybody who is not copied; a library that leaves a thread, a socket
    or an event loop behind when it is imported makes the zygote refuse itself, by name
  - it leads its own session, has its own output, environment and random numbers (see rebirth)
  - it holds no descriptor of the zygote or of another instance
  - it waits until the house watches it, and ends when the house does
"""
from __future__ import absolute_import

import ctypes
import gc
import json
import os
import signal
import socket
import sys

from . import config as settings
from . import aside, connection, environment, hostnames, loader, logs, overfetch, preload, protocol, rebirth
from .server import Furniture, close_on_exec, take_socket

PRELOAD, FORK, REAP = ord('P'), ord('F'), ord('R')
READY, REFUSED, FORKED, REAPED = b'r', b'n', b'f', b'x'
ASLEEP, GO = b'b', b'g'
DESCRIPTORS = 4


class Zygote(object):
    def __init__(self, config):
        self._control = take_socket('a control socket')
        self._control.settimeout(None)
        # Before any library could change it: what an instance's own environment is compared with.
        self._environ = dict(os.environ)
        self._furniture = Furniture(config)
        sys.path[:0] = config.paths
        overfetch.install(config)
        hostnames.install(config)
        self._preloaded = preload.Preloaded(config)

    def run(self):
        """Returns only in a forked instance: (config, listener, furniture, line)."""
        self._settle()
        self._say(READY, {'modules': len(sys.modules)})
        while True:
            kind, payload = self._receive()
            if kind == PRELOAD:
                self._preload(payload)
            elif kind == FORK:
                born = self._fork(payload)
                if born is not None:
                    return born
            elif kind == REAP:
                self._reap(payload['serial'], payload['pid'], payload.get('kill'))

    # The control socket

    def _receive(self):
        kind, length = protocol.HEADER.unpack(self._exactly(protocol.HEADER.size))
        return kind, settings.native(json.loads(self._exactly(length).decode('utf-8')))

    def _exactly(self, size):
        chunks = []
        while size:
            try:
                chunk = self._control.recv(size)
            except EnvironmentError:
                chunk = b''
            if not chunk:
                os._exit(0)  # the house needs no zygote any more; what libraries registered for the exit belongs to the instances
            chunks.append(chunk)
            size -= len(chunk)
        return b''.join(chunks)

    def _say(self, kind, value):
        try:
            self._control.sendall(protocol.frame(ord(kind), json.dumps(value).encode('utf-8')))
        except EnvironmentError:
            os._exit(0)

    def _descriptors(self):
        return [receive_descriptor(self._control) for _ in range(DESCRIPTORS)]

    # Preloading

    def _preload(self, order):
        refusal = self._preloaded.extend(order)
        self._settle()
        if refusal:
            self._say(REFUSED, {'why': refusal})
        else:
            self._say(READY, {'modules': len(sys.modules)})

    def _settle(self):
        """Everything there is now stays: the collector of no instance needs to touch it, which would copy the pages."""
        gc.collect()
        if hasattr(gc, 'freeze'):
            gc.freeze()

    # Forking

    def _fork(self, order):
        descriptors = self._descriptors()
        config = settings.Config(order['agent'])
        refusal = self._preloaded.refusal or self._preloaded.hidden_by(config.root)
        if refusal:
            for fd in descriptors:
                os.close(fd)
            self._say(REFUSED, {'why': refusal})
            return None
        sys.stdout.flush()
        sys.stderr.flush()
        try:
            pid = self._preloaded.fork()
        except OSError as error:
            for fd in descriptors:
                os.close(fd)
            self._say(FORKED, {'serial': order['serial'], 'error': str(error)})
            return None
        if pid:
            for fd in descriptors:
                os.close(fd)
            self._say(FORKED, {'serial': order['serial'], 'pid': pid})
            return None
        try:
            return self._be_born(order, config, descriptors)
        except BaseException:
            logs.failure()
            os._exit(70)

    def _reap(self, serial, pid, kill):
        """Until now nobody else could get the number."""
        if kill:
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        self._say(REAPED, {'serial': serial, 'status': status})

    def _be_born(self, order, config, descriptors):
        listener, stdout, stderr, line = descriptors
        os.setsid()
        self._control.close()
        os.dup2(stdout, 1)
        os.dup2(stderr, 2)
        os.close(stdout)
        os.close(stderr)
        connection.settle()
        mark(order['mark'])
        line = adopt(line)
        if order.get('aside'):
            aside.step()
        # The house learns our number from the kernel's word about who sent this: in a namespace we do not know it ourselves.
        line.sendall(ASLEEP)
        self._dress(order['env'])
        rebirth.afresh(self._preloaded)
        guard = self._furniture.guard
        if guard is not None:
            guard.configure(config)
        if line.recv(1) != GO:
            os._exit(0)
        os.chdir(config.root)
        sys.path.insert(0, config.root)
        listener = adopt(listener)
        return config, listener, self._furniture, line

    def _dress(self, wanted):
        """The instance's environment, except what a library set while it was imported."""
        process = environment.process
        for name, value in wanted.items():
            if self._environ.get(name) != value:
                process[name] = value
        for name in self._environ:
            if name not in wanted and name in process:
                del process[name]


def adopt(fd):
    sock = socket.fromfd(fd, socket.AF_UNIX, socket.SOCK_STREAM)
    os.close(fd)
    sock.settimeout(None)
    close_on_exec(sock.fileno())
    return sock


if hasattr(socket.socket, 'recvmsg'):
    import array

    def receive_descriptor(sock):
        _, control, _, _ = sock.recvmsg(1, socket.CMSG_SPACE(array.array('i').itemsize))
        for level, kind, data in control:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds = array.array('i')
                fds.frombytes(data[:fds.itemsize])
                close_on_exec(fds[0])
                return fds[0]
        os._exit(0)  # the house is gone in the middle of an order
else:
    import _multiprocessing

    def receive_descriptor(sock):
        try:
            fd = _multiprocessing.recvfd(sock.fileno())
        except (EnvironmentError, TypeError):
            os._exit(0)
        close_on_exec(fd)
        return fd


VARIABLE = 'ENGINEHOUSE_INSTANCE'


def mark(value):
    """Makes /proc/PID/environ show this instance's mark, by which the house finds its processes: a fork would show the zygote's for
    ever. Both are of the same length, so the new one is written over the old one."""
    name, value = VARIABLE.encode(), value.encode()
    getenv = ctypes.CDLL(None).getenv
    getenv.restype = ctypes.c_void_p
    getenv.argtypes = (ctypes.c_char_p,)
    place = getenv(name)
    if not place or len(ctypes.string_at(place)) != len(value):
        raise RuntimeError('%s of the zygote has another length' % VARIABLE)
    ctypes.memmove(place, value, len(value))
    environment.process[VARIABLE] = settings.native(value.decode())


def run(config):
    return Zygote(config).run()
