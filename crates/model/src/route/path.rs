//! The request target: which form it has, and the decoded path that handlers are matched against (rows Y2, Y11).
//!
//! Handlers, dispatch rules and files see only the decoded path that comes out of here, so that no two of them can disagree about it.

use std::borrow::Cow;

use http::Version;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};

/// What stays readable in a path that we write: RFC 3986 `pchar` and `/`.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@')
    .remove(b'/');

/// What a raw path turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading<'t> {
    /// Go on with this decoded path (`PATH_INFO`); borrowed when nothing was escaped.
    Clean(Cow<'t, [u8]>),
    /// It has `.` or `..` segments: answer 302 to this path and query (a reference that is safe as it stands in `Location`).
    Moved(String),
    /// Answer 400 with this text.
    Bad(&'static str),
}

/// Reads the path of a request target, `raw` without its query.
///
/// A `%` that begins no escape stands for itself, as in the SDK; `//` is significant; a dot segment is one even if it was escaped (`%2e`, `..%2f`).
pub fn read<'t>(raw: &'t str, query: Option<&str>) -> Reading<'t> {
    if !raw.starts_with('/') {
        return Reading::Bad("The request target is not a path.");
    }
    let decoded: Cow<'t, [u8]> =
        if memchr::memchr(b'%', raw.as_bytes()).is_some() { percent_decode_str(raw).into() } else { Cow::Borrowed(raw.as_bytes()) };
    if memchr::memchr(0, &decoded).is_some() {
        return Reading::Bad("The path has a NUL byte.");
    }
    if has_dot_segment(&decoded) { Reading::Moved(moved(&decoded, query)) } else { Reading::Clean(decoded) }
}

fn has_dot_segment(path: &[u8]) -> bool {
    // Nearly every path has no `/.` at all.
    memchr::memmem::find(path, b"/.").is_some() && path.split(|&b| b == b'/').any(|segment| matches!(segment, b"." | b".."))
}

/// RFC 3986 §5.2.4 on decoded bytes.
fn remove_dot_segments(path: &[u8]) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    let segments: Vec<&[u8]> = path[1..].split(|&b| b == b'/').collect();
    for (at, segment) in segments.iter().enumerate() {
        let last = at + 1 == segments.len();
        match *segment {
            b".." => {
                kept.pop();
                if last {
                    kept.push(b"");
                }
            }
            b"." if last => kept.push(b""),
            b"." => {}
            other => kept.push(other),
        }
    }
    let mut out = Vec::with_capacity(path.len());
    for segment in kept {
        out.push(b'/');
        out.extend_from_slice(segment);
    }
    if out.is_empty() {
        out.push(b'/');
    }
    out
}

fn moved(decoded: &[u8], query: Option<&str>) -> String {
    let clean = remove_dot_segments(decoded);
    let mut out = String::with_capacity(clean.len() + 16);
    // A Location that begins with `//` would name another host: `/.//evil.example` must not lead there.
    match clean.strip_prefix(b"//") {
        Some(rest) => {
            out.push_str("/%2F");
            out.extend(percent_encode(rest, PATH));
        }
        None => out.extend(percent_encode(&clean, PATH)),
    }
    if let Some(query) = query {
        out.push('?');
        out.push_str(query);
    }
    out
}

/// The authority that a request is for: that of an absolute-form target or of HTTP/2's `:authority`, otherwise the Host header. Empty for an
/// HTTP/1.0 request that names none, which the default service answers.
///
/// # Errors
/// A text for a 400 answer: no host, several, two that disagree, or a target that only a proxy could serve.
pub fn authority(parts: &http::request::Parts) -> Result<&str, &'static str> {
    let mut hosts = parts.headers.get_all(http::header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err("The request has several Host headers.");
    }
    let host = host.map(|host| host.to_str().map_err(|_| "The Host header is not valid.")).transpose()?;
    if parts.method == http::Method::CONNECT {
        return Err("This server is no proxy: CONNECT is not served.");
    }
    match (parts.uri.authority(), host) {
        (Some(target), _) if target.as_str().contains('@') => Err("The request target carries user information."),
        // RFC 9113 §8.3.1: the two must agree. In HTTP/1.1 (RFC 9112 §3.2.2) the absolute form wins.
        (Some(target), Some(host)) if parts.version == Version::HTTP_2 && !target.as_str().eq_ignore_ascii_case(host) => {
            Err("The :authority and Host headers disagree.")
        }
        (Some(target), _) => Ok(target.as_str()),
        (None, Some(host)) => Ok(host),
        (None, None) if parts.version < Version::HTTP_11 => Ok(""),
        (None, None) => Err("The request has no Host header."),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn clean(raw: &str, decoded: &[u8]) {
        assert_eq!(read(raw, None), Reading::Clean(Cow::Borrowed(decoded)), "{raw}");
    }

    #[track_caller]
    fn moves(raw: &str, to: &str) {
        assert_eq!(read(raw, Some("a=%2e&b")), Reading::Moved(format!("{to}?a=%2e&b")), "{raw}");
    }

    #[test]
    fn y11_paths_are_decoded_once() {
        clean("/", b"/");
        clean("/a//b/", b"/a//b/");
        clean("/a%20b%2Fc", b"/a b/c");
        clean("/%252e%252e/", b"/%2e%2e/");
        clean("/100%", b"/100%");
        clean("/%zz%4", b"/%zz%4");
        clean("/caf%C3%A9%ff", b"/caf\xc3\xa9\xff");
        clean("/.well-known/x", b"/.well-known/x");
        clean("/...", b"/...");
        clean("/a..b/.c", b"/a..b/.c");
    }

    #[test]
    fn y11_dot_segments_move_and_keep_the_query() {
        moves("/a/../b", "/b");
        moves("/a/./b", "/a/b");
        moves("/a/%2E%2e/b", "/b");
        moves("/a/..%2fb", "/b");
        moves("/..", "/");
        moves("/a/b/..", "/a/");
        moves("/a/b/.", "/a/b/");
        moves("/../../etc/passwd", "/etc/passwd");
        moves("/a//./b", "/a//b");
        moves("/a/./%C3%A9%20%3f%23", "/a/%C3%A9%20%3F%23");
    }

    #[test]
    fn y11_a_move_never_leads_to_another_host() {
        moves("/.//evil.example/", "/%2Fevil.example/");
        moves("/..//evil.example/", "/%2Fevil.example/");
        moves("/./%5cevil.example/", "/%5Cevil.example/");
        moves("/.%2f%2fevil.example", "/%2Fevil.example");
    }

    #[test]
    fn y11_what_is_no_path_is_refused() {
        for bad in ["*", "", "a", "example.com:443", "/a%00b"] {
            assert!(matches!(read(bad, None), Reading::Bad(_)), "{bad}");
        }
    }

    fn parts(version: Version, target: &str, hosts: &[&str]) -> http::request::Parts {
        let mut request = http::Request::builder().version(version).uri(target);
        for host in hosts {
            request = request.header("host", *host);
        }
        request.body(()).expect("valid").into_parts().0
    }

    #[test]
    fn y11_the_authority_comes_from_one_place() {
        assert_eq!(authority(&parts(Version::HTTP_11, "/", &["a:1"])), Ok("a:1"));
        assert_eq!(authority(&parts(Version::HTTP_11, "http://b/x", &["a"])), Ok("b"));
        assert_eq!(authority(&parts(Version::HTTP_2, "http://b/x", &["B"])), Ok("b"));
        assert!(authority(&parts(Version::HTTP_2, "http://b/x", &["a"])).is_err());
        assert!(authority(&parts(Version::HTTP_11, "/", &[])).is_err());
        assert_eq!(authority(&parts(Version::HTTP_10, "/", &[])), Ok(""));
        assert!(authority(&parts(Version::HTTP_11, "/", &["a", "a"])).is_err());
        assert!(authority(&parts(Version::HTTP_11, "http://u@b/", &["b"])).is_err());
    }

    proptest! {
        #[test]
        fn y11_reading_never_panics_and_moves_only_once(raw in "/[a-z./%2eEfF]{0,24}", query in proptest::option::of("[a-z=]{0,5}")) {
            match read(&raw, query.as_deref()) {
                Reading::Clean(path) => prop_assert!(!path.split(|&b| b == b'/').any(|s| s == b"." || s == b"..")),
                Reading::Moved(to) => {
                    let path = to.split('?').next().unwrap_or_default();
                    prop_assert!(!path.starts_with("//"));
                    prop_assert!(matches!(read(path, None), Reading::Clean(_)), "{raw} -> {to}");
                }
                Reading::Bad(_) => prop_assert!(raw.contains('%')),
            }
        }
    }
}
