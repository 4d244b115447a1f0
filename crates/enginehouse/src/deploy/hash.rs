//! The SHA-1 of every file, by which the server knows it. Sums of files that did not change since the last time are remembered: a file is known
//! by its length, its times and its number, and one that was touched while it was looked at is not remembered.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, digest};
use model::brief::hex;

use super::collect::Found;
use crate::client::{Failure, Outcome};

/// The first line of a memory; another means that it was written by another release.
const FORMAT: &str = "enginehouse sums 1";
/// A clock of files may be so coarse: what changed within it may change again unseen.
const COARSE: Duration = Duration::from_millis(50);
/// Fewer files than this are not worth threads.
const FEW: usize = 16;

/// The sums of all files, in their order.
#[derive(Debug)]
pub(super) struct Sums {
    /// 40 hexadecimal digits each.
    pub(super) sums: Vec<String>,
    /// How many had to be read.
    pub(super) read: usize,
}

/// What a file is recognised by.
type Stamp = (u64, i64, i64, i64, i64, u64);

fn stamp(file: &Found) -> Stamp {
    let meta = &file.meta;
    (meta.len(), meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec(), meta.ino())
}

/// Sums all files of an app in `root`, with the memory in `folder` if there is one.
pub(super) fn sum(root: &Path, files: &[Found], folder: Option<&Path>) -> Outcome<Sums> {
    let memory = folder.map(|folder| folder.join(hex(digest(&SHA1_FOR_LEGACY_USE_ONLY, root.as_os_str().as_encoded_bytes()).as_ref())));
    let known = memory.as_deref().map(recall).unwrap_or_default();
    let mut sums: Vec<Option<String>> = files.iter().map(|file| known.get(&(file.name.as_str().into(), stamp(file))).cloned()).collect();
    let unknown: Vec<usize> = (0..files.len()).filter(|at| sums[*at].is_none()).collect();
    let begun = SystemTime::now();
    for (at, sum) in read_all(files, &unknown)? {
        sums[at] = Some(sum);
    }
    let sums: Vec<String> = sums.into_iter().flatten().collect();
    if let Some(memory) = memory.filter(|_| !unknown.is_empty() || known.len() != files.len()) {
        // A memory that cannot be kept costs time, nothing else.
        let _ = remember(&memory, files, &sums, begun);
    }
    Ok(Sums { sums, read: unknown.len() })
}

fn read_all(files: &[Found], wanted: &[usize]) -> Outcome<Vec<(usize, String)>> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    let threads = if wanted.len() < FEW { 1 } else { cores };
    let next = AtomicUsize::new(0);
    let work = || -> Outcome<Vec<(usize, String)>> {
        let mut done = Vec::new();
        while let Some(at) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
            done.push((*at, sum_of(&files[*at].path)?));
        }
        Ok(done)
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut all: Vec<(usize, String)> = work()?;
        for other in others {
            all.extend(other.join().map_err(|_| Failure::Here("files could not be read".to_owned()))??);
        }
        Ok(all)
    })
}

fn sum_of(path: &Path) -> Outcome<String> {
    let unreadable = |error: std::io::Error| {
        Failure::Here(format!("{} cannot be read ({error}); make it readable, or name it in .gcloudignore", path.display()))
    };
    let mut file = fs::File::open(path).map_err(unreadable)?;
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    let mut piece = vec![0; 64 << 10];
    loop {
        let read = file.read(&mut piece).map_err(unreadable)?;
        if read == 0 {
            return Ok(hex(context.finish().as_ref()));
        }
        context.update(&piece[..read]);
    }
}

type Known = HashMap<(Box<str>, Stamp), String>;

fn recall(memory: &Path) -> Known {
    let text = fs::read_to_string(memory).unwrap_or_default();
    let mut lines = text.lines();
    if lines.next() != Some(FORMAT) {
        return Known::new();
    }
    lines.filter_map(recall_line).collect()
}

fn recall_line(line: &str) -> Option<((Box<str>, Stamp), String)> {
    let mut parts = line.splitn(8, ' ');
    let sum = parts.next().filter(|sum| sum.len() == 40)?.to_owned();
    let stamp = (
        parts.next()?.parse().ok()?,
        parts.next()?.parse().ok()?,
        parts.next()?.parse().ok()?,
        parts.next()?.parse().ok()?,
        parts.next()?.parse().ok()?,
        parts.next()?.parse().ok()?,
    );
    Some(((parts.next()?.into(), stamp), sum))
}

fn remember(memory: &Path, files: &[Found], sums: &[String], begun: SystemTime) -> std::io::Result<()> {
    let begun = begun.checked_sub(COARSE).and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    let mut text = format!("{FORMAT}\n");
    for (file, sum) in files.iter().zip(sums) {
        let (length, mtime, mtime_nsec, ctime, ctime_nsec, number) = stamp(file);
        let at = |seconds: i64, nanos: i64| Duration::new(seconds.try_into().unwrap_or(u64::MAX), nanos.try_into().unwrap_or(0));
        let settled = at(ctime, ctime_nsec) < begun && at(mtime, mtime_nsec) < begun;
        if settled && !file.name.contains(['\n', '\r']) {
            let _ = writeln!(text, "{sum} {length} {mtime} {mtime_nsec} {ctime} {ctime_nsec} {number} {}", file.name);
        }
    }
    let folder = memory.parent().unwrap_or(memory);
    fs::create_dir_all(folder)?;
    let draft: PathBuf = memory.with_extension(format!("{}.new", std::process::id()));
    fs::write(&draft, text)?;
    fs::rename(&draft, memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(root: &Path, name: &str) -> Found {
        let path = root.join(name);
        Found { name: name.to_owned(), meta: fs::metadata(&path).expect("there"), path }
    }

    #[test]
    fn sums_are_those_that_the_server_computes() {
        let dir = tempfile::tempdir().expect("folder");
        fs::write(dir.path().join("empty"), "").expect("written");
        fs::write(dir.path().join("a b"), "abc").expect("written");
        let files = [found(dir.path(), "empty"), found(dir.path(), "a b")];
        let sums = sum(dir.path(), &files, None).expect("summed").sums;
        assert_eq!(sums, ["da39a3ee5e6b4b0d3255bfef95601890afd80709", "a9993e364706816aba3e25717850c26c9cd0d89d"]);
    }

    #[test]
    fn only_what_changed_is_read_again() {
        let dir = tempfile::tempdir().expect("folder");
        let memory = tempfile::tempdir().expect("folder");
        let names: Vec<String> = (0..40).map(|n| format!("file {n}")).collect();
        // Old enough to be remembered, but for the last one, whose length changes.
        let old = SystemTime::now() - Duration::from_hours(1);
        for name in &names {
            fs::write(dir.path().join(name), name).expect("written");
            fs::File::options().write(true).open(dir.path().join(name)).and_then(|file| file.set_modified(old)).expect("dated");
        }
        let all = || names.iter().map(|name| found(dir.path(), name)).collect::<Vec<_>>();
        let first = sum(dir.path(), &all(), Some(memory.path())).expect("summed");
        assert_eq!(first.read, 40);
        // The change of a file's own times is recent, so that nothing is believed yet.
        let files = all();
        let later = SystemTime::now() + Duration::from_mins(1);
        let file = fs::read_dir(memory.path()).expect("a memory").next().expect("a file").expect("readable").path();
        remember(&file, &files, &first.sums, later).expect("remembered");
        assert_eq!(sum(dir.path(), &files, Some(memory.path())).expect("summed").read, 0);
        fs::write(dir.path().join(&names[7]), "changed").expect("written");
        let third = sum(dir.path(), &all(), Some(memory.path())).expect("summed");
        assert_eq!((third.read, third.sums[7] == first.sums[7]), (1, false));
        fs::write(&file, "rubbish\nx").expect("written");
        assert_eq!(sum(dir.path(), &all(), Some(memory.path())).expect("summed").read, 40);
    }
}
