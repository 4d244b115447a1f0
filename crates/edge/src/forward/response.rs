//! Responses of HTTP/1 instances: heads and body framing (RFC 9112 §4–7). Pure: bytes in, parts out.

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use memchr::memchr_iter;

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

/// Takes the next final head out of `input`; interim ones (1xx) are skipped. `None` while it is not complete.
pub(crate) fn head(input: &mut BytesMut, method: &Method) -> Result<Option<Head>, Garbage> {
    loop {
        let Some(end) = end_of_head(input) else {
            if input.len() > LARGEST_HEAD {
                return Err("its head is larger than 256 KiB".into());
            }
            // A few bytes tell whether it can become HTTP at all.
            let known = input.len().min(5);
            return if input[..known] == b"HTTP/"[..known] { Ok(None) } else { Err("it does not begin with HTTP/".into()) };
        };
        let head = parse(&input.split_to(end).freeze(), method)?;
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err("it switches protocols, which is not possible here".into());
        }
        if !head.status.is_informational() {
            return Ok(Some(head));
        }
    }
}

fn end_of_head(input: &[u8]) -> Option<usize> {
    memchr_iter(b'\n', input).find_map(|at| match input.get(at + 1..) {
        Some([b'\n', ..]) => Some(at + 2),
        Some([b'\r', b'\n', ..]) => Some(at + 3),
        _ => None,
    })
}

fn parse(bytes: &Bytes, method: &Method) -> Result<Head, Garbage> {
    let mut few = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut few);
    match response.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => read(&response, bytes, method),
        Err(httparse::Error::TooManyHeaders) => {
            let mut many = vec![httparse::EMPTY_HEADER; FIELDS];
            let mut response = httparse::Response::new(&mut many);
            match response.parse(bytes) {
                Ok(httparse::Status::Complete(_)) => read(&response, bytes, method),
                Ok(httparse::Status::Partial) => Err("its head is malformed".into()),
                Err(error) => Err(error.to_string()),
            }
        }
        Ok(httparse::Status::Partial) => Err("its head is malformed".into()),
        Err(error) => Err(error.to_string()),
    }
}

fn read(response: &httparse::Response<'_, '_>, bytes: &Bytes, method: &Method) -> Result<Head, Garbage> {
    let code = response.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or("its status is no status")?;
    let mut headers = HeaderMap::with_capacity(response.headers.len() + 8);
    for header in response.headers.iter() {
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|error| error.to_string())?;
        // The values stay where they are: one allocation for all of them.
        let at = header.value.as_ptr() as usize - bytes.as_ptr() as usize;
        let value = bytes.slice(at..at + header.value.len());
        // A value that cannot be sent vanishes, as it does in the development server (row H16).
        if let Ok(value) = HeaderValue::from_maybe_shared(value) {
            headers.append(name, value);
        }
    }
    let framing = framing(code, &headers, method)?;
    let said = |token: &str| {
        let values = headers.get_all(CONNECTION).into_iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|item| item.trim().eq_ignore_ascii_case(token))
    };
    let ambiguous = headers.contains_key(TRANSFER_ENCODING) && headers.contains_key(CONTENT_LENGTH);
    let keep =
        !ambiguous && !matches!(framing, Framing::End) && if response.version == Some(1) { !said("close") } else { said("keep-alive") };
    Ok(Head { status: code, headers, framing, keep })
}

/// RFC 9112 §6.3.
fn framing(status: StatusCode, headers: &HeaderMap, method: &Method) -> Result<Framing, Garbage> {
    if *method == Method::HEAD || status.is_informational() || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED {
        return Ok(Framing::Length(0));
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter().peekable();
    if codings.peek().is_some() {
        let last = codings.last().and_then(|value| value.to_str().ok()).and_then(|value| value.rsplit(',').next());
        return match last {
            Some(last) if last.trim().eq_ignore_ascii_case("chunked") => Ok(Framing::Chunked(Chunks::default())),
            _ => Err("its Transfer-Encoding is not `chunked`".into()),
        };
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let Some(first) = lengths.next() else { return Ok(Framing::End) };
    if lengths.any(|other| other != first) {
        return Err("it has several Content-Length headers that differ".into());
    }
    let digits = first.to_str().ok().filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
    digits.and_then(|text| text.parse().ok()).map(Framing::Length).ok_or_else(|| "its Content-Length is no number".into())
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
                head_seen = head(&mut input, method)?;
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
