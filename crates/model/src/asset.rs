//! Static files as arithmetic: which file, which headers, which part of it (rows Y14–Y17). The shell only opens files.

mod mime;
mod range;

use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

pub use self::range::ByteRange;
use crate::config::VersionConfig;
use crate::handler::{Handler, HandlerKind, Login, StaticFiles, StaticSource};
use crate::route::handler::Matched;

/// The file that a static handler names for `path`, relative to the app, `/` separators; `None` is a 404. Already proved to stay
/// inside the app as far as text can prove it; `skip_files` are checked too. The shell must still refuse symbolic links that lead out.
///
/// `upload` counts: what it does not name was not deployed with the handler (row Y15).
pub fn locate(config: &VersionConfig, matched: &Matched<'_>, path: &[u8]) -> Option<String> {
    let HandlerKind::Static(files) = &matched.handler.kind else { return None };
    let captures = matched.captures(path);
    let named = match &files.source {
        StaticSource::Dir(dir) => {
            let rest = captures.get(matched.handler.url.groups(), path)?;
            let mut named = Vec::with_capacity(dir.len() + 1 + rest.len());
            if !dir.is_empty() && dir != "." {
                named.extend_from_slice(dir.as_bytes());
                named.push(b'/');
            }
            named.extend_from_slice(rest);
            named
        }
        StaticSource::Files { path: template, .. } => template.expand(&captures, path),
    };
    let file = inside(&named)?;
    let uploaded = match &files.source {
        StaticSource::Files { upload, .. } => upload.is_match(file.as_bytes()),
        StaticSource::Dir(_) => true,
    };
    (uploaded && !config.skip_files.skips(&file)).then_some(file)
}

/// A path that cannot leave the folder it is appended to: no empty segment (so neither absolute nor a directory), no `..`, no NUL or other
/// control byte, UTF-8. A `.` of the configuration's own is dropped.
fn inside(named: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(named).ok()?;
    if text.bytes().any(|b| b.is_ascii_control()) {
        return None;
    }
    let mut file = String::with_capacity(text.len());
    for segment in text.split('/') {
        match segment {
            "" | ".." => return None,
            "." => {}
            _ => {
                if !file.is_empty() {
                    file.push('/');
                }
                file.push_str(segment);
            }
        }
    }
    (!file.is_empty()).then_some(file)
}

/// The content type of a file: the handler's `http_headers` or `mime_type`, or by extension.
pub fn mime_type(matched: &Matched<'_>, file: &str) -> HeaderValue {
    let own = static_files(matched.handler).and_then(|files| {
        let listed = files.http_headers.iter().find(|(name, _)| *name == header::CONTENT_TYPE).map(|(_, value)| value.clone());
        listed.or_else(|| HeaderValue::try_from(files.mime_type.as_deref()?).ok())
    });
    own.unwrap_or_else(|| HeaderValue::from_static(mime::by_extension(file)))
}

/// The type that a file's extension implies, for error pages and other files without a handler.
pub fn mime_by_extension(file: &str) -> &'static str {
    mime::by_extension(file)
}

fn static_files(handler: &Handler) -> Option<&StaticFiles> {
    match &handler.kind {
        HandlerKind::Static(files) => Some(files),
        HandlerKind::Script(_) => None,
    }
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

impl Answer {
    /// The status code.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Whole => StatusCode::OK,
            Self::Part { .. } => StatusCode::PARTIAL_CONTENT,
            Self::NotModified => StatusCode::NOT_MODIFIED,
            Self::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            Self::Unsatisfiable => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
        }
    }
}

/// Decides by method, preconditions (in the order of RFC 9110 §13.2.2) and range.
pub fn decide(method: &Method, request: &HeaderMap, entity: &Entity<'_>, now: u64) -> Answer {
    if *method != Method::GET && *method != Method::HEAD {
        return Answer::WrongMethod;
    }
    if request.contains_key(header::IF_MATCH) {
        if !any_tag(request, header::IF_MATCH, entity.etag, strong_match) {
            return Answer::PreconditionFailed;
        }
    } else if date(request, header::IF_UNMODIFIED_SINCE).is_some_and(|since| entity.modified > since) {
        return Answer::PreconditionFailed;
    }
    if request.contains_key(header::IF_NONE_MATCH) {
        if any_tag(request, header::IF_NONE_MATCH, entity.etag, weak_match) {
            return Answer::NotModified;
        }
    } else if date(request, header::IF_MODIFIED_SINCE).is_some_and(|since| entity.modified <= since && since <= now) {
        return Answer::NotModified;
    }
    // RFC 9110 §14.2: Range means nothing for other methods than GET.
    if *method != Method::GET || !if_range_holds(request, entity) {
        return Answer::Whole;
    }
    let mut ranges = request.get_all(header::RANGE).iter();
    match (ranges.next().and_then(|value| value.to_str().ok()).and_then(ByteRange::parse), ranges.next()) {
        (Some(range), None) => match range.within(entity.length) {
            Some((start, end)) => Answer::Part { start, end },
            None => Answer::Unsatisfiable,
        },
        _ => Answer::Whole,
    }
}

/// The status for a request whose file does not exist: 412 if the client insists on a tag, otherwise 404.
pub fn missing(request: &HeaderMap) -> StatusCode {
    if request.contains_key(header::IF_MATCH) { StatusCode::PRECONDITION_FAILED } else { StatusCode::NOT_FOUND }
}

/// Whether a list of entity tags (`If-Match`, `If-None-Match`) holds one that `same` finds equal to `etag`; `*` stands for any.
fn any_tag(request: &HeaderMap, name: header::HeaderName, etag: &str, same: fn(&str, &str) -> bool) -> bool {
    request.get_all(name).iter().filter_map(|value| value.to_str().ok()).any(|list| tags(list).any(|tag| tag == "*" || same(tag, etag)))
}

/// RFC 9110 §8.8.3: tags may contain commas, so the quotes decide where one ends.
fn tags(list: &str) -> impl Iterator<Item = &str> {
    let mut rest = list;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            return None;
        }
        let open = if rest.starts_with("W/\"") { 3 } else { usize::from(rest.starts_with('"')) };
        let end =
            if open > 0 { rest[open..].find('"').map_or(rest.len(), |at| open + at + 1) } else { rest.find(',').unwrap_or(rest.len()) };
        let (tag, after) = rest.split_at(end);
        rest = after;
        Some(tag.trim_end())
    })
}

fn strong_match(one: &str, other: &str) -> bool {
    one == other && one.starts_with('"')
}

fn weak_match(one: &str, other: &str) -> bool {
    let bare = |tag: &str| tag.strip_prefix("W/").map(str::len);
    let (a, b) = (one.len() - bare(one).unwrap_or(one.len()), other.len() - bare(other).unwrap_or(other.len()));
    one[a..] == other[b..]
}

/// RFC 9110 §13.1.5: a strong tag that is the same, or exactly the date that we gave.
fn if_range_holds(request: &HeaderMap, entity: &Entity<'_>) -> bool {
    let Some(value) = request.get(header::IF_RANGE) else { return true };
    let Ok(text) = value.to_str() else { return false };
    if text.contains('"') { strong_match(text.trim(), entity.etag) } else { date(request, header::IF_RANGE) == Some(entity.modified) }
}

/// A single date header in seconds since 1970; `None` if absent, repeated or no date.
fn date(request: &HeaderMap, name: header::HeaderName) -> Option<u64> {
    let mut values = request.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    let date = httpdate::parse_http_date(value.to_str().ok()?).ok()?;
    Some(date.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

fn http_date(seconds: u64) -> HeaderValue {
    // Beyond the year 9999 the format ends.
    let seconds = seconds.min(253_402_300_799);
    HeaderValue::try_from(httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds))).unwrap_or(crate::headers::cache::LONG_AGO)
}

/// The headers of the answer, except Date, Server and Content-Length: Cache-Control, Expires, `ETag`, Last-Modified, Content-Type, Content-Range,
/// Accept-Ranges, and the handler's `http_headers` on 200 and 206 (of which a 304 repeats those that RFC 9110 §15.4.5 asks for).
pub fn headers(
    config: &VersionConfig,
    matched: &Matched<'_>,
    entity: &Entity<'_>,
    answer: Answer,
    mime: &HeaderValue,
    now: u64,
) -> HeaderMap {
    let mut out = HeaderMap::with_capacity(8);
    match answer {
        Answer::WrongMethod => {
            out.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return out;
        }
        Answer::Unsatisfiable => {
            if let Ok(value) = HeaderValue::try_from(format!("bytes */{}", entity.length)) {
                out.insert(header::CONTENT_RANGE, value);
            }
            return out;
        }
        Answer::PreconditionFailed => {
            insert_tag(&mut out, entity);
            return out;
        }
        Answer::Whole | Answer::Part { .. } | Answer::NotModified => {}
    }
    insert_tag(&mut out, entity);
    cache_headers(&mut out, config, matched, now);
    let files = static_files(matched.handler);
    let own = files.map_or(&[][..], |files| &files.http_headers[..]);
    if answer == Answer::NotModified {
        let repeated = [header::CACHE_CONTROL, header::CONTENT_LOCATION, header::ETAG, header::EXPIRES, header::VARY];
        set_all(&mut out, own.iter().filter(|(name, _)| repeated.contains(name)));
        return out;
    }
    out.insert(header::LAST_MODIFIED, http_date(entity.modified.min(now)));
    out.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    out.insert(header::CONTENT_TYPE, mime.clone());
    if let Answer::Part { start, end } = answer
        && let Ok(value) = HeaderValue::try_from(format!("bytes {start}-{}/{}", end.saturating_sub(1), entity.length))
    {
        out.insert(header::CONTENT_RANGE, value);
    }
    set_all(&mut out, own.iter());
    // A cookie in `http_headers` is as little for shared caches as an app's (row H17).
    crate::headers::cache::protect_cookie(&mut out, &http_date(now), now);
    out
}

fn insert_tag(out: &mut HeaderMap, entity: &Entity<'_>) {
    if let Ok(tag) = HeaderValue::try_from(entity.etag) {
        out.insert(header::ETAG, tag);
    }
}

/// `expiration`, or the version's default (rows Y8, Y17). What only some users may see is not for shared caches.
fn cache_headers(out: &mut HeaderMap, config: &VersionConfig, matched: &Matched<'_>, now: u64) {
    let expiration = static_files(matched.handler).and_then(|files| files.expiration).unwrap_or(config.default_expiration).0;
    let scope = if matched.handler.login == Login::Optional { "public" } else { "private" };
    if let Ok(value) = HeaderValue::try_from(format!("{scope}, max-age={expiration}")) {
        out.insert(header::CACHE_CONTROL, value);
    }
    out.insert(header::EXPIRES, http_date(now.saturating_add(expiration)));
}

/// The handler's own headers replace ours of the same name.
fn set_all<'h>(out: &mut HeaderMap, own: impl Iterator<Item = &'h (header::HeaderName, HeaderValue)>) {
    for (name, value) in own {
        out.insert(name.clone(), value.clone());
    }
}
