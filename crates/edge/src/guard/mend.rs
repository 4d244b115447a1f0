//! Requests that are clear but odd, in plain words: bytes that no URI may hold, and transfer codings other than `chunked`.
//!
//! A payload that was gzipped as a transfer coding reaches the app gzipped and says so in `Content-Encoding`: the same coding under its other
//! name (RFC 9112 §7.2).

use super::head::{is_odd, trim};

/// Rewrites a head that the guard has found in order.
pub(super) fn mend(head: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(head.len() + 64);
    let mut codings: Vec<&[u8]> = Vec::new();
    let mut chunked = false;
    let mut lines =
        head.strip_suffix(b"\r\n\r\n").unwrap_or(head).split(|&b| b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    request_line(&mut out, lines.next().unwrap_or_default());
    for line in lines {
        let colon = line.iter().position(|&b| b == b':').unwrap_or(line.len());
        let (name, value) = line.split_at(colon);
        if !name.eq_ignore_ascii_case(b"transfer-encoding") {
            out.extend_from_slice(line);
            out.extend_from_slice(b"\r\n");
            continue;
        }
        for item in value.get(1..).unwrap_or_default().split(|&b| b == b',') {
            let coding = trim(item.split(|&b| b == b';').next().unwrap_or_default());
            if coding.eq_ignore_ascii_case(b"chunked") {
                chunked = true;
            } else if !coding.eq_ignore_ascii_case(b"identity") {
                codings.push(coding);
            }
        }
    }
    if !codings.is_empty() {
        out.extend_from_slice(b"Content-Encoding: ");
        out.extend_from_slice(&codings.join(&b", "[..]));
        out.extend_from_slice(b"\r\n");
    }
    if chunked {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out
}

fn request_line(out: &mut Vec<u8>, line: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut parts = line.splitn(3, |&b| b == b' ');
    let (method, target, version) = (parts.next(), parts.next(), parts.next());
    out.extend_from_slice(method.unwrap_or_default());
    out.push(b' ');
    for &b in target.unwrap_or_default() {
        match b {
            // A fragment is for the client alone.
            b'#' => break,
            _ if is_odd(b) => out.extend_from_slice(&[b'%', DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]),
            _ => out.push(b),
        }
    }
    out.push(b' ');
    out.extend_from_slice(version.unwrap_or_default());
    out.extend_from_slice(b"\r\n");
}
