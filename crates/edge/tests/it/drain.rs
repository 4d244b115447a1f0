//! Closing without losing a request.

use std::sync::mpsc;
use std::time::Duration;

use edge::{BindError, Edge, Listener, Options};

use crate::app;
use crate::node::{Client, Node, PATIENCE, options};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

#[test]
fn requests_in_flight_end_and_idle_connections_close() {
    let (begun, begins) = mpsc::channel();
    let (go, goes) = mpsc::channel::<()>();
    let (begun, goes) = (std::sync::Mutex::new(begun), std::sync::Mutex::new(goes));
    let (endpoint, _) = app::http(move |received, wire| {
        if received.line.contains("slow") {
            begun.lock().expect("unpoisoned").send(()).expect("told");
            goes.lock().expect("unpoisoned").recv().expect("told");
        }
        wire.answer("200 OK", "done");
        true
    });
    let node = Node::app(endpoint);
    let mut idle = node.connect();
    idle.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(idle.answer(false).status, 200);
    let mut busy = node.connect();
    busy.write(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n");
    begins.recv().expect("begun");
    let (address, running) = (node.address, node.running);
    let draining = std::thread::spawn(move || runtime().block_on(running.drain(PATIENCE)));
    assert!(idle.closed(), "an idle connection closes at once");
    go.send(()).expect("told");
    let answer = busy.answer(false);
    assert_eq!((answer.status, answer.text().as_str()), (200, "done"));
    assert!(busy.closed());
    draining.join().expect("drained");
    assert!(std::net::TcpStream::connect(address).is_err(), "nobody listens any more");
}

#[test]
fn a_drain_does_not_wait_for_ever() {
    let (endpoint, _) = app::http(|_, wire| {
        let _ = std::io::Read::read(&mut wire.reader, &mut [0; 1]);
        false
    });
    let node = Node::app(endpoint);
    let mut client = node.connect();
    client.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    runtime().block_on(node.running.drain(Duration::from_millis(50)));
    assert!(client.closed());
}

#[test]
fn mistakes_are_told_before_anything_is_served() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = taken.local_addr().expect("bound");
    let error = Edge::bind(Options { listeners: vec![Listener::plain(address)], ..options() }).expect_err("in use");
    assert!(error.to_string().contains(&format!("port {} on 127.0.0.1 is in use", address.port())), "{error}");
    // Another edge of the same user, which shares ports with itself.
    let first = Edge::bind(options()).expect("binds");
    let error = Edge::bind(Options { listeners: vec![Listener::plain(first.addresses()[0])], ..options() }).expect_err("in use");
    assert!(matches!(error, BindError::Listen { .. }));
    let error = Edge::bind(Options { listeners: vec![Listener::plain(([192, 0, 2, 1], 0).into())], ..options() }).expect_err("not ours");
    assert!(error.to_string().contains("192.0.2.1 is not an address of this machine"), "{error}");
    let error = Edge::bind(Options { geoip: Some("/nowhere/geo.mmdb".into()), ..options() }).expect_err("no database");
    assert!(error.to_string().contains("/nowhere/geo.mmdb"), "{error}");
}

#[test]
fn dropping_it_stops_it() {
    let (endpoint, _) = app::http(|_, wire| {
        wire.answer("200 OK", "ok");
        true
    });
    let node = Node::app(endpoint);
    let mut client = Client::to(node.address);
    client.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(client.answer(false).status, 200);
    drop(node.running);
    assert!(client.closed());
}
