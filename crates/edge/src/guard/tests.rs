//! The guard by itself: heads, bodies, and the same verdict however the bytes arrive.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

const BOUNDS: Bounds = Bounds { line: 200, bytes: 600, fields: 8 };

/// What was read: each request in one line, followed by its body.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    requests: Vec<(String, Vec<u8>)>,
    stop: Option<Stop>,
    /// Bytes that nobody took, unless it stopped.
    rest: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    Refused(Refusal),
    Broken(&'static str),
}

/// Feeds `bytes` in pieces that end at `cuts`.
fn feed(bytes: &[u8], cuts: &[usize], bounds: Bounds) -> Seen {
    let mut guard = Guard::new(bounds);
    let (mut seen, mut input, mut fed) = (Seen::default(), BytesMut::new(), 0);
    for &cut in cuts.iter().chain([&bytes.len()]) {
        let cut = cut.clamp(fed, bytes.len());
        input.extend_from_slice(&bytes[fed..cut]);
        fed = cut;
        if let Err(stop) = take(&mut guard, &mut input, &mut seen) {
            seen.stop = Some(stop);
            return seen;
        }
    }
    seen.rest = input.len();
    seen
}

/// Everything that can be read now.
fn take(guard: &mut Guard, input: &mut BytesMut, seen: &mut Seen) -> Result<(), Stop> {
    let mut parts = http::Request::new(()).into_parts().0;
    loop {
        if guard.between() {
            let Some(_) = guard.head(input, &mut parts).map_err(Stop::Refused)? else { return Ok(()) };
            seen.requests.push((line(&parts), Vec::new()));
        }
        match guard.body(input).map_err(Stop::Broken)? {
            Part::Data(data) => seen.requests.last_mut().expect("a request").1.extend_from_slice(&data),
            Part::End => {}
            Part::More => return Ok(()),
        }
    }
}

fn line(parts: &Parts) -> String {
    let mut out = format!("{} {} {:?}", parts.method, parts.uri, parts.version);
    for (name, value) in &parts.headers {
        let _ = write!(out, "|{name}: {}", String::from_utf8_lossy(value.as_bytes()));
    }
    out
}

fn run(bytes: &[u8], step: usize) -> Seen {
    let cuts: Vec<usize> = (0..bytes.len()).step_by(step).skip(1).collect();
    feed(bytes, &cuts, BOUNDS)
}

#[track_caller]
fn refused(head: &str, status: u16) {
    for step in [1, 3, head.len().max(1)] {
        match run(head.as_bytes(), step) {
            Seen { stop: Some(Stop::Refused(refusal)), .. } => assert_eq!(refusal.status, status, "{head:?}: {}", refusal.reason),
            other => panic!("{head:?} is refused; {other:?}"),
        }
    }
}

#[track_caller]
fn reads(bytes: &str, expected: &[(&str, &str)]) {
    for step in [1, 2, 7, bytes.len()] {
        let seen = run(bytes.as_bytes(), step);
        let requests: Vec<(&str, &str)> =
            seen.requests.iter().map(|(line, body)| (line.as_str(), std::str::from_utf8(body).expect("text"))).collect();
        assert_eq!((requests.as_slice(), seen.stop, seen.rest), (expected, None, 0), "in pieces of {step}");
    }
}

#[test]
fn good_requests_are_read_whatever_their_pieces() {
    reads("GET / HTTP/1.1\r\nHost: a\r\n\r\n", &[("GET / HTTP/1.1|host: a", "")]);
    reads("GET / HTTP/1.0\r\n\r\n", &[("GET / HTTP/1.0", "")]);
    reads("GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", &[("GET http://a/ HTTP/1.1|host: a", "")]);
    reads("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", &[("OPTIONS * HTTP/1.1|host: a", "")]);
    reads("X-A /?b HTTP/1.1\r\nHost:\t a \t\r\nX:\r\nx:  b c\r\n\r\n", &[("X-A /?b HTTP/1.1|host: a|x: |x: b c", "")]);
    reads(
        "POST /%C3 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nhost:b\r\n\r\n",
        &[("POST /%C3 HTTP/1.1|host: a|content-length: 3", "abc"), ("GET / HTTP/1.1|host: b", "")],
    );
    reads(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n3;a=b\r\nabc\r\n1\r\nd\r\n0\r\nX: y\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        &[("POST / HTTP/1.1|host: a|transfer-encoding: Chunked", "abcd"), ("GET / HTTP/1.1|host: a", "")],
    );
    reads(
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
        &[("GET / HTTP/1.1|host: a|content-length: 0", ""), ("GET /2 HTTP/1.1|host: a", "")],
    );
}

#[test]
fn odd_but_clear_requests_are_put_in_plain_words() {
    reads("GET /\u{e9}\"<a>?{b}#c HTTP/1.1\r\nHost: a\r\n\r\n", &[("GET /%C3%A9%22%3Ca%3E?%7Bb%7D HTTP/1.1|host: a", "")]);
    reads(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\ntransfer-encoding: identity , chunked;x\r\nX: y\r\n\r\n1\r\nz\r\n0\r\n\r\n",
        &[("POST / HTTP/1.1|host: a|x: y|content-encoding: gzip|transfer-encoding: chunked", "z")],
    );
    reads(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
        &[("POST / HTTP/1.1|host: a|transfer-encoding: chunked", "")],
    );
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "\"".repeat(150));
    reads(&long, &[(&format!("GET /{} HTTP/1.1|host: a", "%22".repeat(150)), "")]);
}

#[track_caller]
fn shaped(head: &str, expected: (Framing, bool, bool, bool)) {
    let mut input = BytesMut::from(head);
    let mut parts = http::Request::new(()).into_parts().0;
    let Shape { framing, old, keep, expects } = Guard::new(BOUNDS).head(&mut input, &mut parts).expect("in order").expect("complete");
    assert_eq!((framing, old, keep, expects), expected, "{head:?}");
}

#[test]
fn a_head_tells_what_becomes_of_the_connection() {
    let none = Framing::Length(0);
    shaped("GET / HTTP/1.1\r\nHost: a\r\n\r\n", (none, false, true, false));
    shaped("GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n", (none, false, false, false));
    shaped("GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n", (none, false, false, false));
    shaped("GET / HTTP/1.0\r\n\r\n", (none, true, false, false));
    shaped("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", (none, true, true, false));
    shaped("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 3\r\n\r\n", (Framing::Length(3), false, true, true));
    shaped(
        "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n",
        (Framing::Chunked, false, true, true),
    );
    shaped("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n", (none, false, true, false));
    shaped("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n", (Framing::Length(3), true, false, false));
}

#[test]
fn empty_lines_before_a_request_are_left_out() {
    reads("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", &[("GET / HTTP/1.1|host: a", "")]);
}

#[test]
fn ambiguous_framing_is_refused() {
    let head = |fields: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
    for fields in [
        "Content-Length: 3\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 3",
        "Content-Length: 3\r\nContent-Length: 3",
        "Content-Length: 3\r\nContent-Length: 4",
        "Content-Length: 3, 3",
        "Content-Length: +3",
        "Content-Length: -3",
        "Content-Length: 0x3",
        "Content-Length: 3 3",
        "Content-Length:",
        "Content-Length: 99999999999999999999",
        "Content_Length: 3",
        "Content-Length : 3",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding:",
        "Transfer-Encoding: ,chunked",
        "Transfer-Encoding: chunked,",
        "Transfer-Encoding: br, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip",
        "Transfer-Encoding:\u{b}chunked",
        "Transfer_Encoding: chunked",
        "Transfer-Encoding\t: chunked",
        " Transfer-Encoding: chunked",
        "X: y\r\n folded",
        "X: y\nContent-Length: 3",
        "X: y\rContent-Length: 3",
        "X: \0",
        "X\0: y",
        ": y",
        "X",
        "Host: b",
    ] {
        refused(&head(fields), 400);
    }
    refused("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400);
    refused("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n", 400);
    refused(&head("Expect: 200-ok"), 417);
}

#[test]
fn bad_request_lines_are_refused() {
    for line in [
        "GET",
        "GET /",
        "GET  / HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET / HTTP/1.1 HTTP/1.1",
        "G\u{1}T / HTTP/1.1",
        "GET x HTTP/1.1",
        "GET /\tx HTTP/1.1",
        "GET * HTTP/1.1",
        "GET / http/1.1",
        "GET / HTTP/11",
    ] {
        refused(&format!("{line}\r\nHost: a\r\n\r\n"), 400);
    }
    refused("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505);
    refused("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 405);
    refused("GET / HTTP/1.1\r\n\r\n", 400);
    refused("GET / HTTP/1.1\nHost: a\n\n", 400);
}

#[test]
fn bounds_are_kept() {
    refused(&format!("GET /{} HTTP/1.1\r\n", "a".repeat(300)), 414);
    refused(&format!("GET /{}", "a".repeat(300)), 414);
    refused(&format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(700)), 431);
    refused(&format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "a".repeat(700)), 431);
    refused(&format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: a\r\n".repeat(9)), 431);
    refused(&"\r\n".repeat(10), 400);
}

#[test]
fn malformed_chunks_end_the_connection() {
    for chunks in [
        "x\r\n",
        "3\r\nabcd",
        "3\nabc",
        "\r\n",
        "-1\r\n",
        "0x3\r\n",
        "3 \r\n",
        "10000000000000000\r\n",
        "3;\u{1}\r\n",
        "0\r\nX y\r\n",
        "0\r\n:\r\n",
        "3\r\nabc\n",
    ] {
        let request = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        for step in [1, request.len()] {
            assert!(matches!(run(request.as_bytes(), step).stop, Some(Stop::Broken(_))), "{chunks:?}");
        }
    }
    let request = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;{}", "a".repeat(10_000));
    assert!(matches!(run(request.as_bytes(), 100).stop, Some(Stop::Broken(_))));
}

/// Something like requests: good, bad, odd and broken ones, one after the other.
const REQUESTS: &str = "(\r\n)?(GET|POST|HEAD|PUT) (/[a-z\"%]{0,3}|\\*|http://a/b) HTTP/1.[012]\r\n(Host: a\r\n|X: y\r\n|Connection: (close|keep-alive)\r\n|Content-Length: [0-3]\r\n|Expect: 100-continue\r\n|Transfer-Encoding: (gzip, )?chunked\r\n| |\n){0,4}\r\n([0-3]\r\nabc\r\n|3;x=y\r\nabc\r\n|0\r\n(T: u\r\n)?\r\n|xyz){0,2}";

proptest! {
    #[test]
    fn the_requests_do_not_depend_on_the_pieces(bytes in proptest::collection::vec(REQUESTS, 1..4), cuts in proptest::collection::vec(0_usize..400, 0..12)) {
        let bytes = bytes.concat();
        let mut cuts = cuts;
        cuts.sort_unstable();
        let whole = feed(bytes.as_bytes(), &[], BOUNDS);
        prop_assert_eq!(&feed(bytes.as_bytes(), &cuts, BOUNDS), &whole);
        prop_assert_eq!(&run(bytes.as_bytes(), 1), &whole);
    }

    #[test]
    fn nothing_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), step in 1_usize..40) {
        let _ = run(&bytes, step);
    }

    #[test]
    fn nothing_near_a_request_makes_it_panic(bytes in REQUESTS, changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6), step in 1_usize..40) {
        let mut bytes = bytes.into_bytes();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let whole = feed(&bytes, &[], BOUNDS);
        prop_assert_eq!(run(&bytes, step), whole);
    }
}

/// hyper's own reading of HTTP/1, which served clients before the guard did: an oracle for what is in order.
mod oracle {
    use std::cell::RefCell;
    use std::convert::Infallible;
    use std::io;
    use std::pin::Pin;
    use std::rc::Rc;
    use std::task::{Context, Poll};

    use http::{Request, Response};
    use http_body_util::{BodyExt, Empty};
    use hyper::body::Incoming;
    use hyper::rt::{Read, ReadBufCursor, Write};
    use hyper::service::service_fn;

    use super::*;

    /// A client that sends `bytes` and takes every answer.
    struct Script<'b>(&'b [u8]);

    impl Read for Script<'_> {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, mut buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
            let (now, rest) = self.0.split_at(self.0.len().min(buf.remaining()));
            buf.put_slice(now);
            self.0 = rest;
            Poll::Ready(Ok(()))
        }
    }

    impl Write for Script<'_> {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// The requests whose bodies came to their end, as [`super::line`] writes them.
    fn hyper(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let service = service_fn(|request: Request<Incoming>| {
            let seen = seen.clone();
            async move {
                let (parts, body) = request.into_parts();
                if let Ok(body) = body.collect().await {
                    seen.borrow_mut().push((line(&parts), body.to_bytes().to_vec()));
                }
                Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
            }
        });
        let connection = hyper::server::conn::http1::Builder::new().half_close(true).serve_connection(Script(bytes), service);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let _ = runtime.block_on(connection);
        seen.take()
    }

    proptest! {
        #[test]
        fn what_both_take_for_requests_is_the_same(bytes in proptest::collection::vec(REQUESTS, 1..4)) {
            let bytes = bytes.concat();
            // Put in plain words by the guard alone.
            prop_assume!(!bytes.contains('"') && !bytes.contains("gzip"));
            let ours = feed(bytes.as_bytes(), &[], BOUNDS);
            let theirs = hyper(bytes.as_bytes());
            for (at, request) in theirs.iter().enumerate() {
                match ours.requests.get(at) {
                    Some(own) => prop_assert_eq!(own, request),
                    // The guard is the stricter of the two.
                    None => prop_assert!(ours.stop.is_some(), "{:?} is missing", request),
                }
            }
        }
    }

    #[test]
    fn the_oracle_speaks() {
        let two = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /2 HTTP/1.1\r\nhost: b\r\n\r\n";
        assert_eq!(hyper(two), feed(two, &[], BOUNDS).requests);
        assert_eq!(hyper(two).len(), 2);
    }
}
