//! Apps: one row per project.

use std::time::SystemTime;

use model::ids::AppId;
use rusqlite::{Row, params};
use serde_json::{Map, Value, json};

use super::error::StoreError;
use super::row;
use super::row::{int, micros, number, parsed, text, time, to_json};
use super::{Change, Page, Result, View};

/// An app.
#[derive(Debug, Clone, PartialEq)]
pub struct App {
    /// Its id.
    pub id: AppId,
    /// `locationId`.
    pub location: String,
    /// When it was made.
    pub created: SystemTime,
    /// What else can be set, in the Admin API's form: `authDomain`, `servingStatus`, `featureSettings`, `iap`, `dispatchRules`….
    pub fields: Map<String, Value>,
    /// The change that last touched it or anything in it.
    pub rev: u64,
}

impl App {
    fn audit(&self) -> Value {
        let mut body = self.fields.clone();
        if let Some(secret) = body.get_mut("iap").and_then(|iap| iap.get_mut("oauth2ClientSecret")) {
            *secret = json!("(hidden)");
        }
        body.insert("id".to_owned(), json!(self.id));
        body.insert("locationId".to_owned(), json!(self.location));
        body.into()
    }
}

const COLUMNS: &str = "SELECT id, location, created, fields, rev FROM apps";

fn app(row: &Row<'_>) -> Result<App> {
    Ok(App { id: parsed(row, 0)?, location: text(row, 1)?, created: time(row, 2)?, fields: row::json(row, 3)?, rev: number(row, 4)? })
}

/// `apps/ID`.
pub(super) fn name(id: &str) -> String {
    format!("apps/{id}")
}

impl View<'_> {
    /// All apps by id.
    pub fn apps(&self, page: &Page) -> Result<Vec<App>> {
        self.list(&format!("{COLUMNS} WHERE id > ?1 ORDER BY id LIMIT ?2"), params![page.after(), page.limit()], app)
    }

    /// An app, if there is one of that id.
    pub fn find_app(&self, id: &str) -> Result<Option<App>> {
        self.one(&format!("{COLUMNS} WHERE id = ?1"), [id], app)
    }

    /// An app.
    ///
    /// # Errors
    /// `Could not find Application "ID".` if there is none.
    pub fn app(&self, id: &str) -> Result<App> {
        self.find_app(id)?.ok_or_else(|| StoreError::Missing(format!("Could not find Application \"{id}\".")))
    }
}

impl Change<'_> {
    /// Makes an app, with its default firewall rule.
    pub fn create_app(&mut self, id: &AppId, location: &str, fields: Map<String, Value>) -> Result<App> {
        if self.find_app(id.as_str())?.is_some() {
            return Err(StoreError::Exists("This application already exists and cannot be re-created.".to_owned()));
        }
        let app = App { id: id.clone(), location: location.to_owned(), created: self.now, fields, rev: self.rev };
        self.run(
            "INSERT INTO apps (id, location, created, fields, rev) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![id.as_str(), location, micros(app.created), to_json(&app.fields)?, int(app.rev)],
        )?;
        self.note(Some(id.as_str()), "apps.create", &name(id.as_str()), None, Some(&app.audit()))?;
        self.put_default_rule(id)?;
        Ok(app)
    }

    /// Replaces an app's fields.
    pub fn put_app(&mut self, id: &AppId, fields: Map<String, Value>) -> Result<App> {
        let old = self.app(id.as_str())?;
        let new = App { fields, rev: self.rev, ..old.clone() };
        self.run("UPDATE apps SET fields = ?2, rev = ?3 WHERE id = ?1", params![id.as_str(), to_json(&new.fields)?, int(new.rev)])?;
        self.note(Some(id.as_str()), "apps.patch", &name(id.as_str()), Some(&old.audit()), Some(&new.audit()))?;
        Ok(new)
    }

    /// Says that something in an app changed, so that it is published again.
    pub(super) fn touch_app(&mut self, id: &AppId) -> Result<()> {
        self.run("UPDATE apps SET rev = ?2 WHERE id = ?1", params![id.as_str(), int(self.rev)])?;
        Ok(())
    }
}
