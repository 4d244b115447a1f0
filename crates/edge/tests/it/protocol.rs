//! HTTP/1 by the letter.

use std::path::Path;

use crate::app;
use crate::node::{Client, Node, config, options, script, table};

fn echo() -> Node {
    let (endpoint, _) = app::http(|received, wire| {
        let body = wire.body(received);
        wire.answer("200 OK", format!("{}|{}|{}", received.line, String::from_utf8_lossy(&body), received.headers.len()));
        true
    });
    Node::app(endpoint)
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let node = echo();
    let mut client = node.connect();
    let one = |n: u8| format!("GET /{n} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let post = "POST /4 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc";
    client.write([one(1), one(2), one(3), post.into(), one(5)].concat().as_bytes());
    for n in 1..=5 {
        let answer = client.answer(false);
        assert_eq!(answer.status, 200);
        let (method, body) = if n == 4 { ("POST", "abc") } else { ("GET", "") };
        assert!(answer.text().starts_with(&format!("{method} /{n} HTTP/1.1|{body}|")), "{}", answer.text());
    }
}

#[test]
fn http_1_0_is_answered_and_closed() {
    let node = echo();
    let mut client = node.connect();
    client.write(b"GET / HTTP/1.0\r\n\r\n");
    let answer = client.answer(false);
    assert_eq!(answer.status, 200);
    assert!(answer.text().starts_with("GET / HTTP/1.1|"), "the instance is always asked in HTTP/1.1");
    assert!(client.closed());
}

#[test]
fn an_app_is_always_told_a_host() {
    let (endpoint, _) = app::http(|received, wire| {
        wire.answer("200 OK", received.header("host").unwrap_or_default());
        true
    });
    let node = Node::app(endpoint);
    let answer = node.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!((answer.status, answer.text().as_str()), (200, "localhost"));
}

#[test]
fn a_head_request_has_no_body() {
    let node = echo();
    let mut client = node.connect();
    client.write(b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\nGET /2 HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let answer = client.answer(true);
    assert_eq!(answer.status, 200);
    assert!(client.answer(false).text().starts_with("GET /2"));
}

#[test]
fn a_client_that_expects_100_is_told_to_go_on() {
    let node = echo();
    let mut client = node.connect();
    client.write(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.head().status, 100);
    client.write(b"abc");
    assert!(client.answer(false).text().contains("|abc|"));
}

#[test]
fn h25_a_client_that_expects_100_is_told_at_once_that_its_body_is_too_large() {
    let node = echo();
    let mut client = node.connect();
    client.write(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 33554433\r\nExpect: 100-continue\r\n\r\n");
    let answer = client.answer(false);
    assert_eq!(answer.status, 413);
    assert!(answer.text().contains("Upload limited to 32 megabytes."));
    assert!(client.closed());
}

#[test]
fn an_upgrade_is_not_taken() {
    let node = echo();
    let mut client = node.connect();
    let upgrade = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n";
    client.write(upgrade.as_bytes());
    let answer = client.answer(false);
    assert_eq!((answer.status, answer.header("upgrade")), (200, None));
    client.write(b"GET /again HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(client.answer(false).text().starts_with("GET /again"));
}

#[test]
fn a_refused_request_is_answered_logged_and_ends_the_connection() {
    let node = echo();
    let mut client = node.connect();
    client.write(b"GET /good HTTP/1.1\r\nHost: localhost\r\n\r\nPOST /bad HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabcGET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(client.answer(false).text().starts_with("GET /good"));
    let answer = client.answer(false);
    assert_eq!((answer.status, answer.header("connection").as_deref()), (400, Some("close")));
    assert!(answer.text().contains("both Transfer-Encoding and Content-Length"), "{}", answer.text());
    assert!(client.closed());
    let records = node.journal.wait(2);
    assert_eq!(records.len(), 2);
    assert!(records[1].fault.as_deref().is_some_and(|fault| fault.contains("both Transfer-Encoding")), "{records:?}");
}

#[test]
fn h25_bounds_of_heads_have_their_own_statuses() {
    let node = echo();
    let long = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "a".repeat(20_000));
    assert_eq!(node.send(&long).status, 414);
    let wide = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "a".repeat(70_000));
    assert_eq!(node.send(&wide).status, 431);
    let many = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "X: a\r\n".repeat(100));
    assert_eq!(node.send(&many).status, 431);
    let fits = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX: {}\r\n\r\n", "a".repeat(15_000), "b".repeat(45_000));
    assert_eq!(node.send(&fits).status, 200);
}

#[test]
fn malformed_chunks_are_a_400() {
    let node = echo();
    let answer = node.send("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n");
    assert_eq!((answer.status, answer.header("connection").as_deref()), (400, Some("close")));
}

#[test]
fn trailers_and_extensions_are_dropped() {
    let node = echo();
    let mut client = node.connect();
    client.write(
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n3;x=y\r\nabc\r\n0\r\nX-T: z\r\n\r\n",
    );
    assert!(client.answer(false).text().starts_with("POST / HTTP/1.1|abc|"));
    client.write(b"GET /next HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(client.answer(false).text().starts_with("GET /next"));
}

#[test]
fn a_body_that_nobody_reads_is_no_request() {
    let (endpoint, _) = app::http(|_, wire| {
        wire.answer("403 Forbidden", "no");
        false
    });
    let node = Node::app(endpoint);
    let mut client = node.connect();
    let body = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n0123456789ABC";
    client.write(format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes());
    assert_eq!(client.answer(false).status, 403);
    client.write(format!("{body}GET /next HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes());
    // The connection may have ended with the unread body, or gone on behind it.
    let mut rest = Vec::new();
    let _ = std::io::Read::read_to_end(&mut client.stream, &mut rest);
    let targets: Vec<String> = node.journal.wait(1).into_iter().map(|record| record.target).collect();
    assert!(targets == ["/"] || targets == ["/", "/next"], "{targets:?}");
}

#[test]
fn hosts_that_are_none_of_ours_are_refused() {
    let node = echo();
    let answer = node.send("GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("--allow-host evil.example"));
    assert_eq!(node.send("GET / HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n").status, 400);
    assert_eq!(node.send("GET http://localhost/x HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n").status, 200);
}

#[test]
fn y11_dot_segments_are_redirected_before_handlers_are_matched() {
    let node = echo();
    let answer = node.get("/a/%2e%2E/b?x=1");
    assert_eq!((answer.status, answer.header("location").as_deref()), (302, Some("/b?x=1")));
}

#[test]
fn requests_in_many_packets_are_read_as_one() {
    let node = echo();
    let mut client = Client::to(node.address);
    for byte in b"\r\nPOST /slow HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" {
        client.write(&[*byte]);
    }
    assert!(client.answer(false).text().starts_with("POST /slow HTTP/1.1|abc|"));
}

#[test]
fn y10_an_unstartable_app_shows_why_in_development_only() {
    let reject = || Err(model::pool::Reject::StartFailed("ImportError: no <module>".into()));
    let routes = || table(config("nodejs22", vec![script("/.*")]), Path::new("/nowhere"));
    let node = Node::start(edge::Options { development: true, ..options() }, routes(), reject());
    let answer = node.get("/");
    assert_eq!(answer.status, 500);
    assert!(answer.text().contains("ImportError: no &lt;module&gt;"), "{}", answer.text());
    let node = Node::start(options(), routes(), reject());
    let answer = node.get("/");
    assert!(!answer.text().contains("ImportError"));
    assert!(node.journal.wait(1)[0].fault.as_deref().is_some_and(|fault| fault.contains("ImportError")));
}

/// Everything that the server says to `parts`, without dates.
fn conversation(node: &Node, parts: &[&[u8]]) -> String {
    let mut client = node.connect();
    for part in parts {
        client.write(part);
    }
    let mut all = Vec::new();
    let _ = std::io::Read::read_to_end(&mut client.stream, &mut all);
    let text = String::from_utf8_lossy(&all).into_owned();
    text.lines().filter(|line| !line.starts_with("date: ")).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_conversation_is_the_same_wherever_its_packets_end() {
    let node = echo();
    let bytes = b"\r\nGET /1 HTTP/1.1\r\nHost: localhost\r\n\r\nPOST /2 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhelloHEAD /3 HTTP/1.1\r\nHost: localhost\r\n\r\nPUT /4\"<# HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n3;x\r\nabc\r\n2\r\nde\r\n0\r\nT: u\r\n\r\nGET /5 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1, 1\r\n\r\nx";
    let whole = conversation(&node, &[bytes]);
    assert_eq!(whole.matches("HTTP/1.1 200 OK").count(), 4, "{whole}");
    assert_eq!(whole.matches("HTTP/1.1 400 Bad Request").count(), 1, "{whole}");
    for cut in (1..bytes.len()).step_by(3) {
        let (first, second) = bytes.split_at(cut);
        assert_eq!(conversation(&node, &[first, second]), whole, "cut at {cut}");
    }
}

#[test]
fn an_http_1_0_client_may_keep_its_connection() {
    let node = echo();
    let mut client = node.connect();
    for n in 1..3 {
        client.write(format!("GET /{n} HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").as_bytes());
        let answer = client.answer(false);
        assert_eq!((answer.status, answer.header("connection").as_deref()), (200, Some("keep-alive")));
        assert!(answer.text().starts_with(&format!("GET /{n} HTTP/1.1|")));
    }
}
