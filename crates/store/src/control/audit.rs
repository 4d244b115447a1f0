//! The audit log: who changed what, from what to what. A row is written in the transaction of its change, and never changed.

use std::time::SystemTime;

use rusqlite::{Row, params};
use serde_json::Value;

use super::row::{maybe_json, micros, number, text, time, to_json};
use super::{Change, Page, Result, View};

/// One change.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its place in the log.
    pub seq: u64,
    /// When.
    pub at: SystemTime,
    /// Who.
    pub actor: String,
    /// With which token.
    pub token: Option<String>,
    /// Of which app; `None` = of the whole server.
    pub app: Option<String>,
    /// What was done: `services.patch`, `token.create`.
    pub action: String,
    /// With what: a resource's name.
    pub target: String,
    /// The resource before; `None` if there was none.
    pub before: Option<Value>,
    /// The resource afterwards; `None` if there is none.
    pub after: Option<Value>,
    /// The operation that did it.
    pub operation: Option<String>,
}

fn entry(row: &Row<'_>) -> Result<Entry> {
    Ok(Entry {
        seq: number(row, 0)?,
        at: time(row, 1)?,
        actor: text(row, 2)?,
        token: row.get(3)?,
        app: row.get(4)?,
        action: text(row, 5)?,
        target: text(row, 6)?,
        before: maybe_json(row, 7)?,
        after: maybe_json(row, 8)?,
        operation: row.get(9)?,
    })
}

impl View<'_> {
    /// The audit log, newest first; of one app, or of all and the server's own. A page's key is `seq`.
    pub fn audit(&self, app: Option<&str>, page: &Page) -> Result<Vec<Entry>> {
        let before = page.after.as_deref().and_then(|after| after.parse::<i64>().ok()).unwrap_or(i64::MAX);
        self.list(
            "SELECT seq, at, actor, token, app, action, target, was, became, operation FROM audit \
             WHERE seq < ?1 AND (?2 IS NULL OR app = ?2) ORDER BY seq DESC LIMIT ?3",
            params![before, app, page.limit()],
            entry,
        )
    }

    /// What was done with a resource, newest first, until `act` returns false.
    pub fn audit_of(&self, target: &str, mut act: impl FnMut(Entry) -> bool) -> Result<()> {
        const STEP: i64 = 200;
        let mut before = i64::MAX;
        loop {
            let some = self.list(
                "SELECT seq, at, actor, token, app, action, target, was, became, operation FROM audit \
                 WHERE target = ?1 AND seq < ?2 ORDER BY seq DESC LIMIT ?3",
                params![target, before, STEP],
                entry,
            )?;
            let Some(last) = some.last() else { return Ok(()) };
            before = i64::try_from(last.seq).unwrap_or(0);
            for entry in some {
                if !act(entry) {
                    return Ok(());
                }
            }
        }
    }
}

impl Change<'_> {
    /// Writes a row of the log, and makes this a change that raises `rev`.
    pub fn note(&mut self, app: Option<&str>, action: &str, target: &str, before: Option<&Value>, after: Option<&Value>) -> Result<()> {
        self.changed = true;
        let json = |value: Option<&Value>| value.map(to_json).transpose();
        let operation = self.operation.as_ref().map(ToString::to_string);
        self.run(
            "INSERT INTO audit (at, actor, token, app, action, target, was, became, operation) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            params![micros(self.now), self.actor.name, self.actor.token, app, action, target, json(before)?, json(after)?, operation],
        )?;
        Ok(())
    }
}
