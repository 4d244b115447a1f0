//! The Modules API of Google's pre-release SDK, which asks the Admin API, unmodified inside instances (row M3, decision 370).

use testkit::node::say;
use testkit::{App, Builder, Connection, Node, Python, Request, ServeNode};

/// All eight calls, and what else a client may try; answers `ok`, or how far it came.
const CALLER: &str = r"
import http.client
import os
import ssl
import threading
import traceback
import urllib.error
import urllib.request

from google.appengine.api import modules


def refuses(error, call, *arguments):
    try:
        call(*arguments)
    except error:
        return
    raise AssertionError('%s%r' % (call.__name__, arguments))


def same(found, wanted):
    assert found == wanted, (found, wanted)


def fetch(hostname):
    connection = http.client.HTTPConnection(hostname, timeout=60)
    connection.request('GET', '/who')
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def everything():
    V = modules.get_current_version_name()
    same(modules.get_current_module_name(), os.environ['GAE_SERVICE'])
    assert modules.get_current_instance_id()
    same(modules.get_modules(), ['api', 'default'])
    same((modules.get_versions(), modules.get_versions('api')), ([V], [V]))
    refuses(modules.InvalidModuleError, modules.get_versions, 'nothing')
    same((modules.get_default_version(), modules.get_default_version('api')), (V, V))
    same(modules.get_num_instances('api', V), 1)
    refuses(modules.InvalidVersionError, modules.get_num_instances, 'default', V)
    modules.set_num_instances(2, 'api', V)
    same(modules.get_num_instances('api', V), 2)
    hostname = modules.get_hostname('api', V, '1')
    same(hostname, '1.' + modules.get_hostname('api', V))
    refuses(modules.InvalidInstancesError, modules.get_hostname, 'api', V, '7')
    if os.environ.get('FETCH'):
        same(fetch(hostname), (200, 'api %s 1' % V))
    modules.stop_version('api', V)
    if os.environ.get('FETCH'):
        same(fetch(modules.get_hostname('api', V))[0], 404)
    modules.start_version('api', V)
    if os.environ.get('FETCH'):
        same(fetch(modules.get_hostname('api', V, '0'))[0], 200)
    same(modules.set_num_instances_async(1, 'api', V).get_result(), None)
    same(modules.get_num_instances('api', V), 1)
    refuses(modules.InvalidVersionError, modules.stop_version, 'api', 'nothing')
    # Another client, and no token: the certificate is good, the answer is ours.
    try:
        urllib.request.urlopen('https://appengine.googleapis.com/v1/apps/x', timeout=60)
    except urllib.error.HTTPError as error:
        same(error.code, 401)
    # What the machine believes is believed still.
    assert len(ssl.create_default_context().get_ca_certs()) > 1 or not os.path.exists('/etc/ssl/certs/ca-certificates.crt')
    return 'ok'


def app(environ, start_response):
    try:
        if environ['PATH_INFO'] == '/all':
            answer = everything()
        elif environ['PATH_INFO'] == '/plain':
            hosts = open('/etc/hosts').read()
            answer = '%s %s' % ('appengine.googleapis.com' in hosts, os.environ.get('SSL_CERT_FILE'))
        else:
            answer = '%s %s %s' % (modules.get_current_module_name(), modules.get_current_version_name(), modules.get_current_instance_id())
    except BaseException:
        answer = traceback.format_exc()
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [answer.encode()]
";

const PACKAGES: &str =
    "appengine-python-standard==1.3.0b0\ngoogle-api-python-client\ngoogle-auth-httplib2\nrequests\nsetuptools<80\ngunicorn\n";

/// Two services; `more` is the first one's.
fn app(more: &str, env: &str) -> App {
    let yaml = |service: &str, more: &str| format!("{}service: {service}\n{more}", Python::Three.head());
    let switch = format!("env_variables:\n  APPENGINE_MODULES_USE_ADMIN_API: 'true'\n{env}");
    let mut app = App::new();
    for (service, more) in [("default", format!("{more}{switch}")), ("api", "manual_scaling:\n  instances: 1\n".to_owned())] {
        let file = |name: &str| format!("{service}/{name}");
        app = app.file(&file("app.yaml"), yaml(service, &more)).file(&file("main.py"), CALLER).file(&file("requirements.txt"), PACKAGES);
    }
    app
}

fn run(builder: Builder, app: &App) -> Node {
    builder.file(app, "default/app.yaml").file(app, "api/app.yaml").args(["--patience", "300", "--project", "demo"]).start()
}

fn root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether this machine gives instances a file of names of their own.
fn named(node: &Node) -> bool {
    let named = node.get("/plain").expect(200).text().starts_with("True");
    say(if named { "the name stands in /etc/hosts" } else { "the agent turns the name round" });
    named
}

#[track_caller]
fn asks(node: &Node) {
    let answer = node.get("/all").expect(200).text();
    assert_eq!(answer, "ok", "{}", node.everything());
}

#[test]
fn m3_an_instance_asks_the_admin_api_of_a_run() {
    let node = run(Builder::new(crate::isolation::binary()), &app("", "  FETCH: 'yes'\n"));
    named(&node);
    asks(&node);
    // To a service that does not ask for it, the name is Google's.
    let plain = node.send(&Request::get("/plain").host("api.localhost")).expect(200).text();
    assert_eq!(plain, "False None");
    assert!(!node.everything().contains("leads to Google"), "{}", node.everything());
}

#[test]
fn m3_without_the_port_or_the_walls_the_agent_helps() {
    let without_walls = Builder::new(crate::isolation::binary()).args(["--isolation", "none"]);
    // Names below localhost are the walls' too, so they are not fetched.
    let node = run(without_walls, &app("", ""));
    assert!(!named(&node));
    asks(&node);
    drop(node);
    if root() {
        let node = run(Builder::new(crate::isolation::binary()).lacking("-net_bind_service"), &app("", "  FETCH: 'yes'\n"));
        assert!(!named(&node));
        asks(&node);
    }
}

#[test]
fn m3_programs_of_their_own_are_told_what_they_lack() {
    let entrypoint = "entrypoint: gunicorn --timeout 0 -b :$PORT main:app\n";
    if root() {
        let node = run(Builder::new(crate::isolation::binary()), &app(entrypoint, ""));
        if named(&node) {
            asks(&node);
        }
    }
    let node = run(Builder::new(crate::isolation::binary()).args(["--isolation", "none"]), &app(entrypoint, ""));
    let line = node.wait_line("the note", |line| line.contains("leads to Google"));
    assert!(line.contains("to mend it"), "{line}");
}

#[test]
fn m3_an_instance_asks_the_admin_api_of_a_server() {
    let node = ServeNode::with(env!("CARGO_BIN_EXE_enginehouse"), ["--project", "shop", "--patience", "300"]);
    let app = app("", "  FETCH: 'yes'\n");
    for service in ["default", "api"] {
        node.deploy_folder("shop", &app.join(service), &["--version", "v1"]);
    }
    let ask = |path: &str| Connection::open(node.http()).send(&Request::get(path).host("shop.local.r.localhost")).expect(200).text();
    say(&ask("/plain"));
    assert_eq!(ask("/all"), "ok", "{}", node.log());
    assert_eq!(node.done("GET", "/v1/apps/shop/services/api/versions/v1", "")["servingStatus"], "SERVING");
    let audit = node.done("GET", "/enginehouse/v1/apps/shop/audit", "");
    let account = "shop@appspot.gserviceaccount.com";
    let own = audit["entries"]
        .as_array()
        .expect("entries")
        .iter()
        .filter(|entry| entry["user"] == account && entry["action"] == "versions.patch");
    assert!(own.count() >= 4, "{audit}");
}
