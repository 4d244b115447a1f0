//! HTTP/2: prior knowledge, floods, slow readers.

use std::io::{Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use edge::{Limits, Options, Timeouts};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::rt::ReadBufCursor;
use model::pool::Outcome;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::app;
use crate::node::{Client, Node, config, options, script, table};

/// A tokio stream for hyper.
pub struct Io<S>(pub S);

impl<S: AsyncRead + Unpin> hyper::rt::Read for Io<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, mut buf: ReadBufCursor<'_>) -> Poll<std::io::Result<()>> {
        let mut bytes = [0; 8192];
        let most = buf.remaining().min(bytes.len());
        let mut part = ReadBuf::new(&mut bytes[..most]);
        std::task::ready!(Pin::new(&mut self.0).poll_read(cx, &mut part))?;
        buf.put_slice(part.filled());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> hyper::rt::Write for Io<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[derive(Clone)]
pub struct Tasks;

impl<F: Future + Send + 'static> hyper::rt::Executor<F> for Tasks
where
    F::Output: Send,
{
    fn execute(&self, future: F) {
        tokio::spawn(future);
    }
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// An HTTP/2 client on `stream`.
pub async fn client<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S) -> SendRequest<Full<Bytes>> {
    let (send, connection) = http2::handshake(Tasks, Io(stream)).await.expect("a connection");
    tokio::spawn(async move {
        let _ = connection.await;
    });
    send
}

fn echo(options: Options) -> Node {
    let (endpoint, _) = app::http(|received, wire| {
        let body = wire.body(received);
        let length: usize = received.line.split(['/', ' ']).find_map(|part| part.parse().ok()).unwrap_or(0);
        let host = received.header("host").unwrap_or_default();
        wire.answer("200 OK", if length > 0 { "x".repeat(length) } else { format!("{}|{host}|{}", received.line, body.len()) });
        true
    });
    Node::start(options, table(config("nodejs22", vec![script("/.*")]), std::path::Path::new("/nowhere")), Ok(endpoint))
}

async fn connect(node: &Node) -> SendRequest<Full<Bytes>> {
    client(tokio::net::TcpStream::connect(node.address).await.expect("connects")).await
}

async fn text(response: http::Response<hyper::body::Incoming>) -> String {
    String::from_utf8_lossy(&response.into_body().collect().await.expect("a body").to_bytes()).into_owned()
}

#[test]
fn requests_over_cleartext_http_2() {
    let node = echo(options());
    runtime().block_on(async {
        let mut send = connect(&node).await;
        let post = http::Request::post("http://localhost/a?b=1").body(Full::new(Bytes::from_static(b"hello"))).expect("a request");
        let response = send.send_request(post).await.expect("an answer");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["server"], "Development/x");
        assert_eq!(text(response).await, "POST /a?b=1 HTTP/1.1|localhost|5");
        let many = (1..=50_usize).map(|n| {
            let get = http::Request::get(format!("http://localhost/{}", n * 1000)).body(Full::default()).expect("a request");
            let answer = send.send_request(get);
            async move { (n * 1000, text(answer.await.expect("an answer")).await.len()) }
        });
        let tasks: Vec<_> = many.map(|one| tokio::spawn(Box::pin(one) as Pin<Box<dyn Future<Output = (usize, usize)> + Send>>)).collect();
        for task in tasks {
            let (expected, length) = task.await.expect("done");
            assert_eq!(expected, length);
        }
    });
    assert_eq!(node.journal.wait(51)[0].protocol, "HTTP/2.0");
}

#[test]
fn h25_bodies_over_the_limit_are_a_413() {
    let node = echo(Options { limits: Limits { request_body: 1000, ..Limits::default() }, ..options() });
    runtime().block_on(async {
        let mut send = connect(&node).await;
        let post = http::Request::post("http://localhost/").body(Full::new(Bytes::from(vec![0; 5000]))).expect("a request");
        assert_eq!(send.send_request(post).await.expect("an answer").status(), 413);
        let get = http::Request::get("http://localhost/ok").body(Full::default()).expect("a request");
        assert_eq!(send.send_request(get).await.expect("an answer").status(), 200, "the connection goes on");
    });
}

/// Frames by hand.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// `GET http://localhost/` in HPACK without its dynamic table.
const HEAD: &[u8] = b"\x82\x86\x84\x01\x09localhost";

fn raw(node: &Node) -> Client {
    let mut client = node.connect();
    client.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    client.write(&frame(4, 0, 0, b""));
    client
}

/// Reads until the server ends the connection; whether it said GOAWAY.
fn ends(client: &mut Client) -> bool {
    let mut all = Vec::new();
    let mut part = [0; 4096];
    loop {
        match client.stream.read(&mut part) {
            Ok(0) => break,
            Ok(length) => all.extend_from_slice(&part[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => panic!("the connection ends: {error}"),
        }
    }
    let mut rest = all.as_slice();
    while let [a, b, c, kind, ..] = *rest {
        if kind == 7 {
            return true;
        }
        rest = rest.get(9 + usize::from(a) * 65_536 + usize::from(b) * 256 + usize::from(c)..).unwrap_or_default();
    }
    false
}

/// Sends until the server has had enough.
fn flood(client: &mut Client, frames: &[u8], most: usize) {
    for _ in 0..most {
        if client.stream.write_all(frames).is_err() {
            return;
        }
    }
}

#[test]
fn rapid_resets_end_the_connection() {
    let node = echo(options());
    let mut client = raw(&node);
    for stream in (1..20_001_u32).step_by(2) {
        let both = [frame(1, 5, stream, HEAD), frame(3, 0, stream, &8_u32.to_be_bytes())].concat();
        if client.stream.write_all(&both).is_err() {
            break;
        }
    }
    ends(&mut client);
}

#[test]
fn endless_continuations_end_the_connection() {
    let node = echo(options());
    let mut client = raw(&node);
    client.write(&frame(1, 1, 1, HEAD));
    flood(&mut client, &frame(9, 0, 1, &[b"\x00\x01a\x7f\x80\x7f".as_slice(), &[b'x'; 255]].concat()), 20_000);
    ends(&mut client);
}

#[test]
fn header_lists_are_bounded() {
    let node = echo(options());
    let mut client = raw(&node);
    // 2 KiB of value, again and again from the dynamic table: a small frame that unpacks to a large list.
    let value = vec![b'v'; 2000];
    let mut head = HEAD.to_vec();
    head.extend_from_slice(b"\x40\x01a\x7f\xd1\x0e");
    head.extend_from_slice(&value);
    head.extend(std::iter::repeat_n(0xbe, 5000));
    client.write(&frame(1, 5, 1, &head));
    // 431, or the connection's end: never the app.
    let mut seen = [0; 4096];
    let _ = client.stream.read(&mut seen);
    assert!(node.outcomes.wait(0).is_empty());
}

#[test]
fn a_slow_reader_is_cut_off() {
    let node = echo(Options { timeouts: Timeouts { stall: Duration::from_millis(100), ..Timeouts::default() }, ..options() });
    let mut client = raw(&node);
    // The client's window is 64 KiB and is never opened again.
    client.write(&frame(1, 5, 1, b"\x82\x86\x04\x08/1000000\x01\x09localhost"));
    assert_eq!(node.outcomes.wait(1), [Outcome::Abandoned]);
    assert!(node.journal.wait(1)[0].bytes < 1_000_000);
}

#[test]
fn an_idle_connection_is_closed() {
    let node = echo(Options { timeouts: Timeouts { idle: Duration::from_millis(100), ..Timeouts::default() }, ..options() });
    let mut client = raw(&node);
    client.write(&frame(1, 5, 1, HEAD));
    node.journal.wait(1);
    assert!(ends(&mut client), "with a GOAWAY");
}

#[test]
fn a_body_that_comes_too_slowly_is_a_408() {
    let node = echo(Options { timeouts: Timeouts { stall: Duration::from_millis(100), ..Timeouts::default() }, ..options() });
    let mut client = raw(&node);
    client.write(&frame(1, 4, 1, b"\x83\x86\x84\x01\x09localhost"));
    assert_eq!(node.journal.wait(1)[0].status, 408);
}

#[test]
fn settings_and_ping_floods_do_not_pile_up() {
    let node = echo(options());
    for flooding in [frame(4, 0, 0, b""), frame(6, 0, 0, &[0; 8])] {
        let mut client = raw(&node);
        client.stream.set_write_timeout(Some(Duration::from_secs(2))).expect("set");
        // We never read: the server's answers stay in its send queue, which must not grow without end.
        flood(&mut client, &flooding.repeat(500), 2000);
        drop(client);
    }
    assert_eq!(node.get("/").status, 200);
}

#[test]
fn a_draining_server_says_goaway() {
    let node = echo(options());
    let mut client = raw(&node);
    client.write(&frame(1, 5, 1, HEAD));
    node.journal.wait(1);
    let running = node.running;
    let draining = std::thread::spawn(move || runtime().block_on(running.drain(crate::node::PATIENCE)));
    assert!(ends(&mut client));
    draining.join().expect("drained");
}
