//! Hostile programs at a door.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use model::pool::Boxed;
use model::rpc::{Door, Doors, Visit};
use prost::Message;
use services::call::{Answer, Context, Failure, Service};
use services::capability::Capabilities;
use services::identity::{self, Identity};
use services::memcache::Memcache;
use services::metadata::Metadata;
use services::proto::remote_api::rpc_error::Code;
use services::proto::{memcache as pb, remote_api, user};
use services::registry::Registry;
use services::server::{Admission, House};
use services::user::Users;

use crate::targets::{METHODS, caller};

/// Fails in every way that a service must not.
struct Bad;

impl Service for Bad {
    fn name(&self) -> &'static str {
        "bad"
    }

    fn call<'a>(&'a self, method: &'a str, _: Bytes, _: &'a Context) -> Boxed<'a, Answer> {
        Box::pin(async move {
            match method {
                "Panic" => panic!("as asked"),
                "Hang" => std::future::pending().await,
                _ => Err(Failure::no_call("bad", method)),
            }
        })
    }
}

/// Doors, and the thread behind them.
struct Street {
    house: House,
    end: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Street {
    fn drop(&mut self) {
        drop(self.end.take());
        assert!(self.thread.take().is_some_and(|thread| thread.join().is_ok()), "the thread of the services lives to its end");
    }
}

/// A metadata server that can make no tokens.
fn metadata() -> Metadata {
    let settings = identity::Settings {
        folder: Arc::new(|app| std::env::temp_dir().join(app.as_str())),
        signer: Arc::new(|| Err("there is no key".into())),
        bucket_domain: "example".into(),
    };
    Metadata::new(Arc::new(Identity::new(settings, Arc::default())), "local".into())
}

impl Street {
    fn new(admission: Admission) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let registry = Registry::default()
            .with(Arc::new(Memcache::new(1 << 20)))
            .with(Arc::new(Users::default()))
            .with(Arc::new(Capabilities::new(["memcache", "user"])))
            .with(Arc::new(Bad));
        let house = House::new(registry, metadata(), Arc::default(), admission, runtime.handle().clone());
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let thread = std::thread::spawn(move || drop(runtime.block_on(ended)));
        Self { house, end: Some(end), thread: Some(thread) }
    }

    /// The door of an instance of `app`, which serves a request with the ticket `good`.
    fn door(&self, app: &str) -> Arc<dyn Door> {
        let caller = caller(app);
        let door = self.house.open(&caller.version, &caller.instance).expect("a door");
        door.begin("good", Visit { authority: "shop.example".into(), ..Visit::default() });
        door
    }
}

fn call(service: &str, method: &str, message: &[u8], ticket: &str) -> Vec<u8> {
    let request = remote_api::Request {
        service_name: service.into(),
        method: method.into(),
        request: Bytes::copy_from_slice(message),
        request_id: Some(ticket.into()),
    };
    request.encode_to_vec()
}

const HEAD: &str = "POST /rpc_http HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\n";

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connects");
    stream.set_read_timeout(Some(Duration::from_mins(1))).expect("a limit");
    stream
}

/// Reads one answer: its status and body; `None` if the connection is closed instead.
fn answer(stream: &mut TcpStream) -> Option<(u16, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("text").to_ascii_lowercase();
    let length = head.split("content-length: ").nth(1)?.split("\r\n").next()?.parse().ok()?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some((head.get(9..12)?.parse().ok()?, body))
}

fn send(stream: &mut TcpStream, extra: &str, body: &[u8]) -> remote_api::Response {
    let _ = stream.write_all(&[format!("{HEAD}{extra}Content-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat());
    let (status, body) = answer(stream).expect("an answer");
    assert_eq!(status, 200);
    remote_api::Response::decode(&body[..]).expect("an envelope")
}

/// The code and text of the `rpc_error` that a body earns.
fn refused(address: SocketAddr, extra: &str, body: &[u8]) -> (Code, String) {
    let error = send(&mut connect(address), extra, body).rpc_error.expect("an rpc_error");
    let detail = error.detail.expect("a text");
    assert!(!detail.is_empty() && detail.len() < 1000, "{detail}");
    (Code::try_from(error.code).expect("a known code"), detail)
}

/// The house still works.
fn works(address: SocketAddr) {
    let answer = send(&mut connect(address), "", &call("memcache", "Stats", b"", "good"));
    assert!(answer.response.is_some(), "{answer:?}");
}

#[test]
fn m4_malformed_calls_are_refused() {
    let street = Street::new(Admission::Tickets);
    let door = street.door("shop");
    let at = door.address();
    let good = call("memcache", "Stats", b"", "good");
    for cut in 1..good.len() {
        let answer = send(&mut connect(at), "", &good[..cut]);
        let code = answer.rpc_error.map(|error| error.code);
        assert!(matches!(code, Some(2 | 3)), "cut at {cut}: {code:?}");
    }
    assert_eq!(refused(at, "", b"").0, Code::ParseError);
    assert_eq!(refused(at, "", &[0xff; 1000]).0, Code::ParseError);
    assert_eq!(refused(at, "", &vec![0x0b; 1 << 20]).0, Code::ParseError, "groups a million deep");
    // A text that is none, a number where a text belongs, a length that is a lie
    for confused in [&[0x12, 2, 0xff, 0xfe][..], &[0x10, 7], &[0x12, 0xff, 0xff, 0xff, 0xff, 0x0f]] {
        assert_eq!(refused(at, "", confused).0, Code::ParseError, "{confused:?}");
    }
    assert_eq!(refused(at, "", &call("nothing", "Get", b"", "good")).0, Code::CallNotFound);
    assert_eq!(refused(at, "", &call("memcache", "get", b"", "good")).0, Code::CallNotFound);
    works(at);
}

#[test]
fn m4_required_fields_are_missed() {
    let street = Street::new(Admission::Tickets);
    let door = street.door("shop");
    // Set { Item { } }, BatchIncrement { item { } } and so on: what is nested counts too
    let cases: &[(&str, &str, &[u8], &str)] = &[
        ("memcache", "Set", &[0x0b, 0x0c], "SetRequest.Item.key"),
        ("memcache", "Set", &[0x0b, 0x12, 0, 0x0c], "SetRequest.Item.value"),
        ("memcache", "Delete", &[0x0b, 0x0c], "DeleteRequest.Item.key"),
        ("memcache", "Increment", &[], "IncrementRequest.key"),
        ("memcache", "BatchIncrement", &[0x12, 0], "IncrementRequest.key"),
        ("memcache", "Get", &[0x2a, 0], "AppOverride.app_id"),
        ("memcache", "FlushAll", &[0x0a, 0], "AppOverride.app_id"),
        ("memcache", "Stats", &[0x0a, 0], "AppOverride.app_id"),
        ("user", "CreateLoginURL", &[], "CreateLoginURLRequest.destination_url"),
        ("user", "CreateLogoutURL", &[], "CreateLogoutURLRequest.destination_url"),
        ("capability_service", "IsEnabled", &[], "IsEnabledRequest.package"),
    ];
    for (service, method, message, field) in cases {
        let (code, text) = refused(door.address(), "", &call(service, method, message, "good"));
        assert_eq!(code, Code::ParseError, "{service}.{method}");
        assert!(text.contains(&format!("{field} is required")), "{service}.{method}: {text}");
    }
}

#[test]
fn m4_any_message_for_any_method() {
    let street = Street::new(Admission::Tickets);
    let door = street.door("shop");
    let item = pb::set_request::Item { key: "k".into(), value: "v".into(), ..Default::default() };
    let messages = [
        pb::SetRequest { item: vec![item], ..Default::default() }.encode_to_vec(),
        pb::GetRequest { key: vec!["k".into(); 3], ..Default::default() }.encode_to_vec(),
        user::CreateLoginUrlRequest { destination_url: "/".into(), ..Default::default() }.encode_to_vec(),
        vec![0x08, 1, 0x10, 2, 0x18, 3, 0x20, 4, 0x28, 5],
        vec![0x0d, 1, 2, 3, 4, 0x11, 1, 2, 3, 4, 5, 6, 7, 8],
    ];
    let mut stream = connect(door.address());
    for (service, methods) in METHODS {
        for method in *methods {
            for message in &messages {
                let answer = send(&mut stream, "", &call(service, method, message, "good"));
                let parts = [answer.response.is_some(), answer.application_error.is_some(), answer.rpc_error.is_some()];
                assert_eq!(parts.iter().filter(|there| **there).count(), 1, "{service}.{method}");
            }
        }
    }
}

#[test]
fn m4_hooks_of_tests_are_closed_in_production() {
    let street = Street::new(Admission::Tickets);
    let door = street.door("shop");
    for method in ["SetClock", "AdvanceClock", "SetMaxSize", "GetLruChainLength"] {
        assert_eq!(refused(door.address(), "", &call("memcache", method, &[8, 1], "good")).0, Code::CallNotFound, "{method}");
    }
    for request in ["GET /clear", "POST /clear", "GET /_ah/status", "GET /?rtok=1", "POST /"] {
        let mut stream = connect(door.address());
        write!(stream, "{request} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").expect("sent");
        // The metadata server, which answers at this door too, knows none of them either.
        assert!(matches!(answer(&mut stream), Some((403..=405, _))), "{request}");
    }
}

#[test]
fn m4_tickets_of_others_open_nothing() {
    let street = Street::new(Admission::Tickets);
    let (shop, neighbour) = (street.door("shop"), street.door("neighbour"));
    neighbour.begin("theirs", Visit::default());
    for forged in ["", "theirs", "GOOD", "good ", &"x".repeat(100_000)] {
        let (code, text) = refused(shop.address(), "", &call("memcache", "Stats", b"", forged));
        assert_eq!(code, Code::SecurityViolation);
        assert!(!text.contains("good") && !text.contains("theirs"), "{text}");
    }
    shop.end("good");
    works(shop.address());
}

#[test]
fn m4_other_apps_names_are_refused() {
    let street = Street::new(Admission::Tickets);
    let door = street.door("shop");
    for (method, field) in [("Get", 5), ("Set", 10), ("Delete", 5), ("BatchIncrement", 3), ("FlushAll", 1), ("Stats", 1)] {
        let mut message = Vec::new();
        prost::encoding::message::encode(field, &pb::AppOverride { app_id: "neighbour".into() }, &mut message);
        let answer = send(&mut connect(door.address()), "", &call("memcache", method, &message, "good"));
        let error = answer.application_error.expect("refused by the service");
        assert_eq!(error.code, i32::from(pb::ErrorCode::PermissionDenied), "{method}");
    }
}

#[test]
fn m4_large_requests_are_refused_before_they_are_read() {
    let street = Street::new(Admission::Tickets);
    let door = street.door("shop");
    let mut stream = connect(door.address());
    write!(stream, "{HEAD}Content-Length: 99999999999\r\n\r\n").expect("sent");
    let (_, body) = answer(&mut stream).expect("an answer to the head alone");
    let error = remote_api::Response::decode(&body[..]).expect("an envelope").rpc_error.expect("refused");
    assert_eq!(error.code, i32::from(Code::RequestTooLarge));
    // One without an end
    let mut stream = connect(door.address());
    write!(stream, "{HEAD}Transfer-Encoding: chunked\r\n\r\n").expect("sent");
    let chunk = [b"100000\r\n".to_vec(), vec![7; 1 << 20], b"\r\n".to_vec()].concat();
    let sent = (0..200).take_while(|_| stream.write_all(&chunk).is_ok()).count();
    assert!(sent < 200, "the server stops to read");
    // Within the server's limit, over the service's
    let (code, text) = refused(door.address(), "", &call("user", "CreateLoginURL", &vec![0; (1 << 20) + 1], "good"));
    assert_eq!(code, Code::RequestTooLarge, "{text}");
    works(door.address());
}

#[test]
fn m4_slow_and_broken_bodies_end_with_the_deadline() {
    let street = Street::new(Admission::Tickets);
    let door = street.door("shop");
    let mut stream = connect(door.address());
    write!(stream, "{HEAD}X-Google-RPC-Service-Deadline: 0.05\r\nContent-Length: 10\r\n\r\nhalf").expect("sent");
    let (_, body) = answer(&mut stream).expect("an answer");
    let error = remote_api::Response::decode(&body[..]).expect("an envelope").rpc_error.expect("refused");
    assert_eq!(error.code, i32::from(Code::DeadlineExceeded));
    // Half a body, and then nothing any more
    let mut stream = connect(door.address());
    write!(stream, "{HEAD}Content-Length: 10\r\n\r\nhalf").expect("sent");
    stream.shutdown(Shutdown::Write).expect("shut");
    if let Some((_, body)) = answer(&mut stream) {
        let error = remote_api::Response::decode(&body[..]).expect("an envelope").rpc_error.expect("refused");
        assert_eq!(error.code, i32::from(Code::BadRequest));
    }
    works(door.address());
}

#[test]
fn m4_what_is_no_call_is_refused() {
    let street = Street::new(Admission::Tickets);
    let door = street.door("shop");
    let good = call("memcache", "Stats", b"", "good");
    let heads = [
        "POST /rpc_http HTTP/1.1\r\nHost: x\r\n",
        "POST /rpc_http HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n",
        "POST /rpc_http HTTP/1.1\r\nHost: x\r\nContent-Type: \u{e9}\r\n",
        "POST /rpc_http HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\nOrigin: http://evil.example\r\n",
    ];
    for head in heads {
        let mut stream = connect(door.address());
        stream.write_all(&[format!("{head}Content-Length: {}\r\n\r\n", good.len()).as_bytes(), &good].concat()).expect("sent");
        let (_, body) = answer(&mut stream).expect("an answer");
        let error = remote_api::Response::decode(&body[..]).expect("an envelope").rpc_error.expect("refused");
        assert_eq!(error.code, i32::from(Code::BadRequest), "{head}");
    }
    for request in ["GET /rpc_http HTTP/1.1\r\nHost: x\r\n\r\n", "POST /other HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"] {
        let mut stream = connect(door.address());
        stream.write_all(request.as_bytes()).expect("sent");
        assert!(matches!(answer(&mut stream), Some((403..=405, _))), "{request}");
    }
    for garbage in [&b"\0\0\0\0\r\n\r\n"[..], b"POST", &vec![b'a'; 1 << 20], b"\x16\x03\x01\x02\x00", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut stream = connect(door.address());
        let _ = stream.write_all(garbage);
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    }
    works(door.address());
}

#[test]
fn m4_deadlines_may_be_anything() {
    let street = Street::new(Admission::Tickets);
    let door = street.door("shop");
    for strange in ["0", "-1", "nan", "inf", "1e400", "-0.0", "60,5", "", "99999999999999999999"] {
        let extra = format!("X-Google-RPC-Service-Deadline: {strange}\r\n");
        let answer = send(&mut connect(door.address()), &extra, &call("memcache", "Stats", b"", "good"));
        assert!(answer.response.is_some(), "{strange}");
    }
}

#[test]
fn m4_a_service_that_fails_hurts_one_call() {
    let street = Street::new(Admission::Tickets);
    let door = street.door("shop");
    let mut stream = connect(door.address());
    for _ in 0..2 {
        let error = send(&mut stream, "", &call("bad", "Panic", b"", "good")).rpc_error.expect("an rpc_error");
        assert_eq!(error.code, i32::from(Code::Unknown));
    }
    let extra = "X-Google-RPC-Service-Deadline: 0.05\r\n";
    let error = send(&mut stream, extra, &call("bad", "Hang", b"", "good")).rpc_error.expect("an rpc_error");
    assert_eq!(error.code, i32::from(Code::DeadlineExceeded));
    works(door.address());
}

#[test]
fn m4_a_door_that_closes_takes_its_connections_along() {
    let street = Street::new(Admission::Tickets);
    let door = street.door("shop");
    let mut stream = connect(door.address());
    assert!(send(&mut stream, "", &call("memcache", "Stats", b"", "good")).response.is_some());
    drop(door);
    assert!(stream.read(&mut [0]).is_ok_and(|read| read == 0) || stream.read(&mut [0]).is_err(), "closed");
}
