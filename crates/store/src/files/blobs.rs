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
    path: Scratch,
    file: File,
    sha256: Context,
    sha1: Context,
    size: u64,
    head: Vec<u8>,
}

impl std::fmt::Debug for Draft {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Draft").field("path", &self.path.0).field("size", &self.size).finish_non_exhaustive()
    }
}

/// A file that is removed when nobody wants it any more.
#[derive(Debug)]
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Content that is written and is what was expected, though it may not be on the disk yet. Dropping it forgets it.
#[derive(Debug)]
pub struct Sealed {
    path: Scratch,
    blob: Blob,
}

impl Sealed {
    /// What it is.
    pub fn blob(&self) -> &Blob {
        &self.blob
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
        Ok(Draft { store: self.clone(), path: Scratch(path), file, sha256, sha1, size: 0, head: Vec::new() })
    }

    /// Writes content that is at hand.
    ///
    /// # Errors
    /// If it is not what was expected, or the system refuses.
    pub fn put_bytes(&self, bytes: &[u8], expected: &Expected) -> Result<Blob> {
        let mut draft = self.draft()?;
        draft.write_all(bytes).map_err(StoreError::io("write", &draft.path.0.clone()))?;
        draft.finish(expected)
    }

    /// Writes what a reader gives.
    ///
    /// # Errors
    /// As [`Store::put_bytes`], or if reading fails.
    pub fn put_reader(&self, reader: &mut dyn Read, expected: &Expected) -> Result<Blob> {
        let mut draft = self.draft()?;
        io::copy(reader, &mut draft).map_err(StoreError::io("write", &draft.path.0.clone()))?;
        draft.finish(expected)
    }

    /// Writes what a reader gives, for [`Store::keep`].
    ///
    /// # Errors
    /// If reading fails, or the system refuses.
    pub(super) fn seal_reader(&self, reader: &mut dyn Read) -> Result<Sealed> {
        let mut draft = self.draft()?;
        io::copy(reader, &mut draft).map_err(StoreError::io("write", &draft.path.0.clone()))?;
        draft.seal(&Expected::default())
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

    /// Flushes a batch to the disk and gives each content its name: two flushes and one transaction for all, where a thousand small files would wait
    /// for the disk three times each.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn keep(&self, batch: Vec<Sealed>) -> Result<()> {
        let failed = |error: rustix::io::Errno| StoreError::io("flush", self.dir())(error.into());
        let files = File::open(self.dir().join("files")).map_err(StoreError::io("open", self.dir()))?;
        rustix::fs::syncfs(&files).map_err(failed)?;
        let _shared = self.keep_files()?;
        let blobs: Vec<Blob> = batch.iter().map(|sealed| sealed.blob).collect();
        for sealed in batch {
            let path = self.blob_path(&sealed.blob.sha256);
            if !path.exists() {
                folder_of(&path)?;
                fs::rename(&sealed.path.0, &path).map_err(StoreError::io("write", &path))?;
            }
        }
        rustix::fs::syncfs(&files).map_err(failed)?;
        self.change(&Actor::house(), |change| blobs.iter().try_for_each(|blob| change.put_blob(blob)))
    }
}

impl Draft {
    /// Compares, flushes to the disk, and gives the content its name.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] if it is not what was expected; otherwise if the system refuses.
    pub fn finish(self, expected: &Expected) -> Result<Blob> {
        let store = self.store.clone();
        let (sealed, file) = self.close(expected)?;
        file.sync_all().map_err(StoreError::io("write", &sealed.path.0))?;
        let path = store.blob_path(&sealed.blob.sha256);
        let _shared = store.keep_files()?;
        if !path.exists() {
            place(&sealed.path.0, &path)?;
        }
        store.change(&Actor::house(), |change| change.put_blob(&sealed.blob))?;
        Ok(sealed.blob)
    }

    /// Compares; [`Store::keep`] does the rest, for many at once.
    ///
    /// # Errors
    /// As [`Draft::finish`].
    pub fn seal(self, expected: &Expected) -> Result<Sealed> {
        self.close(expected).map(|(sealed, _)| sealed)
    }

    fn close(mut self, expected: &Expected) -> Result<(Sealed, File)> {
        let sha256 = Sha256::of(&self.sha256.finish());
        let sha1 = Sha1::of(&self.sha1.finish());
        let blob = Blob { sha256, sha1, size: self.size };
        check(&blob, expected)?;
        let executable = self.head.starts_with(b"#!") || self.head == b"\x7fELF";
        // Hard links share it: what can be run, can be run in every version, and nobody writes.
        let mode = fs::Permissions::from_mode(if executable { 0o555 } else { 0o444 });
        let sealed = self.file.flush().and_then(|()| self.file.set_permissions(mode));
        sealed.map_err(StoreError::io("write", &self.path.0))?;
        Ok((Sealed { path: self.path, blob }, self.file))
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
    let folder = folder_of(path)?;
    fs::rename(draft, path).map_err(StoreError::io("write", path))?;
    super::sync_folder(folder)
}

/// The folder that content lies in, made if it is not there.
fn folder_of(path: &Path) -> Result<&Path> {
    let folder = path.parent().unwrap_or(path);
    if !folder.exists() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(StoreError::io("create", folder))?;
        super::sync_folder(folder.parent().unwrap_or(folder))?;
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_kept_together_and_nothing_is_left_of_a_wrong_one() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Store::open(dir.path()).expect("a store");
        let sealed = |text: &str, expected: &Expected| {
            let mut draft = store.draft().expect("begun");
            draft.write_all(text.as_bytes()).expect("written");
            draft.seal(expected)
        };
        let texts = ["", "one", "two", "one"];
        let batch: Vec<Sealed> = texts.iter().map(|text| sealed(text, &Expected::default()).expect("sealed")).collect();
        let blobs: Vec<Blob> = batch.iter().map(|sealed| sealed.blob).collect();
        store.keep(batch).expect("kept");
        for (blob, text) in blobs.iter().zip(texts) {
            let mut read = String::new();
            store.open_blob(&blob.sha256).expect("there").read_to_string(&mut read).expect("readable");
            assert_eq!(read, text);
            let found = store.read(|view| view.find_blob_by_sha1(&blob.sha1)).expect("readable");
            assert_eq!(found, Some(*blob));
        }
        assert!(sealed("x", &Expected { sha1: Some(blobs[1].sha1), ..Expected::default() }).is_err());
        assert_eq!(fs::read_dir(dir.path().join("drafts")).expect("a folder").count(), 0);
    }
}
