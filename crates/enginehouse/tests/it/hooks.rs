//! Methods that only tests need (`--test-mode`), called by the SDKs' own message classes from an app: clocks, queues, logs, mail (row M4).

use std::net::SocketAddr;

use testkit::{App, Connection, Node, Python, Request};

use crate::node;
use crate::test_mode::api;

/// Evaluates the expression in the query.
const CALLER: &str = r"
import datetime
import os
from urllib import unquote
from google.appengine.api import apiproxy_stub_map, app_identity, mail, taskqueue, urlfetch
from google.appengine.api import logservice
from google.appengine.ext.remote_api import remote_api_services
from google.appengine.api.taskqueue import Queue, Task

pull = Queue('pulled')


def fill(message, fields):
    for name, value in fields.items():
        if isinstance(value, dict):
            fill(getattr(message, 'mutable_' + name)(), value)
        else:
            getattr(message, 'set_' + name)(value)
    return message


def call(_service, _method, **fields):
    request, response = [kind() for kind in remote_api_services.STUB_SERVICE_PB_MAP[_service][_method]]
    apiproxy_stub_map.MakeSyncCall(_service, _method, fill(request, fields), response)
    return response


def clock(seconds):
    call('taskqueue', 'SetTaskQueueClock', clock_time_milliseconds=seconds * 1000)


def at(seconds):
    return datetime.datetime.utcfromtimestamp(seconds)


def leased():
    return sorted(task.name for task in pull.lease_tasks(60, 10))


def logs(**query):
    return list(logservice.fetch(module_versions=[('tested', '7')], **query))


def started(word, **more):
    call('logservice', 'StartRequestLog', **dict({
        'request_id': word, 'user_request_id': 'f00' + word, 'ip': '10.1.2.3', 'app_id': 'whatever', 'version_id': '7.1', 'module': 'tested',
        'nickname': 'ann', 'user_agent': 'browser', 'host': 'h', 'method': 'GET', 'resource': '/' + word, 'http_version': 'HTTP/1.1'}, **more))


def app(environ, start_response):
    try:
        answer = repr(eval(unquote(environ['QUERY_STRING'])))
    except Exception as error:
        answer = 'raises %s %s' % (type(error).__name__, getattr(error, 'application_error', ''))
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [answer]
";

const QUEUES: &str = "queue:\n- name: still\n  rate: 0/s\n- name: pulled\n  mode: pull\n";

struct Tested {
    node: Node,
    api: SocketAddr,
}

impl Tested {
    fn start() -> Self {
        let yaml = format!("{}handlers:\n- url: /.*\n  script: main.app\n", Python::Two.head());
        let app = App::with_yaml(&yaml).file("main.py", CALLER).file("queue.yaml", QUEUES);
        let node = node().app(&app).args(["--patience", "300", "--test-mode"]).start();
        let api = api(&node);
        Self { node, api }
    }

    fn eval(&self, expression: &str) -> String {
        let quoted = expression.bytes().fold(String::new(), |quoted, byte| quoted + &format!("%{byte:02X}"));
        self.node.send(&Request::get(&format!("/?{quoted}"))).expect(200).text()
    }

    #[track_caller]
    fn check(&self, expression: &str, wanted: &str) {
        assert_eq!(self.eval(expression), wanted, "{expression}");
    }

    fn clear(&self, query: &str) {
        Connection::open(self.api).send(&Request::new("POST", &format!("/clear{query}")).body("")).expect(200);
    }
}

#[test]
fn m4_tests_stop_the_clock_of_queues() {
    let tested = Tested::start();
    let check = |expression: &str, wanted: &str| tested.check(expression, wanted);
    check("clock(10 ** 9 + 1)", "None");
    check(
        "pull.add([Task(method='PULL', name=n, payload=n, eta=at(e)) for n, e in (('now', 10 ** 9), ('soon', 10 ** 9 + 50))]) and None",
        "None",
    );
    check("leased(), leased()", "(['now'], [])");
    check("clock(10 ** 9 + 51)", "None");
    check("leased()", "['soon']");
    check("clock(10 ** 9 + 62)", "None");
    check("leased()", "['now']");
    // Thirty days from the clock of tests
    check("pull.add(Task(method='PULL', payload='x'))", "raises InvalidEtaError ");
    check("taskqueue.add(queue_name='still', name='t', url='/there', eta=at(10 ** 9 + 99)) and None", "None");
    let state = "[(q.queue_name(), q.mode(), q.formatted_rate_string(), [(t.task_name(), t.eta_millis(), t.add_request().url(), t.add_request().body()) \
                 for t in q.task_infos_list()]) for q in call('taskqueue', 'GetQueueStateInfo').queues_list() if q.queue_name() != 'default']";
    check(
        state,
        "[('pulled', 'pull', '', [('soon', 1000000111000L, '', 'soon'), ('now', 1000000122000L, '', 'now')]), \
         ('still', 'push', '0/s', [('t', 1000000099000L, '/there', '')])]",
    );
    // The real clock, and no tasks
    tested.clear("?stub=taskqueue");
    check("pull.add(Task(method='PULL', payload='x', name='real')) and leased()", "['real']");
    check("call('taskqueue', 'SetUpStub') and None", "None");
    check("pull.fetch_statistics().tasks", "0");
    check("call('taskqueue', 'SetUpStub', all_queues_valid=True)", "raises ApplicationError 13");
    check("call('taskqueue', 'PatchQueueYamlParser', patched_return_value='x')", "raises CallNotFoundError ");
}

#[test]
fn m4_tests_tell_of_requests_and_the_app_reads_them() {
    let tested = Tested::start();
    let check = |expression: &str, wanted: &str| tested.check(expression, wanted);
    check("started('a1', start_time=10 ** 15), len(logs()), len(logs(include_incomplete=True))", "(None, 0, 1)");
    check(
        "call('logservice', 'AddAppLogLine', request_id='a1', log_line={'time': 10 ** 15 + 5, 'level': 2, 'log_message': 'said'}) and None",
        "None",
    );
    check("call('logservice', 'EndRequestLog', request_id='a1', status=201, response_size=7) and None", "None");
    let shown = "[(log.request_id, log.app_id, log.module_id, log.version_id, log.ip, log.nickname, log.start_time, int(log.status), \
                 int(log.response_size), log.resource, log.finished, [(line.level, line.message) for line in log.app_logs]) \
                 for log in logs(include_app_logs=True)]";
    let first = "('f00a1', 'whatever', 'tested', '7', '10.1.2.3', 'ann', 1000000000.0, 201, 7, '/a1', True, [(2, 'said')])";
    check(shown, &format!("[{first}]"));
    check(
        "call('logservice', 'AddRequestInfo', request_log=dict(request_id='f00b2', app_id='a', module_id='tested', version_id='7', ip='::1', \
         start_time=10 ** 15, end_time=2 * 10 ** 15, latency=10 ** 15, mcycles=0, method='PUT', resource='/whole', http_version='HTTP/1.0', \
         status=500, response_size=1, referrer='http://from/', url_map_entry='', combined='')) and None",
        "None",
    );
    // The newest first, page by page
    check("[log.request_id for log in logs(batch_size=1)]", "['f00b2', 'f00a1']");
    check("[log.request_id for log in logservice.fetch(request_ids=['f00a1', 'abcdef', 'f00b2'])]", "['f00a1', 'f00b2']");
    check("logs()[0].combined", "'::1 - - [18/May/2033:03:33:20 +0000] \"PUT /whole HTTP/1.0\" 500 1 \"http://from/\" -'");
    check("len(logs(minimum_log_level=2)), len(logs(minimum_log_level=3)), len(logs(end_time=10 ** 9))", "(1, 0, 0)");
    // The requests that were really served are there too, and neither after a test forgets all.
    let real = "len(list(logservice.fetch()))";
    let quoted = real.bytes().fold(String::new(), |quoted, byte| quoted + &format!("%{byte:02X}"));
    tested.node.eventually(&Request::get(&format!("/?{quoted}")), |answer| answer.text().parse::<usize>().is_ok_and(|count| count > 3));
    tested.clear("?stub=logservice");
    check("len(logs(include_incomplete=True)), len(list(logservice.fetch()))", "(0, 0)");
}

#[test]
fn m4_every_service_forgets_what_tests_have_set() {
    let tested = Tested::start();
    let check = |expression: &str, wanted: &str| tested.check(expression, wanted);
    check("call('app_identity_service', 'SetDefaultGcsBucketName', default_gcs_bucket_name='own') and None", "None");
    check("app_identity.get_default_gcs_bucket_name()", "'own'");
    check("call('mail', 'GetLogMailBody').log_mail_body(), call('mail', 'GetLogMailLevel').log_mail_level()", "(0, 'INFO')");
    check(
        "call('mail', 'SetLogMailBody', log_mail_body=1) and None, call('mail', 'SetLogMailLevel', log_mail_level='SEVERE') and None",
        "(None, None)",
    );
    check("mail.send_mail('a@example.org', 'b@example.org', 'Subject', 'the whole text')", "None");
    tested.node.wait_line("the mail in the log", |line| line.contains("the whole text") && line.contains("ERROR"));
    check("len(call('mail', 'GetSentMessages').sent_message_list())", "1");
    // A proxy is asked in the place of the host, and no other than this one may be on the loopback.
    let proxy = tested.node.address();
    let set = format!("call('urlfetch', 'SetHttpProxy', http_proxy_host='{}', http_proxy_port={}) and None", proxy.ip(), proxy.port());
    check(&set, "None");
    check("int(urlfetch.fetch('http://nowhere.example/?6*7').status_code)", "400");
    tested.clear("?stub=urlfetch&stub=app_identity_service&stub=datastore_v3&stub=nothing");
    assert_ne!(tested.eval("app_identity.get_default_gcs_bucket_name()"), "'own'");
    check("urlfetch.fetch('http://nowhere.invalid/')", "raises DNSLookupFailedError ");
    check("len(call('mail', 'GetSentMessages').sent_message_list())", "1");
    tested.clear("");
    check("len(call('mail', 'GetSentMessages').sent_message_list())", "0");
}
