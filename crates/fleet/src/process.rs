//! One process of the house, however it came to be: its number, its output, its end.

use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use model::rpc::Door;
use rustix::process::{Pid, Signal};
use tokio::io::AsyncRead;
use tokio::io::unix::AsyncFd;
use tokio::net::unix::OwnedWriteHalf;
use tokio::process::Child;
use tokio::sync::oneshot;

use crate::zygote::Link;

/// How long a zygote may take to say how one of its processes ended; it may be importing.
const WORD: Duration = Duration::from_secs(5);

/// A pipe that the process writes to.
pub(crate) type Output = Box<dyn AsyncRead + Send + Sync + Unpin>;

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
    /// A zygote.
    Forked(Forked),
}

/// A process that a zygote forked. The kernel tells us of its end, whether the zygote still lives or not; how it ended the zygote knows, and
/// until it was asked the number belongs to nobody else.
pub(crate) struct Forked {
    link: Arc<Link>,
    serial: u64,
    /// As the zygote sees it.
    pid: i32,
    descriptor: AsyncFd<OwnedFd>,
    asked: Option<oneshot::Receiver<ExitStatus>>,
    end: End,
    /// The process ends when this does.
    _tether: OwnedWriteHalf,
}

#[derive(Clone, Copy)]
enum End {
    NotYet,
    Known(ExitStatus),
    /// Nobody can say.
    Unknown,
}

impl Process {
    /// The door of the zygote that forked it, if one did.
    pub(crate) fn origin_door(&self) -> Option<&Arc<dyn Door>> {
        match &self.origin {
            Origin::Spawned(_) => None,
            Origin::Forked(forked) => forked.door(),
        }
    }

    /// A child of ours.
    pub(crate) fn spawned(mut child: Child) -> Self {
        let stdout = child.stdout.take().map(|pipe| Box::new(pipe) as Output);
        let stderr = child.stderr.take().map(|pipe| Box::new(pipe) as Output);
        Self { pid: child.id().unwrap_or_default(), stdout, stderr, origin: Origin::Spawned(child) }
    }

    /// A grandchild.
    pub(crate) fn forked(pid: u32, stdout: Output, stderr: Output, forked: Forked) -> Self {
        Self { pid, stdout: Some(stdout), stderr: Some(stderr), origin: Origin::Forked(forked) }
    }

    /// Its number, as we see it (inside a namespace of its own it has another). Zero if it was gone before anybody looked.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits for its end. May be dropped and called again, also after the end.
    pub(crate) async fn wait(&mut self) -> io::Result<ExitStatus> {
        match &mut self.origin {
            Origin::Spawned(child) => child.wait().await,
            Origin::Forked(forked) => forked.wait().await,
        }
    }

    /// To the whole group, if it still exists: while the leader is not waited for, its number cannot belong to somebody else.
    pub(crate) fn signal(&self, signal: Signal) {
        let running = match &self.origin {
            Origin::Spawned(child) => child.id().is_some(),
            Origin::Forked(forked) => matches!(forked.end, End::NotYet),
        };
        let Some(group) = Pid::from_raw(self.pid.cast_signed()).filter(|_| running) else { return };
        if rustix::process::kill_process_group(group, signal).is_err() {
            // Not yet a group of its own: the launcher has not come that far.
            let _ = rustix::process::kill_process(group, signal);
        }
    }
}

impl Forked {
    /// The door of the zygote that forked it.
    fn door(&self) -> Option<&Arc<dyn Door>> {
        self.link.door()
    }

    /// The process behind the pidfd `descriptor`, which `link` knows as `pid`.
    pub(crate) fn new(link: Arc<Link>, serial: u64, pid: i32, descriptor: OwnedFd, tether: OwnedWriteHalf) -> io::Result<Self> {
        #[allow(deprecated, reason = "what it warns of cannot be with an `OwnedFd`; its successor is `unsafe`")]
        let descriptor = AsyncFd::with_interest(descriptor, tokio::io::Interest::READABLE)?;
        Ok(Self { link, serial, pid, descriptor, asked: None, end: End::NotYet, _tether: tether })
    }

    async fn wait(&mut self) -> io::Result<ExitStatus> {
        if matches!(self.end, End::NotYet) {
            let _ = self.descriptor.readable().await?;
            let asked = self.asked.get_or_insert_with(|| self.link.reap(self.serial, self.pid, false));
            let told = tokio::time::timeout(WORD, asked).await.ok().and_then(Result::ok);
            self.end = told.map_or(End::Unknown, End::Known);
        }
        match self.end {
            End::Known(status) => Ok(status),
            End::NotYet | End::Unknown => Err(io::Error::other("it ended, and the zygote that could say how is gone")),
        }
    }
}
