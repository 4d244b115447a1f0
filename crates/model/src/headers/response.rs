//! What happens to an app's response headers before the client sees them (rows H15–H23): one list, applied in order.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::{cache, gzip, names};

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
    /// Our Server header (row H22); absent where whoever writes the head adds it and Date.
    pub server: Option<&'a HeaderValue>,
    /// The body's length as far as the transfer tells it; Content-Length itself may be there or not.
    pub length: Option<u64>,
    /// The client takes gzip ([`super::gzip::accepts`] of the request).
    pub gzip: bool,
    /// Statistics, if the user is an admin.
    pub stats: Option<Stats>,
}

impl Finish<'_> {
    /// 1xx, 204 and 304 have no body and say nothing about one; caching rules pass them by.
    fn is_bare(&self) -> bool {
        self.status.is_informational() || self.status == StatusCode::NO_CONTENT || self.status == StatusCode::NOT_MODIFIED
    }
}

/// What the body is to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyPlan {
    /// There is no body: HEAD, 1xx, 204, 304. What the app sends is dropped.
    pub empty: bool,
    /// Compress it (`Content-Encoding: gzip` and `Vary` are already set); [`undo_gzip`] takes it back for bodies too small to gain.
    pub gzip: bool,
    /// `Content-Length` as the app gave it, to check the body against; already removed from the headers, except in answers to HEAD, which
    /// have no other way to tell it. Without that header what the transfer told.
    pub length: Option<u64>,
}

/// A response rule.
#[derive(Debug)]
pub struct Rule {
    /// The requirement row.
    pub row: &'static str,
    /// Which headers, for people.
    pub what: &'static str,
    /// What happens to them.
    pub doc: &'static str,
    apply: fn(&mut HeaderMap, &Finish<'_>, &mut BodyPlan),
}

/// Every rule in the order of application.
pub static RULES: [Rule; 10] = [
    Rule { row: "H20", what: "Content-Length", doc: "the app's is only compared with the body; HEAD keeps it", apply: length },
    Rule {
        row: "H15",
        what: "Connection, Content-Encoding, Content-Length, Date, Keep-Alive, Proxy-Authenticate, Server, Trailer, Transfer-Encoding, Upgrade",
        doc: "removed",
        apply: drop_transfer,
    },
    Rule {
        row: "H24",
        what: "X-Appengine-BlobKey, -BlobRange, -Error-Code, -Estimated-CPM-US-Dollars, -Resource-Usage",
        doc: "removed: they are for the house, or only the house may say them",
        apply: drop_internal,
    },
    Rule { row: "H16", what: "values that are not ASCII", doc: "removed, with their names", apply: drop_non_ascii },
    Rule { row: "H21", what: "Content-Type", doc: "text/html if the app says nothing", apply: content_type },
    Rule {
        row: "H18",
        what: "Cache-Control, Vary",
        doc: "private and Accept-Encoding if the app gives no Cache-Control",
        apply: |headers, ask, _| {
            if !ask.is_bare() {
                cache::default_private(headers);
            }
        },
    },
    Rule {
        row: "H17",
        what: "Cache-Control, Expires",
        doc: "with Set-Cookie: private unless stricter, and Expires now unless past; otherwise unchanged",
        apply: |headers, ask, _| {
            if !ask.is_bare() {
                cache::protect_cookie(headers, ask.date, ask.now);
            }
        },
    },
    Rule {
        row: "H23",
        what: "X-Appengine-Estimated-CPM-US-Dollars, X-Appengine-Resource-Usage",
        doc: "for signed-in admins, not cacheable",
        apply: statistics,
    },
    Rule {
        row: "H19",
        what: "Content-Encoding, Vary, ETag",
        doc: "gzip if the client accepts it and the type gains; a strong ETag becomes weak",
        apply: compress,
    },
    Rule {
        row: "H22",
        what: "Date, Server",
        doc: "now, and the house's own",
        apply: |headers, ask, _| {
            if let Some(server) = ask.server {
                headers.insert(header::DATE, ask.date.clone());
                headers.insert(header::SERVER, server.clone());
            }
        },
    },
];

/// Whether the rules remove this header and none looks at it before: whoever reads a response need not keep it.
pub fn is_unheard(name: &HeaderName) -> bool {
    *name != header::CONTENT_LENGTH && names::is_response_transfer(name.as_str())
}

/// Applies the response rules in order.
pub fn finish(headers: &mut HeaderMap, ask: &Finish<'_>) -> BodyPlan {
    let mut plan = BodyPlan { empty: *ask.method == Method::HEAD || ask.is_bare(), gzip: false, length: None };
    for rule in &RULES {
        (rule.apply)(headers, ask, &mut plan);
    }
    plan
}

/// Takes back the decision to compress. A strong `ETag` that was weakened stays weak.
pub fn undo_gzip(headers: &mut HeaderMap) {
    headers.remove(header::CONTENT_ENCODING);
}

fn length(headers: &mut HeaderMap, ask: &Finish<'_>, plan: &mut BodyPlan) {
    let before = headers.len();
    if !has(headers, &header::CONTENT_LENGTH) {
        plan.length = ask.length;
        return;
    }
    let Some(value) = headers.remove(header::CONTENT_LENGTH) else { return };
    let alone = before - headers.len() == 1;
    let digits = value.to_str().ok().filter(|text| alone && text.bytes().all(|b| b.is_ascii_digit()));
    plan.length = digits.and_then(|text| text.parse().ok());
    if *ask.method == Method::HEAD && !ask.is_bare() && plan.length.is_some() {
        headers.insert(header::CONTENT_LENGTH, value);
    }
}

fn drop_transfer(headers: &mut HeaderMap, _: &Finish<'_>, _: &mut BodyPlan) {
    // What is left of Content-Length is what HEAD keeps.
    remove_all(headers, is_unheard);
}

fn drop_internal(headers: &mut HeaderMap, _: &Finish<'_>, _: &mut BodyPlan) {
    remove_all(headers, |name| name.as_str().starts_with("x-appengine-") && names::RESPONSE_INTERNAL.contains(&name.as_str()));
}

/// Names cannot be other than ASCII in a [`HeaderMap`]. Of several values under one name, only the bad ones go.
fn drop_non_ascii(headers: &mut HeaderMap, _: &Finish<'_>, _: &mut BodyPlan) {
    let mut bad: Vec<HeaderName> = headers.iter().filter(|(_, value)| !value.as_bytes().is_ascii()).map(|(name, _)| name.clone()).collect();
    bad.dedup();
    for name in bad {
        let good: Vec<HeaderValue> = headers.get_all(&name).iter().filter(|value| value.as_bytes().is_ascii()).cloned().collect();
        headers.remove(&name);
        for value in good {
            headers.append(name.clone(), value);
        }
    }
}

fn content_type(headers: &mut HeaderMap, ask: &Finish<'_>, _: &mut BodyPlan) {
    if !ask.is_bare() && !has(headers, &header::CONTENT_TYPE) {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
    }
}

fn statistics(headers: &mut HeaderMap, ask: &Finish<'_>, _: &mut BodyPlan) {
    let Some(stats) = ask.stats else { return };
    // Of 1,000 requests like this one, at 5 cents an instance hour: an order of magnitude, as production's was.
    let micros = stats.ms.saturating_mul(1_000).saturating_mul(50_000) / 3_600_000;
    let dollars = format!("${}.{:06}", micros / 1_000_000, micros % 1_000_000);
    let usage = format!("ms={} cpu_ms={}", stats.ms, stats.cpu_ms);
    for (name, value) in [("x-appengine-estimated-cpm-us-dollars", dollars), ("x-appengine-resource-usage", usage)] {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    cache::forbid(headers);
}

fn compress(headers: &mut HeaderMap, ask: &Finish<'_>, plan: &mut BodyPlan) {
    if plan.empty || !gzip::decide(headers, ask.status, ask.gzip, plan.length) {
        return;
    }
    plan.gzip = true;
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    cache::vary_on_encoding(headers);
    // RFC 9110 §8.8.3: the compressed bytes differ from those that the app tagged.
    let strong = headers.get(header::ETAG).filter(|tag| tag.as_bytes().starts_with(b"\""));
    let weak = strong.and_then(|tag| HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()).ok());
    if let Some(weak) = weak {
        headers.insert(header::ETAG, weak);
    }
}

/// Whether a header is there. Most responses have so few that looking at each costs less than hashing the name.
pub(super) fn has(headers: &HeaderMap, wanted: &HeaderName) -> bool {
    if headers.keys_len() > FEW { headers.contains_key(wanted) } else { headers.keys().any(|name| name == wanted) }
}

/// Names that are looked at one by one.
const FEW: usize = 12;

fn remove_all(headers: &mut HeaderMap, doomed: impl Fn(&HeaderName) -> bool) {
    // Nearly always there is none or one.
    while let Some(name) = headers.keys().find(|name| doomed(name)).cloned() {
        headers.remove(name);
    }
}
