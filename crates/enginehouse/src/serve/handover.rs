//! Handing a server over to a new process without refusing a connection (docs/decisions/232-hand-over.md).
//!
//! The old process starts the new one with one end of a socket as its standard input and sends the listening sockets through it. Both then accept
//! connections. Once the new one serves, the old one lets the state go, the new one takes it over, and the old one finishes what it has:
//!
//! old → new: sockets and which versions had instances · new → old: `ready` · old → new: `yours` · new → old: `taken`
//!
//! Whatever goes wrong before `taken`, the old process goes on as if nothing had happened.

use std::io::{self, BufRead as _, BufReader, IoSlice, IoSliceMut, Write as _};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use model::ids::{AppId, ServiceId, VersionId};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use serde::{Deserialize, Serialize};

use super::sockets::{Given, Sockets};

/// Says that standard input is the old process.
pub(crate) const VARIABLE: &str = "ENGINEHOUSE_HANDOVER";
/// How long the new process may take until it serves: it starts instances first.
const STARTS: Duration = Duration::from_mins(3);
/// How long each later step may take.
const STEP: Duration = Duration::from_secs(30);
/// Descriptors that go with one message; the kernel takes 253.
const AT_ONCE: usize = 64;

/// A version that had instances, and how many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Warm {
    pub(crate) app: AppId,
    pub(crate) service: ServiceId,
    pub(crate) version: VersionId,
    pub(crate) count: u32,
}

/// The first message.
#[derive(Debug, Serialize, Deserialize)]
struct Bequest {
    /// Sockets of each listener, in the order in which they follow: http, https, then one for the Admin API.
    http: Vec<usize>,
    https: Vec<usize>,
    warm: Vec<Warm>,
}

/// The new process, as the old one sees it.
#[derive(Debug)]
pub(crate) struct Heir {
    child: Child,
    line: Line,
}

/// The old process, as the new one sees it.
#[derive(Debug)]
pub(crate) struct Predecessor {
    line: Line,
    /// Versions that had instances.
    pub(crate) warm: Vec<Warm>,
}

impl Heir {
    /// Starts `program` with our own arguments, hands it the sockets and waits until it serves. Blocks.
    ///
    /// # Errors
    /// If it does not come up; it has ended then.
    pub(crate) fn raise(program: &Path, sockets: &Sockets, warm: Vec<Warm>) -> anyhow::Result<Self> {
        let (ours, theirs) = UnixStream::pair().context("cannot make a socket")?;
        let mut command = Command::new(program);
        command.args(std::env::args_os().skip(1)).env(VARIABLE, "1").stdin(Stdio::from(OwnedFd::from(theirs)));
        for name in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] {
            command.env_remove(name);
        }
        let child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        // Our copy of its end went with the command: if the new process ends, the line does.
        drop(command);
        let mut heir = Self { child, line: Line::new(ours)? };
        match heir.bequeath(sockets, warm) {
            Ok(()) => Ok(heir),
            Err(error) => {
                heir.give_up();
                Err(error)
            }
        }
    }

    fn bequeath(&mut self, sockets: &Sockets, warm: Vec<Warm>) -> anyhow::Result<()> {
        let count = |all: &[Vec<TcpListener>]| all.iter().map(Vec::len).collect();
        let bequest = Bequest { http: count(&sockets.http), https: count(&sockets.https), warm };
        self.line.say(&serde_json::to_string(&bequest)?)?;
        let all = sockets.http.iter().flatten().chain(sockets.https.iter().flatten()).chain([&sockets.admin]);
        let all: Vec<BorrowedFd<'_>> = all.map(TcpListener::as_fd).collect();
        // It has read the line before it reads what follows with descriptors.
        self.line.hear("sockets", STEP)?;
        all.chunks(AT_ONCE).try_for_each(|some| self.line.send(some)).context("cannot hand the sockets over")?;
        self.line.hear("ready", STARTS)
    }

    /// The number of the new process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tells it that the state was let go, and waits until it has it.
    ///
    /// # Errors
    /// If it does not take it; it has ended then.
    pub(crate) fn succeed(&mut self) -> anyhow::Result<()> {
        let done = self.line.say("yours").and_then(|()| self.line.hear("taken", STEP));
        if done.is_err() {
            self.give_up();
        }
        done
    }

    /// Ends it.
    fn give_up(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Predecessor {
    /// The process before this one, if it started us to go on with its work, with its sockets. Must be called before any thread is started.
    pub(crate) fn find() -> anyhow::Result<Option<(Self, Given)>> {
        if std::env::var_os(VARIABLE).is_none() {
            return Ok(None);
        }
        let input = io::stdin().as_fd().try_clone_to_owned().context("the process before this one cannot be heard")?;
        let nothing = std::fs::File::open("/dev/null").context("cannot open /dev/null")?;
        rustix::stdio::dup2_stdin(&nothing).context("cannot let standard input go")?;
        let mut line = Line::new(UnixStream::from(input))?;
        let bequest: Bequest = serde_json::from_str(&line.read(STEP)?).context("the process before this one is of another kind")?;
        line.say("sockets")?;
        let wanted = bequest.http.iter().chain(&bequest.https).sum::<usize>() + 1;
        let mut sockets = line.receive(wanted).context("the sockets did not arrive")?.into_iter();
        let mut take = |counts: &[usize]| -> Vec<Vec<Arc<TcpListener>>> {
            counts.iter().map(|&count| sockets.by_ref().take(count).map(Arc::new).collect()).collect()
        };
        let given = Given { http: take(&bequest.http), https: take(&bequest.https), admin: sockets.next() };
        Ok(Some((Self { line, warm: bequest.warm }, given)))
    }

    /// Says that this process serves, and waits until the state was let go. Blocks.
    ///
    /// # Errors
    /// If the old process changed its mind.
    pub(crate) fn ready(&mut self) -> anyhow::Result<()> {
        self.line.say("ready")?;
        self.line.hear("yours", STEP)
    }

    /// Says that this process has the state: the old one may end.
    pub(crate) fn taken(&mut self) -> anyhow::Result<()> {
        self.line.say("taken")
    }
}

/// Lines of text and descriptors between two processes.
#[derive(Debug)]
struct Line {
    stream: UnixStream,
    reader: BufReader<UnixStream>,
}

impl Line {
    fn new(stream: UnixStream) -> anyhow::Result<Self> {
        let reader = BufReader::new(stream.try_clone().context("cannot copy a socket")?);
        Ok(Self { stream, reader })
    }

    fn say(&mut self, text: &str) -> anyhow::Result<()> {
        self.stream.write_all(format!("{text}\n").as_bytes()).context("the other process has ended")
    }

    fn read(&mut self, limit: Duration) -> anyhow::Result<String> {
        self.stream.set_read_timeout(Some(limit))?;
        let mut text = String::new();
        match self.reader.read_line(&mut text) {
            Ok(0) => bail!("the other process has ended"),
            Ok(_) => Ok(text),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                bail!("the other process said nothing for {} s", limit.as_secs())
            }
            Err(error) => Err(error).context("the other process cannot be heard"),
        }
    }

    fn hear(&mut self, wanted: &str, limit: Duration) -> anyhow::Result<()> {
        let heard = self.read(limit)?;
        ensure!(heard.trim_end() == wanted, "the other process said `{}` instead of `{wanted}`", heard.trim_end());
        Ok(())
    }

    /// Sends descriptors, with one byte that carries them.
    fn send(&self, some: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(some)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        rustix::net::sendmsg(&self.stream, &[IoSlice::new(b".")], &mut control, SendFlags::empty())?;
        Ok(())
    }

    /// Receives so many sockets.
    fn receive(&self, wanted: usize) -> io::Result<Vec<TcpListener>> {
        let mut found = Vec::new();
        while found.len() < wanted {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut byte = [0];
            let got = rustix::net::recvmsg(&self.stream, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
            if got.bytes == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(sockets) = message {
                    found.extend(sockets.map(TcpListener::from));
                }
            }
        }
        Ok(found)
    }
}

/// The binary that an upgrade starts: what lies now where this process was started from.
pub(crate) fn program() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_else(|_| "/proc/self/exe".into());
    let text = own.to_string_lossy();
    text.strip_suffix(" (deleted)").map_or_else(|| own.clone(), PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_and_words_cross_over() {
        let (a, b) = UnixStream::pair().expect("a pair");
        let (mut old, mut new) = (Line::new(a).expect("old"), Line::new(b).expect("new"));
        let all: Vec<TcpListener> = (0..70).map(|_| TcpListener::bind("127.0.0.1:0").expect("bound")).collect();
        old.say("hello").expect("said");
        new.hear("hello", STEP).expect("heard");
        let fds: Vec<BorrowedFd<'_>> = all.iter().map(TcpListener::as_fd).collect();
        fds.chunks(AT_ONCE).for_each(|some| old.send(some).expect("sent"));
        let found = new.receive(all.len()).expect("received");
        let addresses = |all: &[TcpListener]| all.iter().map(|one| one.local_addr().expect("an address")).collect::<Vec<_>>();
        assert_eq!(addresses(&found), addresses(&all));
        assert!(new.say("ready").is_ok() && old.hear("yours", STEP).is_err());
        drop(new);
        assert!(old.hear("taken", STEP).is_err());
    }
}
