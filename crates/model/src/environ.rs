//! The CGI/WSGI environ of a request, as `key\0value\0` pairs for the agent (docs/design/agent-protocol.md; rows H4, H5).
//!
//! Constants of an instance ([`constants`]) are given to the agent once, at its start; what changes from request to request is written here. No
//! value can contain a NUL: the path is refused earlier if it has one, and neither targets nor header values may.

use std::io::Write;

use http::{HeaderMap, Method, header};

use crate::gate::{Caller, Internal};
use crate::handler::Script;
use crate::headers::request::{ADDED, Facts};
use crate::ids::{AppId, InstanceId};
use crate::scaling::Scaling;
use crate::table::Version;

/// What the environ is made of.
#[derive(Debug, Clone)]
pub struct Call<'a> {
    /// The version that is called.
    pub version: &'a Version,
    /// The facts.
    pub facts: &'a Facts<'a>,
    /// Method.
    pub method: &'a Method,
    /// Authority as the client named it, with port.
    pub authority: &'a str,
    /// Port that the request came in on, used if the authority names none.
    pub port: u16,
    /// Decoded path.
    pub path: &'a [u8],
    /// Raw path.
    pub raw_path: &'a str,
    /// Raw query.
    pub query: Option<&'a str>,
    /// `HTTP/1.1`.
    pub protocol: &'static str,
    /// Headers after [`crate::headers::request::clean`]; those of [`crate::headers::request::add`] are *not* among them.
    pub headers: &'a HeaderMap,
    /// Length of the body, 0 for none.
    pub content_length: u64,
    /// The script after expansion, if the handler names one.
    pub script: Option<&'a str>,
    /// What kind of script it is.
    pub kind: &'a Script,
}

/// Appends the pairs to `out`, `enginehouse.*` keys included.
pub fn write(out: &mut Vec<u8>, call: &Call<'_>) {
    let facts = call.facts;
    let mut pairs = Pairs { out };
    pairs.text("enginehouse.kind", kind(facts.caller));
    if let Some(script) = call.script {
        pairs.text("enginehouse.script", script);
    }
    pairs.number("enginehouse.deadline_ms", facts.timeout.as_millis());

    let first_generation = call.version.config.runtime.is_first_generation();
    request(&mut pairs, call);
    body(&mut pairs, call, first_generation);
    if !call.authority.is_empty() {
        // Not from the headers: HTTP/2 has `:authority` instead, and an absolute target goes before Host.
        pairs.text("HTTP_HOST", call.authority);
    }
    client_headers(&mut pairs, call.headers);
    for rule in &ADDED {
        if let Some(value) = rule.value(facts).bytes() {
            pairs.bytes(rule.variable, value);
        }
    }
    if first_generation {
        first_generation_facts(&mut pairs, call);
    } else {
        // The target as sent, which frameworks look for under either name.
        let query = call.query.map_or(("", ""), |query| ("?", query));
        for key in ["REQUEST_URI", "RAW_URI"] {
            pairs.format(key, format_args!("{}{}{}", call.raw_path, query.0, query.1));
        }
    }
}

fn kind(caller: Caller) -> &'static str {
    match caller {
        Caller::Internal(Internal::Start) => "start",
        Caller::Internal(Internal::Warmup) => "warmup",
        Caller::Internal(Internal::Stop) => "stop",
        Caller::Internal(Internal::Background) => "background",
        Caller::External | Caller::Internal(_) => "http",
    }
}

/// The variables of RFC 3875 and PEP 3333 that describe the request.
fn request(pairs: &mut Pairs<'_>, call: &Call<'_>) {
    let https = call.facts.client.https;
    pairs.text("REQUEST_METHOD", call.method.as_str());
    pairs.text("SCRIPT_NAME", "");
    pairs.bytes("PATH_INFO", call.path);
    pairs.text("QUERY_STRING", call.query.unwrap_or_default());
    let (name, port) = split_authority(call.authority);
    pairs.text("SERVER_NAME", name);
    match port {
        Some(port) => pairs.text("SERVER_PORT", port),
        None => pairs.number("SERVER_PORT", u128::from(call.port)),
    }
    pairs.text("SERVER_PROTOCOL", call.protocol);
    pairs.bytes("REMOTE_ADDR", call.facts.client.ip_value.as_bytes());
    pairs.text("HTTPS", if https { "on" } else { "off" });
    pairs.text("wsgi.url_scheme", if https { "https" } else { "http" });
}

fn body(pairs: &mut Pairs<'_>, call: &Call<'_>, first_generation: bool) {
    let content_type = call.headers.get(header::CONTENT_TYPE);
    if call.content_length > 0 {
        pairs.number("CONTENT_LENGTH", u128::from(call.content_length));
        // The SDK's default for a body without a type.
        let default = first_generation.then_some(&b"application/x-www-form-urlencoded"[..]);
        if let Some(value) = content_type.map(header::HeaderValue::as_bytes).or(default) {
            pairs.bytes("CONTENT_TYPE", value);
            if first_generation {
                pairs.bytes("HTTP_CONTENT_TYPE", value);
            }
        }
        if first_generation {
            pairs.number("HTTP_CONTENT_LENGTH", u128::from(call.content_length));
        }
    } else if let (Some(value), false) = (content_type, first_generation) {
        pairs.bytes("CONTENT_TYPE", value.as_bytes());
    }
}

/// `HTTP_*`. Repeated headers are joined with commas (RFC 3875 §4.1.18), cookies with semicolons (RFC 9113 §8.2.3). Where `X-Foo` and `X_Foo`
/// would be one variable, the hyphen wins.
fn client_headers(pairs: &mut Pairs<'_>, headers: &HeaderMap) {
    let mut last: Option<&header::HeaderName> = None;
    for (name, value) in headers {
        if [header::HOST, header::CONTENT_TYPE, header::CONTENT_LENGTH].contains(name) || name.as_str() == "proxy" {
            continue;
        }
        if last == Some(name) {
            pairs.join(if *name == header::COOKIE { b"; " } else { b", " }, value.as_bytes());
            continue;
        }
        last = Some(name);
        let text = name.as_str();
        if memchr::memchr(b'_', text.as_bytes()).is_some() && headers.keys().any(|other| stands_before(other.as_str(), text)) {
            // Its further values are skipped by the same test.
            last = None;
            continue;
        }
        pairs.header(text, value.as_bytes());
    }
}

/// Whether `other` is another spelling of the same variable, and the one that is kept: the one with hyphens only, or the first of the alphabet.
fn stands_before(other: &str, name: &str) -> bool {
    let fold = |b: u8| if b == b'_' { b'-' } else { b };
    let same = other.len() == name.len() && other.bytes().map(fold).eq(name.bytes().map(fold));
    same && other != name && (!other.contains('_') || other < name)
}

/// What first-generation code reads without the `HTTP_X_APPENGINE_` prefix (the SDK's runtime strips it).
fn first_generation_facts(pairs: &mut Pairs<'_>, call: &Call<'_>) {
    let facts = call.facts;
    pairs.text("REQUEST_URI", call.raw_path);
    pairs.text("DEFAULT_VERSION_HOSTNAME", facts.default_hostname);
    pairs.text("REQUEST_LOG_ID", facts.log_id);
    #[allow(clippy::cast_possible_truncation, reason = "a short hash is wanted")]
    pairs.format("REQUEST_ID_HASH", format_args!("{:08X}", (facts.trace >> 96) as u32));
    let user = facts.user;
    pairs.text("USER_EMAIL", user.map_or("", |user| &user.email));
    pairs.text("USER_ID", user.map_or("", |user| &user.id));
    pairs.text("USER_NICKNAME", user.map_or("", |user| user.nickname()));
    pairs.text("USER_ORGANIZATION", user.map_or("", |user| user.organization()));
    pairs.text("USER_IS_ADMIN", if user.is_some_and(|user| user.admin) { "1" } else { "0" });
    if let (Some(script), Some(root)) = (call.script, call.version.root.to_str()) {
        if matches!(call.kind, Script::Cgi(_)) {
            pairs.format("PATH_TRANSLATED", format_args!("{root}/{script}"));
        } else {
            let module = script.rsplit_once('.').map_or(script, |(module, _object)| module).replace('.', "/");
            pairs.format("PATH_TRANSLATED", format_args!("{root}/{module}.py"));
        }
    }
}

/// Host and port as text.
fn split_authority(authority: &str) -> (&str, Option<&str>) {
    match authority.rfind(':') {
        Some(at) if !authority[at..].contains(']') => (&authority[..at], Some(&authority[at + 1..]).filter(|port| !port.is_empty())),
        _ => (authority, None),
    }
}

struct Pairs<'o> {
    out: &'o mut Vec<u8>,
}

impl Pairs<'_> {
    fn bytes(&mut self, key: &str, value: &[u8]) {
        self.out.extend_from_slice(key.as_bytes());
        self.out.push(0);
        self.out.extend_from_slice(value);
        self.out.push(0);
    }

    fn text(&mut self, key: &str, value: &str) {
        self.bytes(key, value.as_bytes());
    }

    fn number(&mut self, key: &str, value: u128) {
        self.bytes(key, itoa::Buffer::new().format(value).as_bytes());
    }

    fn format(&mut self, key: &str, value: std::fmt::Arguments<'_>) {
        self.out.extend_from_slice(key.as_bytes());
        self.out.push(0);
        // Writing to a vector cannot fail.
        let _ = self.out.write_fmt(value);
        self.out.push(0);
    }

    fn header(&mut self, name: &str, value: &[u8]) {
        self.out.extend_from_slice(b"HTTP_");
        self.out.extend(name.bytes().map(|b| if b == b'-' { b'_' } else { b.to_ascii_uppercase() }));
        self.out.push(0);
        self.out.extend_from_slice(value);
        self.out.push(0);
    }

    /// Lengthens the value written last.
    fn join(&mut self, separator: &[u8], value: &[u8]) {
        self.out.pop();
        self.out.extend_from_slice(separator);
        self.out.extend_from_slice(value);
        self.out.push(0);
    }
}

/// The entries that stay the same for all requests of an instance (`environ` of the agent's start-up object), without `env_variables`.
pub fn constants(version: &Version, app: &AppId, instance: &InstanceId, server_software: &str) -> Vec<(&'static str, String)> {
    let config = &version.config;
    let current = format!("{}.{}", config.key.version, version.deployment);
    let mut all = vec![
        ("SERVER_SOFTWARE", server_software.to_owned()),
        ("APPLICATION_ID", app.to_string()),
        ("CURRENT_MODULE_ID", config.key.service.to_string()),
        ("CURRENT_VERSION_ID", current),
        ("INSTANCE_ID", instance.to_string()),
    ];
    if config.runtime.is_first_generation() {
        all.push(("APPENGINE_RUNTIME", config.runtime.as_str().to_owned()));
        all.push(("AUTH_DOMAIN", "gmail.com".to_owned()));
        all.push(("DATACENTER", "us1".to_owned()));
        all.push(("TZ", "UTC".to_owned()));
        if !matches!(config.scaling, Scaling::Automatic(_)) {
            all.push(("BACKEND_ID", config.key.version.to_string()));
        }
    }
    all
}
