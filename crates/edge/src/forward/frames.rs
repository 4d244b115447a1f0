//! The agent protocol's frames (docs/design/agent-protocol.md). Pure: bytes in, frames out.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use model::journal::Severity;

/// The largest frame that is believed.
const LARGEST: usize = 64 * 1024 * 1024;

/// Largest response head.
const LARGEST_HEAD: usize = 1024 * 1024;

/// Kind and length of a frame.
const PREFIX: usize = 5;

/// How a request ended at the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Answered,
    Exception,
    Missing,
    Deadline,
    Invalid,
    Replace,
}

/// What the agent said.
#[derive(Debug)]
pub(crate) enum Event {
    Head(StatusCode, HeaderMap),
    Data(Bytes),
    Line(Severity, Bytes),
    End { ending: Ending, cpu_us: u64, detail: String },
}

/// What broke the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the agent broke its protocol: {0}")]
pub(crate) struct Broken(pub(crate) String);

/// Reads frames from the bytes of a connection.
#[derive(Default)]
pub(crate) struct Reader {
    /// Bytes of the current `D` frame that are still to come.
    data: usize,
}

impl Reader {
    /// The next event that is complete in `input`; data is given out as it comes.
    pub(crate) fn next(&mut self, input: &mut BytesMut) -> Result<Option<Event>, Broken> {
        if self.data == 0 {
            let Some((kind, length)) = prefix(input)? else { return Ok(None) };
            if kind == b'D' {
                if length == 0 {
                    return Err(Broken("an empty piece of body".into()));
                }
                input.advance(PREFIX);
                self.data = length;
            } else {
                if kind == b'H' && length > LARGEST_HEAD {
                    return Err(Broken("a response head larger than 1 MiB".into()));
                }
                if input.len() < PREFIX + length {
                    input.reserve(PREFIX + length - input.len());
                    return Ok(None);
                }
                input.advance(PREFIX);
                return event(kind, &input.split_to(length).freeze()).map(Some);
            }
        }
        if input.is_empty() {
            return Ok(None);
        }
        let here = self.data.min(input.len());
        self.data -= here;
        Ok(Some(Event::Data(input.split_to(here).freeze())))
    }
}

fn prefix(input: &BytesMut) -> Result<Option<(u8, usize)>, Broken> {
    let Some(&[kind, a, b, c, d]) = input.first_chunk::<PREFIX>() else { return Ok(None) };
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    if length > LARGEST {
        return Err(Broken(format!("a frame of {length} bytes")));
    }
    Ok(Some((kind, length)))
}

fn event(kind: u8, payload: &Bytes) -> Result<Event, Broken> {
    match kind {
        b'H' => head(payload),
        b'L' => {
            let severity = match payload.first() {
                Some(b'0') => Severity::Debug,
                Some(b'1') => Severity::Info,
                Some(b'2') => Severity::Warning,
                Some(b'3') => Severity::Error,
                Some(b'4') => Severity::Critical,
                _ => return Err(Broken("a log line without severity".into())),
            };
            Ok(Event::Line(severity, payload.slice(1..)))
        }
        b'E' => end(payload),
        other => Err(Broken(format!("a frame of unknown kind {other}"))),
    }
}

fn head(payload: &[u8]) -> Result<Event, Broken> {
    let mut parts = payload.split(|&b| b == 0);
    let status = parts.next().unwrap_or_default();
    let code = status.get(..3).filter(|_| status.len() == 3 || status.get(3) == Some(&b' '));
    let code = code.and_then(|code| StatusCode::from_bytes(code).ok()).filter(|code| code.as_u16() >= 200);
    let status = code.ok_or_else(|| Broken(format!("a response status `{}`", String::from_utf8_lossy(status))))?;
    let mut headers = HeaderMap::with_capacity(16);
    while let Some(name) = parts.next() {
        let Some(value) = parts.next() else { break };
        // A header that cannot be sent vanishes, as it does in the development server (rows H15, H16).
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    Ok(Event::Head(status, headers))
}

fn end(payload: &[u8]) -> Result<Event, Broken> {
    let (Some(&outcome), Some(cpu)) = (payload.first(), payload.get(1..9).and_then(|cpu| cpu.first_chunk::<8>())) else {
        return Err(Broken("a short end".into()));
    };
    let ending = match outcome {
        b'0' => Ending::Answered,
        b'1' => Ending::Exception,
        b'2' => Ending::Missing,
        b'3' => Ending::Deadline,
        b'4' => Ending::Invalid,
        b'5' => Ending::Replace,
        other => return Err(Broken(format!("an unknown outcome {other}"))),
    };
    let detail = String::from_utf8_lossy(payload.get(9..).unwrap_or_default()).into_owned();
    Ok(Event::End { ending, cpu_us: u64::from_be_bytes(*cpu), detail })
}

/// Begins an `R` frame in `out`; [`seal`] ends it once the environ was appended.
pub(crate) fn begin_request(out: &mut Vec<u8>, body: bool, buffered: bool) -> usize {
    let start = out.len();
    out.extend_from_slice(&[b'R', 0, 0, 0, 0, u8::from(body) | (u8::from(buffered) << 1)]);
    start
}

/// Writes the length of the frame that begins at `start`.
pub(crate) fn seal(out: &mut [u8], start: usize) {
    let length = u32::try_from(out.len().saturating_sub(start + PREFIX)).unwrap_or(u32::MAX);
    if let Some(place) = out.get_mut(start + 1..start + PREFIX) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

/// Appends a piece of the request's body in frames of at most 1 MiB.
pub(crate) fn body(out: &mut Vec<u8>, piece: &[u8]) {
    for part in piece.chunks(1024 * 1024) {
        let start = out.len();
        out.extend_from_slice(&[b'B', 0, 0, 0, 0]);
        out.extend_from_slice(part);
        seal(out, start);
    }
}

/// Appends the end of the request's body.
pub(crate) fn body_end(out: &mut Vec<u8>) {
    out.extend_from_slice(&[b'B', 0, 0, 0, 0]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![kind];
        out.extend_from_slice(&u32::try_from(payload.len()).expect("short").to_be_bytes());
        out.extend_from_slice(payload);
        out
    }

    #[test]
    fn a_response_in_any_pieces_reads_the_same() {
        let mut all = frame(b'L', b"1starting");
        all.extend(frame(b'H', b"201 Created\0Content-Type\0text/plain\0Bad Name\0x\0X-A\0b"));
        all.extend(frame(b'D', b"hello"));
        all.extend(frame(b'E', &[b'0', 0, 0, 0, 0, 0, 0, 1, 2]));
        for step in 1..all.len() {
            let (mut reader, mut input, mut body, mut log) = (Reader::default(), BytesMut::new(), Vec::new(), Vec::new());
            for part in all.chunks(step) {
                input.extend_from_slice(part);
                while let Some(event) = reader.next(&mut input).expect("in order") {
                    match event {
                        Event::Head(status, headers) => {
                            assert_eq!(status, 201);
                            assert_eq!(headers.len(), 2);
                        }
                        Event::Data(bytes) => body.extend_from_slice(&bytes),
                        Event::Line(severity, text) => log.push((severity, text)),
                        Event::End { ending, cpu_us, detail } => {
                            assert_eq!((ending, cpu_us, detail.as_str()), (Ending::Answered, 258, ""));
                        }
                    }
                }
            }
            assert_eq!(body, b"hello");
            assert_eq!(log, [(Severity::Info, Bytes::from_static(b"starting"))]);
            assert!(input.is_empty());
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let (mut reader, mut input) = (Reader::default(), BytesMut::from(&bytes[..]));
            while let Ok(Some(_)) = reader.next(&mut input) {}
        }
    }
}
