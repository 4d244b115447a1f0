//! A version's folder: hard links to its files, made whole or not at all.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Manifest, Sha256, sync_folder};
use crate::control::{Result, Store, StoreError};

/// Begins the names of folders that are not whole yet, or not any more.
pub(super) const DRAFT: char = '.';

/// So many folders are flushed one by one.
const FEW: usize = 8;
/// How many drafts this process began.
static DRAFTS: AtomicU64 = AtomicU64::new(0);

impl Store {
    /// Where a manifest's folder is, once it was made.
    pub fn folder(&self, manifest: &Sha256) -> PathBuf {
        self.dir().join("versions").join(manifest.to_string())
    }

    /// The folder with the files of a manifest, made if it is not there. Manifests with the same files share it; nothing in it can be written to.
    ///
    /// # Errors
    /// If a file is missing, or the system refuses.
    pub fn materialise(&self, manifest: &Manifest) -> Result<PathBuf> {
        let folder = self.folder(&manifest.hash());
        let _shared = self.keep_files()?;
        if folder.exists() {
            return Ok(folder);
        }
        let number = DRAFTS.fetch_add(1, Ordering::Relaxed);
        let draft = self.dir().join("versions").join(format!("{DRAFT}{}-{number}", std::process::id()));
        remove_folder(&draft)?;
        let made = self.fill(&draft, manifest).and_then(|()| match fs::rename(&draft, &folder) {
            // Somebody else was faster, with the same files.
            Err(_) if folder.exists() => remove_folder(&draft),
            done => done.map_err(StoreError::io("create", &folder)),
        });
        if made.is_err() {
            let _ = remove_folder(&draft);
        }
        made?;
        sync_folder(&self.dir().join("versions"))?;
        Ok(folder)
    }

    /// Makes the folders again that versions need and that are not there, as after a restore of a backup without them.
    ///
    /// # Errors
    /// If the system refuses. A file that is missing is told in the log of the house and does not keep the others from being made.
    pub fn restore_folders(&self) -> Result<Vec<String>> {
        let used = self.read(|view| view.manifests_in_use())?;
        let mut lost = Vec::new();
        for hash in used.into_iter().filter(|hash| !self.folder(hash).exists()) {
            let manifest = self.read(|view| view.manifest(&hash))?;
            match self.materialise(&manifest) {
                Ok(_) => {}
                Err(StoreError::Missing(what)) => lost.push(what),
                Err(error) => return Err(error),
            }
        }
        Ok(lost)
    }

    fn fill(&self, draft: &Path, manifest: &Manifest) -> Result<()> {
        make(draft)?;
        let parents = manifest.files().keys().flat_map(|path| path.match_indices('/').map(|(at, _)| &path[..at]));
        let folders: BTreeSet<&str> = parents.collect();
        for folder in &folders {
            make(&draft.join(folder))?;
        }
        for (path, file) in manifest.files() {
            link(&self.blob_path(&file.sha256), &draft.join(path))?;
        }
        let all = folders.iter().map(|folder| draft.join(folder)).chain([draft.to_owned()]);
        for folder in all.clone() {
            fs::set_permissions(&folder, Permissions::from_mode(0o555)).map_err(StoreError::io("seal", &folder))?;
        }
        // The links must be on the disk before the folder has its name; one flush of everything is quicker than many.
        if folders.len() < FEW {
            return all.clone().try_for_each(|folder| sync_folder(&folder));
        }
        let opened = File::open(draft).map_err(StoreError::io("open", draft))?;
        rustix::fs::syncfs(opened).map_err(|error| StoreError::io("flush", draft)(error.into()))
    }
}

fn make(folder: &Path) -> Result<()> {
    DirBuilder::new().mode(0o755).create(folder).map_err(StoreError::io("create", folder))
}

/// A hard link, or a copy where the file system has none or no more.
fn link(from: &Path, to: &Path) -> Result<()> {
    match fs::hard_link(from, to) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            Err(StoreError::Missing(format!("The content of `{}` is not there.", to.display())))
        }
        Err(_) => fs::copy(from, to).map(drop).map_err(StoreError::io("write", to)),
    }
}

/// Removes a folder that nobody may write to.
pub(super) fn remove_folder(path: &Path) -> Result<()> {
    let Ok(about) = fs::symlink_metadata(path) else { return Ok(()) };
    if about.is_dir() {
        open_up(path).map_err(StoreError::io("remove", path))?;
        return fs::remove_dir_all(path).map_err(StoreError::io("remove", path));
    }
    fs::remove_file(path).map_err(StoreError::io("remove", path))
}

fn open_up(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_up(&entry.path())?;
        }
    }
    Ok(())
}
