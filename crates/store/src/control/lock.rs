//! Who is the master of a data folder: whoever holds `DIR/lock`. The kernel lets go of it when the process ends, however it ends.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::error::{OpenError, StoreError};
use super::{Result, locked};
use crate::write_atomically;

/// Marks a folder as ours.
const MARK: &str = ".enginehouse-data";
const README: &[u8] = b"The state of an Enginehouse server. Back it up as a whole; change nothing in it by hand.\n";
/// How often a new process asks whether the old one let go.
const ASK: Duration = Duration::from_millis(5);

/// The lock, if we have it.
pub(super) struct Hold(Mutex<Option<File>>);

impl Hold {
    /// Takes the lock.
    pub(super) fn take(dir: &Path) -> Result<Self, OpenError> {
        let mut file = open(dir)?;
        if try_lock(dir, &file)? {
            sign(dir, &mut file)?;
            return Ok(Self(Mutex::new(Some(file))));
        }
        let mut text = String::new();
        let _ = file.read_to_string(&mut text);
        Err(OpenError::InUse { dir: dir.to_owned(), pid: text.trim().parse().ok() })
    }

    /// Does without the lock, unless nobody has it.
    pub(super) fn beside(dir: &Path) -> Result<Self, OpenError> {
        let mut file = open(dir)?;
        if !try_lock(dir, &file)? {
            return Ok(Self(Mutex::new(None)));
        }
        sign(dir, &mut file)?;
        Ok(Self(Mutex::new(Some(file))))
    }

    pub(super) fn is_ours(&self) -> bool {
        locked(&self.0).is_some()
    }

    pub(super) fn release(&self) {
        if let Some(file) = locked(&self.0).take() {
            // Said expressly: a child that is just being started has the file open too until it is another program.
            let _ = file.unlock();
        }
    }

    /// Waits for the lock.
    pub(super) fn wait(&self, dir: &Path, patience: Duration) -> Result<bool> {
        let mut ours = locked(&self.0);
        if ours.is_some() {
            return Ok(true);
        }
        let mut file = open(dir)?;
        let until = Instant::now() + patience;
        while !try_lock(dir, &file)? {
            if Instant::now() >= until {
                return Ok(false);
            }
            std::thread::sleep(ASK);
        }
        sign(dir, &mut file)?;
        *ours = Some(file);
        Ok(true)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.release();
    }
}

fn open(dir: &Path) -> Result<File> {
    let path = dir.join("lock");
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(StoreError::io("open", &path))
}

fn try_lock(dir: &Path, file: &File) -> Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(source)) => Err(StoreError::io("lock", &dir.join("lock"))(source)),
    }
}

/// Writes our number into the lock, for the message that the next one gets.
fn sign(dir: &Path, file: &mut File) -> Result<()> {
    let written = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    written.map_err(StoreError::io("write", &dir.join("lock")))
}

/// Marks an empty folder as ours; refuses a foreign one.
pub(super) fn claim(dir: &Path) -> Result<(), OpenError> {
    let mark = dir.join(MARK);
    if fs::symlink_metadata(&mark).is_ok() {
        return Ok(());
    }
    let mut entries = fs::read_dir(dir).map_err(StoreError::io("read", dir))?.flatten();
    // What an administrator puts beside the state before the first start, and what a file system of its own begins with.
    if entries.any(|entry| entry.file_name() != "lost+found" && !entry.file_name().to_string_lossy().starts_with('.')) {
        return Err(OpenError::Foreign { dir: dir.to_owned() });
    }
    Ok(write_atomically(&mark, README).map_err(StoreError::io("write", &mark))?)
}

/// `SQLite`'s write-ahead log needs memory that all its users share, and locks that hold; file systems of other machines have neither.
pub(super) fn refuse_remote(dir: &Path) -> Result<(), OpenError> {
    let about = rustix::fs::statfs(dir).map_err(|e| StoreError::io("look at", dir)(e.into()))?;
    // The width of `f_type` differs between machines; the magic numbers (statfs(2)) have 32 bits.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "32 bits are the number")]
    let kind = match about.f_type as u32 {
        0x6969 => "NFS",
        0xff53_4d42 | 0xfe53_4d42 | 0x517b => "SMB",
        0x5346_414f => "AFS",
        0x0102_1997 => "9P",
        0x00c3_6400 => "CephFS",
        _ => return Ok(()),
    };
    Err(OpenError::Remote { dir: dir.to_owned(), kind })
}
