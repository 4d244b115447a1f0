//! A large file on its way out: read piece by piece where reading holds nobody up, one piece ahead.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::task::JoinHandle;

use crate::body::Aborted;

/// Bytes that are read at once.
const PIECE: u64 = 256 * 1024;

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
        let mut stream = Self { file: Arc::new(file), at: start, end, left: end.saturating_sub(start), reading: None };
        stream.read_on();
        stream
    }

    pub(crate) fn left(&self) -> u64 {
        self.left
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
        let Some(reading) = &mut self.reading else { return Poll::Ready(None) };
        let Ok(Ok(bytes)) = ready!(Pin::new(reading).poll(cx)) else {
            self.reading = None;
            return Poll::Ready(Some(Err(Aborted("the file changed while it was sent"))));
        };
        self.read_on();
        self.left = self.left.saturating_sub(bytes.len() as u64);
        Poll::Ready(Some(Ok(bytes.into())))
    }
}
