//! The guard by itself: heads, bodies, and the same verdict however the bytes arrive.

use proptest::prelude::*;

use super::*;

const BOUNDS: Bounds = Bounds { line: 200, bytes: 600, fields: 8 };

/// Feeds `bytes` in pieces of `step`; the passed bytes, or why it stopped.
fn run(bytes: &[u8], step: usize) -> (Vec<u8>, Option<Step>, u64) {
    let mut guard = Guard::new(BOUNDS);
    let (mut passed, mut hold) = (Vec::new(), Vec::new());
    for part in bytes.chunks(step) {
        hold.extend_from_slice(part);
        loop {
            match guard.step(&hold) {
                Step::More => break,
                Step::Pass(length) => passed.extend(hold.drain(..length)),
                Step::Mend(length) => {
                    let head: Vec<u8> = hold.drain(..length).collect();
                    passed.extend(Guard::mend(&head));
                }
                Step::Skip(length) => drop(hold.drain(..length)),
                end => return (passed, Some(end), guard.heads()),
            }
        }
    }
    (passed, None, guard.heads())
}

#[track_caller]
fn refused(head: &str, status: u16) {
    for step in [1, 3, head.len().max(1)] {
        let (passed, stop, _) = run(head.as_bytes(), step);
        match stop {
            Some(Step::Refuse(refusal)) => assert_eq!(refusal.status, status, "{head:?}: {}", refusal.reason),
            other => panic!("{head:?} is refused; {other:?} after {passed:?}"),
        }
    }
}

#[track_caller]
fn passed(bytes: &str, heads: u64) {
    for step in [1, 2, 7, bytes.len()] {
        let (passed, stop, seen) = run(bytes.as_bytes(), step);
        assert_eq!((String::from_utf8_lossy(&passed).as_ref(), stop, seen), (bytes, None, heads), "in pieces of {step}");
    }
}

#[test]
fn good_requests_pass_whatever_their_pieces() {
    passed("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 1);
    passed("GET / HTTP/1.0\r\n\r\n", 1);
    passed("GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 1);
    passed("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 1);
    passed("POST /%C3 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nhost:b\r\n\r\n", 2);
    passed(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        2,
    );
    passed("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n", 2);
}

#[track_caller]
fn mended(head: &str, expected: &str) {
    for step in [1, head.len()] {
        assert_eq!(String::from_utf8_lossy(&run(head.as_bytes(), step).0), expected);
    }
}

#[test]
fn odd_but_clear_requests_are_put_in_plain_words() {
    mended("GET /\u{e9}\"<a>?{b}#c HTTP/1.1\r\nHost: a\r\n\r\n", "GET /%C3%A9%22%3Ca%3E?%7Bb%7D HTTP/1.1\r\nHost: a\r\n\r\n");
    mended(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\ntransfer-encoding: identity , chunked;x\r\nX: y\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nX: y\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    mended(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity, chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
}

#[test]
fn empty_lines_before_a_request_are_left_out() {
    let (out, stop, heads) = run(b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 1);
    assert_eq!((out.as_slice(), stop, heads), (&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], None, 1));
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
            assert!(matches!(run(request.as_bytes(), step).1, Some(Step::Broken(_))), "{chunks:?}");
        }
    }
    let request = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;{}", "a".repeat(10_000));
    assert!(matches!(run(request.as_bytes(), 100).1, Some(Step::Broken(_))));
}

proptest! {
    #[test]
    fn the_verdict_does_not_depend_on_the_pieces(bytes in "(GET|POST) /[a-z]{0,3} HTTP/1.[012]\r\n(Host: a\r\n|X: y\r\n|Content-Length: [0-3]\r\n|Transfer-Encoding: chunked\r\n| |\n){0,4}\r\n([0-3]\r\nabc\r\n|0\r\n\r\n|xyz){0,2}", step in 1_usize..40) {
        prop_assert_eq!(run(bytes.as_bytes(), step), run(bytes.as_bytes(), bytes.len()));
    }

    #[test]
    fn nothing_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), step in 1_usize..40) {
        let _ = run(&bytes, step);
    }
}
