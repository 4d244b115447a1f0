"""os.environ and thread-local data of the first generation, and which request a thread belongs to."""
from __future__ import absolute_import

import json
import os

from .support import AgentTest

APP = '''
import json, os, threading
seen = {}
barrier = threading.Event()
local = threading.local()
os.environ['SET_AT_IMPORT'] = 'x'

def threaded(function):
    result = []
    thread = threading.Thread(target=lambda: result.append(function()))
    thread.start()
    thread.join()
    return result[0]

def show():
    return dict(os.environ)

def wait():
    before = os.environ['HTTP_X']
    barrier.wait(20)
    return [before, os.environ['HTTP_X'], threaded(lambda: os.environ['HTTP_X'])]

def later():
    def run():
        barrier.wait(20)
        seen['later'] = os.environ.get('HTTP_X')
        print('too late')
        done.set()
    done = seen['done'] = threading.Event()
    threading.Thread(target=run).start()

class Own(threading.local):
    def __init__(self, start):
        self.number = start
        self.extra = []
    @property
    def count(self):
        self.number += 1
        return self.number
own = Own(0)

def local_count():
    local.count = getattr(local, 'count', 0) + 1
    return local.count

def app(environ, start_response):
    result = eval(environ['QUERY_STRING'])
    start_response('200 OK', [])
    return [json.dumps(result).encode()]
'''


class EnvironmentTest(AgentTest):
    def setUp(self):
        AgentTest.setUp(self)
        self.agent = self.serve(APP)
        self.first = self.agent.client()

    def ask(self, expression, client=None, **environ):
        answer = self.check((client or self.first).ask(dict(environ, QUERY_STRING=expression), script='main.app'))
        return json.loads(answer.text)

    def test_what_it_holds(self):
        values = self.ask('show()', HTTP_X='1', HTTP_PROXY='evil', USER_EMAIL='a@b')
        for name, value in (('HTTP_X', '1'), ('USER_EMAIL', 'a@b'), ('APPLICATION_ID', 's~shop'), ('REQUEST_METHOD', 'GET'),
                            ('FROM_YAML', 'value'), ('SERVER_SOFTWARE', 'Development/2.0'), ('PATH_TRANSLATED', self.root + '/main.py')):
            self.assertEqual(values[name], value)
        for name in values:
            self.assertFalse(name.startswith(('wsgi.', 'enginehouse.')) or name in ('HTTP_PROXY', 'ENGINEHOUSE_AGENT'), name)

    def test_changes_end_with_the_request(self):
        self.ask('os.environ.update({"CHANGED": "1"})')
        self.ask('os.environ.pop("PATH")')
        self.ask('os.environ.__setitem__("HTTP_X", "2")', HTTP_X='1')
        values = self.ask('show()')
        self.assertNotIn('CHANGED', values)
        self.assertNotIn('HTTP_X', values)
        self.assertEqual(values['PATH'], os.environ['PATH'])

    def test_changes_at_import_stay(self):
        for _ in range(2):
            self.assertEqual(self.ask('os.environ["SET_AT_IMPORT"]', self.agent.client()), 'x')

    def test_mapping(self):
        self.assertEqual(self.ask('[os.environ.get("HTTP_X"), os.environ.get("NO"), os.getenv("HTTP_X"), "HTTP_X" in os.environ, '
                                  '"NO" in os.environ, len(os.environ) == len(list(os.environ)), os.environ.copy()["HTTP_X"], '
                                  'os.environ.setdefault("NEW", "n"), os.environ.pop("NEW"), sorted(os.environ.keys()) == sorted(os.environ)]', HTTP_X='1'),
                         ['1', None, '1', True, False, True, '1', 'n', 'n', True])

    def test_requests_do_not_see_each_other(self):
        second = self.agent.client()
        self.first.send({'QUERY_STRING': 'wait()', 'HTTP_X': 'a'}, script='main.app')
        second.send({'QUERY_STRING': 'wait()', 'HTTP_X': 'b'}, script='main.app')
        self.ask('barrier.set()', self.agent.client(), HTTP_X='c')
        self.assertEqual(json.loads(self.first.receive().text), ['a', 'a', 'a'])
        self.assertEqual(json.loads(second.receive().text), ['b', 'b', 'b'])

    def test_threads_keep_the_request_they_were_started_in(self):
        self.ask('later()', HTTP_X='old')
        answer = self.first.ask({'QUERY_STRING': 'barrier.set() or seen["done"].wait(20) and seen["later"]', 'HTTP_X': 'new'}, script='main.app')
        self.check(answer, '"old"')
        # what it prints is no longer of any request
        self.assertEqual(answer.logs, [])
        self.assertIn('too late', self.agent.printed())

    def test_thread_locals_are_cleared(self):
        for _ in range(3):
            self.assertEqual(self.ask('[local_count(), local_count(), own.count, own.count]'), [1, 2, 1, 2])
        self.ask('own.extra.append(1)')
        self.assertEqual(self.ask('own.extra'), [])

    def test_second_generation_has_the_environment_of_the_process(self):
        self.agent = self.serve(APP, runtime='python311')
        values = self.ask('show()', self.agent.client(), HTTP_X='1')
        self.assertNotIn('HTTP_X', values)
        self.assertEqual((values['FROM_YAML'], values['SET_AT_IMPORT']), ('value', 'x'))
        self.assertNotIn('ENGINEHOUSE_AGENT', values)

    def test_subprocesses(self):
        self.assertEqual(self.ask('__import__("subprocess").check_output(["echo", "hi"]).decode()'), 'hi\n')
        self.assertEqual(self.ask('__import__("subprocess").check_output(["sh", "-c", "echo $HTTP_X"], env=os.environ).decode()', HTTP_X='1'), '1\n')

    def test_paths(self):
        self.assertEqual(self.ask('[__import__("sys").path[0], os.getcwd(), __import__("sys").stdin.read()]'), [self.root, self.root, ''])
