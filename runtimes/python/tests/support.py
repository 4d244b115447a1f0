"""A front end in miniature: starts the agent on a listening socket and sends it requests, as the fleet and the edge do."""
from __future__ import absolute_import

import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import textwrap
import threading
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
AGENT = os.path.join(os.path.dirname(HERE), 'enginehouse_agent')
PY2 = sys.version_info[0] == 2
PATIENCE = 20.0


def frame(kind, payload=b''):
    return struct.pack('>BI', ord(kind), len(payload)) + payload


def native(data):
    return data if PY2 else data.decode('latin-1')


class Answer(object):
    def __init__(self):
        self.head = None
        self.status = None
        self.headers = []
        self.pieces = []
        self.logs = []
        self.outcome = None
        self.cpu = None
        self.detail = None
        self.order = ''

    @property
    def body(self):
        return b''.join(self.pieces)

    @property
    def text(self):
        return self.body.decode('utf-8')

    def header(self, name):
        return [value for key, value in self.headers if key.lower() == name.lower()]

    @property
    def lines(self):
        return [text for _, text in self.logs]

    def __repr__(self):
        return 'Answer(%r, %r, body=%r, outcome=%r, detail=%r, logs=%r)' % (
            self.status, self.headers, self.body[:300], self.outcome, self.detail, self.logs)


class Client(object):
    """One connection."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(path)  # before the timeout, with which it would fail at once while the queue is full
        self.sock.settimeout(PATIENCE)
        self.data = b''

    def close(self):
        self.sock.close()

    def encode(self, environ=None, body=None, flags=0, **keys):
        values = {
            'REQUEST_METHOD': 'GET', 'PATH_INFO': '/', 'QUERY_STRING': '', 'SERVER_NAME': 'localhost', 'SERVER_PORT': '80',
            'SERVER_PROTOCOL': 'HTTP/1.1', 'HTTP_HOST': 'localhost', 'REMOTE_ADDR': '127.0.0.1', 'wsgi.url_scheme': 'http',
        }
        values.update(environ or {})
        for key, value in keys.items():
            values['enginehouse.' + key] = str(value)
        if body is not None:
            flags |= 1
            values.setdefault('REQUEST_METHOD', 'POST')
        payload = b''.join(text if isinstance(text, bytes) else text.encode('utf-8')
                           for item in values.items() for text in (item[0], '\0', item[1], '\0'))
        return frame('R', struct.pack('B', flags) + payload)

    def send(self, *args, **kwargs):
        body = kwargs.get('body')
        out = self.encode(*args, **kwargs)
        if body is not None:
            pieces = body if isinstance(body, list) else [body] if body else []
            out += b''.join(frame('B', piece) for piece in pieces) + frame('B')
        self.sock.sendall(out)

    def receive_frame(self):
        while len(self.data) < 5:
            self._more()
        kind, length = struct.unpack_from('>BI', self.data)
        while len(self.data) < 5 + length:
            self._more()
        payload, self.data = self.data[5:5 + length], self.data[5 + length:]
        return chr(kind), payload

    def _more(self):
        data = self.sock.recv(1 << 16)
        if not data:
            raise EOFError('the agent closed the connection')
        self.data += data

    def receive(self, answer=None):
        answer = answer or Answer()
        while True:
            kind, payload = self.receive_frame()
            answer.order += kind
            if kind == 'H':
                parts = native(payload).split('\0')
                answer.status = parts[0]
                answer.headers = list(zip(parts[1:-1:2], parts[2:-1:2]))
            elif kind == 'D':
                answer.pieces.append(payload)
            elif kind == 'L':
                answer.logs.append((int(payload[:1]), payload[1:].decode('utf-8')))
            elif kind == 'E':
                answer.outcome = int(payload[:1])
                answer.cpu, = struct.unpack_from('>Q', payload, 1)
                answer.detail = payload[9:].decode('utf-8')
                return answer
            else:
                raise AssertionError('unknown frame %r' % kind)

    def ask(self, *args, **kwargs):
        self.send(*args, **kwargs)
        return self.receive()

    def at_end(self):
        """True if the agent closes the connection without another frame."""
        try:
            return not self.data and not self.sock.recv(1)
        except socket.error as error:
            return not isinstance(error, socket.timeout)


class Agent(object):
    def __init__(self, root, environ=None, **settings):
        self.folder = tempfile.mkdtemp(prefix='agent-test-')
        self.path = os.path.join(self.folder, 'socket')
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(self.path)
        listener.listen(64)
        settings.setdefault('runtime', 'python27')
        settings.setdefault('root', root)
        settings.setdefault('threadsafe', True)
        settings.setdefault('environ', {'SERVER_SOFTWARE': 'Development/2.0', 'APPLICATION_ID': 's~shop', 'AUTH_DOMAIN': 'gmail.com'})
        variables = dict(os.environ, ENGINEHOUSE_AGENT=json.dumps(settings), FROM_YAML='value', **(environ or {}))
        variables.pop('PYTHONDONTWRITEBYTECODE', None)
        self.output = tempfile.TemporaryFile()
        self.process = subprocess.Popen([sys.executable, AGENT], stdin=listener.fileno(), stdout=self.output, stderr=self.output,
                                        env=variables, close_fds=True)
        listener.close()
        self.clients = []

    def client(self):
        client = Client(self.path)
        self.clients.append(client)
        return client

    def ask(self, *args, **kwargs):
        return self.client().ask(*args, **kwargs)

    def printed(self):
        self.output.seek(0)
        return self.output.read().decode('utf-8', 'replace')

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def wait(self):
        """The exit status; a watchdog kills a process that hangs, so that a test fails instead of standing still."""
        watchdog = threading.Timer(PATIENCE, self.process.kill)
        watchdog.start()
        try:
            return self.process.wait()
        finally:
            watchdog.cancel()

    def close(self):
        for client in self.clients:
            client.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.output.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class AgentTest(unittest.TestCase):
    """A test with an app folder and agents that serve it."""

    def setUp(self):
        self.root = os.path.realpath(tempfile.mkdtemp(prefix='agent-app-'))
        self.addCleanup(shutil.rmtree, self.root, True)

    def write(self, name, text):
        path = os.path.join(self.root, name)
        if not os.path.isdir(os.path.dirname(path)):
            os.makedirs(os.path.dirname(path))
        with open(path, 'wb') as file:
            file.write(textwrap.dedent(text).encode('utf-8'))
        return path

    def start(self, **settings):
        agent = Agent(self.root, **settings)
        self.addCleanup(agent.close)
        return agent

    def serve(self, source, **settings):
        """An agent for an app of one module, main.py; ask it with script='main.app'."""
        self.write('main.py', source)
        return self.start(**settings)

    def check(self, answer, body=None, status='200 OK', outcome=0):
        self.assertEqual((answer.outcome, answer.status), (outcome, status), answer)
        if body is not None:
            self.assertEqual(answer.text, body, answer)
        return answer
