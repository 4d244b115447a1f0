//! A response's body on its way to the client, whatever it comes from.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::assets::stream::{Extent, FileStream};
use crate::forward::agent::AgentStream;
use crate::forward::http::HttpStream;
use crate::gzip::Zipped;
use crate::visit::Visit;

/// The response cannot be finished: the client sees an aborted connection or a reset stream.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Aborted(pub(crate) &'static str);

/// Where the bytes come from.
pub(crate) enum Kind {
    Empty,
    Whole(Bytes),
    File(FileStream),
    Agent(Box<AgentStream>),
    Http(Box<HttpStream>),
    Zipped(Box<Zipped>),
}

impl Kind {
    /// The next piece, never empty.
    pub(crate) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Aborted>>> {
        match self {
            Self::Empty => Poll::Ready(None),
            Self::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                Poll::Ready((!bytes.is_empty()).then_some(Ok(bytes)))
            }
            Self::File(file) => file.poll_piece(cx),
            Self::Agent(stream) => stream.poll_piece(cx),
            Self::Http(stream) => stream.poll_piece(cx),
            Self::Zipped(stream) => stream.poll_piece(cx),
        }
    }

    /// The length that the app announced: a stream that ends elsewhere is cut off.
    pub(crate) fn expect_length(&mut self, length: u64) {
        if let Self::Agent(stream) = self {
            stream.expect_length(length);
        }
    }

    /// The length, if it is known.
    pub(crate) fn length(&self) -> Option<u64> {
        match self {
            Self::Empty => Some(0),
            Self::Whole(bytes) => Some(bytes.len() as u64),
            Self::File(file) => Some(file.left()),
            Self::Agent(stream) => stream.length(),
            Self::Zipped(_) => None,
            Self::Http(stream) => stream.length(),
        }
    }
}

/// The body of an answer, with the request that it answers.
pub(crate) struct Body {
    kind: Kind,
    /// It is over when the body is.
    visit: Option<Box<Visit>>,
    /// Why it ends early; told only after hyper had a chance to send what it holds (HTTP/2).
    failed: Option<Aborted>,
}

impl Body {
    pub(crate) fn new(kind: Kind, visit: Box<Visit>) -> Self {
        Self { kind, visit: Some(visit), failed: None }
    }

    /// Its length, if it is known.
    pub(crate) fn length(&self) -> Option<u64> {
        self.kind.length()
    }

    /// The next part of a file, if it can be sent without being read.
    pub(crate) fn extent(&mut self) -> Option<Extent> {
        let Kind::File(file) = &mut self.kind else { return None };
        let extent = file.extent()?;
        if let Some(visit) = &mut self.visit {
            visit.moved(extent.left());
        }
        Some(extent)
    }

    /// The next piece, never empty.
    pub(crate) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Aborted>>> {
        let polled = self.kind.poll_piece(cx);
        if let Some(visit) = &mut self.visit {
            visit.step(&polled);
        }
        if let Poll::Ready(None) = polled {
            self.kind = Kind::Empty;
            self.visit = None;
        }
        polled
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        if let Some(failed) = self.failed.take() {
            return Poll::Ready(Some(Err(failed)));
        }
        match ready!(self.poll_piece(cx)) {
            None => Poll::Ready(None),
            Some(Ok(piece)) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            Some(Err(failed)) => {
                // An error makes hyper drop what it has not sent yet, the head included.
                self.failed = Some(failed);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.kind, Kind::Empty)
    }

    fn size_hint(&self) -> SizeHint {
        self.kind.length().map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}
