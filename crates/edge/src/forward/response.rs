//! Responses of HTTP/1 instances: heads and body framing (RFC 9112 §4–7). Pure: bytes in, parts out.
//!
//! Heads are read in one pass of our own: a library's parser would be followed by a second look at every name, and headers that no rule ever
//! looks at would be kept only to be removed.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use memchr::{memchr, memchr_iter};
use model::headers::response::is_unheard;

use crate::guard::chunk::Chunks;

/// Largest head that is believed.
const LARGEST_HEAD: usize = 256 * 1024;

/// Most header fields of a response.
const FIELDS: usize = 256;

/// The head of a response.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) framing: Framing,
    /// The connection may serve another request.
    pub(crate) keep: bool,
}

/// How its body ends.
pub(crate) enum Framing {
    /// After so many bytes.
    Length(u64),
    Chunked(Chunks),
    /// With the connection.
    End,
}

impl std::fmt::Debug for Framing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Length(length) => write!(f, "Length({length})"),
            Self::Chunked(_) => f.write_str("Chunked"),
            Self::End => f.write_str("End"),
        }
    }
}

/// A piece of a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Data(Bytes),
    /// The body is complete.
    End,
    /// More must come.
    More,
}

/// Why an answer is none.
type Garbage = String;

/// Takes the next final head out of `input`; interim ones (1xx) are skipped. `None` while it is not complete. `spare` gives an empty map.
pub(crate) fn head(input: &mut BytesMut, method: &Method, spare: impl Fn() -> HeaderMap) -> Result<Option<Head>, Garbage> {
    loop {
        let mut ends = Ends::default();
        let Some(end) = end_of_head(input, &mut ends) else {
            if input.len() > LARGEST_HEAD {
                return Err("its head is larger than 256 KiB".into());
            }
            // A few bytes tell whether it can become HTTP at all.
            let known = input.len().min(5);
            return if input[..known] == b"HTTP/"[..known] { Ok(None) } else { Err("it does not begin with HTTP/".into()) };
        };
        let head = parse(&input.split_to(end).freeze(), &ends, method, spare())?;
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err("it switches protocols, which is not possible here".into());
        }
        if !head.status.is_informational() {
            return Ok(Some(head));
        }
    }
}

fn end_of_head(input: &[u8], ends: &mut Ends) -> Option<usize> {
    memchr_iter(b'\n', input).find_map(|at| {
        ends.push(at);
        match input.get(at + 1..) {
            Some([b'\n', ..]) => Some(at + 2),
            Some([b'\r', b'\n', ..]) => Some(at + 3),
            _ => None,
        }
    })
}

/// Where a head's first lines end, as was seen while its own end was looked for.
#[derive(Default)]
struct Ends {
    at: [usize; 32],
    count: usize,
}

impl Ends {
    fn push(&mut self, at: usize) {
        if let Some(slot) = self.at.get_mut(self.count) {
            *slot = at;
            self.count += 1;
        }
    }

    /// The end of line `number`, which begins at `start`.
    fn of(&self, number: usize, start: usize, bytes: &[u8]) -> Option<usize> {
        if number < self.count { self.at.get(number).copied() } else { memchr(b'\n', &bytes[start..]).map(|at| start + at) }
    }
}

/// What the headers say about the transfer.
#[derive(Default)]
struct Transfer {
    /// Nothing follows the head, whatever they say.
    bare: bool,
    length: Option<Range<usize>>,
    /// The last Transfer-Encoding.
    coding: Option<Range<usize>>,
    close: bool,
    keep_alive: bool,
}

fn parse(bytes: &Bytes, ends: &Ends, method: &Method, mut headers: HeaderMap) -> Result<Head, Garbage> {
    let mut start = ends.of(0, 0, bytes).ok_or("its head is malformed")? + 1;
    let (old, status) = status_line(without_end(&bytes[..start]))?;
    let mut transfer = Transfer { bare: *method == Method::HEAD || is_bare(status), ..Transfer::default() };
    let mut count = 0;
    while let Some(end) = ends.of(count + 1, start, bytes) {
        let line = without_end(&bytes[start..=end]);
        if line.is_empty() {
            break;
        }
        count += 1;
        if count > FIELDS {
            return Err("it has too many header fields".into());
        }
        field(bytes, start, line, &mut headers, &mut transfer)?;
        start = end + 1;
    }
    let framing = transfer.framing(bytes)?;
    let ambiguous = transfer.coding.is_some() && transfer.length.is_some();
    let goes_on = if old { transfer.keep_alive } else { !transfer.close };
    let keep = goes_on && !ambiguous && !matches!(framing, Framing::End);
    Ok(Head { status, headers, framing, keep })
}

/// A line without its end; apps are forgiven a bare LF.
fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Whether it is HTTP/1.0, and the status.
fn status_line(line: &[u8]) -> Result<(bool, StatusCode), Garbage> {
    let (old, rest) = match line {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor @ (b'0' | b'1'), b' ', rest @ ..] => (*minor == b'0', rest),
        _ => return Err("its status line is malformed".into()),
    };
    let (code, reason) = rest.split_at(rest.len().min(3));
    if !matches!(reason, [] | [b' ', ..]) || !reason.iter().all(|&b| b == b'\t' || (b >= b' ' && b != 0x7f)) {
        return Err("its status line is malformed".into());
    }
    let status = StatusCode::from_bytes(code).map_err(|_| "its status is no status")?;
    Ok((old, status))
}

/// One header line, which begins at `start`.
fn field(bytes: &Bytes, start: usize, line: &[u8], headers: &mut HeaderMap, transfer: &mut Transfer) -> Result<(), Garbage> {
    let colon = memchr(b':', line).ok_or("a header has no colon")?;
    // The two that every server sends and nobody looks at: no name is made of them.
    if line[..colon].eq_ignore_ascii_case(b"date") || line[..colon].eq_ignore_ascii_case(b"server") {
        return Ok(());
    }
    let name = HeaderName::from_bytes(&line[..colon]).map_err(|_| "the name of a header is malformed")?;
    let value = line[colon + 1..].trim_ascii_start();
    let at = start + line.len() - value.len();
    let value = value.trim_ascii_end();
    let place = at..at + value.len();
    if name == CONTENT_LENGTH {
        if transfer.length.as_ref().is_some_and(|other| bytes[other.clone()] != *value) {
            return Err("it has several Content-Length headers that differ".into());
        }
        transfer.length = Some(place.clone());
    } else if name == TRANSFER_ENCODING {
        transfer.coding = Some(place.clone());
    } else if name == CONNECTION {
        for token in value.split(|&b| b == b',').map(<[u8]>::trim_ascii) {
            transfer.close |= token.eq_ignore_ascii_case(b"close");
            transfer.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
        }
    }
    // How long a body is its framing tells; only where there is none does the header say more.
    if is_unheard(&name) || (name == CONTENT_LENGTH && !transfer.bare) {
        return Ok(());
    }
    // The values stay where they are: one allocation for all of them. One that cannot be sent vanishes, as it does in the development server
    // (row H16).
    if let Ok(value) = HeaderValue::from_maybe_shared(bytes.slice(place)) {
        headers.append(name, value);
    }
    Ok(())
}

/// Statuses that no body goes with.
fn is_bare(status: StatusCode) -> bool {
    status.is_informational() || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED
}

impl Transfer {
    /// RFC 9112 §6.3.
    fn framing(&self, bytes: &[u8]) -> Result<Framing, Garbage> {
        if self.bare {
            return Ok(Framing::Length(0));
        }
        if let Some(coding) = &self.coding {
            let last = bytes[coding.clone()].rsplit(|&b| b == b',').next().unwrap_or_default();
            if last.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                return Ok(Framing::Chunked(Chunks::default()));
            }
            return Err("its Transfer-Encoding is not `chunked`".into());
        }
        let Some(length) = &self.length else { return Ok(Framing::End) };
        let digits = &bytes[length.clone()];
        let number = if (1..=19).contains(&digits.len()) { digits.iter().try_fold(0, |n, &b| digit(n, b)) } else { None };
        number.map(Framing::Length).ok_or_else(|| "its Content-Length is no number".into())
    }
}

/// One more digit.
fn digit(number: u64, b: u8) -> Option<u64> {
    if b.is_ascii_digit() { number.checked_mul(10)?.checked_add(u64::from(b - b'0')) } else { None }
}

impl Framing {
    /// Takes the next piece of the body out of `input`.
    pub(crate) fn next(&mut self, input: &mut BytesMut) -> Result<Part, Garbage> {
        match self {
            Self::Length(0) => Ok(Part::End),
            _ if input.is_empty() => Ok(Part::More),
            Self::Length(left) => {
                let here = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= here as u64;
                Ok(Part::Data(input.split_to(here).freeze()))
            }
            Self::Chunked(chunks) => {
                let part = chunks.decode(input)?;
                if part == Part::End {
                    *self = Self::Length(0);
                }
                Ok(part)
            }
            Self::End => Ok(Part::Data(input.split().freeze())),
        }
    }

    /// The body's length from here on, if it is known.
    pub(crate) fn left(&self) -> Option<u64> {
        match self {
            Self::Length(left) => Some(*left),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Seen = (u16, Vec<u8>, bool, bool);

    /// Feeds `bytes` in pieces; status, body, whether it was complete, whether the connection is kept.
    fn run(bytes: &[u8], step: usize, method: &Method) -> Result<Option<Seen>, Garbage> {
        let (mut input, mut head_seen, mut body, mut over) = (BytesMut::new(), None, Vec::new(), false);
        for part in bytes.chunks(step) {
            input.extend_from_slice(part);
            if head_seen.is_none() {
                head_seen = head(&mut input, method, HeaderMap::new)?;
            }
            while let Some(head) = &mut head_seen {
                match head.framing.next(&mut input)? {
                    Part::Data(data) => body.extend_from_slice(&data),
                    Part::End => {
                        over = true;
                        break;
                    }
                    Part::More => break,
                }
            }
        }
        Ok(head_seen.map(|head| (head.status.as_u16(), body, over, head.keep)))
    }

    #[track_caller]
    fn reads(bytes: &str, expected: (u16, &str, bool, bool)) {
        for step in [1, 3, bytes.len()] {
            let (status, body, over, keep) = run(bytes.as_bytes(), step, &Method::GET).expect("in order").expect("a head");
            assert_eq!((status, String::from_utf8_lossy(&body).as_ref(), over, keep), expected, "{bytes:?} in pieces of {step}");
        }
    }

    #[test]
    fn bodies_end_where_they_should() {
        reads("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", (200, "abc", true, true));
        reads(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\nA: b\r\n\r\n",
            (200, "abcde", true, true),
        );
        reads("HTTP/1.1 200\r\n\r\nabc", (200, "abc", false, false));
        reads("HTTP/1.0 200 OK\nContent-Length: 3\n\nabc", (200, "abc", true, false));
        reads("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 0\r\n\r\n", (200, "", true, true));
        reads("HTTP/1.1 204 No\r\nContent-Length: 3\r\n\r\n", (204, "", true, true));
        reads(
            "HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: x, close\r\n\r\na",
            (200, "a", true, false),
        );
        reads("HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", (200, "a", true, false));
        assert_eq!(
            run(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", 5, &Method::HEAD).expect("read"),
            Some((200, Vec::new(), true, true))
        );
    }

    #[test]
    fn what_is_no_answer_is_found_out_early() {
        for bad in [
            "Hello",
            "HTTP/1.1 abc\r\n\r\n",
            "HTTP/1.1 200 OK\r\nBad Name: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz",
            "HTTP/1.1 101 Switching\r\n\r\n",
        ] {
            assert!(run(bad.as_bytes(), bad.len(), &Method::GET).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in "(HTTP/1.1 200 OK\r\n)?[ -~\r\n\u{e9}]{0,200}", step in 1_usize..50) {
            let _ = run(bytes.as_bytes(), step, &Method::GET);
        }
    }
}
