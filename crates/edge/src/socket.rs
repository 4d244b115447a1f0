//! What a connection needs of its socket besides reading and writing: whether the client left while its request is served.

use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// A client's socket.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin + 'static {
    /// Whether the client left; wakes the task when it does. `None` if only reading tells. Costs no system call unless there is news.
    fn left(&self, cx: &mut Context<'_>) -> Option<bool>;
}

impl Socket for TcpStream {
    fn left(&self, cx: &mut Context<'_>) -> Option<bool> {
        let mut byte = [0];
        // A byte is a pipelined request, which waits.
        Some(matches!(self.poll_peek(cx, &mut ReadBuf::new(&mut byte)), Poll::Ready(Ok(0) | Err(_))))
    }
}

impl Socket for TlsStream<TcpStream> {
    fn left(&self, _: &mut Context<'_>) -> Option<bool> {
        None
    }
}
