//! The socket of one connection: what was read and not yet used, what is to be written, and the timeouts of both. Shared by the connection's
//! task and the body of its current request; neither holds it while the other runs.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::request::Parts;
use tokio::io::ReadBuf;

use super::outbox::Outbox;
use crate::core::Core;
use crate::forward::response::Part;
use crate::guard::{Guard, Refusal, Shape};
use crate::link::{Link, Verdict};
use crate::socket::{Socket, poll_extent};
use crate::upload::{Cut, Inlet};

/// The start of an HTTP/2 connection (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

const SLOW_HEAD: Refusal = Refusal { status: 408, reason: "the request's head took too long" };

/// Bytes of further requests that are taken in while one is served, where only reading tells whether the client is there.
const AHEAD: usize = 16 * 1024;

/// Bytes that a body may leave behind for the connection to be worth keeping.
const LEFT_BEHIND: usize = 64 * 1024;

/// What the first bytes of a connection say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opening {
    Http1,
    Http2,
    /// The client left, or sent nothing in time.
    Closed,
}

/// What comes after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heading {
    /// The next one.
    Request(Shape),
    /// One that is not served. It asks for no body if it is a HEAD request.
    Refused { refusal: Refusal, head: bool },
    /// Nothing for a while.
    Nap,
    /// The client left, or is to leave.
    Closed,
}

/// A connection's socket and buffers.
pub(crate) struct Wire<S> {
    pub(super) core: Rc<Core>,
    pub(super) link: Rc<Link>,
    inner: RefCell<Inner<S>>,
}

struct Inner<S> {
    socket: S,
    guard: Guard,
    input: BytesMut,
    out: Outbox,
    /// The client waits to be told to go on.
    expects: bool,
    /// Nothing more will come.
    ended: bool,
    /// What is to be written is the end of the last response.
    last: bool,
}

impl<S: Socket> Inner<S> {
    /// Sends some of the part of a file that comes next.
    fn poll_lent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let (Some(extent), Some(socket)) = (self.out.lent(), self.socket.plain()) else {
            return Poll::Ready(Err(io::ErrorKind::Unsupported.into()));
        };
        let sent = ready!(poll_extent(socket, cx, extent));
        self.out.settle();
        Poll::Ready(sent)
    }
}

impl<S: Socket> Wire<S> {
    pub(crate) fn new(socket: S, core: Rc<Core>, link: Rc<Link>) -> Rc<Self> {
        let guard = Guard::new(core.house.bounds);
        let inner = Inner { socket, guard, input: BytesMut::new(), out: Outbox::default(), expects: false, ended: false, last: false };
        Rc::new(Self { core, link, inner: RefCell::new(inner) })
    }

    /// The socket and what was read from it; `None` while a request still has a share in it.
    pub(crate) fn open(self: Rc<Self>) -> Option<(S, Bytes)> {
        let inner = Rc::into_inner(self)?.inner.into_inner();
        Some((inner.socket, inner.input.freeze()))
    }

    /// Waits for the first bytes of a request. `fresh`: they may be HTTP/2's preface.
    pub(crate) fn poll_opening(&self, cx: &mut Context<'_>, fresh: bool) -> Poll<Opening> {
        let mut inner = self.inner.borrow_mut();
        loop {
            let known = inner.input.len().min(PREFACE.len());
            let doubt = fresh && inner.input[..known] == PREFACE[..known];
            if doubt && known == PREFACE.len() {
                return Poll::Ready(Opening::Http2);
            }
            if !doubt && known > 0 {
                return Poll::Ready(Opening::Http1);
            }
            self.link.partial_head(known > 0, self.core.sweep.now());
            match self.link.verdict() {
                Verdict::Close => return Poll::Ready(Opening::Closed),
                Verdict::SlowHead => return Poll::Ready(Opening::Http1),
                _ if self.link.draining() => return Poll::Ready(Opening::Closed),
                // What waited for the first response (TLS tickets) waits no longer. If it fails, reading does, too.
                Verdict::Nap => drop(Pin::new(&mut inner.socket).poll_flush(cx)),
                _ => {}
            }
            if !matches!(ready!(self.poll_fill(&mut inner, cx)), Ok(1..)) {
                return Poll::Ready(Opening::Closed);
            }
        }
    }

    /// Reads once; 0 at the end.
    fn poll_fill(&self, inner: &mut Inner<S>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut scratch = self.core.scratch.borrow_mut();
        let mut buffer = ReadBuf::new(&mut scratch);
        match ready!(Pin::new(&mut inner.socket).poll_read(cx, &mut buffer)) {
            Ok(()) => {
                let filled = buffer.filled();
                inner.input.extend_from_slice(filled);
                inner.ended |= filled.is_empty();
                self.link.read(filled.len(), self.core.sweep.now());
                Poll::Ready(Ok(filled.len()))
            }
            Err(error) => {
                inner.ended = true;
                Poll::Ready(Err(error))
            }
        }
    }

    /// Waits for the next request and writes it into `parts`.
    pub(super) fn poll_heading(&self, cx: &mut Context<'_>, parts: &mut Parts) -> Poll<Heading> {
        let inner = &mut *self.inner.borrow_mut();
        loop {
            let head = inner.input.starts_with(b"HEAD ");
            match inner.guard.head(&mut inner.input, parts) {
                Ok(Some(shape)) => {
                    self.link.partial_head(false, 0);
                    self.link.within_body(!inner.guard.between());
                    inner.expects = shape.expects;
                    return Poll::Ready(Heading::Request(shape));
                }
                Ok(None) => {}
                Err(refusal) => return Poll::Ready(self.refuse(refusal, head)),
            }
            let partial = !inner.input.is_empty();
            self.link.partial_head(partial, self.core.sweep.now());
            match self.link.verdict() {
                Verdict::Close => return Poll::Ready(Heading::Closed),
                Verdict::SlowHead => {
                    inner.guard.give_up();
                    return Poll::Ready(self.refuse(SLOW_HEAD, head));
                }
                Verdict::Nap if !partial => return Poll::Ready(Heading::Nap),
                _ if inner.ended || (self.link.draining() && !partial) => return Poll::Ready(Heading::Closed),
                _ => {}
            }
            if !matches!(ready!(self.poll_fill(inner, cx)), Ok(1..)) {
                return Poll::Ready(Heading::Closed);
            }
        }
    }

    fn refuse(&self, refusal: Refusal, head: bool) -> Heading {
        self.link.partial_head(false, 0);
        self.link.within_body(false);
        Heading::Refused { refusal, head }
    }

    /// Whether the client left while it is being served.
    pub(super) fn left(&self, cx: &mut Context<'_>) -> bool {
        let inner = &mut *self.inner.borrow_mut();
        if let Some(left) = inner.socket.left(cx) {
            return left;
        }
        while !inner.ended && inner.input.len() < AHEAD {
            if self.poll_fill(inner, cx).is_pending() {
                return false;
            }
        }
        inner.ended && inner.input.is_empty()
    }

    /// Whether parts of files can be sent unread.
    pub(super) fn is_plain(&self) -> bool {
        self.inner.borrow().socket.plain().is_some()
    }

    /// Changes what is to be written.
    pub(super) fn compose<T>(&self, change: impl FnOnce(&mut Outbox) -> T) -> T {
        change(&mut self.inner.borrow_mut().out)
    }

    /// Writes everything that is to be written.
    pub(super) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.flush(&mut self.inner.borrow_mut(), cx)
    }

    fn flush(&self, inner: &mut Inner<S>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let before = inner.socket.sent();
        let result = self.write(inner, cx);
        let flushed = inner.socket.sent() - before;
        if flushed > 0 {
            self.link.wrote(usize::try_from(flushed).unwrap_or(usize::MAX), self.core.sweep.now());
        }
        if result.is_pending() {
            self.link.wait_for_room(self.core.sweep.now());
        }
        result
    }

    fn write(&self, inner: &mut Inner<S>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !inner.out.is_empty() {
            let (slices, count) = inner.out.slices();
            let socket = Pin::new(&mut inner.socket);
            let length = match &slices[..count] {
                [] => ready!(inner.poll_lent(cx)),
                [one] => ready!(socket.poll_write(cx, one)),
                several => ready!(socket.poll_write_vectored(cx, several)),
            }?;
            if length == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            if count > 0 {
                inner.out.advance(length);
            }
            self.link.wrote(length, self.core.sweep.now());
        }
        if inner.last {
            inner.socket.farewell();
        }
        Pin::new(&mut inner.socket).poll_flush(cx)
    }

    /// Nothing is added any more to what is to be written.
    pub(super) fn finish(&self) {
        self.inner.borrow_mut().last = true;
    }

    /// Whether the client has said nothing that was not answered.
    pub(super) fn is_silent(&self) -> bool {
        let inner = self.inner.borrow();
        inner.guard.between() && inner.input.is_empty()
    }

    /// Whether the current request's body was read to its end, now that nobody reads it any more: what is here already is thrown away.
    pub(super) fn at_rest(&self, cx: &mut Context<'_>) -> bool {
        let inner = &mut *self.inner.borrow_mut();
        // A client that still waits for `100 Continue` sends its body or the next request; nobody can tell which.
        if std::mem::take(&mut inner.expects) {
            return inner.guard.between();
        }
        let mut thrown = 0;
        while !inner.guard.between() {
            match inner.guard.body(&mut inner.input) {
                Ok(Part::Data(data)) => thrown += data.len(),
                Ok(Part::End) => {}
                Ok(Part::More) => {
                    let nothing = inner.ended || thrown > LEFT_BEHIND || !matches!(self.poll_fill(inner, cx), Poll::Ready(Ok(1..)));
                    if nothing {
                        return false;
                    }
                }
                Err(_) => return false,
            }
        }
        self.link.within_body(false);
        true
    }

    /// Bytes of the current request's body that are still to come, if that is known.
    pub(super) fn body_left(&self) -> Option<u64> {
        self.inner.borrow().guard.left()
    }

    /// Gives the memory of an idle connection back.
    pub(crate) fn shrink(&self) {
        let inner = &mut *self.inner.borrow_mut();
        if inner.input.is_empty() {
            inner.input = BytesMut::new();
        }
        inner.out.shrink();
        inner.guard.shrink();
    }

    /// After the last response: says goodbye, then takes in what the client still sends, so that it can read that response before the
    /// connection is reset.
    pub(crate) async fn linger(&self) {
        let work = async {
            let shut = std::future::poll_fn(|cx| Pin::new(&mut self.inner.borrow_mut().socket).poll_shutdown(cx)).await;
            if shut.is_err() {
                return;
            }
            for _ in 0..LINGER_READS {
                let got = std::future::poll_fn(|cx| {
                    let inner = &mut *self.inner.borrow_mut();
                    inner.input.clear();
                    if inner.ended { Poll::Ready(Ok(0)) } else { self.poll_fill(inner, cx) }
                });
                if !matches!(got.await, Ok(1..)) {
                    return;
                }
            }
        };
        self.core.sweep.within(self.core.house.options.timeouts.linger, work).await;
    }
}

/// How many reads of at most 64 KiB a closing connection is worth.
const LINGER_READS: usize = 64;

impl<S: Socket> Inlet for Wire<S> {
    fn poll_piece(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        let inner = &mut *self.inner.borrow_mut();
        if std::mem::take(&mut inner.expects) && inner.input.is_empty() {
            inner.out.head.extend_from_slice(CONTINUE);
        }
        loop {
            match inner.guard.body(&mut inner.input) {
                Ok(Part::Data(data)) => {
                    self.link.within_body(!inner.guard.between());
                    return Poll::Ready(Some(Ok(data)));
                }
                Ok(Part::End) => {
                    self.link.within_body(false);
                    return Poll::Ready(None);
                }
                Ok(Part::More) => {}
                Err(_) => return Poll::Ready(Some(Err(Cut::Broken))),
            }
            if self.link.verdict() == Verdict::SlowBody {
                return Poll::Ready(Some(Err(Cut::TooSlow)));
            }
            if !inner.out.is_empty() && matches!(self.flush(inner, cx), Poll::Ready(Err(_))) {
                return Poll::Ready(Some(Err(Cut::Broken)));
            }
            match self.poll_fill(inner, cx) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(_) => return Poll::Ready(Some(Err(Cut::Broken))),
                Poll::Pending => {
                    self.link.wait_for_body(self.core.sweep.now());
                    return Poll::Pending;
                }
            }
        }
    }

    fn length(&self) -> Option<u64> {
        self.body_left()
    }
}
