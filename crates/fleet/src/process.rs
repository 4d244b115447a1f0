//! One process of the house, however it came to be: its number, its output, its end.

use std::io;
use std::process::ExitStatus;

use rustix::process::{Pid, Signal};
use tokio::io::AsyncRead;
use tokio::process::Child;

/// A pipe that the process writes to.
pub(crate) type Output = Box<dyn AsyncRead + Send + Unpin>;

/// A process that leads a session and a process group of its own.
pub(crate) struct Process {
    pid: u32,
    /// Taken by whoever reads it.
    pub(crate) stdout: Option<Output>,
    /// Taken by whoever reads it.
    pub(crate) stderr: Option<Output>,
    origin: Origin,
}

/// Who started it, and so who learns how it ended.
enum Origin {
    /// We, through the launcher.
    Spawned(Child),
}

impl Process {
    /// A child of ours.
    pub(crate) fn spawned(mut child: Child) -> Self {
        let stdout = child.stdout.take().map(|pipe| Box::new(pipe) as Output);
        let stderr = child.stderr.take().map(|pipe| Box::new(pipe) as Output);
        Self { pid: child.id().unwrap_or_default(), stdout, stderr, origin: Origin::Spawned(child) }
    }

    /// Its number, as we see it (inside a namespace of its own it has another). Zero if it was gone before anybody looked.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits for its end. May be dropped and called again, also after the end.
    pub(crate) async fn wait(&mut self) -> io::Result<ExitStatus> {
        match &mut self.origin {
            Origin::Spawned(child) => child.wait().await,
        }
    }

    /// To the whole group, if it still exists: while the leader is not waited for, its number cannot belong to somebody else.
    pub(crate) fn signal(&self, signal: Signal) {
        let running = match &self.origin {
            Origin::Spawned(child) => child.id().is_some(),
        };
        let Some(group) = Pid::from_raw(self.pid.cast_signed()).filter(|_| running) else { return };
        if rustix::process::kill_process_group(group, signal).is_err() {
            // Not yet a group of its own: the launcher has not come that far.
            let _ = rustix::process::kill_process(group, signal);
        }
    }
}
