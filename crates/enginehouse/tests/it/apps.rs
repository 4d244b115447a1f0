//! Apps that several tests use.

use testkit::{App, Python};

/// Answers with what it was asked, as JSON: the environ, the body, os.environ, and where it runs.
pub(crate) const ECHO: &str = r"
import json
import os
import sys

VERSION = '1'
# Inside the sandbox every instance has the same number; the time of its start, in the kernel's ticks, tells them apart.
INSTANCE = '%d@%s' % (os.getpid(), open('/proc/self/stat').read().rsplit(')', 1)[1].split()[19])


def text(value):
    return value if isinstance(value, str) else repr(value)


def app(environ, start_response):
    length = environ.get('CONTENT_LENGTH')
    body = environ['wsgi.input'].read(int(length)) if length else environ['wsgi.input'].read()
    answer = {
        'environ': dict((key, text(value)) for key, value in environ.items()),
        'os': dict(os.environ),
        'body': body.decode('latin-1'),
        'pid': INSTANCE,
        'python': '%d.%d' % sys.version_info[:2],
        'version': VERSION,
    }
    data = json.dumps(answer, ensure_ascii=True).encode('ascii')
    start_response('200 OK', [('Content-Type', 'application/json')])
    return [data]
";

/// Does what the query says: `status=404&header=Name:value&header=…&body=text&size=1000`.
pub(crate) const OBEY: &str = r"
try:
    from urllib.parse import parse_qsl
except ImportError:
    from urlparse import parse_qsl


def app(environ, start_response):
    status, headers, body = '200 OK', [], b'hello'
    query = environ['QUERY_STRING']
    for name, value in parse_qsl(query, keep_blank_values=True, **({} if str is bytes else {'encoding': 'latin-1'})):
        if name == 'status':
            status = value + ' Because'
        elif name == 'header':
            headers.append(tuple(value.split(':', 1)))
        elif name == 'body':
            body = value if str is bytes else value.encode('latin-1')
        elif name == 'size':
            body = b'x' * int(value)
    start_response(status, headers)
    return [body]
";

/// An app whose every path runs `main.py`, with `extra` in its app.yaml.
pub(crate) fn app(python: Python, extra: &str, main: &str) -> App {
    App::with_yaml(&python.yaml(extra)).file("main.py", main)
}

/// An app that echoes.
pub(crate) fn echo(python: Python) -> App {
    app(python, "", ECHO)
}

/// An app without any code: it needs no interpreter.
pub(crate) fn static_only(handlers: &str) -> App {
    App::with_yaml(&format!("{}handlers:\n{handlers}", Python::Two.head()))
}

/// Percent-encodes a query value.
pub(crate) fn encode(text: &str) -> String {
    text.bytes().map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
