//! Services: the split of the traffic, labels, network settings. A service is there as long as it has a version.

use std::collections::BTreeMap;
use std::time::SystemTime;

use model::ids::{AppId, ServiceId};
use model::traffic::TrafficSplit;
use rusqlite::{Row, params};
use serde_json::{Value, json};

use super::error::StoreError;
use super::row::{int, maybe_json, micros, number, parsed, time, to_json};
use super::{Change, Page, Result, View, row};

/// A service.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Whose it is.
    pub app: AppId,
    /// Its id.
    pub id: ServiceId,
    /// Who takes its traffic now.
    pub split: TrafficSplit,
    /// `labels`.
    pub labels: BTreeMap<String, String>,
    /// `networkSettings` in the Admin API's form.
    pub network: Option<Value>,
    /// The gradual migration that is under way: its machine's state, which the driver reads and writes.
    pub migration: Option<Value>,
    /// When its first version came.
    pub created: SystemTime,
    /// The change that last touched it or one of its versions.
    pub rev: u64,
}

impl Service {
    /// `apps/A/services/S`.
    pub fn name(&self) -> String {
        name(&self.app, &self.id)
    }

    fn audit(&self) -> Value {
        json!({ "split": self.split, "labels": self.labels, "networkSettings": self.network, "migrating": self.migration.is_some() })
    }
}

const COLUMNS: &str = "SELECT app, id, split, labels, network, migration, created, rev FROM services";

fn service(row: &Row<'_>) -> Result<Service> {
    Ok(Service {
        app: parsed(row, 0)?,
        id: parsed(row, 1)?,
        split: row::json(row, 2)?,
        labels: row::json(row, 3)?,
        network: maybe_json(row, 4)?,
        migration: maybe_json(row, 5)?,
        created: time(row, 6)?,
        rev: number(row, 7)?,
    })
}

/// `apps/A/services/S`.
pub(super) fn name(app: &AppId, id: &ServiceId) -> String {
    format!("apps/{app}/services/{id}")
}

impl View<'_> {
    /// The services of an app by id.
    pub fn services(&self, app: &AppId, page: &Page) -> Result<Vec<Service>> {
        let sql = format!("{COLUMNS} WHERE app = ?1 AND id > ?2 ORDER BY id LIMIT ?3");
        self.list(&sql, params![app.as_str(), page.after(), page.limit()], service)
    }

    /// The services of an app by id, nothing but the change that last touched each or one of its versions.
    pub fn service_stamps(&self, app: &AppId) -> Result<Vec<(ServiceId, u64)>> {
        self.list("SELECT id, rev FROM services WHERE app = ?1 ORDER BY id", [app.as_str()], |row| Ok((parsed(row, 0)?, number(row, 1)?)))
    }

    /// A service, if there is one of that id.
    pub fn find_service(&self, app: &AppId, id: &str) -> Result<Option<Service>> {
        self.one(&format!("{COLUMNS} WHERE app = ?1 AND id = ?2"), [app.as_str(), id], service)
    }

    /// A service.
    ///
    /// # Errors
    /// [`StoreError::Missing`] if there is none.
    pub fn service(&self, app: &AppId, id: &ServiceId) -> Result<Service> {
        let missing = || StoreError::Missing(format!("Service `{}` was not found.", name(app, id)));
        self.find_service(app, id.as_str())?.ok_or_else(missing)
    }
}

impl Change<'_> {
    /// Writes a service that exists, or a new one. `action` names the change in the audit log: `services.patch`.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if it or one of its versions was changed since it was read (`service.rev`).
    pub fn put_service(&mut self, action: &str, service: Service) -> Result<Service> {
        let old = self.find_service(&service.app, service.id.as_str())?;
        if old.as_ref().is_some_and(|old| old.rev != service.rev && old.rev != self.rev) {
            return Err(StoreError::Stale(service.name()));
        }
        let new = Service { rev: self.rev, ..service };
        self.run(
            "INSERT INTO services (app, id, split, labels, network, migration, created, rev) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) \
             ON CONFLICT (app, id) DO UPDATE SET split = excluded.split, labels = excluded.labels, network = excluded.network, \
             migration = excluded.migration, rev = excluded.rev",
            params![
                new.app.as_str(),
                new.id.as_str(),
                to_json(&new.split)?,
                to_json(&new.labels)?,
                new.network.as_ref().map(to_json).transpose()?,
                new.migration.as_ref().map(to_json).transpose()?,
                micros(new.created),
                int(new.rev)
            ],
        )?;
        self.touch_app(&new.app)?;
        let before = old.as_ref().map(Service::audit);
        self.note(Some(new.app.as_str()), action, &new.name(), before.as_ref(), Some(&new.audit()))?;
        Ok(new)
    }

    /// Removes a service with all its versions.
    pub fn delete_service(&mut self, app: &AppId, id: &ServiceId) -> Result<Service> {
        let old = self.service(app, id)?;
        let both = [app.as_str(), id.as_str()];
        let versions = self.version_stamps(app, id)?;
        self.run("DELETE FROM versions WHERE app = ?1 AND service = ?2", both)?;
        self.run("DELETE FROM services WHERE app = ?1 AND id = ?2", both)?;
        self.touch_app(app)?;
        let mut before = old.audit();
        before["versions"] = versions.iter().map(|stamp| stamp.id.as_str().to_owned()).collect();
        self.note(Some(app.as_str()), "services.delete", &old.name(), Some(&before), None)?;
        Ok(old)
    }

    pub(super) fn touch_service(&mut self, app: &AppId, id: &ServiceId) -> Result<()> {
        self.run("UPDATE services SET rev = ?3 WHERE app = ?1 AND id = ?2", params![app.as_str(), id.as_str(), int(self.rev)])?;
        self.touch_app(app)
    }
}
