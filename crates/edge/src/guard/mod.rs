//! The guard: reads every byte of an HTTP/1 connection before the HTTP library does and refuses what two parsers could read differently
//! (RFC 9112 §6.3, §11.2). Pure: bytes in, verdicts out. [`wire`] puts it in front of a socket.
//!
//! Why a second look: hyper is lenient where request smuggling lives (Transfer-Encoding with Content-Length is repaired silently, bare LF ends a
//! line). The guard follows the body framing only to know where the next head begins.

pub(crate) mod chunk;
mod head;
mod mend;
pub(crate) mod wire;

use chunk::Chunks;
use head::{Done, Head};

/// What a request is refused with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// 400, 408, 414, 417, 431, 501 or 505.
    pub status: u16,
    /// Why, for the client and the log.
    pub reason: &'static str,
}

impl Refusal {
    pub(crate) const fn bad(reason: &'static str) -> Self {
        Self { status: 400, reason }
    }
}

/// Bounds of a request head.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Bytes of the request line.
    pub line: usize,
    /// Bytes of the whole head.
    pub bytes: usize,
    /// Header fields.
    pub fields: usize,
}

/// What to do with bytes that the guard has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Hold them back; more are needed to judge.
    More,
    /// So many are in order.
    Pass(usize),
    /// A head of so many bytes is in order once [`Guard::mend`] has rewritten it.
    Mend(usize),
    /// Leave so many out: empty lines before a request line.
    Skip(usize),
    /// The head that begins here is refused.
    Refuse(Refusal),
    /// A chunked body is malformed; it cannot be followed any more.
    Broken(&'static str),
}

enum Phase {
    Head(Head),
    Body(u64),
    Chunks(Chunks),
    /// Nothing is read any more.
    Over,
}

/// How a request's body is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    None,
    Length(u64),
    Chunked,
}

/// The state of one connection.
pub struct Guard {
    bounds: Bounds,
    phase: Phase,
    heads: u64,
    skipped: usize,
}

/// Empty lines that are tolerated before a request line (RFC 9112 §2.2 asks for at least one).
const EMPTY_LINES: usize = 4;

impl Guard {
    /// A guard at the start of a connection.
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, phase: Phase::Head(Head::default()), heads: 0, skipped: 0 }
    }

    /// Judges `bytes`: everything that was not passed or skipped before, in order.
    pub fn step(&mut self, bytes: &[u8]) -> Step {
        if bytes.is_empty() {
            return Step::More;
        }
        match &mut self.phase {
            Phase::Head(head) => {
                if head.is_new() && bytes.starts_with(b"\r\n") {
                    self.skipped += 1;
                    if self.skipped > EMPTY_LINES {
                        return self.refuse(Refusal::bad("too many empty lines before the request line"));
                    }
                    return Step::Skip(2);
                }
                if head.is_new() && bytes == b"\r" {
                    return Step::More;
                }
                match head.read(bytes, &self.bounds) {
                    Ok(None) => Step::More,
                    Ok(Some(Done { length, framing, odd })) => {
                        self.heads += 1;
                        self.skipped = 0;
                        self.phase = match framing {
                            Framing::None | Framing::Length(0) => Phase::Head(Head::default()),
                            Framing::Length(left) => Phase::Body(left),
                            Framing::Chunked => Phase::Chunks(Chunks::default()),
                        };
                        if odd { Step::Mend(length) } else { Step::Pass(length) }
                    }
                    Err(refusal) => self.refuse(refusal),
                }
            }
            Phase::Body(left) => {
                let here = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= here as u64;
                if *left == 0 {
                    self.phase = Phase::Head(Head::default());
                }
                Step::Pass(here)
            }
            Phase::Chunks(chunks) => match chunks.read(bytes) {
                Ok((here, over)) => {
                    if over {
                        self.phase = Phase::Head(Head::default());
                    }
                    Step::Pass(here)
                }
                Err(reason) => {
                    self.phase = Phase::Over;
                    Step::Broken(reason)
                }
            },
            Phase::Over => Step::More,
        }
    }

    fn refuse(&mut self, refusal: Refusal) -> Step {
        self.phase = Phase::Over;
        self.heads += 1;
        Step::Refuse(refusal)
    }

    /// The same request in plain words.
    pub fn mend(head: &[u8]) -> Vec<u8> {
        mend::mend(head)
    }

    /// Gives up on the head that is being read, as if it had been refused.
    pub(crate) fn give_up(&mut self) {
        self.phase = Phase::Over;
        self.heads += 1;
    }

    /// Heads passed and refused so far: the number of the latest request.
    pub fn heads(&self) -> u64 {
        self.heads
    }

    /// Whether the next byte begins (or goes on with) a head.
    pub fn between(&self) -> bool {
        matches!(self.phase, Phase::Head(_))
    }

    /// Bytes of a body of known length that may pass unseen.
    pub(crate) fn body_left(&self) -> Option<u64> {
        match self.phase {
            Phase::Body(left) => Some(left),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
