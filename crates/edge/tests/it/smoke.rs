//! One request of each kind.

use crate::app;
use crate::node::{Node, config, files, folder, options, script, table};

#[test]
fn y14_a_static_file_is_served() {
    let (_keep, root) = folder(&[("static/hello.txt", b"hello"), ("static/.secret", b"no")]);
    let node = Node::files(options(), table(config("python312", vec![files("/s", "static")]), &root));
    let answer = node.get("/s/hello.txt");
    assert_eq!((answer.status, answer.text().as_str()), (200, "hello"), "{answer:?}");
    assert_eq!(answer.header("content-type").as_deref(), Some("text/plain"));
    assert_eq!(answer.header("server").as_deref(), Some("Development/x"));
    assert_eq!(answer.header("cache-control").as_deref(), Some("public, max-age=600"));
    assert_eq!(node.get("/s/none.txt").status, 404);
    assert_eq!(node.get("/s/.secret").status, 404);
    assert_eq!(node.get("/s/").status, 404);
    assert_eq!(node.get("/elsewhere").status, 404);
}

#[test]
fn h4_a_request_reaches_the_agent() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let endpoint = app::agent(directory.path(), |environ, agent| {
        let body = agent.body(environ);
        let text = format!(
            "{} {} {}",
            environ.get("REQUEST_METHOD").unwrap_or_default(),
            environ.get("PATH_INFO").unwrap_or_default(),
            body.len()
        );
        agent.send(&[(b'H', b"200 OK\0Content-Type\0text/plain"), (b'D', text.as_bytes()), (b'L', b"1said"), (b'E', &app::end(0, ""))]);
        true
    });
    let (_keep, root) = folder(&[]);
    let node = Node::start(options(), table(config("python312", vec![script("/.*")]), &root), Ok(endpoint));
    let mut client = node.connect();
    for _ in 0..3 {
        client.write(b"POST /a%20b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello");
        let answer = client.answer(false);
        assert_eq!((answer.status, answer.text().as_str()), (200, "POST /a b 5"), "{answer:?}");
        assert_eq!(answer.header("content-length").as_deref(), Some("11"));
    }
    let records = node.journal.wait(3);
    assert_eq!(records[0].status, 200);
    assert_eq!(records[0].lines.len(), 1);
}

#[test]
fn h10_a_request_reaches_an_http_instance() {
    let (endpoint, connections) = app::http(|received, wire| {
        let body = wire.body(received);
        let id = received.header("x-appengine-request-log-id").unwrap_or_default();
        wire.answer("200 OK\r\nX-Powered-By: test", format!("{} {} {}", received.line, body.len(), id.len()));
        true
    });
    let node = Node::app(endpoint);
    let mut client = node.connect();
    for _ in 0..3 {
        client.write(b"POST /x?y=1 HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
        let answer = client.answer(false);
        assert_eq!((answer.status, answer.text().as_str()), (200, "POST /x?y=1 HTTP/1.1 3 32"), "{answer:?}");
    }
    assert_eq!(connections.load(std::sync::atomic::Ordering::SeqCst), 1, "the connection is kept");
}
