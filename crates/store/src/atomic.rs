//! Writing a file so that a crash leaves the old content or the new, never a mixture.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Writes `content` to `path`, readable by its owner alone: a draft beside it, flushed to the disk, takes its name.
///
/// # Errors
/// If the system refuses; the old content is then still there.
pub fn write_atomically(path: &Path, content: &[u8]) -> io::Result<()> {
    static DRAFTS: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    let number = DRAFTS.fetch_add(1, Ordering::Relaxed);
    let draft = path.with_file_name(format!(".{name}.{}.{number}", std::process::id()));
    let written = write(&draft, content).and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        let _ = fs::remove_file(&draft);
    }
    written?;
    // The new name itself must reach the disk too.
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

fn write(draft: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_replaced_and_no_draft_stays() {
        let home = tempfile::tempdir().expect("a folder");
        let path = home.path().join("file");
        write_atomically(&path, b"one").expect("written");
        write_atomically(&path, b"two").expect("written");
        assert_eq!(fs::read(&path).expect("readable"), b"two");
        assert_eq!(fs::read_dir(home.path()).expect("readable").count(), 1);
        assert!(write_atomically(&home.path().join("no/such/folder"), b"x").is_err());
    }
}
