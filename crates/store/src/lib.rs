//! The durable truth: a server's state ([`control`]) and files ([`files`]), an app's storage folder, its lock, its secrets and its log. A crate of its
//! own because the database is a heavy dependency that the other crates need not wait for.
#![warn(missing_docs)]
#![allow(clippy::redundant_closure_for_method_calls, reason = "`View` has a lifetime, with which a method's path is not general enough")]

pub mod access;
mod atomic;
pub mod control;
pub mod files;
pub mod log;
mod query;
pub mod tasks;

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

pub use atomic::write_atomically;
pub use control::Store;

/// The folder of one app in a server's data folder, where its log is.
pub fn app_folder(data: &Path, app: &model::ids::AppId) -> PathBuf {
    // `s~example.com:shop` may stand in a file name, but not in lists of paths such as PATH.
    data.join("apps").join(app.as_str().replace([':', '~'], "_"))
}

/// Marks a folder as ours, so that nothing else is ever cleared.
const MARK: &str = ".enginehouse-storage";
const LOCK: &str = "lock";
const SECRETS: &str = "secrets";
const README: &[u8] = b"The state of an App Engine app under Enginehouse. `enginehouse run --clear` empties this folder.\n";

/// Why a storage folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// Another run holds it.
    #[error("the storage folder {} is in use{}; stop that run, or choose another folder with --storage", dir.display(), by(*pid))]
    InUse {
        /// The folder.
        dir: PathBuf,
        /// Who.
        pid: Option<u32>,
    },
    /// It holds files of somebody else.
    #[error(
        "{} is not a storage folder of Enginehouse (it is not empty and has no {MARK} in it), so nothing is written or cleared there; choose \
         another folder with --storage",
        dir.display()
    )]
    Foreign {
        /// The folder.
        dir: PathBuf,
    },
    /// The system refused.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// `create`, `read`, ….
        what: &'static str,
        /// Which file or folder.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}

fn by(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" by process {pid}")).unwrap_or_default()
}

/// An open storage folder. Nobody else opens it until this is dropped.
#[derive(Debug)]
pub struct Storage {
    dir: PathBuf,
    /// Holds the lock.
    _lock: File,
}

impl Storage {
    /// Opens the folder, making it if need be, readable by its owner alone. With `clear`, everything in it is removed first.
    ///
    /// # Errors
    /// If another run has it open, if it is not ours, or if the system refuses.
    pub fn open(dir: &Path, clear: bool) -> Result<Self, StorageError> {
        let dir = std::path::absolute(dir).map_err(io_error("find", dir))?;
        DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(io_error("create", &dir))?;
        claim(&dir)?;
        let lock = lock(&dir)?;
        if clear {
            empty(&dir)?;
        }
        Ok(Self { dir, _lock: lock })
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A folder below it, made on first use.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn folder(&self, name: &str) -> Result<PathBuf, StorageError> {
        let path = self.dir.join(name);
        DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(io_error("create", &path))?;
        Ok(path)
    }

    /// The 32 secret bytes called `name`, drawn on first use and the same ever after.
    ///
    /// # Errors
    /// If they can neither be read nor be drawn and written.
    pub fn secret(&self, name: &str) -> Result<[u8; 32], StorageError> {
        let path = self.folder(SECRETS)?.join(name);
        // A file of another length is damaged; a new secret signs people out, which is the safe side.
        if let Ok(known) = fs::read(&path).map_err(drop).and_then(|bytes| bytes.try_into().map_err(drop)) {
            return Ok(known);
        }
        let mut drawn = [0; 32];
        getrandom::fill(&mut drawn).map_err(|e| io_error("draw random bytes for", &path)(io::Error::other(e.to_string())))?;
        write_atomically(&path, &drawn).map_err(io_error("write", &path))?;
        Ok(drawn)
    }
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StorageError {
    move |source| StorageError::Io { what, path: path.to_owned(), source }
}

/// Marks an empty folder as ours; refuses a foreign one.
fn claim(dir: &Path) -> Result<(), StorageError> {
    let mark = dir.join(MARK);
    if fs::symlink_metadata(&mark).is_ok() {
        return Ok(());
    }
    let mut entries = fs::read_dir(dir).map_err(io_error("read", dir))?;
    if entries.next().is_some() {
        return Err(StorageError::Foreign { dir: dir.to_owned() });
    }
    write_atomically(&mark, README).map_err(io_error("write", &mark))
}

/// Takes the lock and writes our number into it, for the message that the next one gets.
fn lock(dir: &Path) -> Result<File, StorageError> {
    let path = dir.join(LOCK);
    let mut options = OpenOptions::new();
    let mut file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(io_error("open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let _ = file.read_to_string(&mut text);
            return Err(StorageError::InUse { dir: dir.to_owned(), pid: text.trim().parse().ok() });
        }
        Err(TryLockError::Error(source)) => return Err(io_error("lock", &path)(source)),
    }
    let written = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    written.map_err(io_error("write", &path))?;
    Ok(file)
}

/// Removes everything but the mark and the lock. Links are removed, never followed.
fn empty(dir: &Path) -> Result<(), StorageError> {
    for entry in fs::read_dir(dir).map_err(io_error("read", dir))? {
        let entry = entry.map_err(io_error("read", dir))?;
        if entry.file_name() == MARK || entry.file_name() == LOCK {
            continue;
        }
        let path = entry.path();
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let removed = if is_folder { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.map_err(io_error("remove", &path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("exists").permissions().mode() & 0o777
    }

    #[test]
    fn secrets_last_until_the_folder_is_cleared() {
        let home = tempfile::tempdir().expect("a folder");
        let dir = home.path().join("a/b");
        let open = |clear| Storage::open(&dir, clear).expect("opens");
        let first = open(false).secret("login").expect("drawn");
        assert_eq!(open(false).secret("login").expect("read"), first);
        assert_ne!(open(false).secret("other").expect("drawn"), first);
        assert_ne!(open(true).secret("login").expect("drawn"), first);
        assert_eq!(mode(&dir), 0o700);
        assert_eq!(mode(&dir.join("secrets/login")), 0o600);
    }

    #[test]
    fn a_damaged_secret_is_drawn_anew() {
        let home = tempfile::tempdir().expect("a folder");
        let storage = Storage::open(home.path(), false).expect("opens");
        fs::write(storage.folder("secrets").expect("made").join("login"), b"short").expect("written");
        assert_eq!(storage.secret("login").expect("drawn"), storage.secret("login").expect("read"));
    }

    #[test]
    fn a_second_run_hears_who_has_the_folder() {
        let home = tempfile::tempdir().expect("a folder");
        let first = Storage::open(home.path(), false).expect("opens");
        let error = Storage::open(home.path(), true).expect_err("locked").to_string();
        assert!(error.contains(&format!("by process {}", std::process::id())), "{error}");
        drop(first);
        Storage::open(home.path(), false).expect("free again");
    }

    #[test]
    fn foreign_folders_are_left_alone() {
        let home = tempfile::tempdir().expect("a folder");
        fs::write(home.path().join("precious"), "x").expect("written");
        for clear in [false, true] {
            assert!(matches!(Storage::open(home.path(), clear), Err(StorageError::Foreign { .. })));
        }
        assert_eq!(fs::read_dir(home.path()).expect("readable").count(), 1);
    }

    #[test]
    fn clearing_removes_links_and_not_what_they_lead_to() {
        let home = tempfile::tempdir().expect("a folder");
        let precious = home.path().join("precious");
        fs::create_dir(&precious).expect("made");
        fs::write(precious.join("file"), "x").expect("written");
        let dir = home.path().join("storage");
        drop(Storage::open(&dir, false).expect("opens"));
        std::os::unix::fs::symlink(&precious, dir.join("link")).expect("linked");
        fs::create_dir_all(dir.join("deep/er")).expect("made");
        let storage = Storage::open(&dir, true).expect("opens");
        assert!(fs::symlink_metadata(storage.dir().join("link")).is_err() && fs::symlink_metadata(storage.dir().join("deep")).is_err());
        assert_eq!(fs::read(precious.join("file")).expect("still there"), b"x");
    }
}
