"""WSGI objects (PEP 3333): loading, the environ, start_response, bodies, and what is refused."""
from __future__ import absolute_import

import json

from .support import AgentTest

HELLO = '''
def app(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain'), ('X-A', '1'), ('X-A', '2')])
    return [b'hello ', b'world']
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
