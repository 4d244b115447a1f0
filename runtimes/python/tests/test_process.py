"""The process: connections, garbage on them, lifecycle requests, one request at a time, and stopping."""
from __future__ import absolute_import

import os
import random
import signal
import struct
import subprocess
import sys

from .support import AGENT, AgentTest, frame

APP = '''
import atexit, os, threading, time
entered = threading.Event()
go = threading.Event()
inside = [0]
def wait():
    entered.set()
    go.wait(20)
    return b'waited'
def count():
    inside[0] += 1
    time.sleep(0.05)
    inside[0] -= 1
    return str(inside[0] + 1).encode()
def app(environ, start_response):
    result = eval(environ['QUERY_STRING'] or 'b"ok"')
    start_response('200 OK', [])
    return [result]
'''


class ProcessTest(AgentTest):
    def test_garbage_closes_the_connection(self):
        agent = self.serve(APP)
        good = agent.client()
        for garbage in (b'GET / HTTP/1.1\r\n\r\n', frame('B', b'x'), frame('R', b''), struct.pack('>BI', ord('R'), 0xffffffff),
                        frame('R', b'\0name without value'), frame('R', b'\0name\0value without end'), b'\0' * 100,
                        frame('X', b'hello'), os.urandom(0) + b'\xff' * 64):
            client = agent.client()
            client.sock.sendall(garbage)
            self.assertTrue(client.at_end(), garbage)
            self.check(good.ask(script='main.app'), 'ok')
        for part in (b'R', frame('R', b'\0a')[:-1]):
            client = agent.client()
            client.sock.sendall(part)
            client.close()
        self.check(good.ask(script='main.app'), 'ok')
        self.assertIn('closing a connection', agent.printed())
        self.assertNotIn('Traceback', agent.printed())

    def test_random_garbage(self):
        agent = self.serve(APP)
        good = agent.client()
        choice = random.Random(20)
        whole = good.encode({'QUERY_STRING': 'environ["wsgi.input"].read()[:5]'}, body=b'', script='main.app') + frame('B', b'body') + frame('B')
        for _ in range(300):
            data = bytearray(whole)
            for _ in range(choice.randint(1, 4)):
                at = choice.randrange(len(data))
                kind = choice.randrange(3)
                if kind == 0:
                    data[at] = choice.randrange(256)
                elif kind == 1:
                    del data[at:at + choice.randrange(20)]
                else:
                    data[at:at] = bytearray(choice.randrange(256) for _ in range(choice.randrange(20)))
                if not data:
                    break
            client = agent.client()
            client.sock.sendall(bytes(data))
            client.close()
        self.check(good.ask(script='main.app'), 'ok')
        self.assertNotIn('Traceback', agent.printed())

    def test_garbage_in_a_body(self):
        agent = self.serve(APP)
        client = agent.client()
        client.sock.sendall(client.encode({'QUERY_STRING': 'environ["wsgi.input"].read()'}, body=b'', script='main.app') + frame('R', b'\0'))
        self.assertTrue(client.at_end())
        self.check(agent.ask(script='main.app'), 'ok')

    def test_requests_in_one_packet(self):
        client = self.serve(APP).client()
        client.sock.sendall(client.encode(script='main.app') * 3)
        for _ in range(3):
            self.check(client.receive(), 'ok')

    def test_client_leaves_before_the_answer(self):
        agent = self.serve(APP)
        client = agent.client()
        client.send({'QUERY_STRING': 'wait()'}, script='main.app')
        self.check(agent.ask({'QUERY_STRING': 'entered.wait(20) and b"entered"'}, script='main.app'), 'entered')
        client.close()
        self.check(agent.ask({'QUERY_STRING': 'go.set() or b"x"'}, script='main.app'))
        self.check(agent.ask(script='main.app'), 'ok')
        self.assertNotIn('Traceback', agent.printed())

    def test_many_connections(self):
        agent = self.serve(APP)
        clients = [agent.client() for _ in range(40)]
        for client in clients:
            client.send({'QUERY_STRING': 'wait()'}, script='main.app')
        self.check(agent.ask({'QUERY_STRING': 'go.set() or b"x"'}, script='main.app'))
        for client in clients:
            self.check(client.receive(), 'waited')

    def test_one_at_a_time(self):
        agent = self.serve(APP, threadsafe=False)
        clients = [agent.client() for _ in range(5)]
        for client in clients:
            client.send({'QUERY_STRING': 'count()'}, script='main.app')
        for client in clients:
            self.check(client.receive(), '1')

    def test_lifecycle_requests(self):
        for runtime in ('python27', 'python311'):
            client = self.serve(APP, runtime=runtime).client()
            for kind in ('start', 'warmup', 'stop'):
                self.check(client.ask(kind=kind), 'ok')
            self.check(client.ask({'QUERY_STRING': 'b"own"'}, kind='warmup', script='main.app'), 'own')

    def test_cpu_time(self):
        client = self.serve(APP).client()
        client.ask(script='main.app')
        little = client.ask(script='main.app').cpu
        much = client.ask({'QUERY_STRING': 'str(sum(range(2000000))).encode()'}, script='main.app').cpu
        self.assertLess(little, 20000)
        self.assertGreater(much, 10 * little)

    def test_forked_processes_keep_off_the_connection(self):
        agent = self.serve('''
            import os, sys
            def app(environ, start_response):
                start_response('200 OK', [])
                pid = os.fork()
                if pid == 0:
                    print('from the child')
                    if environ['QUERY_STRING'] == 'exit':
                        os._exit(0)
                    return [b'child']
                os.waitpid(pid, 0)
                print('from the parent')
                return [b'parent']
            ''')
        client = agent.client()
        for how in ('exit', 'return'):
            answer = self.check(client.ask({'QUERY_STRING': how}, script='main.app'), 'parent')
            self.assertEqual(answer.lines, ['from the parent'])
        self.check(client.ask({'QUERY_STRING': 'exit'}, script='main.app'), 'parent')

    def test_memory_error_replaces_the_process(self):
        answer = self.serve('def app(e, s):\n    raise MemoryError\n').ask(script='main.app')
        self.assertEqual((answer.outcome, answer.status), (5, None))

    def test_default_timeout_of_the_app(self):
        client = self.serve('import socket\nsocket.setdefaulttimeout(0.01)\n' + APP).client()
        self.check(client.ask(script='main.app'), 'ok')
        other = [self.check(client.ask({'QUERY_STRING': 'time.sleep(0.05) or b"slow"'}, script='main.app'), 'slow') for _ in range(2)]
        self.assertEqual(len(other), 2)

    def test_sigterm_finishes_requests(self):
        agent = self.serve("""
            import atexit, os
            atexit.register(lambda: os.write(1, b'at exit'))
            def app(environ, start_response):
                start_response('200 OK', [])
                if not environ['QUERY_STRING']:
                    return [b'ok']
                print('waiting')
                with open(environ['QUERY_STRING']) as gate:  # until the test writes into the named pipe
                    return [gate.read().encode()]
            """)
        idle, first, second = agent.client(), agent.client(), agent.client()
        self.check(idle.ask(script='main.app'), 'ok')
        for client, name in ((first, 'first'), (second, 'second')):
            os.mkfifo(os.path.join(self.root, name))
            client.send({'QUERY_STRING': os.path.join(self.root, name)}, script='main.app')
            self.assertEqual(client.receive_frame(), ('L', b'1waiting'))
        agent.terminate()
        self.assertTrue(idle.at_end())
        for client, name in ((first, 'first'), (second, 'second')):
            self.assertIsNone(agent.process.poll())
            with open(os.path.join(self.root, name), 'w') as gate:
                gate.write(name)
            self.check(client.receive(), name)
            self.assertTrue(client.at_end())
        self.assertEqual(agent.wait(), 0)
        self.assertIn('at exit', agent.printed())

    def test_sigterm_when_idle(self):
        for runtime in ('python27', 'python311'):
            agent = self.serve(APP, runtime=runtime)
            client = agent.client()
            self.check(client.ask(script='main.app'), 'ok')
            agent.terminate()
            self.assertEqual(agent.wait(), 0)
            self.assertTrue(client.at_end())

    def test_lingering_threads_do_not_hold_it(self):
        agent = self.serve('import threading, time\nthreading.Thread(target=time.sleep, args=(1000,)).start()\n' + APP)
        self.check(agent.ask(script='main.app'), 'ok')
        agent.terminate()
        self.assertEqual(agent.wait(), 0)

    def test_sigint_is_ignored(self):
        agent = self.serve(APP)
        client = agent.client()
        self.check(client.ask(script='main.app'), 'ok')
        agent.process.send_signal(signal.SIGINT)
        self.check(client.ask(script='main.app'), 'ok')
        self.check(agent.ask(script='main.app'), 'ok')

    def test_started_by_hand(self):
        for variables, words in (({}, 'ENGINEHOUSE_AGENT is not set'), ({'ENGINEHOUSE_AGENT': '['}, 'not a JSON object'),
                                 ({'ENGINEHOUSE_AGENT': '{}'}, 'not a listening Unix socket')):
            with open(os.devnull) as null:
                process = subprocess.Popen([sys.executable, AGENT], stdin=null, stderr=subprocess.PIPE, env=dict(os.environ, **variables))
                text = process.communicate()[1].decode()
            self.assertEqual(process.returncode, 1)
            self.assertIn(words, text)
            self.assertNotIn('Traceback', text)
