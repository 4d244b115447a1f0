//! The thread that writes: everything that waits goes into one transaction.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};

use super::change::Change;
use crate::control::{Result, StoreError};

/// Changes in one transaction; more wait for the next.
const MOST: usize = 1000;
/// How often it is looked whether another process has written, and old tombstones go.
const LOOK: Duration = Duration::from_secs(1);

/// A change, and who waits for it.
pub(super) struct Job(Box<Act>);

/// Changes, unless the writer is gone.
type Act = dyn FnOnce(Option<&mut Change<'_>>) -> Step + Send;

type Finish = Box<dyn FnOnce(Option<StoreError>) + Send>;

enum Step {
    /// Carried out; to be told whether it was committed.
    Made(Finish),
    /// It failed, and with it the transaction.
    Failed(StoreError, Finish),
    /// Told already.
    Over,
}

impl Job {
    /// The writer is gone.
    pub(super) fn refuse(self) {
        (self.0)(None);
    }
}

pub(super) fn job<T: Send + 'static>(
    act: impl FnOnce(&mut Change<'_>) -> Result<T> + Send + 'static,
    done: impl FnOnce(Result<T>) + Send + 'static,
) -> Job {
    Job(Box::new(move |change| {
        let Some(change) = change else {
            done(Err(StoreError::HandedOver));
            return Step::Over;
        };
        match act(change) {
            Ok(value) => Step::Made(Box::new(move |error| done(error.map_or(Ok(value), Err)))),
            Err(error) => Step::Failed(error, Box::new(move |error| done(Err(error.unwrap_or(StoreError::HandedOver))))),
        }
    }))
}

/// The connection that writes.
pub(super) struct Writer {
    conn: Connection,
    /// The database as others left it, as far as that was told.
    version: i64,
}

impl Writer {
    /// What others change from here on is told, also before the thread runs: readers may be ahead of it.
    pub(super) fn new(conn: Connection) -> Self {
        let version = data_version(&conn);
        Self { conn, version }
    }

    /// Works until nobody can ask any more.
    pub(super) fn run(mut self, jobs: &Receiver<Job>, foreign: &dyn Fn()) {
        loop {
            match jobs.recv_timeout(LOOK) {
                Ok(first) => batch(&mut self.conn, first, jobs),
                Err(RecvTimeoutError::Timeout) => {
                    // What cannot be tidied now can be tidied later.
                    let _ = tidy(&mut self.conn);
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let seen = data_version(&self.conn);
            if seen != self.version {
                self.version = seen;
                foreign();
            }
        }
    }
}

/// Changes with every commit of another connection.
fn data_version(conn: &Connection) -> i64 {
    conn.query_row("PRAGMA data_version", [], |row| row.get(0)).unwrap_or(0)
}

fn batch(conn: &mut Connection, first: Job, jobs: &Receiver<Job>) {
    let mut made: Vec<Finish> = Vec::new();
    let error = match conn.transaction_with_behavior(TransactionBehavior::Immediate) {
        // The disk is full, perhaps: whoever asked hears that it did not happen.
        Err(_) => {
            first.refuse();
            return;
        }
        Ok(tx) => {
            let mut change = Change::new(&tx);
            let mut next = Some(first);
            let mut failed = None;
            while let Some(job) = next.take() {
                match (job.0)(Some(&mut change)) {
                    Step::Made(finish) => made.push(finish),
                    Step::Failed(error, finish) => {
                        made.push(finish);
                        failed = Some(error);
                        break;
                    }
                    Step::Over => {}
                }
                next = if made.len() < MOST { jobs.try_recv().ok() } else { None };
            }
            match failed {
                // Dropping the transaction undoes it.
                Some(error) => Some(error),
                None => tx.commit().err().map(StoreError::from),
            }
        }
    };
    let why = error.map(|error| error.to_string());
    for finish in made {
        finish(why.clone().map(|why| StoreError::damaged("tasks.db")(why)));
    }
}

/// Removes what is past, a bit at a time: tombstones, purged tasks.
fn tidy(conn: &mut Connection) -> Result<()> {
    let now = super::row::now();
    let work: bool = conn.query_row(
        "SELECT EXISTS (SELECT 1 FROM trash) OR EXISTS (SELECT 1 FROM tombstones WHERE until < ?1) OR EXISTS (SELECT 1 FROM held WHERE until < ?1)",
        [now],
        |row| row.get(0),
    )?;
    if !work {
        return Ok(());
    }
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    Change::new(&tx).tidy(now)?;
    tx.commit()?;
    Ok(())
}
