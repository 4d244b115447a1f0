//! `http_headers:` of static handlers (row Y17): which names and values may be sent.

use http::{HeaderName, HeaderValue};

use crate::code;
use crate::diagnostic::{Diagnostic, Report};
use crate::fields::{self, Spanned};
use crate::yaml::Node;

/// Headers that only requests have (the SDK's list; RFC 2616 section 5.3).
const REQUEST_ONLY: [&str; 19] = [
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "authorization",
    "expect",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "max-forwards",
    "proxy-authorization",
    "range",
    "referer",
    "te",
    "user-agent",
];

/// Headers between two neighbours (RFC 2616 section 13.5.1, with the SDK's `trailers`).
const HOP_BY_HOP: [&str; 8] =
    ["connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailers", "transfer-encoding", "upgrade"];

/// Headers that the front end computes.
const COMPUTED: [&str; 4] = ["content-encoding", "content-length", "date", "server"];

/// Name, colon, value and line end stay below this.
const MAX_LINE: usize = 500;

/// Most headers of one handler.
const MAX_HEADERS: usize = 500;

/// Headers whose value alone is measured, once their line reaches [`MAX_LINE`].
fn longest_value(name: &str) -> Option<usize> {
    match name {
        "content-security-policy" | "content-security-policy-report-only" | "x-content-security-policy" | "x-webkit-csp" => Some(10_240),
        "set-cookie" | "set-cookie2" => Some(4_096),
        "location" => Some(2_047),
        _ => None,
    }
}

/// Reads the mapping.
pub(super) fn read(node: &Node, report: &mut Report) -> Vec<(Spanned<HeaderName>, HeaderValue)> {
    let Some(entries) = fields::map(node, "http_headers", report) else { return Vec::new() };
    let mut headers = Vec::new();
    for (key, node) in entries {
        if let Some(why) = refusal(&key.text) {
            report.push(Diagnostic::new(&code::A0109, key.span, format!("`{}` may not be set: {why}", key.text)));
            continue;
        }
        let Some(value) = fields::text(node, &key.text, report) else { continue };
        let Ok(name) = HeaderName::from_bytes(key.text.as_bytes()) else { continue };
        if let Some(header) = read_value(&name, &value, report) {
            headers.push((Spanned { value: name, span: key.span }, header));
        }
    }
    if headers.len() > MAX_HEADERS {
        let message = format!("{} headers; a handler sets at most {MAX_HEADERS}", headers.len());
        report.push(Diagnostic::new(&code::A0110, headers[MAX_HEADERS].0.span, message));
    }
    headers
}

/// Why a header may not be set, if it may not.
fn refusal(name: &str) -> Option<&'static str> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let lower = name.to_ascii_lowercase();
    if name.is_empty() || !name.bytes().all(token) {
        return Some("a header name consists of ASCII letters, digits and hyphens");
    }
    if lower.starts_with("x-appengine") {
        return Some("names that begin with `X-Appengine` are reserved");
    }
    if REQUEST_ONLY.contains(&lower.as_str()) {
        return Some("it belongs to requests, not to responses");
    }
    if HOP_BY_HOP.contains(&lower.as_str()) {
        return Some("it concerns one connection only, and connections are the front end's");
    }
    COMPUTED.contains(&lower.as_str()).then_some("the front end sets it itself")
}

fn read_value(name: &HeaderName, value: &Spanned<String>, report: &mut Report) -> Option<HeaderValue> {
    match checked_value(name, &value.value) {
        Ok(header) => Some(header),
        Err(message) => {
            report.push(Diagnostic::new(&code::A0110, value.span, message));
            None
        }
    }
}

fn checked_value(name: &HeaderName, value: &str) -> Result<HeaderValue, String> {
    let cannot = |c: char| format!("the value of `{name}` has a character that cannot be sent: {c:?}");
    if let Some(bad) = value.chars().find(|&c| !(' '..='~').contains(&c) && c != '\t') {
        return Err(cannot(bad));
    }
    let line = name.as_str().len() + ": ".len() + value.len() + "\r\n".len();
    if line >= MAX_LINE {
        match longest_value(name.as_str()) {
            Some(longest) if value.len() <= longest => {}
            Some(longest) => return Err(format!("the value of `{name}` has {} bytes; {longest} are allowed", value.len())),
            None => return Err(format!("the line of `{name}` has {line} bytes; fewer than {MAX_LINE} are allowed")),
        }
    }
    HeaderValue::from_str(value.trim()).map_err(|_| format!("the value of `{name}` cannot be sent"))
}

/// A header that a static handler may set.
///
/// # Errors
/// A text for people if it may not.
pub(crate) fn checked(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    if let Some(why) = refusal(name) {
        return Err(format!("`{name}` may not be set: {why}"));
    }
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("`{name}` is not the name of a header"))?;
    let value = checked_value(&name, value)?;
    Ok((name, value))
}
