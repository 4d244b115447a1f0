"""wsgi.input in both generations: every way to read a body that arrives in pieces, and what happens to a body nobody reads."""
from __future__ import absolute_import

from .support import AgentTest, frame

APP = '''
import json
def app(environ, start_response):
    source = environ['wsgi.input']
    got = eval(environ['QUERY_STRING'])
    start_response('200 OK', [])
    if isinstance(got, bytes):
        got = got.decode('latin-1')
    elif isinstance(got, list):
        got = [item.decode('latin-1') for item in got]
    return [json.dumps(got).encode()]
'''
BODY = [b'line 1\nli', b'ne 2\n', b'\n', b'last']


class BodyTest(AgentTest):
    def test_reading(self):
        for runtime in ('python27', 'python311'):
            client = self.serve(APP, runtime=runtime).client()
            for expression, expected in (
                    ('source.read()', '"line 1\\nline 2\\n\\nlast"'), ('source.read(3)', '"lin"'), ('source.read(12)', '"line 1\\nline "'),
                    ('source.read(1000)', '"line 1\\nline 2\\n\\nlast"'), ('source.read(-1)', '"line 1\\nline 2\\n\\nlast"'),
                    ('source.read(None)', '"line 1\\nline 2\\n\\nlast"'), ('source.read(0)', '""'),
                    ('[source.read(), source.read(), source.read(5), source.readline()]', '["line 1\\nline 2\\n\\nlast", "", "", ""]'),
                    ('source.readline()', '"line 1\\n"'), ('source.readline(4)', '"line"'),
                    ('[' + 'source.readline(9), ' * 5 + ']', '["line 1\\n", "line 2\\n", "\\n", "last", ""]'),
                    ('source.readlines()', '["line 1\\n", "line 2\\n", "\\n", "last"]'), ('source.readlines(8)', '["line 1\\n", "line 2\\n"]'),
                    ('list(source)', '["line 1\\n", "line 2\\n", "\\n", "last"]'),
                    ('[source.read(8), source.readline(), source.read()]', '["line 1\\nl", "ine 2\\n", "\\nlast"]')):
                answer = client.ask({'QUERY_STRING': expression}, body=BODY, script='main.app')
                self.check(answer, expected)

    def test_empty(self):
        for runtime in ('python27', 'python311'):
            client = self.serve(APP, runtime=runtime).client()
            for body in (None, b''):
                for expression in ('source.read()', 'source.read(5)', 'source.readline()'):
                    self.check(client.ask({'QUERY_STRING': expression}, body=body, script='main.app'), '""')
                for expression in ('source.readlines()', 'list(source)'):
                    self.check(client.ask({'QUERY_STRING': expression}, body=body, script='main.app'), '[]')

    def test_unread_body_is_dropped(self):
        client = self.serve(APP, runtime='python311').client()
        big = [b'x' * 60000] * 20
        for expression in ('source.read(10) and b"ok"', 'b"ok"'):
            self.check(client.ask({'QUERY_STRING': expression}, body=big, script='main.app'), '"ok"')
        self.check(client.ask({'QUERY_STRING': 'source.read()'}, body=b'next', script='main.app'), '"next"')

    def test_first_generation_can_seek(self):
        client = self.serve(APP).client()
        self.check(client.ask({'QUERY_STRING': '[source.read(), source.seek(0) and b"" or source.read(4), str(source.tell()).encode()]'}, body=BODY, script='main.app'),
                   '["line 1\\nline 2\\n\\nlast", "line", "4"]')

    def test_large_piece(self):
        client = self.serve(APP).client()
        self.check(client.ask({'QUERY_STRING': 'str(len(source.read()))'}, body=[b'x' * (5 << 20)], script='main.app'), '"5242880"')

    def test_everything_in_small_packets(self):
        client = self.serve(APP).client()
        out = client.encode({'QUERY_STRING': 'source.read()'}, body=b'', script='main.app') + frame('B', b'slow') + frame('B')
        for at in range(len(out)):
            client.sock.sendall(out[at:at + 1])
        self.check(client.receive(), '"slow"')

    def test_client_leaves_in_the_body(self):
        agent = self.serve('''
            import threading
            seen = []
            known = threading.Event()
            def app(environ, start_response):
                start_response('200 OK', [])
                if environ['QUERY_STRING']:
                    known.wait(20)
                    return [str(seen).encode()]
                try:
                    environ['wsgi.input'].read()
                except IOError as error:
                    seen.append(str(error))
                finally:
                    known.set()
                return []
            ''', runtime='python311')
        client = agent.client()
        client.sock.sendall(client.encode(body=b'', script='main.app') + frame('B', b'half'))
        client.close()
        self.assertIn('closed the connection', agent.ask({'QUERY_STRING': 'x'}, script='main.app').text)
