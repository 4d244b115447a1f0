//! Forwarding to HTTP instances.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use model::pool::{Outcome, Reject};

use crate::app;
use crate::node::{Node, config, folder, options, script, table};

#[test]
fn h1_h2_h3_what_no_client_may_send_does_not_arrive() {
    let (endpoint, _) = app::http(|received, wire| {
        let names: Vec<String> = received.headers.iter().map(|(name, value)| format!("{}={value}", name.to_lowercase())).collect();
        wire.answer("200 OK", names.join("\n"));
        true
    });
    let node = Node::app(endpoint);
    let answer = node.send(
        "GET / HTTP/1.1\r\nHost: localhost\r\nX-Google-Foo: 1\r\nX-AppEngine-Country: XX\r\nX-Appengine-Cntry: YY\r\nX_Appengine_User_Email: evil\r\n\
         X-Appengine-User-Email: evil\r\nAccept-Encoding: br\r\nTE: trailers\r\nProxy-Authorization: x\r\nKeep-Alive: 5\r\nProxy: x\r\n\
         Connection: close, X-Hop\r\nX-Hop: 1\r\nX-Forwarded-For: 6.6.6.6\r\nX-Dup: a\r\nX-Dup: b\r\n\r\n",
    );
    let text = answer.text();
    for gone in ["x-google", "=xx", "evil", "accept-encoding", "te=", "proxy", "keep-alive", "x-hop", "6.6.6.6"] {
        assert!(!text.contains(gone), "{gone} in {text}");
    }
    for there in [
        "x-appengine-cntry=YY",
        "x-dup=a\nx-dup=b",
        "x-appengine-country=ZZ",
        "x-appengine-https=off",
        "x-forwarded-proto=http",
        "x-forwarded-for=127.0.0.1",
        "x-appengine-user-ip=127.0.0.1",
        "x-appengine-default-version-hostname=localhost",
        "x-appengine-timeout-ms=600000",
        "host=localhost",
        "x-cloud-trace-context=",
        "x-appengine-api-ticket=",
        "x-appengine-request-log-id=",
    ] {
        assert!(text.contains(there), "{there} in {text}");
    }
}

#[test]
fn h15_h22_the_response_is_finished_by_the_house() {
    let (endpoint, _) = app::http(|_, wire| {
        wire.answer(
            "200 OK\r\nServer: gunicorn\r\nDate: yesterday\r\nKeep-Alive: 5\r\nX-App: 1\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2",
            "hello",
        );
        true
    });
    let answer = Node::app(endpoint).get("/");
    assert_eq!(answer.header("server").as_deref(), Some("Development/x"));
    assert!(answer.header("date").is_some_and(|date| date.ends_with(" GMT") && !date.contains("yesterday")));
    assert_eq!(answer.header("keep-alive"), None);
    assert_eq!(answer.header("content-type").as_deref(), Some("text/html"));
    assert_eq!(answer.header("set-cookie").as_deref(), Some("a=1, b=2"));
    assert_eq!(answer.header("cache-control").as_deref(), Some("private"));
    assert_eq!(answer.header("content-length").as_deref(), Some("5"));
}

#[test]
fn bodies_are_streamed_both_ways() {
    let (heard, arrived) = mpsc::channel::<Vec<u8>>();
    let heard = std::sync::Mutex::new(heard);
    let (endpoint, _) = app::http(move |_, wire| {
        wire.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/plain\r\n\r\n");
        while let Some(part) = wire.chunk() {
            heard.lock().expect("unpoisoned").send(part.clone()).expect("heard");
            wire.write([format!("{:x}\r\n", part.len()).as_bytes(), &part, b"\r\n"].concat());
        }
        wire.write("0\r\n\r\n");
        true
    });
    let node = Node::app(endpoint);
    let mut client = node.connect();
    client.write(b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(client.head().status, 200, "the answer begins before the request ends");
    for part in ["one", "two", "three"] {
        client.write(format!("{:x}\r\n{part}\r\n", part.len()).as_bytes());
        assert_eq!(arrived.recv().expect("heard"), part.as_bytes(), "each piece arrives before the next is sent");
        assert_eq!(client.chunk(), Some(Ok(part.as_bytes().to_vec())));
    }
    client.write(b"0\r\n\r\n");
    assert_eq!(client.chunk(), Some(Ok(Vec::new())));
    assert_eq!(node.outcomes.wait(1), [Outcome::Answered]);
}

#[test]
fn an_answer_before_the_end_of_the_request_is_passed_on() {
    let (endpoint, _) = app::http(|_, wire| {
        wire.write("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
        false
    });
    let node = Node::app(endpoint);
    let mut client = node.connect();
    client.write(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\nabc");
    let answer = client.answer(false);
    assert_eq!((answer.status, answer.text().as_str()), (403, "no"));
}

#[test]
fn informational_answers_are_skipped() {
    let (endpoint, _) = app::http(|_, wire| {
        wire.write("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n");
        wire.answer("200 OK", "late");
        true
    });
    let answer = Node::app(endpoint).get("/");
    assert_eq!((answer.status, answer.text().as_str()), (200, "late"));
}

#[test]
fn a_client_that_leaves_cancels_its_request() {
    let (left, leaves) = mpsc::channel();
    let left = std::sync::Mutex::new(left);
    let (endpoint, _) = app::http(move |_, wire| {
        wire.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n");
        let mut byte = [0];
        let got = wire.reader.read(&mut byte);
        left.lock().expect("unpoisoned").send(matches!(got, Ok(0) | Err(_))).expect("heard");
        false
    });
    let node = Node::app(endpoint);
    let mut client = node.connect();
    client.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(client.head().status, 200);
    drop(client);
    assert!(leaves.recv_timeout(crate::node::PATIENCE).expect("the instance hears of it"));
    assert_eq!(node.outcomes.wait(1), [Outcome::Abandoned]);
}

#[test]
fn apps_that_answer_nonsense_nothing_or_half_are_faults() {
    let (endpoint, _) = app::http(|received, wire| {
        match received.line.split(' ').nth(1) {
            Some("/garbage") => wire.write("Hello, I am a web server\r\n\r\n"),
            Some("/half") => wire.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"),
            Some("/chunk") => wire.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"),
            Some("/switch") => wire.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
            _ => {}
        }
        false
    });
    let node = Node::app(endpoint);
    assert_eq!(node.get("/garbage").status, 502);
    assert_eq!(node.get("/nothing").status, 502);
    assert_eq!(node.get("/switch").status, 502);
    assert!(node.get("/half").cut);
    assert!(node.get("/chunk").cut);
    assert_eq!(node.outcomes.wait(5)[..2], [Outcome::Broken, Outcome::Broken]);
    let records = node.journal.wait(5);
    assert!(records.iter().all(|record| record.fault.is_some()), "{records:?}");
}

#[test]
fn an_idle_connection_that_died_is_replaced() {
    let served = Arc::new(AtomicUsize::new(0));
    let count = served.clone();
    // Keeps each connection for one request, without saying so.
    let (endpoint, connections) = app::http(move |_, wire| {
        count.fetch_add(1, Ordering::SeqCst);
        wire.answer("200 OK", "ok");
        false
    });
    let node = Node::app(endpoint);
    let mut client = node.connect();
    for _ in 0..20 {
        client.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(client.answer(false).status, 200);
    }
    assert_eq!(served.load(Ordering::SeqCst), 20);
    assert_eq!(connections.load(Ordering::SeqCst), 20);
}

#[test]
fn nobody_listens() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let node = Node::app(model::pool::Endpoint::Http(address));
    assert_eq!(node.get("/").status, 502);
    assert!(node.outcomes.wait(11).iter().all(|outcome| *outcome == Outcome::Broken));
}

#[test]
fn y10_no_capacity_shows_the_over_quota_page() {
    let (_keep, root) = folder(&[("busy.txt", b"busy")]);
    let mut config = config("nodejs22", vec![script("/.*")]);
    config.error_pages = vec![model::config::ErrorPage {
        code: model::config::ErrorCode::OverQuota,
        file: "busy.txt".into(),
        mime_type: Some("text/x-busy".into()),
    }];
    let node = Node::start(options(), table(config, &root), Err(Reject::NoCapacity("10 requests wait".into())));
    let answer = node.get("/");
    assert_eq!((answer.status, answer.text().as_str()), (503, "busy"));
    assert_eq!(answer.header("content-type").as_deref(), Some("text/x-busy"));
    assert_eq!(answer.header("retry-after").as_deref(), Some("1"));
}

#[test]
fn y10_a_blocked_address_shows_the_denial_page() {
    let (_keep, root) = folder(&[("denied.html", b"denied")]);
    let mut config = config("nodejs22", vec![script("/.*")]);
    config.error_pages =
        vec![model::config::ErrorPage { code: model::config::ErrorCode::DosApiDenial, file: "denied.html".into(), mime_type: None }];
    let mut routes = table(config, &root);
    let source = "127.0.0.0/8".parse().expect("a range");
    routes.firewall.rules.push(model::firewall::FirewallRule { allow: false, source, description: String::new() });
    let node = Node::files(options(), routes);
    let answer = node.get("/");
    assert_eq!((answer.status, answer.text().as_str()), (403, "denied"));
}

#[test]
fn h8_a_trusted_proxy_is_believed() {
    let (endpoint, _) = app::http(|received, wire| {
        let header = |name| received.header(name).unwrap_or_default();
        let trace = header("x-cloud-trace-context");
        wire.answer(
            "200 OK",
            format!("{}|{}|{}|{}", header("x-forwarded-for"), header("x-forwarded-proto"), header("x-appengine-user-ip"), &trace[..32]),
        );
        true
    });
    let mut options = options();
    options.trusted_proxies = "127.0.0.1, 10.0.0.0/8".parse().expect("networks");
    let node = Node::start(options, table(config("nodejs22", vec![script("/.*")]), Path::new("/nowhere")), Ok(endpoint));
    let trace = "105445aa7843bc8bf206b12000100000";
    let answer = node.send(&format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Forwarded-For: 198.51.100.1\r\nX-Forwarded-For: 203.0.113.9, 10.0.0.1\r\nX-Forwarded-Proto: https\r\nX-Cloud-Trace-Context: {trace}/1;o=1\r\n\r\n"
    ));
    assert_eq!(answer.text(), format!("203.0.113.9, 10.0.0.1, 127.0.0.1|https|203.0.113.9|{trace}"));
    assert_eq!(node.journal.wait(1)[0].client.to_string(), "203.0.113.9");
}
