//! `logservice` of Python 2.7's SDK: apps flush lines, and read their own log (row S10).

use testkit::{App, Node, Python, Request};

use crate::node;

const CALLER: &str = r"
import logging
import os
import time
from urllib import unquote
from google.appengine.api import logservice
from google.appengine.api.logservice import log_service_pb
from google.appengine.api import apiproxy_stub_map


def fetch(**query):
    return list(logservice.fetch(**query))


def mine(**query):
    return [log for log in fetch(**query) if log.resource.startswith('/said')]


def raw(**fields):
    request = log_service_pb.LogReadRequest()
    request.set_app_id(os.environ['APPLICATION_ID'])
    for name, value in fields.items():
        getattr(request, name)(value)
    response = log_service_pb.LogReadResponse()
    apiproxy_stub_map.MakeSyncCall('logservice', 'Read', request, response)
    return response


def status(text):
    request = log_service_pb.SetStatusRequest()
    request.set_status(text)
    from google.appengine.api import api_base_pb
    apiproxy_stub_map.MakeSyncCall('logservice', 'SetStatus', request, api_base_pb.VoidProto())


def say(environ):
    logging.warning('careful')
    logservice.AUTOFLUSH_ENABLED = False
    logservice.write_record(3, time.time(), 'flushed', ('main.py', 7, 'say'))
    logservice.flush()
    return os.environ['REQUEST_LOG_ID']


def app(environ, start_response):
    if environ['PATH_INFO'] == '/said':
        answer = say(environ)
    else:
        try:
            answer = repr(eval(unquote(environ['QUERY_STRING'])))
        except Exception as error:
            answer = 'raises %s %s' % (type(error).__name__, getattr(error, 'application_error', ''))
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [answer]
";

fn eval(node: &Node, expression: &str) -> String {
    let quoted = expression.bytes().fold(String::new(), |quoted, byte| quoted + &format!("%{byte:02X}"));
    node.send(&Request::get(&format!("/?{quoted}"))).expect(200).text()
}

#[test]
fn s10_an_app_reads_its_own_log() {
    let app = App::with_yaml(&format!("{}handlers:\n- url: /.*\n  script: main.app\n", Python::Two.head())).file("main.py", CALLER);
    let node = node().app(&app).args(["--patience", "300"]).start();
    let said: Vec<String> = (0..3).map(|_| node.get("/said?a=1").expect(200).text()).collect();
    // The journal writes behind the answer.
    let quoted = "len(mine())".bytes().fold(String::new(), |text, byte| text + &format!("%{byte:02X}"));
    node.eventually(&Request::get(&format!("/?{quoted}")), |answer| answer.text() == "3");
    let check = |expression: &str, wanted: &str| assert_eq!(eval(&node, expression), wanted, "{expression}");
    check(
        &format!("[log.request_id for log in fetch(request_ids=['{}', '{}'])]", said[0], said[2]),
        &format!("['{}', '{}']", said[0], said[2]),
    );
    check("fetch(request_ids=['abcdef'])", "[]");
    check(
        "[(log.method, log.resource, int(log.status), log.finished, log.app_logs) for log in mine()][0]",
        "('GET', '/said?a=1', 200, True, [])",
    );
    check(
        "[(line.level, line.message, line.source_location) for line in mine(include_app_logs=True)[0].app_logs]",
        "[(2, 'careful', None), (3, 'flushed', ('main.py', 7L, 'say'))]",
    );
    check("len(mine(minimum_log_level=logservice.LOG_LEVEL_ERROR)), len(mine(minimum_log_level=logservice.LOG_LEVEL_CRITICAL))", "(3, 0)");
    check(
        "[len(list(logservice.fetch(batch_size=1))) >= 3, len(mine(start_time=time.time() + 60)), len(mine(end_time=1))]",
        "[True, 0, 0]",
    );
    check("(lambda all: [log.request_id for log in mine(offset=all[0].offset)] == [log.request_id for log in all[1:]])(mine())", "True");
    check("len(mine(module_versions=[('default', 'nothing')])), len(mine(version_ids=['nothing']))", "(0, 0)");
    check("[log.finished for log in fetch(include_incomplete=True)][0], fetch(include_incomplete=True)[0].resource[:2]", "(False, '/?')");
    check("mine()[0].combined.split('] ')[1][:29]", "'\"GET /said?a=1 HTTP/1.1\" 200 '");
    // What makes no sense, and another app's log.
    check("raw()", "raises ApplicationError 1");
    check("raw(set_app_id='s~other', add_version_id='v1')", "raises ApplicationError 1");
    check("status('well')", "None");
    // Old clients name versions so.
    check("len(raw(add_version_id=os.environ['CURRENT_VERSION_ID'].split('.')[0]).log_list()) > 0", "True");
}
