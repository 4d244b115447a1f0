//! A cleartext socket that two may look at: hyper reads and writes, and the connection's task sees when the client leaves.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// A socket whose other end can be watched.
pub(crate) trait Watchable: AsyncRead + AsyncWrite + Unpin {
    type Watch: Watch;

    fn watch(&self) -> Self::Watch;
}

/// Sees whether the client left while its request is served.
pub(crate) trait Watch {
    /// Whether this can tell at all; otherwise hyper must.
    const BY_OURSELVES: bool;

    /// Whether the client left; wakes the task when it does. Costs no system call unless there is news.
    fn left(&self, cx: &mut Context<'_>) -> bool;
}

/// TCP without TLS.
#[derive(Clone)]
pub(crate) struct Plain(pub(crate) Rc<TcpStream>);

impl Watchable for Plain {
    type Watch = Self;

    fn watch(&self) -> Self {
        self.clone()
    }
}

impl Watch for Plain {
    const BY_OURSELVES: bool = true;

    fn left(&self, cx: &mut Context<'_>) -> bool {
        let mut byte = [0];
        // A byte is a pipelined request, which waits.
        matches!(self.0.poll_peek(cx, &mut ReadBuf::new(&mut byte)), Poll::Ready(Ok(0) | Err(_)))
    }
}

impl Watchable for TlsStream<TcpStream> {
    type Watch = ();

    fn watch(&self) {}
}

/// Under TLS only reading tells.
impl Watch for () {
    const BY_OURSELVES: bool = false;

    fn left(&self, _: &mut Context<'_>) -> bool {
        false
    }
}

/// Tries until the socket is really ready: readiness may be stale.
macro_rules! attempt {
    ($self:ident, $cx:ident, $ready:ident, $try:expr) => {
        loop {
            ready!($self.0.$ready($cx))?;
            match $try {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    };
}

impl AsyncRead for Plain {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        attempt!(self, cx, poll_read_ready, {
            let space = buf.initialize_unfilled();
            let room = space.len();
            let result = self.0.try_read(space);
            result.map(|length| {
                if length > 0 && length < room {
                    // A short read has emptied the socket: the next one would only be told so by another system call.
                    let _ = self.0.try_io(Interest::READABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
                }
                buf.advance(length);
            })
        })
    }
}

impl AsyncWrite for Plain {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        attempt!(self, cx, poll_write_ready, self.0.try_write(buf))
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        attempt!(self, cx, poll_write_ready, self.0.try_write_vectored(bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(rustix::net::shutdown(&*self.0, rustix::net::Shutdown::Write).map_err(Into::into))
    }
}
