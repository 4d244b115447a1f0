//! Its listener: TLS, and nobody but processes of this machine, as it stands on a loopback address.

use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use super::{MOST_BODY, Within};
use crate::api::challenge;
use crate::socket::{Clock, Socket};
use crate::status::Status;

/// Connections at once.
const CONNECTIONS: usize = 256;
/// How long a handshake, and the next request of a connection, may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_mins(2);
/// Bytes of a request's head.
const HEAD: usize = 64 * 1024;

impl Within {
    /// Answers for as long as it is polled.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener, tls: Arc<rustls::ServerConfig>) {
        let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
        let (acceptor, seats) = (TlsAcceptor::from(tls), Arc::new(Semaphore::new(CONNECTIONS)));
        loop {
            let Ok(seat) = Arc::clone(&seats).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((socket, _)) => {
                    let (within, acceptor) = (Arc::clone(&self), acceptor.clone());
                    tokio::spawn(async move {
                        // A connection that breaks off is nobody's loss.
                        let _ = within.talk(socket, acceptor).await;
                        drop(seat);
                    });
                }
                // Out of file descriptors, perhaps: give others time.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    async fn talk(self: Arc<Self>, socket: tokio::net::TcpStream, acceptor: TlsAcceptor) -> io::Result<()> {
        let _ = socket.set_nodelay(true);
        let stream = tokio::time::timeout(HANDSHAKE, acceptor.accept(socket)).await.map_err(|_| io::ErrorKind::TimedOut)??;
        let service = service_fn(move |request| {
            let within = Arc::clone(&self);
            async move { Ok::<_, Infallible>(response(&within.ask(request).await)) }
        });
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder.max_buf_size(HEAD).timer(Clock).header_read_timeout(IDLE);
        builder.serve_connection(Socket(stream), service).await.map_err(io::Error::other)
    }

    async fn ask(&self, request: Request<Incoming>) -> Result<Value, Status> {
        let (head, body) = request.into_parts();
        let body = tokio::time::timeout(IDLE, Limited::new(body, MOST_BODY).collect()).await;
        let body = body.ok().and_then(Result::ok).ok_or_else(|| Status::invalid("The body broke off or is larger than 1 MiB."))?;
        self.answer(&head.method, &head.uri, &head.headers, &body.to_bytes()).await
    }
}

fn response(answer: &Result<Value, Status>) -> Response<Full<Bytes>> {
    let text = match answer {
        Ok(value) => value.to_string(),
        Err(status) => status.body().to_string(),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=UTF-8"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("private"));
    if let Err(status) = answer {
        *response.status_mut() = status.code.http();
        if let Some(challenge) = challenge(status) {
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
    }
    response
}
