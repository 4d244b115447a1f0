//! Bundled services: apps call them through the official SDKs, unmodified (rows M4, S3, S9).

use testkit::{App, Node, Python, Request};

use crate::{node, on_both};

/// Evaluates the expression in the query, with the SDK's modules at hand, and answers its `repr`, or the error's name.
const CALLER: &str = r"
import re
import sys
import threading
try:
    from urllib.parse import unquote
except ImportError:
    from urllib import unquote
from google.appengine.api import memcache, users
from google.appengine.api import apiproxy_stub_map
from google.appengine.api.capabilities import CapabilitySet
from google.appengine.runtime import apiproxy_errors


def raw(service, method, request, response):
    apiproxy_stub_map.MakeSyncCall(service, method, request, response)
    return response


def together(*calls):
    return [call.get_result() for call in calls]


def in_thread(work):
    found = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join()
    return found


def app(environ, start_response):
    expression = unquote(environ['QUERY_STRING'])
    try:
        # Python 2 writes large whole numbers with an L
        answer = re.sub(r'(\d)L\b', r'\1', repr(eval(expression)))
    except Exception as error:
        answer = 'raises ' + type(error).__name__
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [answer.encode('utf-8')]
";

fn caller(python: Python) -> App {
    match python {
        Python::Two => App::with_yaml(&format!("{}handlers:\n- url: /.*\n  script: main.app\n", python.head())).file("main.py", CALLER),
        Python::Three => App::with_yaml(&format!("{}app_engine_apis: true\n", python.head()))
            .file("main.py", format!("{CALLER}\n\nfrom google.appengine.api import wrap_wsgi_app\napp = wrap_wsgi_app(app)\n"))
            .file("requirements.txt", "appengine-python-standard==3.1.0\nsetuptools<80\n"),
    }
}

fn eval(node: &Node, expression: &str) -> String {
    let quoted = expression.bytes().fold(String::new(), |quoted, byte| quoted + &format!("%{byte:02X}"));
    // The two Pythons write texts in their own ways.
    node.send(&Request::get(&format!("/?{quoted}"))).expect(200).text().replace("u'", "'").replace("b'", "'")
}

#[test]
fn s9_memcache_through_the_sdk() {
    on_both(|python| {
        let node = node().app(&caller(python)).args(["--patience", "300"]).start();
        let check = |expression: &str, wanted: &str| assert_eq!(eval(&node, expression), wanted, "{python:?}: {expression}");
        check("memcache.get('a')", "None");
        check("memcache.set('a', {'x': [1, 2]})", "True");
        check("memcache.get('a')", "{'x': [1, 2]}");
        check("memcache.get('a', namespace='other')", "None");
        check("memcache.add('a', 1), memcache.replace('a', 'text'), memcache.replace('z', 1)", "(False, True, False)");
        check("memcache.incr('n'), memcache.incr('n', initial_value=5), memcache.decr('n', delta=9)", "(None, 6, 0)");
        check("memcache.set_multi({'p1': 1, 'p2': 2}), memcache.get_multi(['p1', 'p2', 'p3']) == {'p1': 1, 'p2': 2}", "([], True)");
        check("memcache.offset_multi({'c1': 3, 'c2': -3}, initial_value=10) == {'c1': 13, 'c2': 7}", "True");
        check("memcache.delete('a'), memcache.delete('a')", "(2, 1)");
        check("memcache.set('l', 1), memcache.delete('l', seconds=60), memcache.add('l', 2), memcache.get('l')", "(True, 2, False, None)");
        check("(lambda c: (c.set('k', 1), c.gets('k'), c.cas('k', 2), c.cas('k', 3)))(memcache.Client())", "(True, 1, True, False)");
        check("sorted(memcache.get_stats())", "['byte_hits', 'bytes', 'hits', 'items', 'misses', 'oldest_item_age']");
        check("memcache.flush_all(), memcache.get('n')", "(True, None)");
        check("memcache.set('t', 't'), memcache.incr('t')", "(True, None)");
    });
}

#[test]
fn m4_calls_run_together_and_in_threads() {
    on_both(|python| {
        let node = node().app(&caller(python)).args(["--patience", "300"]).start();
        let several = "together(*[memcache.Client().set_multi_async({'k%d' % i: i}) for i in range(20)]) == [{'k%d' % i: 'STORED'} for i in range(20)]";
        let stored = eval(&node, several);
        assert!(stored == "True" || stored == "False", "{python:?}: {stored}");
        assert_eq!(eval(&node, "memcache.get_multi(['k%d' % i for i in range(20)]) == dict(('k%d' % i, i) for i in range(20))"), "True");
        assert_eq!(eval(&node, "in_thread(lambda: memcache.get('k7'))"), "[7]", "{python:?}");
    });
}

/// A module of the app that registers settings, as webapp, ndb and deferred do, while another thread makes the app's first call of memcache. In Python 2
/// whoever imports has the one import lock; the SDK wants it to read `appengine_config.py`, with the lock of its registry in its hands.
const REGISTERS: &str = r"
import sys
import threading
import time
from google.appengine.api import lib_config, memcache

answers = []
asking = threading.Thread(target=lambda: answers.append(memcache.get('nothing')))
asking.start()


def imports():
    frame = sys._current_frames().get(asking.ident)
    while frame is not None:
        if frame.f_code.co_name == 'import_module':
            return True
        frame = frame.f_back
    return False


while asking.is_alive() and not imports():
    time.sleep(0.001)
lib_config.register('registers', {})
";

#[test]
fn m4_a_call_does_not_wait_for_a_thread_that_imports() {
    on_both(|python| {
        let node = node().app(&caller(python).file("registers.py", REGISTERS)).args(["--patience", "300"]).start();
        // What a first call of any service needs is there.
        assert_ne!(eval(&node, "memcache.get_stats()"), "None");
        assert_eq!(eval(&node, "[__import__('registers').asking.join(), __import__('registers').answers]"), "[None, [None]]", "{python:?}");
    });
}

/// An address that answers once it is told to.
const SLOW: &str = r"
GATE = threading.Event()
inner = app


def app(environ, start_response):
    if environ['PATH_INFO'] == '/gate':
        GATE.wait(60)
    return inner(environ, start_response)


def raced(environ_host):
    'The first answer of two fetches, one of which waits for the gate; then both.'
    from google.appengine.api import urlfetch
    calls = []
    for path in ('/gate?1', '/?2', '/gate?3'):
        call = urlfetch.create_rpc(deadline=60)
        urlfetch.make_fetch_call(call, 'http://' + environ_host + path)
        calls.append(call)
    first = apiproxy_stub_map.UserRPC.wait_any(calls)
    while first is None:
        first = apiproxy_stub_map.UserRPC.wait_any(calls)
    found = [calls.index(first), first.get_result().content.decode('ascii')]
    GATE.set()
    apiproxy_stub_map.UserRPC.wait_all(calls)
    return found + [call.get_result().content.decode('ascii') for call in calls]
";

#[test]
fn m4_the_first_of_several_calls_ends_the_wait() {
    on_both(|python| {
        let main = if python == Python::Two {
            format!("{CALLER}{SLOW}")
        } else {
            format!("{CALLER}{SLOW}\n\nfrom google.appengine.api import wrap_wsgi_app\napp = wrap_wsgi_app(app)\n")
        };
        let app = caller(python).file("main.py", main);
        let node = node().app(&app).args(["--patience", "300"]).start();
        let host = format!("localhost:{}", node.address().port());
        assert_eq!(eval(&node, &format!("raced('{host}')")), "[1, '2', '1', '2', '3']", "{python:?}");
        // A call that fails ends it too, and what nobody waits for hinders nobody.
        let failing = "(lambda calls: (calls[1] is apiproxy_stub_map.UserRPC.wait_any(calls)) in (True, False))(\
                       [memcache.Client().get_multi_async(['a']), memcache.Client().set_multi_async({'b': 1})])";
        assert_eq!(eval(&node, failing), "True", "{python:?}");
        assert_eq!(eval(&node, "memcache.get('b')"), "1", "{python:?}");
    });
}

#[test]
fn s3_sign_in_addresses_lead_to_the_house() {
    on_both(|python| {
        let node = node().app(&caller(python)).args(["--patience", "300"]).start();
        let host = format!("localhost:{}", node.address().port());
        let login = eval(&node, "users.create_login_url('/back?a=c')");
        assert!(login.contains("/_ah/login?continue=") && login.contains("%2Fback%3Fa%3Dc"), "{python:?} {host}: {login}");
        let logout = eval(&node, "users.create_logout_url('/')");
        assert!(logout.contains("/_ah/logout?continue="), "{python:?}: {logout}");
        // Other alphabets are written as URLs write them; Python 2's SDK takes bytes alone.
        let other =
            if python == Python::Two { "users.create_login_url('/caf\\xc3\\xa9 1')" } else { "users.create_login_url('/caf\\u00e9 1')" };
        let other = eval(&node, other);
        assert!(other.contains("%2Fcaf%25C3%25A9%25201"), "{python:?}: {other}");
        assert_eq!(eval(&node, "users.create_login_url('/' + 'x' * 3000)"), "raises RedirectTooLongError", "{python:?}");
    });
}

#[test]
fn m4_what_does_not_exist_has_its_own_errors() {
    on_both(|python| {
        let node = node().app(&caller(python)).args(["--patience", "300"]).start();
        let message = "__import__('google.appengine.api.api_base_pb' + ('' if str is bytes else '2'), fromlist=['x']).VoidProto()";
        let call = |service: &str, method: &str| eval(&node, &format!("raw('{service}', '{method}', {message}, {message})"));
        assert_eq!(call("xmpp", "SendMessage"), "raises FeatureNotEnabledError", "{python:?}");
        assert_eq!(call("memcache", "Gets"), "raises CallNotFoundError", "{python:?}");
        assert_eq!(call("nothing", "Get"), "raises CallNotFoundError", "{python:?}");
        assert_eq!(call("search", "Search"), "raises CapabilityDisabledError", "{python:?}");
        assert_eq!(eval(&node, "CapabilitySet('memcache').is_enabled()"), "True", "{python:?}");
    });
}

#[test]
fn m4_a_forged_ticket_opens_nothing() {
    let app = App::with_yaml(&format!("{}handlers:\n- url: /.*\n  script: main.app\n", Python::Two.head())).file(
        "main.py",
        r"
import os
from google.appengine.api import memcache
from google.appengine.runtime import apiproxy_errors
from google.appengine.api import apiproxy_stub_map
from google.appengine.api.memcache import memcache_service_pb as pb


def app(environ, start_response):
    os.environ['HTTP_X_APPENGINE_API_TICKET'] = environ['QUERY_STRING']
    try:
        apiproxy_stub_map.MakeSyncCall('memcache', 'Stats', pb.MemcacheStatsRequest(), pb.MemcacheStatsResponse())
        answer = 'answered'
    except apiproxy_errors.RPCFailedError as error:
        answer = str(error)
    start_response('200 OK', [])
    return [answer]
",
    );
    let node = node().app(&app).args(["--patience", "300"]).start();
    for forged in ["", "x", "0123456789abcdef0123456789abcdef"] {
        let answer = node.get(&format!("/?{forged}")).expect(200).text();
        assert!(answer.contains("belongs to no request"), "{forged}: {answer}");
    }
}
