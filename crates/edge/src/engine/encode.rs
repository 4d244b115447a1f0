//! The head of a response as bytes (RFC 9112 §4–7). Pure.

use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Method, StatusCode};

use super::outbox::Framing;

/// What a response's head is made for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask<'a> {
    pub(super) status: StatusCode,
    pub(super) headers: &'a HeaderMap,
    /// Lines that follow them.
    pub(super) stamp: &'a [u8],
    /// Of the request.
    pub(super) method: &'a Method,
    /// The client speaks HTTP/1.0.
    pub(super) old: bool,
    /// The connection could go on.
    pub(super) keep: bool,
    /// The body's length, if it is known.
    pub(super) length: Option<u64>,
}

/// Writes a head; how its body is framed, and whether the connection goes on.
pub(super) fn head(out: &mut Vec<u8>, ask: &Ask<'_>) -> (Framing, bool) {
    let bare = ask.status.is_informational() || ask.status == StatusCode::NO_CONTENT || ask.status == StatusCode::NOT_MODIFIED;
    let framing = match ask.length {
        _ if bare || *ask.method == Method::HEAD => Framing::Empty,
        Some(length) => Framing::Length(length),
        None if ask.old => Framing::Close,
        None => Framing::Chunked,
    };
    let keep = ask.keep && framing != Framing::Close;
    out.reserve(ROOM);
    out.extend_from_slice(if ask.old { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    out.extend_from_slice(ask.status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(ask.status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    // Answers to HEAD and 304 may tell the length of the body that they do not have (RFC 9110 §8.6); 1xx and 204 may not.
    let told = framing == Framing::Empty && (!bare || ask.status == StatusCode::NOT_MODIFIED);
    for (name, value) in ask.headers {
        if *name == CONNECTION || *name == TRANSFER_ENCODING || (*name == CONTENT_LENGTH && !told) {
            continue;
        }
        field(out, name.as_str().as_bytes(), value.as_bytes());
    }
    out.extend_from_slice(ask.stamp);
    match framing {
        Framing::Length(length) => {
            out.extend_from_slice(b"content-length: ");
            out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Framing::Empty | Framing::Close => {}
    }
    match (keep, ask.old) {
        (false, false) => out.extend_from_slice(b"connection: close\r\n"),
        (true, true) => out.extend_from_slice(b"connection: keep-alive\r\n"),
        _ => {}
    }
    out.extend_from_slice(b"\r\n");
    (framing, keep)
}

/// What most heads and small bodies need.
const ROOM: usize = 512;

fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[track_caller]
    fn writes(method: &Method, status: u16, old: bool, length: Option<u64>, expected: (&str, Framing, bool)) {
        let mut headers = HeaderMap::new();
        headers.insert("a", HeaderValue::from_static("b"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("77"));
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("gzip"));
        let mut out = Vec::new();
        let status = StatusCode::from_u16(status).expect("a status");
        let (framing, keep) = head(&mut out, &Ask { status, headers: &headers, stamp: b"", method, old, keep: true, length });
        assert_eq!((String::from_utf8_lossy(&out).as_ref(), framing, keep), expected);
    }

    #[test]
    fn bodies_are_framed_as_the_client_can_read_them() {
        let get = Method::GET;
        writes(&get, 200, false, Some(1024), ("HTTP/1.1 200 OK\r\na: b\r\ncontent-length: 1024\r\n\r\n", Framing::Length(1024), true));
        writes(&get, 404, false, None, ("HTTP/1.1 404 Not Found\r\na: b\r\ntransfer-encoding: chunked\r\n\r\n", Framing::Chunked, true));
        writes(&get, 200, true, None, ("HTTP/1.0 200 OK\r\na: b\r\n\r\n", Framing::Close, false));
        writes(
            &get,
            200,
            true,
            Some(0),
            ("HTTP/1.0 200 OK\r\na: b\r\ncontent-length: 0\r\nconnection: keep-alive\r\n\r\n", Framing::Length(0), true),
        );
        writes(&get, 204, false, Some(5), ("HTTP/1.1 204 No Content\r\na: b\r\n\r\n", Framing::Empty, true));
        writes(&get, 304, false, Some(5), ("HTTP/1.1 304 Not Modified\r\na: b\r\ncontent-length: 77\r\n\r\n", Framing::Empty, true));
        writes(&Method::HEAD, 200, false, None, ("HTTP/1.1 200 OK\r\na: b\r\ncontent-length: 77\r\n\r\n", Framing::Empty, true));
        writes(&get, 299, false, Some(1), ("HTTP/1.1 299 \r\na: b\r\ncontent-length: 1\r\n\r\n", Framing::Length(1), true));
    }

    #[test]
    fn the_stamp_stands_behind_the_headers() {
        let mut headers = HeaderMap::new();
        headers.insert("a", HeaderValue::from_static("b"));
        let mut out = Vec::new();
        let stamp = b"date: now\r\nserver: x\r\n";
        let ask = Ask { status: StatusCode::OK, headers: &headers, stamp, method: &Method::GET, old: false, keep: true, length: Some(3) };
        head(&mut out, &ask);
        assert_eq!(String::from_utf8_lossy(&out), "HTTP/1.1 200 OK\r\na: b\r\ndate: now\r\nserver: x\r\ncontent-length: 3\r\n\r\n");
    }
}
