//! The socket of one connection as the HTTP library sees it: the guard judges what is read, and the timeouts are kept here.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use hyper::rt::ReadBufCursor;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Guard, Refusal, Step};
use crate::core::Core;
use crate::link::{Link, Verdict};

/// What hyper is given instead of a refused head, so that it asks the service for an answer and closes after it.
const STAND_IN: &[u8] = b" / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";

/// The start of an HTTP/2 connection (RFC 9113 §3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Why a read fails when the client is too slow; the body's reader tells it from a broken connection by this text.
const SLOW: &str = "the client sends its request too slowly";

/// What the first bytes of a connection say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opening {
    Http1,
    Http2,
    /// The client left, or sent nothing in time.
    Closed,
}

/// A socket behind a guard.
pub(crate) struct Wire<S> {
    socket: S,
    core: Rc<Core>,
    link: Rc<Link>,
    /// `None` for HTTP/2, whose frames leave no doubt.
    guard: Option<Guard>,
    /// Bytes read from the socket: `sent` of them went to hyper, `judged` may.
    hold: Vec<u8>,
    sent: usize,
    judged: usize,
    broken: Option<&'static str>,
    ended: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(crate) fn new(socket: S, core: Rc<Core>, link: Rc<Link>) -> Self {
        let guard = Some(Guard::new(core.house.bounds));
        Self { socket, core, link, guard, hold: Vec::new(), sent: 0, judged: 0, broken: None, ended: false }
    }

    pub(crate) fn socket(&self) -> &S {
        &self.socket
    }

    /// From now on everything passes: HTTP/2.
    pub(crate) fn open(&mut self) {
        self.guard = None;
        self.judged = self.hold.len();
    }

    /// Whether HTTP/1 could go on here: nothing refused, nothing broken, not closed by the client.
    pub(crate) fn sound(&self) -> bool {
        !self.ended && self.broken.is_none() && self.link.refused().is_none()
    }

    /// Waits for the first bytes of a request. `fresh`: they may be HTTP/2's preface.
    pub(crate) fn poll_opening(&mut self, cx: &mut Context<'_>, fresh: bool) -> Poll<Opening> {
        loop {
            if fresh && self.sent == 0 && !self.hold.is_empty() {
                let known = self.hold.len().min(PREFACE.len());
                if self.hold[..known] == PREFACE[..known] {
                    if known == PREFACE.len() {
                        return Poll::Ready(Opening::Http2);
                    }
                } else {
                    self.judge();
                }
            } else {
                self.judge();
            }
            if self.judged > self.sent {
                return Poll::Ready(Opening::Http1);
            }
            match self.link.verdict() {
                Verdict::Close => return Poll::Ready(Opening::Closed),
                Verdict::SlowHead => {
                    self.refuse(Refusal { status: 408, reason: "the request's head took too long" });
                    return Poll::Ready(Opening::Http1);
                }
                _ => {}
            }
            match ready!(self.poll_fill(cx, 16 * 1024)) {
                Ok(0) | Err(_) => return Poll::Ready(Opening::Closed),
                Ok(_) => {}
            }
        }
    }

    /// Reads into `hold`.
    fn poll_fill(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<usize>> {
        let mut scratch = self.core.scratch.borrow_mut();
        let most = most.min(scratch.len());
        let mut buffer = ReadBuf::new(&mut scratch[..most]);
        match Pin::new(&mut self.socket).poll_read(cx, &mut buffer) {
            Poll::Ready(Ok(())) => {
                let filled = buffer.filled();
                self.hold.extend_from_slice(filled);
                self.ended |= filled.is_empty();
                self.link.read(filled.len(), self.core.sweep.now());
                Poll::Ready(Ok(filled.len()))
            }
            Poll::Ready(Err(error)) => {
                self.ended = true;
                Poll::Ready(Err(error))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    /// Lets the guard see what it has not seen; moves `judged`.
    fn judge(&mut self) {
        let Some(guard) = &mut self.guard else {
            self.judged = self.hold.len();
            return;
        };
        while self.judged < self.hold.len() {
            match guard.step(&self.hold[self.judged..]) {
                Step::More => break,
                Step::Pass(length) => self.judged += length,
                Step::Mend(length) => {
                    let end = self.judged + length;
                    let mended = Guard::mend(&self.hold[self.judged..end]);
                    let length = mended.len();
                    self.hold.splice(self.judged..end, mended);
                    self.judged += length;
                }
                Step::Skip(length) => {
                    self.hold.drain(self.judged..self.judged + length);
                }
                Step::Refuse(refusal) => return self.stand_in(refusal),
                Step::Broken(reason) => {
                    self.broken = Some(reason);
                    break;
                }
            }
        }
        self.link.within_body(!guard.between());
        let partial = guard.between() && self.judged < self.hold.len();
        self.link.partial_head(partial, self.core.sweep.now());
    }

    fn refuse(&mut self, refusal: Refusal) {
        if let Some(guard) = &mut self.guard {
            guard.give_up();
        }
        self.stand_in(refusal);
    }

    fn stand_in(&mut self, refusal: Refusal) {
        let number = self.guard.as_ref().map_or(0, Guard::heads);
        self.link.refuse(number, refusal);
        let method: &[u8] = if self.hold[self.judged..].starts_with(b"HEAD ") { b"HEAD" } else { b"GET" };
        self.hold.truncate(self.judged);
        self.hold.extend_from_slice(method);
        self.hold.extend_from_slice(STAND_IN);
        self.judged = self.hold.len();
    }

    /// Hands judged bytes over.
    fn give(&mut self, buf: &mut ReadBufCursor<'_>) {
        let end = self.judged.min(self.sent + buf.remaining());
        buf.put_slice(&self.hold[self.sent..end]);
        self.sent = end;
        if self.sent == self.hold.len() {
            self.hold.clear();
            self.sent = 0;
            self.judged = 0;
        }
    }

    /// Gives the memory of an idle connection back.
    pub(crate) fn shrink(&mut self) {
        if self.hold.is_empty() {
            self.hold = Vec::new();
        }
    }

    /// After the last response: says goodbye, then takes in what the client still sends, so that it can read that response before the
    /// connection is reset.
    pub(crate) async fn linger(mut self) {
        let most = self.core.house.options.timeouts.linger;
        let core = self.core.clone();
        let work = async move {
            let shut = std::future::poll_fn(|cx| Pin::new(&mut self.socket).poll_shutdown(cx)).await;
            if shut.is_err() || self.ended {
                return;
            }
            for _ in 0..LINGER_READS {
                self.hold.clear();
                let got = std::future::poll_fn(|cx| self.poll_fill(cx, usize::MAX)).await;
                if !matches!(got, Ok(1..)) {
                    return;
                }
            }
        };
        core.sweep.within(most, work).await;
    }
}

/// How many reads of at most 64 KiB a closing connection is worth.
const LINGER_READS: usize = 64;

impl<S: AsyncRead + AsyncWrite + Unpin> hyper::rt::Read for Wire<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, mut buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.judged > this.sent {
                this.give(&mut buf);
                return Poll::Ready(Ok(()));
            }
            if let Some(reason) = this.broken {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, reason)));
            }
            if this.link.refused().is_some() {
                return Poll::Pending;
            }
            match this.link.verdict() {
                // To hyper this looks like a client that closed an idle connection: it ends without a word and gives the socket back.
                Verdict::Nap if this.hold.is_empty() => return Poll::Ready(Ok(())),
                Verdict::SlowHead => {
                    this.refuse(Refusal { status: 408, reason: "the request's head took too long" });
                    continue;
                }
                Verdict::SlowBody => return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, SLOW))),
                _ => {}
            }
            let body = this.guard.as_ref().and_then(Guard::body_left);
            if let Some(left) = body
                && this.hold.is_empty()
            {
                return this.poll_body(cx, &mut buf, left);
            }
            let between = this.guard.as_ref().is_none_or(Guard::between);
            this.link.within_body(!between);
            match this.poll_fill(cx, buf.remaining().max(4096)) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(_)) => this.judge(),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    if !between {
                        this.link.wait_for_body(this.core.sweep.now());
                    }
                    return Poll::Pending;
                }
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// A body of known length needs no judging: it goes straight to hyper.
    fn poll_body(&mut self, cx: &mut Context<'_>, buf: &mut ReadBufCursor<'_>, left: u64) -> Poll<io::Result<()>> {
        let mut scratch = self.core.scratch.borrow_mut();
        let most = scratch.len().min(buf.remaining()).min(usize::try_from(left).unwrap_or(usize::MAX));
        let mut buffer = ReadBuf::new(&mut scratch[..most]);
        let now = self.core.sweep.now();
        match Pin::new(&mut self.socket).poll_read(cx, &mut buffer) {
            Poll::Ready(Ok(())) => {
                let filled = buffer.filled();
                self.link.read(filled.len(), now);
                self.ended |= filled.is_empty();
                if let Some(guard) = &mut self.guard
                    && !filled.is_empty()
                {
                    let _ = guard.step(filled);
                    self.link.within_body(!guard.between());
                }
                buf.put_slice(filled);
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                self.link.wait_for_body(now);
                Poll::Pending
            }
        }
    }

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

impl<S: AsyncRead + AsyncWrite + Unpin> hyper::rt::Write for Wire<S> {
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
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
