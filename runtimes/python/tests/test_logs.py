"""Log lines: logging, print and standard error reach the request that they came from."""
from __future__ import absolute_import

from .support import PY2, AgentTest

APP = '''
from __future__ import print_function
import logging, os, sys, threading
print('at import')
go = threading.Event()

def streams():
    out = sys.stdout
    return [out.fileno(), out.isatty(), sys.stderr.fileno(), getattr(out, 'encoding', None) and True]

def levels():
    for level in ('debug', 'info', 'warning', 'error', 'critical'):
        getattr(logging, level)('a %s line', level)
    try:
        1 / 0
    except ZeroDivisionError:
        logging.exception('failed')

def threaded():
    def run():
        print('from a thread')
        logging.warning('warned')
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()

def binary():
    sys.stdout.buffer.write(b'raw \\xc3\\xbc\\n')
    sys.stdout.buffer.flush()

def app(environ, start_response):
    exec(environ['HTTP_CODE'])
    start_response('200 OK', [])
    return [b'ok']
'''


class LogTest(AgentTest):
    def logs(self, code, runtime='python27', agent=None):
        agent = agent or self.serve(APP, runtime=runtime)
        agent.ask({'HTTP_CODE': ''}, script='main.app')
        return self.check(agent.ask({'HTTP_CODE': code}, script='main.app')).logs

    def test_levels(self):
        logs = self.logs('levels()')
        self.assertEqual(logs[:5], [(0, 'a debug line'), (1, 'a info line'), (2, 'a warning line'), (3, 'a error line'), (4, 'a critical line')])
        self.assertEqual(logs[5][0], 3)
        self.assertTrue(logs[5][1].startswith('failed\nTraceback') and logs[5][1].endswith('by zero'), logs)

    def test_print(self):
        for runtime in ('python27', 'python311'):
            self.assertEqual(self.logs('print("one"); print("two", end=""); print(" three\\nfour"); sys.stdout.write("open end")', runtime),
                             [(1, 'one'), (1, 'two three'), (1, 'four'), (1, 'open end')])
            self.assertEqual(self.logs('sys.stderr.write("a\\nb\\n"); environ["wsgi.errors"].write("c\\n"); environ["wsgi.errors"].writelines(["d\\n", "e"])', runtime),
                             [(2, 'a\nb'), (3, 'c'), (3, 'd'), (3, 'e')])

    def test_text_that_is_no_ascii(self):
        self.assertEqual(self.logs('print(u"gr\\u00fcn"); logging.info(u"\\u20ac %s", u"\\u00fc")'), [(1, u'gr\xfcn'), (1, u'\u20ac \xfc')])
        if PY2:
            self.assertEqual(self.logs('print("\\xff"); logging.info("\\xff")'), [(1, u'\xff'), (1, u'\xff')])
        else:
            self.assertEqual(self.logs('binary()'), [(1, u'raw \xfc')])

    def test_import_lines_belong_to_the_loading_request(self):
        answer = self.serve(APP).ask({'HTTP_CODE': ''}, script='main.app')
        self.assertEqual(answer.logs, [(1, 'at import')])

    def test_threads(self):
        self.assertEqual(self.logs('threaded()'), [(1, 'from a thread'), (2, 'warned')])

    def test_second_generation_logging(self):
        # Nobody configured logging: Python's own default prints warnings to standard error.
        self.assertEqual(self.logs('levels()', 'python311')[:2], [(2, 'WARNING:root:a warning line'), (2, 'ERROR:root:a error line')])

    def test_requests_do_not_mix(self):
        agent = self.serve(APP)
        first, second = agent.client(), agent.client()
        first.send({'HTTP_CODE': 'logging.critical("first 1"); go.wait(20); logging.info("first 2")'}, script='main.app')
        self.assertEqual(first.receive_frame(), ('L', b'1at import'))
        self.assertEqual(first.receive_frame(), ('L', b'4first 1'))  # critical lines do not wait for the response
        self.assertEqual(second.ask({'HTTP_CODE': 'print("second"); go.set()'}, script='main.app').logs, [(1, 'second')])
        self.assertEqual(first.receive().logs, [(1, 'first 2')])

    def test_lines_of_a_long_request_come_while_it_runs(self):
        agent = self.serve(APP)
        agent.ask({'HTTP_CODE': ''}, script='main.app')
        client = agent.client()
        client.send({'HTTP_CODE': 'print("started"); go.wait(20); print("ended")'}, script='main.app')
        self.assertEqual(client.receive_frame(), ('L', b'1started'))
        self.check(agent.ask({'HTTP_CODE': 'go.set()'}, script='main.app'))
        self.assertEqual(client.receive().logs, [(1, 'ended')])

    def test_many_and_long_lines(self):
        logs = self.logs('for i in range(5000): print(i)')
        self.assertEqual([text for _, text in logs], [str(i) for i in range(5000)])
        logs = self.logs('print("x" * 1000000)')
        self.assertEqual(len(logs), 1)
        self.assertTrue(logs[0][1].startswith('xxx') and logs[0][1].endswith('(cut)') and len(logs[0][1]) < 300000, len(logs[0][1]))

    def test_lines_of_a_failing_request(self):
        answer = self.serve(APP).ask({'HTTP_CODE': 'print("before"); fail'}, script='main.app')
        self.assertEqual((answer.outcome, answer.lines), (1, ['at import', 'before']))

    def test_streams_stay_usable(self):
        logs = self.logs('print(streams()); sys.stdout.flush(); sys.stdout.close(); print("still"); os.write(1, b"to the process\\n")')
        self.assertIn(logs[0][1], ('[1, False, 2, True]', '[1, False, 2, None]'))
        self.assertEqual(logs[1], (1, 'still'))

    def test_process_output(self):
        agent = self.serve(APP)
        self.logs('os.write(1, b"plain write\\n")', agent=agent)
        self.assertIn('plain write', agent.printed())
