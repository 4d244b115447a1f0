//! HTTP/2 on the client's side, by hyper: its streams, their alarms, and the socket as hyper sees it.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::rt::ReadBufCursor;
use hyper::server::conn::http2;
use hyper::service::Service;
use tokio::io::ReadBuf;

use crate::body::Body;
use crate::conn::Peer;
use crate::core::Core;
use crate::link::{Link, Verdict};
use crate::socket::Socket;
use crate::sweep::Alarm;
use crate::upload::Upload;
use crate::walk::{Answered, Arrival, walk};

/// HTTP/2 until the connection is over. `first` was read before.
pub(crate) async fn serve<S: Socket>(core: Rc<Core>, socket: S, first: Bytes, link: Rc<Link>, peer: Rc<Peer>) {
    link.multiplex();
    link.partial_head(false, 0);
    let limits = &core.house.options.limits;
    let slots = Slots::default();
    let pipe = Pipe { socket, first, core: core.clone(), link: link.clone() };
    let service = Door { core: core.clone(), link: link.clone(), peer, slots: slots.clone() };
    let mut connection = std::pin::pin!(
        http2::Builder::new(slots)
            .auto_date_header(false)
            .max_concurrent_streams(limits.h2_streams)
            .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
            .max_pending_accept_reset_streams(limits.h2_pending_resets)
            .max_local_error_reset_streams(limits.h2_local_resets)
            .initial_stream_window_size(256 * 1024)
            .initial_connection_window_size(1024 * 1024)
            .max_send_buf_size(64 * 1024)
            .serve_connection(pipe, service)
    );
    // Rings when a client that was told GOAWAY has had time to answer.
    let mut parting: Option<Rc<Alarm>> = None;
    let mut told = false;
    std::future::poll_fn(|cx| {
        link.listen(cx);
        let close = link.verdict() == Verdict::Close;
        if close && link.stuck() {
            return Poll::Ready(());
        }
        if (link.draining() || close) && !told {
            told = true;
            connection.as_mut().graceful_shutdown();
        }
        if told && !link.busy() {
            let alarm = parting.get_or_insert_with(|| core.sweep.alarm(core.house.options.timeouts.linger));
            if alarm.poll(cx).is_ready() {
                return Poll::Ready(());
            }
        }
        connection.as_mut().poll(cx).map(|_| ())
    })
    .await;
}

/// Where requests enter the house.
struct Door {
    core: Rc<Core>,
    link: Rc<Link>,
    peer: Rc<Peer>,
    slots: Slots,
}

type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>>>>;

impl Service<Request<Incoming>> for Door {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        let (core, link, peer) = (self.core.clone(), self.link.clone(), self.peer.clone());
        let stall = self.slots.fill(&core);
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            let body = Upload::stream(body, &core);
            link.begin();
            let arrival = Arrival {
                core: &core,
                peer: &peer,
                parts: &mut parts,
                body,
                link: Some(link),
                stall: Some(stall),
                refusal: None,
                errand: None,
                stamped: false,
            };
            let Answered { status, headers, body, .. } = walk(arrival).await;
            let mut response = Response::new(body);
            *response.status_mut() = status;
            *response.headers_mut() = headers;
            Ok(response)
        })
    }
}

/// Runs HTTP/2 streams on the core. Each stream gets an alarm that ends it when its client stops taking the response: hyper waits for window
/// for ever.
#[derive(Clone, Default)]
struct Slots(Rc<RefCell<Option<Rc<Alarm>>>>);

impl Slots {
    /// hyper calls the service first and hands its future over right after: the alarm of the one belongs to the other.
    fn fill(&self, core: &Rc<Core>) -> Rc<Alarm> {
        let alarm = core.sweep.silent_alarm();
        self.0.replace(Some(alarm.clone()));
        alarm
    }
}

impl<F: Future + 'static> hyper::rt::Executor<F> for Slots {
    fn execute(&self, future: F) {
        let alarm = self.0.take();
        tokio::task::spawn_local(Stream { future: Box::pin(future), alarm });
    }
}

struct Stream<F> {
    future: Pin<Box<F>>,
    alarm: Option<Rc<Alarm>>,
}

impl<F: Future> Future for Stream<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(alarm) = &self.alarm
            && alarm.poll(cx).is_ready()
        {
            return Poll::Ready(());
        }
        self.future.as_mut().poll(cx).map(|_| ())
    }
}

/// The socket as hyper sees it: what was read before comes first, and the client's pace is watched.
struct Pipe<S> {
    socket: S,
    first: Bytes,
    core: Rc<Core>,
    link: Rc<Link>,
}

impl<S: Socket> hyper::rt::Read for Pipe<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, mut buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.first.is_empty() {
            let length = this.first.len().min(buf.remaining());
            buf.put_slice(&this.first[..length]);
            this.first.advance(length);
            return Poll::Ready(Ok(()));
        }
        let mut scratch = this.core.scratch.borrow_mut();
        let most = scratch.len().min(buf.remaining());
        let mut buffer = ReadBuf::new(&mut scratch[..most]);
        let result = Pin::new(&mut this.socket).poll_read(cx, &mut buffer);
        if let Poll::Ready(Ok(())) = &result {
            buf.put_slice(buffer.filled());
            this.link.read(buffer.filled().len(), this.core.sweep.now());
        }
        result
    }
}

impl<S: Socket> Pipe<S> {
    fn wrote(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let now = self.core.sweep.now();
        match &result {
            Poll::Ready(Ok(length)) => self.link.wrote(*length, now),
            Poll::Pending => self.link.wait_for_room(now),
            Poll::Ready(Err(_)) => {}
        }
        result
    }
}

impl<S: Socket> hyper::rt::Write for Pipe<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.wrote(result)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.wrote(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let before = self.socket.sent();
        let result = Pin::new(&mut self.socket).poll_flush(cx);
        let (flushed, now) = (self.socket.sent() - before, self.core.sweep.now());
        if flushed > 0 {
            self.link.wrote(usize::try_from(flushed).unwrap_or(usize::MAX), now);
        }
        if result.is_pending() {
            self.link.wait_for_room(now);
        }
        result
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
