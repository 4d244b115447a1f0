//! One request head, checked line by line as it arrives (RFC 9112 §2–6), then made into a request without being looked at again.

use std::ops::Range;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Uri, Version};
use memchr::memchr;

use super::{Bounds, Framing, Refusal, Shape};

/// What is known of a head so far.
#[derive(Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own that one header line states")]
pub(super) struct Head {
    /// Where the line that is being read begins.
    line: usize,
    /// Bytes that hold no line end.
    seen: usize,
    /// The request line is read.
    started: bool,
    /// How long the method is; it stands first.
    method: usize,
    target: Range<usize>,
    /// Names, and where their values are.
    fields: Vec<(HeaderName, Range<usize>)>,
    old: bool,
    bodiless: bool,
    close: bool,
    keep_alive: bool,
    expects: bool,
    hosts: u32,
    length: Option<u64>,
    /// Transfer codings that were applied before chunked, and whether chunked came last.
    codings: u32,
    chunked: bool,
    /// It is in order, but in need of plain words; see [`super::mend`].
    odd: bool,
}

type Verdict<T> = Result<T, Refusal>;

/// A complete head.
pub(super) struct Done {
    pub(super) length: usize,
    pub(super) odd: bool,
    pub(super) shape: Shape,
}

impl Head {
    /// Whether nothing of it was read yet.
    pub(super) fn is_new(&self) -> bool {
        self.seen == 0
    }

    /// Forgets everything but its memory.
    pub(super) fn renew(&mut self) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.clear();
        *self = Self { fields, ..Self::default() };
    }

    /// Reads on. `None` while the head is not complete.
    pub(super) fn read(&mut self, bytes: &[u8], bounds: &Bounds) -> Verdict<Option<Done>> {
        while let Some(at) = bytes.get(self.seen..).and_then(|rest| memchr(b'\n', rest)) {
            let end = self.seen + at;
            let line = bytes.get(self.line..end).unwrap_or_default();
            let Some((b'\r', line)) = line.split_last() else {
                return Err(Refusal::bad("a line ends with LF instead of CRLF"));
            };
            let start = self.line;
            self.line = end + 1;
            self.seen = end + 1;
            if !self.started {
                self.request_line(line, bounds)?;
            } else if line.is_empty() {
                if self.line > bounds.bytes {
                    return Err(TOO_LARGE);
                }
                return self.shape().map(|shape| Some(Done { length: self.line, odd: self.odd, shape }));
            } else {
                self.field(start, line, bounds)?;
            }
        }
        self.seen = bytes.len();
        if !self.started && bytes.len() > bounds.line {
            return Err(LONG_LINE);
        }
        if bytes.len() > bounds.bytes {
            return Err(TOO_LARGE);
        }
        Ok(None)
    }

    fn request_line(&mut self, line: &[u8], bounds: &Bounds) -> Verdict<()> {
        if line.len() > bounds.line {
            return Err(LONG_LINE);
        }
        let space = memchr(b' ', line).ok_or(NO_REQUEST_LINE)?;
        let (method, rest) = (&line[..space], &line[space + 1..]);
        let space = memchr(b' ', rest).ok_or(NO_REQUEST_LINE)?;
        let (target, version) = (&rest[..space], &rest[space + 1..]);
        if method.is_empty() || !method.iter().all(|&b| is_token(b)) {
            return Err(Refusal::bad("the method is not a token"));
        }
        self.old = match version {
            b"HTTP/1.1" => false,
            b"HTTP/1.0" => true,
            [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
                return Err(Refusal { status: 505, reason: "only HTTP/1.0, HTTP/1.1 and HTTP/2 are spoken here" });
            }
            _ => return Err(Refusal::bad("the protocol version is malformed")),
        };
        target_form(method, target)?;
        self.method = method.len();
        self.target = method.len() + 1..method.len() + 1 + target.len();
        self.odd = target.iter().any(|&b| is_odd(b));
        self.bodiless = matches!(method, b"GET" | b"HEAD" | b"TRACE");
        self.started = true;
        Ok(())
    }

    /// One header line, which begins at `start`.
    fn field(&mut self, start: usize, line: &[u8], bounds: &Bounds) -> Verdict<()> {
        if self.fields.len() >= bounds.fields {
            return Err(Refusal { status: 431, reason: "the request has too many header fields" });
        }
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return Err(Refusal::bad("a header line is folded or begins with white space"));
        }
        let colon = memchr(b':', line).unwrap_or(line.len());
        let Some(name) = line.get(..colon).filter(|_| colon < line.len()).and_then(|name| HeaderName::from_bytes(name).ok()) else {
            return Err(bad_name(line));
        };
        let value = &line[colon + 1..];
        if !all_text(value) {
            return Err(BAD_VALUE);
        }
        let lead = value.iter().take_while(|b| is_blank(**b)).count();
        let value = trim(value);
        self.meaning(&name, value)?;
        let at = start + colon + 1 + lead;
        self.fields.push((name, at..at + value.len()));
        Ok(())
    }

    /// The fields that decide where the request ends, whom it is for, and what becomes of the connection.
    fn meaning(&mut self, name: &HeaderName, value: &[u8]) -> Verdict<()> {
        if *name == HOST {
            self.hosts += 1;
            if self.hosts > 1 {
                return Err(Refusal::bad("the request has several Host headers"));
            }
        } else if *name == CONNECTION {
            for token in value.split(|&b| b == b',').map(trim) {
                self.close |= token.eq_ignore_ascii_case(b"close");
                self.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
            }
        } else if *name == EXPECT {
            if !value.eq_ignore_ascii_case(b"100-continue") {
                return Err(Refusal { status: 417, reason: "the only expectation met here is 100-continue" });
            }
            self.expects = true;
        } else if *name == CONTENT_LENGTH {
            if self.length.is_some() {
                return Err(Refusal::bad("the request has several Content-Length headers"));
            }
            self.length = Some(number(value).ok_or(Refusal::bad("Content-Length is not a number"))?);
        } else if *name == TRANSFER_ENCODING {
            self.codings(value)?;
        } else if looks_like(name.as_str(), "contentlength") {
            return Err(Refusal::bad("a header looks like Content-Length but is not"));
        } else if looks_like(name.as_str(), "transferencoding") {
            return Err(Refusal::bad("a header looks like Transfer-Encoding but is not"));
        }
        Ok(())
    }

    /// Codings add up over several headers (RFC 9110 §5.3); `chunked` must be the last and occur once (RFC 9112 §6.1).
    fn codings(&mut self, value: &[u8]) -> Verdict<()> {
        let plain = value.eq_ignore_ascii_case(b"chunked");
        self.odd |= !plain || self.codings > 0;
        for item in value.split(|&b| b == b',') {
            let name = trim(item.split(|&b| b == b';').next().unwrap_or_default());
            if self.chunked {
                return Err(Refusal::bad("a transfer coding follows `chunked`"));
            }
            self.codings += 1;
            if name.eq_ignore_ascii_case(b"chunked") {
                self.chunked = true;
            } else if !CODINGS.iter().any(|known| name.eq_ignore_ascii_case(known)) {
                return Err(Refusal::bad("Transfer-Encoding names an unknown coding"));
            }
        }
        Ok(())
    }

    /// What follows the head, and what becomes of the connection.
    fn shape(&self) -> Verdict<Shape> {
        let framing = self.framing()?;
        let keep = !self.close && (!self.old || self.keep_alive);
        // RFC 9110 §10.1.1: the expectation of an HTTP/1.0 client means nothing.
        let expects = self.expects && !self.old && framing != Framing::Length(0);
        Ok(Shape { framing, old: self.old, keep, expects })
    }

    fn framing(&self) -> Verdict<Framing> {
        if self.codings > 0 && !self.chunked {
            return Err(Refusal::bad("Transfer-Encoding does not end with `chunked`"));
        }
        if self.chunked && self.length.is_some() {
            return Err(Refusal::bad("the request has both Transfer-Encoding and Content-Length"));
        }
        if self.chunked && self.old {
            return Err(Refusal::bad("Transfer-Encoding means nothing in HTTP/1.0"));
        }
        if self.hosts == 0 && !self.old {
            return Err(Refusal::bad("the request has no Host header"));
        }
        if self.bodiless && (self.chunked || self.length.unwrap_or(0) > 0) {
            return Err(Refusal::bad("GET, HEAD and TRACE requests may not contain bodies"));
        }
        Ok(match self.length {
            None if self.chunked => Framing::Chunked,
            length => Framing::Length(length.unwrap_or(0)),
        })
    }

    /// Makes the request of `bytes`, the complete head. Values stay where they are.
    pub(super) fn request(&mut self, bytes: &Bytes, parts: &mut Parts) -> Verdict<()> {
        parts.headers.clear();
        parts.extensions.clear();
        parts.version = if self.old { Version::HTTP_10 } else { Version::HTTP_11 };
        let method = bytes.get(..self.method).unwrap_or_default();
        parts.method = Method::from_bytes(method).map_err(|_| Refusal::bad("the method is not a token"))?;
        parts.uri = Uri::from_maybe_shared(bytes.slice(self.target.clone())).map_err(|_| BAD_TARGET)?;
        for (name, value) in self.fields.drain(..) {
            let value = HeaderValue::from_maybe_shared(bytes.slice(value)).map_err(|_| BAD_VALUE)?;
            parts.headers.append(name, value);
        }
        Ok(())
    }
}

const BAD_TARGET: Refusal = Refusal::bad("the request target is malformed");
const BAD_VALUE: Refusal = Refusal::bad("a header value holds a control character");

const TOO_LARGE: Refusal = Refusal { status: 431, reason: "the request's headers are too large" };
const LONG_LINE: Refusal = Refusal { status: 414, reason: "the request line is too long" };
const NO_REQUEST_LINE: Refusal = Refusal::bad("the request line is malformed");

/// Which of the four forms of a target goes with which method (RFC 9112 §3.2).
fn target_form(method: &[u8], target: &[u8]) -> Verdict<()> {
    if target.is_empty() || !target.iter().all(|&b| b > b' ' && b != 0x7f) {
        return Err(Refusal::bad("the request target holds a character that it may not"));
    }
    if method == b"CONNECT" {
        return Err(Refusal { status: 405, reason: "CONNECT is not served here" });
    }
    let absolute = |scheme: &[u8]| target.len() > scheme.len() && target[..scheme.len()].eq_ignore_ascii_case(scheme);
    match target {
        [b'/', ..] => Ok(()),
        b"*" if method == b"OPTIONS" => Ok(()),
        _ if absolute(b"http://") || absolute(b"https://") => Ok(()),
        _ => Err(Refusal::bad("the request target is neither a path nor a URL")),
    }
}

/// Transfer codings of RFC 9112 §7.2 that may precede `chunked`; `identity` is of RFC 2616.
const CODINGS: [&[u8]; 6] = [b"gzip", b"x-gzip", b"deflate", b"compress", b"x-compress", b"identity"];

/// Bytes of a target that browsers and scripts send although RFC 3986 forbids them. They decide nothing, so they are escaped.
pub(super) fn is_odd(b: u8) -> bool {
    matches!(b, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' | b'#') || b >= 0x80
}

/// Whether `name` (lower case) is `plain` once everything but letters and digits is left out.
fn looks_like(name: &str, plain: &str) -> bool {
    // Whatever precedes the first letter, it begins as `plain` does; hardly any other name gets further than this.
    let first = name.bytes().find(u8::is_ascii_alphanumeric);
    first == plain.bytes().next() && name.bytes().filter(u8::is_ascii_alphanumeric).eq(plain.bytes())
}

/// What is wrong with a header line whose name is none.
fn bad_name(line: &[u8]) -> Refusal {
    let colon = line.iter().position(|&b| !is_token(b)).unwrap_or(line.len());
    Refusal::bad(match line.get(colon) {
        Some(b':') => "a header name is empty",
        Some(b' ' | b'\t') => "white space precedes the colon of a header",
        _ => "a header name holds a character that it may not",
    })
}

fn number(value: &[u8]) -> Option<u64> {
    let digits = (1..=19).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    if digits { value.iter().try_fold(0_u64, |n, b| n.checked_mul(10)?.checked_add(u64::from(b - b'0'))) } else { None }
}

pub(super) fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// Without an early end, so that many bytes are looked at at once.
fn all_text(value: &[u8]) -> bool {
    value.iter().fold(true, |good, &b| good & is_text(b))
}

fn is_blank(b: u8) -> bool {
    matches!(b, b' ' | b'\t')
}

/// Characters of tokens (RFC 9110 §5.6.2).
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut b = 0;
    while b < 128_u8 {
        table[b as usize] =
            b.is_ascii_alphanumeric() || matches!(b, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~');
        b += 1;
    }
    table
};

pub(super) fn is_token(b: u8) -> bool {
    TOKEN[b as usize]
}

/// Characters of field values (RFC 9110 §5.5): visible ones, blanks, and bytes above ASCII.
pub(super) fn is_text(b: u8) -> bool {
    (b >= b' ' && b != 0x7f) || b == b'\t'
}
