//! Traces of requests as a collector receives them.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;

use serde_json::{Value, json};
use testkit::http1::Request;
use testkit::{App, Builder, Python};

use crate::apps::app;
use crate::{command, node};

const MAIN: &str = "def app(environ, start_response):\n    start_response((environ['QUERY_STRING'] or '200') + ' Fine', [])\n    return [(environ.get('HTTP_TRACEPARENT', '-') + ' ' + environ['HTTP_X_CLOUD_TRACE_CONTEXT']).encode()]\n";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn teller() -> App {
    app(Python::Three, "", MAIN)
}

/// What a collector was sent.
struct Posted {
    head: Vec<String>,
    body: Vec<u8>,
}

/// A collector that takes everything until the test is over.
struct Collector {
    port: u16,
    posted: Receiver<Posted>,
    _thread: JoinHandle<()>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (sender, posted) = channel();
        let thread = std::thread::spawn(move || {
            for socket in listener.incoming() {
                let mut socket = BufReader::new(socket.expect("a connection"));
                let head: Vec<String> =
                    socket.by_ref().lines().map(|line| line.expect("text")).take_while(|line| !line.is_empty()).collect();
                let length = head.iter().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
                let mut body = vec![0; length.unwrap_or(0)];
                socket.read_exact(&mut body).expect("the body");
                let _ = socket.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
                if sender.send(Posted { head, body }).is_err() {
                    return;
                }
            }
        });
        Self { port, posted, _thread: thread }
    }

    /// A node that sends its traces here.
    fn node(&self, protocol: &str) -> Builder {
        node()
            .app(&teller())
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://127.0.0.1:{}", self.port))
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
            .env("OTEL_EXPORTER_OTLP_HEADERS", "x-key=sesame")
            .env("OTEL_SERVICE_NAME", "shop")
            .env("OTEL_BSP_SCHEDULE_DELAY", "20")
    }

    fn next(&self) -> Posted {
        self.posted.recv_timeout(testkit::DEADLINE).expect("spans are sent")
    }

    /// Spans by name, until there are as many.
    fn spans(&self, count: usize) -> BTreeMap<String, Value> {
        let mut found = BTreeMap::new();
        while found.len() < count {
            let all: Value = serde_json::from_slice(&self.next().body).expect("JSON");
            for span in all["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().expect("spans") {
                found.insert(span["name"].as_str().expect("a name").to_owned(), span.clone());
            }
        }
        found
    }
}

fn attribute<'a>(span: &'a Value, key: &str) -> Option<&'a Value> {
    let all = span["attributes"].as_array().expect("attributes");
    all.iter().find(|one| one["key"] == key)?["value"].as_object()?.values().next()
}

#[test]
fn h7_a_request_continues_its_callers_trace_and_passes_it_on() {
    let collector = Collector::start();
    let node = collector.node("http/json").start();
    let told = node.send(&Request::get("/some/path?200").header("traceparent", PARENT)).expect(200).text();
    let spans = collector.spans(3);
    let (server, pending, app) = (&spans["GET /.*"], &spans["pending"], &spans["app"]);
    assert_eq!((server["traceId"].as_str(), server["parentSpanId"].as_str()), (Some(&PARENT[3..35]), Some(&PARENT[36..52])));
    assert_eq!((pending["parentSpanId"].as_str(), app["parentSpanId"].as_str()), (server["spanId"].as_str(), server["spanId"].as_str()));
    let id = server["spanId"].as_str().expect("an id");
    let number = u64::from_str_radix(id, 16).expect("hex");
    assert_eq!(told, format!("00-{}-{id}-01 {}/{number};o=1", &PARENT[3..35], &PARENT[3..35]));
    for (key, wanted) in [
        ("http.request.method", json!("GET")),
        ("url.path", json!("/some/path")),
        ("http.response.status_code", json!("200")),
        ("http.route", json!("/.*")),
        ("faas.name", json!("default")),
        ("faas.coldstart", json!(true)),
    ] {
        assert_eq!(attribute(server, key), Some(&wanted), "{key}");
    }
    assert!(attribute(app, "faas.instance").is_some() && attribute(server, "faas.instance") == attribute(app, "faas.instance"));
    let time = |span: &Value, name: &str| span[name].as_str().and_then(|text| text.parse::<u64>().ok()).expect("a time");
    for child in [pending, app] {
        assert!(time(server, "startTimeUnixNano") <= time(child, "startTimeUnixNano"));
        assert!(time(child, "endTimeUnixNano") <= time(server, "endTimeUnixNano"));
    }
}

#[test]
fn spans_go_out_as_protocol_buffers_with_headers_and_the_services_name() {
    let collector = Collector::start();
    let node = collector.node("http/protobuf").start();
    node.send(&Request::get("/?503").header("traceparent", PARENT)).expect(503);
    let posted = collector.next();
    assert_eq!(posted.head[0], "POST /v1/traces HTTP/1.1");
    let has = |wanted: &str| assert!(posted.head.iter().any(|line| line.eq_ignore_ascii_case(wanted)), "{:?}", posted.head);
    has("content-type: application/x-protobuf");
    has("x-key: sesame");
    let request = fields(&posted.body);
    let resource_spans = fields(&request[0].1);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(text(&resource_spans[0].1).contains("service.name") && text(&resource_spans[0].1).contains("shop"));
    let scope_spans = fields(&resource_spans[1].1);
    let span = fields(&scope_spans.iter().find(|(number, _)| *number == 2).expect("a span").1);
    let field = |wanted: u64| span.iter().find(|(number, _)| *number == wanted).map(|(_, bytes)| bytes.clone()).expect("a field");
    assert_eq!(field(1), 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736_u128.to_be_bytes());
    assert_eq!(field(4), 0x00f0_67aa_0ba9_02b7_u64.to_be_bytes());
    assert_eq!(text(&field(5)), "GET /.*");
    assert_eq!(fields(&field(15)).iter().find(|(number, _)| *number == 3).map(|(_, code)| code.clone()), Some(vec![2]), "status: error");
}

/// The fields of a protocol buffers message.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let (byte, rest) = bytes.split_first().expect("a byte");
            *bytes = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        value
    }
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let length = match tag & 7 {
            0 => {
                found.push((tag >> 3, vec![u8::try_from(varint(&mut bytes)).expect("small")]));
                continue;
            }
            1 => 8,
            2 => usize::try_from(varint(&mut bytes)).expect("small"),
            other => panic!("wire type {other}"),
        };
        let (value, rest) = bytes.split_at(length);
        found.push((tag >> 3, value.to_vec()));
        bytes = rest;
    }
    found
}

#[test]
fn the_callers_decision_not_to_keep_a_trace_is_heard() {
    let collector = Collector::start();
    let node = collector.node("http/json").arg("-qq").start();
    let told = node.send(&Request::get("/dropped").header("traceparent", &PARENT.replace("-01", "-00"))).expect(200).text();
    assert!(told.contains("-00 ") && told.ends_with(";o=0"), "{told}");
    node.get("/kept").expect(200);
    let spans = collector.spans(3);
    assert_eq!(attribute(&spans["GET /.*"], "url.path"), Some(&json!("/kept")));
}

#[test]
fn without_a_collector_nothing_is_changed() {
    let node = node().app(&teller()).start();
    assert!(node.get("/").expect(200).text().starts_with("- "));
    assert!(node.send(&Request::get("/").header("traceparent", PARENT)).expect(200).text().starts_with(PARENT));
}

#[test]
fn a_collector_that_is_away_is_said_and_hurts_nobody() {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let node =
        node().app(&teller()).env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{free}")).env("OTEL_BSP_SCHEDULE_DELAY", "20").start();
    node.get("/").expect(200);
    node.wait_line("the complaint", |line| line.contains("traces cannot be sent to"));
    node.get("/").expect(200);
}

#[test]
fn a_variable_that_cannot_be_followed_is_an_error() {
    let app = teller();
    let refused =
        node().args(["run", app.path().to_str().expect("UTF-8"), "--port", "0"]).env("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317");
    let refused = refused.output();
    assert!(refused.code == Some(1) && refused.stderr.contains("OTEL_EXPORTER_OTLP_ENDPOINT"), "{refused:?}");
    let help = command(["run", "--help"]);
    assert!(help.stdout.contains("--admin-port"), "{help:?}");
}
