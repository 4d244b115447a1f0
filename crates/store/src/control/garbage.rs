//! Which rows nobody needs.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use super::row::{micros, parsed, text};
use super::{Actor, Change, Result, Store, View};
use crate::files::{Grace, Manifest, Sha256};

/// What is left after rows went.
#[derive(Debug)]
pub(crate) struct Doomed {
    pub(crate) kept_manifests: BTreeSet<Sha256>,
    pub(crate) objects: usize,
}

const USED: &str = "(hash IN (SELECT manifest FROM versions) OR hash IN (SELECT manifest FROM holds))";

impl Store {
    /// A change of the house's own that nobody has to hear of.
    pub(crate) fn change_quietly<T>(&self, act: impl FnOnce(&mut Change<'_>) -> Result<T>) -> Result<T> {
        self.change(&Actor::house(), act)
    }
}

impl View<'_> {
    /// The names of all content.
    pub(crate) fn blobs(&self) -> Result<Vec<Sha256>> {
        self.list("SELECT sha256 FROM blobs", [], |row| parsed(row, 0))
    }

    /// The resumable uploads that are under way.
    pub(crate) fn upload_ids(&self) -> Result<Vec<String>> {
        self.list("SELECT id FROM uploads", [], |row| text(row, 0))
    }

    /// All content that a manifest has.
    fn content_of_manifests(&self) -> Result<BTreeSet<Sha256>> {
        let manifests: Vec<Manifest> = self.list("SELECT files FROM manifests", [], |row| super::row::json(row, 0))?;
        Ok(manifests.iter().flat_map(|manifest| manifest.files().values().map(|file| file.sha256)).collect())
    }
}

impl Change<'_> {
    /// Removes the rows of what nobody has needed for a while. Manifests are marked first and go in a later round.
    pub(crate) fn doom(&mut self, grace: &Grace) -> Result<Doomed> {
        let before = |age: Duration| micros(self.now.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH));
        let (files, staged, uploads) = (before(grace.files), before(grace.staged), before(grace.uploads));
        self.run(&format!("UPDATE manifests SET unused = NULL WHERE unused IS NOT NULL AND {USED}"), [])?;
        self.run(&format!("DELETE FROM manifests WHERE unused IS NOT NULL AND unused <= ?1 AND NOT {USED}"), [files])?;
        self.run(&format!("UPDATE manifests SET unused = ?1 WHERE unused IS NULL AND NOT {USED}"), [micros(self.now)])?;
        self.run("DELETE FROM uploads WHERE touched <= ?1", [uploads])?;
        let used = self.content_of_manifests()?;
        let sql = "SELECT bucket, name, sha256 FROM objects WHERE bucket LIKE 'staging.%' AND created <= ?1";
        let staged = self.list(sql, [staged], |row| Ok((text(row, 0)?, text(row, 1)?, parsed::<Sha256>(row, 2)?)))?;
        let mut objects = 0;
        for (bucket, name, _) in staged.iter().filter(|(_, _, sha256)| !used.contains(sha256)) {
            objects += usize::from(self.delete_object(bucket, name)?);
        }
        let sql = "SELECT sha256 FROM blobs WHERE touched <= ?1 AND sha256 NOT IN (SELECT sha256 FROM objects)";
        let idle: Vec<Sha256> = self.list(sql, [files], |row| parsed(row, 0))?;
        for sha256 in idle.iter().filter(|sha256| !used.contains(sha256)) {
            self.run("DELETE FROM blobs WHERE sha256 = ?1", [sha256.to_string()])?;
        }
        let kept_manifests = self.list("SELECT hash FROM manifests", [], |row| parsed(row, 0))?.into_iter().collect();
        Ok(Doomed { kept_manifests, objects })
    }
}
