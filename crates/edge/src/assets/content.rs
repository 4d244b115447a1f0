//! What a static file holds: read once per content, shared by all cores, compressed once.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use aws_lc_rs::digest;
use bytes::Bytes;
use rustix::fd::OwnedFd;

use crate::draws::Hex;
use crate::gzip;

/// Files up to this size are read on the core.
pub(super) const AT_ONCE: u64 = 64 * 1024;

/// Files up to this size are kept in memory.
const KEPT: u64 = 1024 * 1024;

/// What tells one content from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    changed: (i64, i64),
    modified: (i64, i64),
    pub(super) size: u64,
}

impl Stamp {
    /// `None` if it is no regular file.
    pub(super) fn of(file: &OwnedFd) -> Option<Self> {
        let file = file.try_clone().map(File::from).ok()?;
        Self::read(&file).ok().flatten()
    }

    fn read(file: &File) -> io::Result<Option<Self>> {
        let data = file.metadata()?;
        Ok(data.is_file().then(|| Self {
            device: data.dev(),
            inode: data.ino(),
            changed: (data.ctime(), data.ctime_nsec()),
            modified: (data.mtime(), data.mtime_nsec()),
            size: data.len(),
        }))
    }
}

/// An open file.
pub(super) struct Found {
    pub(super) file: File,
    pub(super) stamp: Stamp,
    /// Where it really lies, links resolved.
    pub(super) path: PathBuf,
}

/// A file's content and what follows from it.
pub(super) struct Book {
    pub(super) stamp: Stamp,
    path: PathBuf,
    /// With its quotes.
    pub(super) etag: String,
    /// Seconds since 1970.
    pub(super) modified: u64,
    /// The content, if it is kept.
    pub(super) bytes: Option<Bytes>,
    /// The content compressed; `None` inside if nothing is gained.
    pub(super) packed: OnceLock<Option<Bytes>>,
    evicted: AtomicBool,
}

impl Book {
    /// Reads a file: its hash always, its content if it is small.
    pub(super) fn read(found: Found) -> io::Result<Self> {
        let Found { mut file, stamp, path } = found;
        let mut hash = digest::Context::new(&digest::SHA256);
        let mut bytes = None;
        if stamp.size <= KEPT {
            let mut all = Vec::with_capacity(usize::try_from(stamp.size).unwrap_or(0));
            (&mut file).take(stamp.size + 1).read_to_end(&mut all)?;
            if all.len() as u64 != stamp.size {
                return Err(io::Error::other("it changed while it was read"));
            }
            hash.update(&all);
            bytes = Some(Bytes::from(all));
        } else {
            let mut part = vec![0; 256 * 1024];
            loop {
                match file.read(&mut part)? {
                    0 => break,
                    length => hash.update(&part[..length]),
                }
            }
        }
        let digest = hash.finish();
        let half = digest.as_ref().first_chunk::<16>().map_or(0, |half| u128::from_be_bytes(*half));
        let etag = format!("\"{}\"", Hex::new(half).as_str());
        let modified = u64::try_from(stamp.modified.0).unwrap_or(0);
        Ok(Self { stamp, path, etag, modified, bytes, packed: OnceLock::new(), evicted: AtomicBool::new(false) })
    }

    /// Compresses it, once.
    pub(super) fn pack(&self) -> Option<Bytes> {
        self.packed
            .get_or_init(|| self.bytes.as_ref().filter(|bytes| bytes.len() >= gzip::WORTHWHILE).and_then(|bytes| gzip::best(bytes)))
            .clone()
    }

    /// Opens it again, if it is still the same.
    pub(super) fn file(&self) -> io::Result<File> {
        let file = File::open(&self.path)?;
        match Stamp::read(&file)? {
            Some(stamp) if stamp == self.stamp => Ok(file),
            _ => Err(io::Error::other("it was just changed")),
        }
    }

    pub(super) fn evicted(&self) -> bool {
        self.evicted.load(Ordering::Relaxed)
    }

    fn weight(&self) -> usize {
        // Compressed, it needs at most as much again.
        1024 + 2 * self.bytes.as_ref().map_or(0, Bytes::len)
    }
}

/// All books of the process, newest last. Asked only when a core does not know a file.
pub(crate) struct Shelf {
    most: usize,
    books: Mutex<(usize, VecDeque<Arc<Book>>)>,
}

impl Shelf {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, books: Mutex::default() }
    }

    pub(super) fn find(&self, stamp: &Stamp) -> Option<Arc<Book>> {
        let books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        books.1.iter().rev().find(|book| book.stamp == *stamp).cloned()
    }

    pub(super) fn keep(&self, book: &Arc<Book>) {
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        let (weight, all) = &mut *books;
        *weight += book.weight();
        all.push_back(book.clone());
        while *weight > self.most
            && let Some(oldest) = all.pop_front()
        {
            oldest.evicted.store(true, Ordering::Relaxed);
            *weight = weight.saturating_sub(oldest.weight());
        }
    }
}
