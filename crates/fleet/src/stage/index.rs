//! What is remembered of each version between two copies: which copy was the last, and what was in which file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use model::brief::hex;
use model::table::Version;
use serde::{Deserialize, Serialize};

use super::FOLDER;
use super::copy::{Hashes, sweep_drafts};
use super::walk::{Source, Stamp, Walked};
use crate::cache::{self, Held};

/// File systems count time in steps of up to a hundredth of a second (FAT: two seconds, which nobody develops on): a file that was changed right
/// before it was read may change again without showing it.
const RACY: Duration = Duration::from_millis(50);
/// Copies of versions that were not run for so long are removed.
const KEPT: Duration = Duration::from_hours(24 * 30);

/// The memory of one version.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Index {
    /// The app's folder, for the sweep.
    origin: PathBuf,
    /// The name of the last copy.
    content: String,
    files: BTreeMap<PathBuf, (Stamp, String)>,
    #[serde(skip)]
    file: PathBuf,
    /// Names the version: `file` without its folder.
    #[serde(skip)]
    whose: String,
    /// The name of the version that the last copy was made for.
    #[serde(skip)]
    copied_for: String,
}

impl Index {
    /// Reads what is known; what cannot be read is not known. A `sealed` folder has one copy for all versions of its app.
    pub(super) fn load(home: &Path, version: &Version, sealed: bool) -> Self {
        let whose = if sealed {
            format!("{}\n{}\nsealed", version.root.display(), version.app)
        } else {
            format!("{}\n{}", version.root.display(), version.config.key)
        };
        let whose = hex(&digest(&SHA256, whose.as_bytes()).as_ref()[..8]);
        let file = home.join("index").join(format!("{whose}.json"));
        let known: Self = fs::read(&file).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        Self { origin: version.root.clone(), file, copied_for: whose.clone(), whose, ..known }
    }

    /// Whether no file has to be read.
    pub(super) fn knows_all(&self, walked: &Walked) -> bool {
        self.count(walked) == walked.files.len()
    }

    /// Takes over what is known of the same folder for another version, if that is more.
    pub(super) fn learn(&mut self, other: Self, walked: &Walked) {
        if other.count(walked) > self.count(walked) {
            (self.content, self.files, self.copied_for) = (other.content, other.files, other.whose);
        }
    }

    /// How many files look as they did.
    fn count(&self, walked: &Walked) -> usize {
        walked.files.iter().filter(|source| self.hash(source).is_some()).count()
    }

    fn hash(&self, source: &Source) -> Option<&String> {
        self.files.get(&source.path).filter(|(stamp, _)| *stamp == source.stamp).map(|(_, hash)| hash)
    }

    /// What is in the files that look as they did.
    pub(super) fn known(&self, walked: &Walked) -> Hashes {
        Hashes(walked.files.iter().filter_map(|source| Some((source.path.clone(), self.hash(source)?.clone()))).collect())
    }

    /// The last copy, if it still exists.
    pub(super) fn previous(&self, home: &Path) -> Option<Held> {
        let valid = !self.content.is_empty() && self.content.bytes().all(|b| b.is_ascii_hexdigit());
        valid.then(|| Held::existing(&place(home, &self.copied_for, &self.content))).flatten()
    }

    /// Where the copy with this content is kept. Two apps with the same content share none, so that either can be told apart by where it works.
    pub(super) fn place(&self, home: &Path, content: &str) -> PathBuf {
        place(home, &self.whose, content)
    }

    /// The name of the last copy.
    pub(super) fn content(&self) -> &str {
        &self.content
    }

    /// Writes down the copy that was made. Best effort: without it the next one copies everything.
    pub(super) fn remember(&mut self, home: &Path, content: String, files: Option<(&Walked, Hashes)>) {
        let now = SystemTime::now();
        if let Some((walked, Hashes(mut hashes))) = files {
            let settled = |stamp: &Stamp| is_settled(stamp, now);
            let pairs = walked.files.iter().filter(|source| settled(&source.stamp));
            self.files = pairs.filter_map(|s| Some((s.path.clone(), (s.stamp, hashes.remove(&s.path)?)))).collect();
        }
        self.content = content;
        let draft = self.file.with_extension(format!("new-{}-{:?}", std::process::id(), std::thread::current().id()));
        if let Ok(text) = serde_json::to_vec(self)
            && fs::create_dir_all(home.join("index")).is_ok()
            && fs::write(&draft, text).is_ok()
        {
            let _ = fs::rename(draft, &self.file);
        }
    }
}

fn place(home: &Path, whose: &str, content: &str) -> PathBuf {
    home.join(format!("{whose}-{content}"))
}

/// Whether a later change must show in the file's times.
fn is_settled(stamp: &Stamp, now: SystemTime) -> bool {
    let changed = stamp.changed.max(stamp.modified);
    let since = |at: SystemTime| now.duration_since(at).ok();
    let at = UNIX_EPOCH + Duration::new(u64::try_from(changed.0).unwrap_or(0), u32::try_from(changed.1).unwrap_or(0));
    since(at).is_some_and(|age| age > RACY)
}

/// Removes copies that no version remembers and nobody uses: leftovers of houses that were killed, of apps that are gone, of versions that were
/// not run for a month.
pub(crate) fn sweep(cache: &Path) {
    let home = cache.join(FOLDER);
    sweep_drafts(&home);
    let mut wanted = Vec::new();
    for entry in fs::read_dir(home.join("index")).into_iter().flatten().flatten() {
        let age = entry.metadata().and_then(|found| found.modified()).ok().and_then(|at| at.elapsed().ok());
        let index = fs::read(entry.path()).ok().and_then(|text| serde_json::from_slice::<Index>(&text).ok());
        match index {
            Some(index) if index.origin.is_dir() && age.is_none_or(|age| age < KEPT) => {
                let whose = entry.path().file_stem().unwrap_or_default().to_string_lossy().into_owned();
                wanted.push(format!("{whose}-{}", index.content));
            }
            // A draft of another run is no index yet; it is not old either.
            None if age.is_none_or(|age| age < Duration::from_mins(1)) => {}
            _ => drop(fs::remove_file(entry.path())),
        }
    }
    for entry in fs::read_dir(&home).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_copy = !matches!(&*name, "index" | "drafts") && entry.file_type().is_ok_and(|kind| kind.is_dir());
        // What was built on top of a copy is called alike, with a dot behind the name.
        let copy = name.split('.').next().unwrap_or_default();
        let age = fs::metadata(entry.path().join(cache::WHOLE)).and_then(|found| found.modified()).ok().and_then(|at| at.elapsed().ok());
        let outdated = copy.len() < name.len() && age.is_some_and(|age| age > KEPT);
        if is_copy && (outdated || !wanted.iter().any(|wanted| wanted == copy)) {
            cache::discard(&entry.path());
        }
    }
}
