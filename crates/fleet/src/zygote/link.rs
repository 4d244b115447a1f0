//! The control socket of one zygote: orders go out, words come back (docs/design/agent-protocol.md, "Zygotes").

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::rpc::Door;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};

use super::learned::Learned;

/// Orders that may wait while the zygote imports.
const QUEUE: usize = 1_024;
/// Longer words are no words.
const LONGEST: u32 = 1 << 20;

/// Why a zygote forked nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It must not fork, and no other like it may.
    Refused(String),
    /// It did not work this time.
    Failed(String),
    /// It is gone.
    Gone,
}

type Forked = Result<i32, Failure>;

/// The house's end. The zygote ends with the last holder.
#[derive(Debug)]
pub(crate) struct Link {
    orders: mpsc::Sender<Order>,
    words: Arc<Mutex<Words>>,
    /// The zygote's door, of which what it imports ahead may keep the address.
    door: Option<Arc<dyn Door>>,
}

#[derive(Debug)]
struct Order {
    frame: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

/// How a link ends.
pub(crate) struct Ends {
    /// Nobody holds it any more.
    pub(crate) left: oneshot::Receiver<()>,
    /// Nobody is at the other end.
    pub(crate) gone: oneshot::Receiver<()>,
}

/// What is waited for, and what was said.
#[derive(Debug, Default)]
struct Words {
    forks: HashMap<u64, oneshot::Sender<Forked>>,
    ends: HashMap<u64, oneshot::Sender<ExitStatus>>,
    refused: Option<String>,
    gone: bool,
}

/// A word of the zygote.
#[derive(Deserialize)]
struct Word {
    #[serde(default)]
    serial: u64,
    #[serde(default)]
    pid: i32,
    #[serde(default)]
    status: i32,
    #[serde(default)]
    error: String,
    #[serde(default)]
    why: String,
}

impl Link {
    /// Speaks to the zygote at the other end of `socket`.
    pub(crate) fn new(socket: UnixStream, door: Option<Arc<dyn Door>>) -> (Arc<Self>, Ends) {
        let (reader, writer) = socket.into_split();
        let (orders, mut queue) = mpsc::channel(QUEUE);
        let words = Arc::new(Mutex::new(Words::default()));
        let (over, left) = oneshot::channel();
        let (silent, gone) = oneshot::channel();
        tokio::spawn(async move {
            write(writer, &mut queue).await;
            // Nobody is there any more; who still holds the link may have instances.
            while queue.recv().await.is_some() {}
            let _ = over.send(());
        });
        let heard = Arc::clone(&words);
        tokio::spawn(async move {
            read(reader, heard).await;
            let _ = silent.send(());
        });
        (Arc::new(Self { orders, words, door }), Ends { left, gone })
    }

    /// The zygote's door.
    pub(crate) fn door(&self) -> Option<&Arc<dyn Door>> {
        self.door.as_ref()
    }

    /// Whether nobody is there any more.
    pub(crate) fn is_gone(&self) -> bool {
        self.words().gone
    }

    /// Asks it to import these modules before it forks again.
    pub(crate) fn preload(&self, learned: &Learned, app: bool) {
        let order = json!({ "modules": learned.modules, "own": learned.own, "scripts": learned.scripts, "app": app });
        // If the queue is full, it is not worth waiting for.
        let _ = self.orders.try_send(Order::new(b'P', &order, Vec::new()));
    }

    /// Asks it to fork; answers with the process's number as the zygote sees it.
    pub(crate) async fn fork(&self, serial: u64, order: &serde_json::Value, descriptors: Vec<OwnedFd>) -> Forked {
        let (reply, answer) = oneshot::channel();
        {
            let mut words = self.words();
            if let Some(why) = &words.refused {
                return Err(Failure::Refused(why.clone()));
            }
            if words.gone {
                return Err(Failure::Gone);
            }
            words.forks.insert(serial, reply);
        }
        self.orders.send(Order::new(b'F', order, descriptors)).await.map_err(|_| Failure::Gone)?;
        answer.await.unwrap_or(Err(Failure::Gone))
    }

    /// Asks how a forked process ended, which frees its number; kills it first if it is to. `None` from the receiver if nobody knows.
    pub(crate) fn reap(&self, serial: u64, pid: i32, kill: bool) -> oneshot::Receiver<ExitStatus> {
        let (reply, answer) = oneshot::channel();
        let mut words = self.words();
        if !words.gone {
            words.ends.insert(serial, reply);
            let _ = self.orders.try_send(Order::new(b'R', &json!({ "serial": serial, "pid": pid, "kill": kill }), Vec::new()));
        }
        answer
    }

    fn words(&self) -> MutexGuard<'_, Words> {
        self.words.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Order {
    fn new(kind: u8, value: &serde_json::Value, descriptors: Vec<OwnedFd>) -> Self {
        let payload = value.to_string();
        let mut frame = Vec::with_capacity(payload.len() + 5);
        frame.push(kind);
        frame.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes());
        frame.extend_from_slice(payload.as_bytes());
        Self { frame, descriptors }
    }
}

/// Sends orders until nobody gives any more or the zygote is gone.
async fn write(mut socket: OwnedWriteHalf, orders: &mut mpsc::Receiver<Order>) {
    while let Some(order) = orders.recv().await {
        if socket.write_all(&order.frame).await.is_err() {
            return;
        }
        for descriptor in order.descriptors {
            if pass(socket.as_ref(), &descriptor).await.is_err() {
                return;
            }
        }
    }
}

/// Hands over one descriptor with one byte: all that Python 2.7 can receive at once.
async fn pass(socket: &UnixStream, descriptor: &OwnedFd) -> io::Result<()> {
    loop {
        socket.writable().await?;
        let sent = socket.try_io(Interest::WRITABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            let descriptors = [descriptor.as_fd()];
            control.push(SendAncillaryMessage::ScmRights(&descriptors));
            Ok(rustix::net::sendmsg(socket, &[IoSlice::new(b"!")], &mut control, SendFlags::NOSIGNAL)?)
        });
        match sent {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// Hears the zygote until it is gone.
async fn read(mut socket: OwnedReadHalf, words: Arc<Mutex<Words>>) {
    while let Some((kind, payload)) = frame(&mut socket).await {
        let Ok(word) = serde_json::from_slice::<Word>(&payload) else { break };
        words.lock().unwrap_or_else(PoisonError::into_inner).hear(kind, word);
    }
    let mut words = words.lock().unwrap_or_else(PoisonError::into_inner);
    words.gone = true;
    // Who waits hears that by the end of the channels.
    words.forks.clear();
    words.ends.clear();
}

/// The next frame: its kind and payload; `None` at the end or at what is no frame.
pub(crate) async fn frame(socket: &mut OwnedReadHalf) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 5];
    socket.read_exact(&mut head).await.ok()?;
    let [kind, length @ ..] = head;
    let length = u32::from_be_bytes(length);
    if length > LONGEST {
        return None;
    }
    let mut payload = vec![0; length as usize];
    socket.read_exact(&mut payload).await.ok()?;
    Some((kind, payload))
}

impl Words {
    fn hear(&mut self, kind: u8, word: Word) {
        match kind {
            b'f' => {
                if let Some(reply) = self.forks.remove(&word.serial) {
                    let _ = reply.send(if word.error.is_empty() { Ok(word.pid) } else { Err(Failure::Failed(word.error)) });
                }
            }
            b'x' => {
                if let Some(reply) = self.ends.remove(&word.serial) {
                    let _ = reply.send(ExitStatus::from_raw(word.status));
                }
            }
            b'n' => {
                for (_, reply) in self.forks.drain() {
                    let _ = reply.send(Err(Failure::Refused(word.why.clone())));
                }
                self.refused.get_or_insert(word.why);
            }
            _ => {}
        }
    }
}
