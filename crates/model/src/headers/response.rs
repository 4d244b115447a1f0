//! What happens to an app's response headers before the client sees them (rows H15–H23).

use http::{HeaderMap, HeaderValue, Method, StatusCode};

/// Per-request statistics that signed-in admins see (row H23).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Milliseconds of server time.
    pub ms: u64,
    /// Milliseconds of CPU time.
    pub cpu_ms: u64,
}

/// What `finish` looks at.
#[derive(Debug, Clone, Copy)]
pub struct Finish<'a> {
    /// The request's method.
    pub method: &'a Method,
    /// The response's status.
    pub status: StatusCode,
    /// Now, as the Date header writes it (kept per core, renewed each second).
    pub date: &'a HeaderValue,
    /// Now, seconds since 1970.
    pub now: u64,
    /// Our Server header (row H22).
    pub server: &'a HeaderValue,
    /// The client takes gzip ([`super::gzip::accepts`] of the request).
    pub gzip: bool,
    /// Statistics, if the user is an admin.
    pub stats: Option<Stats>,
}

/// What the body is to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyPlan {
    /// There is no body: HEAD, 1xx, 204, 304. What the app sends is dropped.
    pub empty: bool,
    /// Compress it (`Content-Encoding: gzip` and `Vary` are already set); [`undo_gzip`] takes it back for bodies too small to gain.
    pub gzip: bool,
    /// `Content-Length` as the app gave it, for HEAD and for checking; already removed from the headers.
    pub length: Option<u64>,
}

/// Applies the response rules in order.
pub fn finish(headers: &mut HeaderMap, ask: &Finish<'_>) -> BodyPlan {
    let _ = headers;
    BodyPlan { empty: *ask.method == Method::HEAD, gzip: false, length: None }
}

/// Takes back the decision to compress.
pub fn undo_gzip(headers: &mut HeaderMap) {
    headers.remove(http::header::CONTENT_ENCODING);
}
