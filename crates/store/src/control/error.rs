//! What can go wrong with the state, in the words of the Admin API where it has some.

use std::io;
use std::path::{Path, PathBuf};

/// Why the state was not read or not changed. A change that fails leaves nothing behind.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such thing.
    #[error("{0}")]
    Missing(String),
    /// There is one already.
    #[error("{0}")]
    Exists(String),
    /// An operation that still runs has it (reference/adminapi/semantics.md; Terraform looks for these words).
    #[error("Cannot operate on {target} because an operation is already in progress for {target} by {holder}.")]
    Busy {
        /// The resource's name.
        target: String,
        /// The name of the operation that has it.
        holder: String,
    },
    /// Somebody else changed it since it was read.
    #[error("{0} was changed by somebody else in the meantime; read it again and repeat the change.")]
    Stale(String),
    /// What was asked is not allowed in this state, or is no valid name.
    #[error("{0}")]
    Invalid(String),
    /// Another process has taken the folder over, or has not yet let go of it.
    #[error("The server is being replaced by a new process; ask again in a moment.")]
    HandedOver,
    /// The database refused.
    #[error("the state cannot be read or written: {0}")]
    Sql(#[from] rusqlite::Error),
    /// A row holds what nobody could have written.
    #[error("the state is damaged: {what}: {reason}")]
    Damaged {
        /// Which row.
        what: String,
        /// Why it cannot be read.
        reason: String,
    },
    /// The system refused.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// `create`, `read`, ….
        what: &'static str,
        /// Which file or folder.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}

impl StoreError {
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, path: path.to_owned(), source }
    }

    pub(crate) fn damaged(what: impl Into<String>) -> impl FnOnce(String) -> Self {
        let what = what.into();
        move |reason| Self::Damaged { what, reason }
    }
}

/// Why a data folder cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another server has it.
    #[error("the data folder {} is in use{}; stop that server, or choose another folder with --data", dir.display(), by(*pid))]
    InUse {
        /// The folder.
        dir: PathBuf,
        /// Who.
        pid: Option<u32>,
    },
    /// It holds files of somebody else.
    #[error("{} is not empty and not a data folder of Enginehouse; choose another folder with --data", dir.display())]
    Foreign {
        /// The folder.
        dir: PathBuf,
    },
    /// A file system of other machines, where `SQLite`'s locks and its shared memory do not hold.
    #[error(
        "the data folder {} lies on {kind}, where a crash or a second machine could destroy the database; put it on a disk of this machine",
        dir.display()
    )]
    Remote {
        /// The folder.
        dir: PathBuf,
        /// `NFS`, ….
        kind: &'static str,
    },
    /// Written by a later version of Enginehouse.
    #[error(
        "the data folder {} was written by a newer Enginehouse (schema {found}; this one knows {known}); install that version, or restore a backup",
        dir.display()
    )]
    Newer {
        /// The folder.
        dir: PathBuf,
        /// Its schema.
        found: u32,
        /// The newest that we know.
        known: u32,
    },
    /// Anything else.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<rusqlite::Error> for OpenError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

fn by(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" by process {pid}")).unwrap_or_default()
}
