//! The cache: folders that are made once, named by what they are made of, and used by every house of the user at once.
//!
//! Beside each folder lies a lock file. Who makes the folder holds it alone, who uses the folder shares it, and who sweeps removes only what it can
//! hold alone. The kernel takes a lock away with its process, so no crash leaves one behind. A file written last says that the folder is whole;
//! whatever lacks the file is made again.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::prepare::{PrepareError, Progress};

/// Says that a folder is whole, and by its time of change when it was last used.
pub(crate) const WHOLE: &str = ".enginehouse-whole";

/// A folder of the cache that nobody removes while this exists.
#[derive(Debug)]
pub(crate) struct Held {
    dir: PathBuf,
    _lock: File,
}

impl Held {
    /// The folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Holds `dir` if it is whole.
    pub(crate) fn existing(dir: &Path) -> Option<Self> {
        // A look first: who makes the folder now holds the lock for long.
        if !dir.join(WHOLE).is_file() {
            return None;
        }
        let lock = open_lock(dir).ok()?;
        lock.lock_shared().ok()?;
        let whole = dir.join(WHOLE);
        // Best effort: it is only for the sweep.
        let _ = File::options().write(true).open(&whole).and_then(|file| file.set_modified(SystemTime::now()));
        // It may have been swept away before the lock was ours.
        whole.is_file().then(|| Self { dir: dir.to_owned(), _lock: lock })
    }
}

/// Lets `make` fill `dir`, unless that was done before; one process at a time, and all or nothing.
pub(crate) fn provide(
    dir: &Path,
    progress: &dyn Progress,
    mut make: impl FnMut() -> Result<(), PrepareError>,
) -> Result<Held, PrepareError> {
    let cannot = |e: io::Error| PrepareError(format!("cannot make {}: {e}", dir.display()));
    fs::create_dir_all(dir.parent().unwrap_or(dir)).map_err(cannot)?;
    loop {
        if let Some(held) = Held::existing(dir) {
            return Ok(held);
        }
        let lock = open_lock(dir).map_err(cannot)?;
        if lock.try_lock().is_err() {
            progress.step("waiting for another run that makes the same");
            // Shared, because who made it goes on holding it so.
            lock.lock_shared().map_err(cannot)?;
            continue;
        }
        if !dir.join(WHOLE).is_file() {
            clear(dir).map_err(cannot)?;
            fs::create_dir_all(dir).map_err(cannot)?;
            let done = make().and_then(|()| mark(dir).map_err(cannot));
            if let Err(error) = done {
                let _ = clear(dir);
                return Err(error);
            }
        }
        // The lock cannot be turned into a shared one in one step; whoever sweeps in between makes us begin again.
        drop(lock);
    }
}

fn mark(dir: &Path) -> io::Result<()> {
    File::create(dir.join(WHOLE))?.sync_all()
}

fn open_lock(dir: &Path) -> io::Result<File> {
    File::options().create(true).truncate(false).write(true).open(lock_of(dir))
}

fn lock_of(dir: &Path) -> PathBuf {
    // Not `with_extension`: a name may have a dot of its own.
    let mut name = dir.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

/// Removes `dir`, whole or not, if nobody uses or makes it. Tells whether it is gone.
pub(crate) fn discard(dir: &Path) -> bool {
    let Ok(lock) = open_lock(dir) else { return false };
    // The lock's own file stays: removing it while somebody opens it would give two of them a lock each.
    lock.try_lock().is_ok()
        && fs::remove_file(dir.join(WHOLE)).map_or_else(|e| e.kind() == io::ErrorKind::NotFound, |()| true)
        && clear(dir).is_ok()
}

/// Removes a folder, also one whose folders are read-only.
pub(crate) fn clear(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {}
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => return Ok(()),
    }
    for entry in walkdir::WalkDir::new(dir).into_iter().filter_map(Result::ok).filter(|entry| entry.file_type().is_dir()) {
        fs::set_permissions(entry.path(), fs::Permissions::from_mode(0o755))?;
    }
    fs::remove_dir_all(dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prepare::Quiet;

    fn made(dir: &Path) -> Held {
        provide(dir, &Quiet, || {
            fs::write(dir.join("x"), "").expect("written");
            Ok(())
        })
        .expect("made")
    }

    #[test]
    fn what_is_used_stays_and_what_is_not_goes() {
        let home = tempfile::tempdir().expect("a folder");
        let dir = home.path().join("a.b");
        let (one, two) = (made(&dir), made(&dir));
        assert!(!discard(&dir));
        drop(one);
        assert!(!discard(&dir) && dir.join("x").exists());
        drop(two);
        assert!(discard(&dir) && !dir.exists());
        drop(made(&dir));
    }

    #[test]
    fn half_made_folders_are_made_again() {
        let home = tempfile::tempdir().expect("a folder");
        let dir = home.path().join("half");
        fs::create_dir(&dir).expect("made");
        fs::write(dir.join("rest"), "").expect("written");
        assert!(provide(&dir, &Quiet, || Err(PrepareError("no".into()))).is_err());
        assert!(!dir.exists());
        made(&dir);
        assert!(!dir.join("rest").exists() && dir.join("x").exists());
    }

    #[test]
    fn read_only_folders_can_be_removed() {
        let home = tempfile::tempdir().expect("a folder");
        let dir = home.path().join("ro");
        fs::create_dir_all(dir.join("a/b")).expect("made");
        fs::write(dir.join("a/b/c"), "").expect("written");
        for folder in ["a/b", "a"] {
            fs::set_permissions(dir.join(folder), fs::Permissions::from_mode(0o555)).expect("set");
        }
        clear(&dir).expect("removed");
        assert!(!dir.exists());
    }
}
