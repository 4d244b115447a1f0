//! A request's body on its way to an instance, whatever it comes from: counted, paced, its trailers dropped.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use hyper::body::Incoming;

use crate::core::Core;
use crate::link::Pace;
use crate::sweep::{Alarm, millis};

/// Why a body could not be read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Cut {
    /// 413.
    #[error("the request's body is too large")]
    TooLarge,
    /// 408.
    #[error("the request's body came too slowly")]
    TooSlow,
    /// 400: malformed chunks, or fewer bytes than announced.
    #[error("the request's body is malformed or incomplete")]
    Broken,
}

/// A body.
pub(crate) struct Upload {
    source: Source,
    /// Bytes that may still come.
    left: u64,
    patience: Option<Box<Patience>>,
    /// What an instance was given so far.
    given: Given,
    /// Given before anything else: an instance that broke down had it already.
    ahead: Option<Bytes>,
}

/// What was given of a body, for another instance to get it too.
enum Given {
    Nothing,
    Kept(Bytes),
    /// Too much to be kept.
    Lost,
}

/// Pieces are kept up to this size together; a single one, which is shared and not copied, up to the other.
const KEPT: usize = 64 * 1024;
const KEPT_WHOLE: usize = 1024 * 1024;

impl Given {
    fn add(&mut self, piece: &Bytes) {
        *self = match std::mem::replace(self, Self::Lost) {
            Self::Nothing if piece.len() <= KEPT_WHOLE => Self::Kept(piece.clone()),
            Self::Kept(before) if before.len() + piece.len() <= KEPT => Self::Kept([before, piece.clone()].concat().into()),
            _ => Self::Lost,
        };
    }
}

enum Source {
    Empty,
    Whole(Bytes),
    /// HTTP/1: read from the connection when it is asked for.
    Wire(Rc<dyn Inlet>),
    /// HTTP/2.
    Stream(Incoming),
}

/// A connection that the body of its current request is read from.
pub(crate) trait Inlet {
    /// The next piece, never empty.
    fn poll_piece(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>>;

    /// Bytes that are still to come, if that is known.
    fn length(&self) -> Option<u64>;
}

/// HTTP/2 bodies are timed here; those of HTTP/1 at the socket.
struct Patience {
    core: Rc<Core>,
    alarm: Rc<Alarm>,
    pace: Pace,
}

impl Upload {
    /// The body of an HTTP/2 request.
    pub(crate) fn stream(body: Incoming, core: &Rc<Core>) -> Self {
        if body.is_end_stream() {
            return Self::empty();
        }
        let alarm = core.sweep.alarm(core.house.options.timeouts.stall);
        alarm.set(None);
        let patience = Box::new(Patience { core: core.clone(), alarm, pace: Pace::default() });
        Self { patience: Some(patience), ..Self::of(Source::Stream(body), core.house.options.limits.request_body) }
    }

    /// The body of the current request of an HTTP/1 connection.
    pub(crate) fn wire(wire: Rc<dyn Inlet>, core: &Core) -> Self {
        Self::of(Source::Wire(wire), core.house.options.limits.request_body)
    }

    /// No body.
    pub(crate) fn empty() -> Self {
        Self::of(Source::Empty, 0)
    }

    fn of(source: Source, left: u64) -> Self {
        Self { source, left, patience: None, given: Given::Nothing, ahead: None }
    }

    /// A body that was collected before.
    pub(crate) fn whole(bytes: Bytes) -> Self {
        let left = bytes.len() as u64;
        Self::of(if bytes.is_empty() { Source::Empty } else { Source::Whole(bytes) }, left)
    }

    /// Its length, if known in advance.
    pub(crate) fn length(&self) -> Option<u64> {
        let rest = match &self.source {
            Source::Empty => Some(0),
            Source::Whole(bytes) => Some(bytes.len() as u64),
            Source::Wire(wire) => wire.length(),
            Source::Stream(body) => body.size_hint().exact(),
        };
        rest.map(|rest| rest + self.ahead.as_ref().map_or(0, |ahead| ahead.len() as u64))
    }

    /// The same body from its beginning, unless too much of it was given away.
    pub(crate) fn rewind(mut self) -> Option<Self> {
        match std::mem::replace(&mut self.given, Given::Nothing) {
            Given::Nothing => Some(self),
            Given::Kept(bytes) => {
                debug_assert!(self.ahead.is_none(), "what is ahead is given first");
                self.ahead = Some(bytes);
                Some(self)
            }
            Given::Lost => None,
        }
    }

    /// Whether it is larger than allowed, before a byte of it was read.
    pub(crate) fn too_large(&self) -> bool {
        self.length().is_some_and(|length| length > self.left)
    }

    pub(crate) fn is_empty(&self) -> bool {
        matches!(self.source, Source::Empty) && self.ahead.is_none()
    }

    fn fail(&mut self, cut: Cut) -> Poll<Option<Result<Bytes, Cut>>> {
        self.source = Source::Empty;
        Poll::Ready(Some(Err(cut)))
    }

    /// The next piece for an instance.
    pub(crate) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        let polled = match self.ahead.take() {
            Some(ahead) => Poll::Ready(Some(Ok(ahead))),
            None => self.poll_source(cx),
        };
        match &polled {
            Poll::Ready(Some(Ok(piece))) => self.given.add(piece),
            Poll::Ready(Some(Err(_))) => self.given = Given::Lost,
            _ => {}
        }
        polled
    }

    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        let piece = match &mut self.source {
            Source::Empty => None,
            Source::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                self.source = Source::Empty;
                return Poll::Ready(Some(Ok(bytes)));
            }
            Source::Wire(wire) => ready!(wire.poll_piece(cx)),
            Source::Stream(body) => ready!(poll_stream(body, self.patience.as_deref(), cx)),
        };
        match piece {
            None => {
                self.source = Source::Empty;
                Poll::Ready(None)
            }
            Some(Err(cut)) => self.fail(cut),
            Some(Ok(data)) => {
                let Some(left) = self.left.checked_sub(data.len() as u64) else { return self.fail(Cut::TooLarge) };
                self.left = left;
                Poll::Ready(Some(Ok(data)))
            }
        }
    }

    /// Reads all of it.
    pub(crate) async fn collect(&mut self) -> Result<Bytes, Cut> {
        let Some(first) = self.piece().await.transpose()? else { return Ok(Bytes::new()) };
        let Some(second) = self.piece().await.transpose()? else { return Ok(first) };
        let expected = self.length().and_then(|left| usize::try_from(left).ok()).unwrap_or(0);
        let mut all = BytesMut::with_capacity(first.len() + second.len() + expected.min(FORESEEN));
        all.extend_from_slice(&first);
        all.extend_from_slice(&second);
        while let Some(next) = self.piece().await.transpose()? {
            all.extend_from_slice(&next);
        }
        Ok(all.freeze())
    }

    async fn piece(&mut self) -> Option<Result<Bytes, Cut>> {
        std::future::poll_fn(|cx| self.poll_source(cx)).await
    }
}

/// Memory that is set aside on the word of a Content-Length alone.
const FORESEEN: usize = 1024 * 1024;

/// The next piece of an HTTP/2 body; trailers are dropped.
fn poll_stream(body: &mut Incoming, patience: Option<&Patience>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
    loop {
        let polled = Pin::new(&mut *body).poll_frame(cx);
        if patience.is_some_and(|patience| patience.tired(&polled, cx)) {
            return Poll::Ready(Some(Err(Cut::TooSlow)));
        }
        match ready!(polled) {
            None => return Poll::Ready(None),
            Some(Err(_)) => return Poll::Ready(Some(Err(Cut::Broken))),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if !data.is_empty() => return Poll::Ready(Some(Ok(data))),
                _ => {}
            },
        }
    }
}

impl Patience {
    fn tired<T>(&self, polled: &Poll<Option<Result<Frame<Bytes>, T>>>, cx: &Context<'_>) -> bool {
        let options = &self.core.house.options;
        let now = self.core.sweep.now();
        let most = millis(options.timeouts.stall);
        match polled {
            Poll::Pending => {
                self.pace.wait(now);
                self.alarm.set(Some(now + self.pace.left(now, most)));
                self.alarm.poll(cx).is_ready()
            }
            Poll::Ready(Some(Ok(frame))) => {
                let quota = options.limits.min_rate.saturating_mul(options.timeouts.stall.as_secs().max(1));
                self.pace.moved(frame.data_ref().map_or(0, Bytes::len), now, quota);
                self.alarm.set(None);
                false
            }
            Poll::Ready(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(upload: &mut Upload) -> Vec<u8> {
        let mut out = Vec::new();
        while let Poll::Ready(Some(piece)) = upload.poll_piece(&mut Context::from_waker(std::task::Waker::noop())) {
            out.extend_from_slice(&piece.expect("whole"));
        }
        out
    }

    #[test]
    fn a_body_can_be_given_again_and_again() {
        let mut upload = Upload::whole(Bytes::from_static(b"hello"));
        for _ in 0..3 {
            assert_eq!((upload.length(), upload.is_empty()), (Some(5), false));
            assert_eq!(all(&mut upload), b"hello");
            upload = upload.rewind().expect("kept");
        }
        assert!(Upload::whole(Bytes::new()).rewind().is_some_and(|upload| upload.is_empty()));
    }

    #[test]
    fn pieces_are_kept_while_they_are_few() {
        let mut given = Given::Nothing;
        for _ in 0..64 {
            given.add(&Bytes::from_static(&[7; 1024]));
        }
        assert!(matches!(&given, Given::Kept(bytes) if bytes.len() == KEPT));
        given.add(&Bytes::from_static(b"x"));
        assert!(matches!(given, Given::Lost));
        let mut large = Upload::whole(vec![0; KEPT_WHOLE + 1].into());
        all(&mut large);
        assert!(large.rewind().is_none());
    }
}
