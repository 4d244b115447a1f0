//! Asking an instance that speaks HTTP/1.1 on `$PORT`: one write for a small request, one read for a small response, both bodies streamed
//! otherwise. Our own few lines instead of an HTTP library, because a library's client task and its header map cost more than the request
//! (docs/decisions/045-upstream-client.md).

use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, Method};
use model::headers::request::{ADDED, Facts, Source};
use model::pool::{Lease, Outcome};
use model::retry::{self, Reach};
use tokio::net::TcpStream;

use super::line::{KEPT, Line};
use super::response::{self, Framing, Head, Part};
use super::{Failed, Notes, Pieces, Reply};
use crate::body::{Aborted, Kind};
use crate::core::Core;
use crate::fault::Fault;
use crate::sweep::{Alarm, millis};
use crate::upload::Upload;

/// A request for an instance.
pub(crate) struct Question<'a> {
    pub(crate) lease: Lease,
    pub(crate) method: &'a Method,
    /// Path and query.
    pub(crate) target: &'a str,
    pub(crate) authority: &'a str,
    /// The client's headers, cleaned.
    pub(crate) headers: &'a HeaderMap,
    pub(crate) facts: &'a Facts<'a>,
    pub(crate) upload: Upload,
    /// The whole response is collected before any of it is sent on (first generation).
    pub(crate) buffered: bool,
    pub(crate) deadline: Duration,
    /// Rings at the deadline; the line's own does if there is none.
    pub(crate) alarm: Option<Rc<Alarm>>,
    pub(crate) notes: Rc<Notes>,
}

/// How the request's body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sending {
    /// By Content-Length.
    Plain,
    Chunked,
    /// All of it was sent, or nobody reads it.
    Over,
}

/// Sends a request and waits for the head of the answer.
pub(crate) async fn ask(core: &Rc<Core>, address: SocketAddr, question: Question<'_>) -> Result<Reply, Failed> {
    let Question { lease, method, target, authority, headers, facts, upload, buffered, deadline, alarm, notes } = question;
    let mut exchange = Exchange {
        core: core.clone(),
        line: None,
        alarm,
        upload,
        sending: Sending::Over,
        lease: Some(lease),
        left: 0,
        keep: false,
        faulty: false,
    };
    exchange.left = core.house.options.limits.response_body;
    let serial = exchange.lease.as_ref().map_or(0, |lease| lease.instance.serial);
    let mut line = match core.idle.http.take(serial) {
        Some(line) => line,
        None => match Box::pin(exchange.connect(address)).await {
            Ok(line) => line,
            Err(fault) => return Err(Failed::after(fault, Reach::Nowhere, exchange.upload)),
        },
    };
    exchange.sending = match exchange.upload.length() {
        Some(0) => Sending::Over,
        Some(_) => Sending::Plain,
        None => Sending::Chunked,
    };
    write_head(&mut line.out, method, target, authority, headers, facts, &exchange.upload);
    exchange.alarm(&line).set(Some(core.sweep.now() + millis(deadline)));
    exchange.line = Some(line);
    let head = match exchange.head(method).await {
        Err(Failure::Nothing) if exchange.may_repeat(method) => Box::pin(exchange.repeat(address, method, deadline)).await,
        other => other,
    };
    let Head { status, headers, framing, keep } = match head {
        Ok(head) => head,
        Err(failure) => return Err(exchange.failed(failure)),
    };
    exchange.keep = keep;
    exchange.faulty = status.is_server_error();
    if framing.left().is_some_and(|length| length > exchange.left) {
        exchange.outcome(Outcome::Answered);
        return Err(Fault::ResponseTooLarge.into());
    }
    let mut stream = HttpStream { exchange, framing, first: None, notes };
    let body = match stream.ready()? {
        None if buffered => Some(Box::pin(stream.collect()).await?),
        body => body,
    };
    Ok(Reply { status, headers, body: body.map_or_else(|| Kind::Http(Box::new(stream)), Kind::Whole) })
}

/// What most heads need.
const ROOM: usize = 2048;

/// The request's head. Always HTTP/1.1, whatever the client spoke: anything else would end the connection.
fn write_head(out: &mut Vec<u8>, method: &Method, target: &str, authority: &str, headers: &HeaderMap, facts: &Facts<'_>, upload: &Upload) {
    out.reserve(ROOM);
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\nhost: ");
    out.extend_from_slice(authority.as_bytes());
    out.extend_from_slice(b"\r\n");
    let mut told = false;
    for (name, value) in headers {
        told |= *name == CONTENT_LENGTH;
        if *name != HOST && *name != CONTENT_LENGTH && *name != TRANSFER_ENCODING && *name != CONNECTION {
            field(out, name.as_str(), value.as_bytes());
        }
    }
    out.extend_from_slice(facts.client.lines());
    for rule in &ADDED {
        if let Source::Request(value) = rule.value
            && let Some(value) = value(facts).bytes()
        {
            field(out, rule.header.as_str(), value);
        }
    }
    match upload.length() {
        Some(0) if !told => {}
        Some(length) => field(out, "content-length", itoa::Buffer::new().format(length).as_bytes()),
        None => field(out, "transfer-encoding", b"chunked"),
    }
    out.extend_from_slice(b"\r\n");
}

fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Why there is no head.
enum Failure {
    /// The connection ended before a byte of an answer.
    Nothing,
    /// There was none.
    Unreached(Fault),
    Fault(Fault),
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// One request under way.
struct Exchange {
    core: Rc<Core>,
    /// Taken once the exchange is over.
    line: Option<Line<TcpStream>>,
    alarm: Option<Rc<Alarm>>,
    upload: Upload,
    sending: Sending,
    lease: Option<Lease>,
    /// Bytes of body that the response may still have.
    left: u64,
    /// The connection may serve another request.
    keep: bool,
    /// The status is 500 or above.
    faulty: bool,
}

impl Exchange {
    async fn connect(&mut self, address: SocketAddr) -> Result<Line<TcpStream>, Fault> {
        let limit = self.core.house.options.timeouts.connect;
        let why = match self.core.sweep.within(limit, TcpStream::connect(address)).await {
            Some(Ok(stream)) => {
                // Best effort: without it small requests only wait longer.
                let _ = stream.set_nodelay(true);
                // The way to an instance is this machine's memory: an algorithm that paces (BBR) only costs timers there.
                let _ = rustix::net::sockopt::set_tcp_congestion(&stream, "reno");
                return Ok(Line::new(&self.core, stream));
            }
            Some(Err(error)) => format!("the instance cannot be reached at {address}: {error}"),
            None => format!("the instance does not accept connections at {address}"),
        };
        self.outcome(Outcome::Broken);
        Err(Fault::Died(why))
    }

    fn alarm<'a>(&'a self, line: &'a Line<TcpStream>) -> &'a Alarm {
        self.alarm.as_ref().unwrap_or(&line.alarm)
    }

    fn outcome(&mut self, outcome: Outcome) {
        if let Some(lease) = &mut self.lease {
            lease.outcome = if self.faulty && outcome == Outcome::Answered { Outcome::Faulty } else { outcome };
        }
    }

    /// The connection was kept, and the instance closed it meanwhile: no reason to call the instance broken, if the request may be sent twice.
    fn may_repeat(&self, method: &Method) -> bool {
        let repeatable = |line: &Line<TcpStream>| {
            line.reused && line.is_repeatable() && (line.reach() == Reach::Nowhere || retry::is_idempotent(method))
        };
        self.sending == Sending::Over && self.line.as_ref().is_some_and(repeatable)
    }

    /// Sends the same bytes on a new connection.
    async fn repeat(&mut self, address: SocketAddr, method: &Method, deadline: Duration) -> Result<Head, Failure> {
        let out = self.line.take().map(|old| old.out).unwrap_or_default();
        let mut line = self.connect(address).await.map_err(Failure::Unreached)?;
        line.out = out;
        self.alarm(&line).set(Some(self.core.sweep.now() + millis(deadline)));
        self.line = Some(line);
        self.head(method).await
    }

    fn failed(mut self, failure: Failure) -> Failed {
        let fault = match failure {
            Failure::Nothing => {
                self.outcome(Outcome::Broken);
                Fault::Died("the instance closed the connection before it answered".into())
            }
            Failure::Unreached(fault) => return Failed::after(fault, Reach::Nowhere, self.upload),
            Failure::Fault(fault) => fault,
        };
        match (&fault, &self.line) {
            (Fault::Died(_), Some(line)) => Failed::after(fault, line.reach(), self.upload),
            _ => fault.into(),
        }
    }

    /// Sends what can be sent now, a small body together with its head.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        let Some(line) = &mut self.line else { return Ok(()) };
        loop {
            while self.sending != Sending::Over && line.out.len() < KEPT {
                match self.upload.poll_piece(cx) {
                    Poll::Pending => break,
                    Poll::Ready(Some(Ok(piece))) if self.sending == Sending::Chunked => {
                        line.out.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                        line.out.extend_from_slice(&piece);
                        line.out.extend_from_slice(b"\r\n");
                    }
                    Poll::Ready(Some(Ok(piece))) => line.out.extend_from_slice(&piece),
                    Poll::Ready(Some(Err(cut))) => return Err(Fault::Cut(cut)),
                    Poll::Ready(None) => {
                        if self.sending == Sending::Chunked {
                            line.out.extend_from_slice(b"0\r\n\r\n");
                        }
                        self.sending = Sending::Over;
                    }
                }
            }
            if line.sent == line.out.len() {
                return Ok(());
            }
            match line.poll_flush(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(true) => {}
                Poll::Ready(false) => {
                    self.sending = Sending::Over;
                    self.keep = false;
                }
            }
            if self.sending == Sending::Over {
                return Ok(());
            }
            line.next();
        }
    }

    /// Sends on and takes in what came; 0 at the end.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Fault>> {
        self.poll_send(cx)?;
        let Some(line) = &mut self.line else { return Poll::Ready(Ok(0)) };
        match line.poll_input(&self.core, cx) {
            Poll::Ready(Ok(length)) => Poll::Ready(Ok(length)),
            Poll::Ready(Err(_)) => Poll::Ready(Ok(0)),
            Poll::Pending => {
                ready!(self.alarm.as_ref().unwrap_or(&line.alarm).poll(cx));
                self.outcome(Outcome::TimedOut);
                Poll::Ready(Err(Fault::Deadline))
            }
        }
    }

    async fn head(&mut self, method: &Method) -> Result<Head, Failure> {
        loop {
            let length = std::future::poll_fn(|cx| self.poll_more(cx)).await?;
            let Some(line) = &mut self.line else { return Err(Failure::Nothing) };
            if length == 0 {
                if line.input.is_empty() {
                    return Err(Failure::Nothing);
                }
                self.outcome(Outcome::Broken);
                return Err(Fault::Died("the instance closed the connection in the middle of its answer's head".into()).into());
            }
            match response::head(&mut line.input, method, || self.core.spare.take()) {
                Ok(Some(head)) => return Ok(head),
                Ok(None) => {}
                Err(why) => return Err(self.garbage(&why).into()),
            }
        }
    }

    fn garbage(&mut self, why: &str) -> Fault {
        self.outcome(Outcome::Broken);
        Fault::Garbage(format!("the app's answer is not HTTP: {why}"))
    }

    /// The response is complete.
    fn over(&mut self) {
        self.outcome(Outcome::Answered);
        if let Some(alarm) = &self.alarm {
            alarm.set(None);
        }
        let (line, lease) = (self.line.take(), self.lease.take());
        if let (Some(line), Some(lease)) = (line, lease)
            && self.keep
            && self.sending == Sending::Over
            && line.input.is_empty()
            && line.sent == line.out.len()
        {
            self.core.idle.http.keep(&self.core, lease.instance.serial, line);
        }
    }
}

/// A response's body.
pub(crate) struct HttpStream {
    exchange: Exchange,
    framing: Framing,
    /// What came with the head.
    first: Option<Bytes>,
    notes: Rc<Notes>,
}

impl HttpStream {
    pub(crate) fn length(&self) -> Option<u64> {
        let first = self.first.as_ref().map_or(0, |first| first.len() as u64);
        self.framing.left().map(|left| left + first)
    }

    /// The whole body, if it is here already; otherwise what there is of it goes first.
    fn ready(&mut self) -> Result<Option<Bytes>, Fault> {
        let mut pieces = Pieces::default();
        loop {
            match self.ready_part()? {
                Part::Data(piece) => pieces.push(piece),
                Part::End => return Ok(Some(pieces.join())),
                Part::More => {
                    self.first = Some(pieces.join()).filter(|first| !first.is_empty());
                    return Ok(None);
                }
            }
        }
    }

    /// Waits for the rest of the body.
    async fn collect(&mut self) -> Result<Bytes, Fault> {
        let mut pieces = Pieces::default();
        while let Some(piece) = std::future::poll_fn(|cx| self.poll(cx)).await {
            pieces.push(piece?);
        }
        Ok(pieces.join())
    }

    /// The next piece that is here already.
    fn ready_part(&mut self) -> Result<Part, Fault> {
        let Some(line) = &mut self.exchange.line else { return Ok(Part::End) };
        let part = self.framing.next(&mut line.input).map_err(|why| self.exchange.garbage(&why))?;
        if let Part::Data(data) = &part {
            let Some(left) = self.exchange.left.checked_sub(data.len() as u64) else {
                self.exchange.outcome(Outcome::Answered);
                return Err(Fault::ResponseTooLarge);
            };
            self.exchange.left = left;
        }
        // Nobody asks again after the last byte of a known length.
        if part == Part::End || self.framing.left() == Some(0) {
            self.exchange.over();
        }
        Ok(part)
    }

    /// Waits for more; false at the end of a body that ends with its connection.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Fault>> {
        if ready!(self.exchange.poll_more(cx))? > 0 {
            return Poll::Ready(Ok(true));
        }
        if matches!(self.framing, Framing::End) {
            self.framing = Framing::Length(0);
            self.exchange.over();
            return Poll::Ready(Ok(false));
        }
        self.exchange.outcome(Outcome::Broken);
        Poll::Ready(Err(Fault::Died("the instance closed the connection in the middle of its answer".into())))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Fault>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        loop {
            match self.ready_part() {
                Ok(Part::Data(piece)) => return Poll::Ready(Some(Ok(piece))),
                Ok(Part::End) => return Poll::Ready(None),
                Ok(Part::More) => {}
                Err(fault) => return Poll::Ready(Some(Err(fault))),
            }
            match ready!(self.poll_more(cx)) {
                Ok(true) => {}
                Ok(false) => return Poll::Ready(None),
                Err(fault) => return Poll::Ready(Some(Err(fault))),
            }
        }
    }

    pub(crate) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Aborted>>> {
        self.poll(cx).map(|piece| {
            piece.map(|piece| {
                piece.map_err(|fault| {
                    self.notes.fault.replace(Some(fault.log()));
                    Aborted("the response could not be finished")
                })
            })
        })
    }
}
