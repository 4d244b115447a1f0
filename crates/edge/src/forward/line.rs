//! Connections to instances: kept while idle, per core and instance.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use model::retry::Reach;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::core::Core;
use crate::sweep::Alarm;

/// A socket to an instance.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin {
    /// Reads without waiting; costs no system call unless there is news.
    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize>;

    /// What the kernel still has to say about the connection's end.
    fn take_error(&self) -> io::Result<Option<io::Error>>;
}

impl Socket for TcpStream {
    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Self::try_read(self, buffer)
    }

    fn take_error(&self) -> io::Result<Option<io::Error>> {
        Self::take_error(self)
    }
}

impl Socket for UnixStream {
    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Self::try_read(self, buffer)
    }

    fn take_error(&self) -> io::Result<Option<io::Error>> {
        Self::take_error(self)
    }
}

/// One connection.
pub(crate) struct Line<S> {
    pub(crate) stream: S,
    /// Bytes that came and were not read yet.
    pub(crate) input: BytesMut,
    /// Bytes that are to be sent, of which `sent` were.
    pub(crate) out: Vec<u8>,
    pub(crate) sent: usize,
    /// Rings at the deadline of a request that brings no alarm along.
    pub(crate) alarm: Rc<Alarm>,
    /// It served a request before.
    pub(crate) reused: bool,
    fate: Fate,
    since: u64,
}

/// What became of the present request's bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Fate {
    /// They did not fit into one write.
    split: bool,
    /// Bytes came back.
    heard: bool,
    end: End,
}

/// How a connection ended, as far as it tells whether the request was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum End {
    /// Orderly, or not yet.
    #[default]
    Silent,
    /// Already the first write failed.
    Refused,
    /// The other end closed with bytes that it had not read.
    Reset,
}

/// A request up to this size that went out in one write is read in one go, or not at all, by every server that we know.
const ATOM: usize = 4096;

/// Buffers larger than this are not kept by idle connections.
pub(crate) const KEPT: usize = 16 * 1024;

impl<S: Socket> Line<S> {
    pub(crate) fn new(core: &Core, stream: S) -> Self {
        Self {
            stream,
            input: BytesMut::new(),
            out: Vec::with_capacity(2048),
            sent: 0,
            alarm: core.sweep.silent_alarm(),
            reused: false,
            fate: Fate::default(),
            since: 0,
        }
    }

    /// Whether the instance closed it, or said something that nobody asked for.
    fn stale(&self) -> bool {
        !matches!(self.stream.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Sends what can be sent now; ready when all of `out` is gone or nobody reads it any more (`false`): an instance that stopped reading may
    /// still have answered.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        while self.sent < self.out.len() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.out[self.sent..])) {
                Ok(length) if length > 0 => {
                    self.sent += length;
                    self.fate.split |= self.sent < self.out.len();
                }
                _ => {
                    if self.sent == 0 && !self.fate.split {
                        self.fate.end = End::Refused;
                    }
                    self.sent = self.out.len();
                    return Poll::Ready(false);
                }
            }
        }
        Poll::Ready(true)
    }

    /// Room for more bytes: those in `out` were sent.
    pub(crate) fn next(&mut self) {
        self.fate.split |= !self.out.is_empty();
        self.out.clear();
        self.sent = 0;
    }

    /// Takes in what came; 0 at the end.
    pub(crate) fn poll_input(&mut self, core: &Core, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut scratch = core.scratch.borrow_mut();
        let mut buffer = ReadBuf::new(&mut scratch);
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer));
        let length = buffer.filled().len();
        let reset = || is_reset(read.as_ref().err()) || is_reset(self.stream.take_error().ok().flatten().as_ref());
        if length == 0 && self.fate.end == End::Silent && reset() {
            self.fate.end = End::Reset;
        }
        self.fate.heard |= length > 0;
        self.input.extend_from_slice(buffer.filled());
        Poll::Ready(read.map(|()| length))
    }

    /// How far the request came, once the connection has ended without an answer. The kernel tells: a socket that is closed with bytes unread
    /// resets the connection.
    pub(crate) fn reach(&self) -> Reach {
        let Fate { split, heard, end } = self.fate;
        let unread = match end {
            End::Silent => false,
            End::Refused => true,
            End::Reset => !split && self.out.len() <= ATOM,
        };
        if unread && !heard { Reach::Nowhere } else { Reach::App }
    }

    /// Whether `out` holds the whole request and nothing came back: it can be sent again as it is.
    pub(crate) fn is_repeatable(&self) -> bool {
        !self.fate.split && !self.fate.heard
    }
}

fn is_reset(error: Option<&io::Error>) -> bool {
    error.is_some_and(|error| matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe))
}

/// Idle connections by the serial number of their instance.
pub(crate) struct Lines<S>(RefCell<BTreeMap<u64, Vec<Line<S>>>>);

impl<S> Default for Lines<S> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<S: Socket> Lines<S> {
    /// The one that was used last: the others may be about to be closed by the instance.
    pub(crate) fn take(&self, serial: u64) -> Option<Line<S>> {
        let mut idle = self.0.borrow_mut();
        let lines = idle.get_mut(&serial)?;
        while let Some(mut line) = lines.pop() {
            if !line.stale() {
                line.reused = true;
                line.fate = Fate::default();
                return Some(line);
            }
        }
        None
    }

    /// Keeps a connection whose request is over.
    pub(crate) fn keep(&self, core: &Core, serial: u64, mut line: Line<S>) {
        line.alarm.set(None);
        line.since = core.sweep.now();
        line.sent = 0;
        line.out.clear();
        if line.out.capacity() > KEPT {
            line.out = Vec::new();
        }
        let mut idle = self.0.borrow_mut();
        let lines = idle.entry(serial).or_default();
        if lines.len() < core.house.options.limits.idle_per_instance {
            lines.push(line);
        }
    }

    /// Closes connections whose instance is gone or that nobody used since `oldest`.
    pub(crate) fn prune(&self, oldest: u64) {
        self.0.borrow_mut().retain(|_, lines| {
            lines.retain(|line| line.since >= oldest && !line.stale());
            !lines.is_empty()
        });
    }
}
