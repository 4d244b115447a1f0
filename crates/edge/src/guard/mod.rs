//! The guard: reads requests out of the bytes of an HTTP/1 connection and refuses what two parsers could read differently (RFC 9112 §6.3,
//! §11.2). Pure: bytes in, requests and pieces of bodies out.
//!
//! It is the only reader of these bytes: what it does not hand out reaches nobody (docs/decisions/044-request-guard.md).

pub(crate) mod chunk;
mod head;
mod mend;

use bytes::{Buf, Bytes, BytesMut};
use http::request::Parts;

use crate::forward::response::Part;
use chunk::Chunks;
use head::{Done, Head};

/// What a request is refused with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// 400, 405, 408, 414, 417, 431 or 505.
    pub(crate) status: u16,
    /// Why, for the client and the log.
    pub(crate) reason: &'static str,
}

impl Refusal {
    pub(crate) const fn bad(reason: &'static str) -> Self {
        Self { status: 400, reason }
    }
}

/// Bounds of a request head.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Bytes of the request line.
    pub(crate) line: usize,
    /// Bytes of the whole head.
    pub(crate) bytes: usize,
    /// Header fields.
    pub(crate) fields: usize,
}

/// How a request's body is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(u64),
    Chunked,
}

/// What a head says about the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) framing: Framing,
    /// The client speaks HTTP/1.0.
    pub(crate) old: bool,
    /// It wants to go on after this request.
    pub(crate) keep: bool,
    /// It waits for `100 Continue` before it sends the body.
    pub(crate) expects: bool,
}

enum Phase {
    Head,
    Body(u64),
    Chunks(Chunks),
    /// Nothing is read any more.
    Over,
}

/// The state of one connection.
pub(crate) struct Guard {
    bounds: Bounds,
    phase: Phase,
    /// The head that is being read; kept for its memory.
    head: Head,
    skipped: usize,
}

/// Empty lines that are tolerated before a request line (RFC 9112 §2.2 asks for at least one).
const EMPTY_LINES: usize = 4;

impl Guard {
    /// A guard at the start of a connection.
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self { bounds, phase: Phase::Head, head: Head::default(), skipped: 0 }
    }

    /// Takes the next head out of `input` and writes the request into `parts`. `None` while it is not complete. After a refusal nothing is
    /// read any more.
    pub(crate) fn head(&mut self, input: &mut BytesMut, parts: &mut Parts) -> Result<Option<Shape>, Refusal> {
        if !matches!(self.phase, Phase::Head) {
            return Ok(None);
        }
        let result = self.next(input, parts);
        if result.is_err() {
            self.give_up();
        }
        result
    }

    fn next(&mut self, input: &mut BytesMut, parts: &mut Parts) -> Result<Option<Shape>, Refusal> {
        while self.head.is_new() && input.starts_with(b"\r\n") {
            self.skipped += 1;
            if self.skipped > EMPTY_LINES {
                return Err(Refusal::bad("too many empty lines before the request line"));
            }
            input.advance(2);
        }
        if input.is_empty() || (self.head.is_new() && **input == *b"\r") {
            return Ok(None);
        }
        let Some(Done { length, odd, shape }) = self.head.read(input, &self.bounds)? else { return Ok(None) };
        let bytes = input.split_to(length).freeze();
        if odd {
            self.mended(&bytes, parts)?;
        } else {
            self.head.request(&bytes, parts)?;
        }
        self.head.renew();
        self.skipped = 0;
        self.phase = match shape.framing {
            Framing::Length(0) => Phase::Head,
            Framing::Length(left) => Phase::Body(left),
            Framing::Chunked => Phase::Chunks(Chunks::default()),
        };
        Ok(Some(shape))
    }

    /// The request of a head that is in order but odd, put in plain words first.
    fn mended(&self, bytes: &[u8], parts: &mut Parts) -> Result<(), Refusal> {
        let plain = Bytes::from(mend::mend(bytes));
        let mut head = Head::default();
        // Escapes make it longer, by three times at most, and a coding may have become a field more.
        let Bounds { line, bytes, fields } = self.bounds;
        let bounds = Bounds { line: line * 3, bytes: bytes * 3 + 64, fields: fields + 1 };
        match head.read(&plain, &bounds)? {
            Some(_) => head.request(&plain, parts),
            None => Err(Refusal::bad("the request is malformed")),
        }
    }

    /// Takes the next piece of the current request's body out of `input`; an error is a body that cannot be followed any more.
    pub(crate) fn body(&mut self, input: &mut BytesMut) -> Result<Part, &'static str> {
        let part = match &mut self.phase {
            Phase::Head => return Ok(Part::End),
            Phase::Over => return Err("the request was refused"),
            Phase::Body(_) | Phase::Chunks(_) if input.is_empty() => return Ok(Part::More),
            Phase::Body(left) => {
                let here = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= here as u64;
                let over = *left == 0;
                let data = Part::Data(input.split_to(here).freeze());
                if over {
                    self.phase = Phase::Head;
                }
                return Ok(data);
            }
            Phase::Chunks(chunks) => chunks.decode(input),
        };
        match part {
            Ok(Part::End) => self.phase = Phase::Head,
            Err(_) => self.phase = Phase::Over,
            Ok(_) => {}
        }
        part
    }

    /// Gives up on the head that is being read, as if it had been refused.
    pub(crate) fn give_up(&mut self) {
        self.phase = Phase::Over;
    }

    /// Whether the next byte begins (or goes on with) a head.
    pub(crate) fn between(&self) -> bool {
        matches!(self.phase, Phase::Head)
    }

    /// Bytes of the body that are still to be handed out; `None` if that is not known.
    pub(crate) fn left(&self) -> Option<u64> {
        match self.phase {
            Phase::Head => Some(0),
            Phase::Body(left) => Some(left),
            Phase::Chunks(_) | Phase::Over => None,
        }
    }

    /// Gives memory back.
    pub(crate) fn shrink(&mut self) {
        if self.head.is_new() {
            self.head = Head::default();
        }
    }
}

#[cfg(test)]
mod tests;
