//! One fork: what the new process is given, how the house learns its number, and the word that lets it begin.

use std::ffi::OsString;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as Pair;
use std::sync::Arc;
use std::time::Duration;

use model::sched::Serial;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use rustix::process::{Pid, PidfdFlags};
use sandbox::limits::Group;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;

use super::link::{Failure, Link};
use crate::fleet::House;
use crate::process::{Forked, Output, Process};

/// How long a zygote may take, importing included.
const PATIENCE: Duration = Duration::from_mins(1);

/// What an instance gets.
pub(crate) struct Order<'a> {
    pub(crate) serial: Serial,
    pub(crate) env: Vec<(OsString, OsString)>,
    /// Settings of the agent, a JSON object.
    pub(crate) agent: String,
    pub(crate) mark: String,
    /// The socket that the front end connects to; it listens already.
    pub(crate) listener: &'a OwnedFd,
    /// Its zygote is behind walls: it steps aside into namespaces, where it gets a `/tmp` of its own.
    pub(crate) aside: bool,
    /// Where it is limited and measured.
    pub(crate) group: Option<&'a Group>,
}

/// Lets the zygote fork. The second of the pair reports what the instance learns.
pub(super) async fn fork(house: &House, link: &Arc<Link>, order: Order<'_>) -> Result<(Process, tokio::net::unix::OwnedReadHalf), Failure> {
    let failed = |error: io::Error| Failure::Failed(error.to_string());
    let (stdout, out) = std::io::pipe().map_err(failed)?;
    let (stderr, err) = std::io::pipe().map_err(failed)?;
    let (tether, theirs) = Pair::pair().map_err(failed)?;
    rustix::net::sockopt::set_socket_passcred(&tether, true).map_err(|e| failed(e.into()))?;
    let mut tether = nonblocking(tether).map_err(failed)?;
    let descriptors = vec![order.listener.try_clone().map_err(failed)?, out.into(), err.into(), theirs.into()];
    let text = text(&order).ok_or_else(|| Failure::Failed("its environment is not UTF-8".into()))?;
    let inner = tokio::time::timeout(PATIENCE, link.fork(order.serial.0, &text, descriptors)).await.map_err(|_| Failure::Gone)??;
    let born = tokio::time::timeout(PATIENCE, born(&tether)).await.unwrap_or(Err(io::ErrorKind::TimedOut.into()));
    let watched = born.and_then(|pid| Ok((pid, rustix::process::pidfd_open(pid, PidfdFlags::empty())?)));
    let (pid, descriptor) = match watched {
        Ok(found) => found,
        Err(error) => {
            drop(link.reap(order.serial.0, inner, true));
            return Err(failed(error));
        }
    };
    // Watched and limited before it may do anything.
    let pid = pid.as_raw_nonzero().get().cast_unsigned();
    house.warden.watch(pid, &order.mark);
    if let Some(Err(error)) = order.group.map(|group| group.add(pid)) {
        drop(link.reap(order.serial.0, inner, true));
        house.warden.end(pid);
        return Err(failed(error));
    }
    tether.write_all(b"g").await.map_err(failed)?;
    let (reports, tether) = tether.into_split();
    let forked = Forked::new(Arc::clone(link), order.serial.0, inner, descriptor, tether).map_err(failed)?;
    Ok((Process::forked(pid, output(stdout.into()).map_err(failed)?, output(stderr.into()).map_err(failed)?, forked), reports))
}

fn text(order: &Order<'_>) -> Option<Value> {
    let mut env = Map::new();
    for (name, value) in &order.env {
        env.insert(name.to_str()?.to_owned(), value.to_str()?.into());
    }
    let agent: Value = serde_json::from_str(&order.agent).ok()?;
    Some(json!({ "serial": order.serial.0, "aside": order.aside, "mark": order.mark, "env": env, "agent": agent }))
}

pub(super) fn nonblocking(socket: Pair) -> io::Result<UnixStream> {
    socket.set_nonblocking(true)?;
    UnixStream::from_std(socket)
}

fn output(pipe: OwnedFd) -> io::Result<Output> {
    Ok(Box::new(pipe::Receiver::from_owned_fd(pipe)?))
}

/// The number of the process that wrote the first byte, as *we* see it: the kernel translates it between namespaces.
async fn born(tether: &UnixStream) -> io::Result<Pid> {
    loop {
        tether.readable().await?;
        match tether.try_io(Interest::READABLE, || sender(tether)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            other => return other,
        }
    }
}

fn sender(tether: &UnixStream) -> io::Result<Pid> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let got = rustix::net::recvmsg(tether, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    if got.bytes == 0 {
        return Err(io::Error::other("it ended as soon as it was forked"));
    }
    let pid = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmCredentials(who) => Some(who.pid),
        _ => None,
    });
    pid.ok_or_else(|| io::Error::other("the kernel does not say who was forked"))
}
