//! HTTP/1.1 and HTTP/1.0 on the client's side: requests are read by [`crate::guard`], walked through the house in the connection's own task, and
//! answered in as few writes as possible (docs/decisions/047-own-engine.md).

mod encode;
mod outbox;
mod wire;

use std::future::Future;
use std::io;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Uri};

use crate::body::Body;
use crate::conn::Peer;
use crate::core::Core;
use crate::guard::Shape;
use crate::link::{Link, Verdict};
use crate::socket::Socket;
use crate::upload::Upload;
use crate::walk::{Answered, Arrival, walk};
use encode::Ask;
use outbox::Framing;
use wire::Heading;
pub(crate) use wire::{Opening, Wire};

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It is idle: its buffers can be given back.
    Nap,
    /// The last response was sent.
    Linger,
    /// The client left, was cut off, or wants no more.
    Gone,
}

/// Serves requests until the connection is idle for a while or over.
pub(crate) async fn serve<S: Socket>(core: &Rc<Core>, wire: &Rc<Wire<S>>, link: &Rc<Link>, peer: &Rc<Peer>) -> End {
    let mut parts = Request::new(()).into_parts().0;
    loop {
        let heading = std::future::poll_fn(|cx| {
            link.listen(cx);
            wire.poll_heading(cx, &mut parts)
        });
        let (shape, refusal) = match heading.await {
            Heading::Request(shape) => (shape, None),
            Heading::Refused { refusal, head } => (refused(&mut parts, head), Some(refusal)),
            Heading::Nap => return End::Nap,
            // A request may be on its way to a server that is closing.
            Heading::Closed => return if link.draining() { End::Linger } else { End::Gone },
        };
        let method = parts.method.clone();
        link.begin();
        let answered = {
            let body = if shape.framing == NO_BODY { Upload::empty() } else { Upload::wire(wire.clone(), core) };
            let arrival = Arrival {
                core,
                peer,
                parts: &mut parts,
                body,
                link: Some(link.clone()),
                stall: None,
                refusal,
                errand: None,
                stamped: true,
            };
            // Pinned where it lies: handing it to a function would copy some kilobytes.
            let walk = std::pin::pin!(walk(arrival));
            let Some(answered) = attended(wire, link, walk).await else { return End::Gone };
            answered
        };
        // The values share the input's memory; without them it can be used again.
        parts.headers.clear();
        let keep = shape.keep && !answered.close && !link.draining() && !core.house.draining.load(Ordering::Relaxed);
        let (body, framing, keep) = compose(wire, answered, &method, shape, keep);
        let mut sending = Sending { body: Some(body), framing, last: !keep, failed: false };
        let sent = std::future::poll_fn(|cx| {
            link.listen(cx);
            if link.verdict() == Verdict::Close { Poll::Ready(Err(io::ErrorKind::TimedOut.into())) } else { sending.poll(wire, link, cx) }
        });
        if sent.await.is_err() {
            return End::Gone;
        }
        if !shape.keep && wire.is_silent() {
            // The client asked for it and has nothing more to say.
            return End::Gone;
        }
        if !keep || !std::future::poll_fn(|cx| Poll::Ready(wire.at_rest(cx))).await {
            return End::Linger;
        }
    }
}

const NO_BODY: crate::guard::Framing = crate::guard::Framing::Length(0);

/// A request that is not served is answered and written down as one for `/`, whatever it was.
fn refused(parts: &mut Parts, head: bool) -> Shape {
    parts.headers.clear();
    parts.method = if head { Method::HEAD } else { Method::GET };
    parts.uri = Uri::default();
    parts.version = http::Version::HTTP_11;
    Shape { framing: NO_BODY, old: false, keep: true, expects: false }
}

/// Runs `walk` for as long as the client is there.
async fn attended<S: Socket, F: Future>(wire: &Wire<S>, link: &Link, mut walk: std::pin::Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|cx| {
        link.listen(cx);
        if link.verdict() == Verdict::Close {
            return Poll::Ready(None);
        }
        match walk.as_mut().poll(cx) {
            Poll::Ready(answered) => Poll::Ready(Some(answered)),
            Poll::Pending if !link.reading() && wire.left(cx) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Writes the head of an answer; what is left to be sent, and whether the connection goes on.
fn compose<S: Socket>(wire: &Wire<S>, answered: Answered, method: &Method, shape: Shape, keep: bool) -> (Body, Framing, bool) {
    let Answered { status, headers, body, at, .. } = answered;
    let (framing, keep) = {
        let stamp = &wire.core.stamp(at).lines;
        let ask = Ask { status, headers: &headers, stamp, method, old: shape.old, keep, length: body.length() };
        wire.compose(|out| encode::head(&mut out.head, &ask))
    };
    wire.core.spare.keep(headers);
    (body, framing, keep)
}

/// What there is to be written after a look at the body.
enum Gathered {
    /// Enough for now, or all of it.
    Enough,
    /// The body has no more for now.
    Waiting,
    /// A part of a file. Others have their turn after it, since files never make anybody wait.
    Extent,
}

/// A response's body on its way.
struct Sending {
    /// Dropped when it is complete, which ends the request.
    body: Option<Body>,
    framing: Framing,
    /// Nothing follows it.
    last: bool,
    /// It could not be finished: what there is of it is sent, then the connection ends.
    failed: bool,
}

impl Sending {
    fn poll<S: Socket>(&mut self, wire: &Wire<S>, link: &Link, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let gathered = self.gather(wire, cx);
            if self.last && self.body.is_none() && !self.failed {
                wire.finish();
            }
            ready!(wire.poll_flush(cx))?;
            if self.failed {
                return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
            }
            if self.body.is_none() {
                return Poll::Ready(Ok(()));
            }
            match gathered {
                Gathered::Enough => {}
                Gathered::Waiting if !link.reading() && wire.left(cx) => return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
                Gathered::Waiting => return Poll::Pending,
                Gathered::Extent => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
    }

    /// Takes pieces of the body until there is enough to be written.
    fn gather<S: Socket>(&mut self, wire: &Wire<S>, cx: &mut Context<'_>) -> Gathered {
        while let Some(body) = &mut self.body {
            if matches!(self.framing, Framing::Empty | Framing::Length(0)) {
                self.body = None;
                return Gathered::Enough;
            }
            if wire.compose(|out| out.is_full()) {
                return Gathered::Enough;
            }
            let extent = if matches!(self.framing, Framing::Length(_)) && wire.is_plain() { body.extent() } else { None };
            if let Some(extent) = extent {
                if self.count(extent.left()) {
                    wire.compose(|out| out.lend(extent));
                }
                return Gathered::Extent;
            }
            match body.poll_piece(cx) {
                Poll::Pending => return Gathered::Waiting,
                Poll::Ready(Some(Ok(piece))) => self.push(wire, piece),
                Poll::Ready(None) => {
                    self.failed = matches!(self.framing, Framing::Length(_));
                    wire.compose(|out| out.end(self.framing));
                    self.body = None;
                }
                Poll::Ready(Some(Err(_))) => self.fail(),
            }
        }
        Gathered::Enough
    }

    fn push<S: Socket>(&mut self, wire: &Wire<S>, piece: Bytes) {
        if self.count(piece.len() as u64) {
            wire.compose(|out| out.push(piece, self.framing));
        }
    }

    /// Counts bytes of the body. More than were announced make it fail: false.
    fn count(&mut self, length: u64) -> bool {
        if let Framing::Length(left) = &mut self.framing {
            match left.checked_sub(length) {
                Some(rest) => *left = rest,
                None => self.fail(),
            }
        }
        !self.failed
    }

    fn fail(&mut self) {
        self.failed = true;
        self.body = None;
    }
}
