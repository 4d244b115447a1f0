//! Compressing what apps answer (row H19).

use std::io::Read;
use std::sync::mpsc;

use crate::app;
use crate::node::Node;

/// What gzip bytes hold.
pub fn unpack(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    flate2::read::GzDecoder::new(bytes).read_to_end(&mut out).expect("gzip");
    out
}

const GET: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip, br\r\n\r\n";

#[test]
fn h19_h20_whole_and_streamed_bodies() {
    let text = "All work and no play makes Jack a dull boy.\n".repeat(3000);
    let expected = text.clone();
    let (endpoint, _) = app::http(move |received, wire| {
        if received.line.contains("chunked") {
            wire.write("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n");
            for part in text.as_bytes().chunks(10_000) {
                wire.write([format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat());
            }
            wire.write("0\r\n\r\n");
        } else {
            wire.answer("200 OK\r\nContent-Type: text/plain\r\nETag: \"a\"", &text);
        }
        true
    });
    let node = Node::app(endpoint);
    for path in ["/", "/chunked"] {
        for _ in 0..3 {
            let answer = node.send(&GET.replace("/ ", &format!("{path} ")).replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"));
            assert_eq!(answer.header("content-encoding").as_deref(), Some("gzip"), "{path}");
            assert!(answer.header("vary").is_some_and(|vary| vary.contains("Accept-Encoding")));
            assert!(unpack(&answer.body) == expected.as_bytes());
            assert!(answer.body.len() < 5000, "{}", answer.body.len());
        }
    }
    let plain = node.get("/");
    assert_eq!((plain.header("content-encoding"), plain.body.len()), (None, expected.len()));
    assert_eq!(plain.header("etag").as_deref(), Some("\"a\""));
}

#[test]
fn h19_a_compressed_stream_is_flushed_at_every_piece() {
    let (next, nexts) = mpsc::channel::<&'static str>();
    let nexts = std::sync::Mutex::new(nexts);
    let (endpoint, _) = app::http(move |_, wire| {
        wire.write("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n");
        while let Ok(part) = nexts.lock().expect("unpoisoned").recv() {
            wire.write(format!("{:x}\r\n{part}\r\n", part.len()));
        }
        wire.write("0\r\n\r\n");
        true
    });
    let node = Node::app(endpoint);
    let mut client = node.connect();
    client.write(GET.as_bytes());
    next.send("first line\n").expect("sent");
    assert_eq!(client.head().header("content-encoding").as_deref(), Some("gzip"));
    let mut all = Vec::new();
    for (count, part) in ["first line\n", "second line\n", "third line\n"].into_iter().enumerate() {
        if count > 0 {
            next.send(part).expect("sent");
        }
        all.extend(client.chunk().expect("a chunk").expect("whole"));
        let mut so_far = String::new();
        let _ = flate2::read::GzDecoder::new(all.as_slice()).read_to_string(&mut so_far);
        assert!(so_far.ends_with(part), "{so_far:?} ends with {part:?}");
    }
    drop(next);
    while let Some(Ok(part)) = client.chunk().filter(|part| part.as_ref().is_ok_and(|part| !part.is_empty())) {
        all.extend(part);
    }
    assert_eq!(unpack(&all), b"first line\nsecond line\nthird line\n");
}

#[test]
fn h20_small_bodies_and_errors_keep_their_length() {
    let (endpoint, _) = app::http(|received, wire| {
        match received.line.split(' ').nth(1) {
            Some("/204") => wire.write("HTTP/1.1 204 No Content\r\n\r\n"),
            Some("/304") => wire.write("HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n"),
            _ => wire.answer("404 Not Found\r\nContent-Type: text/plain", "not here"),
        }
        true
    });
    let node = Node::app(endpoint);
    let mut client = node.connect();
    for (path, status) in [("/204", 204), ("/304", 304), ("/404", 404), ("/204", 204)] {
        client.write(GET.replace("/ ", &format!("{path} ")).as_bytes());
        let answer = client.answer(false);
        assert_eq!((answer.status, answer.header("content-encoding")), (status, None), "{path}");
        if status == 404 {
            assert_eq!(answer.header("content-length").as_deref(), Some("8"));
        }
    }
}
