//! Filling a folder: links to what is known, copies of what is not, and everything read-only in the end.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{Context, SHA256};
use model::brief::hex;

use super::walk::{Source, Walked};
use super::{FILES, Telling};
use crate::cache::Held;

/// What is in the files, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct Hashes(pub(super) HashMap<PathBuf, String>);

impl Hashes {
    /// Stands for what is in the files of a folder that never changes and is named by its content: nothing has to be read to know it.
    pub(super) fn of_sealed(root: &Path, walked: &Walked) -> Self {
        let name = root.file_name().unwrap_or_default().to_string_lossy();
        Self(walked.files.iter().map(|file| (file.path.clone(), name.clone().into_owned())).collect())
    }

    /// A name for the whole content; `None` if a file is missing.
    pub(super) fn content(&self, walked: &Walked) -> Option<String> {
        let mut hash = Context::new(&SHA256);
        let mut add = |part: &[u8]| {
            hash.update(&(part.len() as u64).to_be_bytes());
            hash.update(part);
        };
        for folder in &walked.folders {
            add(b"folder");
            add(folder.as_os_str().as_encoded_bytes());
        }
        for file in &walked.files {
            add(if file.stamp.executable { b"program" } else { b"file" });
            add(file.path.as_os_str().as_encoded_bytes());
            add(self.0.get(&file.path)?.as_bytes());
        }
        for (link, target) in &walked.links {
            add(b"link");
            add(link.as_os_str().as_encoded_bytes());
            add(target.as_os_str().as_encoded_bytes());
        }
        Some(hex(&hash.finish().as_ref()[..16]))
    }
}

/// Puts everything into `target`. Known files come as hard links from `previous`, if they can.
pub(super) fn fill(
    target: &Path,
    root: &Path,
    walked: &Walked,
    known: &Hashes,
    previous: Option<&Held>,
    telling: &Telling<'_>,
) -> Result<Hashes, String> {
    let at = |path: &Path| {
        let path = path.display().to_string();
        move |e: io::Error| format!("{path}: {e}")
    };
    fs::create_dir_all(target).map_err(at(target))?;
    for folder in &walked.folders {
        fs::create_dir(target.join(folder)).map_err(at(folder))?;
    }
    let mut hashes = Hashes::default();
    for (count, file) in walked.files.iter().enumerate() {
        telling.at(count);
        let hash = match (known.0.get(&file.path), previous) {
            (Some(hash), Some(previous)) if link(previous, file, target) => hash.clone(),
            _ => copy(&root.join(&file.path), &target.join(&file.path), file).map_err(at(&file.path))?,
        };
        hashes.0.insert(file.path.clone(), hash);
    }
    for (link, text) in &walked.links {
        std::os::unix::fs::symlink(text, target.join(link)).map_err(at(link))?;
    }
    // From the deepest up, each still writable while something is made in it. The outermost must be movable and comes last, elsewhere.
    for folder in walked.folders.iter().rev() {
        fs::set_permissions(target.join(folder), fs::Permissions::from_mode(0o555)).map_err(at(folder))?;
    }
    Ok(hashes)
}

fn link(previous: &Held, file: &Source, target: &Path) -> bool {
    fs::hard_link(previous.dir().join(FILES).join(&file.path), target.join(&file.path)).is_ok()
}

/// Copies one file and returns the hash of what was copied.
fn copy(source: &Path, target: &Path, file: &Source) -> io::Result<String> {
    let mut from = File::open(source)?;
    let mode = if file.stamp.executable { 0o555 } else { 0o444 };
    let mut to = File::options().write(true).create_new(true).mode(mode).open(target)?;
    let mut hash = Context::new(&SHA256);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        hash.update(&buffer[..count]);
        to.write_all(&buffer[..count])?;
    }
    to.set_permissions(fs::Permissions::from_mode(mode))?;
    let _ = to.set_modified(time(file.stamp.modified));
    Ok(hex(&hash.finish().as_ref()[..16]))
}

/// Copies a whole folder, so that the copy can be written to.
pub(crate) fn copy_all(source: &Path, target: &Path) -> io::Result<()> {
    each(source, target, |from, to| {
        fs::copy(from, to)?;
        let mode = fs::metadata(to)?.permissions().mode() | 0o200;
        fs::set_permissions(to, fs::Permissions::from_mode(mode))
    })
}

/// Fills a folder with hard links to the files of another, or links one file.
pub(crate) fn link_all(source: &Path, target: &Path) -> io::Result<()> {
    each(source, target, |from, to| fs::hard_link(from, to).or_else(|_| fs::copy(from, to).map(drop)))
}

/// Makes the same folders and links below `target`, and hands over each file.
fn each(source: &Path, target: &Path, file: impl Fn(&Path, &Path) -> io::Result<()>) -> io::Result<()> {
    for entry in walkdir::WalkDir::new(source) {
        let entry = entry?;
        let below = entry.path().strip_prefix(source).unwrap_or(Path::new(""));
        let to = if below.as_os_str().is_empty() { target.to_owned() } else { target.join(below) };
        if entry.file_type().is_dir() {
            fs::create_dir_all(&to)?;
        } else if entry.file_type().is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(entry.path())?, &to)?;
        } else {
            file(entry.path(), &to)?;
        }
    }
    Ok(())
}

/// Takes the right to write from everything in a folder, and from the folder itself.
pub(crate) fn close_all(folder: &Path) -> io::Result<()> {
    for entry in walkdir::WalkDir::new(folder).contents_first(true) {
        let entry = entry?;
        if entry.file_type().is_symlink() {
            continue;
        }
        // Others may read, too: instances may run as somebody else.
        let mode = entry.metadata()?.permissions().mode() & 0o777;
        let readable = if entry.file_type().is_dir() || mode & 0o111 != 0 { 0o555 } else { 0o444 };
        if mode != readable {
            fs::set_permissions(entry.path(), fs::Permissions::from_mode(readable))?;
        }
    }
    Ok(())
}

fn time((seconds, nanos): (i64, i64)) -> SystemTime {
    let nanos = Duration::from_nanos(nanos.unsigned_abs());
    match u64::try_from(seconds) {
        Ok(seconds) => UNIX_EPOCH + Duration::from_secs(seconds) + nanos,
        Err(_) => UNIX_EPOCH,
    }
}

/// A copy that has no name yet, because its content is known only once it is made.
#[derive(Debug)]
pub(super) struct Draft {
    dir: PathBuf,
    /// Held while it is made, so that nobody sweeps it away.
    _lock: File,
}

impl Draft {
    pub(super) fn new(home: &Path) -> io::Result<Self> {
        let drafts = drafts(home);
        fs::create_dir_all(&drafts)?;
        let name = getrandom::u64().map_or_else(|_| format!("{:?}", SystemTime::now()), |number| format!("{number:016x}"));
        let dir = drafts.join(name);
        fs::create_dir(&dir)?;
        let lock = File::create(dir.join("lock"))?;
        lock.lock()?;
        Ok(Self { dir, _lock: lock })
    }

    pub(super) fn files(&self) -> PathBuf {
        self.dir.join(FILES)
    }

    /// Gives it its name.
    pub(super) fn settle(&self, target: &Path) -> io::Result<()> {
        fs::rename(self.files(), target)?;
        close(target)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let _ = crate::cache::clear(&self.dir);
    }
}

/// Makes the outermost folder read-only too, which could not be moved otherwise.
pub(super) fn close(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o555))
}

/// Where drafts are.
fn drafts(home: &Path) -> PathBuf {
    home.join("drafts")
}

/// Removes drafts whose makers are gone.
pub(super) fn sweep_drafts(home: &Path) {
    for entry in fs::read_dir(drafts(home)).into_iter().flatten().flatten() {
        let dir = entry.path();
        let lock = File::options().write(true).open(dir.join("lock"));
        // One without a lock is being made this very moment, or its maker was killed then: an empty folder, which can wait for a day.
        let abandoned = match lock {
            Ok(lock) => lock.try_lock().is_ok(),
            Err(_) => {
                entry.metadata().and_then(|found| found.modified()).is_ok_and(|at| at.elapsed().is_ok_and(|age| age.as_secs() > 86_400))
            }
        };
        if abandoned {
            let _ = crate::cache::clear(&dir);
        }
    }
}
