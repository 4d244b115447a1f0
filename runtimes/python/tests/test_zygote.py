"""A zygote: imports libraries ahead, forks instances that are as good as fresh ones, refuses itself when it cannot."""
from __future__ import absolute_import

import array
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading

from .support import AGENT, PATIENCE, PY2, AgentTest, Client, frame

# What an app sees of the process it runs in.
APP = '''
import json, os, sys
import library
def look():
    import random, signal, tempfile, threading
    fds = {}
    for fd in os.listdir('/proc/self/fd'):
        try:
            fds[fd] = os.readlink('/proc/self/fd/' + fd)
        except OSError:
            pass
    with open('/proc/self/environ', 'rb') as file:
        marks = [item for item in file.read().decode().split(chr(0)) if item.startswith('ENGINEHOUSE_INSTANCE=')]
    return {
        'pid': os.getpid(), 'session': os.getsid(0), 'group': os.getpgrp(), 'parent': os.getppid(), 'born_in': library.PID,
        'random': random.random(), 'own': library.GENERATOR.random(), 'fds': fds, 'marks': marks,
        'env': dict((name, os.environ.get(name)) for name in ('GAE_INSTANCE', 'ONLY_ZYGOTE', 'BY_LIBRARY', 'ENGINEHOUSE_AGENT',
                                                              'ENGINEHOUSE_INSTANCE')),
        'position': library.FILE.read(1), 'modules': 'shelf' in sys.modules, 'cwd': os.getcwd(), 'path': sys.path[0],
        'tempdir': tempfile.gettempdir(), 'threads': len(os.listdir('/proc/self/task')),
        'authkey': bytes(library.multiprocessing.current_process().authkey).hex() if sys.version_info[0] > 2 else
                   bytes(library.multiprocessing.current_process().authkey).encode('hex'),
        'after': library.AFTER, 'instance': CONFIG[0],
    }
CONFIG = [None]
def app(environ, start_response):
    CONFIG[0] = environ.get('INSTANCE_ID')
    result = eval(environ['QUERY_STRING'] or 'look()')
    start_response('200 OK', [])
    return [json.dumps(result).encode()]
'''

LIBRARY = '''
import multiprocessing, os, random, ssl, tempfile, uuid
PID = os.getpid()
GENERATOR = random.Random()
FILE = open(__file__.replace('.pyc', '.py'))
os.environ['BY_LIBRARY'] = 'yes'
tempfile.gettempdir()
AFTER = []
if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=lambda: AFTER.append(os.getpid()))
'''


def send_descriptor(sock, fd):
    if PY2:
        import _multiprocessing
        _multiprocessing.sendfd(sock.fileno(), fd)
    else:
        sock.sendmsg([b'!'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [fd]))])


class Instance(object):
    """As the house sees it."""

    def __init__(self, folder, serial):
        self.serial = serial
        self.path = os.path.join(folder, 'socket%d' % serial)
        self.output = tempfile.TemporaryFile()
        self.line, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.line.settimeout(PATIENCE)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(self.path)
        self.listener.listen(64)
        self.pid = None
        self.client = None

    def gone(self):
        try:
            return self.line.recv(1) == b''
        except socket.error as error:
            return not isinstance(error, socket.timeout)

    def connect(self):
        if self.client is None:
            self.client = Client(self.path)
        return self.client

    def ask(self, expression=''):
        self.connect()
        answer = self.client.ask({'QUERY_STRING': expression}, script='main.app')
        if answer.outcome:
            raise AssertionError(answer)
        return json.loads(answer.text)

    def learned(self):
        data = b''
        while len(data) < 5 or len(data) < 5 + int.from_bytes(data[1:5], 'big'):
            data += self.line.recv(1 << 16)
        assert data[:1] == b'M'
        return json.loads(data[5:].decode())


class House(object):
    def __init__(self, root, paths, runtime):
        self.settings = {'runtime': runtime, 'root': root, 'paths': paths, 'threadsafe': True, 'zygote': True, 'script': 'main:app'}
        self.folder = tempfile.mkdtemp(prefix='zygote-test-')
        self.output = tempfile.TemporaryFile()
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.control.settimeout(PATIENCE)
        variables = dict(os.environ, ENGINEHOUSE_AGENT=json.dumps(self.settings), ONLY_ZYGOTE='1', ENGINEHOUSE_INSTANCE='mark-zygote')
        self.variables = dict(variables)
        self.process = subprocess.Popen([sys.executable, AGENT], stdin=theirs.fileno(), stdout=self.output, stderr=self.output,
                                        env=variables, close_fds=True)
        theirs.close()
        self.instances = []

    def say(self, kind, value):
        self.control.sendall(frame(kind, json.dumps(value).encode()))

    def hear(self):
        data = b''
        while len(data) < 5:
            piece = self.control.recv(5 - len(data))
            if not piece:
                raise EOFError('the zygote is gone: %s' % self.printed())
            data += piece
        size = 0
        for byte in bytearray(data[1:5]):
            size = size << 8 | byte
        payload = b''
        while len(payload) < size:
            payload += self.control.recv(size - len(payload))
        return data[:1].decode(), json.loads(payload.decode())

    def preload(self, *modules, **more):
        self.say('P', dict({'modules': modules, 'own': [], 'scripts': ['main.app']}, **more))
        return self.hear()

    def order(self, instance, **settings):
        env = dict(self.variables, GAE_INSTANCE='i%d' % instance.serial, ENGINEHOUSE_INSTANCE='mark-%06d' % instance.serial, TMPDIR=self.folder)
        del env['ONLY_ZYGOTE'], env['ENGINEHOUSE_AGENT']
        agent = dict(self.settings, environ={'INSTANCE_ID': 'i%d' % instance.serial}, zygote=False, **settings)
        self.say('F', {'serial': instance.serial, 'env': env, 'mark': env['ENGINEHOUSE_INSTANCE'], 'agent': agent})
        for fd in (instance.listener.fileno(), instance.output.fileno(), instance.output.fileno(), instance.theirs.fileno()):
            send_descriptor(self.control, fd)
        instance.listener.close()
        instance.theirs.close()

    def fork(self, go=True, **settings):
        instance = Instance(self.folder, len(self.instances))
        self.instances.append(instance)
        self.order(instance, **settings)
        kind, word = self.hear()
        if kind != 'f':
            return kind, word
        instance.pid = word['pid']
        assert instance.line.recv(1) == b'b'
        if go:
            instance.line.sendall(b'g')
        return instance

    def reap(self, instance, kill=False):
        self.say('R', {'serial': instance.serial, 'pid': instance.pid, 'kill': kill})
        return self.hear()

    def printed(self):
        self.output.seek(0)
        return self.output.read().decode()

    def close(self):
        self.control.close()
        watchdog = threading.Timer(PATIENCE, self.process.kill)
        watchdog.start()
        status = self.process.wait()
        watchdog.cancel()
        for instance in self.instances:
            instance.line.close()
            if instance.client:
                instance.client.close()
        for one in self.instances:
            one.output.close()
        self.output.close()
        return status


class ZygoteTest(AgentTest):
    runtime = 'python27' if PY2 else 'python3'

    def house(self, library=LIBRARY, app=APP, **files):
        self.write('app/main.py', app)
        self.write('site/library.py', library)
        self.write('site/shelf.py', '')
        self.app = os.path.join(self.root, 'app')
        house = House(self.app, [os.path.join(self.root, 'site')], self.runtime)
        self.addCleanup(house.close)
        self.assertEqual(house.hear()[0], 'r')
        return house

    def test_instances_share_the_library_and_nothing_else(self):
        house = self.house()
        self.assertEqual(house.preload('library', 'does.not.exist', 'random')[0], 'r')
        first, second = house.fork(), house.fork()
        a, b = first.ask(), second.ask()
        for seen, instance in ((a, first), (b, second)):
            self.assertEqual(seen['born_in'], house.process.pid)
            self.assertEqual((seen['pid'], seen['session'], seen['group']), (instance.pid,) * 3)
            self.assertEqual(seen['parent'], house.process.pid)
            self.assertEqual(seen['marks'], ['ENGINEHOUSE_INSTANCE=mark-%06d' % instance.serial])
            self.assertEqual(seen['env'], {'GAE_INSTANCE': 'i%d' % instance.serial, 'ONLY_ZYGOTE': None, 'BY_LIBRARY': 'yes',
                                           'ENGINEHOUSE_AGENT': None, 'ENGINEHOUSE_INSTANCE': 'mark-%06d' % instance.serial})
            self.assertEqual((seen['cwd'], seen['path'], seen['tempdir']), (self.app, self.app, house.folder))
            self.assertEqual(seen['position'], '\n')  # each has its own position in the file that the library opened
            self.assertEqual(seen['instance'], 'i%d' % instance.serial)
            self.assertFalse(seen['modules'])
            self.assertEqual(seen['threads'], 3)
            if hasattr(os, 'register_at_fork'):
                self.assertEqual(seen['after'], [instance.pid])
        for different in ('pid', 'random', 'own', 'authkey'):
            self.assertNotEqual(a[different], b[different], different)

    def test_no_descriptor_of_another_instance(self):
        house = self.house()
        house.preload('library')
        house.fork().ask()
        seen = house.fork().ask()
        sockets = [what for what in seen['fds'].values() if what.startswith('socket:')]
        # its listener, its line, one connection
        self.assertEqual(len(sockets), 3, seen['fds'])
        self.assertEqual(seen['fds']['0'], '/dev/null')
        pipes = [what for what in seen['fds'].values() if what.startswith('pipe:')]
        self.assertEqual(len(pipes), 4, seen['fds'])

    def test_output_is_the_instances_own(self):
        house = self.house()
        house.preload('library')
        instance = house.fork()
        instance.ask('os.write(1, b"from the instance") and os.write(2, b"; its errors")')
        instance.output.seek(0)
        self.assertEqual(instance.output.read(), b'from the instance; its errors')
        self.assertEqual(house.printed(), '')

    def test_an_instance_outlives_its_zygote(self):
        house = self.house()
        house.preload('library')
        instance = house.fork()
        instance.ask('1')
        house.process.kill()
        house.process.wait()
        self.assertEqual(instance.ask()['pid'], instance.pid)
        os.kill(instance.pid, signal.SIGTERM)
        self.assertTrue(instance.gone())

    def test_an_instance_does_not_outlive_the_house(self):
        house = self.house()
        instance = house.fork()
        waiting = house.fork(go=False)
        instance.ask('1')
        for one in (instance, waiting):
            one.line.shutdown(socket.SHUT_WR)
            self.assertTrue(one.gone())
        self.assertEqual(house.reap(instance)[1]['status'], signal.SIGKILL)
        self.assertEqual(house.reap(waiting)[1]['status'], 0)

    def test_how_an_instance_ended(self):
        house = self.house()
        for how, status in (('os._exit(3)', 3 << 8), ('os.kill(os.getpid(), 11)', 11)):
            instance = house.fork()
            instance.connect().send({'QUERY_STRING': how}, script='main.app')
            self.assertTrue(instance.gone())
            self.assertEqual(house.reap(instance), ('x', {'serial': instance.serial, 'status': status}))
        instance = house.fork()
        self.assertEqual(house.reap(instance, kill=True)[1]['status'], signal.SIGKILL)

    def test_nothing_forked_is_ended_by_the_end_of_the_zygote(self):
        house = self.house()
        instance = house.fork()
        house.control.shutdown(socket.SHUT_RDWR)
        self.assertEqual(house.process.wait(), 0)
        self.assertEqual(instance.ask()['pid'], instance.pid)

    def test_threads_are_refused(self):
        house = self.house('import threading, time\nthread = threading.Thread(target=time.sleep, args=(60,))\n'
                           'thread.daemon = True\nthread.start()\n')
        kind, word = house.preload('shelf', 'library', 'colorsys')
        self.assertEqual(kind, 'n')
        self.assertIn('library library leaves a thread running', word['why'])
        self.assertEqual(house.fork(), (kind, word))

    def test_threads_that_end_are_none(self):
        house = self.house(LIBRARY + 'import threading\nthread = threading.Thread(target=PID.__hash__)\nthread.start()\n')
        self.assertEqual(house.preload('library')[0], 'r')
        self.assertEqual(house.fork().ask()['threads'], 3)

    def test_open_sockets_are_refused(self):
        house = self.house('import socket\nsock = socket.socket()\n')
        kind, word = house.preload('library')
        self.assertEqual(kind, 'n')
        self.assertIn('library library leaves something open', word['why'])

    def test_libraries_that_patch_others_are_refused(self):
        house = self.house()
        kind, word = house.preload('gevent.monkey', 'gevent')
        self.assertEqual(kind, 'n')
        self.assertIn('gevent', word['why'])

    def test_modules_that_the_app_replaces_are_refused(self):
        house = self.house()
        self.assertIn('brings its own module shelf', house.preload('shelf', own=['shelf', 'main'])[1]['why'])
        house = self.house()
        self.assertEqual(house.preload('shelf')[0], 'r')
        house.fork().ask('1')
        self.write('app/shelf.py', '')
        kind, word = house.fork()
        self.assertEqual(kind, 'n')
        self.assertIn('brings its own module shelf', word['why'])

    def test_the_apps_own_modules_on_demand(self):
        house = self.house(app=APP + 'BORN = os.getpid()\n')
        self.assertNotEqual(house.fork().ask('BORN'), house.process.pid)
        self.assertEqual(house.preload('library', app=True)[0], 'r')
        self.assertEqual(house.fork().ask('BORN'), house.process.pid)

    def test_a_library_that_cannot_be_imported_waits_for_the_instance(self):
        house = self.house('raise SystemExit("not here")')
        self.assertEqual(house.preload('library')[0], 'r')
        self.assertIn('not here', house.fork().connect().ask(script='main.app').detail)

    def test_what_was_learned(self):
        if PY2:
            return  # int.from_bytes
        house = self.house(app=APP + 'def lazily():\n    import shelf, helper\n')
        self.write('app/helper.py', '')
        instance = house.fork(learn=True)
        instance.ask('lazily()')
        learned = instance.learned()
        self.assertEqual(learned['own'], ['helper', 'main'])
        self.assertEqual(learned['scripts'], ['main.app'])
        modules = learned['modules']
        self.assertIn('shelf', modules)
        self.assertLess(modules.index('json'), modules.index('library'))
        self.assertFalse([name for name in modules if name.startswith(('enginehouse', '__main__', 'main'))])


class FirstGenerationTest(ZygoteTest):
    """The same under first-generation rules, on any Python."""

    runtime = 'python27'

    def test_hidden_files_are_those_of_the_instance(self):
        house = self.house()
        house.preload('library')
        self.write('app/static/page.txt', 'text')
        read = 'open("static/page.txt").read()'
        self.assertEqual(house.fork().ask(read), 'text')
        instance = house.fork(hidden=['static/'])
        answer = instance.connect().ask({'QUERY_STRING': read}, script='main.app')
        self.assertIn('file not accessible', answer.detail)
