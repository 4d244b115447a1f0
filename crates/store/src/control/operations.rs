//! Operations: what was asked, how far it is, how it ended. While one runs, what it works on is its own.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use model::ids::AppId;
use rusqlite::{Row, params};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::StoreError;
use super::row::{maybe_json, maybe_time, micros, parsed, text, time, to_json};
use super::{Change, Page, Result, View, row};

/// The id of an operation: a UUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OperationId([u8; 16]);

impl OperationId {
    /// A new one.
    ///
    /// # Errors
    /// If the system has no random bytes.
    pub fn draw() -> Result<Self> {
        let mut bytes = super::secrets::random::<16>()?;
        // Version 4, variant 1 (RFC 9562).
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        Ok(Self(bytes))
    }
}

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            let dash = if matches!(at, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(f, "{dash}{byte:02x}")?;
        }
        Ok(())
    }
}

impl FromStr for OperationId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let fail = || format!("`{text}` is no operation id");
        let digits: Vec<u32> = text.chars().filter(|c| *c != '-').map_while(|c| c.to_digit(16)).collect();
        if text.len() != 36 || digits.len() != 32 {
            return Err(fail());
        }
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = u8::try_from(pair[0] * 16 + pair[1]).map_err(|_| fail())?;
        }
        Ok(Self(bytes))
    }
}

/// A `google.rpc.Status`: how an operation failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// gRPC's code: 3 `INVALID_ARGUMENT`, 9 `FAILED_PRECONDITION`, 10 `ABORTED`, 13 `INTERNAL`….
    pub code: i32,
    /// For people.
    pub message: String,
    /// `google.rpc.…` messages with their `@type`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<Value>,
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The resource with its `@type`, or `google.protobuf.Empty`.
    Done(Value),
    /// What went wrong; nothing was changed.
    Failed(Failure),
}

/// An operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    /// Its place among all.
    pub seq: u64,
    /// Its id.
    pub id: OperationId,
    /// Whose it is.
    pub app: AppId,
    /// `google.appengine.v1.Versions.CreateVersion`.
    pub method: String,
    /// The resource's name: `apps/A/services/S/versions/V`.
    pub target: String,
    /// Who asked for it.
    pub user: String,
    /// When.
    pub inserted: SystemTime,
    /// When it was over; `None` = it runs.
    pub ended: Option<SystemTime>,
    /// What there is to do and how far it is: the driver's own.
    pub work: Value,
    /// `ephemeralMessage`: what is done at the moment.
    pub message: String,
    /// `warning`.
    pub warnings: Vec<String>,
    /// More fields of the metadata, such as evidence of a guard.
    pub extra: Map<String, Value>,
    /// How it ended; `None` = it runs.
    pub outcome: Option<Outcome>,
}

impl Operation {
    /// `apps/A/operations/UUID`.
    pub fn name(&self) -> String {
        name(&self.app, self.id)
    }
}

/// What begins an operation.
#[derive(Debug, Clone)]
pub struct Begin {
    /// Whose it is.
    pub app: AppId,
    /// `google.appengine.v1.Versions.CreateVersion`.
    pub method: &'static str,
    /// The resource's name.
    pub target: String,
    /// What there is to do: the driver's own.
    pub work: Value,
    /// What the operation has for itself.
    pub lock: Lock,
}

/// What an operation has for itself until it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    /// Nothing.
    Nothing,
    /// Its target.
    Target,
    /// Its target and everything below it.
    Whole,
}

/// `apps/A/operations/UUID`.
fn name(app: &AppId, id: OperationId) -> String {
    format!("apps/{app}/operations/{id}")
}

const COLUMNS: &str =
    "SELECT seq, id, app, method, target, actor, inserted, ended, work, message, warnings, extra, response, error FROM operations";

fn operation(row: &Row<'_>) -> Result<Operation> {
    let response: Option<Value> = maybe_json(row, 12)?;
    let error: Option<Failure> = maybe_json(row, 13)?;
    Ok(Operation {
        seq: row::number(row, 0)?,
        id: parsed(row, 1)?,
        app: parsed(row, 2)?,
        method: text(row, 3)?,
        target: text(row, 4)?,
        user: text(row, 5)?,
        inserted: time(row, 6)?,
        ended: maybe_time(row, 7)?,
        work: row::json(row, 8)?,
        message: text(row, 9)?,
        warnings: row::json(row, 10)?,
        extra: row::json(row, 11)?,
        outcome: error.map(Outcome::Failed).or(response.map(Outcome::Done)),
    })
}

impl View<'_> {
    /// An app's operations, newest first; with `done`, only those that are over (or that run). A page's key is `seq`.
    pub fn operations(&self, app: &AppId, done: Option<bool>, page: &Page) -> Result<Vec<Operation>> {
        let before = page.after.as_deref().and_then(|after| after.parse::<i64>().ok()).unwrap_or(i64::MAX);
        let filter = match done {
            None => "",
            Some(true) => "AND ended IS NOT NULL",
            Some(false) => "AND ended IS NULL",
        };
        let sql = format!("{COLUMNS} WHERE app = ?1 AND seq < ?2 {filter} ORDER BY seq DESC LIMIT ?3");
        self.list(&sql, params![app.as_str(), before, page.limit()], operation)
    }

    /// All operations that run, oldest first.
    pub fn running_operations(&self) -> Result<Vec<Operation>> {
        self.list(&format!("{COLUMNS} WHERE ended IS NULL ORDER BY seq"), [], operation)
    }

    /// An operation.
    ///
    /// # Errors
    /// [`StoreError::Missing`] if there is none.
    pub fn operation(&self, app: &AppId, id: &str) -> Result<Operation> {
        let found = self.one(&format!("{COLUMNS} WHERE app = ?1 AND id = ?2"), [app.as_str(), id], operation)?;
        found.ok_or_else(|| StoreError::Missing(format!("Operation `apps/{app}/operations/{id}` was not found.")))
    }

    /// The operation that works on a resource now.
    pub fn holder(&self, resource: &str) -> Result<Option<Operation>> {
        self.one(&format!("{COLUMNS} WHERE id = (SELECT operation FROM locks WHERE resource = ?1)"), [resource], operation)
    }
}

impl Change<'_> {
    /// Begins an operation, which has what it locks for itself until it ends; what follows in this change belongs to it.
    ///
    /// # Errors
    /// [`StoreError::Busy`] if another operation has what it locks.
    pub fn begin(&mut self, begin: Begin) -> Result<Operation> {
        self.refuse_busy(&begin)?;
        let id = OperationId::draw()?;
        self.changed = true;
        self.run(
            "INSERT INTO operations (id, app, method, target, actor, inserted, work, message, warnings, extra) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, '', '[]', '{}')",
            params![
                id.to_string(),
                begin.app.as_str(),
                begin.method,
                begin.target,
                self.actor.name,
                micros(self.now),
                to_json(&begin.work)?
            ],
        )?;
        let resource = match begin.lock {
            Lock::Nothing => None,
            Lock::Target => Some(begin.target),
            Lock::Whole => Some(format!("{}/*", begin.target)),
        };
        if let Some(resource) = resource {
            self.run("INSERT INTO locks (resource, operation) VALUES (?1, ?2)", params![resource, id.to_string()])?;
        }
        self.operation = Some(id);
        self.view.operation(&begin.app, &id.to_string())
    }

    fn refuse_busy(&self, begin: &Begin) -> Result<()> {
        let target = &begin.target;
        if begin.lock == Lock::Nothing {
            return Ok(());
        }
        let above = target.match_indices('/').map(|(at, _)| format!("{}/*", &target[..at]));
        for resource in above.chain([target.clone(), format!("{target}/*")]) {
            if let Some(other) = self.holder(&resource)? {
                return Err(StoreError::Busy { target: target.clone(), holder: other.name() });
            }
        }
        if begin.lock != Lock::Whole {
            return Ok(());
        }
        // Names have no character between `/` and `0`.
        let sql = format!("{COLUMNS} WHERE id IN (SELECT operation FROM locks WHERE resource > ?1 AND resource < ?2) LIMIT 1");
        match self.one(&sql, [format!("{target}/"), format!("{target}0")], operation)? {
            Some(other) => Err(StoreError::Busy { target: other.target.clone(), holder: other.name() }),
            None => Ok(()),
        }
    }

    /// Writes down how far a running operation is. Does not raise `rev`.
    pub fn progress(&mut self, id: OperationId, work: &Value, message: &str) -> Result<()> {
        let sql = "UPDATE operations SET work = ?2, message = ?3 WHERE id = ?1 AND ended IS NULL";
        self.run(sql, params![id.to_string(), to_json(work)?, message])?;
        Ok(())
    }

    /// Says what a running operation does at the moment. Does not raise `rev`.
    pub fn tell(&mut self, id: OperationId, message: &str) -> Result<()> {
        self.run("UPDATE operations SET message = ?2 WHERE id = ?1 AND ended IS NULL", params![id.to_string(), message])?;
        Ok(())
    }

    /// Adds a warning to an operation.
    pub fn warn(&mut self, id: OperationId, warning: &str) -> Result<()> {
        let sql = "SELECT warnings FROM operations WHERE id = ?1";
        let mut all: Vec<String> = self.one(sql, [id.to_string()], |row| row::json(row, 0))?.unwrap_or_default();
        all.push(warning.to_owned());
        self.run("UPDATE operations SET warnings = ?2 WHERE id = ?1", params![id.to_string(), to_json(&all)?])?;
        Ok(())
    }

    /// Sets a field of an operation's metadata.
    pub fn put_extra(&mut self, id: OperationId, field: &str, value: Value) -> Result<()> {
        let sql = "SELECT extra FROM operations WHERE id = ?1";
        let mut all: Map<String, Value> = self.one(sql, [id.to_string()], |row| row::json(row, 0))?.unwrap_or_default();
        all.insert(field.to_owned(), value);
        self.run("UPDATE operations SET extra = ?2 WHERE id = ?1", params![id.to_string(), to_json(&all)?])?;
        Ok(())
    }

    /// Ends an operation: what it had for itself is free. An operation that is over stays as it ended.
    pub fn finish(&mut self, app: &AppId, id: OperationId, outcome: &Outcome) -> Result<Operation> {
        self.changed = true;
        let (response, error) = match outcome {
            Outcome::Done(response) => (Some(to_json(response)?), None),
            Outcome::Failed(failure) => (None, Some(to_json(failure)?)),
        };
        self.run(
            "UPDATE operations SET ended = ?2, response = ?3, error = ?4, message = '', work = 'null' WHERE id = ?1 AND ended IS NULL",
            params![id.to_string(), micros(self.now), response, error],
        )?;
        self.run("DELETE FROM locks WHERE operation = ?1", [id.to_string()])?;
        self.run("DELETE FROM holds WHERE operation = ?1", [id.to_string()])?;
        self.view.operation(app, &id.to_string())
    }

    /// Forgets operations that were over before `keep` ago. Does not raise `rev`.
    pub fn forget_operations(&mut self, keep: Duration) -> Result<usize> {
        let before = micros(self.now.checked_sub(keep).unwrap_or(SystemTime::UNIX_EPOCH));
        self.run("DELETE FROM operations WHERE ended IS NOT NULL AND ended < ?1", [before])
    }
}
