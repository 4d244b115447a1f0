//! Who lets the state go while tasks are in flight writes their numbers down (`held`), so that its successor leaves them alone. A lock beside the database
//! tells whether it still lives: the kernel drops it with the process, however that ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;

use super::Tasks;
use crate::control::{Result, StoreError};

/// This process executes tasks that it does not send any more. To be kept until the last of them has ended.
#[derive(Debug)]
pub struct Holding {
    _lock: File,
}

impl Tasks {
    fn lock(&self) -> Result<File> {
        let path = self.0.path.with_extension("held");
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(StoreError::io("open", &path))
    }

    /// Writes down what this process still executes: those that `flying` names when the change is made. Blocks.
    ///
    /// # Errors
    /// If the disk refuses; a successor may then execute them too.
    pub fn hold(&self, flying: impl FnOnce() -> Vec<i64> + Send + 'static, until: i64) -> Result<Holding> {
        let lock = self.lock()?;
        // Before the numbers, so that they are never without it.
        lock.lock_shared().map_err(StoreError::io("lock", &self.0.path))?;
        self.change_now(move |change| change.hold(&flying(), until))?;
        Ok(Holding { _lock: lock })
    }

    /// Forgets what is held if nobody lives who could execute it; tells whether that is so. Blocks.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn forget_held(&self) -> Result<bool> {
        let lock = self.lock()?;
        match lock.try_lock() {
            Ok(()) => self.change_now(|change| change.let_all_go()).map(|()| true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(StoreError::io("lock", &self.0.path)(error)),
        }
    }
}
