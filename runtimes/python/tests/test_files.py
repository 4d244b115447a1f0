"""The read-only file system and hidden files of the first generation."""
from __future__ import absolute_import

import json
import os
import shutil
import tempfile

from .support import PY2, AgentTest

APP = '''
import glob, io, json, os, shutil, tempfile
try:
    import pathlib
except ImportError:
    pathlib = None

def attempt(function):
    try:
        return function()
    except (IOError, OSError) as error:
        return [type(error) is (IOError if str is bytes else type(error)), error.errno, error.strerror]

def text(path, opener=open):
    with opener(path) as file:
        return file.read()

def put(path, mode='w', opener=open):
    with opener(path, mode) as file:
        file.write(b'x' if 'b' in mode else u'x' if opener is not open else 'x')
    return 'written'

def temporary():
    folder = tempfile.mkdtemp()
    path = os.path.join(folder, 'a')
    put(path)
    put(path, 'a')
    os.rename(path, path + '2')
    os.mkdir(os.path.join(folder, 'static'))
    put(os.path.join(folder, 'static', 'x.txt'))
    with tempfile.NamedTemporaryFile() as file:
        file.write(b'x')
    with tempfile.TemporaryFile() as file:
        file.write(b'x')
    content = text(path + '2')
    shutil.rmtree(folder)
    return [content, os.path.exists(folder)]

def app(environ, start_response):
    os.chdir(os.path.dirname(os.path.abspath(__file__)))
    result = attempt(lambda: eval(environ['QUERY_STRING'], globals()))
    start_response('200 OK', [])
    return [json.dumps(result).encode()]
'''
NO = [True, 13, 'file not accessible']
READ_ONLY = [True, 30, 'Read-only file system']
MISSING = [False, 2, 'No such file or directory'] if PY2 else [True, 2, 'No such file or directory']


class FilesTest(AgentTest):
    def setUp(self):
        AgentTest.setUp(self)
        # Outside the temporary folder, to see that the rest of the file system is read-only as well.
        here = os.path.dirname(os.path.realpath(__file__))
        self.outside = tempfile.mkdtemp(dir='/var/tmp' if here.startswith(('/tmp/', tempfile.gettempdir() + '/')) else here)
        self.addCleanup(shutil.rmtree, self.outside)
        for name in ('static/a.txt', 'static/deep/b.txt', 'data.txt', 'notes.secret', 'templates/t.html', 'lib/notes.secret'):
            self.write(name, 'content of ' + name)
        self.write('static/code.py', 'x = 1')
        self.agent = self.serve(APP, hidden=['static/.*', '(broken'], skipped=[r'^(.*/)?.*\.secret$'], paths=[self.root + '/lib'])
        self.client = self.agent.client()

    def ask(self, expression):
        return json.loads(self.check(self.client.ask({'QUERY_STRING': expression}, script='main.app')).text)

    def test_reading(self):
        self.assertEqual(self.ask('text("data.txt")'), 'content of data.txt')
        self.assertEqual(self.ask('text(%r)' % (self.root + '/templates/../data.txt')), 'content of data.txt')
        self.assertEqual(self.ask('text("lib/notes.secret")'), 'content of lib/notes.secret')
        self.assertTrue(self.ask('text("/etc/passwd")'))
        self.assertEqual(self.ask('text("nothing")')[1], 2)

    def test_hidden(self):
        for path in ('static/a.txt', 'static/deep/b.txt', 'notes.secret', 'templates/../static/a.txt', './static/a.txt', self.root + '/static/a.txt'):
            for opener in ('open', 'io.open') + (('file',) if PY2 else ()):
                self.assertEqual(self.ask('text(%r, %s)' % (path, opener)), NO, path)
            self.assertEqual(self.ask('os.open(%r, os.O_RDONLY)' % path)[1:], NO[1:])
            self.assertEqual(self.ask('[os.path.exists(%r), os.path.isfile(%r), os.access(%r, os.R_OK)]' % (path, path, path)), [False] * 3)
            self.assertEqual(self.ask('os.stat(%r)' % path), MISSING)
            if not PY2:
                self.assertEqual(self.ask('pathlib.Path(%r).read_text()' % path)[1:], NO[1:])
        self.assertEqual(self.ask('sorted(os.listdir("."))'), ['data.txt', 'lib', 'main.py', 'static', 'templates'])
        self.assertEqual(self.ask('[os.listdir("static"), glob.glob("*/a.txt")]'), [[], []])
        self.assertEqual(self.ask('sorted(sum((files for _, _, files in os.walk(".")), []))'), ['data.txt', 'main.py', 'notes.secret', 't.html'])
        self.assertEqual(self.ask('shutil.copy("static/a.txt", tempfile.gettempdir())')[1], 13)

    def test_writing(self):
        for folder in (self.root, self.outside):
            path = folder + '/new'
            existing = folder + '/data.txt'
            with open(existing, 'w') as file:
                file.write('content')
            for mode in ('w', 'a', 'r+', 'wb', 'w+') + (() if PY2 else ('x',)):
                for opener in ('open', 'io.open') + (('file',) if PY2 and mode != 'x' else ()):
                    self.assertEqual(self.ask('put(%r, %r, %s)' % (existing if mode == 'r+' else path, mode, opener)), READ_ONLY, (mode, opener))
            for call in ('os.open({new!r}, os.O_CREAT | os.O_WRONLY)', 'os.open({old!r}, os.O_RDWR)', 'os.mkdir({new!r})', 'os.makedirs({new!r} + "/a/b")',
                         'os.remove({old!r})', 'os.unlink({old!r})', 'os.rmdir({folder!r})', 'os.rename({old!r}, {new!r})',
                         'os.rename({old!r}, tempfile.gettempdir() + "/x")', 'os.symlink("x", {new!r})', 'os.link({old!r}, {new!r})',
                         'os.chmod({old!r}, 0)', 'os.utime({old!r}, (0, 0))', 'os.chown({old!r}, 0, 0)',
                         'tempfile.mkdtemp(dir={folder!r})', 'shutil.copy({old!r}, {new!r})') + (
                             () if PY2 else ('os.truncate({old!r}, 0)', 'os.replace({old!r}, {new!r})', 'pathlib.Path({new!r}).write_text("x")')):
                answer = self.ask(call.format(new=path, old=existing, folder=folder))
                self.assertEqual(answer[1:], READ_ONLY[1:], (call, answer))
            self.assertFalse(os.path.lexists(path))
            with open(existing) as file:
                self.assertEqual(file.read(), 'content')

    def test_default_skip_files(self):
        pattern = r'^(.*/)?((#.*#)|(.*~)|(.*\.py[co])|(.*/RCS/.*)|(\..*)|)$'
        for name in ('a~', '#a#', 'deep/.hidden', 'x/RCS/y', 'old.pyc', 'fine.txt', 'deep/fine.py'):
            self.write(name, 'content')
        self.agent = self.serve(APP, skipped=[pattern])
        self.client = self.agent.client()
        for name in ('a~', '#a#', 'deep/.hidden', 'x/RCS/y', 'old.pyc'):
            self.assertEqual(self.ask('text(%r)' % name), NO)
        for name in ('fine.txt', 'deep/fine.py'):
            self.assertEqual(self.ask('text(%r)' % name), 'content')
        self.assertEqual(self.ask('os.listdir("deep")'), ['fine.py'])
        self.assertTrue(self.ask('os.path.isdir(".") and os.path.isdir("deep") and os.listdir(".")'))

    def test_temporary_files(self):
        self.assertEqual(self.ask('temporary()'), ['xx', False])
        self.assertEqual(self.ask('put(os.devnull)'), 'written')

    def test_no_compiled_files_in_the_app(self):
        self.write('helper.py', 'x = 5')
        self.assertEqual(self.ask('__import__("helper").x'), 5)
        found = [name for _, folders, files in os.walk(self.root) for name in folders + files]
        self.assertEqual([name for name in found if 'pyc' in name], [])

    def test_second_generation_is_left_alone(self):
        self.agent = self.serve(APP, runtime='python311', hidden=['static/.*'])
        self.client = self.agent.client()
        self.assertEqual(self.ask('text("static/a.txt")'), 'content of static/a.txt')
        self.assertEqual(self.ask('put("new")'), 'written')

    if PY2:
        def test_file_type(self):
            self.assertEqual(self.ask('[isinstance(open("data.txt"), file), isinstance(file("data.txt"), file), isinstance(5, file)]'), [True, True, False])

    def test_a_bad_pattern_is_reported(self):
        self.ask('1')
        self.assertIn("hidden pattern '(broken' is no regular expression", self.agent.printed())
