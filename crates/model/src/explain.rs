//! What would happen to a URL, as data: `enginehouse explain` prints it. Asks the same functions as the data plane and decides nothing itself.

use std::fmt::Write;

use http::Method;

use crate::asset;
use crate::gate::{self, Ask, Caller, Verdict};
use crate::handler::{Handler, HandlerKind, Origin, Script, StaticSource};
use crate::headers::{request, response};
use crate::ids::VersionKey;
use crate::route::handler::Matched;
use crate::route::host::{self, Why};
use crate::route::path::{self, Reading};
use crate::table::{RoutingTable, Version};
use crate::user::User;

/// What is asked.
#[derive(Debug, Clone)]
pub struct Question<'a> {
    /// An absolute URL, `HOST/PATH`, or a path (for the default host).
    pub url: &'a str,
    /// The method.
    pub method: &'a Method,
    /// As whom.
    pub user: Option<&'a User>,
    /// `secure` is honoured ([`Ask::enforce_secure`]).
    pub enforce_secure: bool,
}

/// The answer, in the order in which a request meets it. What lies behind an early end is `None`.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// Authority of the URL.
    pub authority: String,
    /// Decoded path, as handlers see it; bytes that are no UTF-8 are replaced.
    pub path: String,
    /// Where the request ends before any handler runs, in one sentence: a refusal or redirect.
    pub end: Option<String>,
    /// How service and version were found.
    pub aim: Option<Aimed>,
    /// The handler that matched.
    pub handler: Option<Found>,
    /// What the gate says.
    pub verdict: Option<Verdict>,
    /// What happens to request headers; only for handlers that run code.
    pub request: Vec<Line>,
    /// What happens to response headers; only for handlers that run code.
    pub response: Vec<Line>,
}

/// Service and version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aimed {
    /// Which.
    pub version: VersionKey,
    /// The numbered instance that the host names.
    pub instance: Option<u32>,
    /// Why, in one phrase: `dispatch.yaml:4 (*/tasks/*)`.
    pub why: String,
}

/// A handler.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Its place in the list, from 0, implicit handlers included.
    pub index: usize,
    /// `url` as written.
    pub url: String,
    /// Where it is written; empty file for an implicit handler.
    pub origin: Origin,
    /// The handler itself.
    pub handler: Handler,
    /// What it leads to.
    pub target: Target,
}

/// What a handler leads to for this path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A file of the app.
    File {
        /// Relative to the app; `None` if the handler names no file that may be served (404).
        file: Option<String>,
        /// Its type.
        mime_type: Option<String>,
    },
    /// A WSGI object.
    Wsgi(String),
    /// A CGI script.
    Cgi(String),
    /// The app's own entry point.
    Entrypoint,
    /// An empty 200.
    Nothing,
}

/// One line of a header table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The requirement row.
    pub row: &'static str,
    /// Added (or changed), as opposed to removed.
    pub added: bool,
    /// Which headers.
    pub what: &'static str,
    /// Why.
    pub doc: &'static str,
}

/// Explains.
pub fn explain(table: &RoutingTable, question: &Question<'_>) -> Explanation {
    let (https, authority, target) = split(question.url, &table.naming.default_hostname);
    let target = target.split('#').next().unwrap_or_default();
    let (raw, query) = target.split_once('?').map_or((target, None), |(raw, query)| (raw, Some(query)));
    let mut answer = Explanation {
        authority: authority.to_owned(),
        path: raw.to_owned(),
        end: None,
        aim: None,
        handler: None,
        verdict: None,
        request: Vec::new(),
        response: Vec::new(),
    };
    let path = match path::read(raw, query) {
        Reading::Clean(path) => path,
        Reading::Moved(to) => return answer.ended(format!("302 to {to}: the path has dot segments")),
        Reading::Bad(why) => return answer.ended(format!("400: {why}")),
    };
    answer.path = String::from_utf8_lossy(&path).into_owned();
    let aim = match host::aim(table, authority, &path) {
        Ok(aim) => aim,
        Err(error) => return answer.ended(format!("{}: {error}", error.status().as_u16())),
    };
    answer.aim = Some(Aimed { version: aim.version.config.key.clone(), instance: aim.instance, why: why(aim.why) });
    let Some(matched) = aim.version.handlers().find(&path) else {
        return answer.ended("404: no handler matches the path".to_owned());
    };
    answer.handler = Some(found(aim.version, &matched, &path));
    let ask = Ask {
        caller: Caller::External,
        user: question.user,
        https,
        enforce_secure: question.enforce_secure,
        authority,
        path: raw,
        query,
        http_port: 80,
        https_port: 443,
    };
    answer.verdict = Some(gate::check(matched.handler, &ask));
    let reads = matches!(*question.method, Method::GET | Method::HEAD);
    if !reads && matches!(matched.handler.kind, HandlerKind::Static(_)) && answer.verdict == Some(Verdict::Pass) {
        answer.end = Some("405: static files take GET and HEAD".to_owned());
    }
    if matches!(matched.handler.kind, HandlerKind::Script(_)) {
        answer.request = request_lines(gate::shows_user(matched.handler, &aim.version.config));
        answer.response = response_lines();
    }
    answer
}

impl Explanation {
    fn ended(mut self, why: String) -> Self {
        self.end = Some(why);
        self
    }
}

/// Scheme, authority and target of what the user typed.
fn split<'u>(url: &'u str, default: &'u str) -> (bool, &'u str, &'u str) {
    if url.starts_with('/') {
        return (false, default, url);
    }
    let (https, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (scheme.eq_ignore_ascii_case("https"), rest),
        None => (false, url),
    };
    let at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(at);
    (https, authority, if target.starts_with('/') { target } else { "/" })
}

fn why(why: Why<'_>) -> String {
    match why {
        Why::Host => "the host names it".to_owned(),
        Why::Dispatch(rule) => format!("dispatch.yaml:{} ({})", rule.line, rule.written),
        Why::Default => "the host names no service".to_owned(),
        Why::Soft => "the host or rule names nothing that exists, so the default service answers".to_owned(),
    }
}

fn found(version: &Version, matched: &Matched<'_>, path: &[u8]) -> Found {
    let expand =
        |template: &crate::pattern::Template| String::from_utf8_lossy(&template.expand(&matched.captures(path), path)).into_owned();
    let target = match &matched.handler.kind {
        HandlerKind::Static(_) => {
            let file = asset::locate(&version.config, matched, path);
            let mime = file.as_deref().map(|file| asset::mime_type(matched, file));
            Target::File { mime_type: mime.and_then(|mime| mime.to_str().ok().map(str::to_owned)), file }
        }
        HandlerKind::Script(Script::Wsgi(template)) => Target::Wsgi(expand(template)),
        HandlerKind::Script(Script::Cgi(template)) => Target::Cgi(expand(template)),
        HandlerKind::Script(Script::Auto) => Target::Entrypoint,
        HandlerKind::Script(Script::Nothing) => Target::Nothing,
    };
    Found {
        index: matched.index,
        url: matched.handler.written.clone(),
        origin: matched.handler.origin.clone(),
        handler: matched.handler.clone(),
        target,
    }
}

/// What happens to the headers of a request from outside; `user` with those of a signed-in user.
pub fn request_lines(user: bool) -> Vec<Line> {
    let removed = request::REMOVED.iter().map(|rule| Line { row: rule.row, added: false, what: rule.what, doc: rule.doc });
    let added = request::ADDED.iter().filter(|rule| user || rule.row != "H11");
    removed.chain(added.map(|rule| Line { row: rule.row, added: true, what: rule.name, doc: rule.doc })).collect()
}

/// What happens to the headers of an app's response.
pub fn response_lines() -> Vec<Line> {
    response::RULES
        .iter()
        .map(|rule| Line { row: rule.row, added: !rule.doc.starts_with("removed"), what: rule.what, doc: rule.doc })
        .collect()
}

/// docs/reference/headers.md, printed from the lists that the data plane runs.
pub fn reference() -> String {
    let mut text = String::from(
        "# Headers\n\nGenerated from the rules that run (`crates/model/src/headers`); the rows are those of the requirements.\n\n\
         ## Removed from requests\n\nBefore an app sees a request from outside, in this order:\n\n| row | headers | why |\n|---|---|---|\n",
    );
    for rule in &request::REMOVED {
        let _ = writeln!(text, "| {} | {} | {} |", rule.row, rule.what, rule.doc);
    }
    text.push_str(
        "\n## Added to requests\n\nFirst-generation apps see them as `HTTP_…` variables too.\n\n| row | header | value |\n|---|---|---|\n",
    );
    for rule in &request::ADDED {
        let _ = writeln!(text, "| {} | {} | {} |", rule.row, rule.name, rule.doc);
    }
    text.push_str(
        "\n## Responses\n\nTo the headers of an app's response, in this order:\n\n| row | headers | what happens |\n|---|---|---|\n",
    );
    for rule in &response::RULES {
        let _ = writeln!(text, "| {} | {} | {} |", rule.row, rule.what, rule.doc);
    }
    text.push_str("\n## App Engine names\n\nExactly these are App Engine's own (H2), in any case, each after `X-Appengine-`:\n\n");
    for name in crate::headers::names::APP_ENGINE {
        let _ = writeln!(text, "- {name}");
    }
    text
}

/// In one line, what a handler leads to, for lists of handlers.
pub fn describe(kind: &HandlerKind) -> String {
    match kind {
        HandlerKind::Static(files) => match &files.source {
            StaticSource::Dir(dir) => format!("static_dir {dir}"),
            StaticSource::Files { path, .. } => format!("static_files {}", path.source()),
        },
        HandlerKind::Script(Script::Wsgi(template) | Script::Cgi(template)) => format!("script {}", template.source()),
        HandlerKind::Script(Script::Auto) => "script auto".to_owned(),
        HandlerKind::Script(Script::Nothing) => "nothing".to_owned(),
    }
}
