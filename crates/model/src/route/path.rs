//! The request target: which form it has, and the decoded path that handlers are matched against (rows Y2, Y11).

use std::borrow::Cow;

/// What a raw path turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading<'t> {
    /// Go on with this decoded path (`PATH_INFO`); borrowed when nothing was escaped.
    Clean(Cow<'t, [u8]>),
    /// It has `.` or `..` segments: answer 302 to this path and query.
    Moved(String),
    /// Answer 400 with this text.
    Bad(&'static str),
}

/// Reads the path of a request target, `raw` without its query.
pub fn read<'t>(raw: &'t str, _query: Option<&str>) -> Reading<'t> {
    Reading::Clean(percent_encoding::percent_decode_str(raw).into())
}

/// The authority that a request is for: that of an absolute-form target or of HTTP/2's `:authority`, otherwise the Host header.
///
/// # Errors
/// A text for a 400 answer: no host in HTTP/1.1, several, or an authority-form or asterisk-form target that this server does not serve.
pub fn authority<'t>(parts: &'t http::request::Parts) -> Result<&'t str, &'static str> {
    if let Some(authority) = parts.uri.authority() {
        return Ok(authority.as_str());
    }
    let host = parts.headers.get(http::header::HOST).ok_or("The request has no Host header.")?;
    host.to_str().map_err(|_| "The Host header is not valid.")
}
