//! Tasks of one app: `tasks.db` in its folder, apart from the server's state, so that a hot queue never delays a deployment.
//!
//! One thread writes. It takes everything that waits into one transaction (`synchronous=FULL`), and answers once that is on the disk: an answered change
//! survives a power cut, and many small ones cost one flush (reference/state.md). Readers have connections of their own.

mod change;
mod holding;
mod row;
mod view;
mod writer;

use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _};

pub use change::{Added, Change, Left, Refused};
pub use holding::Holding;
pub use row::{Due, Fresh, Queue, Run, Task};
pub use view::{From, View};

use crate::control::{Result, StoreError};

/// The file.
pub const FILE: &str = "tasks.db";
/// How long the names of purged tasks stay used, in microseconds.
const TOMBSTONE: i64 = 9 * 24 * 3600 * 1_000_000;
/// Connections for reading that are kept for the next reader.
const IDLE_READERS: usize = 2;

/// What is to be leased. Times are microseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Tasks whose time is before this.
    pub now: i64,
    /// The end of the lease.
    pub until: i64,
    /// At most so many.
    pub most: usize,
    /// Only those of one tag: that of the oldest task, or none if it has none.
    pub group: bool,
    /// Only those of this tag.
    pub tag: Option<Vec<u8>>,
    /// Until when names of removed tasks stay used.
    pub tombstone: i64,
}

/// The tasks of an app. Cheap to clone; the writer ends when the last clone is dropped.
#[derive(Clone)]
pub struct Tasks(Arc<Inner>);

struct Inner {
    path: PathBuf,
    jobs: Mutex<mpsc::Sender<writer::Job>>,
    readers: Mutex<Vec<Connection>>,
}

impl std::fmt::Debug for Tasks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tasks").field("path", &self.0.path).finish_non_exhaustive()
    }
}

impl Tasks {
    /// Whether an app has a file of tasks.
    pub fn exist(folder: &Path) -> bool {
        folder.join(FILE).is_file()
    }

    /// Opens the tasks in an app's folder, made if need be. `foreign` is called, on the writer's thread, when another process has changed them.
    ///
    /// # Errors
    /// If the database cannot be opened, or was written by a newer program.
    pub fn open(folder: &Path, foreign: impl Fn() + Send + 'static) -> Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(StoreError::io("create", folder))?;
        let path = folder.join(FILE);
        // Made here, as SQLite would make it readable for others.
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(StoreError::io("create", &path))?;
        let mut conn = connect(&path)?;
        migrate(&mut conn, &path)?;
        let (sender, jobs) = mpsc::channel();
        let writer = writer::Writer::new(conn);
        let run = move || writer.run(&jobs, &foreign);
        std::thread::Builder::new().name("tasks".into()).spawn(run).map_err(StoreError::io("start a thread for", &path))?;
        Ok(Self(Arc::new(Inner { path, jobs: Mutex::new(sender), readers: Mutex::default() })))
    }

    /// Changes the tasks: `act` runs on the writer's thread, `done` gets its result once it is on the disk. An error of `act` undoes the whole
    /// transaction, others' changes too: refusals are results.
    pub fn change<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Change<'_>) -> Result<T> + Send + 'static,
        done: impl FnOnce(Result<T>) + Send + 'static,
    ) {
        let job = writer::job(act, done);
        let jobs = self.0.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(mpsc::SendError(job)) = jobs.send(job) {
            job.refuse();
        }
    }

    /// The same, and waits.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn change_now<T: Send + 'static>(&self, act: impl FnOnce(&mut Change<'_>) -> Result<T> + Send + 'static) -> Result<T> {
        let (sender, receiver) = mpsc::sync_channel(1);
        self.change(act, move |result| drop(sender.send(result)));
        receiver.recv().unwrap_or(Err(StoreError::HandedOver))
    }

    /// Reads a snapshot.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn read<T>(&self, ask: impl FnOnce(&View<'_>) -> Result<T>) -> Result<T> {
        let idle = self.0.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut conn = match idle {
            Some(conn) => conn,
            None => connect(&self.0.path)?,
        };
        let answer = {
            let tx = conn.transaction()?;
            ask(&View { conn: &tx })
        };
        let mut readers = self.0.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if readers.len() < IDLE_READERS {
            readers.push(conn);
        }
        answer
    }

    /// Whether the database is whole; an empty list means that it is.
    ///
    /// # Errors
    /// If it cannot be asked.
    pub fn check(&self) -> Result<Vec<String>> {
        self.read(|view| view.check())
    }
}

fn connect(path: &Path) -> Result<Connection> {
    let conn = Connection::open(path)?;
    conn.busy_timeout(Duration::from_secs(20))?;
    conn.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF;")?;
    conn.set_prepared_statement_cache_capacity(64);
    Ok(conn)
}

fn migrate(conn: &mut Connection, path: &Path) -> Result<()> {
    let tx = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let known: Option<String> =
        tx.query_row("SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'meta'", [], |row| row.get(0)).optional()?;
    if known.is_none() {
        tx.execute_batch(include_str!("schema.sql"))?;
    }
    let number: Option<String> = tx.query_row("SELECT value FROM meta WHERE name = 'schema'", [], |row| row.get(0)).optional()?;
    if number.as_deref() != Some("1") {
        return Err(StoreError::Invalid(format!("{} was written by a newer Enginehouse; install that version", path.display())));
    }
    tx.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests;
