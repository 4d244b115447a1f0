//! Handlers: what a URL pattern of app.yaml leads to (rows Y11–Y20). A field that only makes sense for static files lives inside the static kind.

use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use crate::pattern::{Pattern, Template};
use crate::time::Expiration;

/// One entry of `handlers:`, after includes and builtins were merged in.
#[derive(Debug, Clone, PartialEq)]
pub struct Handler {
    /// For scripts and `static_files`: matches the whole path. For `static_dir`: matches the prefix, a `/`, and the rest of the path as its last group.
    pub url: Pattern,
    /// `url` as written in the file, for messages.
    pub written: String,
    /// What serves it.
    pub kind: HandlerKind,
    /// Whether the scheme is enforced (row Y20).
    pub secure: Secure,
    /// The status of a `secure` redirect.
    pub redirect: RedirectCode,
    /// Who may come in (row Y18).
    pub login: Login,
    /// What happens to who may not (row Y19).
    pub auth_fail: AuthFail,
    /// Where it is written.
    pub origin: Origin,
}

impl Handler {
    /// A handler of which only `url` and what serves it are written: both schemes, open to everybody (document 003: the defaults of each element).
    pub fn new(url: Pattern, kind: HandlerKind) -> Self {
        Self {
            written: url.source().to_owned(),
            url,
            kind,
            secure: Secure::Optional,
            redirect: RedirectCode::Found,
            login: Login::Optional,
            auth_fail: AuthFail::Redirect,
            origin: Origin::default(),
        }
    }
}

/// Where a handler comes from, for logs and `explain`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origin {
    /// The file as the user would name it; empty for an implicit handler.
    pub file: String,
    /// 1-based line; 0 for an implicit handler.
    pub line: u32,
}

/// What a handler does.
#[derive(Debug, Clone, PartialEq)]
pub enum HandlerKind {
    /// Runs code.
    Script(Script),
    /// Serves files.
    Static(Box<StaticFiles>),
}

/// Which code a script handler runs (row Y13).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Script {
    /// No code at all: an empty 200. The implicit `/_ah/start` and `/_ah/warmup` of first-generation apps that have none of their own.
    Nothing,
    /// The process's one entry point decides (`script: auto`, or a version without handlers).
    Auto,
    /// A WSGI object by dotted path: `home.app`, `\1.catalog.app`.
    Wsgi(Template),
    /// A CGI script by file: it ends in `.py` or contains `/`.
    Cgi(Template),
}

/// What a static handler serves and how (rows Y14–Y17).
#[derive(Debug, Clone, PartialEq)]
pub struct StaticFiles {
    /// Which files.
    pub source: StaticSource,
    /// Overrides the type that the file's extension implies.
    pub mime_type: Option<String>,
    /// Cache period; `None` falls to the version's default.
    pub expiration: Option<Expiration>,
    /// Added to every 200 answer.
    pub http_headers: Vec<(HeaderName, HeaderValue)>,
    /// A missing file falls through to later handlers instead of being a 404 (undocumented, honoured by the SDK).
    pub require_matching_file: bool,
    /// App code may read the files too (row Y16).
    pub application_readable: bool,
}

/// Where static files come from.
#[derive(Debug, Clone, PartialEq)]
pub enum StaticSource {
    /// `static_dir`: what follows the prefix is appended to this directory (relative to the app, no leading or trailing `/`).
    Dir(String),
    /// `static_files` and `upload`.
    Files {
        /// The file, with back-references into the URL pattern.
        path: Template,
        /// Which files of the app belong to the handler (row Y15).
        upload: Pattern,
    },
}

/// `secure:` (row Y20).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Secure {
    /// Both schemes are served.
    #[default]
    Optional,
    /// https is redirected to http, without the query.
    Never,
    /// http is redirected to https, with the query.
    Always,
}

/// `redirect_http_response_code:`; 302 by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum RedirectCode {
    /// 301.
    MovedPermanently,
    /// 302.
    #[default]
    Found,
    /// 303.
    SeeOther,
    /// 307.
    TemporaryRedirect,
}

impl RedirectCode {
    /// The status code.
    pub fn status(self) -> http::StatusCode {
        match self {
            Self::MovedPermanently => http::StatusCode::MOVED_PERMANENTLY,
            Self::Found => http::StatusCode::FOUND,
            Self::SeeOther => http::StatusCode::SEE_OTHER,
            Self::TemporaryRedirect => http::StatusCode::TEMPORARY_REDIRECT,
        }
    }
}

/// `login:` (row Y18).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Login {
    /// Anyone.
    #[default]
    Optional,
    /// Any signed-in user.
    Required,
    /// A signed-in admin, or the house itself (cron, task queue, lifecycle).
    Admin,
}

/// `auth_fail_action:` (row Y19).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthFail {
    /// To the sign-in page and back.
    #[default]
    Redirect,
    /// 401 with an error text.
    Unauthorized,
}
