//! Reading tasks.

use rusqlite::{Connection, Params, Row, params};

use super::row::{self, Due, QUEUE, Queue, TASK, Task};
use crate::control::Result;
use crate::query;

/// A snapshot of an app's tasks.
#[derive(Debug)]
pub struct View<'a> {
    pub(super) conn: &'a Connection,
}

/// Where a list begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// By name, at this one or behind it.
    Name(String),
    /// By time and then name.
    Eta(i64, String),
    /// By tag, time and then name.
    Tag(Vec<u8>, i64, String),
}

impl View<'_> {
    pub(super) fn list<T>(&self, sql: &str, with: impl Params, read: impl Fn(&Row<'_>) -> Result<T>) -> Result<Vec<T>> {
        query::list(self.conn, sql, with, read)
    }

    pub(super) fn one<T>(&self, sql: &str, with: impl Params, read: impl Fn(&Row<'_>) -> Result<T>) -> Result<Option<T>> {
        query::one(self.conn, sql, with, read)
    }

    /// All queues that ever had something to be kept.
    pub fn queues(&self) -> Result<Vec<Queue>> {
        self.list(&format!("SELECT {QUEUE} FROM queues ORDER BY name"), [], row::queue)
    }

    /// One of them.
    pub fn queue(&self, name: &str) -> Result<Option<Queue>> {
        self.one(&format!("SELECT {QUEUE} FROM queues WHERE name = ?1"), [name], row::queue)
    }

    pub(super) fn key(&self, queue: &str) -> Result<Option<i64>> {
        self.one("SELECT key FROM queues WHERE name = ?1", [queue], |row| Ok(row.get(0)?))
    }

    /// A task by its name.
    pub fn find(&self, queue: &str, name: &str) -> Result<Option<Task>> {
        let Some(key) = self.key(queue)? else { return Ok(None) };
        self.one(&format!("SELECT {TASK} FROM tasks WHERE queue = ?1 AND name = ?2"), params![key, name], row::task)
    }

    /// A task by its number, and the name of its queue; `None` too if the queue was purged.
    pub fn task(&self, id: i64) -> Result<Option<(String, Task)>> {
        let task =
            self.one(&format!("SELECT {TASK}, queue FROM tasks WHERE id = ?1"), [id], |row| Ok((row.get::<_, i64>(13)?, row::task(row)?)))?;
        let Some((key, task)) = task else { return Ok(None) };
        let name = self.one("SELECT name FROM queues WHERE key = ?1", [key], |row| Ok(row.get(0)?))?;
        Ok(name.map(|name| (name, task)))
    }

    /// Whether a name belonged to a task that is gone.
    pub fn is_tombstoned(&self, queue: &str, name: &str, now: i64) -> Result<bool> {
        let sql = "SELECT EXISTS (SELECT 1 FROM tombstones WHERE queue = ?1 AND name = ?2 AND until >= ?3) \
                   OR EXISTS (SELECT 1 FROM trash JOIN tasks ON tasks.queue = trash.key WHERE trash.name = ?1 AND tasks.name = ?2)";
        Ok(self.one(sql, params![queue, name, now], |row| Ok(row.get(0)?))?.unwrap_or(false))
    }

    /// The first tasks by time and number from `from` on.
    pub fn due(&self, queue: &str, from: Due, most: usize) -> Result<Vec<Due>> {
        let Some(key) = self.key(queue)? else { return Ok(Vec::new()) };
        let sql = "SELECT eta, id FROM tasks WHERE queue = ?1 AND (eta, id) >= (?2, ?3) ORDER BY eta, id LIMIT ?4";
        self.list(sql, params![key, from.0, from.1, count(most)], |row| Ok((row.get(0)?, row.get(1)?)))
    }

    /// Tasks of a queue in order.
    pub fn tasks(&self, queue: &str, from: &From, most: usize) -> Result<Vec<Task>> {
        let Some(key) = self.key(queue)? else { return Ok(Vec::new()) };
        let most = count(most);
        match from {
            From::Name(name) => {
                let sql = format!("SELECT {TASK} FROM tasks WHERE queue = ?1 AND name >= ?2 ORDER BY name LIMIT ?3");
                self.list(&sql, params![key, name, most], row::task)
            }
            From::Eta(eta, name) => {
                // Only those of the first moment must be looked at for their names.
                let sql = format!(
                    "SELECT {TASK} FROM tasks WHERE queue = ?1 AND eta >= ?2 AND (eta > ?2 OR name >= ?3) ORDER BY eta, name LIMIT ?4"
                );
                self.list(&sql, params![key, eta, name, most], row::task)
            }
            From::Tag(tag, eta, name) => {
                let sql = format!(
                    "SELECT {TASK} FROM tasks WHERE queue = ?1 AND tag = ?2 AND eta >= ?3 AND (eta > ?3 OR name >= ?4) ORDER BY eta, name LIMIT ?5"
                );
                self.list(&sql, params![key, tag, eta, name, most], row::task)
            }
        }
    }

    /// The earliest time in a queue.
    pub fn oldest(&self, queue: &str) -> Result<Option<i64>> {
        let Some(key) = self.key(queue)? else { return Ok(None) };
        self.one("SELECT eta FROM tasks WHERE queue = ?1 ORDER BY eta LIMIT 1", [key], |row| Ok(row.get(0)?))
    }

    /// The bytes of all tasks.
    pub fn bytes(&self) -> Result<u64> {
        let sum: Option<i64> = self.one("SELECT COALESCE(SUM(bytes), 0) FROM queues", [], |row| Ok(row.get(0)?))?;
        Ok(u64::try_from(sum.unwrap_or(0)).unwrap_or(0))
    }

    /// A value that is kept for the app.
    pub fn meta(&self, name: &str) -> Result<Option<String>> {
        self.one("SELECT value FROM meta WHERE name = ?1", [name], |row| Ok(row.get(0)?))
    }

    /// Tasks that another process still executes, and until when.
    pub fn held(&self) -> Result<Vec<(i64, i64)>> {
        self.list("SELECT id, until FROM held", [], |row| Ok((row.get(0)?, row.get(1)?)))
    }

    pub(super) fn check(&self) -> Result<Vec<String>> {
        let mut found = self.list("PRAGMA integrity_check", [], |row| Ok(row.get::<_, String>(0)?))?;
        found.retain(|line| line != "ok");
        let counts = "SELECT name FROM queues WHERE tasks != (SELECT COUNT(*) FROM tasks WHERE queue = key) \
                      OR bytes != (SELECT COALESCE(SUM(size), 0) FROM tasks WHERE queue = key)";
        found.extend(self.list(counts, [], |row| Ok(format!("the counts of queue {}", row.get::<_, String>(0)?)))?);
        Ok(found)
    }
}

pub(super) fn count(most: usize) -> i64 {
    i64::try_from(most).unwrap_or(i64::MAX)
}
