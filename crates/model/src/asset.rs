//! Static files as arithmetic: which file, which headers, which part of it (rows Y14–Y17). The shell only opens files.

use http::{HeaderMap, HeaderValue, Method};

use crate::config::VersionConfig;
use crate::route::handler::Matched;

/// The file that a static handler names for `path`, relative to the app, `/` separators; `None` is a 404. Already proved to stay
/// inside the app as far as text can prove it; skip_files are checked too. The shell must still refuse symbolic links that lead out.
pub fn locate(_config: &VersionConfig, _matched: &Matched<'_>, _path: &[u8]) -> Option<String> {
    None
}

/// The content type of a file: the handler's, or by extension.
pub fn mime_type(_matched: &Matched<'_>, _file: &str) -> HeaderValue {
    HeaderValue::from_static("application/octet-stream")
}

/// What conditional headers and ranges are compared with.
#[derive(Debug, Clone, Copy)]
pub struct Entity<'a> {
    /// The entity tag with its quotes: `"abc"`.
    pub etag: &'a str,
    /// Last change, seconds since 1970.
    pub modified: u64,
    /// Length in bytes.
    pub length: u64,
}

/// What to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// 200 with everything.
    Whole,
    /// 206 with these bytes (end exclusive).
    Part {
        /// First byte.
        start: u64,
        /// One past the last.
        end: u64,
    },
    /// 304.
    NotModified,
    /// 412.
    PreconditionFailed,
    /// 416.
    Unsatisfiable,
    /// 405 with `Allow: GET, HEAD`.
    WrongMethod,
}

/// Decides by method, preconditions (RFC 9110 §13.2.2) and range.
pub fn decide(_method: &Method, _request: &HeaderMap, _entity: &Entity<'_>, _now: u64) -> Answer {
    Answer::Whole
}

/// The headers of the answer, except Date, Server and Content-Length: Cache-Control, Expires, `ETag`, Last-Modified, Content-Type, Content-Range,
/// Accept-Ranges, and the handler's `http_headers` on 200 and 206.
pub fn headers(
    config: &VersionConfig,
    matched: &Matched<'_>,
    entity: &Entity<'_>,
    answer: Answer,
    mime: &HeaderValue,
    now: u64,
) -> HeaderMap {
    let _ = (config, matched, entity, answer, mime, now);
    HeaderMap::new()
}
