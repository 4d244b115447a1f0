//! Forwarding to the Python agent.

use std::io::Read;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use edge::{Limits, Options, Timeouts};
use model::journal::Severity;
use model::pool::Outcome::{self, Answered, Broken, Faulty, Replace, TimedOut};

use crate::app::{self, Agent, Environ, end};
use crate::node::{Node, config, folder, options, script, table};

fn node(runtime: &str, serve: impl Fn(&Environ, &mut Agent) -> bool + Send + Sync + 'static) -> (tempfile::TempDir, Node) {
    with(options(), runtime, serve)
}

fn with(
    options: Options,
    runtime: &str,
    serve: impl Fn(&Environ, &mut Agent) -> bool + Send + Sync + 'static,
) -> (tempfile::TempDir, Node) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let endpoint = app::agent(directory.path(), serve);
    let node = Node::start(options, table(config(runtime, vec![script("/.*")]), Path::new("/nowhere")), Ok(endpoint));
    (directory, node)
}

#[test]
fn h4_h10_the_environ_is_ready() {
    let (_keep, node) = node("python312", |environ, agent| {
        let text: Vec<String> = environ.pairs.iter().map(|(key, value)| format!("{key}={value}")).collect();
        agent.send(&[(b'H', b"200 OK\0Content-Type\0text/plain"), (b'D', text.join("\n").as_bytes()), (b'E', &end(0, ""))]);
        true
    });
    let answer = node.send("GET /a%2Fb?x=%20 HTTP/1.1\r\nHost: localhost:8080\r\nConnection: close\r\nX-Dup: a\r\nX-Dup: b\r\n\r\n");
    let text = answer.text();
    for there in [
        "REQUEST_METHOD=GET",
        "PATH_INFO=/a/b",
        "QUERY_STRING=x=%20",
        "SERVER_NAME=localhost",
        "SERVER_PORT=8080",
        "HTTP_X_DUP=a, b",
        "REMOTE_ADDR=127.0.0.1",
        "wsgi.url_scheme=http",
        "SERVER_PROTOCOL=HTTP/1.1",
        "enginehouse.deadline_ms=600000",
        "HTTP_X_APPENGINE_COUNTRY=ZZ",
    ] {
        assert!(text.contains(there), "{there} in {text}");
    }
    assert!(!text.contains("CONTENT_LENGTH"));
}

#[test]
fn h25_a_chunked_request_has_a_content_length() {
    let (_keep, node) = node("python312", |environ, agent| {
        let body = agent.body(environ);
        let text = format!("{} {}", environ.get("CONTENT_LENGTH").unwrap_or("none"), String::from_utf8_lossy(&body));
        agent.send(&[(b'H', b"200 OK"), (b'D', text.as_bytes()), (b'E', &end(0, ""))]);
        true
    });
    let answer = node.send(
        "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
    );
    assert_eq!(answer.text(), "5 abcde");
}

#[test]
fn second_generation_bodies_are_streamed_both_ways() {
    let (heard, arrived) = mpsc::channel::<Vec<u8>>();
    let heard = std::sync::Mutex::new(heard);
    let (_keep, node) = node("python312", move |environ, agent| {
        assert_eq!(environ.flags, 1);
        agent.send(&[(b'H', b"200 OK\0Content-Type\0text/plain")]);
        while let Some((b'B', part)) = agent.frame() {
            if part.is_empty() {
                break;
            }
            heard.lock().expect("unpoisoned").send(part.clone()).expect("heard");
            agent.send(&[(b'D', &part)]);
        }
        agent.send(&[(b'E', &end(0, ""))]);
        true
    });
    let mut client = node.connect();
    client.write(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\n\r\n");
    assert_eq!(client.head().status, 200);
    for part in ["one", "two"] {
        client.write(part.as_bytes());
        assert_eq!(arrived.recv().expect("heard"), part.as_bytes());
        assert_eq!(client.chunk(), Some(Ok(part.as_bytes().to_vec())));
    }
    assert_eq!(client.chunk(), Some(Ok(Vec::new())));
    assert_eq!(node.outcomes.wait(1), [Outcome::Answered]);
}

#[test]
fn an_announced_length_is_kept() {
    let (_keep, node) = node("python312", |environ, agent| {
        agent.send(&[(b'H', b"200 OK\0Content-Length\x0010"), (b'D', b"hello")]);
        // A read that ends proves that the first half went out by itself.
        if environ.get("PATH_INFO") == Some("/short") {
            agent.send(&[(b'E', &end(0, ""))]);
        } else {
            agent.send(&[(b'D', b"world"), (b'E', &end(0, ""))]);
        }
        true
    });
    for _ in 0..3 {
        let answer = node.get("/");
        assert_eq!((answer.text().as_str(), answer.header("content-length").as_deref()), ("helloworld", Some("10")));
    }
}

#[test]
fn large_bodies_pass_in_both_directions() {
    let (_keep, node) = node("python312", |environ, agent| {
        let body = agent.body(environ);
        agent.send(&[(b'H', b"200 OK")]);
        for part in body.chunks(1024 * 1024) {
            agent.send(&[(b'D', part)]);
        }
        agent.send(&[(b'E', &end(0, ""))]);
        true
    });
    let body: Vec<u8> = (0..8_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    let mut client = node.connect();
    client.write(format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes());
    client.write(&body);
    let answer = client.answer(false);
    assert!(answer.body == body, "{} bytes", answer.body.len());
}

#[test]
fn first_generation_answers_are_whole_or_a_500() {
    let (_keep, node) = node("python27", |environ, agent| {
        let body = agent.body(environ);
        assert_eq!(environ.flags & 2, 2, "buffered");
        assert_eq!(body.len().to_string(), environ.get("CONTENT_LENGTH").unwrap_or("0"));
        agent.send(&[(b'H', b"200 OK\0Content-Type\0text/plain"), (b'D', b"half")]);
        let outcome = if environ.get("PATH_INFO") == Some("/bad") { end(1, "Traceback") } else { end(0, "") };
        agent.send(&[(b'L', b"3oops"), (b'E', &outcome)]);
        true
    });
    assert_eq!(node.get("/bad").status, 500, "nothing of the half answer is seen");
    let answer = node.get("/good");
    assert_eq!((answer.status, answer.header("content-length").as_deref()), (200, Some("4")));
    let records = node.journal.wait(2);
    assert_eq!(records[0].fault.as_deref(), Some("Traceback"));
    assert_eq!(records[0].lines, [(Severity::Error, "oops".to_owned())]);
    assert_eq!(records[0].cpu, Some(Duration::from_millis(3)));
}

#[test]
fn h25_a_first_generation_answer_over_the_limit_is_a_500() {
    let options = Options { limits: Limits { response_body: 10, ..Limits::default() }, ..options() };
    let (_keep, node) = with(options, "python27", |_, agent| {
        agent.send(&[(b'H', b"200 OK"), (b'D', b"01234567890"), (b'E', &end(0, ""))]);
        true
    });
    let answer = node.get("/");
    assert_eq!(answer.status, 500);
    assert!(answer.text().contains("HTTP response was too large"));
}

#[test]
fn faults_of_the_app_have_their_statuses_and_pages() {
    let options = Options { development: true, ..options() };
    let (_keep, node) = with(options, "python312", |environ, agent| {
        match environ.get("PATH_INFO") {
            Some("/raise") => agent.send(&[(b'E', &end(1, "Traceback:\n<boom>"))]),
            Some("/missing") => agent.send(&[(b'E', &end(2, "no module main"))]),
            Some("/late") => agent.send(&[(b'E', &end(3, ""))]),
            Some("/invalid") => agent.send(&[(b'E', &end(4, "status is no str"))]),
            Some("/replace") => agent.send(&[(b'H', b"200 OK"), (b'E', &end(5, ""))]),
            Some("/after") => {
                agent.send(&[(b'H', b"200 OK"), (b'D', b"begun")]);
                // The client has seen the head by the time that it lets us go on.
                let _ = agent.stream.read(&mut [0; 1]);
                return false;
            }
            Some("/nonsense") => agent.send(&[(b'Z', b"")]),
            _ => return false,
        }
        true
    });
    let raised = node.get("/raise");
    assert_eq!(raised.status, 500);
    assert!(raised.text().contains("Traceback:\n&lt;boom&gt;"), "{}", raised.text());
    assert_eq!(node.get("/missing").status, 500);
    assert_eq!(node.get("/late").status, 500);
    assert_eq!(node.get("/invalid").status, 500);
    assert_eq!(node.get("/replace").status, 200);
    assert_eq!(node.get("/nonsense").status, 502);
    assert_eq!(node.get("/closes").status, 502);
    // What closes without a word is asked three times.
    assert_eq!(node.outcomes.wait(9), [Faulty, Answered, TimedOut, Faulty, Replace, Broken, Broken, Broken, Broken]);
}

#[test]
fn an_app_that_fails_after_its_head_cuts_its_answer_off() {
    let (go, goes) = mpsc::channel::<()>();
    let goes = std::sync::Mutex::new(goes);
    let (_keep, node) = node("python312", move |environ, agent| {
        agent.send(&[(b'H', b"200 OK"), (b'D', b"begun")]);
        goes.lock().expect("unpoisoned").recv().expect("told");
        if environ.get("PATH_INFO") == Some("/raise") {
            agent.send(&[(b'E', &end(1, "Traceback"))]);
            return true;
        }
        false
    });
    for path in ["/raise", "/die"] {
        let mut client = node.connect();
        client.write(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
        assert_eq!(client.head().status, 200);
        assert_eq!(client.chunk(), Some(Ok(b"begun".to_vec())));
        go.send(()).expect("told");
        assert_eq!(client.chunk(), None, "the connection ends without a last chunk");
    }
    let records = node.journal.wait(2);
    assert_eq!(records[0].fault.as_deref(), Some("Traceback"));
    assert!(records[1].fault.as_deref().is_some_and(|fault| fault.contains("died")), "{records:?}");
}

#[test]
fn a_client_that_leaves_closes_the_agents_connection() {
    let (left, leaves) = mpsc::channel();
    let left = std::sync::Mutex::new(left);
    let (_keep, node) = node("python312", move |_, agent| {
        agent.send(&[(b'H', b"200 OK"), (b'D', b"begun")]);
        let got = agent.stream.read(&mut [0; 1]);
        left.lock().expect("unpoisoned").send(matches!(got, Ok(0) | Err(_))).expect("heard");
        false
    });
    let mut client = node.connect();
    client.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(client.head().status, 200);
    drop(client);
    assert!(leaves.recv_timeout(crate::node::PATIENCE).expect("the agent hears of it"));
}

#[test]
fn h25_an_agent_past_its_deadline_is_left_alone() {
    let options = Options { timeouts: Timeouts { deadline: Some(Duration::from_millis(60)), ..Timeouts::default() }, ..options() };
    let (_keep, node) = with(options, "python312", |_, agent| {
        let _ = agent.stream.read(&mut [0; 1]);
        false
    });
    assert_eq!(node.get("/").status, 500);
    assert_eq!(node.outcomes.wait(1), [Outcome::TimedOut]);
}

#[test]
fn an_agent_that_was_replaced_is_reached_again() {
    let (_keep, node) = node("python312", |_, agent| {
        agent.send(&[(b'H', b"200 OK"), (b'D', b"old"), (b'E', &end(0, ""))]);
        true
    });
    assert_eq!(node.get("/").text(), "old");
    let directory = tempfile::tempdir().expect("a temporary directory");
    node.replace(app::agent(directory.path(), |_, agent| {
        agent.send(&[(b'H', b"200 OK"), (b'D', b"new"), (b'E', &end(0, ""))]);
        true
    }));
    assert_eq!(node.get("/").text(), "new");
}

#[test]
fn h16_headers_that_cannot_be_sent_vanish() {
    let (_keep, node) = node("python312", |_, agent| {
        agent.send(&[(b'H', b"200 OK\0X-Good\x00yes\0X-Latin\0caf\xe9\0Bad Name\x00x\0X-Split\0a\r\nX-Injected: 1"), (b'E', &end(0, ""))]);
        true
    });
    let answer = node.get("/");
    assert_eq!(answer.header("x-good").as_deref(), Some("yes"));
    for gone in ["x-latin", "x-injected", "x-split", "bad name"] {
        assert_eq!(answer.header(gone), None, "{answer:?}");
    }
}

#[test]
fn y13_back_references_name_the_script() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let endpoint = app::agent(directory.path(), |environ, agent| {
        agent.send(&[(b'H', b"200 OK"), (b'D', environ.get("enginehouse.script").unwrap_or("none").as_bytes()), (b'E', &end(0, ""))]);
        true
    });
    let mut handler = script("/browse/(books|videos)");
    handler.kind = model::handler::HandlerKind::Script(model::handler::Script::Wsgi(
        model::pattern::Template::new(r"\1.catalog.app", 1).expect("fits"),
    ));
    let (_root, root) = folder(&[]);
    let node = Node::start(options(), table(config("python27", vec![handler]), &root), Ok(endpoint));
    assert_eq!(node.get("/browse/books").text(), "books.catalog.app");
}
