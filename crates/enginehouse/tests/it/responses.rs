//! What the client sees of a response (rows H15–H22, H25).

use testkit::{Connection, Python, Request, Response, h2};

use crate::apps::{OBEY, app, encode};
use crate::{node, on_both, serve};

/// What the client gets when the app answers with these headers.
#[track_caller]
fn answer(node: &testkit::Node, headers: &[(&str, &str)], accept: &str) -> Response {
    let query: Vec<String> = headers.iter().map(|(name, value)| format!("header={}", encode(&format!("{name}:{value}")))).collect();
    node.send(&Request::get(&format!("/?{}", query.join("&"))).header("Accept-Encoding", accept)).expect(200)
}

#[test]
fn h15_headers_of_the_front_end_are_not_the_apps() {
    on_both(|python| {
        let node = serve(&app(python, "", OBEY));
        let answer = answer(
            &node,
            &[
                ("Keep-Alive", "timeout=1"),
                ("Proxy-Authenticate", "Basic"),
                ("Trailer", "X-T"),
                ("Upgrade", "h2c"),
                ("Content-Encoding", "br"),
                ("Date", "Thu, 01 Jan 1970 00:00:00 GMT"),
                ("Server", "Mine/1"),
                ("X-Kept", "yes"),
            ],
            "identity",
        );
        for gone in ["keep-alive", "proxy-authenticate", "trailer", "upgrade", "content-encoding"] {
            assert_eq!(answer.header(gone), None, "{gone}");
        }
        assert_eq!(answer.all("date").len(), 1);
        assert_ne!(answer.header("date"), Some("Thu, 01 Jan 1970 00:00:00 GMT"));
        assert_ne!(answer.header("server"), Some("Mine/1"));
        assert_eq!(answer.header("x-kept"), Some("yes"));
        assert_eq!(answer.text(), "hello");
    });
}

#[test]
fn h16_headers_that_are_not_ascii_are_dropped() {
    on_both(|python| {
        let node = serve(&app(python, "", OBEY));
        let request = Request::get("/?header=X-Bad%3Ah%E9llo&header=X-Good%3Ahello");
        let answer = node.send(&request).expect(200);
        assert_eq!(answer.header("x-bad"), None);
        assert_eq!(answer.header("x-good"), Some("hello"));
    });
}

#[test]
fn h17_cache_headers_pass_and_a_cookie_makes_them_private() {
    on_both(|python| {
        let node = serve(&app(python, "", OBEY));
        let kept = answer(
            &node,
            &[("Cache-Control", "public, max-age=60"), ("Expires", "Thu, 01 Jan 2099 00:00:00 GMT"), ("Vary", "Cookie")],
            "identity",
        );
        assert_eq!(kept.header("cache-control"), Some("public, max-age=60"));
        assert_eq!(kept.header("expires"), Some("Thu, 01 Jan 2099 00:00:00 GMT"));
        assert!(kept.all("vary").join(",").contains("Cookie"));
        let with_cookie = [
            ("Cache-Control", "public, max-age=60"),
            ("Expires", "Thu, 01 Jan 2099 00:00:00 GMT"),
            ("Set-Cookie", "a=b"),
            ("Set-Cookie", "c=d"),
        ];
        let private = answer(&node, &with_cookie, "identity");
        let control = private.header("cache-control").expect("a Cache-Control");
        assert!(control.contains("private") && !control.contains("public"), "{control}");
        assert_ne!(private.header("expires"), Some("Thu, 01 Jan 2099 00:00:00 GMT"));
        assert_eq!(private.all("set-cookie"), ["a=b", "c=d"]);
        let stricter = answer(
            &node,
            &[("Cache-Control", "no-store"), ("Expires", "Fri, 01 Jan 1990 00:00:00 GMT"), ("Set-Cookie", "a=b")],
            "identity",
        );
        assert_eq!(stricter.header("cache-control"), Some("no-store"));
        assert_eq!(stricter.header("expires"), Some("Fri, 01 Jan 1990 00:00:00 GMT"));
    });
}

#[test]
fn h18_without_cache_control_a_response_is_not_for_shared_caches() {
    on_both(|python| {
        let answer = answer(&serve(&app(python, "", OBEY)), &[], "identity");
        let control = answer.header("cache-control").unwrap_or("private");
        assert!(control.contains("private") || control.contains("no-cache"), "{answer:?}");
    });
}

#[test]
fn h19_compressible_bodies_are_gzipped_for_clients_that_accept_it() {
    on_both(|python| {
        let node = serve(&app(python, "", OBEY));
        let get = |query: &str, accept: &str| node.send(&Request::get(&format!("/?{query}")).header("Accept-Encoding", accept)).expect(200);
        let zipped = get("size=20000&header=Content-Type%3Atext%2Fplain", "gzip, deflate");
        assert_eq!(zipped.header("content-encoding"), Some("gzip"));
        assert!(zipped.body.starts_with(&[0x1f, 0x8b]) && zipped.body.len() < 2_000, "{}", zipped.body.len());
        assert!(zipped.all("vary").join(",").contains("Accept-Encoding"));
        for (query, accept) in [
            ("size=20000&header=Content-Type%3Atext%2Fplain", "identity"),
            ("size=20000&header=Content-Type%3Atext%2Fplain", "gzip;q=0"),
            ("size=20000&header=Content-Type%3Aimage%2Fpng", "gzip"),
        ] {
            let plain = get(query, accept);
            assert_eq!((plain.header("content-encoding"), plain.body.len()), (None, 20_000), "{query} {accept}");
        }
    });
}

#[test]
fn h20_the_length_is_computed_by_the_front_end() {
    on_both(|python| {
        let node = serve(&app(python, "", OBEY));
        let lied = answer(&node, &[("Content-Length", "5")], "identity");
        assert_eq!((lied.header("content-length"), lied.text().as_str()), (Some("5"), "hello"));
        let zipped = node.send(&Request::get("/?size=20000").header("Accept-Encoding", "gzip")).expect(200);
        let length = zipped.header("content-length").and_then(|value| value.parse::<usize>().ok());
        assert!(zipped.complete && length.is_none_or(|length| length == zipped.body.len()), "{zipped:?}");
        let head = node.connect().send(&Request::new("HEAD", "/"));
        assert_eq!((head.status, head.body.len()), (200, 0));
    });
}

#[test]
fn h21_the_default_type_is_text_html() {
    on_both(|python| {
        let node = serve(&app(python, "", OBEY));
        assert!(answer(&node, &[], "identity").header("content-type").is_some_and(|kind| kind.starts_with("text/html")));
        assert_eq!(answer(&node, &[("Content-Type", "text/x-mine")], "identity").header("content-type"), Some("text/x-mine"));
    });
}

#[test]
fn h22_date_is_now_and_server_is_the_house() {
    on_both(|python| {
        let answer = answer(&serve(&app(python, "", OBEY)), &[], "identity");
        assert!(answer.header("server").is_some_and(|server| server.starts_with("Development/")), "{answer:?}");
        assert!(answer.header("date").is_some_and(|date| date.ends_with(" GMT")), "{answer:?}");
    });
}

#[test]
fn h25_bodies_have_32_mb() {
    on_both(|python| {
        let node = serve(&app(python, "", OBEY));
        let most = 32 * 1024 * 1024;
        let fits = node.send(&Request::get(&format!("/?size={most}"))).expect(200);
        assert_eq!(fits.body.len(), most);
        let large = node.send(&Request::get(&format!("/?size={}", most + 1)));
        assert!(large.status == 500 || !large.complete, "{} {}", large.status, large.body.len());
        node.send(&Request::post("/", vec![b'x'; most])).expect(200);
        // Refused by its length alone, before anything of it is sent.
        let head = format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", most + 1);
        assert_eq!(node.raw(head.as_bytes()).expect("an answer").status, 413);
        node.get("/").expect(200);
    });
}

#[test]
fn h25_headers_have_a_limit() {
    let node = serve(&app(Python::Two, "", OBEY));
    let request = Request::get("/").header("X-Long", &"x".repeat(100_000));
    node.send(&request).expect(431);
    node.get("/").expect(200);
}

#[test]
fn h25_ambiguous_framing_is_refused_and_the_connection_closed() {
    let node = serve(&app(Python::Two, "", OBEY));
    for bad in [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nX-A : b\r\n\r\n",
    ] {
        let mut connection = node.connect();
        connection.write(bad.as_bytes()).expect("sent");
        let answer = connection.read(false).unwrap_or_else(|| panic!("no answer to {bad:?}"));
        assert_eq!(answer.status, 400, "{bad:?}: {answer:?}");
        assert!(connection.read_some(1).is_empty(), "{bad:?}: still open");
    }
    node.get("/").expect(200);
}

#[test]
fn http2_is_spoken_in_clear_text_and_over_tls() {
    on_both(|python| {
        let node = node().app(&app(python, "", OBEY)).args(["--tls", "self-signed", "--tls-port", "0"]).start();
        let requests: Vec<Request> = (0..20).map(|n| Request::get(&format!("/?body=number{n}&header=X-Kept%3A{n}"))).collect();
        for (address, tls) in [(node.address(), false), (node.https().expect("a TLS listener"), true)] {
            let answers = h2::exchange(address, tls, &requests);
            for (n, answer) in answers.iter().enumerate() {
                assert_eq!((answer.status, answer.text()), (200, format!("number{n}")));
                assert_eq!(answer.header("x-kept"), Some(n.to_string().as_str()));
                assert_eq!(answer.header("connection"), None);
            }
            let posted = h2::exchange(address, tls, &[Request::post("/?body=posted", "x".repeat(100_000))]);
            assert_eq!(posted[0].text(), "posted");
        }
    });
}

#[test]
fn a_connection_carries_many_requests() {
    on_both(|python| {
        let node = serve(&app(python, "", OBEY));
        let mut connection = Connection::open(node.address());
        for n in 0..20 {
            assert_eq!(connection.send(&Request::get(&format!("/?body={n}"))).expect(200).text(), n.to_string());
        }
        // Pipelined: answers come in order.
        let many: Vec<u8> = (0..5).flat_map(|n| Request::get(&format!("/?body=p{n}")).bytes()).collect();
        connection.write(&many).expect("sent");
        for n in 0..5 {
            assert_eq!(connection.read(false).expect("an answer").text(), format!("p{n}"));
        }
    });
}

#[test]
fn python3_streams_in_both_directions() {
    let main = r"
import time


def app(environ, start_response):
    start_response('200 OK', [('Content-Type', 'application/octet-stream')])
    stream = environ['wsgi.input']

    def answer():
        while True:
            line = stream.readline()
            if not line:
                return
            yield b'got ' + line
    return answer()
";
    let node = serve(&app(Python::Three, "", main));
    let mut connection = node.connect();
    connection.write(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8\r\n\r\n").expect("sent");
    connection.write(b"one\n").expect("sent");
    let (status, _, _) = connection.read_head().expect("a head before the body is over");
    assert_eq!(status, 200);
    assert_eq!(connection.read_chunk().expect("a chunk"), b"got one\n");
    connection.write(b"two\n").expect("sent");
    assert_eq!(connection.read_chunk().expect("a chunk"), b"got two\n");
    assert_eq!(connection.read_chunk().expect("the end"), b"");
}
