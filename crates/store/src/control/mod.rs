//! The state of a server: `DIR/control.db`, an `SQLite` database.
//!
//! Reads go through a [`View`] (a snapshot), writes through a [`Change`] (a transaction; one writer at a time). A change that did something raises
//! `rev` and leaves a row in the audit log; both, and the operation that it belongs to, are in the same transaction. All calls block for as long as
//! the disk takes: async callers hand them to a thread.

mod apps;
mod audit;
mod certificates;
mod configs;
mod domains;
mod error;
mod firewall;
mod garbage;
mod lock;
mod objects;
mod operations;
mod row;
mod schema;
mod secrets;
mod service;
mod services;
#[cfg(test)]
mod tests;
mod tokens;
mod versions;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{DirBuilder, OpenOptions};
use std::ops::Deref;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, TransactionBehavior};

pub use apps::App;
pub use audit::Entry;
pub use certificates::{Certificate, PrivateKey};
pub use configs::{Document, Kind};
pub use domains::Domain;
pub use error::{OpenError, StoreError};
pub use firewall::{Action, FirewallRow};
pub use objects::{Bucket, Object, Upload};
pub use operations::{Begin, Failure, Lock, Operation, OperationId, Outcome};
pub use services::Service;
pub use tokens::{Role, Token, TokenSecret};
pub use versions::{NewVersion, ServingStatus, Version, VersionStamp};

use lock::Hold;

/// What a call returns.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// Connections for reading that are kept for the next reader.
const IDLE_READERS: usize = 4;

/// Who changes something, for operations and the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// As operations show it in `user`: a token's name, or `enginehouse` for the house itself.
    pub name: String,
    /// The token's id.
    pub token: Option<String>,
}

impl Actor {
    /// The house itself.
    pub fn house() -> Self {
        Self { name: "enginehouse".to_owned(), token: None }
    }
}

/// Which part of a list: at most `limit` entries behind the one named `after` (the last one of the page before).
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The last key of the page before; `None` = from the beginning.
    pub after: Option<String>,
    /// Most entries; 0 = all.
    pub limit: usize,
}

impl Page {
    /// Everything.
    pub fn all() -> Self {
        Self::default()
    }

    fn limit(&self) -> i64 {
        if self.limit == 0 { i64::MAX } else { i64::try_from(self.limit).unwrap_or(i64::MAX) }
    }

    fn after(&self) -> &str {
        self.after.as_deref().unwrap_or("")
    }
}

/// The state. Cheap to clone; the folder is let go when the last clone is dropped.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

type Listener = Arc<dyn Fn(u64) + Send + Sync>;

struct Inner {
    dir: PathBuf,
    writer: Mutex<Connection>,
    readers: Mutex<Vec<Connection>>,
    rev: AtomicU64,
    hold: Hold,
    listeners: Mutex<Vec<Listener>>,
    tokens_seen: Mutex<BTreeMap<String, SystemTime>>,
    service_accounts: service::Accounts,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("dir", &self.0.dir).field("rev", &self.rev()).finish_non_exhaustive()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic rolls its transaction back, so what the mutex guards is whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    /// Opens the state in `dir`, making the folder if need be, and becomes its only master. The first time an owner token is drawn and written to
    /// `dir/owner-token`.
    ///
    /// # Errors
    /// If another server has the folder, if it is not ours, lies on a network file system, or was written by a newer program.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        let dir = prepare(dir)?;
        let hold = Hold::take(&dir)?;
        Self::with(dir, hold)
    }

    /// Opens the state beside the server that has it, to replace that server without a gap (decision 211). Until [`Store::take_over`] succeeds
    /// it can be read and every change is refused with [`StoreError::HandedOver`].
    ///
    /// # Errors
    /// As [`Store::open`], but never because another server has the folder.
    pub fn open_beside(dir: &Path) -> Result<Self, OpenError> {
        let dir = prepare(dir)?;
        let hold = Hold::beside(&dir)?;
        Self::with(dir, hold)
    }

    fn with(dir: PathBuf, hold: Hold) -> Result<Self, OpenError> {
        let path = dir.join("control.db");
        // Made here, as SQLite would make it readable for others.
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(StoreError::io("create", &path))?;
        let mut writer = connect(&path)?;
        if let Some(found) = schema::migrate(&mut writer)? {
            return Err(OpenError::Newer { dir, found, known: schema::KNOWN });
        }
        for folder in ["files", "drafts", "versions", "uploads"] {
            let path = dir.join(folder);
            DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(StoreError::io("create", &path))?;
        }
        let rev = AtomicU64::new(View { conn: &writer }.rev()?);
        let store = Self(Arc::new(Inner {
            dir,
            writer: Mutex::new(writer),
            readers: Mutex::default(),
            rev,
            hold,
            listeners: Mutex::default(),
            tokens_seen: Mutex::default(),
            service_accounts: service::Accounts::default(),
        }));
        if store.is_master() {
            store.ensure_owner()?;
        }
        Ok(store)
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.0.dir
    }

    /// Whether this process may change the state.
    pub fn is_master(&self) -> bool {
        self.0.hold.is_ours()
    }

    /// The old process's part of an upgrade: lets the folder go. The change that is under way is finished first; every later one is refused.
    /// Reading goes on, for requests that are still to be answered.
    pub fn release(&self) {
        let writer = locked(&self.0.writer);
        self.0.hold.release();
        drop(writer);
    }

    /// The new process's part of an upgrade: becomes the master as soon as the old process lets go. False if it did not do so within `patience`.
    ///
    /// # Errors
    /// If the system refuses the lock.
    pub fn take_over(&self, patience: Duration) -> Result<bool> {
        let taken = self.0.hold.wait(&self.0.dir, patience)?;
        if taken {
            self.ensure_owner()?;
            self.0.rev.store(self.read(|view| view.rev())?, Ordering::SeqCst);
        }
        Ok(taken)
    }

    /// The number of changes so far. Costs nothing.
    pub fn rev(&self) -> u64 {
        self.0.rev.load(Ordering::SeqCst)
    }

    /// Has `listener` called after each change with the new `rev`, on the thread that made the change. It must not block, nor ask the store.
    pub fn on_change(&self, listener: impl Fn(u64) + Send + Sync + 'static) {
        locked(&self.0.listeners).push(Arc::new(listener));
    }

    /// Reads a snapshot: everything that `ask` sees is of one moment.
    ///
    /// # Errors
    /// If the database refuses, or what `ask` returns.
    pub fn read<T, E: From<StoreError>>(&self, ask: impl FnOnce(&View<'_>) -> Result<T, E>) -> Result<T, E> {
        let idle = locked(&self.0.readers).pop();
        let mut conn = match idle {
            Some(conn) => conn,
            None => connect(&self.0.dir.join("control.db"))?,
        };
        let answer = {
            let tx = conn.transaction().map_err(StoreError::from)?;
            ask(&View { conn: &tx })
        };
        let mut readers = locked(&self.0.readers);
        if readers.len() < IDLE_READERS {
            readers.push(conn);
        }
        answer
    }

    /// Changes the state, all or nothing: an error of `act` leaves no trace. What `act` reads cannot change before it is done.
    ///
    /// # Errors
    /// If this process is not the master, if the database refuses, or what `act` returns.
    pub fn change<T, E: From<StoreError>>(&self, actor: &Actor, act: impl FnOnce(&mut Change<'_>) -> Result<T, E>) -> Result<T, E> {
        let mut conn = locked(&self.0.writer);
        if !self.is_master() {
            return Err(StoreError::HandedOver.into());
        }
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(StoreError::from)?;
        let view = View { conn: &tx };
        let rev = view.rev()? + 1;
        let mut change = Change { view, actor, now: SystemTime::now(), rev, changed: false, operation: None };
        let answer = act(&mut change)?;
        let changed = change.changed;
        if changed {
            tx.execute("UPDATE revision SET rev = ?1", [row::int(rev)]).map_err(StoreError::from)?;
        }
        tx.commit().map_err(StoreError::from)?;
        if changed {
            self.0.rev.store(rev, Ordering::SeqCst);
        }
        drop(conn);
        if changed {
            let listeners = locked(&self.0.listeners).clone();
            for tell in &listeners {
                tell(rev);
            }
        }
        Ok(answer)
    }

    /// Whether the database is whole, as `SQLite`'s own check says; an empty list means that it is.
    ///
    /// # Errors
    /// If it cannot be asked.
    pub fn check(&self) -> Result<Vec<String>> {
        self.read(|view| {
            let mut found = view.list("PRAGMA integrity_check", [], |row| Ok(row.get::<_, String>(0)?))?;
            found.retain(|line| line != "ok");
            found.extend(view.list("PRAGMA foreign_key_check", [], |row| Ok(format!("foreign key of {}", row.get::<_, String>(0)?)))?);
            Ok(found)
        })
    }
}

/// A snapshot of the state.
#[derive(Debug)]
pub struct View<'a> {
    conn: &'a Connection,
}

/// A transaction that changes the state. Reads like a [`View`], and sees its own changes.
#[derive(Debug)]
pub struct Change<'a> {
    view: View<'a>,
    actor: &'a Actor,
    now: SystemTime,
    rev: u64,
    changed: bool,
    operation: Option<OperationId>,
}

impl<'a> Deref for Change<'a> {
    type Target = View<'a>;
    fn deref(&self) -> &View<'a> {
        &self.view
    }
}

impl Change<'_> {
    /// Who changes.
    pub fn actor(&self) -> &Actor {
        self.actor
    }

    /// The moment of the change.
    pub fn now(&self) -> SystemTime {
        self.now
    }

    /// The `rev` that the change will have.
    pub fn rev(&self) -> u64 {
        self.rev
    }

    /// Says which operation the following changes belong to, for the audit log.
    pub fn as_part_of(&mut self, operation: OperationId) {
        self.operation = Some(operation);
    }
}

impl View<'_> {
    /// The number of changes up to this snapshot.
    pub fn rev(&self) -> Result<u64> {
        let rev: i64 = self.conn.prepare_cached("SELECT rev FROM revision")?.query_row([], |row| row.get(0))?;
        Ok(row::unsigned(rev))
    }
}

/// A connection with the house's settings.
fn connect(path: &Path) -> Result<Connection> {
    let conn = Connection::open(path)?;
    conn.busy_timeout(Duration::from_secs(20))?;
    // FULL: an answered change survives a power cut (reference/state.md: 2,688 such commits a second).
    conn.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF;",
    )?;
    conn.set_prepared_statement_cache_capacity(64);
    Ok(conn)
}

/// Makes the folder and sees that it is one for us.
fn prepare(dir: &Path) -> Result<PathBuf, OpenError> {
    let dir = std::path::absolute(dir).map_err(StoreError::io("find", dir))?;
    DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(StoreError::io("create", &dir))?;
    lock::refuse_remote(&dir)?;
    lock::claim(&dir)?;
    Ok(dir)
}
