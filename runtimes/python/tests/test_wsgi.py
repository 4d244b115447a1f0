"""WSGI objects (PEP 3333): the environ, start_response, bodies, and what is refused."""
from __future__ import absolute_import

import json

from .support import PY2, AgentTest, frame

HELLO = '''
def app(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain'), ('X-A', '1'), ('X-A', '2')])
    return [b'hello ', b'world']
'''

# One module with many small apps; the query names the one to run.
CASES = '''
import sys
closed = []

class Closing(object):
    def __init__(self, items):
        self.items = iter(items)
    def __iter__(self):
        return self
    def __next__(self):
        return next(self.items)
    next = __next__
    def close(self):
        closed.append(1)

def text(start, status='200 OK', headers=None):
    return start(status, [('Content-Type', 'text/plain')] if headers is None else headers)

def fail():
    raise ValueError('later')
    yield b''

def twice(start):
    text(start)
    text(start)
    return [b'']

def replaced(start):
    text(start)
    try:
        raise KeyError('x')
    except KeyError:
        start('500 Sorry', [('X-Replaced', 'yes')], sys.exc_info())
    return [b'sorry']

def writes(start):
    write = text(start)
    write(b'one ')
    write(b'two ')
    return [b'three']

def lazy(start):
    text(start)
    yield b''
    yield b'lazy'

def late_failure(start):
    text(start)
    yield b'some'
    raise ValueError('half way')

def write_first(start):
    start.__self__.write(b'x')

def good(start):
    text(start)
    return [b'ok']

def with_result(result):
    def run(start):
        text(start)
        return result
    return run

def with_head(*head):
    def run(start):
        start(*head)
        return [b'x']
    return run

def system_exit(start):
    sys.exit(3)

def swallowed(start):
    try:
        start('bad', [])
    except Exception:
        start('500 Mended', [])
    return [b'mended']

CASES = {
    'good': good, 'twice': twice, 'replaced': replaced, 'writes': writes, 'lazy': lazy, 'late_failure': late_failure,
    'closing': lambda start: text(start) and Closing([b'a', b'b']), 'closing_fail': lambda start: text(start) and Closing(fail()),
    'closed': lambda start: text(start) and [str(len(closed)).encode()],
    'no_start': lambda start: [b'x'], 'no_start_generator': lambda start: iter([b'x']), 'none': with_result(None),
    'text': with_result([u'x']), 'number': with_result([b'x', 5]), 'bare_text': with_result(u'text'), 'empty': with_result([]),
    'tuple': with_result((b'a', b'b')), 'empty_generator': with_result(iter([])),
    'list_status': with_head(['200 OK'], []), 'low': with_head('199 Low', []), 'high': with_head('600 High', []),
    'word': with_head('OK', []), 'long': with_head('2000 OK', []), 'teapot': with_head("418 I'm a teapot", []), 'bare': with_head('204', []),
    'newline': with_head('200 OK\\nX: 1', []), 'header_newline': with_head('200 OK', [('X-A', 'a\\r\\nSet-Cookie: b')]),
    'header_nul': with_head('200 OK', [('X-A', 'a\\0b')]), 'header_number': with_head('200 OK', [('Content-Length', 5)]),
    'header_bytes': with_head('200 OK', [('X-A', bytearray(b'a'))]), 'header_list': with_head('200 OK', [['X-A', 'a']]),
    'header_dict': with_head('200 OK', {'X-A': 'a'}), 'header_empty': with_head('200 OK', [('', 'a')]),
    'header_latin': with_head('200 OK', [('X-A', u'gr\\xfcn' if sys.version_info[0] > 2 else 'gr\\xfcn')]),
    'big': with_result([b'x' * (1 << 20)] * 3 + [b'y']), 'limit': with_result([b'x' * (1 << 20)] * 32),
    'too_large': with_result([b'x' * (1 << 20)] * 33),
    'endless': lambda start: text(start) and (b'x' * (1 << 20) for _ in iter(int, 1)), 'exit': system_exit, 'swallowed': swallowed,
}

def app(environ, start_response):
    return CASES[environ['QUERY_STRING']](start_response)
'''

ENVIRON = '''
import json
def app(environ, start_response):
    start_response('200 OK', [])
    return [json.dumps(dict((key, value if isinstance(value, (str, int, bool, list, tuple)) else repr(value))
                            for key, value in environ.items())).encode()]
'''


class WsgiTest(AgentTest):
    def test_hello(self):
        client = self.serve(HELLO).client()
        for _ in range(3):
            answer = self.check(client.ask(script='main.app'), 'hello world')
            self.assertEqual(answer.header('X-A'), ['1', '2'])
            self.assertEqual(answer.order, 'HDE')

    def test_second_generation(self):
        client = self.serve(HELLO, runtime='python311', script='main:app').client()
        self.check(client.ask(), 'hello world')
        self.check(client.ask(script='auto'), 'hello world')

    def test_environ(self):
        for runtime in ('python27', 'python311'):
            agent = self.serve(ENVIRON, runtime=runtime, threadsafe=False)
            answer = self.check(agent.ask({'HTTP_X': 'a=b', 'HTTP_PROXY': 'evil', 'PATH_INFO': u'/gr\xfcn', 'QUERY_STRING': ''},
                                          script='main.app', deadline_ms=60000, kind='http'))
            environ = json.loads(answer.text)
            self.assertEqual(environ['HTTP_X'], 'a=b')
            self.assertEqual(environ['APPLICATION_ID'], 's~shop')
            self.assertEqual(environ['QUERY_STRING'], '')
            self.assertEqual(environ['SCRIPT_NAME'], '')
            self.assertEqual(environ['wsgi.version'], [1, 0])
            self.assertEqual((environ['wsgi.multithread'], environ['wsgi.multiprocess'], environ['wsgi.run_once']), (False, True, False))
            self.assertEqual(environ['wsgi.url_scheme'], 'http')
            # in Python 3 the bytes of the path as latin-1 characters, as PEP 3333 has it
            self.assertEqual(environ['PATH_INFO'], u'/gr\xfcn' if PY2 else u'/gr\xc3\xbcn')
            self.assertNotIn('HTTP_PROXY', environ)
            self.assertEqual([key for key in environ if key.startswith('enginehouse')], [])
            self.assertEqual(environ.get('PATH_TRANSLATED'), self.root + '/main.py' if runtime == 'python27' else None)

    def cases(self, runtime):
        client = self.serve(CASES, runtime=runtime).client()
        return lambda case: client.ask({'QUERY_STRING': case}, script='main.app')

    def test_accepted(self):
        for runtime in ('python27', 'python311'):
            ask = self.cases(runtime)
            for case, body in (('good', 'ok'), ('writes', 'one two three'), ('lazy', 'lazy'), ('empty', ''), ('tuple', 'ab'),
                               ('empty_generator', '')):
                self.check(ask(case), body)
            self.check(ask('replaced'), 'sorry', '500 Sorry')
            self.check(ask('swallowed'), 'mended', '500 Mended')
            self.check(ask('teapot'), 'x', "418 I'm a teapot")
            self.check(ask('bare'), 'x', '204')
            self.assertEqual(ask('header_latin').header('X-A'), [u'gr\xfcn' if not PY2 else 'gr\xfcn'])
            answer = self.check(ask('big'))
            self.assertEqual(answer.body, b'x' * (3 << 20) + b'y')
            self.assertLessEqual(max(len(piece) for piece in answer.pieces), 1 << 20)

    def test_close_is_called(self):
        for runtime in ('python27', 'python311'):
            ask = self.cases(runtime)
            self.check(ask('closing'), 'ab')
            self.check(ask('closed'), '1')
            self.assertEqual(ask('closing_fail').outcome, 1)
            self.check(ask('closed'), '2')

    def test_refused(self):
        for runtime in ('python27', 'python311'):
            ask = self.cases(runtime)
            for case, words in (
                    ('no_start', 'never called start_response'), ('no_start_generator', 'never called start_response'),
                    ('none', 'returned None'), ('number', 'an item is int'), ('list_status', 'status must be a str'),
                    ('low', "'199 Low'"), ('high', "'600 High'"), ('word', "'OK'"), ('long', "'2000 OK'"), ('newline', 'line breaks'),
                    ('header_newline', 'line breaks'), ('header_nul', 'NUL'), ('header_number', 'value of a header must be a str, not int'),
                    ('header_bytes', 'must be a str, not bytearray'), ('header_list', '(name, value) tuple'),
                    ('header_dict', 'must be a list'), ('header_empty', 'empty name'), ('text', 'an item is unicode' if PY2 else 'an item is str')):
                answer = ask(case)
                self.assertEqual((answer.outcome, answer.status), (4, None), answer)
                self.assertIn(words, answer.detail)
            answer = ask('bare_text')
            self.assertEqual((answer.outcome, answer.status), (4, None), answer)

    def test_exceptions(self):
        for runtime in ('python27', 'python311'):
            ask = self.cases(runtime)
            answer = ask('twice')
            self.assertEqual((answer.outcome, answer.status), (1, None))
            self.assertIn('second time', answer.detail)
            answer = ask('late_failure')
            self.assertEqual((answer.outcome, answer.status), (1, None if runtime == 'python27' else '200 OK'))
            self.assertIn('ValueError: half way', answer.detail)
            answer = ask('exit')
            self.assertEqual((answer.outcome, answer.status), (1, None))
            self.assertIn('SystemExit: 3', answer.detail)
            self.check(ask('good'), 'ok')

    def test_traceback_starts_in_the_app(self):
        answer = self.serve('def app(e, s):\n    return helper()\n\ndef helper():\n    raise KeyError("here")\n').ask(script='main.app')
        self.assertEqual(answer.outcome, 1)
        self.assertTrue(answer.detail.startswith('Traceback (most recent call last):\n  File "%s/main.py", line 2' % self.root), answer.detail)
        self.assertTrue(answer.detail.endswith("KeyError: 'here'"))

    def test_size_limit(self):
        ask = self.cases('python27')
        self.assertEqual(len(self.check(ask('limit')).body), 32 << 20)
        answer = ask('too_large')
        self.assertEqual((answer.outcome, answer.detail), (4, 'HTTP response was too large: 34603008. The limit is: 33554432.'))
        answer = ask('endless')
        self.assertEqual((answer.outcome, answer.status), (4, None))
        self.assertIn('too large', answer.detail)
        self.check(ask('good'), 'ok')

    def test_second_generation_streams(self):
        client = self.serve('''
            def app(environ, start_response):
                start_response('200 OK', [])
                yield b'first'
                yield environ['wsgi.input'].read()
            ''', runtime='python311').client()
        client.sock.sendall(client.encode(script='main.app', body=b''))
        # The first piece arrives although the body, which the app waits for, has not been sent.
        self.assertEqual(client.receive_frame()[0], 'H')
        self.assertEqual(client.receive_frame(), ('D', b'first'))
        client.sock.sendall(frame('B', b'second') + frame('B'))
        self.assertEqual(client.receive().body, b'second')
        # with the flag, or in the first generation, it would be one piece
        self.assertEqual(client.ask(script='main.app', body=b'x', flags=2).pieces, [b'firstx'])

    def test_endless_stream_ends_when_the_client_leaves(self):
        agent = self.serve('''
            import threading
            closed = threading.Event()
            def app(environ, start_response):
                start_response('200 OK', [])
                if environ['QUERY_STRING'] == 'wait':
                    return [b'closed' if closed.wait(20) else b'open']
                return stream()
            def stream():
                try:
                    while True:
                        yield b'x' * 65536
                finally:
                    closed.set()
            ''', runtime='python311')
        client = agent.client()
        client.send(script='main.app')
        client.receive_frame()
        client.close()
        self.check(agent.ask({'QUERY_STRING': 'wait'}, script='main.app'), 'closed')
