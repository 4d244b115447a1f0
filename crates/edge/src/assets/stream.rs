//! A large file on its way out. What the system holds in memory goes to the socket from there ([`Extent`]); the rest, and all of it where TLS or
//! HTTP/2 come between, is read piece by piece where reading holds nobody up, one piece ahead.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use rustix::io::ReadWriteFlags;
use tokio::task::JoinHandle;

use crate::body::Aborted;

/// Bytes that are read at once.
const PIECE: u64 = 256 * 1024;

/// Bytes that are sent unread before others have their turn on the core.
const EXTENT: u64 = 2 * 1024 * 1024;

/// A part of a file.
pub(crate) struct FileStream {
    file: Arc<File>,
    at: u64,
    /// Where the part ends.
    end: u64,
    /// Bytes that were not given out yet.
    left: u64,
    reading: Option<JoinHandle<io::Result<Vec<u8>>>>,
}

impl FileStream {
    pub(crate) fn new(file: File, start: u64, end: u64) -> Self {
        let end = end.max(start);
        Self { file: Arc::new(file), at: start, end, left: end - start, reading: None }
    }

    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// The next bytes, if they can be sent without waiting for a disk. Once a piece had to be read, so are all that follow: they are on their way.
    pub(crate) fn extent(&mut self) -> Option<Extent> {
        let length = (self.end - self.at).min(EXTENT);
        if length == 0 || self.reading.is_some() || !held(&self.file, self.at, length) {
            return None;
        }
        let extent = Extent { file: self.file.clone(), at: self.at, left: length };
        self.at += length;
        self.left -= length;
        Some(extent)
    }

    fn read_on(&mut self) {
        let length = (self.end - self.at).min(PIECE);
        if length == 0 {
            self.reading = None;
            return;
        }
        let (file, at) = (self.file.clone(), self.at);
        self.at += length;
        self.reading = Some(tokio::task::spawn_blocking(move || {
            let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
            file.read_exact_at(&mut bytes, at)?;
            Ok(bytes)
        }));
    }

    pub(crate) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Aborted>>> {
        if self.reading.is_none() {
            self.read_on();
        }
        let Some(reading) = &mut self.reading else { return Poll::Ready(None) };
        let Ok(Ok(bytes)) = ready!(Pin::new(reading).poll(cx)) else {
            self.at = self.end;
            self.reading = None;
            return Poll::Ready(Some(Err(Aborted("the file changed while it was sent"))));
        };
        self.read_on();
        self.left = self.left.saturating_sub(bytes.len() as u64);
        Poll::Ready(Some(Ok(bytes.into())))
    }
}

/// Whether the system holds so many bytes from `at` in memory, as far as the first and the last of them tell. File systems that cannot say hold nothing.
fn held(file: &File, at: u64, length: u64) -> bool {
    [at, at + length - 1].into_iter().all(|at| {
        let mut byte = [0];
        rustix::io::preadv2(file, &mut [IoSliceMut::new(&mut byte)], at, ReadWriteFlags::NOWAIT) == Ok(1)
    })
}

/// Bytes of a file that need not be read to be sent.
pub(crate) struct Extent {
    file: Arc<File>,
    at: u64,
    left: u64,
}

impl Extent {
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// Sends what `socket` takes; how many bytes that was. Less than all means that the socket is full.
    ///
    /// # Errors
    /// The socket's (`WouldBlock` if it takes nothing), and `UnexpectedEof` if the file has become shorter.
    pub(crate) fn send(&mut self, socket: impl AsFd) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let sent = rustix::fs::sendfile(socket, &self.file, Some(&mut self.at), most)?;
        self.left = self.left.saturating_sub(sent as u64);
        if sent == 0 || (self.left > 0 && self.at >= self.file.metadata()?.len()) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(sent)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn file(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(content).expect("written");
        file
    }

    fn content() -> Vec<u8> {
        (0..5_000_003_u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect()
    }

    /// What arrives of `extent` where the socket is full again and again.
    fn sent(mut extent: Extent) -> Vec<u8> {
        let (ours, mut theirs) = UnixStream::pair().expect("sockets");
        ours.set_nonblocking(true).expect("set");
        let mut all = Vec::new();
        while extent.left() > 0 {
            match extent.send(&ours) {
                Ok(length) => assert!(length > 0),
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    let mut some = vec![0; 10_000];
                    let length = theirs.read(&mut some).expect("bytes");
                    all.extend_from_slice(&some[..length]);
                }
            }
        }
        drop(ours);
        theirs.read_to_end(&mut all).expect("bytes");
        all
    }

    #[tokio::test]
    async fn extents_and_pieces_are_the_file() {
        let content = content();
        let written = file(&content);
        let holds = held(&written, 0, content.len() as u64);
        for (start, end) in [(0, content.len()), (1, 2), (777_777, 4_999_999), (5, 5)] {
            for most in [0, 1, usize::MAX] {
                let mut stream = FileStream::new(written.try_clone().expect("a copy"), start as u64, end as u64);
                let (mut all, mut extents) = (Vec::new(), 0);
                while stream.left() > 0 {
                    let extent = if extents < most { stream.extent() } else { None };
                    if let Some(extent) = extent {
                        extents += 1;
                        all.extend(sent(extent));
                        continue;
                    }
                    let piece = std::future::poll_fn(|cx| stream.poll_piece(cx)).await;
                    all.extend_from_slice(&piece.expect("more").expect("read"));
                }
                assert!(all == content[start..end], "{start} to {end}");
                assert_eq!(extents > 0, holds && most > 0 && start < end, "what was just written is in memory");
                assert!(std::future::poll_fn(|cx| stream.poll_piece(cx)).await.is_none() && stream.extent().is_none());
            }
        }
    }

    #[tokio::test]
    async fn a_file_that_became_shorter_is_an_error() {
        let written = file(&content());
        let mut stream = FileStream::new(written.try_clone().expect("a copy"), 0, 5_000_003);
        let lent = stream.extent();
        written.set_len(100_000).expect("shorter");
        if let Some(mut extent) = lent {
            let (ours, _theirs) = UnixStream::pair().expect("sockets");
            assert_eq!(extent.send(&ours).expect_err("nothing there").kind(), io::ErrorKind::UnexpectedEof);
        }
        assert!(stream.extent().is_none(), "nothing is held beyond the end");
        let piece = std::future::poll_fn(|cx| stream.poll_piece(cx)).await;
        assert!(matches!(piece, Some(Err(Aborted(_)))));
        assert!(std::future::poll_fn(|cx| stream.poll_piece(cx)).await.is_none());
    }
}
