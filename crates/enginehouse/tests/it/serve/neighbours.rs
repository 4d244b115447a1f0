//! Two apps of one server, one on each Python, with services of the same names: neither sees, uses or poses as the other (rows M3, S1, S4, S6, S9, S10).

use testkit::{App, Python, ServeNode};

/// Evaluates the expression in the query, and answers its `repr`, or the error's name. What comes to other paths is noted.
const CALLER: &str = r"
import os
try:
    from urllib.parse import unquote
except ImportError:
    from urllib import unquote
from google.appengine.api import app_identity, mail, memcache, modules, taskqueue, urlfetch
from google.appengine.api import apiproxy_stub_map
from google.appengine.runtime import apiproxy_errors

GOT = []


def overridden(app):
    'memcache, in the name of another app'
    pb = __import__('google.appengine.api.memcache.memcache_service_pb' + ('' if str is bytes else '2'), fromlist=['x'])
    request, response = pb.MemcacheGetRequest(), pb.MemcacheGetResponse()
    if str is bytes:
        request.add_key('who')
        request.mutable_override().set_app_id(app)
    else:
        request.key.append(b'who')
        request.override.app_id = app
    apiproxy_stub_map.MakeSyncCall('memcache', 'Get', request, response)
    return 'answered'


def purged(app):
    'a queue, in the name of another app'
    pb = __import__('google.appengine.api.taskqueue.taskqueue_service_' + ('pb' if str is bytes else 'bytes_pb2'), fromlist=['x'])
    request, response = pb.TaskQueuePurgeQueueRequest(), pb.TaskQueuePurgeQueueResponse()
    if str is bytes:
        request.set_app_id(app)
        request.set_queue_name('pull')
    else:
        request.app_id = app.encode('ascii')
        request.queue_name = b'pull'
    apiproxy_stub_map.MakeSyncCall('taskqueue', 'PurgeQueue', request, response)
    return 'answered'


def leased():
    return [task.payload for task in taskqueue.Queue('pull').lease_tasks(1, 10)]


def added(**task):
    return len(taskqueue.Queue('pull').add([taskqueue.Task(method='PULL', **task)]) and [1])


def app(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    if environ['PATH_INFO'] != '/':
        if 'HTTP_X_APPENGINE_INBOUND_APPID' in environ:
            return [environ['HTTP_X_APPENGINE_INBOUND_APPID'].encode('ascii')]
        if environ['PATH_INFO'] != '/_ah/warmup':
            GOT.append(environ['PATH_INFO'])
        return [b'noted']
    try:
        answer = repr(eval(unquote(environ['QUERY_STRING'])))
    except Exception as error:
        answer = 'raises ' + type(error).__name__
    return [answer.encode('ascii')]
";

fn caller(python: Python) -> App {
    let queues = "queue:\n- name: default\n  rate: 100/s\n- name: pull\n  mode: pull\n";
    let app = match python {
        Python::Two => App::with_yaml(&format!(
            "{}automatic_scaling:\n  max_instances: 1\ninbound_services:\n- mail\nhandlers:\n- url: /.*\n  script: main.app\n",
            python.head()
        ))
        .file("main.py", CALLER),
        Python::Three => App::with_yaml(&format!(
            "{}app_engine_apis: true\nautomatic_scaling:\n  max_instances: 1\ninbound_services:\n- mail\n",
            python.head()
        ))
        .file("main.py", format!("{CALLER}\n\nfrom google.appengine.api import wrap_wsgi_app\napp = wrap_wsgi_app(app)\n"))
        .file("requirements.txt", "appengine-python-standard==3.1.0\nsetuptools<80\n"),
    };
    app.file("queue.yaml", queues)
}

fn ask(expression: &str) -> String {
    expression.bytes().fold("/?".to_owned(), |quoted, byte| quoted + &format!("%{byte:02X}"))
}

/// The two Pythons write texts in their own ways.
fn plain(text: &str) -> String {
    let mut plain = text.to_owned();
    for before in ["", " ", "[", "("] {
        for kind in ["u'", "b'"] {
            let own = format!("{before}{kind}");
            plain = if before.is_empty() {
                plain.strip_prefix(kind).map(|rest| format!("'{rest}")).unwrap_or(plain)
            } else {
                plain.replace(&own, &format!("{before}'"))
            };
        }
    }
    plain
}

fn server() -> ServeNode {
    let server = ServeNode::with(env!("CARGO_BIN_EXE_enginehouse"), ["--project", "shop", "--project", "bank", "--patience", "300"]);
    for (project, python) in [("shop", Python::Two), ("bank", Python::Three)] {
        let app = caller(python);
        server.deploy(project, &app, &["--version", "v1"]);
        let (url, token, file) = (server.admin_url(), server.owner_token(), app.join("queue.yaml"));
        let queues = ["deploy", "--server", &url, "--token", &token, "--project", project, "-q", file.to_str().expect("UTF-8")];
        assert_eq!(crate::command(queues).code, Some(0));
    }
    server
}

#[test]
fn s9_apps_of_one_server_do_not_see_each_other() {
    let server = server();
    let eval = |app: &str, expression: &str| plain(&server.get(&format!("{app}.local.r.localhost"), &ask(expression)).expect(200).text());
    let check = |app: &str, expression: &str, wanted: &str| assert_eq!(eval(app, expression), wanted, "{app}: {expression}");
    for (app, other) in [("shop", "bank"), ("bank", "shop")] {
        check(app, &format!("memcache.get('who'), memcache.set('who', '{app}')"), "(None, True)");
        check(app, &format!("added(payload='{app}')"), "1");
        check(app, "modules.get_modules()[0], app_identity.get_application_id()", &format!("('default', '{app}')"));
        for asked in [other.to_owned(), format!("s~{other}")] {
            check(app, &format!("overridden('{asked}')"), "raises ApplicationError");
            check(app, &format!("purged('{asked}')"), "raises ApplicationError");
        }
        check(app, &format!("mail.send_mail('x@{other}.appspotmail.com', 'y@example.com', 's', 'b')"), "raises InvalidSenderError");
        // What one asks of the other comes in its own name, whatever it says.
        let fetch = format!(
            "urlfetch.fetch('http://{other}.local.r.localhost:{}/who', headers={{'X-Appengine-Inbound-Appid': '{other}'}}, follow_redirects=False).content",
            server.http().port()
        );
        check(app, &fetch, &format!("'{app}'"));
        // A task runs where it was added, whoever its Host header names; its path may be in any alphabet (the SDK of Python 2 takes ASCII alone).
        check(
            app,
            &format!("len(taskqueue.Task(url='/from-{app}', headers={{'Host': '{other}.local.r.localhost'}}).add().name) > 0"),
            "True",
        );
        check(app, "len(taskqueue.Task(url='/cafe' if str is bytes else '/caf\\u00e9').add().name) > 0", "True");
        // Mail crosses over, with its sender's name.
        check(app, &format!("mail.send_mail('x@{app}.appspotmail.com', 'in@{other}.appspotmail.com', 's', 'b')"), "None");
    }
    for (app, other) in [("shop", "bank"), ("bank", "shop")] {
        check(app, "memcache.get('who')", &format!("'{app}'"));
        check(app, "leased()", &format!("['{app}']"));
        check(app, "memcache.flush_all()", "True");
        let host = format!("{app}.local.r.localhost");
        server.eventually(&host, &ask("len(GOT)"), |answer| answer.text() == "3");
        let got = eval(app, "sorted(path.encode('latin-1') if str is not bytes else path for path in GOT)");
        let own = if app == "shop" { "/cafe" } else { "/caf\\xc3\\xa9" };
        assert_eq!(got, format!("['/_ah/mail/in@{app}.appspotmail.com', '{own}', '/from-{app}']"), "{other}");
    }
    check("shop", "memcache.set('left', 1), memcache.get('left')", "(True, 1)");
    check("bank", "memcache.flush_all(), memcache.get('left')", "(True, None)");
    check("shop", "memcache.get('left')", "1");
}

#[test]
fn s10_the_log_names_tasks_and_the_app_reads_its_own() {
    let server = server();
    let host = "shop.local.r.localhost";
    server.get("bank.local.r.localhost", "/secret").expect(200);
    let named = plain(&server.get(host, &ask("taskqueue.Task(url='/job', name='j1').add().name")).expect(200).text());
    assert_eq!(named, "'j1'");
    let read = "[(log.resource, log.task_queue_name, log.task_name, log.app_id) for log in \
                __import__('google.appengine.api.logservice', fromlist=['x']).fetch() if 'job' in log.resource and '?' not in log.resource]";
    server.eventually(host, &ask(read), |answer| plain(&answer.text()) == "[('/job', 'default', 'j1', 'shop')]");
    let all = "[log.resource for log in __import__('google.appengine.api.logservice', fromlist=['x']).fetch() if 'secret' in log.resource and '?' not in log.resource]";
    assert_eq!(server.get(host, &ask(all)).expect(200).text(), "[]");
}
