//! The one who writes.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use model::journal::Entry;

use super::{line, path_of, segments};

/// The largest segment.
const SEGMENT: u64 = 16 * 1024 * 1024;
/// Bytes that are gathered before the file is written.
const GATHERED: usize = 64 * 1024;
/// A limit below this would not hold one long entry.
pub(super) const LEAST: u64 = 4 * 1024 * 1024;

/// Appends entries and keeps the log within its limit.
#[derive(Debug)]
pub struct Writer {
    dir: PathBuf,
    limit: u64,
    segment: u64,
    /// Number and size of each segment but the open one, oldest first.
    older: VecDeque<(u32, u64)>,
    number: u32,
    /// Absent until something is written, and after an error.
    file: Option<File>,
    /// Bytes in the open segment.
    size: u64,
    gathered: Vec<u8>,
}

impl Writer {
    /// Opens the log in `dir`, which must exist; it takes at most `limit` bytes (but never less than 4 MiB). Nothing is written yet.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn open(dir: &Path, limit: u64) -> io::Result<Self> {
        let mut older = VecDeque::new();
        for number in segments(dir)? {
            older.push_back((number, fs::metadata(path_of(dir, number))?.len()));
        }
        let (number, size) = older.pop_back().unwrap_or((1, 0));
        let limit = limit.max(LEAST);
        let segment = (limit / 16).min(SEGMENT);
        Ok(Self { dir: dir.to_owned(), limit, segment, older, number, file: None, size, gathered: Vec::new() })
    }

    /// Takes an entry; it reaches the disk with [`Self::flush`] at the latest.
    ///
    /// # Errors
    /// If the system refuses; entries that were not flushed yet are lost, and the next call begins anew.
    pub fn append(&mut self, at: SystemTime, entry: &Entry) -> io::Result<()> {
        let before = self.gathered.len();
        line::write(at, entry, &mut self.gathered);
        let held = self.size + before as u64;
        if held > 0 && self.size + self.gathered.len() as u64 > self.segment {
            let last = self.gathered.split_off(before);
            self.flush()?;
            self.rotate()?;
            self.gathered = last;
        }
        if self.gathered.len() >= GATHERED { self.flush() } else { Ok(()) }
    }

    /// Writes what was gathered.
    ///
    /// # Errors
    /// If the system refuses; what was gathered is lost.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let written = self.write();
        self.gathered.clear();
        if written.is_err() {
            // Part of it may have been written; the next one looks.
            self.file = None;
        }
        written
    }

    fn write(&mut self) -> io::Result<()> {
        if self.file.is_none() {
            self.reopen()?;
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        file.write_all(&self.gathered)?;
        self.size += self.gathered.len() as u64;
        Ok(())
    }

    /// Opens the segment and ends a line that was torn, so that the next one begins on its own.
    fn reopen(&mut self) -> io::Result<()> {
        self.shrink()?;
        let mut options = OpenOptions::new();
        let mut file = options.read(true).append(true).create(true).mode(0o600).open(path_of(&self.dir, self.number))?;
        self.size = file.metadata()?.len();
        if self.size > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
                self.size += 1;
            }
        }
        self.file = Some(file);
        Ok(())
    }

    /// Ends the segment and makes room for another.
    fn rotate(&mut self) -> io::Result<()> {
        self.file = None;
        self.older.push_back((self.number, self.size));
        // After four thousand million segments of 16 MiB the numbers end; so will the disk.
        self.number = self.number.saturating_add(1);
        self.size = 0;
        self.reopen()
    }

    /// Removes the oldest segments until another full one fits.
    fn shrink(&mut self) -> io::Result<()> {
        let mut total: u64 = self.older.iter().map(|(_, size)| size).sum();
        while total + self.segment > self.limit {
            let Some((number, size)) = self.older.pop_front() else { break };
            match fs::remove_file(path_of(&self.dir, number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    self.older.push_front((number, size));
                    return Err(error);
                }
                _ => total -= size,
            }
        }
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.flush();
    }
}
