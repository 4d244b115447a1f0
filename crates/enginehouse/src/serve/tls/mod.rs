//! Certificates of a server: those in the store are given to the front end whenever they change ([`shelf`]), and those of custom domains that the
//! server is to manage are ordered from an authority by ACME, and renewed ([`orders`]).

mod authority;
mod jws;
mod orders;
mod shelf;

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

pub(crate) use authority::Proof;
pub(crate) use orders::{Orders, Settings};
pub(crate) use shelf::Shelf;

/// What wakes a thread: something changed, or it is to end.
#[derive(Debug, Default)]
struct Bell {
    state: Mutex<Rung>,
    rung: Condvar,
}

#[derive(Debug, Default)]
struct Rung {
    changed: bool,
    ended: bool,
}

impl Bell {
    fn ring(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).changed = true;
        self.rung.notify_all();
    }

    fn end(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
        self.rung.notify_all();
    }

    fn has_ended(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).ended
    }

    /// Waits until it is rung, or for so long; false at the end.
    fn wait(&self, most: Duration) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.rung.wait_timeout_while(state, most, |state| !state.changed && !state.ended);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.changed = false;
        !state.ended
    }

    /// Waits for the end alone, at most for so long; false at the end.
    fn pause(&self, most: Duration) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.rung.wait_timeout_while(state, most, |state| !state.ended);
        !waited.unwrap_or_else(PoisonError::into_inner).0.ended
    }
}

/// A thread that ends with its owner.
#[derive(Debug)]
struct Worker {
    bell: Arc<Bell>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Worker {
    fn start(name: &str, bell: Arc<Bell>, work: impl FnOnce(&Bell) + Send + 'static) -> std::io::Result<Self> {
        let own = Arc::clone(&bell);
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || work(&own))?;
        Ok(Self { bell, thread: Some(thread) })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.bell.end();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
