//! What the metadata server says, and how: a tree of facts, read by paths. Pure; the two leaves that are made for whoever asks (`token`, `identity`) are
//! only named here.

use std::fmt::Write as _;

use http::{HeaderMap, Method, StatusCode};
use model::ids::InstanceId;
use model::table::Version;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::identity::USUAL_SCOPE;

/// The scopes that the account shows.
const SCOPES: [&str; 2] = [USUAL_SCOPE, "https://www.googleapis.com/auth/userinfo.email"];
const FLAVOR: &str = "metadata-flavor";
/// Where it all begins.
const ROOT: &str = "/computeMetadata/v1";

/// What is asked, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    /// An answer is known.
    Known(Found),
    /// A token of the account for these scopes.
    Token(Vec<String>),
    /// An OpenID token of the account for this audience.
    IdToken(String),
    /// What was found, once it has changed or after so many seconds: nothing ever changes.
    Later(Found, u64),
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) status: StatusCode,
    pub(crate) kind: &'static str,
    pub(crate) body: String,
    /// Elsewhere.
    pub(crate) location: Option<String>,
}

impl Found {
    pub(crate) fn text(body: impl Into<String>) -> Self {
        Self { status: StatusCode::OK, kind: "application/text", body: body.into(), location: None }
    }

    pub(crate) fn json(value: &Value) -> Self {
        Self { kind: "application/json", ..Self::text(value.to_string()) }
    }

    pub(crate) fn refused(status: StatusCode, text: &str) -> Self {
        Self { status, kind: "text/plain; charset=utf-8", body: format!("{text}\n"), location: None }
    }

    fn moved(to: String) -> Self {
        Self { location: Some(to), ..Self::refused(StatusCode::MOVED_PERMANENTLY, "The folder's address ends with a slash.") }
    }

    fn missing() -> Self {
        Self::refused(StatusCode::NOT_FOUND, "The requested URL was not found on this server.")
    }
}

/// Whose facts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) version: &'a Version,
    pub(crate) instance: &'a InstanceId,
    pub(crate) region: &'a str,
    /// The address of its service account.
    pub(crate) account: &'a str,
}

/// Reads a request.
pub(crate) fn read(method: &Method, target: &http::Uri, headers: &HeaderMap, subject: Subject<'_>) -> Asked {
    if let Some(refused) = refused(method, headers) {
        return Asked::Known(refused);
    }
    let path = target.path();
    if path == "/" {
        return Asked::Known(Found::text("computeMetadata/\n"));
    }
    // Whoever sends this is a program that means it, and no page in a browser.
    if headers.get(FLAVOR).is_none_or(|flavor| !flavor.as_bytes().eq_ignore_ascii_case(b"google")) {
        return Asked::Known(Found::refused(StatusCode::FORBIDDEN, "Missing Metadata-Flavor:Google header."));
    }
    let query = Query(target.query().unwrap_or_default());
    if path.trim_end_matches('/') == "/computeMetadata" {
        return Asked::Known(if path.ends_with('/') { Found::text("v1/\n") } else { Found::moved(format!("{path}/")) });
    }
    let Some(inner) = path.strip_prefix(ROOT).filter(|inner| inner.is_empty() || inner.starts_with('/')) else {
        return Asked::Known(Found::missing());
    };
    let Ok(inner) = percent_decode_str(inner).decode_utf8() else { return Asked::Known(Found::missing()) };
    if let Some(made) = made(&inner, &query, subject.account) {
        return made;
    }
    let facts = facts(subject);
    let found = found(&facts, &inner, target, &query);
    // `last_etag` of another answer means that something has changed; ours stays the same as long as the instance lives.
    match query.get("wait_for_change") {
        Some(wait) if wait.eq_ignore_ascii_case("true") && query.get("last_etag").is_none_or(|tag| tag == etag(&found.body)) => {
            Asked::Later(found, query.get("timeout_sec").and_then(|text| text.parse().ok()).unwrap_or(u64::MAX))
        }
        _ => Asked::Known(found),
    }
}

/// What is refused before anything is looked at.
fn refused(method: &Method, headers: &HeaderMap) -> Option<Found> {
    let bad = |text: &str| Some(Found::refused(StatusCode::FORBIDDEN, text));
    if headers.contains_key("x-forwarded-for") {
        return bad("Requests that came through a proxy (X-Forwarded-For) are refused.");
    }
    if !headers.get(http::header::HOST).is_none_or(|host| host.to_str().is_ok_and(is_ours)) {
        return bad("The Host header names another server.");
    }
    if *method != Method::GET && *method != Method::HEAD {
        return Some(Found::refused(StatusCode::METHOD_NOT_ALLOWED, "Metadata is read with GET."));
    }
    None
}

/// Names of the metadata server, and addresses: a name that somebody else chose could be made to lead here (DNS rebinding).
pub(crate) fn is_ours(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') && port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.to_ascii_lowercase();
    let known = ["metadata.google.internal", "metadata.google.internal.", "metadata", "appengine.googleapis.internal", "localhost"];
    known.contains(&name.as_str()) || name.parse::<std::net::Ipv4Addr>().is_ok()
}

/// A quoted-string-free tag of an answer.
pub(crate) fn etag(body: &str) -> String {
    // FNV-1a.
    let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    format!("{:016x}", body.bytes().fold(0xcbf2_9ce4_8422_2325, fold))
}

/// `token` and `identity` of the account, under either of its names.
fn made(inner: &str, query: &Query<'_>, own: &str) -> Option<Asked> {
    let (account, leaf) = inner.strip_prefix("/instance/service-accounts/")?.split_once('/')?;
    if account != "default" && account != own {
        return None;
    }
    match leaf {
        "token" => {
            let asked = query.get("scopes").unwrap_or_default();
            let scopes: Vec<String> = asked.split([',', ' ']).filter(|scope| !scope.is_empty()).map(str::to_owned).collect();
            Some(Asked::Token(if scopes.is_empty() { SCOPES.map(str::to_owned).to_vec() } else { scopes }))
        }
        "identity" => Some(match query.get("audience").filter(|audience| !audience.is_empty()) {
            Some(audience) if audience.len() <= 2048 => Asked::IdToken(audience),
            Some(_) => Asked::Known(Found::refused(StatusCode::BAD_REQUEST, "The audience is too long.")),
            None => Asked::Known(Found::refused(StatusCode::BAD_REQUEST, "non-empty audience parameter required")),
        }),
        _ => None,
    }
}

fn facts(subject: Subject<'_>) -> Value {
    let Subject { version, instance, region, account: email } = subject;
    let (app, key) = (&version.app, &version.config.key);
    let number = app.number();
    let account = |alias: &str| json!({ "aliases": [alias], "email": email, "scopes": SCOPES });
    let mut accounts = serde_json::Map::new();
    accounts.insert("default".into(), account("default"));
    accounts.insert(email.to_owned(), account("default"));
    json!({
        "instance": {
            "attributes": {
                "gae_backend_instance": instance.to_string(),
                "gae_backend_minor_version": version.deployment.to_string(),
                "gae_backend_name": key.service.as_str(),
                "gae_backend_version": key.version.as_str(),
                "gae_project": app.project(),
            },
            "hostname": format!("{instance}.{region}-1.c.{}.internal", app.project()),
            "id": instance.to_string(),
            "region": format!("projects/{number}/regions/{region}"),
            "service-accounts": accounts,
            "zone": format!("projects/{number}/zones/{region}-1"),
        },
        "project": { "attributes": {}, "numeric-project-id": number, "project-id": app.project() },
        // Clients differ in how they spell it.
        "universe": { "universe-domain": "googleapis.com", "universe_domain": "googleapis.com" },
    })
}

fn found(facts: &Value, inner: &str, target: &http::Uri, query: &Query<'_>) -> Found {
    let is_folder = inner.is_empty() || inner.ends_with('/');
    let mut here = facts;
    for part in inner.split('/').filter(|part| !part.is_empty()) {
        let Some(next) = here.get(part) else { return Found::missing() };
        here = next;
    }
    let alt = query.get("alt").unwrap_or_default();
    let recursive = query.get("recursive").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    match here {
        Value::Object(_) if is_folder && recursive => {
            if alt == "text" {
                let mut lines = String::new();
                flatten("", here, &mut lines);
                return Found::text(lines);
            }
            Found::json(&camel(here))
        }
        Value::Object(_) if !is_folder => {
            let query = target.query().map(|query| format!("?{query}")).unwrap_or_default();
            Found::moved(format!("{}/{query}", target.path()))
        }
        Value::Object(entries) => {
            let names: Vec<String> =
                entries.iter().map(|(name, value)| if value.is_object() { format!("{name}/") } else { name.clone() }).collect();
            if alt == "json" {
                Found::json(&json!(names))
            } else {
                Found::text(names.iter().fold(String::new(), |all, name| all + name + "\n"))
            }
        }
        _ if is_folder => Found::missing(),
        _ if alt == "json" => Found::json(here),
        Value::Array(lines) => Found::text(lines.iter().filter_map(Value::as_str).fold(String::new(), |all, line| all + line + "\n")),
        Value::String(text) => Found::text(text.clone()),
        other => Found::text(other.to_string()),
    }
}

/// `recursive=true` writes `serviceAccounts` for `service-accounts`, as Google does; the names of accounts and attributes stay.
fn camel(value: &Value) -> Value {
    let Value::Object(entries) = value else { return value.clone() };
    let rename = |(name, value): (&String, &Value)| {
        let keeps = name.contains('@') || name.starts_with("gae_") || name == "universe_domain";
        let renamed = if keeps {
            name.clone()
        } else {
            let mut parts = name.split('-');
            let first = parts.next().unwrap_or_default().to_owned();
            parts.fold(first, |all, part| all + &part[..1].to_ascii_uppercase() + &part[1..])
        };
        (renamed, camel(value))
    };
    Value::Object(entries.iter().map(rename).collect())
}

/// `alt=text`: a line for each leaf.
fn flatten(path: &str, value: &Value, lines: &mut String) {
    match value {
        Value::Object(entries) => {
            for (name, value) in entries {
                flatten(&if path.is_empty() { name.clone() } else { format!("{path}/{name}") }, value, lines);
            }
        }
        Value::Array(all) => all.iter().for_each(|one| flatten(path, one, lines)),
        Value::String(text) => drop(writeln!(lines, "{path} {text}")),
        other => drop(writeln!(lines, "{path} {other}")),
    }
}

/// The parameters of an address.
struct Query<'a>(&'a str);

impl Query<'_> {
    fn get(&self, name: &str) -> Option<String> {
        self.0.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (key == name).then(|| percent_decode_str(&value.replace('+', " ")).decode_utf8_lossy().into_owned())
        })
    }
}

#[cfg(test)]
mod tests;
