//! Runs that are under way when a process lets the state go: it ends them, and says in a file how; whoever has the state then goes by that. A lock tells
//! whether it still lives (decision 304).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::Last;

/// The file whose lock says that somebody still runs jobs.
const LOCK: &str = "cron.held";
/// How names of files begin that say how a run ended.
const ENDED: &str = "cron.ended.";
/// Tells the files of this process apart.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// The runs of an app that this process has left to end.
#[derive(Debug)]
pub(super) struct Leaving {
    folder: PathBuf,
    running: BTreeSet<String>,
    _lock: File,
}

/// How one of them ended.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ended {
    name: String,
    pub(super) good: bool,
    pub(super) last: Last,
}

fn open(folder: &Path) -> io::Result<File> {
    std::fs::create_dir_all(folder)?;
    OpenOptions::new().write(true).create(true).truncate(false).open(folder.join(LOCK))
}

impl Leaving {
    /// To be made before the state is let go.
    pub(super) fn new(folder: &Path, running: BTreeSet<String>) -> io::Result<Self> {
        let lock = open(folder)?;
        lock.lock_shared()?;
        Ok(Self { folder: folder.to_owned(), running, _lock: lock })
    }

    /// Whether it has this job.
    pub(super) fn has(&self, name: &str) -> bool {
        self.running.contains(name)
    }

    /// Nothing is left to be waited for.
    pub(super) fn is_over(&self) -> bool {
        self.running.is_empty()
    }

    /// Says how a run ended.
    pub(super) fn ended(&mut self, name: &str, good: bool, last: Last) -> io::Result<()> {
        self.running.remove(name);
        let file = format!("{ENDED}{}.{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let text = serde_json::to_vec(&Ended { name: name.to_owned(), good, last })?;
        store::write_atomically(&self.folder.join(file), &text)
    }
}

/// What those have said that left.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Nobody is left who could say more.
    pub(super) all: bool,
    /// By job.
    pub(super) ends: BTreeMap<String, Ended>,
    files: Vec<PathBuf>,
}

impl Heard {
    /// Looks what was said in an app's folder.
    pub(super) fn look(folder: &Path) -> Self {
        // Before the files are read: whoever has let the lock go has written before.
        let all = match open(folder).map(|lock| lock.try_lock()) {
            Ok(Err(TryLockError::WouldBlock)) => false,
            // Where nothing can be locked, nobody has.
            Ok(Ok(()) | Err(TryLockError::Error(_))) | Err(_) => true,
        };
        let mut heard = Self { all, ..Self::default() };
        let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
        for path in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(ENDED)).map(|entry| entry.path()) {
            if let Some(ended) = std::fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Ended>(&text).ok()) {
                heard.ends.insert(ended.name.clone(), ended);
            }
            heard.files.push(path);
        }
        heard
    }

    /// It was taken in, and is in the state.
    pub(super) fn forget(self) {
        for file in self.files {
            let _ = std::fs::remove_file(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s2_who_leaves_tells_how_its_runs_ended() {
        let folder = tempfile::tempdir().expect("a folder");
        let last = |status| Last { began: 1, took: 2, status: Some(status), error: None };
        assert!(Heard::look(folder.path()).all);
        let mut leaving = Leaving::new(folder.path(), ["a", "b"].map(String::from).into()).expect("locked");
        let heard = Heard::look(folder.path());
        assert!(!heard.all && heard.ends.is_empty() && leaving.has("a"));
        leaving.ended("a", true, last(200)).expect("written");
        assert!(!leaving.is_over());
        let heard = Heard::look(folder.path());
        assert!(!heard.all && heard.ends["a"].good);
        heard.forget();
        leaving.ended("b", false, last(503)).expect("written");
        assert!(leaving.is_over());
        drop(leaving);
        let heard = Heard::look(folder.path());
        assert!(heard.all && !heard.ends["b"].good && !heard.ends.contains_key("a"));
    }
}
