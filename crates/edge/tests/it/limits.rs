//! Slow, idle, greedy and too many clients.

use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use edge::{Limits, Options, Timeouts};
use model::pool::Outcome;

use crate::app;
use crate::node::{Node, config, files, folder, options, script, table};

const SHORT: Duration = Duration::from_millis(100);

fn node(timeouts: Timeouts, limits: Limits) -> Node {
    let (endpoint, _) = app::http(|received, wire| {
        let body = wire.body(received);
        let length: usize = received.line.split(['/', ' ']).find_map(|part| part.parse().ok()).unwrap_or(body.len());
        wire.answer("200 OK", vec![b'x'; length]);
        true
    });
    let options = Options { timeouts, limits, ..options() };
    Node::start(options, table(config("nodejs22", vec![script("/.*")]), Path::new("/nowhere")), Ok(endpoint))
}

#[test]
fn a_head_that_takes_too_long_is_a_408() {
    let node = node(Timeouts { head: SHORT, ..Timeouts::default() }, Limits::default());
    let mut client = node.connect();
    client.write(b"GET / HTTP/1.1\r\nHost: loc");
    let answer = client.answer(false);
    assert_eq!((answer.status, answer.header("connection").as_deref()), (408, Some("close")));
    assert!(client.closed());
    // The second head of a connection is timed too.
    let mut client = node.connect();
    client.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HT");
    assert_eq!(client.answer(false).status, 200);
    assert_eq!(client.answer(false).status, 408);
    // And a connection that never says anything.
    assert!(node.connect().closed());
}

#[test]
fn an_idle_connection_is_closed() {
    let node = node(Timeouts { idle: SHORT, nap: Duration::from_millis(20), ..Timeouts::default() }, Limits::default());
    let mut client = node.connect();
    client.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(client.answer(false).status, 200);
    assert!(client.closed());
}

#[test]
fn a_connection_goes_on_after_a_nap() {
    let node = node(Timeouts { nap: Duration::from_millis(5), ..Timeouts::default() }, Limits::default());
    let mut client = node.connect();
    for n in 1..20 {
        client.write(format!("GET /{n} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
        assert_eq!(client.answer(false).body.len(), n);
        // Not for synchronisation: some naps have begun by then and some have not, and neither may be noticed.
        std::thread::sleep(Duration::from_millis(u64::try_from(n).expect("small") * 3));
    }
}

#[test]
fn a_body_that_comes_too_slowly_is_a_408() {
    let node = node(Timeouts { stall: SHORT, ..Timeouts::default() }, Limits { min_rate: 1000, ..Limits::default() });
    for framing in ["Content-Length: 1000\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"] {
        let mut client = node.connect();
        client.write(format!("POST / HTTP/1.1\r\nHost: localhost\r\n{framing}").as_bytes());
        let answer = client.answer(false);
        assert_eq!((answer.status, answer.header("connection").as_deref()), (408, Some("close")));
        assert!(client.closed());
    }
}

#[test]
fn a_client_that_takes_no_answer_is_cut_off() {
    let node = node(Timeouts { stall: SHORT, ..Timeouts::default() }, Limits::default());
    let mut client = node.connect();
    client.write(b"GET /30000000 HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let records = node.journal.wait(1);
    assert!(records[0].bytes < 30_000_000);
    assert_eq!(node.outcomes.wait(1), [Outcome::Abandoned]);
    let mut rest = Vec::new();
    let _ = client.stream.read_to_end(&mut rest);
    assert!(rest.len() < 30_000_000);
}

#[test]
fn h25_bodies_over_the_limit_are_a_413() {
    let node = node(Timeouts::default(), Limits { request_body: 1000, ..Limits::default() });
    let known = node.send(&format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1001\r\n\r\n{}", "x".repeat(1001)));
    assert_eq!((known.status, known.header("connection").as_deref()), (413, Some("close")));
    let chunk = format!("1f4\r\n{}\r\n", "x".repeat(500));
    let chunked =
        node.send(&format!("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n", chunk.repeat(3)));
    assert_eq!((chunked.status, chunked.header("connection").as_deref()), (413, Some("close")));
    let fits = node.send(&format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n",
        chunk.repeat(2)
    ));
    assert_eq!((fits.status, fits.body.len()), (200, 1000));
}

#[test]
fn h25_answers_over_the_limit_are_a_500_or_cut_off() {
    let (endpoint, _) = app::http(|received, wire| {
        let framing = if received.line.contains("known") { "Content-Length: 2000" } else { "Transfer-Encoding: chunked" };
        wire.write(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n"));
        if received.line.contains("known") {
            wire.write("x".repeat(2000));
        } else {
            wire.write(format!("3e8\r\n{}\r\n3e8\r\n{}\r\n0\r\n\r\n", "x".repeat(1000), "x".repeat(1000)));
        }
        false
    });
    let options = Options { limits: Limits { response_body: 1500, ..Limits::default() }, ..options() };
    let node = Node::start(options, table(config("nodejs22", vec![script("/.*")]), Path::new("/nowhere")), Ok(endpoint));
    let known = node.get("/known");
    assert_eq!(known.status, 500);
    assert!(known.text().contains("HTTP response was too large"));
    let streamed = node.get("/chunked");
    assert!(streamed.status == 500 || streamed.cut, "{streamed:?}");
}

#[test]
fn connections_are_bounded_per_address() {
    let node = node(Timeouts::default(), Limits { connections_per_address: 2, ..Limits::default() });
    let mut first = node.connect();
    first.write(b"GET /1 HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(first.answer(false).status, 200);
    let mut second = node.connect();
    second.write(b"GET /1 HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(second.answer(false).status, 200);
    assert!(node.connect().closed(), "the third is turned away");
    drop(first);
    // The place becomes free when the server has seen the end.
    for _ in 0..1000 {
        let mut next = node.connect();
        next.write(b"GET /1 HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let mut byte = [0];
        if matches!(next.stream.read(&mut byte), Ok(1)) {
            return;
        }
    }
    panic!("a place becomes free");
}

#[test]
fn a_thousand_slow_heads_do_not_keep_others_waiting() {
    let (_keep, root) = folder(&[("s/a.txt", b"a")]);
    let node = Node::files(options(), table(config("python312", vec![files("/s", "s")]), &root));
    let slow: Vec<_> = (0..1000)
        .map(|_| {
            let mut client = node.connect();
            client.stream.write_all(b"GET /s/a.txt HTTP/1.1\r\nHos").expect("written");
            client
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(node.get("/s/a.txt").text(), "a");
    }
    drop(slow);
}

#[test]
fn h25_an_app_past_its_deadline_shows_the_timeout_page() {
    let (_keep, root) = folder(&[("late.html", b"<h1>late</h1>"), ("other.html", b"other")]);
    let (endpoint, _) = app::http(|_, wire| {
        // Answers nothing; ends when the front end hangs up.
        let _ = std::io::Read::read(&mut wire.reader, &mut [0; 1]);
        false
    });
    let mut config = config("nodejs22", vec![script("/.*")]);
    let page = |code, file: &str| model::config::ErrorPage { code, file: file.into(), mime_type: None };
    config.error_pages = vec![page(model::config::ErrorCode::Default, "other.html"), page(model::config::ErrorCode::Timeout, "late.html")];
    let options = Options { timeouts: Timeouts { deadline: Some(SHORT), ..Timeouts::default() }, ..options() };
    let node = Node::start(options, table(config, &root), Ok(endpoint));
    let answer = node.get("/");
    assert_eq!((answer.status, answer.text().as_str()), (500, "<h1>late</h1>"));
    assert_eq!(answer.header("content-type").as_deref(), Some("text/html"));
    assert_eq!(node.outcomes.wait(1), [Outcome::TimedOut]);
}

#[test]
fn h25_each_request_of_a_connection_has_a_deadline_of_its_own() {
    let (endpoint, _) = app::http(|received, wire| {
        if received.line.contains("/late") {
            // Ends when the front end hangs up.
            let _ = std::io::Read::read(&mut wire.reader, &mut [0; 1]);
            return false;
        }
        wire.answer("200 OK", "in time");
        true
    });
    let options = Options { timeouts: Timeouts { deadline: Some(Duration::from_millis(500)), ..Timeouts::default() }, ..options() };
    let (_keep, root) = folder(&[]);
    let node = Node::start(options, table(config("nodejs22", vec![script("/.*")]), &root), Ok(endpoint));
    let mut client = node.connect();
    for (path, status) in [("/late", 500), ("/fine", 200), ("/late", 500), ("/late", 500), ("/fine", 200)] {
        client.write(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
        assert_eq!(client.answer(false).status, status, "{path}");
    }
    let (late, fine) = (Outcome::TimedOut, Outcome::Answered);
    assert_eq!(node.outcomes.wait(5), [late, fine, late, late, fine]);
}
