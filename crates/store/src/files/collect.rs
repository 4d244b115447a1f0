//! Removing what nobody needs. Rows go first, in a transaction that sees every reference; then the files, while nobody can add references. A crash
//! in between leaves files without rows, which a later round finds (decision 214).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::materialise::remove_folder;
use super::{Sha256, Shared};
use crate::control::{Result, Store, StoreError};

/// How long something is kept although nobody needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grace {
    /// Folders of versions that are gone, and content that no object and no version has: longer than any request or upload takes.
    pub files: Duration,
    /// Objects of deployment buckets (`staging.…`) that no version has.
    pub staged: Duration,
    /// Resumable uploads without progress.
    pub uploads: Duration,
}

impl Default for Grace {
    fn default() -> Self {
        Self { files: Duration::from_hours(1), staged: Duration::from_hours(24 * 15), uploads: Duration::from_hours(24 * 7) }
    }
}

/// What was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Collected {
    /// Folders of versions.
    pub folders: usize,
    /// Content.
    pub files: usize,
    /// Bytes of it.
    pub bytes: u64,
    /// Objects of deployments.
    pub objects: usize,
    /// Unfinished uploads and drafts.
    pub drafts: usize,
}

impl Store {
    /// Removes what nobody has needed for a while. Waits for uploads that are just being named, and for folders that are just being made.
    ///
    /// # Errors
    /// If the database or the system refuses; what was not removed is found the next time.
    pub fn collect(&self, grace: &Grace) -> Result<Collected> {
        let exclusive = self.clear_files()?;
        let doomed = self.change_quietly(|change| change.doom(grace))?;
        let mut collected = Collected { objects: doomed.objects, ..Collected::default() };
        collected.folders = self.remove_folders(&exclusive, &doomed.kept_manifests)?;
        (collected.files, collected.bytes) = self.remove_content(&exclusive, grace)?;
        collected.drafts = self.remove_drafts(grace)?;
        Ok(collected)
    }

    /// Removes the folders of manifests that have no row. Nobody can make one meanwhile.
    fn remove_folders(&self, _exclusive: &Shared, kept: &BTreeSet<Sha256>) -> Result<usize> {
        let mut removed = 0;
        for (name, path) in entries(&self.dir().join("versions"))? {
            let kept = name.parse::<Sha256>().is_ok_and(|hash| kept.contains(&hash));
            if !kept {
                remove_folder(&path)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Removes content that has no row and is old enough to be nobody's upload.
    fn remove_content(&self, _exclusive: &Shared, grace: &Grace) -> Result<(usize, u64)> {
        let kept: BTreeSet<Sha256> = self.read(|view| Ok::<_, StoreError>(view.blobs()?.into_iter().collect()))?;
        let (mut files, mut bytes) = (0, 0);
        for (prefix, folder) in entries(&self.dir().join("files"))? {
            for (rest, path) in entries(&folder)? {
                let known = format!("{prefix}{rest}").parse().is_ok_and(|sha256| kept.contains(&sha256));
                if !known && is_older(&path, grace.files) {
                    bytes += fs::symlink_metadata(&path).map_or(0, |about| about.len());
                    fs::remove_file(&path).map_err(StoreError::io("remove", &path))?;
                    files += 1;
                }
            }
        }
        Ok((files, bytes))
    }

    fn remove_drafts(&self, grace: &Grace) -> Result<usize> {
        let mut removed = 0;
        let known: BTreeSet<String> = self.read(|view| Ok::<_, StoreError>(view.upload_ids()?.into_iter().collect()))?;
        for (name, path) in entries(&self.dir().join("uploads"))? {
            if !known.contains(&name) && is_older(&path, grace.files) {
                fs::remove_file(&path).map_err(StoreError::io("remove", &path))?;
                removed += 1;
            }
        }
        for (_, path) in entries(&self.dir().join("drafts"))? {
            if is_older(&path, grace.uploads) {
                fs::remove_file(&path).map_err(StoreError::io("remove", &path))?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

/// Names and paths in a folder.
fn entries(folder: &Path) -> Result<Vec<(String, std::path::PathBuf)>> {
    let read = fs::read_dir(folder).map_err(StoreError::io("read", folder))?;
    Ok(read.flatten().map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path())).collect())
}

/// Whether nothing was written there for so long. What cannot be told is young.
fn is_older(path: &Path, than: Duration) -> bool {
    let modified = fs::symlink_metadata(path).and_then(|about| about.modified());
    modified.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age >= than))
}
