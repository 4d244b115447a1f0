//! Content-addressed files. `DIR/files/ab/cdef…` holds a file's bytes under the SHA-256 of them, written once and never changed;
//! `DIR/versions/HASH/` is a version's folder, made of hard links to them. A row of `blobs` says that a file is whole.

mod archive;
mod blobs;
mod collect;
mod digest;
mod manifest;
mod materialise;

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

pub use archive::{ArchiveError, Limits};
pub use blobs::{Blob, Draft, Expected, Sealed};
pub use collect::{Collected, Grace};
pub use digest::{BadDigest, Sha1, Sha256};
pub use manifest::{BadPath, Manifest, ManifestFile, check_path};

use crate::control::{Result, Store, StoreError};

/// While it is held, the collector removes nothing.
#[derive(Debug)]
pub(crate) struct Shared(#[allow(dead_code, reason = "held, not read")] File);

impl Store {
    /// Keeps the collector away, also that of another process.
    pub(crate) fn keep_files(&self) -> Result<Shared> {
        let file = self.files_lock()?;
        file.lock_shared().map_err(StoreError::io("lock", self.dir()))?;
        Ok(Shared(file))
    }

    /// Waits for everybody who keeps the collector away.
    pub(crate) fn clear_files(&self) -> Result<Shared> {
        let file = self.files_lock()?;
        file.lock().map_err(StoreError::io("lock", self.dir()))?;
        Ok(Shared(file))
    }

    fn files_lock(&self) -> Result<File> {
        let path = self.dir().join("files.lock");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(StoreError::io("open", &path))
    }
}

/// Flushes a folder's names to the disk.
fn sync_folder(path: &Path) -> Result<()> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(StoreError::io("flush", path))
}
