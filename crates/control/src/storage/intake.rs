//! Content on its way in: pieces go through a short queue to a thread that writes and adds up, so that a slow disk slows the sender and nobody else.

use std::io::{self, Write as _};

use bytes::Bytes;
use store::control::Store;
use store::files::{Blob, Draft, Expected};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::fault::Fault;
use super::sums::{Sums, Written};

/// Pieces that wait for the disk.
const QUEUE: usize = 16;
/// Bytes of one object.
pub(super) const LARGEST: u64 = 5 << 30;

enum Piece {
    Bytes(Bytes),
    /// All came; without it the content is forgotten.
    End,
}

/// What a sender said of the content, as its headers and its description have it.
#[derive(Debug, Clone, Default)]
pub(super) struct Announced {
    pub(super) size: Option<u64>,
    pub(super) md5: Option<String>,
    pub(super) crc32c: Option<String>,
    /// The object's name is the content's SHA-1: gcloud's habit.
    pub(super) sha1: Option<store::files::Sha1>,
}

impl Announced {
    /// Refuses content that is not what was announced, as far as these sums tell.
    pub(super) fn compare(&self, sums: &Written) -> Result<(), Fault> {
        compare("MD5 hash", self.md5.as_ref(), &sums.md5)?;
        compare("CRC32C", self.crc32c.as_ref(), &sums.crc32c)
    }
}

/// Content that is being received.
pub(super) struct Intake {
    pieces: mpsc::Sender<Piece>,
    written: JoinHandle<io::Result<Option<(Draft, Sums)>>>,
    size: u64,
}

impl Intake {
    pub(super) fn begin(store: &Store) -> Result<Self, Fault> {
        let draft = store.draft()?;
        let (pieces, queue) = mpsc::channel(QUEUE);
        Ok(Self { pieces, written: tokio::task::spawn_blocking(move || write(draft, queue)), size: 0 })
    }

    pub(super) async fn push(&mut self, bytes: Bytes) -> Result<(), Fault> {
        self.size += bytes.len() as u64;
        if self.size > LARGEST {
            return Err(too_large());
        }
        // If the thread gave up, `finish` tells why.
        let _ = self.pieces.send(Piece::Bytes(bytes)).await;
        Ok(())
    }

    /// Compares with what was announced and keeps the content.
    pub(super) async fn finish(self, announced: Announced) -> Result<(Blob, Written), Fault> {
        let _ = self.pieces.send(Piece::End).await;
        drop(self.pieces);
        let (draft, sums) = match self.written.await {
            Ok(Ok(Some(whole))) => whole,
            Ok(Err(error)) => {
                tracing::error!(%error, "an upload cannot be written");
                return Err(Fault::internal());
            }
            Ok(Ok(None)) | Err(_) => return Err(Fault::internal()),
        };
        let sums = sums.finish();
        announced.compare(&sums)?;
        let expected = Expected { size: announced.size, sha1: announced.sha1, ..Expected::default() };
        let kept = tokio::task::spawn_blocking(move || draft.finish(&expected)).await;
        Ok((kept.map_err(|_| Fault::internal())??, sums))
    }
}

pub(super) fn too_large() -> Fault {
    Fault::new(http::StatusCode::PAYLOAD_TOO_LARGE, "uploadTooLarge", format!("An object has at most {} GiB.", LARGEST >> 30))
}

fn compare(what: &str, said: Option<&String>, is: &str) -> Result<(), Fault> {
    match said {
        Some(said) if said != is => Err(Fault::invalid(format!("Provided {what} \"{said}\" doesn't match calculated {what} \"{is}\"."))),
        _ => Ok(()),
    }
}

fn write(mut draft: Draft, mut queue: mpsc::Receiver<Piece>) -> io::Result<Option<(Draft, Sums)>> {
    let mut sums = Sums::new();
    while let Some(piece) = queue.blocking_recv() {
        match piece {
            Piece::Bytes(bytes) => {
                draft.write_all(&bytes)?;
                sums.update(&bytes);
            }
            Piece::End => return Ok(Some((draft, sums))),
        }
    }
    Ok(None)
}
