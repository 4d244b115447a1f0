//! Hostile programs at a door.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use model::pool::Boxed;
use model::rpc::{Door, Doors, Visit};
use prost::Message;
use services::call::{Answer, Context, Failure, Service};
use services::card::{ALL, Card};
use services::identity::{self, Identity};
use services::metadata::Metadata;
use services::proto::remote_api::rpc_error::Code;
use services::proto::{memcache as pb, remote_api, taskqueue as tq};
use services::server::{Admission, House};

use crate::samples::sample;
use crate::targets::{caller, folder, registry};

/// Fails in every way that a service must not.
struct Bad;

static BAD: Card = Card { name: "bad", methods: &["Panic", "Hang"], hooks: &[], code: |_| None };

impl Service for Bad {
    fn card(&self) -> &'static Card {
        &BAD
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
        bucket: None,
        account: None,
    };
    Metadata::new(Arc::new(Identity::new(settings, Arc::default())), "local".into())
}

/// A folder for each: no two houses may share one.
static HOUSES: AtomicUsize = AtomicUsize::new(0);

impl Street {
    fn new(admission: Admission) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let folder = folder(&format!("street{}", HOUSES.fetch_add(1, Ordering::SeqCst)));
        let registry = registry(&folder, runtime.handle()).with(Arc::new(Bad));
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
fn m4_every_method_answers_at_the_door_and_to_tickets_alone() {
    let street = Street::new(Admission::Tickets);
    let door = street.door("shop");
    let mut stream = connect(door.address());
    for card in ALL {
        for method in card.all() {
            let message = sample(card.name, method);
            let answer = send(&mut stream, "", &call(card.name, method, &message, "good"));
            let parts = [answer.response.is_some(), answer.application_error.is_some(), answer.rpc_error.is_some()];
            assert_eq!(parts.iter().filter(|there| **there).count(), 1, "{}.{method}", card.name);
            for forged in ["", "forged"] {
                let error = send(&mut stream, "", &call(card.name, method, &message, forged)).rpc_error.expect("refused");
                assert_eq!(error.code, i32::from(Code::SecurityViolation), "{}.{method}", card.name);
            }
        }
    }
    works(door.address());
}

#[test]
fn m4_hooks_of_tests_are_closed_in_production() {
    let street = Street::new(Admission::Tickets);
    let door = street.door("shop");
    for (card, hook) in ALL.into_iter().flat_map(|card| card.hooks.iter().map(move |hook| (card, hook))) {
        let called = call(card.name, hook, &sample(card.name, hook), "good");
        assert_eq!(refused(door.address(), "", &called).0, Code::CallNotFound, "{}.{hook}", card.name);
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

/// The messages that name an app, with the name of another one in them: who is asked, where the name stands, and what is said.
const NAMES: &[(&str, &str, u32, i32)] = &[
    ("memcache", "Get", 5, 3),
    ("memcache", "Set", 10, 3),
    ("memcache", "Delete", 5, 3),
    ("memcache", "Increment", 7, 3),
    ("memcache", "BatchIncrement", 3, 3),
    ("memcache", "FlushAll", 1, 3),
    ("memcache", "Stats", 1, 3),
    ("taskqueue", "Add", 11, 9),
    ("taskqueue", "Delete", 3, 9),
    ("taskqueue", "ForceRun", 1, 9),
    ("taskqueue", "UpdateQueue", 1, 9),
    ("taskqueue", "FetchQueues", 1, 9),
    ("taskqueue", "FetchQueueStats", 1, 9),
    ("taskqueue", "PauseQueue", 1, 9),
    ("taskqueue", "PurgeQueue", 1, 9),
    ("taskqueue", "DeleteQueue", 1, 9),
    ("taskqueue", "DeleteGroup", 1, 9),
    ("taskqueue", "QueryTasks", 1, 9),
    ("taskqueue", "FetchTask", 1, 9),
    ("taskqueue", "UpdateStorageLimit", 1, 9),
    ("logservice", "Read", 1, 1),
    ("app_identity_service", "GetAccessToken", 3, 1005),
];

#[test]
fn m4_other_apps_names_are_refused() {
    let street = Street::new(Admission::Tickets);
    let (door, neighbour) = (street.door("mallory"), street.door("neighbour"));
    let mut stream = connect(door.address());
    for (service, method, field, code) in NAMES {
        let name = if *service == "app_identity_service" { "neighbour@appspot.gserviceaccount.com" } else { "neighbour" };
        for name in [name, "", "s~neighbour", "mallory~neighbour"].iter().take(if *service == "memcache" { 4 } else { 1 }) {
            let mut message = sample(service, method);
            // What comes later counts.
            if *service == "memcache" {
                prost::encoding::message::encode(*field, &pb::AppOverride { app_id: (*name).into() }, &mut message);
            } else {
                prost::encoding::bytes::encode(*field, &Bytes::copy_from_slice(name.as_bytes()), &mut message);
            }
            let answer = send(&mut stream, "", &call(service, method, &message, "good"));
            let error = answer.application_error.clone().unwrap_or_else(|| panic!("{service}.{method} is refused: {answer:?}"));
            assert_eq!(error.code, *code, "{service}.{method}: {name}");
        }
    }
    // In a bulk one is enough.
    let add = |app: Option<&'static str>| tq::TaskQueueAddRequest {
        app_id: app.map(Bytes::from),
        ..tq::TaskQueueAddRequest::decode(&sample("taskqueue", "Add")[..]).expect("a task")
    };
    let bulk = tq::TaskQueueBulkAddRequest { add_request: vec![add(None), add(Some("neighbour"))] };
    let answer = send(&mut stream, "", &call("taskqueue", "BulkAdd", &bulk.encode_to_vec(), "good"));
    assert_eq!(answer.application_error.expect("refused").code, 9);
    works(neighbour.address());
}

/// Each message of the definitions that names an app is in [`NAMES`], or in a message that is.
#[test]
fn m4_no_message_that_names_an_app_is_forgotten() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the definitions") {
        let path = entry.expect("readable").path();
        let text = std::fs::read_to_string(&path).expect("readable");
        let service = path.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned();
        let mut message = String::new();
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("message ") {
                message = name.trim_end_matches(" {").to_owned();
            }
            if line.contains(" app_id = ") || line.contains(" AppOverride ") {
                found.push((service.clone(), message.clone()));
            }
        }
    }
    assert!(found.len() > 15, "{found:?}");
    for (service, message) in found {
        // Answers, and parts of messages.
        if ["RequestLog", "AppOverride"].contains(&message.as_str()) {
            continue;
        }
        let method = message.trim_start_matches("TaskQueue").trim_end_matches("Request").replace("LogRead", "Read");
        let method = if method == "Flush" { "FlushAll".to_owned() } else { method };
        // Where tests ask, any name means the app itself.
        if ALL.iter().any(|card| card.name == service && card.hooks.contains(&method.as_str())) {
            continue;
        }
        assert!(NAMES.iter().any(|(one, other, ..)| *one == service && *other == method), "{service}: {message} ({method}) names an app");
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
