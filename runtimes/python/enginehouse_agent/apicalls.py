"""API calls of the App Engine SDK for Python 2.7: to the bundled services, at API_HOST:API_PORT (docs/guide/bundled-services.md).

The SDK's own stub for servers ignores `rpc_error` and unpickles what it is sent, so this one stands in its place. A call is sent at
once and read when somebody waits for it: as many calls as the app likes are under way without a thread for any of them.
"""
from __future__ import absolute_import

import errno
import os
import sys

try:
    import httplib
except ImportError:
    import http.client as httplib
import select
import socket
import threading
import time
import weakref

DEFAULT_DEADLINE = 60.0
# The server keeps the deadline; a moment more, so that its answer is the one that is heard.
GRACE = 1.0

(UNKNOWN, CALL_NOT_FOUND, PARSE_ERROR, SECURITY_VIOLATION, OVER_QUOTA, REQUEST_TOO_LARGE, CAPABILITY_DISABLED, FEATURE_DISABLED,
 BAD_REQUEST, RESPONSE_TOO_LARGE, CANCELLED, REPLAY_ERROR, DEADLINE_EXCEEDED) = range(13)

# What reference/services-rpc.md, section 4, says; whatever is missing is an RPCFailedError.
ERRORS = {
    CALL_NOT_FOUND: 'CallNotFoundError',
    PARSE_ERROR: 'ArgumentError',
    OVER_QUOTA: 'OverQuotaError',
    REQUEST_TOO_LARGE: 'RequestTooLargeError',
    CAPABILITY_DISABLED: 'CapabilityDisabledError',
    FEATURE_DISABLED: 'FeatureNotEnabledError',
    RESPONSE_TOO_LARGE: 'ResponseTooLargeError',
    CANCELLED: 'CancelledError',
    DEADLINE_EXCEEDED: 'DeadlineExceededError',
}


class Malformed(Exception):
    """The server's answer is no message."""


def available():
    return 'API_PORT' in os.environ


# Connections that nobody uses at the moment. list.append and list.pop need no lock.
_idle = []


def _connect(deadline):
    if _idle:
        try:
            return _idle.pop()
        except IndexError:
            pass
    connection = httplib.HTTPConnection(os.environ['API_HOST'], int(os.environ['API_PORT']), timeout=deadline + GRACE)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


class Call(object):
    """One call on its way."""

    def __init__(self, service, method, message, deadline):
        self.deadline = deadline or DEFAULT_DEADLINE
        self.service, self.method = service, method
        ticket = os.environ.get('HTTP_X_APPENGINE_API_TICKET', '')
        parts = [(2, service), (3, method), (4, message), (5, ticket)]
        body = b''.join(_field(number, value) for number, value in parts)
        headers = {
            'Content-Type': 'application/octet-stream',
            'X-Google-RPC-Service-Endpoint': 'app-engine-apis',
            'X-Google-RPC-Service-Method': '/VMRemoteAPI.CallRemoteAPI',
            'X-Google-RPC-Service-Deadline': str(self.deadline),
        }
        self.connection = None
        self.until = time.time() + self.deadline + GRACE
        kept = bool(_idle)
        try:
            self._send(body, headers)
        except (socket.error, httplib.HTTPException):
            if not kept:
                raise
            # The server may have closed what was kept; nothing was done yet.
            del _idle[:]
            self._send(body, headers)

    def _send(self, body, headers):
        self.connection = _connect(self.deadline)
        self.connection.sock.settimeout(self.deadline + GRACE)
        self.connection.request('POST', '/rpc_http', body, headers)

    def answer(self):
        """The bytes of the service's answer; an error of google.appengine.runtime.apiproxy_errors otherwise."""
        errors = _errors()
        failed = 'the API call %s.%s() failed: ' % (self.service, self.method)
        try:
            if self.connection.sock is not None:
                self.connection.sock.settimeout(max(GRACE, self.until - time.time()))
            response = self.connection.getresponse()
            body = response.read()
        except socket.timeout:
            self.connection.close()
            raise errors.DeadlineExceededError('The API call %s.%s() took too long to respond and was cancelled.'
                                               % (self.service, self.method))
        except (socket.error, httplib.HTTPException):
            self.connection.close()
            raise errors.RPCFailedError(failed + 'the connection to the server broke')
        if response.status != 200:
            self.connection.close()
            raise errors.RPCFailedError(failed + 'the server answered with status %d' % response.status)
        _idle.append(self.connection)
        try:
            fields = dict(_fields(body))
            application, rpc = fields.get(3), fields.get(5)
            if application is not None:
                refusal = dict(_fields(application))
                raise errors.ApplicationError(_signed(refusal.get(1, 0)), _text(refusal.get(2, b'')))
            if rpc is not None:
                refusal = dict(_fields(rpc))
                kind = getattr(errors, ERRORS.get(refusal.get(1), 'RPCFailedError'), errors.RPCFailedError)
                raise kind('The API call %s.%s() failed: %s' % (self.service, self.method, _text(refusal.get(2, b''))))
            return fields.get(1, b'')
        except Malformed:
            raise errors.RPCFailedError(failed + 'its answer is malformed')


def _errors():
    """The SDK's module of errors. Asked for where it lies, because importing takes Python 2's one import lock: an answer must not wait for another
    thread that imports something and waits for an answer itself."""
    name = 'google.appengine.runtime.apiproxy_errors'
    return sys.modules.get(name) or __import__(name, fromlist=['Error'])


def _text(value):
    return value if isinstance(value, str) else value.decode('utf-8', 'replace')


# The little of the protocol buffers' encoding that the envelope needs.

def _varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def _field(number, value):
    if not isinstance(value, bytes):
        value = value.encode('utf-8')
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _fields(data):
    position, end = 0, len(data)

    def varint(position):
        value = shift = 0
        while position < end and shift < 70:
            byte = ord(data[position:position + 1])
            position += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value, position
            shift += 7
        raise Malformed()

    while position < end:
        key, position = varint(position)
        if key & 7 == 0:
            value, position = varint(position)
        elif key & 7 == 2:
            size, position = varint(position)
            value = data[position:position + size]
            position += size
            if position > end:
                raise Malformed()
        else:
            raise Malformed()
        yield key >> 3, value


def _signed(number):
    return number - (1 << 64) if number >= 1 << 63 else number


class Running(threading.local):
    """The calls that a thread has begun and not read yet. Those that nobody holds any more are none."""

    def __init__(self):
        self.calls = weakref.WeakSet()


def first_answered(calls):
    """The first of these that the server has answered, or is as good as answered: its time is over, or it never set out."""
    poll, by_descriptor, until = select.poll(), {}, None
    for rpc in calls:
        call = rpc._call
        if call is None or call.connection.sock is None:
            return rpc
        descriptor = call.connection.sock.fileno()
        by_descriptor[descriptor] = rpc
        poll.register(descriptor, select.POLLIN)
        until = call.until if until is None else min(until, call.until)
    while True:
        left = until - time.time()
        try:
            ready = poll.poll(max(0, int(left * 1000) + 1))
        except select.error as error:
            if error.args[0] == errno.EINTR and left > 0:
                continue
            raise
        if ready:
            return by_descriptor[ready[0][0]]
        return min(calls, key=lambda rpc: rpc._call.until)


def rpc_class():
    """The class of calls, made once the SDK is there."""
    base = __import__('google.appengine.api.apiproxy_rpc', fromlist=['RPC']).RPC
    stub_map = __import__('google.appengine.api.apiproxy_stub_map', fromlist=['UserRPC'])
    running = Running()

    def any_will_do():
        """Whether the app is in UserRPC.wait_any, where each answer is as good as that of the call that it waits for."""
        local = getattr(stub_map.UserRPC, '_UserRPC__local', None)
        return getattr(local, 'may_interrupt_wait', False)

    class Rpc(base):
        _call = None

        def _MakeCallImpl(self):
            self._state = base.RUNNING
            try:
                message = self.request.SerializeToString()
                self._call = Call(self.package, self.call, message, self.deadline)
                running.calls.add(self)
            except Exception:
                self._fail()

        def _WaitImpl(self):
            while self._state == base.RUNNING:
                # Another thread may be reading one of them.
                others = [rpc for rpc in running.calls if rpc is not self and rpc._call is not None]
                first = first_answered([self] + others) if others else self
                if first is not self and first._call is None:
                    continue
                # In UserRPC.wait_any the callback raises InterruptedError, which ends the wait.
                first._finish()
                if first is not self and any_will_do():
                    break
            return True

        def _finish(self):
            call, self._call = self._call, None
            running.calls.discard(self)
            if call is not None:
                try:
                    self.response.ParseFromString(call.answer())
                except Exception:
                    self._fail()
            self._state = base.FINISHING
            self._Callback()

        def _fail(self):
            _, self._exception, self._traceback = sys.exc_info()

    return Rpc
