//! A client's socket under TLS: rustls between the socket's bytes and ours. What is written is gathered until it is flushed, so that a response, the
//! session ticket before it and the farewell after it are one system call.

use std::io::{self, IoSlice, Read, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::{ProtocolVersion, ServerConfig, ServerConnection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::socket::Socket;

/// A connection after its handshake.
pub(crate) struct Secure {
    socket: TcpStream,
    session: ServerConnection,
    /// Bytes that the socket took.
    sent: u64,
    /// Decrypted bytes that nobody read yet.
    waiting: usize,
    /// No more will come, as the client said or the socket did.
    ended: bool,
}

/// The socket as rustls sees it: "not now" is an error there.
struct Raw<'a, 'c> {
    socket: &'a mut TcpStream,
    cx: &'a mut Context<'c>,
}

fn now<T>(polled: Poll<io::Result<T>>) -> io::Result<T> {
    match polled {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl Read for Raw<'_, '_> {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(space);
        now(Pin::new(&mut *self.socket).poll_read(self.cx, &mut buffer))?;
        Ok(buffer.filled().len())
    }
}

impl Write for Raw<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        now(Pin::new(&mut *self.socket).poll_write(self.cx, bytes))
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match parts {
            // A record, nearly always: the plain call is the cheaper one.
            [one] => self.write(one),
            several => now(Pin::new(&mut *self.socket).poll_write_vectored(self.cx, several)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The other way round: `WouldBlock` has left a waker behind.
fn later<T>(result: io::Result<T>) -> Poll<io::Result<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        result => Poll::Ready(result),
    }
}

/// Shakes hands.
pub(crate) async fn accept(config: Arc<ServerConfig>, socket: TcpStream) -> io::Result<Secure> {
    let session = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut secure = Secure { socket, session, sent: 0, waiting: 0, ended: false };
    std::future::poll_fn(|cx| secure.poll_handshake(cx)).await?;
    Ok(secure)
}

impl Secure {
    /// What ALPN agreed on.
    pub(crate) fn protocol(&self) -> Option<&[u8]> {
        self.session.alpn_protocol()
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.session.is_handshaking() {
            ready!(self.poll_send(cx))?;
            if ready!(self.poll_take(cx))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        if self.session.protocol_version() == Some(ProtocolVersion::TLSv1_3) {
            // What is left are tickets, which nobody waits for: they go with the first response.
            return Poll::Ready(Ok(()));
        }
        self.poll_send(cx)
    }

    /// Sends everything that is encrypted.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.session.wants_write() {
            let length = ready!(later(self.session.write_tls(&mut Raw { socket: &mut self.socket, cx })))?;
            if length == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += length as u64;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once; 0 at the end.
    fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // Asked before the session makes room for what is not there.
        ready!(self.socket.poll_read_ready(cx))?;
        let length = ready!(later(self.session.read_tls(&mut Raw { socket: &mut self.socket, cx })))?;
        match self.session.process_new_packets() {
            Ok(state) => {
                self.waiting = state.plaintext_bytes_to_read();
                self.ended |= length == 0 || state.peer_has_closed();
                Poll::Ready(Ok(length))
            }
            Err(error) => {
                // The alert says why; whoever does not take it at once does not hear it.
                let _ = self.poll_send(cx);
                Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)))
            }
        }
    }
}

impl AsyncRead for Secure {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.waiting == 0 && !self.ended {
            ready!(self.poll_take(cx))?;
        }
        // At the end the reader tells whether the client said goodbye.
        let length = self.session.reader().read(buf.initialize_unfilled())?;
        self.waiting = self.waiting.saturating_sub(length);
        buf.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Secure {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    /// Encrypts; sends only if there is no more room.
    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            let length = self.session.writer().write_vectored(parts)?;
            if length > 0 || parts.iter().all(|part| part.is_empty()) {
                return Poll::Ready(Ok(length));
            }
            ready!(self.poll_send(cx))?;
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_send(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.farewell();
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

impl Socket for Secure {
    fn left(&self, cx: &mut Context<'_>) -> Option<bool> {
        // No news, so nobody left; what news there is only reading tells.
        self.socket.poll_read_ready(cx).is_pending().then_some(false)
    }

    fn farewell(&mut self) {
        // Only the first one counts.
        self.session.send_close_notify();
    }

    fn sent(&self) -> u64 {
        self.sent
    }

    fn plain(&self) -> Option<&TcpStream> {
        None
    }
}
