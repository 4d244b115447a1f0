//! Requests whose instance breaks down: asked again where that loses and doubles nothing.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use model::pool::Endpoint;
use model::pool::Outcome::{Answered, Broken};

use crate::app::{self, end};
use crate::node::{Node, config, options, script, table};

/// An app that reads each request whole and dies of the first `deaths`.
fn mortal(deaths: usize) -> (Endpoint, Arc<Mutex<Vec<Vec<u8>>>>) {
    let bodies = Arc::new(Mutex::new(Vec::new()));
    let (seen, count) = (bodies.clone(), AtomicUsize::new(0));
    let (endpoint, _) = app::http(move |received, wire| {
        let body = wire.body(received);
        seen.lock().expect("unpoisoned").push(body);
        let alive = count.fetch_add(1, Ordering::SeqCst) >= deaths;
        if alive {
            wire.answer("200 OK", "here");
        }
        alive
    });
    (endpoint, bodies)
}

fn request(method: &str, body: &str) -> String {
    if method == "GET" {
        return "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".into();
    }
    format!("{method} / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn what_may_be_done_twice_is_asked_again() {
    for method in ["GET", "PUT", "DELETE", "OPTIONS"] {
        let (endpoint, bodies) = mortal(2);
        let node = Node::app(endpoint);
        let answer = node.send(&request(method, "hello"));
        assert_eq!((answer.status, answer.text().as_str()), (200, "here"), "{method}");
        let body = if method == "GET" { "" } else { "hello" };
        assert_eq!(*bodies.lock().expect("unpoisoned"), vec![body.as_bytes().to_vec(); 3], "{method}");
        assert_eq!(node.outcomes.wait(3), [Broken, Broken, Answered]);
        let record = &node.journal.wait(1)[0];
        assert_eq!((record.status, record.fault.as_deref()), (200, None));
        assert_eq!(record.lines.len(), 2);
        assert!(record.lines[0].1.contains("instance e4b565394caa is lost"), "{:?}", record.lines);
    }
}

#[test]
fn a_request_that_kills_instances_does_not_kill_them_all() {
    let (endpoint, bodies) = mortal(usize::MAX);
    let node = Node::app(endpoint);
    assert_eq!(node.get("/").status, 502);
    assert_eq!(bodies.lock().expect("unpoisoned").len(), 3);
}

#[test]
fn what_the_app_has_read_is_not_done_twice() {
    for method in ["POST", "PATCH"] {
        let (endpoint, bodies) = mortal(1);
        let node = Node::app(endpoint);
        assert_eq!(node.send(&request(method, "pay")).status, 502, "{method}");
        assert_eq!(*bodies.lock().expect("unpoisoned"), [b"pay"], "{method}");
        assert_eq!(node.outcomes.wait(1), [Broken]);
    }
}

#[test]
fn a_body_that_is_gone_is_not_sent_again() {
    let (endpoint, bodies) = mortal(1);
    let node = Node::app(endpoint);
    assert_eq!(node.send(&request("PUT", &"x".repeat(3_000_000))).status, 502);
    assert_eq!(bodies.lock().expect("unpoisoned").len(), 1);
}

/// Serves on one address: the first connections are closed with their requests unread, as those of a process that was killed are.
fn deaf(deaths: usize, mut accept: impl FnMut() -> Box<dyn Peeked> + Send + 'static, answer: Vec<u8>) {
    std::thread::spawn(move || {
        for _ in 0..deaths {
            accept().wait();
        }
        let mut stream = accept();
        let mut buffer = [0; 4096];
        assert!(stream.read(&mut buffer).expect("a request") > 0);
        stream.write_all(&answer).expect("sent");
        let _ = stream.read(&mut buffer);
    });
}

/// A connection that can be waited for without reading from it.
trait Peeked: Read + Write {
    fn wait(&mut self);
}

impl Peeked for std::net::TcpStream {
    fn wait(&mut self) {
        assert!(self.peek(&mut [0]).expect("a request") > 0);
    }
}

impl Peeked for std::os::unix::net::UnixStream {
    fn wait(&mut self) {
        rustix::net::recv(self, &mut [0; 1][..], rustix::net::RecvFlags::PEEK).expect("a request");
    }
}

#[test]
fn what_no_app_has_read_is_asked_again_whatever_it_is() {
    for method in ["POST", "GET", "PATCH"] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let endpoint = Endpoint::Http(listener.local_addr().expect("bound"));
        let accept = move || Box::new(listener.accept().expect("a connection").0) as Box<dyn Peeked>;
        deaf(4, accept, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhere".to_vec());
        let node = Node::app(endpoint);
        let answer = node.send(&request(method, "hello"));
        assert_eq!((answer.status, answer.text().as_str()), (200, "here"), "{method}");
        assert_eq!(node.outcomes.wait(5), [Broken, Broken, Broken, Broken, Answered]);
    }
}

#[test]
fn what_no_agent_has_read_is_asked_again_whatever_it_is() {
    for runtime in ["python27", "python312"] {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("agent.sock");
        let listener = UnixListener::bind(&path).expect("binds");
        let accept = move || Box::new(listener.accept().expect("a connection").0) as Box<dyn Peeked>;
        let mut answer = Vec::new();
        for (kind, payload) in [(b'H', b"200 OK".to_vec()), (b'D', b"here".to_vec()), (b'E', end(0, ""))] {
            answer.push(kind);
            answer.extend(u32::try_from(payload.len()).expect("short").to_be_bytes());
            answer.extend(payload);
        }
        deaf(4, accept, answer);
        let node = Node::start(options(), table(config(runtime, vec![script("/.*")]), Path::new("/nowhere")), Ok(Endpoint::Agent(path)));
        let answer = node.send(&request("POST", "hello"));
        assert_eq!((answer.status, answer.text().as_str()), (200, "here"), "{runtime}");
        assert_eq!(node.outcomes.wait(5), [Broken, Broken, Broken, Broken, Answered]);
    }
}

#[test]
fn an_answer_that_began_is_not_begun_again() {
    let (endpoint, connections) = app::http(|_, wire| {
        wire.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
        false
    });
    let node = Node::app(endpoint);
    assert!(node.get("/").cut);
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}
