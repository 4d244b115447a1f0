//! Asking the Python agent over its Unix socket: one write for a small request, one read for a small response, both bodies streamed otherwise.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use model::pool::{Lease, Outcome};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;

use super::frames::{self, Ending, Event, Reader};
use super::{Notes, Reply};
use crate::body::{Aborted, Kind};
use crate::core::Core;
use crate::fault::Fault;
use crate::sweep::{Alarm, millis};
use crate::upload::Upload;

/// Idle connections.
#[derive(Default)]
pub(crate) struct Agents(RefCell<HashMap<u64, Vec<Wire>>>);

/// One connection to an agent.
struct Wire {
    stream: UnixStream,
    input: BytesMut,
    out: Vec<u8>,
    alarm: Rc<Alarm>,
    since: u64,
}

/// Buffers larger than this are not kept by idle connections.
const KEPT: usize = 16 * 1024;

impl Wire {
    /// Whether the agent closed it, or said something that nobody asked for. Costs no system call unless there is news.
    fn stale(&self) -> bool {
        let mut byte = [0];
        !matches!(self.stream.try_read(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl Agents {
    fn take(&self, serial: u64) -> Option<Wire> {
        let mut idle = self.0.borrow_mut();
        let wires = idle.get_mut(&serial)?;
        while let Some(wire) = wires.pop() {
            if !wire.stale() {
                return Some(wire);
            }
        }
        None
    }

    fn keep(&self, serial: u64, mut wire: Wire, most: usize) {
        wire.out.clear();
        if wire.out.capacity() > KEPT {
            wire.out = Vec::new();
        }
        let mut idle = self.0.borrow_mut();
        let wires = idle.entry(serial).or_default();
        if wires.len() < most {
            wires.push(wire);
        }
    }

    pub(super) fn prune(&self, oldest: u64) {
        self.0.borrow_mut().retain(|_, wires| {
            wires.retain(|wire| wire.since >= oldest && !wire.stale());
            !wires.is_empty()
        });
    }
}

/// A request for an agent.
pub(crate) struct Question {
    pub(crate) lease: Lease,
    pub(crate) upload: Upload,
    /// The whole response is collected before any of it is sent on (first generation).
    pub(crate) buffered: bool,
    pub(crate) deadline: Duration,
    pub(crate) notes: Rc<Notes>,
}

/// Sends a request whose environ `write` appends, and waits for the head of the answer.
pub(crate) async fn ask(core: &Rc<Core>, socket: &Path, question: Question, write: impl FnOnce(&mut Vec<u8>)) -> Result<Reply, Fault> {
    let serial = question.lease.instance.serial;
    let mut wire = match core.idle.agents.take(serial) {
        Some(wire) => wire,
        None => connect(core, socket).await?,
    };
    let start = frames::begin_request(&mut wire.out, !question.upload.is_empty(), question.buffered);
    write(&mut wire.out);
    frames::seal(&mut wire.out, start);
    wire.alarm.set(Some(core.sweep.now() + millis(question.deadline)));
    let uploading = !question.upload.is_empty();
    let buffered = question.buffered;
    let mut exchange = Exchange {
        core: core.clone(),
        wire: Some(wire),
        sent: 0,
        upload: question.upload,
        uploading,
        reader: Reader::default(),
        notes: question.notes,
        lease: Some(question.lease),
        left: core.house.options.limits.response_body,
    };
    let (status, headers) = exchange.head().await?;
    if buffered {
        let body = exchange.rest().await?;
        return Ok(Reply { status, headers, body: Kind::Whole(body) });
    }
    exchange.stream(status, headers)
}

async fn connect(core: &Core, socket: &Path) -> Result<Wire, Fault> {
    let limit = core.house.options.timeouts.connect;
    let attempt = async {
        loop {
            match UnixStream::connect(socket).await {
                // The queue of the listening socket is full: unlike TCP, Unix sockets say so at once.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => tokio::time::sleep(Duration::from_millis(5)).await,
                other => return other,
            }
        }
    };
    let stream = match core.sweep.within(limit, attempt).await {
        Some(Ok(stream)) => stream,
        Some(Err(error)) => return Err(Fault::Died(format!("the instance's socket cannot be reached: {error}"))),
        None => return Err(Fault::Died("the instance's socket does not accept connections".into())),
    };
    let alarm = core.sweep.alarm(limit);
    alarm.set(None);
    Ok(Wire { stream, input: BytesMut::new(), out: Vec::with_capacity(2048), alarm, since: 0 })
}

/// One request under way.
struct Exchange {
    core: Rc<Core>,
    /// Taken once the exchange is over.
    wire: Option<Wire>,
    /// Bytes of `wire.out` that were sent.
    sent: usize,
    upload: Upload,
    uploading: bool,
    reader: Reader,
    notes: Rc<Notes>,
    lease: Option<Lease>,
    /// Bytes of body that the response may still have.
    left: u64,
}

impl Exchange {
    /// Sends what can be sent now. An agent that stopped reading may still have answered, so a failed write only ends the sending.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        let Some(wire) = &mut self.wire else { return Ok(()) };
        loop {
            while self.sent < wire.out.len() {
                match Pin::new(&mut wire.stream).poll_write(cx, &wire.out[self.sent..]) {
                    Poll::Ready(Ok(length)) if length > 0 => self.sent += length,
                    Poll::Ready(_) => {
                        self.uploading = false;
                        self.sent = wire.out.len();
                    }
                    Poll::Pending => return Ok(()),
                }
            }
            if !self.uploading {
                return Ok(());
            }
            wire.out.clear();
            self.sent = 0;
            loop {
                match self.upload.poll_piece(cx) {
                    Poll::Pending => break,
                    Poll::Ready(Some(Ok(piece))) => frames::body(&mut wire.out, &piece),
                    Poll::Ready(Some(Err(cut))) => return Err(Fault::Cut(cut)),
                    Poll::Ready(None) => {
                        frames::body_end(&mut wire.out);
                        self.uploading = false;
                        break;
                    }
                }
                if wire.out.len() >= KEPT {
                    break;
                }
            }
            if wire.out.is_empty() {
                return Ok(());
            }
        }
    }

    /// The next event other than a log line.
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event, Fault>> {
        loop {
            self.poll_send(cx)?;
            if let Some(event) = self.ready_event()? {
                return Poll::Ready(Ok(event));
            }
            match self.poll_input(cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(self.died("it closed the connection"))),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.died(&error.to_string()))),
                Poll::Pending => {
                    if let Some(wire) = &self.wire {
                        ready!(wire.alarm.poll(cx));
                    }
                    self.outcome(Outcome::TimedOut);
                    return Poll::Ready(Err(Fault::Deadline));
                }
            }
        }
    }

    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(wire) = &mut self.wire else { return Poll::Ready(Ok(0)) };
        let mut scratch = self.core.scratch.borrow_mut();
        let mut buffer = ReadBuf::new(&mut scratch);
        ready!(Pin::new(&mut wire.stream).poll_read(cx, &mut buffer))?;
        wire.input.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// The next event that is here already.
    fn ready_event(&mut self) -> Result<Option<Event>, Fault> {
        let Some(wire) = &mut self.wire else { return Ok(None) };
        loop {
            match self.reader.next(&mut wire.input) {
                Ok(Some(Event::Line(severity, text))) => self.notes.line(severity, &text),
                Ok(Some(Event::Data(piece))) => {
                    match self.left.checked_sub(piece.len() as u64) {
                        Some(left) => self.left = left,
                        None => return Err(Fault::ResponseTooLarge),
                    }
                    return Ok(Some(Event::Data(piece)));
                }
                Ok(event) => return Ok(event),
                Err(broken) => {
                    self.outcome(Outcome::Broken);
                    return Err(Fault::Garbage(broken.to_string()));
                }
            }
        }
    }

    fn died(&mut self, how: &str) -> Fault {
        self.outcome(Outcome::Broken);
        Fault::Died(format!("the instance died while it handled the request: {how}"))
    }

    fn outcome(&mut self, outcome: Outcome) {
        if let Some(lease) = &mut self.lease {
            lease.outcome = outcome;
        }
    }

    /// The exchange is over: the lease ends, and the connection is kept if it can serve again.
    fn over(&mut self, ending: Ending, cpu_us: u64, detail: String) -> Result<(), Fault> {
        self.notes.cpu.set(Some(Duration::from_micros(cpu_us)));
        self.outcome(match ending {
            Ending::Replace => Outcome::Replace,
            Ending::Deadline => Outcome::TimedOut,
            _ => Outcome::Answered,
        });
        let lease = self.lease.take();
        if let (Some(mut wire), Some(lease)) = (self.wire.take(), lease)
            && wire.input.is_empty()
            && !self.uploading
            && self.sent == wire.out.len()
            && ending != Ending::Replace
        {
            wire.alarm.set(None);
            wire.since = self.core.sweep.now();
            self.core.idle.agents.keep(lease.instance.serial, wire, self.core.house.options.limits.idle_per_instance);
        }
        match ending {
            Ending::Answered | Ending::Replace => Ok(()),
            Ending::Exception => Err(Fault::App(detail)),
            Ending::Missing => Err(Fault::NoScript(detail)),
            Ending::Deadline => Err(Fault::Deadline),
            // As the SDK: what breaks the rules of WSGI is the app's error, not the platform's view of a broken instance.
            Ending::Invalid => Err(Fault::App(detail)),
        }
    }

    async fn head(&mut self) -> Result<(StatusCode, HeaderMap), Fault> {
        match std::future::poll_fn(|cx| self.poll_event(cx)).await? {
            Event::Head(status, headers) => Ok((status, headers)),
            Event::End { ending, cpu_us, detail } => {
                self.over(ending, cpu_us, detail)?;
                Err(Fault::Garbage("the app answered nothing".into()))
            }
            Event::Data(_) | Event::Line(..) => Err(Fault::Garbage("the agent sent a body before its head".into())),
        }
    }

    /// Collects the rest of the response.
    async fn rest(&mut self) -> Result<Bytes, Fault> {
        let mut pieces = Pieces::default();
        loop {
            match std::future::poll_fn(|cx| self.poll_event(cx)).await? {
                Event::Data(piece) => pieces.push(piece),
                Event::End { ending, cpu_us, detail } => {
                    self.over(ending, cpu_us, detail)?;
                    return Ok(pieces.join());
                }
                Event::Head(..) | Event::Line(..) => return Err(Fault::Garbage("the agent sent a second head".into())),
            }
        }
    }

    /// Whatever of the body is here already goes out with its length if it is all; the rest is streamed.
    fn stream(mut self, status: StatusCode, headers: HeaderMap) -> Result<Reply, Fault> {
        let mut pieces = Pieces::default();
        while let Some(event) = self.ready_event()? {
            match event {
                Event::Data(piece) => pieces.push(piece),
                Event::End { ending, cpu_us, detail } => {
                    self.over(ending, cpu_us, detail)?;
                    return Ok(Reply { status, headers, body: Kind::Whole(pieces.join()) });
                }
                Event::Head(..) | Event::Line(..) => return Err(Fault::Garbage("the agent sent a second head".into())),
            }
        }
        let first = Some(pieces.join()).filter(|first| !first.is_empty());
        let body = Kind::Agent(Box::new(AgentStream { first, exchange: self, over: false, announced: None, last: None }));
        Ok(Reply { status, headers, body })
    }
}

/// Pieces of a body that are joined at the end; a single one is not copied.
#[derive(Default)]
struct Pieces {
    first: Bytes,
    more: BytesMut,
}

impl Pieces {
    fn push(&mut self, piece: Bytes) {
        if self.first.is_empty() {
            self.first = piece;
        } else {
            if self.more.is_empty() {
                self.more.extend_from_slice(&self.first);
            }
            self.more.extend_from_slice(&piece);
        }
    }

    fn join(self) -> Bytes {
        if self.more.is_empty() { self.first } else { self.more.freeze() }
    }
}

/// The rest of a response that is streamed.
pub(crate) struct AgentStream {
    first: Option<Bytes>,
    exchange: Exchange,
    over: bool,
    /// Bytes that are still to come, if the app said how many.
    announced: Option<u64>,
    last: Option<Bytes>,
}

impl AgentStream {
    pub(crate) fn expect_length(&mut self, length: u64) {
        self.announced = Some(length);
    }

    pub(crate) fn length(&self) -> Option<u64> {
        self.announced
    }

    pub(crate) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Aborted>>> {
        let Some(left) = self.announced else { return self.poll_any(cx) };
        if self.last.is_none() {
            let piece = ready!(self.poll_any(cx));
            let Some(Ok(data)) = piece else { return Poll::Ready(piece) };
            match left.checked_sub(data.len() as u64) {
                None => return Poll::Ready(Some(Err(Aborted("the response is longer than its Content-Length")))),
                // Nobody asks again after the last byte of a known length, so its last piece waits for the agent's end.
                Some(0) => self.last = Some(data),
                Some(rest) => {
                    self.announced = Some(rest);
                    return Poll::Ready(Some(Ok(data)));
                }
            }
        }
        match ready!(self.poll_any(cx)) {
            None => {
                self.announced = Some(0);
                Poll::Ready(self.last.take().map(Ok))
            }
            Some(Ok(_)) => Poll::Ready(Some(Err(Aborted("the response is longer than its Content-Length")))),
            error => Poll::Ready(error),
        }
    }

    fn poll_any(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Aborted>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        if self.over {
            return Poll::Ready(None);
        }
        let fault = match ready!(self.exchange.poll_event(cx)) {
            Ok(Event::Data(piece)) => return Poll::Ready(Some(Ok(piece))),
            Ok(Event::End { ending, cpu_us, detail }) => {
                self.over = true;
                match self.exchange.over(ending, cpu_us, detail) {
                    Ok(()) => return Poll::Ready(None),
                    Err(fault) => fault,
                }
            }
            Ok(Event::Head(..) | Event::Line(..)) => Fault::Garbage("the agent sent a second head".into()),
            Err(fault) => fault,
        };
        self.over = true;
        self.exchange.notes.fault.replace(Some(fault.log()));
        Poll::Ready(Some(Err(Aborted("the response could not be finished"))))
    }
}
