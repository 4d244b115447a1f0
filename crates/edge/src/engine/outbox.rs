//! Bytes on their way to the client: small ones gathered, large pieces as they are, all of it in as few writes as possible.

use std::io::IoSlice;

use bytes::{Buf, Bytes};

use crate::assets::stream::Extent;

/// Pieces up to this size are copied: joining them costs less than a longer system call.
const SMALL: usize = 8 * 1024;

/// Enough gathered bytes to be worth a write.
const ENOUGH: usize = 16 * 1024;

/// How a response's body is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is none.
    Empty,
    /// So many bytes are still to come.
    Length(u64),
    Chunked,
    /// It ends with the connection.
    Close,
}

/// What is to be written: `head`, then `body`, then `tail`, then `extent`.
#[derive(Default)]
pub(super) struct Outbox {
    pub(super) head: Vec<u8>,
    sent: usize,
    body: Bytes,
    tail: &'static [u8],
    extent: Option<Extent>,
}

impl Outbox {
    /// Whether there is nothing to be written.
    pub(super) fn is_empty(&self) -> bool {
        self.sent == self.head.len() && self.body.is_empty() && self.tail.is_empty() && self.extent.is_none()
    }

    /// Whether more should be written before more is added.
    pub(super) fn is_full(&self) -> bool {
        !self.body.is_empty() || !self.tail.is_empty() || self.extent.is_some() || self.head.len() >= ENOUGH
    }

    /// Adds a piece of body. Only while there is room.
    pub(super) fn push(&mut self, piece: Bytes, framing: Framing) {
        let chunked = framing == Framing::Chunked;
        if chunked {
            number(&mut self.head, piece.len());
        }
        if piece.len() <= SMALL {
            self.head.extend_from_slice(&piece);
            if chunked {
                self.head.extend_from_slice(b"\r\n");
            }
        } else {
            self.body = piece;
            self.tail = if chunked { b"\r\n" } else { b"" };
        }
    }

    /// Adds a part of a file to a body that is not chunked. Only while there is room.
    pub(super) fn lend(&mut self, extent: Extent) {
        self.extent = Some(extent);
    }

    /// The part of a file that is to be sent once there are no more slices.
    pub(super) fn lent(&mut self) -> Option<&mut Extent> {
        self.extent.as_mut()
    }

    /// Lets go of a part of a file that was sent.
    pub(super) fn settle(&mut self) {
        self.extent.take_if(|extent| extent.left() == 0);
    }

    /// The body is complete.
    pub(super) fn end(&mut self, framing: Framing) {
        if framing != Framing::Chunked {
            return;
        }
        match self.tail {
            [] => self.head.extend_from_slice(b"0\r\n\r\n"),
            // A part of the line end may have been written.
            [_] => self.tail = b"\n0\r\n\r\n",
            _ => self.tail = b"\r\n0\r\n\r\n",
        }
    }

    /// What to write next, and how many slices of it there are.
    pub(super) fn slices(&self) -> ([IoSlice<'_>; 3], usize) {
        let head = self.head.get(self.sent..).unwrap_or_default();
        let mut all = [IoSlice::new(&[]); 3];
        let mut count = 0;
        for part in [head, &self.body, self.tail] {
            if !part.is_empty() {
                all[count] = IoSlice::new(part);
                count += 1;
            }
        }
        (all, count)
    }

    /// So many bytes were written.
    pub(super) fn advance(&mut self, length: usize) {
        let head = length.min(self.head.len() - self.sent);
        self.sent += head;
        let body = (length - head).min(self.body.len());
        self.body.advance(body);
        let tail = (length - head - body).min(self.tail.len());
        self.tail = &self.tail[tail..];
        if self.sent == self.head.len() {
            self.head.clear();
            self.sent = 0;
        }
        if self.body.is_empty() {
            // Let go of what it was a part of.
            self.body = Bytes::new();
        }
    }

    /// Gives memory back.
    pub(super) fn shrink(&mut self) {
        if self.head.is_empty() {
            self.head = Vec::new();
        }
    }
}

/// The line before a chunk.
fn number(out: &mut Vec<u8>, length: usize) {
    let mut digits = [0; 18];
    let mut at = digits.len() - 2;
    digits[at] = b'\r';
    digits[at + 1] = b'\n';
    let mut left = length;
    while left > 0 {
        at -= 1;
        digits[at] = b"0123456789abcdef"[left & 15];
        left >>= 4;
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes everything, `step` bytes at a time.
    fn drain(outbox: &mut Outbox, step: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while !outbox.is_empty() {
            let (slices, count) = outbox.slices();
            let here: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.iter().copied()).take(step).collect();
            outbox.advance(here.len());
            all.extend(here);
        }
        all
    }

    #[test]
    fn pieces_come_out_in_order_whatever_is_written_at_once() {
        let large = Bytes::from(vec![b'y'; SMALL + 5]);
        for step in [1, 7, 4096, usize::MAX] {
            let mut outbox = Outbox::default();
            outbox.head.extend_from_slice(b"head ");
            outbox.push(Bytes::from_static(b"0123456789abcdefg"), Framing::Chunked);
            assert!(!outbox.is_full());
            outbox.push(large.clone(), Framing::Chunked);
            assert!(outbox.is_full());
            let mut all = drain(&mut outbox, step);
            outbox.push(large.clone(), Framing::Chunked);
            outbox.end(Framing::Chunked);
            all.extend(drain(&mut outbox, step));
            let wide = [b"2005\r\n", &large[..], b"\r\n"].concat();
            assert_eq!(all, [b"head 11\r\n0123456789abcdefg\r\n", &wide[..], &wide, b"0\r\n\r\n"].concat());
            outbox.push(large.clone(), Framing::Length(1));
            outbox.end(Framing::Length(0));
            assert_eq!(drain(&mut outbox, step), large);
            outbox.end(Framing::Chunked);
            assert_eq!(drain(&mut outbox, step), b"0\r\n\r\n");
        }
    }
}
