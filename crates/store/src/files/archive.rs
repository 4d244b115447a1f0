//! Zip archives of deployments, unpacked into content-addressed files: nothing is written under a name that the archive chose.

use std::collections::BTreeMap;
use std::io::{self, Read};

use zip::ZipArchive;

use super::{Manifest, ManifestFile, Sha256, check_path};
use crate::control::{Store, StoreError};

/// Files that are flushed to the disk together.
const BATCH: usize = 1000;

/// How much an archive may unpack to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Files.
    pub files: usize,
    /// Bytes of all files.
    pub bytes: u64,
}

impl Default for Limits {
    /// App Engine's 10,000 files, and 4 GiB.
    fn default() -> Self {
        Self { files: 10_000, bytes: 4 << 30 }
    }
}

/// Why an archive was not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// What the sender can mend.
    #[error("{0}")]
    Bad(String),
    /// What is ours.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn bad(error: impl std::fmt::Display) -> ArchiveError {
    ArchiveError::Bad(format!("The archive cannot be read: {error}."))
}

impl Store {
    /// Unpacks an archive that was uploaded.
    ///
    /// # Errors
    /// If it is no zip archive, names odd paths, is larger than `limits` allow, or the system refuses.
    pub fn unpack(&self, archive: &Sha256, limits: &Limits) -> Result<Manifest, ArchiveError> {
        let mut zip = ZipArchive::new(self.open_blob(archive)?).map_err(bad)?;
        let mut files = BTreeMap::new();
        let mut left = limits.bytes;
        let mut batch = Vec::new();
        for at in 0..zip.len() {
            let mut entry = zip.by_index(at).map_err(bad)?;
            let Some(path) = plain_file(&entry)? else { continue };
            if files.len() >= limits.files {
                return Err(ArchiveError::Bad(format!("The archive has more than {} files.", limits.files)));
            }
            // What the archive says of its sizes is not believed: bytes are counted as they come.
            let mut counted = Counted { inner: &mut entry, left, over: false };
            let written = self.seal_reader(&mut counted);
            if counted.over {
                return Err(ArchiveError::Bad(format!("The archive unpacks to more than {} bytes.", limits.bytes)));
            }
            let sealed = match written {
                Err(StoreError::Io { source, .. })
                    if matches!(source.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof) =>
                {
                    return Err(bad(source));
                }
                written => written?,
            };
            let blob = *sealed.blob();
            batch.push(sealed);
            if batch.len() >= BATCH {
                self.keep(std::mem::take(&mut batch))?;
            }
            left -= blob.size;
            if files.insert(path.clone(), ManifestFile { sha256: blob.sha256, size: blob.size, mime: None }).is_some() {
                return Err(ArchiveError::Bad(format!("The archive has `{path}` twice.")));
            }
        }
        self.keep(batch)?;
        if files.is_empty() {
            return Err(ArchiveError::Bad("The archive has no files.".to_owned()));
        }
        Manifest::new(files).map_err(|wrong| ArchiveError::Bad(wrong.first().map_or_else(String::new, |first| format!("{first}."))))
    }
}

/// The path of an entry that is a file; none for a folder.
fn plain_file<R: Read>(entry: &zip::read::ZipFile<'_, R>) -> Result<Option<String>, ArchiveError> {
    let name = entry.name().map_err(bad)?;
    if entry.is_dir() {
        return Ok(None);
    }
    if entry.is_symlink() {
        return Err(ArchiveError::Bad(format!("`{name}` in the archive is a symbolic link; pack what it leads to instead.")));
    }
    if entry.encrypted() {
        return Err(ArchiveError::Bad("The archive is encrypted.".to_owned()));
    }
    check_path(&name).map_err(|error| ArchiveError::Bad(format!("{error}.")))?;
    Ok(Some(name.into_owned()))
}

/// Ends with an error once more than `left` bytes came.
struct Counted<R> {
    inner: R,
    left: u64,
    over: bool,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let Some(left) = self.left.checked_sub(read as u64) else {
            self.over = true;
            return Err(io::Error::other("too large"));
        };
        self.left = left;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;
    use crate::files::Expected;

    fn packed(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in files {
            zip.start_file(*name, SimpleFileOptions::default()).expect("begun");
            zip.write_all(bytes).expect("written");
        }
        zip.finish().expect("finished").into_inner()
    }

    fn unpack(bytes: &[u8], limits: &Limits) -> Result<Manifest, ArchiveError> {
        let home = tempfile::tempdir().expect("a folder");
        let store = Store::open(&home.path().join("data")).expect("opens");
        let archive = store.put_bytes(bytes, &Expected::default()).expect("written");
        let manifest = store.unpack(&archive.sha256, limits)?;
        let folder = store.materialise(&manifest).expect("made");
        for (path, file) in manifest.files() {
            assert_eq!(std::fs::metadata(folder.join(path)).expect("there").len(), file.size);
        }
        Ok(manifest)
    }

    #[test]
    fn an_archive_becomes_a_manifest() {
        let manifest = unpack(&packed(&[("app.yaml", b"runtime: python312"), ("a/b.txt", &vec![b'x'; 100_000])]), &Limits::default());
        assert_eq!(manifest.expect("unpacked").size(), 100_018);
    }

    #[test]
    fn bombs_and_traversal_are_refused() {
        let small = Limits { files: 2, bytes: 1000 };
        let text = |bytes: &[u8]| unpack(bytes, &small).expect_err("refused").to_string();
        assert!(text(&packed(&[("big", &vec![0; 1001])])).contains("more than 1000 bytes"));
        assert!(text(&packed(&[("a", &[0; 600]), ("b", &[0; 600])])).contains("more than 1000 bytes"));
        assert!(text(&packed(&[("a", b""), ("b", b""), ("c", b"")])).contains("more than 2 files"));
        for odd in ["../x", "/etc/passwd", "a/../../b", "a\\b"] {
            assert!(text(&packed(&[(odd, b"x")])).contains(odd), "{odd}");
        }
        assert!(text(b"not a zip").contains("cannot be read"));
        assert!(text(&packed(&[])).contains("no files"));
        let mut cut = packed(&[("a", b"some text that is stored")]);
        let at = cut.len() / 4;
        cut[at] ^= 0xff;
        assert!(unpack(&cut, &small).is_err());
        let mut linked = ZipWriter::new(Cursor::new(Vec::new()));
        linked.add_symlink("link", "/etc/passwd", SimpleFileOptions::default()).expect("added");
        assert!(text(&linked.finish().expect("finished").into_inner()).contains("symbolic link"));
    }
}
