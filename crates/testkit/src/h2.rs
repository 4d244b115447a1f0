//! An HTTP/2 client: several requests at once on one connection, in clear text with prior knowledge or with TLS and ALPN.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::rt::{Executor, Read, ReadBufCursor, Write};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::http1::{Request, Response, trusting};

/// Sends all requests at once on one connection and returns their responses in the same order.
///
/// # Panics
/// If the connection or one of the requests fails.
pub fn exchange(address: SocketAddr, tls: bool, requests: &[Request]) -> Vec<Response> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let stream = TcpStream::connect(address).await.expect("the server listens");
        if tls {
            let connector = TlsConnector::from(Arc::new(trusting(&[b"h2", b"http/1.1"])));
            let stream = connector.connect(ServerName::try_from("localhost").expect("a name"), stream).await.expect("a TLS handshake");
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]), "the server chooses h2");
            talk(stream, "https", requests).await
        } else {
            talk(stream, "http", requests).await
        }
    })
}

async fn talk<S: AsyncRead + AsyncWrite + Unpin + 'static>(stream: S, scheme: &str, requests: &[Request]) -> Vec<Response> {
    let (sender, connection) =
        hyper::client::conn::http2::handshake::<_, _, Full<Bytes>>(Local, Io(stream)).await.expect("an HTTP/2 handshake");
    let driver = tokio::task::spawn_local(connection);
    let mut waiting = Vec::new();
    for request in requests {
        let built = request.build(scheme);
        let mut sender = sender.clone();
        waiting.push(tokio::task::spawn_local(async move { collect(sender.send_request(built).await.expect("a response")).await }));
    }
    let mut responses = Vec::new();
    for one in waiting {
        responses.push(one.await.expect("the exchange ends"));
    }
    driver.abort();
    responses
}

async fn collect(response: http::Response<hyper::body::Incoming>) -> Response {
    let (head, body) = response.into_parts();
    let latin1 = |value: &http::HeaderValue| value.as_bytes().iter().map(|&byte| char::from(byte)).collect();
    let headers = head.headers.iter().map(|(name, value)| (name.to_string(), latin1(value))).collect();
    let body = body.collect().await;
    Response {
        status: head.status.as_u16(),
        reason: String::new(),
        headers,
        complete: body.is_ok(),
        body: body.map(|body| body.to_bytes().to_vec()).unwrap_or_default(),
    }
}

#[derive(Clone)]
struct Local;

impl<F: Future + 'static> Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}

/// hyper's traits over tokio's.
struct Io<S>(S);

impl<S: AsyncRead + Unpin> Read for Io<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, mut cursor: ReadBufCursor<'_>) -> Poll<std::io::Result<()>> {
        let mut space = [0; 16_384];
        let room = cursor.remaining().min(space.len());
        let mut buffer = ReadBuf::new(&mut space[..room]);
        ready!(Pin::new(&mut self.0).poll_read(cx, &mut buffer))?;
        cursor.put_slice(buffer.filled());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> Write for Io<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// What became of requests on connections that are kept as long as the server keeps them.
#[derive(Debug, Default)]
pub struct Kept {
    /// Responses, in the order in which they came.
    pub responses: Vec<Response>,
    /// Requests that were sent and not answered, and why.
    pub lost: Vec<String>,
    /// How often a connection was opened.
    pub connections: usize,
}

/// Asks again and again on one connection in clear text, several requests at once, until `done`. When the server says goodbye, another connection is
/// opened; requests that it said it has not taken are asked again there.
///
/// # Panics
/// If the server is not there.
pub fn keep_asking(address: SocketAddr, request: &Request, at_once: usize, done: impl Fn() -> bool) -> Kept {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let mut kept = Kept::default();
        while !done() {
            let stream = TcpStream::connect(address).await.expect("the server listens");
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake::<_, _, Full<Bytes>>(Local, Io(stream)).await.expect("an HTTP/2 handshake");
            let driver = tokio::task::spawn_local(connection);
            kept.connections += 1;
            while !done() && sender.ready().await.is_ok() {
                let mut waiting = Vec::new();
                for _ in 0..at_once {
                    let (mut sender, built) = (sender.clone(), request.build("http"));
                    waiting.push(tokio::task::spawn_local(async move {
                        match sender.try_send_request(built).await {
                            Ok(response) => Some(Ok(collect(response).await)),
                            // It comes back unsent: the connection is closing.
                            Err(mut error) => error.take_message().is_none().then(|| Err(error.into_error().to_string())),
                        }
                    }));
                }
                for one in waiting {
                    match one.await.expect("the exchange ends") {
                        Some(Ok(response)) => kept.responses.push(response),
                        Some(Err(error)) => kept.lost.push(error),
                        None => {}
                    }
                }
            }
            drop(sender);
            let _ = driver.await;
        }
        kept
    })
}
