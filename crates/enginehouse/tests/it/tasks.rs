//! Task queues through the official SDKs, unmodified (rows S1, H12, Y6 `deferred`).

use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::{App, Node, Python, Request};

use crate::{node, on_both};

/// `/work…` is what tasks ask: it writes down what it saw (in memcache, which all instances share) and answers as the query says. `/seen` tells it.
/// Everything else evaluates the expression in the query.
const APP: &str = r"
import datetime
import json
import os
import re
import time
try:
    from urllib.parse import unquote, parse_qs
except ImportError:
    from urllib import unquote
    from urlparse import parse_qs
from google.appengine.api import apiproxy_stub_map, memcache, namespace_manager, taskqueue
from google.appengine.ext import deferred
from google.appengine.runtime import apiproxy_errors
if str is bytes:
    from google.appengine.api.taskqueue import taskqueue_service_pb as pb
else:
    from google.appengine.api.taskqueue import taskqueue_service_bytes_pb2 as pb

Queue, Task = taskqueue.Queue, taskqueue.Task


def raw(method, request, response):
    apiproxy_stub_map.MakeSyncCall('taskqueue', method, request, response)
    return response


def names(tasks):
    return [str(task.name) for task in tasks]


def note(text):
    memcache.set('note', text, namespace='')


def seen():
    count = memcache.get('count', namespace='') or 0
    found = [memcache.get('seen%d' % number, namespace='') for number in range(1, count + 1)]
    return [json.loads(one) for one in found if one]


def work(environ, start_response):
    asked = parse_qs(environ['QUERY_STRING'])
    length = int(environ.get('CONTENT_LENGTH') or 0)
    facts = dict((key, str(value)) for key, value in environ.items() if key.startswith('HTTP_') or key in (
        'REQUEST_METHOD', 'PATH_INFO', 'QUERY_STRING', 'CONTENT_TYPE', 'REMOTE_ADDR', 'SERVER_NAME'))
    facts['body'] = environ['wsgi.input'].read(length).decode('latin-1')
    facts['service'] = os.environ.get('CURRENT_MODULE_ID') or os.environ.get('GAE_SERVICE')
    facts['version'] = (os.environ.get('CURRENT_VERSION_ID') or os.environ.get('GAE_VERSION')).split('.')[0]
    facts['namespace'] = namespace_manager.get_namespace()
    facts['at'] = time.time()
    number = memcache.incr('count', initial_value=0, namespace='')
    memcache.set('seen%d' % number, json.dumps(facts), namespace='')
    retries = int(environ.get('HTTP_X_APPENGINE_TASKRETRYCOUNT', '0'))
    status = '200 OK'
    if retries < int(asked.get('fail', ['0'])[0]):
        status = asked.get('status', ['500 Broken'])[0]
    start_response(status, [('Content-Type', 'text/plain')])
    return [b'done']


def app(environ, start_response):
    if environ['PATH_INFO'].startswith('/work') or environ['PATH_INFO'].startswith('/_ah/queue/'):
        return work(environ, start_response)
    try:
        if environ['PATH_INFO'] == '/seen':
            answer = json.dumps(seen())
        else:
            # Python 2 writes large whole numbers with an L
            answer = re.sub(r'(\d)L\b', r'\1', repr(eval(unquote(environ['QUERY_STRING']))))
    except Exception as error:
        code = getattr(error, 'application_error', '')
        answer = ('raises ' + type(error).__name__ + ' ' + str(code)).strip()
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [answer.encode('utf-8')]
";

const QUEUES: &str = "\
queue:
- name: default
  rate: 100/s
  bucket_size: 100
- name: slow
  rate: 0
- name: bad
  rate: 100/s
  retry_parameters:
    min_backoff_seconds: 0.1
    task_retry_limit: 2
- name: pull
  mode: pull
- name: short
  mode: pull
  retry_parameters:
    task_retry_limit: 1
";

fn app(python: Python) -> App {
    let built = match python {
        Python::Two => {
            let yaml = format!(
                "{}builtins:\n- deferred: on\nhandlers:\n- url: /work/admin\n  script: main.app\n  login: admin\n- url: /.*\n  script: main.app\n",
                python.head()
            );
            App::with_yaml(&yaml).file("main.py", APP)
        }
        Python::Three => {
            let yaml = format!(
                "{}app_engine_apis: true\nhandlers:\n- url: /work/admin\n  script: auto\n  login: admin\n- url: /.*\n  script: auto\n",
                python.head()
            );
            let main = format!("{APP}\n\nfrom google.appengine.api import wrap_wsgi_app\napp = wrap_wsgi_app(app, use_deferred=True)\n");
            App::with_yaml(&yaml).file("main.py", main).file("requirements.txt", "appengine-python-standard==3.1.0\nsetuptools<80\n")
        }
    };
    let later = "from google.appengine.api import memcache\n\n\ndef later(text):\n    memcache.set('later', text)\n";
    built.file("queue.yaml", QUEUES).file("jobs.py", later)
}

fn start(python: Python) -> Node {
    node().app(&app(python)).args(["--patience", "300"]).start()
}

fn eval(node: &Node, expression: &str) -> String {
    let quoted = expression.bytes().fold(String::new(), |quoted, byte| quoted + &format!("%{byte:02X}"));
    // The two Pythons write texts in their own ways.
    node.send(&Request::get(&format!("/?{quoted}"))).expect(200).text().replace("u'", "'").replace("b'", "'")
}

fn seen(node: &Node) -> Vec<Value> {
    let text = node.get("/seen").expect(200).text();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Waits until tasks have been run so often.
#[track_caller]
fn seen_times(node: &Node, times: usize) -> Vec<Value> {
    let begun = Instant::now();
    loop {
        let seen = seen(node);
        if seen.len() >= times {
            return seen;
        }
        assert!(begun.elapsed() < Duration::from_mins(1), "only {} of {times}: {seen:?}\n{}", seen.len(), node.everything());
        std::thread::yield_now();
    }
}

#[test]
fn h12_a_task_is_sent_with_its_headers() {
    on_both(|python| {
        let node = start(python);
        assert_eq!(eval(&node, "str(taskqueue.add(url='/work/a', params={'p': '1'}, name='first').name)"), "'first'", "{python:?}");
        let got = seen_times(&node, 1).remove(0);
        let has = |name: &str, wanted: &str| assert_eq!(got[name], wanted, "{python:?} {name}: {got}");
        has("REQUEST_METHOD", "POST");
        has("PATH_INFO", "/work/a");
        has("body", "p=1");
        has("CONTENT_TYPE", "application/x-www-form-urlencoded");
        has("HTTP_X_APPENGINE_QUEUENAME", "default");
        has("HTTP_X_APPENGINE_TASKNAME", "first");
        has("HTTP_X_APPENGINE_TASKRETRYCOUNT", "0");
        has("HTTP_X_APPENGINE_TASKEXECUTIONCOUNT", "0");
        has("HTTP_USER_AGENT", "AppEngine-Google; (+http://code.google.com/appengine)");
        has("REMOTE_ADDR", "0.1.0.2");
        assert!(got["HTTP_X_APPENGINE_TASKETA"].as_str().expect("an ETA").parse::<f64>().expect("seconds") > 1.7e9, "{got}");
        assert!(got.get("HTTP_X_APPENGINE_TASKPREVIOUSRESPONSE").is_none(), "{got}");
        // The house may enter where only administrators may.
        eval(&node, "taskqueue.add(url='/work/admin?x=y', method='GET')");
        let got = seen_times(&node, 2).remove(1);
        assert_eq!((&got["PATH_INFO"], &got["REQUEST_METHOD"]), (&"/work/admin".into(), &"GET".into()), "{python:?}");
        assert_eq!((&got["QUERY_STRING"], &got["body"]), (&"x=y".into(), &"".into()), "{python:?}");
        assert_eq!(got["HTTP_X_APPENGINE_TASKNAME"].as_str().map(str::len), Some(20), "a name of the house's own");
    });
}
