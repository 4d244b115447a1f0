//! The metadata server where the house may not look into its instances: the user of a process is all that it knows (row S7, decision 333).

use testkit::node::say;
use testkit::{App, Builder, Connection, Node, Python, Request};

/// Asks the metadata server for the path in the query, after it has hidden itself from whoever is not root, if the path says so.
const ASKER: &str = r"
import ctypes
import os
import socket

TOKEN = '/computeMetadata/v1/instance/service-accounts/default/token'
PR_SET_DUMPABLE = 4


def ask(place, path):
    host, _, port = place.partition(':')
    connection = socket.create_connection((host, int(port or 80)), 30)
    connection.sendall(('GET %s HTTP/1.0\r\nHost: %s\r\nMetadata-Flavor: Google\r\n\r\n' % (path, place)).encode())
    pieces = []
    while not pieces or pieces[-1]:
        pieces.append(connection.recv(65536))
    head, _, body = b''.join(pieces).decode().partition('\r\n\r\n')
    return '%s %s' % (head.split()[1], body)


def app(environ, start_response):
    if environ['PATH_INFO'] == '/hide':
        answer = str(ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0))
    elif environ['PATH_INFO'] == '/door':
        answer = os.environ['GCE_METADATA_HOST']
    elif environ['PATH_INFO'] == '/id':
        answer = '%s %s' % (os.environ['GAE_INSTANCE'], ask(os.environ['GCE_METADATA_HOST'], '/computeMetadata/v1/instance/id'))
    elif environ['PATH_INFO'] == '/named':
        named = 'metadata.google.internal' in open('/etc/hosts').read()
        answer = ask('metadata.google.internal', TOKEN) if named else 'no names'
    else:
        answer = ask(os.environ['GCE_METADATA_HOST'], TOKEN)
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [answer.encode()]
";

fn app(more: &str) -> App {
    App::with_yaml(&Python::Three.yaml(more)).file("main.py", ASKER)
}

fn get(node: &Node, path: &str) -> String {
    node.get(path).expect(200).text()
}

/// What a process that is no instance hears.
#[track_caller]
fn stranger_is_refused(node: &Node) {
    let door = get(node, "/door").parse().expect("an address");
    let request = Request::get("/computeMetadata/v1/instance/service-accounts/default/token");
    let refused = Connection::open(door).send(&request.host("metadata.google.internal").header("Metadata-Flavor", "Google"));
    let text = refused.text();
    assert!(refused.status == 403 && text.contains("processes of the instance alone"), "{refused:?}");
    assert!(text.contains("another user"), "{text}");
}

#[test]
fn s7_root_without_the_right_to_look_knows_users() {
    if !rustix::process::geteuid().is_root() {
        return say("only root can be without a right");
    }
    let start = |app: &App| Builder::new(crate::isolation::binary()).lacking("-sys_ptrace").app(app).start();
    let node = start(&app(""));
    let found = get(&node, "/token");
    assert!(found.starts_with("200 ") && found.contains("access_token"), "{found}\n{}", node.everything());
    stranger_is_refused(&node);
    // By name too, as long as there is only one whom it can be.
    let named = get(&node, "/named");
    assert!(named == "no names" || named.starts_with("200 "), "{named}");
    drop(node);
    // Of two nobody knows which one asks by name; at its own door each is known.
    let node = start(&app("manual_scaling:\n  instances: 2\n"));
    for number in [0, 1] {
        let host = format!("{number}.localhost");
        assert!(node.send(&Request::get("/id").host(&host)).expect(200).text().starts_with(&number.to_string()));
    }
    let named = get(&node, "/named");
    assert!(named == "no names" || (named.starts_with("403 ") && named.contains("CAP_SYS_PTRACE")), "{named}");
    let found = get(&node, "/token");
    assert!(found.starts_with("200 "), "{found}");
}

#[test]
fn s7_an_ordinary_user_may_not_look_into_who_hides() {
    let mut builder = Builder::new(crate::isolation::binary());
    let root = rustix::process::geteuid().is_root();
    if root {
        builder = builder.user(61_002);
    }
    let node = builder.app(&app("")).start();
    assert!(get(&node, "/token").starts_with("200 "), "{}", node.everything());
    assert_eq!(get(&node, "/hide"), "0");
    let found = get(&node, "/token");
    assert!(found.starts_with("200 ") && found.contains("access_token"), "{found}\n{}", node.everything());
    let known = get(&node, "/id");
    let (id, told) = known.split_once(' ').expect("two words");
    assert_eq!(told, format!("200 {id}"));
    // The tests' own user is another one.
    if root {
        stranger_is_refused(&node);
    }
}
