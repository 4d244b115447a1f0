//! What a connection needs of its socket besides reading and writing.

use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A client's socket.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin + 'static {
    /// Whether the client left; wakes the task when it does. `None` if only reading tells. Costs no system call unless there is news.
    fn left(&self, cx: &mut Context<'_>) -> Option<bool>;

    /// Everything was written: says so with the next flush, if the protocol has words for it.
    fn farewell(&mut self);

    /// Bytes that went out with a flush instead of a write.
    fn sent(&self) -> u64;
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
}
