//! Connections to instances: kept while idle, per core and instance.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::core::Core;
use crate::sweep::Alarm;

/// A socket to an instance.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin {
    /// Reads without waiting; costs no system call unless there is news.
    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize>;
}

impl Socket for TcpStream {
    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Self::try_read(self, buffer)
    }
}

impl Socket for UnixStream {
    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Self::try_read(self, buffer)
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
    /// Rings at the request's deadline.
    pub(crate) alarm: Rc<Alarm>,
    /// It served a request before.
    pub(crate) reused: bool,
    since: u64,
}

/// Buffers larger than this are not kept by idle connections.
pub(crate) const KEPT: usize = 16 * 1024;

impl<S: Socket> Line<S> {
    pub(crate) fn new(core: &Core, stream: S) -> Self {
        let alarm = core.sweep.alarm(core.house.options.timeouts.connect);
        alarm.set(None);
        Self { stream, input: BytesMut::new(), out: Vec::with_capacity(2048), sent: 0, alarm, reused: false, since: 0 }
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
                Ok(length) if length > 0 => self.sent += length,
                _ => {
                    self.sent = self.out.len();
                    return Poll::Ready(false);
                }
            }
        }
        Poll::Ready(true)
    }

    /// Takes in what came; 0 at the end.
    pub(crate) fn poll_input(&mut self, core: &Core, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut scratch = core.scratch.borrow_mut();
        let mut buffer = ReadBuf::new(&mut scratch);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
        self.input.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    }
}

/// Idle connections by the serial number of their instance.
pub(crate) struct Lines<S>(RefCell<HashMap<u64, Vec<Line<S>>>>);

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
