//! Caching of responses: Set-Cookie, missing Cache-Control, signed-in admins (rows H17, H18, H23).

use http::{HeaderMap, HeaderValue, header};

use super::response::has;

/// `Expires` of an answer that must never be kept.
pub const LONG_AGO: HeaderValue = HeaderValue::from_static("Fri, 01 Jan 1990 00:00:00 GMT");

/// Row H17: an answer that sets a cookie is nobody else's. `public` goes, `private` comes unless something at least as strict is there, and
/// Expires becomes now unless it lies in the past.
pub fn protect_cookie(headers: &mut HeaderMap, date: &HeaderValue, now: u64) {
    if !has(headers, &header::SET_COOKIE) {
        return;
    }
    let mut directives: Vec<&str> = Vec::new();
    for value in headers.get_all(header::CACHE_CONTROL) {
        directives.extend(directives_of(value.to_str().unwrap_or_default()).filter(|directive| !directive.eq_ignore_ascii_case("public")));
    }
    // Only the bare words count: `no-cache="x-foo"` protects one field and not the cookie.
    let strict = directives.iter().any(|d| ["private", "no-cache", "no-store"].iter().any(|word| d.eq_ignore_ascii_case(word)));
    if !strict {
        directives.push("private");
    }
    let joined = directives.join(", ");
    if let Ok(value) = HeaderValue::try_from(joined) {
        headers.insert(header::CACHE_CONTROL, value);
    }
    if !is_past(headers.get(header::EXPIRES), now) {
        headers.insert(header::EXPIRES, date.clone());
    }
}

/// Splits at commas that are not inside quotes.
fn directives_of(value: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    value
        .split(move |c: char| {
            quoted ^= c == '"';
            c == ',' && !quoted
        })
        .map(str::trim)
        .filter(|directive| !directive.is_empty())
}

/// A number such as `0` is an old way to say "past" (RFC 9111 §5.3); any other text that is no date is not trusted to be read as one.
fn is_past(expires: Option<&HeaderValue>, now: u64) -> bool {
    let text = expires.and_then(|value| value.to_str().ok()).unwrap_or_default().trim();
    match date(text) {
        Some(date) => date.duration_since(std::time::UNIX_EPOCH).map_or(true, |since| since.as_secs() <= now),
        None => text.parse::<i64>().is_ok(),
    }
}

/// An HTTP date; a weekday that does not go with the date is overlooked, as in the SDK.
fn date(text: &str) -> Option<std::time::SystemTime> {
    let weekdays = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    httpdate::parse_http_date(text).ok().or_else(|| {
        let (_, rest) = text.split_once(", ")?;
        weekdays.iter().find_map(|day| httpdate::parse_http_date(&format!("{day}, {rest}")).ok())
    })
}

/// Row H18: without a word from the app, only the browser may keep the answer; with `Vary` because the body may be compressed.
pub fn default_private(headers: &mut HeaderMap) {
    if has(headers, &header::CACHE_CONTROL) {
        return;
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private"));
    vary_on_encoding(headers);
}

/// Adds `Vary: Accept-Encoding` unless the app's own Vary says it; the app's lines stay as they are (row H17).
pub fn vary_on_encoding(headers: &mut HeaderMap) {
    vary_on(headers, HeaderValue::from_static("Accept-Encoding"));
}

/// Adds `Vary: Cookie` where a cookie decides which version answers: caches must not give one version's file to a client of another.
pub fn vary_on_cookie(headers: &mut HeaderMap) {
    vary_on(headers, HeaderValue::from_static("Cookie"));
}

fn vary_on(headers: &mut HeaderMap, name: HeaderValue) {
    let says = |value: &HeaderValue| {
        let text = value.to_str().unwrap_or_default();
        text.split(',').map(str::trim).any(|said| said == "*" || said.as_bytes().eq_ignore_ascii_case(name.as_bytes()))
    };
    if !has(headers, &header::VARY) || !headers.get_all(header::VARY).iter().any(says) {
        headers.append(header::VARY, name);
    }
}

/// Row H23: answers with statistics are not kept.
pub fn forbid(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store, must-revalidate"));
    headers.insert(header::EXPIRES, LONG_AGO);
}
