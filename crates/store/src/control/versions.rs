//! Versions: what was sent, and which files belong to it.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use model::ids::{AppId, ServiceId, VersionId};
use rusqlite::{Row, params};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::error::StoreError;
use super::row::{int, micros, number, parsed, text, time, to_json};
use super::{Change, Page, Result, View, row};
use crate::files::{Manifest, Sha256};

/// Whether a version takes requests at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ServingStatus {
    /// It does.
    Serving,
    /// It was stopped.
    Stopped,
}

impl ServingStatus {
    /// As the Admin API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Serving => "SERVING",
            Self::Stopped => "STOPPED",
        }
    }
}

impl FromStr for ServingStatus {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "SERVING" => Ok(Self::Serving),
            "STOPPED" => Ok(Self::Stopped),
            _ => Err(format!("`{text}` is no serving status")),
        }
    }
}

impl fmt::Display for ServingStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A version.
#[derive(Debug, Clone, PartialEq)]
pub struct Version {
    /// Whose it is.
    pub app: AppId,
    /// Of which service.
    pub service: ServiceId,
    /// Its id.
    pub id: VersionId,
    /// The Admin API's `Version` as it was sent, but for `deployment`, which [`View::deployment`] has.
    pub spec: Value,
    /// Which files it has: the name of its folder below `DIR/versions`.
    pub manifest: Sha256,
    /// Whether it takes requests.
    pub status: ServingStatus,
    /// Who deployed it.
    pub creator: String,
    /// When it was deployed.
    pub created: SystemTime,
    /// Rises with each deployment: the fractional part of `CURRENT_VERSION_ID`.
    pub deployment: u64,
    /// Bytes of its files.
    pub disk: u64,
    /// The change that last touched it.
    pub rev: u64,
}

/// The least that tells whether a version changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionStamp {
    /// Its id.
    pub id: VersionId,
    /// The change that last touched it.
    pub rev: u64,
    /// Whether it takes requests.
    pub status: ServingStatus,
}

/// What a deployment writes.
#[derive(Debug, Clone, PartialEq)]
pub struct NewVersion {
    /// Whose it is.
    pub app: AppId,
    /// Of which service; its row must be there.
    pub service: ServiceId,
    /// Its id.
    pub id: VersionId,
    /// The Admin API's `Version`, `deployment` included.
    pub spec: Value,
    /// Its files, written before with [`Change::put_manifest`].
    pub manifest: Sha256,
    /// Whether it takes requests.
    pub status: ServingStatus,
    /// The number of the deployment: the `rev` of the change that began it.
    pub deployment: u64,
}

impl Version {
    /// `apps/A/services/S/versions/V`.
    pub fn name(&self) -> String {
        name(&self.app, &self.service, &self.id)
    }

    /// For the log: values of variables may be secrets, so only their names stand there.
    fn audit(&self) -> Value {
        let mut body = self.spec.clone();
        for field in ["envVariables", "buildEnvVariables", "betaSettings"] {
            if let Some(all) = body.get_mut(field).and_then(Value::as_object_mut) {
                all.values_mut().for_each(|value| *value = json!("(hidden)"));
            }
        }
        if body.is_object() {
            body["servingStatus"] = json!(self.status);
            body["manifest"] = json!(self.manifest);
        }
        body
    }
}

/// `apps/A/services/S/versions/V`.
pub(super) fn name(app: &AppId, service: &ServiceId, id: &VersionId) -> String {
    format!("apps/{app}/services/{service}/versions/{id}")
}

const COLUMNS: &str = "SELECT app, service, id, spec, manifest, status, creator, created, deployment, disk, rev FROM versions";

fn version(row: &Row<'_>) -> Result<Version> {
    Ok(Version {
        app: parsed(row, 0)?,
        service: parsed(row, 1)?,
        id: parsed(row, 2)?,
        spec: row::json(row, 3)?,
        manifest: parsed(row, 4)?,
        status: parsed(row, 5)?,
        creator: text(row, 6)?,
        created: time(row, 7)?,
        deployment: number(row, 8)?,
        disk: number(row, 9)?,
        rev: number(row, 10)?,
    })
}

impl View<'_> {
    /// The versions of a service by id.
    pub fn versions(&self, app: &AppId, service: &ServiceId, page: &Page) -> Result<Vec<Version>> {
        let sql = format!("{COLUMNS} WHERE app = ?1 AND service = ?2 AND id > ?3 ORDER BY id LIMIT ?4");
        self.list(&sql, params![app.as_str(), service.as_str(), page.after(), page.limit()], version)
    }

    /// The versions of a service, nothing but what tells whether they changed.
    pub fn version_stamps(&self, app: &AppId, service: &ServiceId) -> Result<Vec<VersionStamp>> {
        let sql = "SELECT id, rev, status FROM versions WHERE app = ?1 AND service = ?2 ORDER BY id";
        self.list(sql, [app.as_str(), service.as_str()], |row| {
            Ok(VersionStamp { id: parsed(row, 0)?, rev: number(row, 1)?, status: parsed(row, 2)? })
        })
    }

    /// How many versions an app has.
    pub fn count_versions(&self, app: &AppId) -> Result<u64> {
        self.count("SELECT count(*) FROM versions WHERE app = ?1", [app.as_str()])
    }

    /// A version, if there is one of that id.
    pub fn find_version(&self, app: &AppId, service: &ServiceId, id: &str) -> Result<Option<Version>> {
        let sql = format!("{COLUMNS} WHERE app = ?1 AND service = ?2 AND id = ?3");
        self.one(&sql, [app.as_str(), service.as_str(), id], version)
    }

    /// A version.
    ///
    /// # Errors
    /// [`StoreError::Missing`] if there is none.
    pub fn version(&self, app: &AppId, service: &ServiceId, id: &VersionId) -> Result<Version> {
        let missing = || StoreError::Missing(format!("Version `{}` was not found.", name(app, service, id)));
        self.find_version(app, service, id.as_str())?.ok_or_else(missing)
    }

    /// `deployment` of a version as it was sent.
    pub fn deployment(&self, app: &AppId, service: &ServiceId, id: &VersionId) -> Result<Option<Value>> {
        let sql = "SELECT body FROM deployments WHERE app = ?1 AND service = ?2 AND version = ?3";
        self.one(sql, [app.as_str(), service.as_str(), id.as_str()], |row| row::json(row, 0))
    }

    /// The files behind a name.
    pub fn manifest(&self, hash: &Sha256) -> Result<Manifest> {
        let found = self.one("SELECT files FROM manifests WHERE hash = ?1", [hash.to_string()], |row| row::json(row, 0))?;
        found.ok_or_else(|| StoreError::Missing(format!("The files of manifest {hash} are not known.")))
    }

    /// The names of all manifests that a version or a running operation has.
    pub fn manifests_in_use(&self) -> Result<Vec<Sha256>> {
        let sql = "SELECT hash FROM manifests WHERE hash IN (SELECT manifest FROM versions) OR hash IN (SELECT manifest FROM holds)";
        self.list(sql, [], |row| parsed(row, 0))
    }
}

impl Change<'_> {
    /// Writes down which files belong together, and keeps them for the operation of this change ([`Change::as_part_of`]) until it ends.
    ///
    /// # Errors
    /// [`StoreError::Missing`] if the content of a file is not there.
    pub fn put_manifest(&mut self, manifest: &Manifest) -> Result<Sha256> {
        for (path, file) in manifest.files() {
            if self.find_blob(&file.sha256)?.is_none() {
                return Err(StoreError::Missing(format!("The content of `{path}` is not there; upload it again.")));
            }
        }
        let hash = manifest.hash();
        self.changed = true;
        self.run(
            "INSERT INTO manifests (hash, files, count, size, unused) VALUES (?1, ?2, ?3, ?4, ?5) \
             ON CONFLICT (hash) DO UPDATE SET unused = excluded.unused",
            params![hash.to_string(), to_json(manifest)?, int(manifest.count()), int(manifest.size()), micros(self.now)],
        )?;
        if let Some(operation) = self.operation {
            let both = params![hash.to_string(), operation.to_string()];
            self.run("INSERT INTO holds (manifest, operation) VALUES (?1, ?2) ON CONFLICT (manifest, operation) DO NOTHING", both)?;
        }
        Ok(hash)
    }

    /// Writes a version: a new one, or in place of the one with its id.
    pub fn put_version(&mut self, new: NewVersion) -> Result<Version> {
        let old = self.find_version(&new.app, &new.service, new.id.as_str())?;
        let mut spec = new.spec;
        let deployment = spec.as_object_mut().and_then(|all| all.remove("deployment"));
        let size = self.count("SELECT size FROM manifests WHERE hash = ?1", [new.manifest.to_string()])?;
        let version = Version {
            app: new.app,
            service: new.service,
            id: new.id,
            spec,
            manifest: new.manifest,
            status: new.status,
            creator: self.actor.name.clone(),
            created: self.now,
            deployment: new.deployment,
            disk: size,
            rev: self.rev,
        };
        self.write_version(&version)?;
        let key = [version.app.as_str(), version.service.as_str(), version.id.as_str()];
        self.run("DELETE FROM deployments WHERE app = ?1 AND service = ?2 AND version = ?3", key)?;
        if let Some(body) = deployment {
            let [app, service, id] = key;
            let sql = "INSERT INTO deployments (app, service, version, body) VALUES (?1, ?2, ?3, ?4)";
            self.run(sql, params![app, service, id, to_json(&body)?])?;
        }
        self.touch_service(&version.app, &version.service)?;
        let before = old.as_ref().map(Version::audit);
        self.note(Some(version.app.as_str()), "versions.create", &version.name(), before.as_ref(), Some(&version.audit()))?;
        Ok(version)
    }

    fn write_version(&self, version: &Version) -> Result<()> {
        self.run(
            "INSERT INTO versions (app, service, id, spec, manifest, status, creator, created, deployment, disk, rev) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT (app, service, id) DO UPDATE SET spec = excluded.spec, \
             manifest = excluded.manifest, status = excluded.status, creator = excluded.creator, created = excluded.created, \
             deployment = excluded.deployment, disk = excluded.disk, rev = excluded.rev",
            params![
                version.app.as_str(),
                version.service.as_str(),
                version.id.as_str(),
                to_json(&version.spec)?,
                version.manifest.to_string(),
                version.status.as_str(),
                version.creator,
                micros(version.created),
                int(version.deployment),
                int(version.disk),
                int(version.rev)
            ],
        )?;
        Ok(())
    }

    /// Changes a version's settings or status; its files stay, and who deployed it and when.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if it was changed since it was read (`rev`), [`StoreError::Missing`] if it is gone.
    pub fn patch_version(&mut self, changed: Version) -> Result<Version> {
        let old = self.version(&changed.app, &changed.service, &changed.id)?;
        if old.rev != changed.rev && old.rev != self.rev {
            return Err(StoreError::Stale(changed.name()));
        }
        let new = Version { rev: self.rev, ..changed };
        self.write_version(&new)?;
        self.touch_service(&new.app, &new.service)?;
        self.note(Some(new.app.as_str()), "versions.patch", &new.name(), Some(&old.audit()), Some(&new.audit()))?;
        Ok(new)
    }

    /// Removes a version.
    pub fn delete_version(&mut self, app: &AppId, service: &ServiceId, id: &VersionId) -> Result<Version> {
        let old = self.version(app, service, id)?;
        self.run("DELETE FROM versions WHERE app = ?1 AND service = ?2 AND id = ?3", [app.as_str(), service.as_str(), id.as_str()])?;
        self.touch_service(app, service)?;
        self.note(Some(app.as_str()), "versions.delete", &old.name(), Some(&old.audit()), None)?;
        Ok(old)
    }
}
