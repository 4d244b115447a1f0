//! Who reads: forward from an entry on, or backward from the newest. Neither minds that the log grows, and loses segments, meanwhile.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use model::journal::Entry;

use super::filter::Filter;
use super::{Id, line, path_of, segments};

/// Longer lines are not ours, and are skipped.
const LONGEST: u64 = 16 * 1024 * 1024;
/// Bytes that are read backward at once.
const BLOCK: u64 = 64 * 1024;

/// An entry that was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// Where it stands.
    pub id: Id,
    /// Its time.
    pub at: SystemTime,
    /// The entry.
    pub entry: Entry,
    /// The same as it is written: one JSON object.
    pub json: String,
}

/// A log to be read.
#[derive(Debug, Clone)]
pub struct Reader {
    dir: PathBuf,
}

impl Reader {
    /// Reads the log in `dir`.
    ///
    /// # Errors
    /// If there is no such folder.
    pub fn open(dir: &Path) -> io::Result<Self> {
        segments(dir)?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// Whether nothing was ever logged.
    pub fn is_empty(&self) -> bool {
        segments(&self.dir).map_or(true, |found| found.is_empty())
    }

    /// Entries after `after`, or from the oldest on. After `None` the next call looks again, so that a reader can follow.
    pub fn forward(&self, filter: Filter, after: Option<Id>) -> Forward {
        let first = match (after, filter.since) {
            (None, Some(since)) => self.first_since(since),
            _ => None,
        };
        let at = after.or(first.map(|segment| Id { segment, offset: 0 }));
        Forward { dir: self.dir.clone(), filter, open: None, at, skip: after.is_some() }
    }

    /// Entries before `before`, or from the newest on.
    pub fn newest_first(&self, filter: Filter, before: Option<Id>) -> Backward {
        let mut left = segments(&self.dir).unwrap_or_default();
        if let Some(before) = before {
            left.retain(|segment| *segment <= before.segment);
        }
        Backward { dir: self.dir.clone(), filter, left, before, open: None }
    }

    /// The trace of the request with this log id.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn trace_of(&self, log_id: &str) -> io::Result<Option<String>> {
        let filter = Filter { request: Some(log_id.to_owned()), ..Filter::default() };
        for found in self.newest_first(filter, None) {
            if let Entry::Request(request) = found?.entry {
                return Ok(request.trace.map(|trace| format!("{trace:032x}")));
            }
        }
        Ok(None)
    }

    /// The oldest segment that was written to at this time or later.
    fn first_since(&self, since: SystemTime) -> Option<u32> {
        let recent =
            |segment: &u32| fs::metadata(path_of(&self.dir, *segment)).and_then(|data| data.modified()).is_ok_and(|at| at >= since);
        segments(&self.dir).ok()?.into_iter().find(recent)
    }
}

/// Whether a line can be wanted at all, before it is parsed.
fn is_candidate(filter: &Filter, text: &str) -> bool {
    let Some(request) = &filter.request else { return true };
    text.contains(request.as_str()) || filter.trace.as_ref().is_some_and(|trace| text.contains(trace.as_str()))
}

fn wanted(filter: &Filter, id: Id, text: &[u8]) -> Option<Found> {
    let text = std::str::from_utf8(text).ok().filter(|text| is_candidate(filter, text))?;
    let (at, entry) = line::read(text)?;
    filter.wants(at, &entry).then(|| Found { id, at, entry, json: text.to_owned() })
}

/// Entries in the order in which they were written.
#[derive(Debug)]
pub struct Forward {
    dir: PathBuf,
    filter: Filter,
    open: Option<BufReader<File>>,
    /// The next line, or the last one that was seen if it is to be skipped.
    at: Option<Id>,
    skip: bool,
}

impl Forward {
    /// The next whole line of the open segment with its id; `None` at its end, be it final or not.
    fn line(&mut self) -> io::Result<Option<(Id, Vec<u8>)>> {
        let (Some(file), Some(at)) = (&mut self.open, &mut self.at) else { return Ok(None) };
        let mut text = Vec::new();
        let read = file.by_ref().take(LONGEST).read_until(b'\n', &mut text)?;
        let length = u32::try_from(read).unwrap_or(u32::MAX);
        if text.pop_if(|last| *last == b'\n').is_none() && u64::from(length) < LONGEST {
            // Not finished yet, or torn: it is read again when there is more.
            file.seek_relative(-i64::from(length))?;
            return Ok(None);
        }
        let id = *at;
        at.offset = at.offset.saturating_add(length);
        Ok(Some((id, text)))
    }

    /// Opens the segment of `at`, or the oldest after it; whether there is one.
    fn enter(&mut self, segment: u32, offset: u32) -> io::Result<()> {
        let mut file = File::open(path_of(&self.dir, segment))?;
        file.seek(SeekFrom::Start(offset.into()))?;
        self.open = Some(BufReader::new(file));
        self.at = Some(Id { segment, offset });
        Ok(())
    }

    /// Goes on to the next segment; whether there is one.
    fn advance(&mut self) -> io::Result<bool> {
        let there = segments(&self.dir)?;
        let (segment, offset) = match (self.at, &self.open) {
            (Some(at), None) if there.contains(&at.segment) => (at.segment, at.offset),
            (Some(at), _) => match there.into_iter().find(|segment| *segment > at.segment) {
                Some(segment) => (segment, 0),
                None => return Ok(false),
            },
            (None, _) => match there.first() {
                Some(first) => (*first, 0),
                None => return Ok(false),
            },
        };
        match self.enter(segment, offset) {
            // Removed in this moment.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            entered => entered.map(|()| true),
        }
    }

    fn find(&mut self) -> io::Result<Option<Found>> {
        loop {
            // What was written to the old segment before the new one appeared must be read first.
            let ended = self.open.is_none() || !self.is_last()?;
            while let Some((id, text)) = self.line()? {
                if std::mem::take(&mut self.skip) {
                    continue;
                }
                if let Some(found) = wanted(&self.filter, id, &text) {
                    return Ok(Some(found));
                }
            }
            if !ended || !self.advance()? {
                return Ok(None);
            }
        }
    }

    /// Whether no later segment exists.
    fn is_last(&self) -> io::Result<bool> {
        let at = self.at.map_or(0, |at| at.segment);
        Ok(segments(&self.dir)?.last().is_none_or(|last| *last <= at))
    }
}

impl Iterator for Forward {
    type Item = io::Result<Found>;

    fn next(&mut self) -> Option<Self::Item> {
        self.find().transpose()
    }
}

/// Entries in the opposite order.
#[derive(Debug)]
pub struct Backward {
    dir: PathBuf,
    filter: Filter,
    /// Segments not yet entered.
    left: Vec<u32>,
    before: Option<Id>,
    open: Option<Tail>,
}

/// A segment that is read from its end.
#[derive(Debug)]
struct Tail {
    file: File,
    segment: u32,
    /// Where `held` begins.
    start: u64,
    held: Vec<u8>,
}

impl Tail {
    fn open(dir: &Path, segment: u32, end: Option<u32>) -> io::Result<Self> {
        let file = File::open(path_of(dir, segment))?;
        let length = file.metadata()?.len();
        let start = end.map_or(length, |end| length.min(end.into()));
        let mut tail = Self { file, segment, start, held: Vec::new() };
        // What follows the last line end is torn, or not finished.
        while !tail.held.contains(&b'\n') && tail.grow()? {}
        let whole = tail.held.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        tail.held.truncate(whole);
        Ok(tail)
    }

    /// Reads the block before; whether there was one.
    fn grow(&mut self) -> io::Result<bool> {
        // Twice as much each time, so that a long line is not moved again and again.
        let wanted = BLOCK.max(self.held.len() as u64).min(self.start);
        if wanted == 0 || self.held.len() as u64 > LONGEST {
            return Ok(false);
        }
        self.start -= wanted;
        self.file.seek(SeekFrom::Start(self.start))?;
        let mut block = vec![0; usize::try_from(wanted).unwrap_or(0)];
        self.file.read_exact(&mut block)?;
        block.append(&mut self.held);
        self.held = block;
        Ok(true)
    }

    /// The line before, with its id.
    fn line(&mut self) -> io::Result<Option<(Id, Vec<u8>)>> {
        loop {
            let Some(end) = self.held.len().checked_sub(1) else {
                if self.grow()? {
                    continue;
                }
                return Ok(None);
            };
            let begin = self.held[..end].iter().rposition(|&byte| byte == b'\n').map(|at| at + 1);
            let begin = match begin {
                Some(begin) => begin,
                None if self.grow()? => continue,
                None => 0,
            };
            let mut text = self.held.split_off(begin);
            text.pop();
            let offset = u32::try_from(self.start + begin as u64).unwrap_or(u32::MAX);
            return Ok(Some((Id { segment: self.segment, offset }, text)));
        }
    }
}

impl Backward {
    fn find(&mut self) -> io::Result<Option<Found>> {
        loop {
            if let Some(tail) = &mut self.open {
                while let Some((id, text)) = tail.line()? {
                    if let Some(found) = wanted(&self.filter, id, &text) {
                        return Ok(Some(found));
                    }
                }
            }
            let Some(segment) = self.left.pop() else { return Ok(None) };
            let end = self.before.filter(|before| before.segment == segment).map(|before| before.offset);
            match Tail::open(&self.dir, segment, end) {
                Ok(tail) if self.is_too_old(&tail) => return Ok(None),
                Ok(tail) => self.open = Some(tail),
                // Removed meanwhile, and all before it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether the segment, and so all before it, was last written to before the time that is asked for.
    fn is_too_old(&self, tail: &Tail) -> bool {
        let written = tail.file.metadata().and_then(|data| data.modified());
        self.filter.since.zip(written.ok()).is_some_and(|(since, written)| written < since)
    }
}

impl Iterator for Backward {
    type Item = io::Result<Found>;

    fn next(&mut self) -> Option<Self::Item> {
        self.find().transpose()
    }
}
