//! Asking an instance that speaks HTTP/1.1 on `$PORT`. Kept connections are per core and instance; both bodies are streamed.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Uri, Version, request};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::rt::ReadBufCursor;
use model::pool::{Lease, Outcome};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::{Notes, Reply};
use crate::body::{Aborted, Kind};
use crate::core::Core;
use crate::fault::Fault;
use crate::sweep::{Alarm, millis};
use crate::upload::{Cut, Upload};

/// Idle connections.
#[derive(Default)]
pub(crate) struct Connections(RefCell<HashMap<u64, Vec<Sender>>>);

/// One connection.
struct Sender {
    send: SendRequest<Upload>,
    alarm: Rc<Alarm>,
    since: u64,
    reused: bool,
}

impl Connections {
    fn take(&self, serial: u64) -> Option<Sender> {
        let mut idle = self.0.borrow_mut();
        let senders = idle.get_mut(&serial)?;
        senders.retain(|sender| !sender.send.is_closed());
        // Newest first: the oldest may be about to be closed by the instance.
        let at = senders.iter().rposition(|sender| sender.send.is_ready())?;
        let mut sender = senders.swap_remove(at);
        sender.reused = true;
        Some(sender)
    }

    fn keep(&self, serial: u64, sender: Sender, most: usize) {
        let mut idle = self.0.borrow_mut();
        let senders = idle.entry(serial).or_default();
        if senders.len() < most && !sender.send.is_closed() {
            senders.push(sender);
        }
    }

    pub(super) fn prune(&self, oldest: u64) {
        self.0.borrow_mut().retain(|_, senders| {
            senders.retain(|sender| sender.since >= oldest && !sender.send.is_closed());
            !senders.is_empty()
        });
    }
}

/// A request for an instance.
pub(crate) struct Question {
    pub(crate) lease: Lease,
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) target: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) upload: Upload,
    /// The whole response is collected before any of it is sent on (first generation).
    pub(crate) buffered: bool,
    pub(crate) deadline: Duration,
    pub(crate) notes: Rc<Notes>,
}

/// Whether a request may be sent twice when an idle connection turns out to be dead.
fn repeatable(method: &Method, upload: &Upload) -> bool {
    upload.is_empty() && matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Sends a request and waits for the head of the answer.
pub(crate) async fn ask(core: &Rc<Core>, address: SocketAddr, question: Question) -> Result<Reply, Fault> {
    let Question { lease, method, target, headers, upload, buffered, deadline, notes } = question;
    let serial = lease.instance.serial;
    let alarm_at = core.sweep.now() + millis(deadline);
    let mut exchange = Exchange { core: core.clone(), sender: None, lease: Some(lease), serial };
    let cut = upload.cut();
    let mut sender = match core.idle.http.take(serial) {
        Some(sender) => sender,
        None => connect(core, address).await.inspect_err(|_| exchange.outcome(Outcome::Broken))?,
    };
    let again = (sender.reused && repeatable(&method, &upload)).then(|| (method.clone(), target.clone(), headers.clone()));
    // Always HTTP/1.1 to the instance, whatever the client spoke: anything else would end its connection.
    let mut request = build(method, target, headers, upload);
    let response = loop {
        sender.alarm.set(Some(alarm_at));
        match send(&mut sender, request).await {
            Ok(response) => break response,
            Err(Failure::Deadline) => {
                exchange.outcome(Outcome::TimedOut);
                return Err(Fault::Deadline);
            }
            Err(Failure::Unsent(back)) => request = *back,
            Err(Failure::Sent(why)) => match &again {
                Some((method, target, headers)) if sender.reused && why.is_none() => {
                    request = build(method.clone(), target.clone(), headers.clone(), Upload::whole(Bytes::new()));
                }
                _ => return Err(exchange.failed(cut.get(), why)),
            },
        }
        if !sender.reused {
            return Err(exchange.failed(cut.get(), None));
        }
        sender = connect(core, address).await.inspect_err(|_| exchange.outcome(Outcome::Broken))?;
    };
    exchange.sender = Some(sender);
    reply(exchange, response, buffered, notes, cut).await
}

fn build(method: Method, target: Uri, headers: HeaderMap, upload: Upload) -> Request<Upload> {
    let (mut parts, ()): (request::Parts, ()) = Request::new(()).into_parts();
    parts.method = method;
    parts.uri = target;
    parts.version = Version::HTTP_11;
    parts.headers = headers;
    Request::from_parts(parts, upload)
}

enum Failure {
    /// Nothing was sent: the connection was closed meanwhile.
    Unsent(Box<Request<Upload>>),
    /// The connection ended before an answer (`None`), or the answer was no HTTP.
    Sent(Option<String>),
    Deadline,
}

async fn send(sender: &mut Sender, request: Request<Upload>) -> Result<Response<Incoming>, Failure> {
    let mut sending = std::pin::pin!(sender.send.try_send_request(request));
    let alarm = &sender.alarm;
    let result = std::future::poll_fn(|cx| match sending.as_mut().poll(cx) {
        Poll::Ready(result) => Poll::Ready(Some(result)),
        Poll::Pending => alarm.poll(cx).map(|()| None),
    })
    .await;
    match result {
        None => Err(Failure::Deadline),
        Some(Ok(response)) => Ok(response),
        Some(Err(mut error)) => {
            if let Some(request) = error.take_message() {
                return Err(Failure::Unsent(Box::new(request)));
            }
            let error = error.error();
            Err(Failure::Sent(error.is_parse().then(|| error.to_string())))
        }
    }
}

async fn connect(core: &Rc<Core>, address: SocketAddr) -> Result<Sender, Fault> {
    let limit = core.house.options.timeouts.connect;
    let stream = match core.sweep.within(limit, TcpStream::connect(address)).await {
        Some(Ok(stream)) => stream,
        Some(Err(error)) => return Err(Fault::Died(format!("the instance cannot be reached at {address}: {error}"))),
        None => return Err(Fault::Died(format!("the instance does not accept connections at {address}"))),
    };
    // Best effort: without it small requests only wait longer.
    let _ = stream.set_nodelay(true);
    let mut builder = http1::Builder::new();
    builder.max_buf_size(256 * 1024).max_headers(256);
    let (send, connection) = builder
        .handshake(Stream { socket: stream, core: core.clone() })
        .await
        .map_err(|error| Fault::Died(format!("no connection to the instance: {error}")))?;
    // The connection ends with its sender and its bodies; a fault reaches us through them.
    tokio::task::spawn_local(async move {
        let _ = connection.await;
    });
    let alarm = core.sweep.alarm(limit);
    alarm.set(None);
    Ok(Sender { send, alarm, since: 0, reused: false })
}

/// One request under way.
struct Exchange {
    core: Rc<Core>,
    sender: Option<Sender>,
    lease: Option<Lease>,
    serial: u64,
}

impl Exchange {
    fn outcome(&mut self, outcome: Outcome) {
        if let Some(lease) = &mut self.lease {
            lease.outcome = outcome;
        }
    }

    fn failed(&mut self, cut: Option<Cut>, why: Option<String>) -> Fault {
        if let Some(cut) = cut {
            return Fault::Cut(cut);
        }
        self.outcome(Outcome::Broken);
        match why {
            Some(why) => Fault::Garbage(format!("the app's answer is not HTTP: {why}")),
            None => Fault::Died("the instance closed the connection before it answered".into()),
        }
    }

    /// The response is complete.
    fn over(&mut self) {
        self.outcome(Outcome::Answered);
        self.lease = None;
        if let Some(mut sender) = self.sender.take() {
            sender.alarm.set(None);
            sender.since = self.core.sweep.now();
            self.core.idle.http.keep(self.serial, sender, self.core.house.options.limits.idle_per_instance);
        }
    }
}

async fn reply(
    mut exchange: Exchange,
    response: Response<Incoming>,
    buffered: bool,
    notes: Rc<Notes>,
    cut: Rc<Cell<Option<Cut>>>,
) -> Result<Reply, Fault> {
    let (parts, body) = response.into_parts();
    if parts.status.is_informational() {
        exchange.outcome(Outcome::Answered);
        return Err(Fault::Garbage(format!("the app answered {}: protocols cannot be switched here", parts.status)));
    }
    let limit = exchange.core.house.options.limits.response_body;
    let known = body.size_hint().exact();
    if known.is_some_and(|length| length > limit) {
        exchange.outcome(Outcome::Answered);
        return Err(Fault::ResponseTooLarge);
    }
    if body.is_end_stream() {
        exchange.over();
        return Ok(Reply { status: parts.status, headers: parts.headers, body: Kind::Empty });
    }
    let mut stream = HttpStream { body, exchange, left: limit, known, notes, cut, over: false };
    let body = if buffered {
        let mut all = bytes::BytesMut::new();
        while let Some(piece) = std::future::poll_fn(|cx| stream.poll(cx)).await {
            all.extend_from_slice(&piece?);
        }
        Kind::Whole(all.freeze())
    } else {
        Kind::Http(Box::new(stream))
    };
    Ok(Reply { status: parts.status, headers: parts.headers, body })
}

/// A response's body.
pub(crate) struct HttpStream {
    body: Incoming,
    exchange: Exchange,
    left: u64,
    known: Option<u64>,
    notes: Rc<Notes>,
    cut: Rc<Cell<Option<Cut>>>,
    over: bool,
}

impl HttpStream {
    pub(crate) fn length(&self) -> Option<u64> {
        self.known
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Fault>>> {
        loop {
            if self.over {
                return Poll::Ready(None);
            }
            let frame = match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => frame,
                Poll::Ready(None) => {
                    self.over = true;
                    self.exchange.over();
                    return Poll::Ready(None);
                }
                Poll::Ready(Some(Err(_))) => {
                    self.over = true;
                    let fault = match self.cut.get() {
                        Some(cut) => Fault::Cut(cut),
                        None => Fault::Died("the instance closed the connection in the middle of its answer".into()),
                    };
                    self.exchange.outcome(Outcome::Broken);
                    return Poll::Ready(Some(Err(fault)));
                }
                Poll::Pending => {
                    let rang = self.exchange.sender.as_ref().is_some_and(|sender| sender.alarm.poll(cx).is_ready());
                    if !rang {
                        return Poll::Pending;
                    }
                    self.over = true;
                    self.exchange.outcome(Outcome::TimedOut);
                    return Poll::Ready(Some(Err(Fault::Deadline)));
                }
            };
            let Ok(data) = frame.into_data() else { continue };
            if data.is_empty() {
                continue;
            }
            let Some(left) = self.left.checked_sub(data.len() as u64) else {
                self.over = true;
                self.exchange.outcome(Outcome::Answered);
                return Poll::Ready(Some(Err(Fault::ResponseTooLarge)));
            };
            self.left = left;
            self.known = self.known.map(|known| known.saturating_sub(data.len() as u64));
            // Nobody asks again after the last byte of a known length.
            if self.body.is_end_stream() {
                self.over = true;
                self.exchange.over();
            }
            return Poll::Ready(Some(Ok(data)));
        }
    }

    pub(crate) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Aborted>>> {
        self.poll(cx).map(|piece| {
            piece.map(|piece| {
                piece.map_err(|fault| {
                    self.notes.fault.replace(Some(fault.log()));
                    Aborted("the response could not be finished")
                })
            })
        })
    }
}

/// A tokio stream as hyper's client sees it.
struct Stream {
    socket: TcpStream,
    core: Rc<Core>,
}

impl hyper::rt::Read for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, mut buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let mut scratch = this.core.scratch.borrow_mut();
        let most = scratch.len().min(buf.remaining());
        let mut buffer = ReadBuf::new(&mut scratch[..most]);
        std::task::ready!(Pin::new(&mut this.socket).poll_read(cx, &mut buffer))?;
        buf.put_slice(buffer.filled());
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
