"""Finding the WSGI object a script names, appengine_config.py, and the validator of the standard library as an app."""
from __future__ import absolute_import

from .support import PY2, AgentTest


class LoadTest(AgentTest):
    APP = '''
        def make(text):
            def app(environ, start_response):
                start_response('200 OK', [])
                return [text]
            return app
        app = make(b'app')
        class Holder(object):
            inner = staticmethod(make(b'inner'))
        number = 5
        '''

    def test_names(self):
        self.write('main.py', self.APP)
        self.write('pkg/__init__.py', '')
        self.write('pkg/mod.py', self.APP)
        self.write('lib/other.py', self.APP)
        client = self.start(paths=[self.root + '/lib']).client()
        for script, body in (('main.app', 'app'), ('main:app', 'app'), ('main.Holder.inner', 'inner'), ('main:Holder.inner', 'inner'),
                             ('pkg.mod.app', 'app'), ('pkg.mod:Holder.inner', 'inner'), ('pkg.mod.Holder.inner', 'inner'), ('other.app', 'app')):
            self.check(client.ask(script=script), body)

    def test_wrong_names(self):
        self.write('main.py', self.APP)
        self.write('broken.py', 'import nothing_of_the_kind\n')
        self.write('wrong.py', 'def (:\n')
        self.write('pkg/__init__.py', '')
        client = self.start().client()
        for script, outcome, words in (
                ('nowhere.app', 2, 'there is no module "nowhere"'), ('main.nothing', 2, 'has no attribute "nothing"'),
                ('main:nothing', 2, 'has no attribute "nothing"'), ('pkg.nothing.app', 2, 'has no attribute "nothing"'),
                ('main', 2, 'main.app'), ('main.number', 4, 'cannot be called'), ('broken.app', 1, 'nothing_of_the_kind'),
                ('wrong.app', 1, 'SyntaxError'), ('main..app', 2, 'no dotted name')):
            answer = client.ask(script=script)
            self.assertEqual(answer.outcome, outcome, (script, answer))
            self.assertIn(words, answer.detail)
        self.assertIn('names no script', client.ask().detail)

    def test_failed_import_is_tried_again(self):
        client = self.serve('''
            import os
            if not os.path.exists('/proc/self/cwd/ready'):
                raise RuntimeError('not yet')
            def app(environ, start_response):
                start_response('200 OK', [])
                return [b'now']
            ''').client()
        for _ in range(2):
            answer = client.ask(script='main.app')
            self.assertEqual(answer.outcome, 1)
            self.assertIn('RuntimeError: not yet', answer.detail)
        self.write('ready', '')
        self.check(client.ask(script='main.app'), 'now')

    def test_import_happens_once(self):
        agent = self.serve('''
            import threading, time
            loads = []
            loads.append(1)
            time.sleep(0.2)
            def app(environ, start_response):
                start_response('200 OK', [])
                return [str(len(loads)).encode()]
            ''')
        clients = [agent.client() for _ in range(4)]
        for client in clients:
            client.send(script='main.app')
        for client in clients:
            self.check(client.receive(), '1')

    def test_asgi_is_explained(self):
        if PY2:
            return
        self.write('main.py', 'async def app(scope, receive, send):\n    pass\n')
        self.write('other.py', 'class A:\n    async def __call__(self, scope, receive, send):\n        pass\napp = A()\n')
        client = self.start(runtime='python311').client()
        for script in ('main:app', 'other.app'):
            answer = client.ask(script=script)
            self.assertEqual(answer.outcome, 4)
            self.assertIn('entrypoint: uvicorn %s' % script.replace('.', ':'), answer.detail)

    def test_app_modules_may_have_any_name(self):
        for name in ('config', 'files', 'server', 'logs', 'app', 'wsgi'):
            self.write(name + '.py', self.APP)
        client = self.start().client()
        for name in ('config', 'files', 'server', 'logs', 'app', 'wsgi'):
            self.check(client.ask(script=name + '.app'), 'app')

    def test_appengine_config(self):
        self.write('appengine_config.py', '''
            import os
            order = ['config ' + os.environ['REQUEST_METHOD']]
            def webapp_add_wsgi_middleware(app):
                def wrapped(environ, start_response):
                    def start(status, headers, exc_info=None):
                        return start_response(status, headers + [('X-Wrapped', 'yes')], exc_info)
                    return app(environ, start)
                return wrapped
            ''')
        agent = self.serve('''
            from appengine_config import order
            order.append('main')
            def app(environ, start_response):
                start_response('200 OK', [])
                return [' '.join(order).encode()]
            ''')
        answer = self.check(agent.ask(script='main.app'), 'config GET main')
        self.assertEqual(answer.header('X-Wrapped'), ['yes'])
        self.assertEqual(agent.ask(script='main.app').header('X-Wrapped'), ['yes'])
        # the second generation knows no such file
        self.assertEqual(self.start(runtime='python311').ask(script='main.app').header('X-Wrapped'), [])

    def test_broken_appengine_config(self):
        self.write('appengine_config.py', 'import nothing_of_the_kind\n')
        answer = self.serve(self.APP).ask(script='main.app')
        self.assertEqual(answer.outcome, 1)
        self.assertIn('appengine_config.py', answer.detail)


class ValidatorTest(AgentTest):
    """wsgiref.validate asserts on everything a server must do, from inside the app."""

    APP = '''
        from wsgiref.validate import validator
        def plain(environ, start_response):
            body = environ['wsgi.input'].read(int(environ.get('CONTENT_LENGTH') or 0))
            environ['wsgi.errors'].write('seen\\n')
            environ['wsgi.errors'].flush()
            for line in environ['wsgi.input']:
                pass
            environ['wsgi.input'].readline()
            environ['wsgi.input'].readlines()
            start_response('200 OK', [('Content-Type', 'text/plain')])
            return [b'<', body, b'>']
        def generator(environ, start_response):
            write = start_response('200 OK', [('Content-Type', 'text/plain')])
            write(b'a')
            return iter([b'b'])
        app = validator(plain)
        streamed = validator(generator)
        '''

    def test_validator(self):
        for runtime in ('python27', 'python311'):
            client = self.serve(self.APP, runtime=runtime).client()
            self.check(client.ask(script='main.app'), '<>')
            answer = self.check(client.ask({'REQUEST_METHOD': 'POST', 'CONTENT_LENGTH': '4', 'CONTENT_TYPE': 'a/b'}, body=b'body', script='main.app'), '<body>')
            self.assertEqual(answer.logs, [(3, 'seen')])
            self.check(client.ask(script='main.streamed'), 'ab')
