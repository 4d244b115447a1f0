"""One connection from the front end: requests come in one after the other, each is run and answered on this thread.

This is the hot path of every Python app. The rule is one recv and one sendall a request, an environ made by one split and two
dictionary updates, and nothing allocated that most requests do not need.
"""
from __future__ import absolute_import

import os
import sys
import threading
import time
from io import BytesIO

from . import body, context, deadline, environment, logs, protocol, tracebacks
from .errors import InvalidResponse, NotFound

PY2 = sys.version_info[0] == 2
if PY2:
    from itertools import izip as zip

RECEIVE = 64 << 10
# Log lines wait for the response and travel with it, unless they become many (or the request long: see deadline).
LOG_BATCH = 16 << 10

# A process that app code forks shares the socket; it must not speak on it, nor carry on here when the app's function returns.
getpid = os.getpid
PID = getpid()


def settle():
    """This process was forked on purpose and owns its connections."""
    global PID
    PID = getpid()


_unpack = protocol.HEADER.unpack_from
_pack = protocol.HEADER.pack
_pack_end = protocol.END.pack

if hasattr(time, 'thread_time'):
    thread_time = time.thread_time
else:
    import resource

    def thread_time(_usage=resource.getrusage):
        usage = _usage(1)  # RUSAGE_THREAD; Python 2 has no name for it
        return usage.ru_utime + usage.ru_stime


class Connection(object):
    def __init__(self, sock, app, timer):
        self.sock = sock
        self.app = app
        self.timer = timer
        self.ident = 0
        self.locals = None
        self.lock = threading.Lock()
        self.rest = b''
        self.gone = False
        self.stale = False
        self.cpu = 0.0
        # the request being served
        self.active = False
        self.serial = 0
        self.parts = ()
        self._environment = None
        self.translated = None
        self.tails = {}
        self.pending = []
        self.pending_size = 0
        self.flush_at = None
        self.head_sent = False
        # its deadline
        self.deadline_at = None
        self.armed = self.fired = self.firing = False
        self.struck = deadline.DeadlineExceededError

    # Reading

    def serve(self):
        """Until the connection ends, or True: it shall go on in another thread."""
        self.ident = context.get_ident()
        context.by_thread[self.ident] = self
        self.cpu = thread_time()
        self.locals = self.app.thread_locals.of_thread()
        recv = self.sock.recv
        try:
            while True:
                data = self.rest or recv(RECEIVE)
                if not data:
                    return False
                if len(data) < 5:
                    data = self._more(data, 5)
                kind, length = _unpack(data)
                end = length + 5
                if kind != protocol.REQUEST or not 1 <= length <= protocol.MAX_FRAME:
                    raise protocol.ProtocolError('frame of kind %d and length %d where a request should start' % (kind, length))
                if len(data) < end:
                    data = self._more(data, end)
                if not self._request(data, end) or self.app.stopping or self.gone:
                    return False
                if self.stale:
                    return True
        except EnvironmentError:
            pass  # the front end is gone
        except protocol.ProtocolError as error:
            if error.args:
                logs.note('closing a connection: %s' % error)
        finally:
            context.by_thread.pop(self.ident, None)
        return False

    def _more(self, data, size):
        """At least `size` bytes, `data` being the first of them."""
        chunks, have = [data], len(data)
        while have < size:
            chunk = self.sock.recv(max(RECEIVE, min(size - have, 1 << 20)))
            if not chunk:
                raise protocol.ProtocolError()
            chunks.append(chunk)
            have += len(chunk)
        return b''.join(chunks)

    def read_body(self):
        """The payload of the next B frame."""
        data = self.rest
        if len(data) < 5:
            data = self._more(data, 5)
        kind, length = _unpack(data)
        if kind != protocol.BODY or length > protocol.MAX_FRAME:
            self.gone = True
            raise protocol.ProtocolError('frame of kind %d and length %d inside a request body' % (kind, length))
        end = length + 5
        if len(data) < end:
            data = self._more(data, end)
        self.rest = data[end:]
        return data[5:end]

    # Running

    def _request(self, data, end):
        """Runs one request; False if the connection cannot carry another."""
        app = self.app
        flags = ord(data[5:6])
        self.rest = data[end:]
        if PY2:
            parts = data[6:end].split('\0')
        else:
            parts = data[6:end].decode('latin-1').split('\0')
        if parts[-1] or not len(parts) & 1:
            raise protocol.ProtocolError('a request environ that is no list of names and values')
        environ = app.template.copy()
        pairs = iter(parts)
        environ.update(zip(pairs, pairs))
        pop = environ.pop
        pop('HTTP_PROXY', None)
        script = pop('enginehouse.script', '')
        kind = pop('enginehouse.kind', 'http')
        milliseconds = pop('enginehouse.deadline_ms', None)
        if milliseconds is not None and app.injecting and milliseconds.isdigit():
            seconds = int(milliseconds) / 1000.0
            when = deadline.now() + seconds - deadline.margin(seconds)
        else:
            when = None
        if not flags & protocol.FLAG_BODY:
            source = BytesIO()
            arriving = None
        else:
            source = arriving = body.Body(self)
            if app.first_generation:
                try:
                    source = BytesIO(arriving.read())
                except IOError:
                    return False
        environ['wsgi.input'] = source
        self.parts = parts
        self._environment = None
        self.translated = None
        self.head_sent = False
        self.serial += 1
        self.active = True
        outcome = protocol.ANSWERED
        detail = b''
        chunks = ()
        try:
            try:
                if when is not None:
                    self.deadline_at = when
                    self.armed = True
                    if when < self.timer.wake_at:
                        self.timer.wake(when)
                head, chunks, size = app.run(self, script, kind, environ, flags & protocol.FLAG_BUFFER)
                self.armed = False
            except BaseException:
                self.armed = False
                outcome, detail = self._failure()
                head = None
            if self.fired or self.firing:
                self.timer.settle(self)
        except BaseException:  # the deadline struck in the few lines above, outside the app
            self.timer.settle(self)
            outcome, detail, head = protocol.DEADLINE, 'the deadline was exceeded as the request ended', None
        if self.tails:
            logs.finish(self)
        cpu = self.cpu
        self.cpu = thread_time()
        used = int((self.cpu - cpu) * 1e6)
        if head is None:
            out = protocol.end(outcome, used, detail)
        elif size <= protocol.MAX_DATA:
            out = _pack(72, len(head)) + head  # H
            if size:
                out += _pack(68, size)  # D
                out += chunks[0] if len(chunks) == 1 else b''.join(chunks)
            out += _pack_end(69, 9, outcome, used)  # E
        else:
            out = b''.join([protocol.frame(protocol.HEAD, head)] + protocol.data(chunks, size) + [protocol.end(outcome, used)])
        if getpid() != PID:
            os._exit(0)
        with self.lock:
            self.active = False
            if self.pending:
                out = self._take_pending() + out
            if not self.gone:
                self.sock.sendall(out)
        self.parts = ()
        self._environment = None
        self.stale = not app.after(self)
        return arriving is None or arriving.finish()

    def _failure(self):
        """The outcome and its detail for the exception being handled."""
        error = sys.exc_info()[1]
        if isinstance(error, InvalidResponse):
            return protocol.INVALID, str(error)
        if isinstance(error, NotFound):
            return protocol.NOT_FOUND, str(error)
        if deadline.is_deadline(error):
            # A module whose import was cut off stays half-made in sys.modules' eyes: only a new process is sure to be whole.
            outcome = protocol.REPLACE if self.app.loading(self) else protocol.DEADLINE
            return outcome, tracebacks.current()
        if isinstance(error, MemoryError):
            return protocol.REPLACE, tracebacks.current()
        return protocol.EXCEPTION, tracebacks.current()

    def send_head(self, head):
        self.head_sent = True
        return protocol.frame(protocol.HEAD, head)

    def send(self, data):
        """Sends frames while the request runs; an answer nobody waits for any more is dropped."""
        with self.lock:
            if self.pending:
                data = self._take_pending() + data
            self._send(data)

    def _send(self, data):
        if not self.gone:
            try:
                self.sock.sendall(data)
            except EnvironmentError:
                self.gone = True

    # What belongs to the request (see context)

    def environment(self):
        if self._environment is None:
            self._environment = environment.of_request(self.app.constants, self.parts, self.translated)
        return self._environment

    def translate(self, path):
        """The file of the handler is known only once it is loaded; os.environ may have been looked at by then."""
        self.translated = path
        if self._environment is not None:
            self._environment['PATH_TRANSLATED'] = path

    def remember(self, name, value):
        """A change of os.environ. What a module sets while it is loaded is meant for the life of the process."""
        if self.app.loading(self):
            if value is None:
                environment.process.pop(name, None)
            else:
                environment.process[name] = value

    def log(self, severity, text):
        line = protocol.log(severity, text)
        with self.lock:
            if not self.active or getpid() != PID:
                return False
            self.pending.append(line)
            self.pending_size += len(line)
            if self.pending_size > LOG_BATCH or severity >= protocol.CRITICAL:
                self._send(self._take_pending())
            elif self.flush_at is None:
                self.flush_at = when = deadline.now() + deadline.LOG_DELAY
                if when < self.timer.wake_at:
                    self.timer.wake(when)
        return True

    def flush_logs(self):
        """On the timer's thread. It must not wait for a front end that does not read; the next turn tries again."""
        with self.lock:
            if self.active and self.pending:
                if not deadline.writable(self.sock):
                    self.flush_at = deadline.now() + deadline.LOG_DELAY
                    return
                self._send(self._take_pending())
            else:
                self.flush_at = None

    def _take_pending(self):
        data = b''.join(self.pending)
        self.pending = []
        self.pending_size = 0
        self.flush_at = None
        return data
