//! What can go wrong between a command and the server, in words for people, and the exit status of each kind.

use std::fmt::Write as _;
use std::process::ExitCode;

use serde_json::Value;

use crate::ui::{DIM, Ui};

/// The exit statuses of all commands that speak to a server; they are documented (docs/guide/deploy.md) and stay.
pub(crate) const EXIT_STATUS: &str = "\
EXIT STATUS
    0  done
    1  it failed; the message says why
    2  wrong usage
    3  the server does not answer
    4  the server does not know the token, or the token may not do this
    5  there is no such app, service, version, instance or operation
    6  the server refuses: the request is invalid, or the state of things does not allow it
    7  nothing was done, because you did not say yes";

/// Why a command failed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Failure {
    /// Nobody answers.
    Unreachable {
        /// The server that was asked.
        server: String,
        /// What the connection met.
        why: String,
    },
    /// The server answered with an error.
    Answer(Box<Status>),
    /// An operation ended with an error.
    Operation(Box<Status>),
    /// Something on this machine, or an answer that makes no sense.
    Here(String),
    /// The command line contradicts itself.
    Usage(String),
    /// The prompt was not answered with yes.
    Declined(String),
    /// Everything has been said already.
    Told,
}

/// A `google.rpc.Status`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Status {
    /// The HTTP status, or the one that goes with an operation's code.
    pub(crate) http: u16,
    /// For people.
    pub(crate) message: String,
    /// Fields and what is wrong with them.
    pub(crate) violations: Vec<(String, String)>,
    /// The last lines that a build or an app printed.
    pub(crate) log: Vec<String>,
    /// What was asked, such as `GET /v1/apps/demo`.
    pub(crate) asked: String,
    /// The server that said so.
    pub(crate) server: String,
}

impl Status {
    /// Reads the body of an error answer, whatever it is.
    pub(crate) fn of_answer(http: u16, body: &[u8]) -> Self {
        let parsed: Value = serde_json::from_slice(body).unwrap_or_default();
        let mut status = Self::of_error(&parsed["error"]);
        status.http = http;
        if status.message.is_empty() {
            let text = String::from_utf8_lossy(&body[..body.len().min(300)]).trim().to_owned();
            status.message = if text.is_empty() { format!("the answer is HTTP {http}") } else { text };
        }
        status
    }

    /// Reads the `error` of an operation.
    pub(crate) fn of_operation(error: &Value) -> Self {
        let code = error["code"].as_u64().unwrap_or(2);
        Self { http: http_of(code), ..Self::of_error(error) }
    }

    fn of_error(error: &Value) -> Self {
        let mut status = Self { message: error["message"].as_str().unwrap_or_default().to_owned(), ..Self::default() };
        for detail in error["details"].as_array().into_iter().flatten() {
            for violation in detail["fieldViolations"].as_array().into_iter().flatten() {
                let text = |name: &str| violation[name].as_str().unwrap_or_default().to_owned();
                status.violations.push((text("field"), text("description")));
            }
            // The message of an operation has the log in it for clients that show nothing else.
            if let Some(said) = detail["detail"].as_str().filter(|said| !said.is_empty()) {
                said.clone_into(&mut status.message);
            }
            let lines = detail["stackEntries"].as_array().into_iter().flatten();
            status.log.extend(lines.filter_map(Value::as_str).map(str::to_owned));
        }
        status
    }
}

/// The HTTP status that goes with a code of gRPC.
fn http_of(code: u64) -> u16 {
    match code {
        3 | 9 | 11 => 400,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        16 => 401,
        _ => 500,
    }
}

impl Failure {
    /// The documented exit status.
    pub(crate) fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Here(_) | Self::Operation(_) | Self::Told => 1,
            Self::Usage(_) => 2,
            Self::Unreachable { .. } => 3,
            Self::Answer(status) => match status.http {
                401 | 403 => 4,
                404 => 5,
                400 | 409 | 412 => 6,
                _ => 1,
            },
            Self::Declined(_) => 7,
        })
    }

    /// Whether the server says that there is no such thing.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::Answer(status) if status.http == 404)
    }

    /// Says it, and gives the exit status.
    pub(crate) fn tell(&self, ui: &Ui) -> ExitCode {
        match self {
            Self::Told => {}
            Self::Declined(text) => ui.status(text),
            _ => ui.error(&self.text()),
        }
        self.code()
    }

    /// What is wrong and how to mend it.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Unreachable { server, why } => format!(
                "no Admin API answers at {server} ({why})\n  Is `enginehouse serve` running? Name another server with --server URL, \
                 ENGINEHOUSE_SERVER or `enginehouse config set server URL`."
            ),
            Self::Answer(status) => answer_text(status),
            Self::Operation(status) => with_details(status.message.clone(), status),
            Self::Here(text) | Self::Usage(text) | Self::Declined(text) => text.clone(),
            Self::Told => String::new(),
        }
    }
}

fn answer_text(status: &Status) -> String {
    let server = &status.server;
    match status.http {
        401 => format!(
            "{server} wants to know who you are: {}\n  Give a token with --token-file FILE, ENGINEHOUSE_TOKEN or `enginehouse config set token -`. \
             The owner's is in the file owner-token of the server's --data folder; `enginehouse token create` makes others.",
            status.message
        ),
        403 => format!(
            "your token may not do this ({}): {}\n  `enginehouse token create --role ROLE` of somebody with the role admin makes one that may.",
            status.asked, status.message
        ),
        _ => with_details(status.message.clone(), status),
    }
}

fn with_details(mut text: String, status: &Status) -> String {
    for (field, description) in &status.violations {
        if !status.message.contains(description.as_str()) {
            let _ = write!(text, "\n  {field}: {description}");
        }
    }
    for line in &status.log {
        let _ = write!(text, "\n  {DIM}|{DIM:#} {line}");
    }
    text
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Here(error.to_string())
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Here(format!("{error:#}"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(http: u16, body: &Value) -> Failure {
        Failure::Answer(Box::new(Status { server: "http://s".into(), ..Status::of_answer(http, body.to_string().as_bytes()) }))
    }

    #[test]
    fn field_violations_are_lines_of_their_own() {
        let body = json!({"error": {"code": 400, "message": "Bad version.", "status": "INVALID_ARGUMENT", "details": [
            {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [{"field": "version.runtime", "description": "unknown"}]}
        ]}});
        assert_eq!(answer(400, &body).text(), "Bad version.\n  version.runtime: unknown");
        assert_eq!(answer(400, &body).code(), ExitCode::from(6));
    }

    #[test]
    fn an_answer_of_somebody_else_is_shown_as_it_is() {
        let status = Status::of_answer(502, b"<h1>Bad gateway</h1>");
        assert_eq!(status.message, "<h1>Bad gateway</h1>");
        assert_eq!(Status::of_answer(502, b"").message, "the answer is HTTP 502");
    }

    #[test]
    fn each_kind_has_its_exit_status() {
        for (http, code) in [(401, 4), (403, 4), (404, 5), (400, 6), (409, 6), (500, 1)] {
            assert_eq!(answer(http, &json!({})).code(), ExitCode::from(code), "{http}");
        }
        assert_eq!(Failure::Unreachable { server: String::new(), why: String::new() }.code(), ExitCode::from(3));
        assert_eq!(Failure::Declined(String::new()).code(), ExitCode::from(7));
    }

    #[test]
    fn the_log_of_an_app_that_does_not_start_is_shown() {
        let details = json!([{"stackEntries": ["Traceback", "ImportError: x"], "detail": "It does not start."}]);
        let error = json!({"code": 9, "message": "It does not start.\n\nTraceback\nImportError: x", "details": details});
        let text = Failure::Operation(Box::new(Status::of_operation(&error))).text();
        assert_eq!(anstream::adapter::strip_str(&text).to_string(), "It does not start.\n  | Traceback\n  | ImportError: x");
    }
}
