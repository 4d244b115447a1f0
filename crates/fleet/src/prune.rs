//! Keeping the cache small: what nobody used for long goes, and when all of it together is too large, what was used least recently.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::cache::{self, WHOLE};

/// Folders of the cache whose entries can be made again.
const FOLDERS: [&str; 4] = ["environments", "builds", "agents", "sdk"];
/// What was not used for so long is removed.
const KEPT: Duration = Duration::from_hours(24 * 60);
/// All entries together.
const LARGEST: u64 = 20 << 30;

struct Entry {
    dir: PathBuf,
    used: SystemTime,
    bytes: u64,
}

/// Removes what is too old or too much. What is in use stays, whatever its age: somebody holds its lock.
pub(crate) fn prune(cache: &Path) {
    to_limits(cache, SystemTime::now(), KEPT, LARGEST);
}

fn to_limits(cache: &Path, now: SystemTime, kept: Duration, largest: u64) {
    let mut all = Vec::new();
    for folder in FOLDERS {
        for found in fs::read_dir(cache.join(folder)).into_iter().flatten().flatten() {
            let path = found.path();
            if found.file_type().is_ok_and(|kind| kind.is_dir()) {
                match measured(&path) {
                    Some(entry) => all.push(entry),
                    // Half made; if nobody is at it, its maker was killed.
                    None => drop(cache::discard(&path)),
                }
            } else if path.extension().is_some_and(|extension| extension == "log") && age(&path, now) > kept {
                let _ = fs::remove_file(path);
            }
        }
    }
    all.sort_by_key(|entry| entry.used);
    let mut bytes: u64 = all.iter().map(|entry| entry.bytes).sum();
    for entry in all {
        let old = now.duration_since(entry.used).is_ok_and(|age| age > kept);
        if (old || bytes > largest) && cache::discard(&entry.dir) {
            bytes -= entry.bytes;
        }
    }
}

fn age(path: &Path, now: SystemTime) -> Duration {
    let changed = fs::metadata(path).and_then(|found| found.modified());
    changed.ok().and_then(|at| now.duration_since(at).ok()).unwrap_or_default()
}

/// When a whole folder was last used, and its size, which is counted once and then kept in the file that says that it is whole.
fn measured(dir: &Path) -> Option<Entry> {
    let file = dir.join(WHOLE);
    let used = fs::metadata(&file).ok()?.modified().ok()?;
    let known = fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok());
    let bytes = known.unwrap_or_else(|| {
        let bytes = size(dir);
        // Best effort, and no use: the time stays.
        if let Ok(mut open) = File::options().write(true).open(&file) {
            let _ = write!(open, "{bytes}").and_then(|()| open.set_modified(used));
        }
        bytes
    });
    Some(Entry { dir: dir.to_owned(), used, bytes })
}

fn size(dir: &Path) -> u64 {
    let entries = walkdir::WalkDir::new(dir).into_iter().filter_map(Result::ok);
    entries.filter(|entry| entry.file_type().is_file()).filter_map(|entry| Some(entry.metadata().ok()?.len())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{Held, provide};
    use crate::prepare::Quiet;

    fn entry(cache: &Path, name: &str, age: u64) -> Held {
        let dir = cache.join("builds").join(name);
        let held = provide(&dir, &Quiet, || {
            fs::write(dir.join("x"), [0; 1000]).expect("written");
            Ok(())
        })
        .expect("made");
        let whole = File::options().write(true).open(dir.join(WHOLE)).expect("opened");
        whole.set_modified(SystemTime::now() - Duration::from_secs(age)).expect("set");
        held
    }

    fn left(cache: &Path) -> Vec<String> {
        let entries = fs::read_dir(cache.join("builds")).expect("readable").flatten();
        let folders = entries.filter(|entry| entry.path().is_dir());
        let mut names: Vec<String> = folders.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_old_goes_unless_it_is_used() {
        let home = tempfile::tempdir().expect("a folder");
        let cache = home.path();
        let used = entry(cache, "used", 5_000);
        drop(entry(cache, "old", 5_000));
        drop(entry(cache, "young", 5));
        fs::create_dir(cache.join("builds/half")).expect("made");
        to_limits(cache, SystemTime::now(), Duration::from_secs(1_000), u64::MAX);
        assert_eq!(left(cache), ["used", "young"]);
        drop(used);
        to_limits(cache, SystemTime::now(), Duration::from_secs(1_000), u64::MAX);
        assert_eq!(left(cache), ["young"]);
    }

    #[test]
    fn what_is_too_much_goes_from_the_oldest_on() {
        let home = tempfile::tempdir().expect("a folder");
        let cache = home.path();
        for (name, age) in [("a", 30), ("b", 20), ("c", 10)] {
            drop(entry(cache, name, age));
        }
        to_limits(cache, SystemTime::now(), KEPT, 2_100);
        assert_eq!(left(cache), ["b", "c"]);
        // The size is remembered without counting as a use.
        let whole = cache.join("builds/b").join(WHOLE);
        assert_eq!(fs::read_to_string(&whole).expect("read"), "1000");
        assert!(age(&whole, SystemTime::now()) >= Duration::from_secs(19));
    }
}
