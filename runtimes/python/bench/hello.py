"""What a hello-world request costs the Python process: CPU microseconds, user and system, of this agent and of gunicorn.

    python bench/hello.py                      the agent, under the Python that runs this
    python bench/hello.py --gunicorn PROGRAM   gunicorn (gthread, 8 threads) on the same app, over the same kind of socket

Requests come over 8 connections with one request in flight on each; the client's own cost is not counted.
"""
from __future__ import absolute_import, print_function

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from tests.support import Agent, Client  # noqa: E402

APP = '''
def app(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain'), ('Content-Length', '13')])
    return [b'Hello, world!']
'''
# What a browser's request brings along.
ENVIRON = {
    'REQUEST_URI': '/', 'HTTP_USER_AGENT': 'Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0',
    'HTTP_ACCEPT': 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8', 'HTTP_ACCEPT_LANGUAGE': 'en-US,en;q=0.5',
    'HTTP_ACCEPT_ENCODING': 'gzip, deflate', 'HTTP_COOKIE': 'session=0123456789abcdef0123456789abcdef',
    'HTTP_X_APPENGINE_COUNTRY': 'ZZ', 'HTTP_X_APPENGINE_REQUEST_LOG_ID': '0123456789abcdef0123456789abcdef',
    'DEFAULT_VERSION_HOSTNAME': 'localhost', 'REQUEST_LOG_ID': '0123456789abcdef0123456789abcdef', 'USER_EMAIL': '', 'USER_ID': '',
    'USER_IS_ADMIN': '0', 'USER_NICKNAME': '', 'USER_ORGANIZATION': '', 'REQUEST_ID_HASH': '01234567', 'HTTPS': 'off',
}


def http_request():
    lines = ['GET / HTTP/1.1', 'Host: localhost', 'X-Forwarded-For: 127.0.0.1']
    lines += ['%s: %s' % (key[5:].replace('_', '-').title(), value) for key, value in ENVIRON.items() if key.startswith('HTTP_')]
    return ('\r\n'.join(lines) + '\r\n\r\n').encode('ascii')


def cpu_seconds(pids):
    total = 0
    for pid in pids:
        with open('/proc/%d/stat' % pid) as stat:
            fields = stat.read().rpartition(')')[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / float(os.sysconf('SC_CLK_TCK'))


def drive(path, message, complete, requests, connections):
    def client():
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.connect(path)
        for _ in range(requests // connections):
            sock.sendall(message)
            data = sock.recv(65536)
            while not complete(data):
                more = sock.recv(65536)
                if not more:
                    raise EOFError(repr(data))
                data += more
        sock.close()

    threads = [threading.Thread(target=client) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def measure(name, pids, path, message, complete, options):
    drive(path, message, complete, 400, options.connections)
    best = None
    for _ in range(options.rounds):
        before = cpu_seconds(pids())
        drive(path, message, complete, options.requests, options.connections)
        used = (cpu_seconds(pids()) - before) / options.requests * 1e6
        best = used if best is None else min(best, used)
    print('%-20s %6.1f us CPU a request (best of %d x %d requests, %d connections)' % (
        name, best, options.rounds, options.requests, options.connections))
    return best


def agent(root, options):
    served = Agent(root, runtime='python27')
    try:
        probe = Client(served.path)
        message = probe.encode(ENVIRON, script='main.app', deadline_ms=60000)
        answer = probe.ask(ENVIRON, script='main.app')
        assert answer.body == b'Hello, world!', answer
        return measure('agent, Python %d.%d' % sys.version_info[:2], lambda: [served.process.pid], served.path, message,
                       lambda data: b'Hello, world!' in data and len(data) - data.index(b'Hello, world!') >= 13 + 14, options)
    finally:
        served.close()


def gunicorn(root, options):
    folder = tempfile.mkdtemp(prefix='gunicorn-')
    path = os.path.join(folder, 'socket')
    process = subprocess.Popen([options.gunicorn, '--chdir', root, '-b', 'unix:' + path, '-k', 'gthread', '-w', '1', '--threads', '8',
                                '--keep-alive', '60', 'main:app'], stderr=subprocess.PIPE)
    try:
        for line in iter(process.stderr.readline, b''):
            if b'Booting worker' in line:
                break
        threading.Thread(target=process.stderr.read).start()

        def pids():
            found = [process.pid]
            with open('/proc/%d/task/%d/children' % (process.pid, process.pid)) as children:
                return found + [int(pid) for pid in children.read().split()]

        return measure(os.path.basename(options.gunicorn), pids, path, http_request(), lambda data: data.endswith(b'Hello, world!'), options)
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--gunicorn', help='the gunicorn program to compare with')
    parser.add_argument('--requests', type=int, default=20000)
    parser.add_argument('--connections', type=int, default=8)
    parser.add_argument('--rounds', type=int, default=3)
    options = parser.parse_args()
    root = tempfile.mkdtemp(prefix='hello-')
    try:
        with open(os.path.join(root, 'main.py'), 'w') as file:
            file.write(APP)
        mine = agent(root, options)
        if options.gunicorn:
            print('ratio %.2f' % (mine / gunicorn(root, options)))
    finally:
        shutil.rmtree(root)


if __name__ == '__main__':
    main()
