//! Configuration of an app that is made of named documents: cron jobs, queues, datastore indexes, dos.yaml.

use std::time::SystemTime;

use model::ids::AppId;
use rusqlite::{Row, params};
use serde_json::Value;

use super::error::StoreError;
use super::row::{micros, text, time, to_json};
use super::{Change, Page, Result, View, row};

/// What a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A job of cron.yaml, in Cloud Scheduler's form.
    Cron,
    /// A queue of queue.yaml, in Cloud Tasks' form.
    Queue,
    /// What queue.yaml says of all queues of an app, and what Cloud Tasks' form has no place for: one document, `settings`.
    Queues,
    /// An index of index.yaml, in Datastore Admin's form.
    Index,
    /// dos.yaml.
    Dos,
}

impl Kind {
    /// Its name in rows and in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cron => "cron",
            Self::Queue => "queue",
            Self::Queues => "queues",
            Self::Index => "index",
            Self::Dos => "dos",
        }
    }
}

/// A document.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Its name, unique among those of its kind and app.
    pub name: String,
    /// Its content.
    pub body: Value,
    /// When it was made.
    pub created: SystemTime,
    /// When it was last written.
    pub updated: SystemTime,
}

const COLUMNS: &str = "SELECT name, body, created, updated FROM documents";

fn document(row: &Row<'_>) -> Result<Document> {
    Ok(Document { name: text(row, 0)?, body: row::json(row, 1)?, created: time(row, 2)?, updated: time(row, 3)? })
}

impl View<'_> {
    /// An app's documents of a kind, by name.
    pub fn documents(&self, app: &AppId, kind: Kind, page: &Page) -> Result<Vec<Document>> {
        let sql = format!("{COLUMNS} WHERE app = ?1 AND kind = ?2 AND name > ?3 ORDER BY name LIMIT ?4");
        self.list(&sql, params![app.as_str(), kind.as_str(), page.after(), page.limit()], document)
    }

    /// A document, if there is one of that name.
    pub fn find_document(&self, app: &AppId, kind: Kind, name: &str) -> Result<Option<Document>> {
        self.one(&format!("{COLUMNS} WHERE app = ?1 AND kind = ?2 AND name = ?3"), [app.as_str(), kind.as_str(), name], document)
    }
}

impl Change<'_> {
    /// Writes a document: a new one, or in place of the one with its name.
    pub fn put_document(&mut self, app: &AppId, kind: Kind, name: &str, body: &Value) -> Result<Document> {
        let old = self.find_document(app, kind, name)?;
        self.run(
            "INSERT INTO documents (app, kind, name, body, created, updated) VALUES (?1, ?2, ?3, ?4, ?5, ?5) \
             ON CONFLICT (app, kind, name) DO UPDATE SET body = excluded.body, updated = excluded.updated",
            params![app.as_str(), kind.as_str(), name, to_json(body)?, micros(self.now)],
        )?;
        self.touch_app(app)?;
        let target = format!("apps/{app}/{}/{name}", kind.as_str());
        self.note(Some(app.as_str()), &format!("{}.put", kind.as_str()), &target, old.as_ref().map(|old| &old.body), Some(body))?;
        let lost = || StoreError::Missing(target.clone());
        self.find_document(app, kind, name)?.ok_or_else(lost)
    }

    /// Removes a document; false if there is none of that name.
    pub fn delete_document(&mut self, app: &AppId, kind: Kind, name: &str) -> Result<bool> {
        let Some(old) = self.find_document(app, kind, name)? else { return Ok(false) };
        self.run("DELETE FROM documents WHERE app = ?1 AND kind = ?2 AND name = ?3", [app.as_str(), kind.as_str(), name])?;
        self.touch_app(app)?;
        let target = format!("apps/{app}/{}/{name}", kind.as_str());
        self.note(Some(app.as_str()), &format!("{}.delete", kind.as_str()), &target, Some(&old.body), None)?;
        Ok(true)
    }
}
