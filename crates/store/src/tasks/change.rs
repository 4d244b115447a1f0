//! Changing tasks. Each method is a whole step; several of them, of several callers, share a transaction.

use std::ops::Deref;

use rusqlite::{Transaction, params};

use super::row::{self, Fresh, Run, TASK, Task};
use super::view::{View, count};
use crate::control::Result;

/// Rows that are removed at once when nobody waits.
const TIDIED: usize = 2000;

/// A transaction. Reads like a [`View`], and sees its own changes.
#[derive(Debug)]
pub struct Change<'a> {
    view: View<'a>,
    tx: &'a Transaction<'a>,
}

impl<'a> Deref for Change<'a> {
    type Target = View<'a>;
    fn deref(&self) -> &View<'a> {
        &self.view
    }
}

/// A task was added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    /// Its number.
    pub id: i64,
    /// Its name.
    pub name: String,
}

/// Why a name names no task that could be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// There is one of this name.
    Exists,
    /// There was one, not long ago.
    Tombstoned,
    /// There is none.
    Unknown,
    /// Its lease is over, or somebody else's.
    Expired,
}

/// What becomes of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// It cannot be used again until then.
    Tombstone(i64),
    /// Only if the app chose it.
    TombstoneIfNamed(i64),
    /// It is free.
    Nothing,
}

impl<'a> Change<'a> {
    pub(super) fn new(tx: &'a Transaction<'a>) -> Self {
        Self { view: View { conn: tx }, tx }
    }

    fn run(&self, sql: &str, with: impl rusqlite::Params) -> Result<usize> {
        Ok(self.tx.prepare_cached(sql)?.execute(with)?)
    }

    /// The queue's key; its row is made if it has none.
    fn ensure(&self, queue: &str) -> Result<i64> {
        if let Some(key) = self.key(queue)? {
            return Ok(key);
        }
        let key = self.fresh_key()?;
        self.run("INSERT INTO queues (name, key) VALUES (?1, ?2)", params![queue, key])?;
        Ok(key)
    }

    fn fresh_key(&self) -> Result<i64> {
        let sql = "SELECT 1 + MAX(COALESCE((SELECT MAX(key) FROM queues), 0), COALESCE((SELECT MAX(key) FROM trash), 0))";
        Ok(self.one(sql, [], |row| Ok(row.get(0)?))?.unwrap_or(1))
    }

    fn weigh(&self, key: i64, tasks: i64, bytes: i64) -> Result<()> {
        self.run("UPDATE queues SET tasks = tasks + ?2, bytes = bytes + ?3 WHERE key = ?1", params![key, tasks, bytes])?;
        Ok(())
    }

    /// Adds a task.
    pub fn add(&mut self, queue: &str, task: &Fresh, now: i64) -> Result<Result<Added, Refused>> {
        let key = self.ensure(queue)?;
        if let Some(name) = &task.name {
            if self.one("SELECT 1 FROM tasks WHERE queue = ?1 AND name = ?2", params![key, name], |_| Ok(()))?.is_some() {
                return Ok(Err(Refused::Exists));
            }
            if self.is_tombstoned(queue, name, now)? {
                return Ok(Err(Refused::Tombstoned));
            }
        }
        let size = i64::try_from(task.size).unwrap_or(i64::MAX);
        let name = match &task.name {
            Some(name) => name.clone(),
            None => self.free_name(key, now)?,
        };
        let sql = "INSERT INTO tasks (queue, name, named, eta, tag, created, size, spec) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        self.run(sql, params![key, name, task.name.is_some(), task.eta, task.tag, now, size, task.spec])?;
        let id = self.tx.last_insert_rowid();
        self.weigh(key, 1, size)?;
        Ok(Ok(Added { id, name }))
    }

    /// Twenty digits that rise: sixteen of the clock, four that tell tasks of one moment apart.
    fn free_name(&self, key: i64, now: i64) -> Result<String> {
        let mut clock = now.clamp(1_000_000_000_000_001, 9_999_999_999_999_000);
        loop {
            let (first, last) = (format!("{clock:016}0000"), format!("{clock:016}9999"));
            let sql = "SELECT name FROM tasks WHERE queue = ?1 AND name BETWEEN ?2 AND ?3 AND length(name) = 20 ORDER BY name DESC LIMIT 1";
            let taken: Option<String> = self.one(sql, params![key, first, last], |row| Ok(row.get(0)?))?;
            match taken.and_then(|taken| taken.get(16..)?.parse::<u32>().ok()) {
                None => return Ok(first),
                Some(number) if number < 9999 => return Ok(format!("{clock:016}{:04}", number + 1)),
                // Ten thousand in a microsecond: the clock stands still.
                Some(_) => clock -= 1,
            }
        }
    }

    /// Removes a task of which `is` is said; false if it is not there (any more).
    pub fn remove(&mut self, id: i64, left: Left) -> Result<bool> {
        let sql = "DELETE FROM tasks WHERE id = ?1 RETURNING queue, name, named, size";
        let gone = self
            .one(sql, [id], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, bool>(2)?, row.get::<_, i64>(3)?)))?;
        self.run("DELETE FROM held WHERE id = ?1", [id])?;
        let Some((key, name, named, size)) = gone else { return Ok(false) };
        self.weigh(key, -1, -size)?;
        let until = match left {
            Left::Tombstone(until) => Some(until),
            Left::TombstoneIfNamed(until) => named.then_some(until),
            Left::Nothing => None,
        };
        if let Some(until) = until {
            let sql = "INSERT INTO tombstones (queue, name, until) \
                       SELECT COALESCE((SELECT name FROM queues WHERE key = ?1), (SELECT name FROM trash WHERE key = ?1)), ?2, ?3 \
                       WHERE true ON CONFLICT DO UPDATE SET until = excluded.until";
            self.run(sql, params![key, name, until])?;
        }
        Ok(true)
    }

    /// Removes a task by its name.
    pub fn delete(&mut self, queue: &str, name: &str, now: i64, until: i64) -> Result<Result<(), Refused>> {
        match self.find(queue, name)? {
            Some(task) => self.remove(task.id, Left::Tombstone(until)).map(|_| Ok(())),
            None if self.is_tombstoned(queue, name, now)? => Ok(Err(Refused::Tombstoned)),
            None => Ok(Err(Refused::Unknown)),
        }
    }

    /// Removes a task and forgets its name.
    pub fn forget(&mut self, queue: &str, name: &str) -> Result<()> {
        if let Some(task) = self.find(queue, name)? {
            self.remove(task.id, Left::Nothing)?;
        }
        self.run("DELETE FROM tombstones WHERE queue = ?1 AND name = ?2", [queue, name])?;
        Ok(())
    }

    /// A task was tried and is due again.
    pub fn retry(&mut self, id: i64, eta: i64, counts: (u32, u32), first_try: i64, run: &Run) -> Result<bool> {
        self.run("DELETE FROM held WHERE id = ?1", [id])?;
        let sql = "UPDATE tasks SET eta = ?2, retries = ?3, executions = ?4, first_try = ?5, dispatched = ?6, elapsed = ?7, code = ?8, reason = ?9 WHERE id = ?1";
        let with = params![id, eta, counts.0, counts.1, first_try, run.dispatched, run.elapsed, run.code, run.reason];
        Ok(self.run(sql, with)? > 0)
    }

    /// Puts a task to another time; returns its number.
    pub fn postpone(&mut self, queue: &str, name: &str, eta: i64) -> Result<Option<i64>> {
        let Some(key) = self.key(queue)? else { return Ok(None) };
        self.one("UPDATE tasks SET eta = ?3 WHERE queue = ?1 AND name = ?2 RETURNING id", params![key, name, eta], |row| Ok(row.get(0)?))
    }

    /// Leases the tasks that are due, oldest first, of one tag if one is given; `same` takes the tag of the oldest one. `may` says whether a task can be
    /// leased once more; the others are removed.
    pub fn lease(&mut self, queue: &str, wish: &super::Wish, may: impl Fn(&Task) -> bool) -> Result<Vec<Task>> {
        let Some(key) = self.key(queue)? else { return Ok(Vec::new()) };
        let by_eta = format!("SELECT {TASK} FROM tasks WHERE queue = ?1 AND eta < ?2 ORDER BY eta, id LIMIT ?3");
        let by_tag = format!("SELECT {TASK} FROM tasks WHERE queue = ?1 AND tag = ?2 AND eta < ?3 ORDER BY eta, id LIMIT ?4");
        let untagged = format!("SELECT {TASK} FROM tasks WHERE queue = ?1 AND tag IS NULL AND eta < ?2 ORDER BY eta, id LIMIT ?3");
        let tag = match (&wish.tag, wish.group) {
            (Some(tag), _) => Some(Some(tag.clone())),
            (None, true) => {
                let Some(first) = self.list(&by_eta, params![key, wish.now, 1], row::task)?.into_iter().next() else {
                    return Ok(Vec::new());
                };
                Some(first.tag)
            }
            (None, false) => None,
        };
        let most = count(wish.most);
        let mut found = match tag {
            None => self.list(&by_eta, params![key, wish.now, most], row::task)?,
            Some(None) => self.list(&untagged, params![key, wish.now, most], row::task)?,
            Some(Some(tag)) => self.list(&by_tag, params![key, tag, wish.now, most], row::task)?,
        };
        let mut leased = Vec::with_capacity(found.len());
        for mut task in found.drain(..) {
            if !may(&task) {
                self.remove(task.id, Left::TombstoneIfNamed(wish.tombstone))?;
                continue;
            }
            task.eta = wish.until;
            task.retries = task.retries.saturating_add(1);
            task.executions = task.executions.saturating_add(1);
            self.run(
                "UPDATE tasks SET eta = ?2, retries = ?3, executions = ?4 WHERE id = ?1",
                params![task.id, task.eta, task.retries, task.executions],
            )?;
            leased.push(task);
        }
        Ok(leased)
    }

    /// Changes a lease that is known by its end.
    pub fn modify(&mut self, queue: &str, name: &str, eta: i64, now: i64, until: i64) -> Result<Result<(), Refused>> {
        let Some(task) = self.find(queue, name)? else {
            return Ok(Err(if self.is_tombstoned(queue, name, now)? { Refused::Tombstoned } else { Refused::Unknown }));
        };
        if task.eta != eta || task.eta < now {
            return Ok(Err(Refused::Expired));
        }
        self.run("UPDATE tasks SET eta = ?2 WHERE id = ?1", params![task.id, until])?;
        Ok(Ok(()))
    }

    /// Empties a queue, however full, at once: its tasks are removed bit by bit later.
    pub fn purge(&mut self, queue: &str, now: i64) -> Result<()> {
        let old = self.ensure(queue)?;
        let fresh = self.fresh_key()?;
        self.run("INSERT INTO trash (key, name) VALUES (?1, ?2)", params![old, queue])?;
        self.run("UPDATE queues SET key = ?2, tasks = 0, bytes = 0, purged = ?3 WHERE name = ?1", params![queue, fresh, now])?;
        Ok(())
    }

    /// Forgets the names of tasks that are gone.
    pub fn forget_names(&mut self, queue: &str) -> Result<()> {
        self.run("DELETE FROM tombstones WHERE queue = ?1", [queue])?;
        self.run("UPDATE trash SET name = '' WHERE name = ?1", [queue])?;
        Ok(())
    }

    /// Pauses a queue, or lets it go on.
    pub fn pause(&mut self, queue: &str, paused: bool) -> Result<()> {
        self.ensure(queue)?;
        self.run("UPDATE queues SET paused = ?2 WHERE name = ?1", params![queue, paused])?;
        Ok(())
    }

    /// Gives a queue a configuration of its own, or takes it away.
    pub fn rule(&mut self, queue: &str, rules: Option<&str>) -> Result<()> {
        self.ensure(queue)?;
        self.run("UPDATE queues SET rules = ?2, gone = NULL WHERE name = ?1", params![queue, rules])?;
        Ok(())
    }

    /// Deletes a queue with all its tasks.
    pub fn delete_queue(&mut self, queue: &str, now: i64) -> Result<()> {
        self.purge(queue, now)?;
        self.run("UPDATE queues SET rules = NULL, paused = 0, gone = ?2 WHERE name = ?1", params![queue, now])?;
        Ok(())
    }

    /// Keeps a value for the app.
    pub fn set_meta(&mut self, name: &str, value: &str) -> Result<()> {
        self.run("INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value", [name, value])?;
        Ok(())
    }

    /// Forgets what was given otherwise than by files.
    pub fn forget_rules(&mut self) -> Result<()> {
        self.run("UPDATE queues SET rules = NULL, gone = NULL", [])?;
        Ok(())
    }

    /// Says which tasks this process still executes.
    pub(super) fn hold(&mut self, ids: &[i64], until: i64) -> Result<()> {
        for id in ids {
            self.run(
                "INSERT INTO held (id, until) VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET until = excluded.until",
                params![id, until],
            )?;
        }
        Ok(())
    }

    /// Nothing is held any more.
    pub fn let_go(&mut self, id: i64) -> Result<()> {
        self.run("DELETE FROM held WHERE id = ?1", [id])?;
        Ok(())
    }

    pub(super) fn let_all_go(&mut self) -> Result<()> {
        self.run("DELETE FROM held", [])?;
        Ok(())
    }

    pub(super) fn tidy(&mut self, now: i64) -> Result<()> {
        self.run(
            "DELETE FROM tombstones WHERE (queue, name) IN (SELECT queue, name FROM tombstones WHERE until < ?1 LIMIT ?2)",
            params![now, count(TIDIED)],
        )?;
        self.run("DELETE FROM held WHERE until < ?1", [now])?;
        let Some((key, queue)) =
            self.one("SELECT key, name FROM trash LIMIT 1", [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?
        else {
            return Ok(());
        };
        if !queue.is_empty() {
            let sql = "INSERT INTO tombstones (queue, name, until) SELECT ?1, name, ?2 FROM tasks WHERE named AND id IN (SELECT id FROM tasks WHERE queue = ?3 \
                       LIMIT ?4) ON CONFLICT DO UPDATE SET until = excluded.until";
            self.run(sql, params![queue, now.saturating_add(super::TOMBSTONE), key, count(TIDIED)])?;
        }
        if self.run("DELETE FROM tasks WHERE id IN (SELECT id FROM tasks WHERE queue = ?1 LIMIT ?2)", params![key, count(TIDIED)])? == 0 {
            self.run("DELETE FROM trash WHERE key = ?1", [key])?;
        }
        Ok(())
    }
}
