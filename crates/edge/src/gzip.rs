//! Compressing responses (row H19): whole bodies with libdeflate, streams with zlib-rs and reused state, flushed at every piece so that
//! events are not held back.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use flate2::{Compress, Compression, Crc, FlushCompress, Status};
use libdeflater::{CompressionLvl, Compressor};

use crate::body::{Aborted, Kind};
use crate::core::Core;

/// Bodies shorter than this gain nothing worth the time.
pub(crate) const WORTHWHILE: usize = 256;

/// Bodies up to this length are compressed on the core (about 0.3 ms); longer ones elsewhere.
const AT_ONCE: usize = 64 * 1024;

/// Level of dynamic bodies: 2.2 times less CPU than nginx's level 1 and smaller (docs/decisions/043-gzip.md).
const QUICK: i32 = 1;

/// Level of static files, compressed once.
const BEST: i32 = 12;

/// Streaming states kept for reuse by one core; making one costs more than compressing a kilobyte.
const KEPT: usize = 16;

/// One core's compressors.
#[derive(Default)]
pub(crate) struct Squeezer {
    whole: RefCell<Option<Compressor>>,
    streams: RefCell<Vec<Compress>>,
}

fn gzip(compressor: &mut Compressor, bytes: &[u8]) -> Option<Bytes> {
    let mut out = vec![0; compressor.gzip_compress_bound(bytes.len())];
    let length = compressor.gzip_compress(bytes, &mut out).ok()?;
    (length < bytes.len()).then(|| {
        out.truncate(length);
        Bytes::from(out)
    })
}

/// As small as it gets, for files that are sent many times. `None` if nothing is gained.
pub(crate) fn best(bytes: &[u8]) -> Option<Bytes> {
    gzip(&mut Compressor::new(CompressionLvl::new(BEST).unwrap_or_default()), bytes)
}

fn quick() -> Compressor {
    Compressor::new(CompressionLvl::new(QUICK).unwrap_or_default())
}

impl Squeezer {
    /// A whole body, smaller; `None` if nothing is gained.
    pub(crate) async fn whole(&self, bytes: &Bytes) -> Option<Bytes> {
        if bytes.len() > AT_ONCE {
            let bytes = bytes.clone();
            return tokio::task::spawn_blocking(move || gzip(&mut quick(), &bytes)).await.ok().flatten();
        }
        gzip(self.whole.borrow_mut().get_or_insert_with(quick), bytes)
    }

    fn take(&self) -> Compress {
        self.streams.borrow_mut().pop().unwrap_or_else(|| Compress::new(Compression::fast(), false))
    }

    fn give_back(&self, mut compress: Compress) {
        let mut streams = self.streams.borrow_mut();
        if streams.len() < KEPT {
            compress.reset();
            streams.push(compress);
        }
    }
}

/// RFC 1952 §2.3: no name, no time, unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// A stream, compressed.
pub(crate) struct Zipped {
    core: Rc<Core>,
    inner: Kind,
    compress: Option<Compress>,
    crc: Crc,
    begun: bool,
}

impl Zipped {
    pub(crate) fn new(core: Rc<Core>, inner: Kind) -> Self {
        let compress = Some(core.squeezer.take());
        Self { core, inner, compress, crc: Crc::new(), begun: false }
    }

    pub(crate) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Aborted>>> {
        let Some(compress) = &mut self.compress else { return Poll::Ready(None) };
        let piece = match ready!(self.inner.poll_piece(cx)) {
            Some(Ok(piece)) => Some(piece),
            Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            None => None,
        };
        let data = piece.as_deref().unwrap_or_default();
        let mut out = Vec::with_capacity(data.len() / 2 + 64);
        if !self.begun {
            self.begun = true;
            out.extend_from_slice(&HEADER);
        }
        self.crc.update(data);
        let flush = if piece.is_some() { FlushCompress::Sync } else { FlushCompress::Finish };
        if squeeze(compress, data, &mut out, flush).is_none() {
            return Poll::Ready(Some(Err(Aborted("the response could not be compressed"))));
        }
        if piece.is_none() {
            out.extend_from_slice(&self.crc.sum().to_le_bytes());
            out.extend_from_slice(&self.crc.amount().to_le_bytes());
            if let Some(compress) = self.compress.take() {
                self.core.squeezer.give_back(compress);
            }
        }
        Poll::Ready(Some(Ok(out.into())))
    }
}

impl Drop for Zipped {
    fn drop(&mut self) {
        if let Some(compress) = self.compress.take() {
            self.core.squeezer.give_back(compress);
        }
    }
}

/// Takes in all of `data` and gives out everything that there is.
fn squeeze(compress: &mut Compress, data: &[u8], out: &mut Vec<u8>, flush: FlushCompress) -> Option<()> {
    let start = compress.total_in();
    loop {
        out.reserve(256);
        let taken = usize::try_from(compress.total_in() - start).ok()?;
        let status = compress.compress_vec(data.get(taken..)?, out, flush).ok()?;
        let taken = usize::try_from(compress.total_in() - start).ok()?;
        let room = out.len() < out.capacity();
        match status {
            Status::StreamEnd => return Some(()),
            Status::Ok | Status::BufError if taken == data.len() && room && flush == FlushCompress::Sync => return Some(()),
            Status::Ok | Status::BufError => {}
        }
    }
}
