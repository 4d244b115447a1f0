//! Writing and reading content.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

use super::digest::{Sha1, Sha256};
use crate::control::{Actor, Result, Store, StoreError};

/// Content that is whole on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blob {
    /// The name that it is kept under.
    pub sha256: Sha256,
    /// The name that manifests use.
    pub sha1: Sha1,
    /// Bytes.
    pub size: u64,
}

/// What a sender said of the content beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Expected {
    /// Its SHA-256.
    pub sha256: Option<Sha256>,
    /// Its SHA-1.
    pub sha1: Option<Sha1>,
    /// Its size.
    pub size: Option<u64>,
}

/// Content that is being written. Dropping it forgets it.
pub struct Draft {
    store: Store,
    path: PathBuf,
    file: File,
    sha256: Context,
    sha1: Context,
    size: u64,
    head: Vec<u8>,
}

impl std::fmt::Debug for Draft {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Draft").field("path", &self.path).field("size", &self.size).finish_non_exhaustive()
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        let bytes = &bytes[..written];
        self.sha256.update(bytes);
        self.sha1.update(bytes);
        self.size += written as u64;
        let wanted = 4_usize.saturating_sub(self.head.len()).min(written);
        self.head.extend_from_slice(&bytes[..wanted]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Store {
    /// Begins to write content.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn draft(&self) -> Result<Draft> {
        static DRAFTS: AtomicU64 = AtomicU64::new(0);
        let number = DRAFTS.fetch_add(1, Ordering::Relaxed);
        let path = self.dir().join("drafts").join(format!("{}-{number}", std::process::id()));
        // What a process with our number left behind is nobody's any more.
        let _ = fs::remove_file(&path);
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(&path).map_err(StoreError::io("create", &path))?;
        let (sha256, sha1) = (Context::new(&SHA256), Context::new(&SHA1_FOR_LEGACY_USE_ONLY));
        Ok(Draft { store: self.clone(), path, file, sha256, sha1, size: 0, head: Vec::new() })
    }

    /// Writes content that is at hand.
    ///
    /// # Errors
    /// If it is not what was expected, or the system refuses.
    pub fn put_bytes(&self, bytes: &[u8], expected: &Expected) -> Result<Blob> {
        let mut draft = self.draft()?;
        draft.write_all(bytes).map_err(StoreError::io("write", &draft.path.clone()))?;
        draft.finish(expected)
    }

    /// Writes what a reader gives.
    ///
    /// # Errors
    /// As [`Store::put_bytes`], or if reading fails.
    pub fn put_reader(&self, reader: &mut dyn Read, expected: &Expected) -> Result<Blob> {
        let mut draft = self.draft()?;
        io::copy(reader, &mut draft).map_err(StoreError::io("write", &draft.path.clone()))?;
        draft.finish(expected)
    }

    /// Where content lies. It is there if there is a row for it.
    pub fn blob_path(&self, sha256: &Sha256) -> PathBuf {
        let name = sha256.to_string();
        let (folder, rest) = name.split_at(2);
        self.dir().join("files").join(folder).join(rest)
    }

    /// Opens content for reading.
    ///
    /// # Errors
    /// If it is not there.
    pub fn open_blob(&self, sha256: &Sha256) -> Result<File> {
        let path = self.blob_path(sha256);
        File::open(&path).map_err(StoreError::io("open", &path))
    }
}

impl Draft {
    /// Compares, flushes to the disk, and gives the content its name.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] if it is not what was expected; otherwise if the system refuses.
    pub fn finish(mut self, expected: &Expected) -> Result<Blob> {
        let sha256 = Sha256::of(&self.sha256.clone().finish());
        let sha1 = Sha1::of(&self.sha1.clone().finish());
        let blob = Blob { sha256, sha1, size: self.size };
        check(&blob, expected)?;
        let executable = self.head.starts_with(b"#!") || self.head == b"\x7fELF";
        // Hard links share it: what can be run, can be run in every version, and nobody writes.
        let mode = fs::Permissions::from_mode(if executable { 0o555 } else { 0o444 });
        let sealed = self.file.flush().and_then(|()| self.file.set_permissions(mode)).and_then(|()| self.file.sync_all());
        sealed.map_err(StoreError::io("write", &self.path))?;
        let store = self.store.clone();
        let path = store.blob_path(&sha256);
        let _shared = store.keep_files()?;
        if !path.exists() {
            place(&self.path, &path)?;
        }
        store.change(&Actor::house(), |change| change.put_blob(&blob))?;
        Ok(blob)
    }
}

fn check(blob: &Blob, expected: &Expected) -> Result<()> {
    let wrong = |what: &str, is: &dyn std::fmt::Display, said: &dyn std::fmt::Display| {
        Err(StoreError::Invalid(format!("The content's {what} is {is}, but {said} was announced; send it again.")))
    };
    match expected {
        Expected { size: Some(size), .. } if *size != blob.size => wrong("size", &blob.size, size),
        Expected { sha256: Some(sha256), .. } if *sha256 != blob.sha256 => wrong("SHA-256", &blob.sha256, sha256),
        Expected { sha1: Some(sha1), .. } if *sha1 != blob.sha1 => wrong("SHA-1", &blob.sha1, sha1),
        _ => Ok(()),
    }
}

/// Renames a draft to its name, durably.
fn place(draft: &Path, path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    if !folder.exists() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(StoreError::io("create", folder))?;
        super::sync_folder(folder.parent().unwrap_or(folder))?;
    }
    fs::rename(draft, path).map_err(StoreError::io("write", path))?;
    super::sync_folder(folder)
}
