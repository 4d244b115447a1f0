//! Domain mappings: which host names of the owner's belong to which app. A name belongs to one app only.

use std::time::SystemTime;

use model::ids::AppId;
use rusqlite::{Row, params};
use serde_json::Value;

use super::error::StoreError;
use super::row::{micros, parsed, text, time, to_json};
use super::{Change, Page, Result, View, row};

/// A domain mapping.
#[derive(Debug, Clone, PartialEq)]
pub struct Domain {
    /// Whose it is.
    pub app: AppId,
    /// The name in lower case: `www.example.org`, `*.example.org`.
    pub id: String,
    /// The Admin API's `DomainMapping`: `sslSettings`, `resourceRecords`.
    pub body: Value,
    /// When it was made.
    pub created: SystemTime,
}

const COLUMNS: &str = "SELECT app, id, body, created FROM domains";

fn domain(row: &Row<'_>) -> Result<Domain> {
    Ok(Domain { app: parsed(row, 0)?, id: text(row, 1)?, body: row::json(row, 2)?, created: time(row, 3)? })
}

fn name(app: &AppId, id: &str) -> String {
    format!("apps/{app}/domainMappings/{id}")
}

impl View<'_> {
    /// An app's mappings by name.
    pub fn domains(&self, app: &AppId, page: &Page) -> Result<Vec<Domain>> {
        let sql = format!("{COLUMNS} WHERE app = ?1 AND id > ?2 ORDER BY id LIMIT ?3");
        self.list(&sql, params![app.as_str(), page.after(), page.limit()], domain)
    }

    /// The mappings of all apps.
    pub fn all_domains(&self) -> Result<Vec<Domain>> {
        self.list(&format!("{COLUMNS} ORDER BY id"), [], domain)
    }

    /// A mapping, if the app has one of that name.
    pub fn find_domain(&self, app: &AppId, id: &str) -> Result<Option<Domain>> {
        self.one(&format!("{COLUMNS} WHERE app = ?1 AND id = ?2"), [app.as_str(), id], domain)
    }

    /// A mapping.
    pub fn domain(&self, app: &AppId, id: &str) -> Result<Domain> {
        self.find_domain(app, id)?.ok_or_else(|| StoreError::Missing(format!("Domain mapping `{}` was not found.", name(app, id))))
    }
}

impl Change<'_> {
    /// Makes a mapping. With `take`, a mapping of another app gives way (`overrideStrategy=OVERRIDE`).
    ///
    /// # Errors
    /// [`StoreError::Exists`] if the name is mapped already.
    pub fn create_domain(&mut self, app: &AppId, id: &str, body: &Value, take: bool) -> Result<Domain> {
        let other = self.one(&format!("{COLUMNS} WHERE id = ?1"), [id], domain)?;
        match other {
            Some(other) if take && other.app != *app => self.delete_domain(&other.app, id)?,
            Some(_) => return Err(StoreError::Exists(format!("Domain '{id}' is already mapped to an application."))),
            None => {}
        }
        let sql = "INSERT INTO domains (id, app, body, created) VALUES (?1, ?2, ?3, ?4)";
        self.run(sql, params![id, app.as_str(), to_json(body)?, micros(self.now)])?;
        self.touch_app(app)?;
        self.note(Some(app.as_str()), "domainMappings.create", &name(app, id), None, Some(body))?;
        self.domain(app, id)
    }

    /// Replaces a mapping's body.
    pub fn put_domain(&mut self, app: &AppId, id: &str, body: &Value) -> Result<Domain> {
        let old = self.domain(app, id)?;
        self.run("UPDATE domains SET body = ?3 WHERE app = ?1 AND id = ?2", params![app.as_str(), id, to_json(body)?])?;
        self.touch_app(app)?;
        self.note(Some(app.as_str()), "domainMappings.patch", &name(app, id), Some(&old.body), Some(body))?;
        self.domain(app, id)
    }

    /// Removes a mapping.
    pub fn delete_domain(&mut self, app: &AppId, id: &str) -> Result<()> {
        let old = self.domain(app, id)?;
        self.run("DELETE FROM domains WHERE app = ?1 AND id = ?2", [app.as_str(), id])?;
        self.touch_app(app)?;
        self.note(Some(app.as_str()), "domainMappings.delete", &name(app, id), Some(&old.body), None)
    }
}
