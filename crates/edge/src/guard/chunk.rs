//! A chunked body, followed byte by byte (RFC 9112 §7.1).

use bytes::{Buf, BytesMut};

use super::head::{is_text, is_token};
use crate::forward::response::Part;

/// Bytes of chunk extensions and trailers that one body may carry: they are never looked at, so a client has no use for many.
const EXTRAS: usize = 8 * 1024;

#[derive(Clone, Copy)]
enum At {
    /// In a size, after so many digits.
    Size(u8),
    Extension,
    SizeEnd,
    Data,
    DataCr,
    DataLf,
    /// At the start of a trailer line, or of the line that ends the body.
    Trailer,
    TrailerName,
    TrailerValue,
    TrailerLf,
    LastLf,
}

/// Where in the body we are.
pub(crate) struct Chunks {
    at: At,
    left: u64,
    extras: usize,
}

impl Default for Chunks {
    fn default() -> Self {
        Self { at: At::Size(0), left: 0, extras: 0 }
    }
}

impl Chunks {
    /// Takes the next piece of data out of `input`.
    pub(crate) fn decode(&mut self, input: &mut BytesMut) -> Result<Part, &'static str> {
        loop {
            if let At::Data = self.at {
                let here = usize::try_from(self.left).unwrap_or(usize::MAX).min(input.len());
                if here == 0 {
                    return Ok(Part::More);
                }
                let data = input.split_to(here).freeze();
                self.left -= here as u64;
                if self.left == 0 {
                    self.at = At::DataCr;
                }
                return Ok(Part::Data(data));
            }
            let Some(&b) = input.first() else { return Ok(Part::More) };
            input.advance(1);
            if self.turn(b)? {
                return Ok(Part::End);
            }
        }
    }

    /// Takes one byte outside of data; true at the end of the body.
    fn turn(&mut self, b: u8) -> Result<bool, &'static str> {
        self.at = match (self.at, b) {
            (At::Size(digits), _) if b.is_ascii_hexdigit() => {
                if digits >= 15 {
                    return Err("a chunk size is too large");
                }
                self.left = (self.left << 4) | u64::from(hex(b));
                At::Size(digits + 1)
            }
            (At::Size(0), _) => return Err("a chunk size is missing"),
            (At::Size(_) | At::Extension, b'\r') => At::SizeEnd,
            (At::Size(_), b';') => At::Extension,
            (At::Size(_), _) => return Err("a chunk size is not a hexadecimal number"),
            (At::Extension, _) if is_text(b) => self.extra(At::Extension)?,
            (At::Extension, _) => return Err("a chunk extension holds a control character"),
            (At::SizeEnd, b'\n') if self.left == 0 => At::Trailer,
            (At::SizeEnd, b'\n') => At::Data,
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => At::Size(0),
            (At::DataCr | At::DataLf, _) => return Err("a chunk is longer than its size"),
            (At::Trailer, b'\r') => At::LastLf,
            (At::Trailer | At::TrailerName, _) if is_token(b) => self.extra(At::TrailerName)?,
            (At::TrailerName, b':') => At::TrailerValue,
            (At::TrailerValue, b'\r') => At::TrailerLf,
            (At::TrailerValue, _) if is_text(b) => self.extra(At::TrailerValue)?,
            (At::TrailerLf, b'\n') => At::Trailer,
            (At::LastLf, b'\n') => return Ok(true),
            _ => return Err("a chunked body is malformed"),
        };
        Ok(false)
    }

    fn extra(&mut self, next: At) -> Result<At, &'static str> {
        self.extras += 1;
        if self.extras > EXTRAS { Err("a chunked body carries too many extensions or trailers") } else { Ok(next) }
    }
}

fn hex(b: u8) -> u8 {
    match b {
        b'0'..=b'9' => b - b'0',
        _ => (b | 0x20) - b'a' + 10,
    }
}
