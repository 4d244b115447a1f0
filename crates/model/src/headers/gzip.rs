//! Whether a body is compressed (row H19).

use http::{HeaderMap, HeaderValue, StatusCode, header};

/// Bodies shorter than this are sent as they are: gzip's own frame is 18 bytes, and one packet is one packet.
pub const MIN_LENGTH: u64 = 64;

/// What the client's Accept-Encoding says about gzip (RFC 9110 §12.5.3); ask before the header is removed (row H3).
pub fn accepts(request: &HeaderMap) -> bool {
    let Some(first) = request.get(header::ACCEPT_ENCODING).map(HeaderValue::as_bytes) else { return false };
    // What browsers send: `gzip, deflate, br`, without weights.
    if first.starts_with(b"gzip,") && memchr::memchr(b';', first).is_none() {
        return true;
    }
    let mut gzip: Option<u16> = None;
    let mut any: Option<u16> = None;
    let mut identity: Option<u16> = None;
    for value in request.get_all(header::ACCEPT_ENCODING) {
        let Ok(value) = value.to_str() else { continue };
        for item in value.split(',') {
            let (coding, weight) = item.split_once(';').map_or((item, None), |(coding, rest)| (coding, Some(rest)));
            let Some(weight) = weight.map_or(Some(1000), quality) else { continue };
            let coding = coding.trim();
            if coding.eq_ignore_ascii_case("gzip") || coding.eq_ignore_ascii_case("x-gzip") {
                gzip = Some(weight);
            } else if coding == "*" {
                any = Some(weight);
            } else if coding.eq_ignore_ascii_case("identity") {
                identity = Some(weight);
            }
        }
    }
    let weight = gzip.or(any).unwrap_or(0);
    weight > 0 && weight >= identity.unwrap_or(0)
}

/// `q=0.5` in thousandths.
fn quality(text: &str) -> Option<u16> {
    let text = text.trim().strip_prefix(['q', 'Q'])?.trim_start().strip_prefix('=')?.trim();
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = part.len() <= 3 && part.bytes().all(|b| b.is_ascii_digit());
    let thousandths = part.bytes().chain(*b"000").take(3).fold(0, |sum, b| sum * 10 + u16::from(b.wrapping_sub(b'0')));
    match whole {
        "1" if digits && thousandths == 0 => Some(1000),
        "0" if digits => Some(thousandths),
        _ => None,
    }
}

/// Types that gain, besides `text/…`, `…+json` and `…+xml`.
const TYPES: &[&str] = &[
    "application/dart",
    "application/ecmascript",
    "application/font-sfnt",
    "application/graphql",
    "application/javascript",
    "application/json",
    "application/ld+json",
    "application/manifest+json",
    "application/ndjson",
    "application/rtf",
    "application/vnd.ms-fontobject",
    "application/wasm",
    "application/x-font-ttf",
    "application/x-javascript",
    "application/x-ndjson",
    "application/x-sh",
    "application/x-tar",
    "application/xhtml+xml",
    "application/xml",
    "font/otf",
    "font/ttf",
    "image/bmp",
    "image/svg+xml",
    "image/vnd.microsoft.icon",
    "image/x-icon",
];

/// Whether a body of this content type is worth compressing.
pub fn compressible(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    let starts = |prefix: &str| kind.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    let ends = |suffix: &str| {
        kind.len() > suffix.len() && kind.get(kind.len() - suffix.len()..).is_some_and(|end| end.eq_ignore_ascii_case(suffix))
    };
    // Event streams are read line by line as they come; a compressor would hold lines back.
    if kind.eq_ignore_ascii_case("text/event-stream") {
        return false;
    }
    starts("text/") || ends("+json") || ends("+xml") || TYPES.iter().any(|known| kind.eq_ignore_ascii_case(known))
}

/// Whether an answer with these headers is compressed on the way: `accepted` by the client, of a type that gains, whole, not compressed already, not
/// forbidden by `no-transform`, and not known to be tiny.
pub fn decide(response: &HeaderMap, status: StatusCode, accepted: bool, length: Option<u64>) -> bool {
    let text = |name| response.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default();
    accepted
        && status != StatusCode::PARTIAL_CONTENT
        && !response.contains_key(header::CONTENT_RANGE)
        && !response.contains_key(header::CONTENT_ENCODING)
        && length.is_none_or(|length| length >= MIN_LENGTH)
        && compressible(text(header::CONTENT_TYPE))
        && !text(header::CACHE_CONTROL).split(',').any(|directive| directive.trim().eq_ignore_ascii_case("no-transform"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h19_accept_encoding_is_weighed() {
        for (value, want) in [
            ("gzip", true),
            ("GZip, deflate, br", true),
            ("gzip, deflate, br", true),
            ("gzip, gzip;q=0", false),
            ("x-gzip", true),
            ("*", true),
            ("br, *;q=0.1", true),
            ("gzip;q=0", false),
            ("gzip;q=0, *", false),
            ("gzip; q = 0.001", true),
            ("gzip;q=0.000", false),
            ("identity, gzip;q=0.5", false),
            ("identity;q=0, gzip;q=0.5", true),
            ("gzip;q=2", false),
            ("gzip;q=x", false),
            ("gzipx", false),
            ("", false),
            ("deflate", false),
        ] {
            let mut request = HeaderMap::new();
            request.insert(header::ACCEPT_ENCODING, value.parse().expect("a value"));
            assert_eq!(accepts(&request), want, "{value}");
        }
        assert!(!accepts(&HeaderMap::new()));
    }

    #[test]
    fn h19_types_that_gain() {
        for good in [
            "text/html",
            "text/plain; charset=utf-8",
            "application/json",
            "Application/Problem+JSON",
            "image/svg+xml",
            "application/atom+xml",
        ] {
            assert!(compressible(good), "{good}");
        }
        for bad in ["image/png", "video/mp4", "application/zip", "application/octet-stream", "", "font/woff2", "text/event-stream"] {
            assert!(!compressible(bad), "{bad}");
        }
    }
}
