//! Task queues through the official SDKs, unmodified (rows S1, H12, Y6 `deferred`).

mod crashes;
mod overlap;
mod targets;

use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::{App, Node, Python, Request};

use crate::{node, on_both};

/// `/counted` and `/waits` write into the folder that they are told. `/work…` is what tasks ask: it writes down what it saw (in memcache, which all instances share) and answers as the query says. `/seen` tells it.
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


def build(kind, **fields):
    message = getattr(pb, 'TaskQueue' + kind)()
    for name, value in fields.items():
        if name == 'add_request':
            for one in value:
                (message.add_add_request().CopyFrom if str is bytes else message.add_request.add().CopyFrom)(one)
        elif name == 'retry_parameters':
            inner = message.mutable_retry_parameters() if str is bytes else message.retry_parameters
            for key, number in value.items():
                getattr(inner, 'set_' + key)(number) if str is bytes else setattr(inner, key, number)
        elif isinstance(value, list):
            for one in value:
                getattr(message, 'add_' + name)(one) if str is bytes else getattr(message, name).append(one.encode('ascii'))
        elif str is bytes:
            getattr(message, 'set_' + name)(value)
        else:
            setattr(message, name, value.encode('ascii') if isinstance(value, str) else value)
    return message


def call(method, *paths, **fields):
    kind = 'BulkAdd' if method == 'Bulk' else method
    response = getattr(pb, 'TaskQueue' + kind + 'Response')()
    raw(kind, build(kind + 'Request', **fields), response)
    return response if not paths else [read(response, path) for path in paths]


def read(message, path):
    for name in path.split('.'):
        if isinstance(message, list):
            message = [read(one, name) for one in message]
            continue
        if str is bytes:
            message = (getattr(message, name + '_list', None) or getattr(message, name))()
        else:
            message = getattr(message, name)
        if type(message).__name__.startswith('Repeated'):
            message = list(message)
        if type(message).__name__ == 'bytes' and str is not bytes:
            message = message.decode('latin-1')
    return message


def request(**fields):
    return build('AddRequest', **dict(dict(queue_name='default', task_name='', eta_usec=int(time.time() * 1e6), url='/work'), **fields))


def names(tasks):
    return sorted(str(task.name) for task in tasks)


def counted(environ, start_response):
    folder = parse_qs(environ['QUERY_STRING'])['folder'][0]
    name = environ['HTTP_X_APPENGINE_TASKNAME']
    whole = environ['wsgi.input'].read(int(environ['CONTENT_LENGTH'])) == name.encode('ascii') * 20
    life = open(os.path.join(folder, 'life')).read()
    handle = os.open(os.path.join(folder, 'done'), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, ('%s %s %s\n' % (life, name, 'whole' if whole else 'torn')).encode('ascii'))
    os.close(handle)
    start_response('200 OK', [])
    return []


def waits(environ, start_response):
    # Says that it runs, and goes on as soon as it may.
    asked = parse_qs(environ['QUERY_STRING'])
    folder, name = asked['folder'][0], asked['name'][0]
    said = '%s %s' % (environ.get('HTTP_X_APPENGINE_TASKRETRYCOUNT', '-'), environ.get('HTTP_X_APPENGINE_TASKRETRYREASON', '-'))
    note_in(folder, 'begun %s %s' % (name, said))
    until = time.time() + 300
    while not os.path.exists(os.path.join(folder, 'go-' + name)) and time.time() < until:
        time.sleep(0.01)
    note_in(folder, 'ended %s' % name)
    start_response('200 OK', [])
    return []


def note_in(folder, line):
    handle = os.open(os.path.join(folder, 'notes'), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, (line + chr(10)).encode('ascii'))
    os.close(handle)


def safely(add):
    try:
        add()
    except (taskqueue.TaskAlreadyExistsError, taskqueue.TombstonedTaskError):
        pass
    return 'kept'


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
    facts['instance'] = os.environ.get('GAE_INSTANCE') or os.environ.get('INSTANCE_ID')
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
    if environ['PATH_INFO'] in ('/counted', '/waits'):
        return (counted if environ['PATH_INFO'] == '/counted' else waits)(environ, start_response)
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
- name: three
  rate: 500/s
  bucket_size: 100
  max_concurrent_requests: 20
- name: named
  rate: 100/s
  target: v9.other
- name: pull
  mode: pull
- name: short
  mode: pull
  retry_parameters:
    task_retry_limit: 1
";

fn app(python: Python) -> App {
    scaled(python, "")
}

/// The app with more in its app.yaml.
fn scaled(python: Python, extra: &str) -> App {
    let built = match python {
        Python::Two => {
            let yaml = format!(
                "{}{extra}builtins:\n- deferred: on\nhandlers:\n- url: /work/admin\n  script: main.app\n  login: admin\n- url: /.*\n  script: main.app\n",
                python.head()
            );
            App::with_yaml(&yaml).file("main.py", APP)
        }
        Python::Three => {
            let yaml = format!(
                "{}{extra}app_engine_apis: true\nhandlers:\n- url: /work/admin\n  script: auto\n  login: admin\n- url: /.*\n  script: auto\n",
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

/// The path under which an expression is evaluated.
fn path(expression: &str) -> String {
    expression.bytes().fold("/?".to_owned(), |path, byte| path + &format!("%{byte:02X}"))
}

fn eval(node: &Node, expression: &str) -> String {
    // The two Pythons write texts in their own ways.
    node.send(&Request::get(&path(expression))).expect(200).text().replace("u'", "'").replace("b'", "'")
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

#[test]
fn s1_failed_tasks_come_again() {
    on_both(|python| {
        let node = start(python);
        eval(&node, "taskqueue.add(url='/work?fail=2', method='GET', retry_options=taskqueue.TaskRetryOptions(min_backoff_seconds=0.05))");
        let got = seen_times(&node, 3);
        let told: Vec<_> = got
            .iter()
            .map(|one| (text(one, "TASKRETRYCOUNT"), text(one, "TASKEXECUTIONCOUNT"), text(one, "TASKPREVIOUSRESPONSE")))
            .collect();
        let wanted = [("0", "0", ""), ("1", "1", "500"), ("2", "2", "500")];
        assert!(told.iter().map(|(a, b, c)| (a.as_str(), b.as_str(), c.as_str())).eq(wanted), "{python:?}: {told:?}");
        assert_eq!(text(&got[1], "TASKRETRYREASON"), "App Error");
        // Two retries are allowed by the queue, none by the task.
        eval(&node, "taskqueue.add(url='/work?fail=99', method='GET', queue_name='bad', name='often')");
        assert_eq!(seen_times(&node, 6).len(), 6, "{python:?}");
        eval(
            &node,
            "taskqueue.add(url='/work?fail=99', method='GET', queue_name='bad', retry_options=taskqueue.TaskRetryOptions(task_retry_limit=0))",
        );
        assert_eq!(seen_times(&node, 7).len(), 7, "{python:?}");
        // What was given up is gone, and its name is used.
        gone(&node, "bad");
        assert_eq!(eval(&node, "taskqueue.add(url='/work', queue_name='bad', name='often')"), "raises TombstonedTaskError", "{python:?}");
        assert_eq!(seen(&node).len(), 7);
    });
}

fn text(seen: &Value, header: &str) -> String {
    seen[format!("HTTP_X_APPENGINE_{header}")].as_str().unwrap_or_default().to_owned()
}

/// Waits until a queue is empty.
#[track_caller]
fn gone(node: &Node, queue: &str) {
    let begun = Instant::now();
    while eval(node, &format!("Queue('{queue}').fetch_statistics().tasks")) != "0" {
        assert!(begun.elapsed() < Duration::from_mins(1), "{queue} is not empty\n{}", node.everything());
        std::thread::yield_now();
    }
}

#[test]
fn s1_pull_queues_through_the_sdk() {
    on_both(|python| {
        let node = start(python);
        let check = |expression: &str, wanted: &str| assert_eq!(eval(&node, expression), wanted, "{python:?}: {expression}");
        check(
            "names(Queue('pull').add([Task('p%d' % n, name='t%d' % n, method='PULL', tag='odd' if n % 2 else 'even') for n in range(4)]))",
            "['t0', 't1', 't2', 't3']",
        );
        check("names(Queue('pull').lease_tasks_by_tag(3600, 10, 'odd'))", "['t1', 't3']");
        check("names(Queue('pull').lease_tasks_by_tag(0, 10))", "['t0', 't2']");
        check(
            "sorted((str(t.payload.decode('ascii')), str(t.tag)) for t in Queue('pull').lease_tasks(3600, 10))",
            "[('p0', 'even'), ('p2', 'even')]",
        );
        check("names(Queue('pull').lease_tasks(3600, 10))", "[]");
        check("Queue('pull').fetch_statistics().tasks, Queue('pull').fetch_statistics().oldest_eta_usec > 0", "(4, True)");
        let modified = "(lambda t: (Queue('short').modify_task_lease(t, 7200), t.eta_posix > time.time() + 7000))(Queue('short').lease_tasks(60, 1)[0])";
        check("names(Queue('short').add([Task('x', name='x', method='PULL')]))", "['x']");
        check(modified, "(None, True)");
        check(
            "[t.was_deleted for t in Queue('pull').delete_tasks([Task('', name='t1', method='PULL'), Task('', name='none', method='PULL')])]",
            "[True, False]",
        );
        check("Queue('pull').add(Task('', name='t1', method='PULL'))", "raises TombstonedTaskError");
        check("Queue('pull').add(Task('', name='t2', method='PULL'))", "raises TaskAlreadyExistsError");
        // Leased once more than its queue allows: it is removed.
        check(
            "names(Queue('short').add([Task('y', name='y', method='PULL')])), names(Queue('short').lease_tasks(0, 1)), names(Queue('short').lease_tasks(0, 1))",
            "(['y'], ['y'], [])",
        );
        check("Queue('pull').purge(), Queue('pull').fetch_statistics().tasks, names(Queue('pull').lease_tasks(1, 10))", "(None, 0, [])");
        check(
            "(lambda t: Queue('pull').modify_task_lease(t, 60))(Queue('pull').add([Task('', name='z', method='PULL')]) and Queue('pull').lease_tasks(0, 1)[0])",
            "raises TaskLeaseExpiredError",
        );
        check("Queue('default').lease_tasks(1, 1)", "raises InvalidQueueModeError");
        check("Queue('pull').add(Task(url='/work'))", "raises InvalidQueueModeError");
        check("Queue('default').add(Task('', method='PULL'))", "raises InvalidQueueModeError");
        check("call('QueryAndOwnTasks', queue_name='pull', lease_seconds=-1.0, max_tasks=1)", "raises ApplicationError 13");
        check("call('QueryAndOwnTasks', queue_name='pull', lease_seconds=1.0, max_tasks=1001)", "raises ApplicationError 13");
        check("call('QueryAndOwnTasks', queue_name='pull', lease_seconds=1.0, max_tasks=1, tag='a')", "raises ApplicationError 13");
        check("call('ModifyTaskLease', queue_name='pull', task_name='none', eta_usec=1, lease_seconds=1.0)", "raises ApplicationError 14");
        check("call('ModifyTaskLease', queue_name='pull', task_name='t1', eta_usec=1, lease_seconds=1.0)", "raises ApplicationError 11");
        check("call('PauseQueue', app_id='demo', queue_name='pull', pause=True) and None", "None");
        check("call('ModifyTaskLease', queue_name='pull', task_name='z', eta_usec=1, lease_seconds=1.0)", "raises ApplicationError 26");
    });
}

#[test]
fn s1_every_mistake_of_an_added_task_has_its_code() {
    on_both(|python| {
        let node = start(python);
        let check = |expression: &str, wanted: &str| assert_eq!(eval(&node, expression), wanted, "{python:?}: {expression}");
        for (fields, code) in [
            ("queue_name='none'", 1),
            ("queue_name='a b'", 6),
            ("task_name='a b'", 5),
            ("url='work'", 7),
            ("url='/' + 'u' * 2083", 7),
            ("eta_usec=-1", 12),
            ("eta_usec=int((time.time() + 31 * 86400) * 1e6)", 12),
            ("body='b' * 102400", 4),
            ("tag='t'", 27),
            ("dispatch_deadline_usec=1", 29),
            ("retry_parameters={'retry_limit': -1}", 20),
            ("mode=1", 21),
            ("app_id='other'", 9),
            ("datastore_transaction='t'", 10009),
        ] {
            if python == Python::Two && (fields.starts_with("dispatch") || fields.starts_with("datastore")) {
                // Fields that this SDK does not know.
                continue;
            }
            check(&format!("raw('Add', request({fields}), pb.TaskQueueAddResponse())"), &format!("raises ApplicationError {code}"));
        }
        check("call('Bulk', 'taskresult.result', add_request=[request(task_name='ok'), request(task_name='a b')])", "[[17, 5]]");
        check("call('Bulk', 'taskresult.result', add_request=[request(task_name='ok', queue_name='slow')] * 2)", "[[17, 16]]");
        check("call('Bulk', 'taskresult.result', add_request=[request(queue_name='slow')] * 101)", "raises ApplicationError 18");
        check("call('Bulk', add_request=[])", "raises ApplicationError 13");
        check("taskqueue.add(url='/work', queue_name='none')", "raises UnknownQueueError");
        check(
            "[taskqueue.add(url='/work', queue_name='slow', name='n') and None, taskqueue.add(url='/work', queue_name='slow', name='n')]",
            "raises TaskAlreadyExistsError",
        );
        check("call('UpdateStorageLimit', 'new_limit', app_id='demo', limit=1000)", "[1000]");
        check("taskqueue.add(url='/work', queue_name='slow', payload='x' * 2000)", "raises OverQuotaError");
        check("call('UpdateStorageLimit', 'new_limit', app_id='demo', limit=-1)", "raises ApplicationError 13");
        check("call('Nothing')", "raises AttributeError");
    });
}

#[test]
fn s1_queues_are_looked_at_and_steered_through_the_service() {
    on_both(|python| {
        let node = start(python);
        let check = |expression: &str, wanted: &str| assert_eq!(eval(&node, expression), wanted, "{python:?}: {expression}");
        check(
            "call('FetchQueues', 'queue.queue_name', 'queue.mode', max_rows=100)",
            "[['bad', 'default', 'named', 'pull', 'short', 'slow', 'three'], [0, 0, 0, 1, 1, 0, 0]]",
        );
        check("call('FetchQueues', 'queue.queue_name', max_rows=2)", "[['bad', 'default']]");
        check(
            "names(Queue('slow').add([Task(url='/work?n=%d' % n, method='GET', name='n%d' % n, eta=datetime.datetime.utcfromtimestamp(1e9 + n)) for n in (2, 1, 3)]))",
            "['n1', 'n2', 'n3']",
        );
        check(
            "call('QueryTasks', 'task.task_name', 'task.url', queue_name='slow', max_rows=2)",
            "[['n1', 'n2'], ['/work?n=1', '/work?n=2']]",
        );
        check("call('QueryTasks', 'task.task_name', queue_name='slow', start_eta_usec=0, max_rows=9)", "[['n1', 'n2', 'n3']]");
        check("call('QueryTasks', 'task.task_name', queue_name='slow', start_task_name='n2', max_rows=9)", "[['n2', 'n3']]");
        check("call('QueryTasks', queue_name='none')", "raises ApplicationError 1");
        check("call('FetchTask', 'task.task.url', 'task.task.method', queue_name='slow', task_name='n3')", "[['/work?n=3'], [1]]");
        check("call('FetchTask', queue_name='slow', task_name='none')", "raises ApplicationError 14");
        check("call('FetchQueueStats', 'queuestats.num_tasks', queue_name=['slow', 'none'])", "[[3, 0]]");
        check("call('Delete', 'result', queue_name='slow', task_name=['n1', 'n1', 'other'])", "[[0, 11, 14]]");
        check("call('Delete', 'result', queue_name='none', task_name=['n1'])", "[[1]]");
        check("call('FetchTask', queue_name='slow', task_name='n1')", "raises ApplicationError 11");
        // A queue that stands still lets only out what is forced.
        check("call('ForceRun', 'result', queue_name='slow', task_name='n3')", "[0]");
        assert_eq!(seen_times(&node, 1)[0]["QUERY_STRING"], "n=3", "{python:?}");
        check("call('ForceRun', 'result', queue_name='slow', task_name='none')", "[14]");
        check("call('ForceRun', 'result', queue_name='none', task_name='none')", "[1]");
        check("call('PauseQueue', queue_name='slow', pause=True, app_id='other')", "raises ApplicationError 9");
        check("call('PurgeQueue', queue_name='none')", "raises ApplicationError 1");
        // A rate lets the rest go.
        check("call('UpdateQueue', queue_name='slow', bucket_refill_per_second=-1.0, bucket_capacity=1)", "raises ApplicationError 8");
        check(
            "call('UpdateQueue', queue_name='slow', bucket_refill_per_second=9.0, bucket_capacity=1, mode=1)",
            "raises ApplicationError 21",
        );
        check("call('UpdateQueue', queue_name='slow', bucket_refill_per_second=9.0, bucket_capacity=1) and None", "None");
        seen_times(&node, 2);
        check("call('DeleteQueue', queue_name='slow', app_id='demo') and None", "None");
        check("taskqueue.add(url='/work', queue_name='slow')", "raises Error");
        check("call('DeleteGroup', app_id='demo') and None", "None");
        check("call('FetchQueues', 'queue.queue_name', max_rows=100)", "[[]]");
        check("call('DeleteGroup', app_id='other')", "raises ApplicationError 9");
    });
}

#[test]
fn y6_s1_deferred_runs_later() {
    on_both(|python| {
        let node = start(python);
        eval(&node, "deferred.defer(__import__('jobs').later, 'now')");
        let begun = Instant::now();
        while eval(&node, "str(memcache.get('later'))") != "'now'" {
            assert!(begun.elapsed() < Duration::from_mins(1), "{python:?}: not run\n{}", node.everything());
            std::thread::yield_now();
        }
        // Not for clients, who say that they are tasks.
        let forged = Request::new("POST", "/_ah/queue/deferred").header("X-AppEngine-TaskName", "x").body("x");
        let status = node.send(&forged).status;
        assert!(status == 302 || status == 403, "{python:?}: {status}");
    });
}

/// `enginehouse …` about a run, which must succeed.
fn asked(storage: &str, args: &[&str]) -> String {
    let finished = crate::command(args.iter().copied().chain(["--storage", storage]));
    assert_eq!(finished.code, Some(0), "{args:?}: {finished:?}");
    finished.stdout
}

#[test]
fn s1_queues_and_tasks_outlive_the_process_and_have_commands() {
    let home = tempfile::tempdir().expect("a folder");
    let storage = home.path().join("storage").to_str().expect("UTF-8").to_owned();
    let app = app(Python::Two);
    let start = || node().app(&app).args(["--patience", "300", "--storage", &storage]).start();
    let mut first = start();
    eval(&first, "[taskqueue.add(url='/work?n=%d' % n, method='GET', queue_name='slow', name='t%d' % n) for n in range(3)] and None");
    let json = |args: &[&str]| serde_json::from_str::<Value>(&asked(&storage, args)).expect("JSON");
    let slow = json(&["queues", "describe", "slow", "--format", "json"]);
    assert_eq!((&slow["tasks"], &slow["state"], &slow["rate"]), (&3.into(), &"RUNNING".into(), &0.0.into()), "{slow}");
    let csv = asked(&storage, &["queues", "list", "--format", "csv(name,mode,tasks)"]);
    assert!(csv.contains("slow,push,3") && csv.contains("pull,pull,0"), "{csv}");
    assert!(asked(&storage, &["tasks", "list", "--queue", "slow"]).contains("/work?n=2"));
    asked(&storage, &["tasks", "run", "t1", "--queue", "slow"]);
    seen_times(&first, 1);
    asked(&storage, &["tasks", "delete", "t0", "--queue", "slow", "--quiet"]);
    asked(&storage, &["queues", "pause", "default"]);
    eval(&first, "taskqueue.add(url='/work', name='paused') and None");
    first.kill();
    let second = start();
    assert_eq!(json(&["queues", "describe", "default", "--format", "json"])["state"], "PAUSED");
    let names: Vec<Value> = json(&["tasks", "list", "--queue", "slow", "--format", "json"]).as_array().expect("a list").clone();
    assert_eq!((names.len(), &names[0]["name"]), (1, &"t2".into()), "{names:?}");
    assert_eq!(json(&["tasks", "describe", "paused", "--format", "json"])["url"], "/work");
    asked(&storage, &["queues", "resume", "default"]);
    // Memcache, where it is written down, began anew.
    seen_times(&second, 1);
    // A changed queue.yaml is taken up.
    std::fs::write(app.join("queue.yaml"), "queue:\n- name: slow\n  rate: 50/s\n").expect("written");
    seen_times(&second, 2);
    assert_eq!(eval(&second, "taskqueue.add(url='/work', queue_name='bad')"), "raises UnknownQueueError");
    asked(&storage, &["queues", "purge", "slow", "--quiet"]);
    let refused = crate::command(["queues", "describe", "none", "--storage", &storage]);
    assert_ne!(refused.code, Some(0), "{refused:?}");
}

#[test]
fn s1_a_server_sends_what_is_due_by_itself() {
    let mut server = testkit::ServeNode::with(env!("CARGO_BIN_EXE_enginehouse"), ["--project", "demo", "--patience", "300"]);
    let app = app(Python::Two);
    let queues = app.join("queue.yaml");
    server.deploy("demo", &app, &[queues.to_str().expect("UTF-8")]);
    let host = "demo.localhost";
    let eval = |server: &testkit::ServeNode, expression: &str| server.get(host, &path(expression)).expect(200).text();
    let described = |server: &testkit::ServeNode, queue: &str| server.done("GET", &format!("/enginehouse/v1/apps/demo/queues/{queue}"), "");
    assert_eq!(described(&server, "slow")["state"], "PAUSED", "a rate of zero is Cloud Tasks' state PAUSED");
    let add = "[taskqueue.add(url='/work', method='GET', queue_name='slow', name='s%d' % n) for n in range(3)] and None";
    assert_eq!(eval(&server, add), "None");
    assert_eq!(described(&server, "slow")["tasks"], 3);
    let listed = server.done("GET", "/enginehouse/v1/apps/demo/queues/slow/tasks?pageSize=2", "");
    assert_eq!((listed["tasks"].as_array().map(Vec::len), listed["nextPageToken"].is_string()), (Some(2), true), "{listed}");
    // gcloud's way of resuming, seen by the dispatcher; the server then loses its power before anybody asks the app again.
    server.done("POST", "/v2/projects/demo/locations/local/queues/slow:pause", "{}");
    server.kill();
    server.restart();
    assert_eq!(described(&server, "slow")["tasks"], 3, "nothing was lost");
    server.done("POST", "/v2/projects/demo/locations/local/queues/slow:resume", "{}");
    let begun = Instant::now();
    while described(&server, "slow")["tasks"] != 0 {
        assert!(begun.elapsed() < Duration::from_mins(2), "{}\n{}", described(&server, "slow"), server.log());
        std::thread::yield_now();
    }
    // The next process goes on.
    server.upgrade();
    assert_eq!(eval(&server, "taskqueue.add(url='/work', name='after') and None"), "None");
    let begun = Instant::now();
    while described(&server, "default")["tasks"] != 0 {
        assert!(begun.elapsed() < Duration::from_mins(2), "{}", server.log());
        std::thread::yield_now();
    }
    // Who may only look changes nothing.
    let body = r#"{"name": "looker", "role": "viewer", "apps": ["demo"]}"#;
    let token = server.api("POST", "/enginehouse/v1/tokens", body).expect(200).json()["token"].as_str().expect("a token").to_owned();
    let ask = |method: &str, path: &str| {
        let request = Request::new(method, path).header("Authorization", &format!("Bearer {token}"));
        testkit::Connection::open(server.admin()).send(&request).status
    };
    assert_eq!(ask("GET", "/enginehouse/v1/apps/demo/queues"), 200);
    assert_eq!(ask("POST", "/enginehouse/v1/apps/demo/queues/slow:purge"), 403);
}
