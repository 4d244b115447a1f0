//! The immutable copy of an app's code that all instances of a version share (rows Y16, Y26): without what `skip_files` leaves out and without
//! static files, read-only, made incrementally.
//!
//! A copy is a folder of the cache named by its content, so that a start without changes copies nothing. What did not change since the last look
//! (by length, times and number of the file) is linked from the previous copy; only the rest is read.

mod copy;
mod index;
mod walk;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use model::ids::VersionKey;
use model::table::Version;

use self::index::Index;
use crate::cache::{self, Held};
use crate::fleet::House;
use crate::prepare::{PrepareError, Progress};
pub(crate) use copy::{close_all, copy_all, link_all};
pub(crate) use index::sweep;

/// The folder of the cache with all copies.
const FOLDER: &str = "deployments";
/// The copy itself, in its folder of the cache.
const FILES: &str = "app";
/// A copy that takes longer than this is talked about.
const PATIENCE: Duration = Duration::from_millis(400);

/// A copy in use.
#[derive(Debug)]
pub struct Staged {
    root: PathBuf,
    content: String,
    /// Empty only while it is dropped.
    held: Mutex<Option<Held>>,
    /// A newer copy of the same version exists.
    superseded: AtomicBool,
    /// What this was built from.
    base: Option<Arc<Self>>,
    /// What the reader should know: links that were left out.
    pub(crate) notes: Vec<String>,
}

impl Staged {
    /// Where the files are.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Makes a copy of the copy that may be written to, for builds.
    pub(crate) fn copy_to(&self, target: &Path) -> io::Result<()> {
        copy_all(&self.root, target)
    }

    /// Fills a folder with links to the files, without the outermost entries that are `left_out`.
    pub(crate) fn link_to(&self, target: &Path, left_out: &[&str]) -> io::Result<()> {
        std::fs::create_dir_all(target)?;
        for entry in std::fs::read_dir(&self.root)? {
            let entry = entry?;
            if !left_out.iter().any(|name| entry.file_name() == *name) {
                link_all(&entry.path(), &target.join(entry.file_name()))?;
            }
        }
        Ok(())
    }

    /// The files with what `make` adds to them in the folder that it is given; made once for each `key`.
    pub(crate) fn built(
        self: &Arc<Self>,
        key: &str,
        progress: &dyn Progress,
        make: impl Fn(&Path) -> Result<(), PrepareError>,
    ) -> Result<Arc<Self>, PrepareError> {
        // Called like the copy, so that whoever looks after one finds the other.
        let own = self.root.parent().unwrap_or(&self.root);
        let dir = own.with_file_name(format!("{}.{key}", own.file_name().unwrap_or_default().display()));
        let held = cache::provide(&dir, progress, || {
            make(&dir.join(FILES))?;
            close_all(&dir.join(FILES)).map_err(|e| PrepareError(format!("cannot make {}: {e}", dir.display())))
        })?;
        Ok(Arc::new(Self {
            root: held.dir().join(FILES),
            content: format!("{}.{key}", self.content),
            held: Mutex::new(Some(held)),
            superseded: AtomicBool::new(false),
            base: Some(Arc::clone(self)),
            notes: Vec::new(),
        }))
    }

    /// A folder that stands in for a copy.
    #[cfg(test)]
    pub(crate) fn unheld(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            content: String::new(),
            held: Mutex::default(),
            superseded: AtomicBool::new(false),
            base: None,
            notes: Vec::new(),
        }
    }

    /// Names what is in the files, whatever they are called outside.
    pub(crate) fn content(&self) -> &str {
        &self.content
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        let superseded = self.base.as_ref().map_or(&self.superseded, |base| &base.superseded).load(Ordering::Relaxed);
        if !superseded {
            return;
        }
        let held = self.held.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let Some(dir) = held.map(|held| held.dir().to_owned()) else { return };
        // A large copy takes its time, and this may be a thread that serves requests. If there is no other, the next start sweeps.
        let _ = std::thread::Builder::new().name("fleet-sweep".into()).spawn(move || cache::discard(&dir));
    }
}

/// The newest copies of a house.
#[derive(Debug, Default)]
pub(crate) struct Newest {
    of_versions: Mutex<HashMap<VersionKey, Weak<Staged>>>,
    /// For which version each folder was copied last.
    of_folders: Mutex<HashMap<PathBuf, Arc<Version>>>,
}

impl Newest {
    /// Takes note of a copy; the one before is removed once nobody uses it. If it is still the same one, that is returned.
    fn replace(&self, version: &Version, staged: Staged) -> Arc<Staged> {
        let mut all = self.of_versions.lock().unwrap_or_else(PoisonError::into_inner);
        let key = &version.config.key;
        if let Some(old) = all.get(key).and_then(Weak::upgrade) {
            if old.root == staged.root {
                return old;
            }
            old.superseded.store(true, Ordering::Relaxed);
        }
        let staged = Arc::new(staged);
        all.insert(key.clone(), Arc::downgrade(&staged));
        staged
    }

    /// Takes note that the folder of `version` was copied.
    fn copied(&self, version: &Arc<Version>) {
        self.of_folders.lock().unwrap_or_else(PoisonError::into_inner).insert(version.root.clone(), Arc::clone(version));
    }

    /// The version that `folder` was copied for last.
    fn last_of(&self, folder: &Path) -> Option<Arc<Version>> {
        self.of_folders.lock().unwrap_or_else(PoisonError::into_inner).get(folder).map(Arc::clone)
    }
}

/// Makes the copy for `version`, or finds it.
pub(crate) fn provide(house: &House, version: &Arc<Version>, progress: &dyn Progress) -> Result<Arc<Staged>, PrepareError> {
    let home = house.options.cache.join(FOLDER);
    let walked = walk::walk(&version.root, &version.config)?;
    let sealed = house.options.sealed.as_ref().is_some_and(|sealed| version.root.starts_with(sealed));
    let mut index = Index::load(&home, version, sealed);
    // Many services often live in one folder: what was read for the first of them is not read again for each.
    if let Some(other) = house.newest.last_of(&version.root).filter(|_| !sealed && !index.knows_all(&walked)) {
        index.learn(Index::load(&home, &other, sealed), &walked);
    }
    let known = if sealed { copy::Hashes::of_sealed(&version.root, &walked) } else { index.known(&walked) };
    let telling = Telling { progress, begun: Instant::now(), files: walked.files.len() };
    let held = make(&home, &version.root, &walked, &known, &mut index, &telling)
        .map_err(|error| PrepareError(format!("the app's files cannot be copied into {}: {error}", home.display())))?;
    if !sealed {
        house.newest.copied(version);
    }
    let (root, content) = (held.dir().join(FILES), index.content().to_owned());
    let staged =
        Staged { root, content, held: Mutex::new(Some(held)), superseded: AtomicBool::new(false), base: None, notes: walked.notes };
    Ok(house.newest.replace(version, staged))
}

fn make(
    home: &Path,
    root: &Path,
    walked: &walk::Walked,
    known: &copy::Hashes,
    index: &mut Index,
    telling: &Telling<'_>,
) -> Result<Held, String> {
    let mut previous = index.previous(home);
    if let Some(content) = known.content(walked) {
        let dir = index.place(home, &content);
        let make = || {
            copy::fill(&dir.join(FILES), root, walked, known, previous.as_ref(), telling).map_err(PrepareError)?;
            copy::close(&dir.join(FILES)).map_err(|e| PrepareError(e.to_string()))
        };
        let held = cache::provide(&dir, telling.progress, make).map_err(|error| error.0)?;
        // A copy from before a power cut may be whole in name only.
        if telling.verify(&dir.join(FILES), walked) {
            index.remember(home, content, None);
            return Ok(held);
        }
        drop(held);
        // What it was linked from is no better, and may be the very same, which is not discarded while it is held.
        previous = None;
        cache::discard(&dir);
    }
    let draft = copy::Draft::new(home).map_err(|e| e.to_string())?;
    let hashes = copy::fill(&draft.files(), root, walked, known, previous.as_ref(), telling)?;
    let content = hashes.content(walked).ok_or("a file changed while it was copied; try again")?;
    let dir = index.place(home, &content);
    let make = || draft.settle(&dir.join(FILES)).map_err(|e| PrepareError(e.to_string()));
    let held = cache::provide(&dir, telling.progress, make).map_err(|error| error.0)?;
    index.remember(home, content, Some((walked, hashes)));
    Ok(held)
}

/// Speaks only if there is something to wait for.
struct Telling<'p> {
    progress: &'p dyn Progress,
    begun: Instant,
    files: usize,
}

impl Telling<'_> {
    /// So many files are done.
    fn at(&self, done: usize) {
        if done.is_multiple_of(256) && self.begun.elapsed() > PATIENCE {
            self.progress.step(&format!("copying the app's files: {done} of {}", self.files));
        }
    }

    /// Whether the copy has every file in its length.
    fn verify(&self, copy: &Path, walked: &walk::Walked) -> bool {
        let _ = self;
        walked.files.iter().all(|file| std::fs::symlink_metadata(copy.join(&file.path)).is_ok_and(|found| found.len() == file.stamp.len))
    }
}
