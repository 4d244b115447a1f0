//! What happens to request headers before an app sees them (rows H1–H3, H6–H14): one list of what is removed, one of what is added.

use std::net::IpAddr;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::names;
use crate::brief::Brief;
use crate::gate::Caller;
use crate::trace::Place;
use crate::user::User;

/// Where the client's address lies (row H6).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Geo {
    /// ISO 3166-1 alpha-2; `None` = `ZZ`.
    pub country: Option<String>,
    /// Region, lower case.
    pub region: Option<String>,
    /// City, lower case.
    pub city: Option<String>,
    /// `37.386051,-122.083851`.
    pub lat_long: Option<String>,
}

/// What is known of a client: made once a connection (and again if a trusted proxy forwards others' requests).
#[derive(Debug, Clone)]
pub struct Client {
    /// Its address.
    pub ip: IpAddr,
    /// It spoke TLS to us, or to the trusted proxy.
    pub https: bool,
    /// Where it is.
    pub geo: Geo,
    /// `ip` as text, made once.
    pub(crate) ip_value: HeaderValue,
    /// The lines of all headers in [`ADDED`] that depend on the client alone, made once.
    lines: Box<[u8]>,
}

impl Client {
    /// A client.
    pub fn new(ip: IpAddr, https: bool, geo: Geo) -> Self {
        let ip = ip.to_canonical();
        let ip_value = HeaderValue::try_from(ip.to_string()).unwrap_or(HeaderValue::from_static("0.0.0.0"));
        let mut client = Self { ip, https, geo, ip_value, lines: Box::default() };
        let mut lines = Vec::new();
        for added in &ADDED {
            if let Source::Client(value) = added.value
                && let Some(value) = value(&client).bytes()
            {
                for part in [added.header.as_str().as_bytes(), b": ", value, b"\r\n"] {
                    lines.extend_from_slice(part);
                }
            }
        }
        client.lines = lines.into();
        client
    }

    /// The lines of all headers in [`ADDED`] whose [`Source`] is the client, as they stand in a request.
    pub fn lines(&self) -> &[u8] {
        &self.lines
    }

    /// Its address as text.
    pub fn ip_text(&self) -> &str {
        self.ip_value.to_str().unwrap_or_default()
    }
}

/// What a trusted proxy in front of us said; all empty when the peer is not trusted.
#[derive(Debug, Clone, Default)]
pub struct Forwarded {
    /// Its `X-Forwarded-For`, to be continued.
    pub chain: Option<HeaderValue>,
    /// Its own address, which ends the chain.
    pub proxy: Option<IpAddr>,
    /// Its `X-Cloud-Trace-Context`, to be continued.
    pub trace: Option<HeaderValue>,
}

/// The facts of a request that become headers or environ variables.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// Who asks.
    pub caller: Caller,
    /// The client.
    pub client: &'a Client,
    /// What a trusted proxy said.
    pub forwarded: &'a Forwarded,
    /// 128 random bits: the id of this request's trace; its span is made of them too.
    pub trace: u128,
    /// The request's place in a trace that is followed; it decides the trace and the span instead of `trace` and what a proxy said.
    pub place: Option<Place>,
    /// Request log id, hex (row H10).
    pub log_id: &'a str,
    /// The API ticket.
    pub ticket: &'a str,
    /// Time left for the app.
    pub timeout: Duration,
    /// `X-Appengine-Default-Version-Hostname`.
    pub default_hostname: &'a str,
    /// The signed-in user.
    pub user: Option<&'a User>,
    /// The user headers are added (row H11): [`crate::gate::shows_user`] of the handler.
    pub login: bool,
}

/// A reason to remove a request header.
#[derive(Debug)]
pub struct Removed {
    /// The requirement row, or the RFC.
    pub row: &'static str,
    /// Which headers, for people.
    pub what: &'static str,
    /// Why.
    pub doc: &'static str,
    hits: fn(&str) -> bool,
    /// Also removed from requests of the house itself.
    always: bool,
}

/// Every reason, in order; the first that hits is the one that is told.
pub static REMOVED: [Removed; 7] = [
    Removed { row: "H1", what: "X-Google-*", doc: "the prefix is reserved", hits: names::is_google, always: false },
    Removed {
        row: "H2",
        what: "App Engine names, exactly and in any case",
        doc: "only the house sets them; similar names such as X-Appengine-Cntry stay",
        hits: names::is_app_engine,
        always: false,
    },
    Removed {
        row: "H2",
        what: "names with `_` that read like one of these lists with `-`",
        doc: "both spellings are the same environ variable",
        hits: names::is_look_alike,
        always: true,
    },
    Removed {
        row: "H3",
        what: "Accept-Encoding, Connection, Keep-Alive, Proxy-Authorization, TE, Trailer, Transfer-Encoding",
        doc: "they concern the transfer between client and front end, which compresses by itself (H19)",
        hits: |name| names::TRANSFER.contains(&name),
        always: true,
    },
    Removed {
        row: "RFC 9110 §7.6.1",
        what: "Expect, HTTP2-Settings, Proxy-Connection, Upgrade, and what Connection names",
        doc: "they end at the next hop; the front end answers Expect itself",
        hits: |name| names::HOP.contains(&name),
        always: true,
    },
    Removed {
        row: "RFC 3875 §4.1.18",
        what: "Proxy",
        doc: "it would become HTTP_PROXY, which libraries believe (CVE-2016-5385)",
        hits: |name| name == "proxy",
        always: true,
    },
    Removed {
        row: "H7–H9",
        what: "X-Cloud-Trace-Context, X-Forwarded-For, X-Forwarded-Proto",
        doc: "written anew; continued only if a trusted proxy sent them",
        hits: |name| names::REWRITTEN.contains(&name),
        always: true,
    },
];

/// Why a header of this name (lower case) does not reach the app, if so.
pub fn removed_by(name: &str, caller: Caller) -> Option<&'static Removed> {
    if !names::is_suspect(name) {
        return None;
    }
    let outside = caller == Caller::External;
    REMOVED.iter().find(|rule| (outside || rule.always) && (rule.hits)(name))
}

/// Takes away what no client may send (rows H1–H3) and joins cookies: call before anything is added. Of internal callers, only what concerns the transfer or is
/// written anew.
pub fn clean(headers: &mut HeaderMap, caller: Caller) {
    let mut doomed: Vec<HeaderName> = Vec::new();
    let mut cookies = 0;
    for (name, value) in &*headers {
        if *name == header::CONNECTION {
            let tokens = value.as_bytes().split(|&b| b == b',').map(<[u8]>::trim_ascii);
            let named = tokens.filter_map(|token| HeaderName::from_bytes(token).ok());
            doomed.extend(named.filter(|name| !names::is_end_to_end(name.as_str())));
        }
        if *name == header::COOKIE {
            cookies += 1;
        } else if removed_by(name.as_str(), caller).is_some() {
            doomed.push(name.clone());
        }
    }
    for name in doomed {
        headers.remove(name);
    }
    if cookies > 1 {
        join_cookies(headers);
    }
}

/// HTTP/2 clients may send a cookie a header; everyone behind us knows only one (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let all: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if all.len() < 2 {
        return;
    }
    if let Ok(joined) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
        headers.insert(header::COOKIE, joined);
    }
}

/// A value to be added.
#[derive(Debug)]
pub enum Value<'f> {
    /// Nothing is added.
    Absent,
    /// A constant.
    Static(&'static str),
    /// A text that lives as long as the facts.
    Text(&'f str),
    /// A value made earlier.
    Ready(&'f HeaderValue),
    /// A value made now.
    Made(String),
    /// A short one made now.
    Brief(Brief),
}

impl Value<'_> {
    /// Its bytes; `None` if nothing is added.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Absent => None,
            Self::Static(text) => Some(str::as_bytes(text)),
            Self::Text(text) => Some(text.as_bytes()),
            Self::Ready(value) => Some(value.as_bytes()),
            Self::Made(text) => Some(text.as_bytes()),
            Self::Brief(text) => Some(text.bytes()),
        }
    }

    fn header(self) -> Option<HeaderValue> {
        match self {
            Self::Absent => None,
            Self::Static(text) => Some(HeaderValue::from_static(text)),
            Self::Text(text) => HeaderValue::from_bytes(text.as_bytes()).ok(),
            Self::Ready(value) => Some(value.clone()),
            Self::Made(text) => HeaderValue::try_from(text).ok(),
            Self::Brief(text) => HeaderValue::from_bytes(text.bytes()).ok(),
        }
    }
}

/// A header that the house adds.
#[derive(Debug)]
pub struct Added {
    /// The requirement row.
    pub row: &'static str,
    /// Its name as the documents write it.
    pub name: &'static str,
    /// What it says.
    pub doc: &'static str,
    /// The name as headers are kept.
    pub header: HeaderName,
    /// Its environ variable.
    pub variable: &'static str,
    /// Where its value comes from.
    pub value: Source,
}

/// Where an added value comes from.
#[derive(Debug, Clone, Copy)]
pub enum Source {
    /// The client alone: the same for all requests of a connection.
    Client(for<'c> fn(&'c Client) -> Value<'c>),
    /// Each request anew.
    Request(for<'f> fn(&'f Facts<'_>) -> Value<'f>),
}

impl Added {
    /// Its value for a request.
    pub fn value<'f>(&self, facts: &'f Facts<'_>) -> Value<'f> {
        match self.value {
            Source::Client(value) => value(facts.client),
            Source::Request(value) => value(facts),
        }
    }
}

macro_rules! added {
    ($row:literal, $name:literal, $lower:literal, $variable:literal, $doc:literal, $value:expr) => {
        Added { row: $row, name: $name, doc: $doc, header: HeaderName::from_static($lower), variable: $variable, value: $value }
    };
}

/// Every header that is added, in order.
#[rustfmt::skip]
pub static ADDED: [Added; 19] = [
    added!("H6", "X-Appengine-Country", "x-appengine-country", "HTTP_X_APPENGINE_COUNTRY",
        "ISO 3166-1 alpha-2 code of the client's country, ZZ if unknown", Source::Client(|c| or(c.geo.country.as_ref(), "ZZ"))),
    added!("H6", "X-Appengine-Region", "x-appengine-region", "HTTP_X_APPENGINE_REGION",
        "region within the country, ? if unknown", Source::Client(|c| or(c.geo.region.as_ref(), "?"))),
    added!("H6", "X-Appengine-City", "x-appengine-city", "HTTP_X_APPENGINE_CITY",
        "city in lower case, ? if unknown", Source::Client(|c| or(c.geo.city.as_ref(), "?"))),
    added!("H6", "X-Appengine-CityLatLong", "x-appengine-citylatlong", "HTTP_X_APPENGINE_CITYLATLONG",
        "latitude and longitude of the city, 0.000000,0.000000 if unknown",
        Source::Client(|c| or(c.geo.lat_long.as_ref(), "0.000000,0.000000"))),
    added!("H7", "X-Cloud-Trace-Context", "x-cloud-trace-context", "HTTP_X_CLOUD_TRACE_CONTEXT",
        "TRACE/SPAN;o=1: 32 hexadecimal digits, a decimal number; the trace of a trusted proxy is continued", Source::Request(trace)),
    added!("H8", "X-Forwarded-For", "x-forwarded-for", "HTTP_X_FORWARDED_FOR",
        "the addresses that the request came through, the client's first; a chain that an outsider sent is not believed", Source::Request(chain)),
    added!("H9", "X-Forwarded-Proto", "x-forwarded-proto", "HTTP_X_FORWARDED_PROTO",
        "http or https, as the client spoke", Source::Client(|c| Value::Static(if c.https { "https" } else { "http" }))),
    added!("H10", "X-Appengine-Https", "x-appengine-https", "HTTP_X_APPENGINE_HTTPS",
        "on or off", Source::Client(|c| Value::Static(if c.https { "on" } else { "off" }))),
    added!("H10", "X-Appengine-User-IP", "x-appengine-user-ip", "HTTP_X_APPENGINE_USER_IP",
        "the client's address; 0.1.0.1 cron, 0.1.0.2 task queue, 0.1.0.3 lifecycle requests", Source::Client(|c| Value::Ready(&c.ip_value))),
    added!("H10", "X-Appengine-Api-Ticket", "x-appengine-api-ticket", "HTTP_X_APPENGINE_API_TICKET",
        "authorizes API calls on behalf of this request", Source::Request(|f| Value::Text(f.ticket))),
    added!("H10", "X-Appengine-Request-Log-Id", "x-appengine-request-log-id", "HTTP_X_APPENGINE_REQUEST_LOG_ID",
        "the request's id in the logs", Source::Request(|f| Value::Text(f.log_id))),
    added!("H10", "X-Appengine-Default-Version-Hostname", "x-appengine-default-version-hostname", "HTTP_X_APPENGINE_DEFAULT_VERSION_HOSTNAME",
        "the host of the default service", Source::Request(|f| Value::Text(f.default_hostname))),
    added!("H10", "X-Appengine-Timeout-Ms", "x-appengine-timeout-ms", "HTTP_X_APPENGINE_TIMEOUT_MS",
        "time that the app has for the answer", Source::Request(|f| Value::Brief(Brief::of(u64::try_from(f.timeout.as_millis()).unwrap_or(u64::MAX))))),
    added!("H11", "X-Appengine-User-Email", "x-appengine-user-email", "HTTP_X_APPENGINE_USER_EMAIL",
        "on handlers with login: the signed-in user", Source::Request(|f| user(f, |u| Value::Text(&u.email)))),
    added!("H11", "X-Appengine-Auth-Domain", "x-appengine-auth-domain", "HTTP_X_APPENGINE_AUTH_DOMAIN",
        "on handlers with login: the domain of the account", Source::Request(|f| user(f, |u| Value::Text(u.auth_domain())))),
    added!("H11", "X-Appengine-User-ID", "x-appengine-user-id", "HTTP_X_APPENGINE_USER_ID",
        "on handlers with login: digits that stay the same for an account", Source::Request(|f| user(f, |u| Value::Text(&u.id)))),
    added!("H11", "X-Appengine-User-Nickname", "x-appengine-user-nickname", "HTTP_X_APPENGINE_USER_NICKNAME",
        "on handlers with login: the part before the @", Source::Request(|f| user(f, |u| Value::Text(u.nickname())))),
    added!("H11", "X-Appengine-User-Organization", "x-appengine-user-organization", "HTTP_X_APPENGINE_USER_ORGANIZATION",
        "on handlers with login: the part after the @", Source::Request(|f| user(f, |u| Value::Text(u.organization())))),
    added!("H11", "X-Appengine-User-Is-Admin", "x-appengine-user-is-admin", "HTTP_X_APPENGINE_USER_IS_ADMIN",
        "on handlers with login: 1 for administrators, otherwise 0", Source::Request(|f| user(f, |u| Value::Static(if u.admin { "1" } else { "0" })))),
];

fn or<'f>(text: Option<&'f String>, otherwise: &'static str) -> Value<'f> {
    text.map_or(Value::Static(otherwise), |text| Value::Text(text))
}

fn user<'f>(facts: &'f Facts<'_>, value: impl Fn(&'f User) -> Value<'f>) -> Value<'f> {
    facts.user.filter(|_| facts.login).map_or(Value::Absent, value)
}

fn chain<'f>(facts: &'f Facts<'_>) -> Value<'f> {
    let (Some(chain), Some(proxy)) = (&facts.forwarded.chain, facts.forwarded.proxy) else { return Value::Ready(&facts.client.ip_value) };
    match chain.to_str() {
        Ok(chain) if !chain.trim().is_empty() => Value::Made(format!("{}, {proxy}", chain.trim())),
        _ => Value::Made(format!("{}, {proxy}", facts.client.ip_text())),
    }
}

fn trace<'f>(facts: &'f Facts<'_>) -> Value<'f> {
    if let Some(place) = &facts.place {
        return Value::Brief(place.cloud());
    }
    #[allow(clippy::cast_possible_truncation, reason = "half of the random bits are wanted; the span is not the trace's own half")]
    let span = (facts.trace as u64).rotate_left(32) ^ 0x9e37_79b9_7f4a_7c15;
    Value::Brief(Place { trace: facts.trace_id(), span, parent: None, sampled: true }.cloud())
}

impl Facts<'_> {
    /// The id of the trace that the app is told.
    pub fn trace_id(&self) -> u128 {
        if let Some(place) = &self.place {
            return place.trace;
        }
        let continued = self.forwarded.trace.as_ref().and_then(|value| {
            let id = value.to_str().ok()?.split(['/', ';']).next()?;
            (id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())).then(|| u128::from_str_radix(id, 16).ok()).flatten()
        });
        continued.unwrap_or(self.trace)
    }
}

/// Adds what the house knows (rows H6–H11).
pub fn add(headers: &mut HeaderMap, facts: &Facts<'_>) {
    headers.reserve(ADDED.len());
    for rule in &ADDED {
        if let Some(value) = rule.value(facts).header() {
            headers.insert(rule.header.clone(), value);
        }
    }
}
