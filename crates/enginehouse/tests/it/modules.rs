//! The Modules API (rows M1–M5): the official SDKs, unmodified, ask and change the services, versions and instances of their own app.

mod inside;
mod run;
mod serve;

use testkit::{App, Python};

/// Evaluates the expression in the query, with the SDK's modules at hand, and answers its `repr`, or the error's name.
pub(crate) const CALLER: &str = r"
import re
import socket
import threading
import time
try:
    from http.client import HTTPConnection
    from urllib.parse import quote, unquote
except ImportError:
    from httplib import HTTPConnection
    from urllib import quote, unquote
from google.appengine.api import apiproxy_stub_map, background_thread, modules, runtime, urlfetch
from google.appengine.runtime import apiproxy_errors

said = []
gate = threading.Event()


def raw(service, method, **fields):
    name = 'google.appengine.api.%s.%s_service_pb' % (service, service)
    pb = __import__(name + ('' if str is bytes else '2'), fromlist=['x'])
    request = getattr(pb, method + 'Request')()
    for field, value in fields.items():
        if str is bytes:
            getattr(request, 'set_' + field)(value)
        else:
            setattr(request, field, value)
    response = getattr(pb, method + 'Response')()
    try:
        apiproxy_stub_map.MakeSyncCall(service, method, request, response)
    except apiproxy_errors.ApplicationError as error:
        return error.application_error
    return response


def fetch(hostname, path='/'):
    # Python 2 asks URL Fetch for this, as in production; Python 3 opens a socket.
    urlfetch.set_default_fetch_deadline(60)
    connection = HTTPConnection(hostname)
    connection.request('GET', path)
    answer = connection.getresponse()
    return answer.status, str(answer.read().decode('utf-8'))


def address(hostname):
    # In walls every instance finds the names.
    return socket.gethostbyname(hostname.partition(':')[0])


def fetched(hostname):
    return str(urlfetch.fetch('http://%s/?%s' % (hostname, quote('whoami()')), deadline=60).content.decode('utf-8'))


def who(hostname):
    return fetch(hostname, '/?' + quote('whoami()'))[1]


def whoami():
    return '%s %s %s' % (modules.get_current_module_name(), modules.get_current_version_name(), modules.get_current_instance_id())


def app(environ, start_response):
    if environ['PATH_INFO'].startswith('/_ah/start'):
        start_response('200 OK', [])
        return [b'']
    try:
        answer = eval(unquote(environ['QUERY_STRING']))
        # Python 2 writes large whole numbers with an L
        answer = answer if type(answer) is str else re.sub(r'(\d)L\b', r'\1', repr(answer))
    except Exception as error:
        answer = 'raises ' + type(error).__name__
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [answer.encode('utf-8')]
";

/// One service in a folder of its own; `more` is its scaling.
pub(crate) fn add(app: App, python: Python, folder: &str, service: &str, more: &str) -> App {
    let head = python.head();
    let (yaml, main) = match python {
        Python::Two => (format!("{head}service: {service}\n{more}handlers:\n- url: /.*\n  script: main.app\n"), CALLER.to_owned()),
        Python::Three => (
            format!("{head}service: {service}\n{more}app_engine_apis: true\n"),
            format!("{CALLER}\n\nfrom google.appengine.api import wrap_wsgi_app\napp = wrap_wsgi_app(app)\n"),
        ),
    };
    let app = app.file(&format!("{folder}/app.yaml"), yaml).file(&format!("{folder}/main.py"), main);
    match python {
        Python::Two => app,
        Python::Three => app.file(&format!("{folder}/requirements.txt"), "appengine-python-standard==3.1.0\nsetuptools<80\n"),
    }
}

/// The path of a request that evaluates an expression.
pub(crate) fn asks(expression: &str) -> String {
    "/?".to_owned() + &expression.bytes().fold(String::new(), |quoted, byte| quoted + &format!("%{byte:02X}"))
}

/// The two Pythons write texts in their own ways.
pub(crate) fn plain(answer: &str) -> String {
    answer.replace("u'", "'").replace("b'", "'")
}
