//! Asking the Python agent over its Unix socket: one write for a small request, one read for a small response, both bodies streamed otherwise.

use std::io;
use std::path::Path;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use model::pool::{Lease, Outcome};
use model::retry::Reach;
use tokio::net::UnixStream;

use super::frames::{self, Ending, Event, Reader};
use super::line::{KEPT, Line};
use super::{Failed, Notes, Pieces, Reply};
use crate::body::{Aborted, Kind};
use crate::core::Core;
use crate::fault::Fault;
use crate::sweep::{Alarm, millis};
use crate::upload::Upload;

/// A request for an agent.
pub(crate) struct Question {
    pub(crate) lease: Lease,
    pub(crate) upload: Upload,
    /// The whole response is collected before any of it is sent on (first generation).
    pub(crate) buffered: bool,
    pub(crate) deadline: Duration,
    /// Rings at the deadline; the line's own does if there is none.
    pub(crate) alarm: Option<Rc<Alarm>>,
    pub(crate) notes: Rc<Notes>,
}

/// Sends a request whose environ `write` appends, and waits for the head of the answer.
pub(crate) async fn ask(core: &Rc<Core>, socket: &Path, question: Question, write: impl FnOnce(&mut Vec<u8>)) -> Result<Reply, Failed> {
    let Question { mut lease, upload, buffered, deadline, alarm, notes } = question;
    let mut line = match core.idle.agents.take(lease.instance.serial) {
        Some(line) => line,
        None => match Box::pin(connect(core, socket)).await {
            Ok(line) => line,
            Err(fault) => {
                lease.outcome = Outcome::Broken;
                return Err(Failed::after(fault, Reach::Nowhere, upload));
            }
        },
    };
    let uploading = !upload.is_empty();
    let start = frames::begin_request(&mut line.out, uploading, buffered);
    write(&mut line.out);
    frames::seal(&mut line.out, start);
    let alarm = alarm.unwrap_or_else(|| line.alarm.clone());
    alarm.set(Some(core.sweep.now() + millis(deadline)));
    let mut exchange = Exchange {
        core: core.clone(),
        line: Some(line),
        alarm,
        upload,
        uploading,
        reader: Reader::default(),
        notes,
        lease: Some(lease),
        left: core.house.options.limits.response_body,
        buffered,
        faulty: false,
    };
    let (status, headers) = match exchange.head().await {
        Ok(head) => head,
        Err(fault) => return Err(exchange.failed(fault)),
    };
    if buffered {
        return match Box::pin(exchange.rest()).await {
            Ok(body) => Ok(Reply { status, headers, body: Kind::Whole(body) }),
            Err(fault) => Err(exchange.failed(fault)),
        };
    }
    Ok(exchange.stream(status, headers)?)
}

async fn connect(core: &Core, socket: &Path) -> Result<Line<UnixStream>, Fault> {
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
    Ok(Line::new(core, stream))
}

/// One request under way.
struct Exchange {
    core: Rc<Core>,
    /// Taken once the exchange is over.
    line: Option<Line<UnixStream>>,
    alarm: Rc<Alarm>,
    upload: Upload,
    uploading: bool,
    reader: Reader,
    notes: Rc<Notes>,
    lease: Option<Lease>,
    /// Bytes of body that the response may still have.
    left: u64,
    /// First generation.
    buffered: bool,
    /// The status is 500 or above.
    faulty: bool,
}

impl Exchange {
    /// Sends what can be sent now, a small body together with its head. An agent that stopped reading may still have answered, so a failed write
    /// only ends the sending.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        let Some(line) = &mut self.line else { return Ok(()) };
        loop {
            while self.uploading && line.out.len() < KEPT {
                match self.upload.poll_piece(cx) {
                    Poll::Pending => break,
                    Poll::Ready(Some(Ok(piece))) => frames::body(&mut line.out, &piece),
                    Poll::Ready(Some(Err(cut))) => return Err(Fault::Cut(cut)),
                    Poll::Ready(None) => {
                        frames::body_end(&mut line.out);
                        self.uploading = false;
                    }
                }
            }
            if line.sent == line.out.len() {
                return Ok(());
            }
            match line.poll_flush(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(true) => {}
                Poll::Ready(false) => self.uploading = false,
            }
            if !self.uploading {
                return Ok(());
            }
            line.next();
        }
    }

    /// The end without a reply. Nothing of it went to the client yet.
    fn failed(self, fault: Fault) -> Failed {
        match (&fault, &self.line) {
            (Fault::Died(_), Some(line)) => Failed::after(fault, line.reach(), self.upload),
            _ => fault.into(),
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
                    ready!(self.alarm.poll(cx));
                    // First generation: the exception came a moment before, and the app did not let go. Nobody else can end its thread.
                    self.outcome(if self.buffered { Outcome::Replace } else { Outcome::TimedOut });
                    return Poll::Ready(Err(Fault::Deadline));
                }
            }
        }
    }

    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(line) = &mut self.line else { return Poll::Ready(Ok(0)) };
        line.poll_input(&self.core, cx)
    }

    /// The next event that is here already.
    fn ready_event(&mut self) -> Result<Option<Event>, Fault> {
        let Some(line) = &mut self.line else { return Ok(None) };
        loop {
            match self.reader.next(&mut line.input) {
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
            Ending::Exception | Ending::Invalid => Outcome::Faulty,
            _ if self.faulty => Outcome::Faulty,
            _ => Outcome::Answered,
        });
        self.alarm.set(None);
        let lease = self.lease.take();
        if let (Some(line), Some(lease)) = (self.line.take(), lease)
            && line.input.is_empty()
            && !self.uploading
            && line.sent == line.out.len()
            && ending != Ending::Replace
        {
            self.core.idle.agents.keep(&self.core, lease.instance.serial, line);
        }
        match ending {
            Ending::Answered | Ending::Replace => Ok(()),
            // As the SDK: what breaks the rules of WSGI is the app's error, too, not the platform's view of a broken instance.
            Ending::Exception | Ending::Invalid => Err(Fault::App(detail)),
            Ending::Missing => Err(Fault::NoScript(detail)),
            Ending::Deadline => Err(Fault::Deadline),
        }
    }

    async fn head(&mut self) -> Result<(StatusCode, HeaderMap), Fault> {
        match std::future::poll_fn(|cx| self.poll_event(cx)).await? {
            Event::Head(status, headers) => {
                self.faulty = status.is_server_error();
                Ok((status, headers))
            }
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
