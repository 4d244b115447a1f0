//! What is in an app's folder, and which of it is deployed.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use model::config::VersionConfig;
use model::deploy::{Part, part, skips_folder};
use serde::{Deserialize, Serialize};

use crate::prepare::PrepareError;

/// Ten times what production accepts, so that only what was never meant to be deployed is refused.
const MOST_FILES: usize = 100_000;
const MOST_BYTES: u64 = 8 << 30;
/// Folders of version control, which `gcloud` leaves out too.
const NEVER: [&str; 3] = [".git", ".hg", ".svn"];

/// By which a changed file is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    pub(super) len: u64,
    inode: u64,
    pub(super) modified: (i64, i64),
    pub(super) changed: (i64, i64),
    pub(super) executable: bool,
}

/// A file to be copied.
#[derive(Debug)]
pub(super) struct Source {
    /// Relative to the app.
    pub(super) path: PathBuf,
    pub(super) stamp: Stamp,
}

/// Everything that is deployed, sorted by path.
#[derive(Debug, Default)]
pub(super) struct Walked {
    pub(super) folders: Vec<PathBuf>,
    pub(super) files: Vec<Source>,
    /// Links and what they say.
    pub(super) links: Vec<(PathBuf, PathBuf)>,
    pub(super) notes: Vec<String>,
}

/// Looks through the folder. Files that vanish meanwhile are as if they had never been.
pub(super) fn walk(root: &Path, config: &VersionConfig) -> Result<Walked, PrepareError> {
    let mut walked = Walked::default();
    let mut outside = Vec::new();
    let mut bytes = 0;
    let wanted = |entry: &walkdir::DirEntry| {
        let Some(relative) = entry.path().strip_prefix(root).ok().filter(|path| !path.as_os_str().is_empty()) else { return true };
        let is_folder = entry.file_type().is_dir();
        !(is_folder && (is_foreign(entry) || skips_folder(config, &relative.to_string_lossy())))
    };
    let tree = walkdir::WalkDir::new(root).sort_by_file_name().into_iter().filter_entry(wanted);
    for entry in tree {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) if error.io_error().is_some_and(|e| e.kind() == std::io::ErrorKind::NotFound) && error.depth() > 0 => continue,
            Err(error) => return Err(unreadable(error.path().unwrap_or(root), &error.to_string())),
        };
        let Some(relative) = entry.path().strip_prefix(root).ok().filter(|path| !path.as_os_str().is_empty()) else { continue };
        let kind = entry.file_type();
        if kind.is_dir() {
            walked.folders.push(relative.to_owned());
        }
        if kind.is_dir() || part(config, &relative.to_string_lossy()) != Part::Code {
            continue;
        }
        if kind.is_symlink() {
            match inside(root, relative) {
                Some(target) => walked.links.push((relative.to_owned(), target)),
                None => outside.push(relative.to_owned()),
            }
        } else if kind.is_file()
            && let Ok(found) = entry.metadata()
        {
            bytes += found.len();
            walked.files.push(Source { path: relative.to_owned(), stamp: stamp(&found) });
            if walked.files.len() > MOST_FILES || bytes > MOST_BYTES {
                return Err(too_large(root, &walked.files));
            }
        }
    }
    walked.notes.extend(note(&outside));
    // Production deploys files: a folder without any does not exist there.
    let entries = walked.files.iter().map(|file| &file.path).chain(walked.links.iter().map(|(link, _)| link));
    let needed: BTreeSet<PathBuf> = entries.flat_map(|path| path.ancestors().skip(1).map(Path::to_path_buf)).collect();
    walked.folders.retain(|folder| needed.contains(folder));
    Ok(walked)
}

fn stamp(found: &std::fs::Metadata) -> Stamp {
    Stamp {
        len: found.len(),
        inode: found.ino(),
        modified: (found.mtime(), found.mtime_nsec()),
        changed: (found.ctime(), found.ctime_nsec()),
        executable: found.permissions().mode() & 0o111 != 0,
    }
}

/// Version control, and virtual environments, which work only where they were made.
fn is_foreign(entry: &walkdir::DirEntry) -> bool {
    NEVER.iter().any(|name| entry.file_name() == OsStr::new(name)) || entry.path().join("pyvenv.cfg").is_file()
}

/// What a link is to say in the copy, if it leads to something in the app.
fn inside(root: &Path, link: &Path) -> Option<PathBuf> {
    let whole_root = root.canonicalize().ok()?;
    let target = root.join(link).canonicalize().ok()?;
    let target = target.strip_prefix(&whole_root).ok()?;
    let written = std::fs::read_link(root.join(link)).ok()?;
    let parent = link.parent().unwrap_or(Path::new(""));
    if written.is_relative() && stays_inside(&parent.join(&written)) {
        return Some(written);
    }
    let up = parent.components().map(|_| "..").collect::<PathBuf>();
    Some(up.join(target))
}

/// Whether a relative path never climbs above its beginning.
fn stays_inside(path: &Path) -> bool {
    let mut depth = 0_i32;
    path.components().all(|part| {
        match part {
            Component::Normal(_) => depth += 1,
            Component::ParentDir => depth -= 1,
            _ => {}
        }
        depth >= 0
    })
}

fn unreadable(path: &Path, why: &str) -> PrepareError {
    PrepareError(format!("{} cannot be read ({why}); make it readable, or name it in `skip_files`", path.display()))
}

fn note(outside: &[PathBuf]) -> Option<String> {
    let first = outside.first()?;
    let more = if outside.len() > 1 { format!(" and {} more", outside.len() - 1) } else { String::new() };
    Some(format!("{}{more}: a link that leads to nothing in the app's folder; instances do not see it", first.display()))
}

/// Names the folder that most files are in.
fn too_large(root: &Path, files: &[Source]) -> PrepareError {
    let mut folders: BTreeMap<&OsStr, usize> = BTreeMap::new();
    for file in files {
        if let (Some(Component::Normal(first)), true) = (file.path.components().next(), file.path.components().count() > 1) {
            *folders.entry(first).or_default() += 1;
        }
    }
    let most = folders.into_iter().max_by_key(|(_, count)| *count);
    let hint = most.map_or_else(String::new, |(name, count)| {
        let name = name.to_string_lossy();
        format!("; {count} of them are in {name}: if that is not part of the app, add `^{name}/.*$` to `skip_files`")
    });
    PrepareError(format!(
        "{} has more than {MOST_FILES} files, or more than {} GB, that would be deployed{hint}",
        root.display(),
        MOST_BYTES >> 30
    ))
}
