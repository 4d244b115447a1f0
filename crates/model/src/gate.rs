//! May this request come in: `secure` first, then `login` (rows Y18–Y20).

use http::StatusCode;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::config::VersionConfig;
use crate::handler::{AuthFail, Handler, Login, Secure};
use crate::user::User;

/// What the SDK's sign-in link leaves readable in `continue`.
const CONTINUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'.').remove(b'-').remove(b'/');

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Caller {
    /// A client.
    #[default]
    External,
    /// The house itself.
    Internal(Internal),
}

/// Which part of the house asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants say it")]
pub enum Internal {
    Cron,
    TaskQueue,
    Mail,
    Start,
    Warmup,
    Stop,
    Background,
}

impl Caller {
    /// `login: admin` is satisfied by every part of the house (row Y18).
    pub fn is_admin(self) -> bool {
        matches!(self, Self::Internal(_))
    }

    /// `login: required` is satisfied by lifecycle requests only: cron and tasks run on no user's behalf (row Y18; the SDK's
    /// `test_login_required_no_login_fake_logged_in_header`).
    pub fn is_logged_in(self) -> bool {
        matches!(self, Self::Internal(Internal::Start | Internal::Warmup | Internal::Stop | Internal::Background))
    }
}

/// What the gate looks at.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// Who asks.
    pub caller: Caller,
    /// The signed-in user.
    pub user: Option<&'a User>,
    /// The connection is encrypted (or a trusted proxy says so).
    pub https: bool,
    /// `secure` is honoured: a TLS listener exists. The development server ignores it otherwise (row Y20).
    pub enforce_secure: bool,
    /// Authority as the client named it, with port; if it named none (HTTP/1.0), `localhost` stands in.
    pub authority: &'a str,
    /// Raw path.
    pub path: &'a str,
    /// Raw query, without `?`.
    pub query: Option<&'a str>,
    /// Port of the http listener, for `secure: never`.
    pub http_port: u16,
    /// Port of the https listener, for `secure: always`.
    pub https_port: u16,
}

impl Ask<'_> {
    /// The URL that the client asked for.
    pub fn url(&self) -> String {
        format!("{}{}{}", self.origin(), self.path, self.query.map(|query| format!("?{query}")).unwrap_or_default())
    }

    fn origin(&self) -> String {
        format!("{}://{}", if self.https { "https" } else { "http" }, self.host())
    }

    fn host(&self) -> &str {
        if self.authority.is_empty() { "localhost" } else { self.authority }
    }
}

/// What the gate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Come in.
    Pass,
    /// `secure`: the same place under the other scheme.
    Redirect {
        /// 301, 302, 303 or 307.
        status: StatusCode,
        /// Absolute URL.
        location: String,
    },
    /// 302 to the sign-in page.
    LogIn {
        /// Absolute URL with `continue`.
        location: String,
    },
    /// 401 with this text, `text/html` and not cacheable.
    Unauthorized(String),
}

/// Checks `secure`, then `login`.
pub fn check(handler: &Handler, ask: &Ask<'_>) -> Verdict {
    if let Some(verdict) = check_secure(handler, ask) {
        return verdict;
    }
    match handler.login {
        Login::Optional => Verdict::Pass,
        Login::Required if ask.user.is_some() || ask.caller.is_logged_in() => Verdict::Pass,
        Login::Admin if ask.user.is_some_and(|user| user.admin) || ask.caller.is_admin() => Verdict::Pass,
        Login::Required | Login::Admin => turn_away(handler, ask),
    }
}

/// Whether the user headers of row H11 are added: on handlers with `login`, and for versions that use the bundled users service, which reads
/// them on every request.
pub fn shows_user(handler: &Handler, config: &VersionConfig) -> bool {
    handler.login != Login::Optional || (config.app_engine_apis && !config.runtime.is_first_generation())
}

fn check_secure(handler: &Handler, ask: &Ask<'_>) -> Option<Verdict> {
    if !ask.enforce_secure || ask.caller.is_admin() {
        return None;
    }
    let location = match (handler.secure, ask.https) {
        (Secure::Always, false) => {
            let query = ask.query.map(|query| format!("?{query}")).unwrap_or_default();
            format!("https://{}{}{query}", with_port(ask.host(), ask.https_port, 443), ask.path)
        }
        // Without the query: it was meant for a safe connection (document 003, `secure: never`).
        (Secure::Never, true) => format!("http://{}{}", with_port(ask.host(), ask.http_port, 80), ask.path),
        _ => return None,
    };
    Some(Verdict::Redirect { status: handler.redirect.status(), location })
}

/// `authority` with another port, none if it is the scheme's own.
fn with_port(authority: &str, port: u16, own: u16) -> String {
    let host = match authority.rfind(':') {
        Some(at) if !authority[at..].contains(']') => &authority[..at],
        _ => authority,
    };
    if port == own { host.to_owned() } else { format!("{host}:{port}") }
}

fn turn_away(handler: &Handler, ask: &Ask<'_>) -> Verdict {
    match ask.user {
        // Document 003, `login: admin`: an error whatever `auth_fail_action` says.
        Some(user) => {
            let email = user.email.replace('&', "&amp;").replace('\'', "&#39;");
            Verdict::Unauthorized(format!("Current logged in user {email} is not authorized to view this page."))
        }
        None if handler.auth_fail == AuthFail::Unauthorized => Verdict::Unauthorized("Login required to view page.".into()),
        None => {
            let url = ask.url();
            Verdict::LogIn { location: format!("{}/_ah/login?continue={}", ask.origin(), utf8_percent_encode(&url, CONTINUE)) }
        }
    }
}
