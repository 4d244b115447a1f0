//! What a connection needs of its socket besides reading and writing.

use std::io;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use crate::assets::stream::Extent;

/// A client's socket.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin + 'static {
    /// Whether the client left; wakes the task when it does. `None` if only reading tells. Costs no system call unless there is news.
    fn left(&self, cx: &mut Context<'_>) -> Option<bool>;

    /// Everything was written: says so with the next flush, if the protocol has words for it.
    fn farewell(&mut self);

    /// Bytes that went out with a flush instead of a write.
    fn sent(&self) -> u64;

    /// The socket itself, if what is written goes out as it is: files can be sent unread then.
    fn plain(&self) -> Option<&TcpStream>;
}

/// Sends what the socket takes of `extent`; how many bytes that was. A socket that took less than all is full: nothing is tried before it has room for
/// a good deal, where trying on would send a few packets at a time.
pub(crate) fn poll_extent(socket: &TcpStream, cx: &mut Context<'_>, extent: &mut Extent) -> Poll<io::Result<usize>> {
    loop {
        ready!(socket.poll_write_ready(cx))?;
        let mut sent = 0;
        let tried = socket.try_io(Interest::WRITABLE, || {
            sent = extent.send(socket)?;
            if extent.left() > 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        match tried {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Poll::Ready(Err(error)),
            Err(_) if sent == 0 => {}
            _ => return Poll::Ready(Ok(sent)),
        }
    }
}

impl Socket for TcpStream {
    fn left(&self, cx: &mut Context<'_>) -> Option<bool> {
        let mut byte = [0];
        // A byte is a pipelined request, which waits.
        Some(matches!(self.poll_peek(cx, &mut ReadBuf::new(&mut byte)), Poll::Ready(Ok(0) | Err(_))))
    }

    fn farewell(&mut self) {}

    fn sent(&self) -> u64 {
        0
    }

    fn plain(&self) -> Option<&TcpStream> {
        Some(self)
    }
}
