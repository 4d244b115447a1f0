//! What can go wrong with a request, and which status, page and log line it makes. One table for all of it.

use std::borrow::Cow;

use http::StatusCode;
use model::config::ErrorCode;
use model::pool::Reject;

use crate::guard::Refusal;
use crate::upload::Cut;

/// A request that cannot be answered as it asked.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The client's mistake.
    Client { status: StatusCode, text: Cow<'static, str> },
    /// The body could not be read.
    Cut(Cut),
    /// No handler, or no file.
    NotFound(String),
    /// The address is blocked: `dos_api_denial`.
    Denied,
    /// The service takes requests from inside, and this one is from outside.
    Outside,
    /// No capacity: `over_quota`.
    OverQuota(String),
    /// The deadline passed: `timeout`.
    Deadline,
    /// The instance could not be started.
    Start(String),
    /// The version does not run.
    NotServing(String),
    /// We are closing.
    Draining,
    /// The app raised; the text is a traceback.
    App(String),
    /// The handler's script or object does not exist.
    NoScript(String),
    /// The instance broke down or cannot be reached.
    Died(String),
    /// The app answered something that is no answer.
    Garbage(String),
    /// The response is larger than allowed.
    ResponseTooLarge,
    /// Our own mistake.
    Panic,
}

impl Fault {
    pub(crate) fn client(status: StatusCode, text: impl Into<Cow<'static, str>>) -> Self {
        Self::Client { status, text: text.into() }
    }

    /// The status (docs/decisions/042-fault-statuses.md).
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Client { status, .. } => *status,
            Self::Cut(Cut::TooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Cut(Cut::TooSlow) => StatusCode::REQUEST_TIMEOUT,
            Self::Cut(Cut::Broken) => StatusCode::BAD_REQUEST,
            Self::NotFound(_) | Self::NotServing(_) => StatusCode::NOT_FOUND,
            Self::Denied | Self::Outside => StatusCode::FORBIDDEN,
            Self::OverQuota(_) | Self::Draining => StatusCode::SERVICE_UNAVAILABLE,
            Self::Deadline | Self::Start(_) | Self::App(_) | Self::NoScript(_) | Self::ResponseTooLarge | Self::Panic => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            Self::Died(_) | Self::Garbage(_) => StatusCode::BAD_GATEWAY,
        }
    }

    /// Which of the app's `error_handlers` pages is shown; `None` for answers that have their own text.
    pub(crate) fn page(&self) -> Option<ErrorCode> {
        match self {
            Self::Client { .. } | Self::Cut(_) | Self::NotFound(_) | Self::NotServing(_) | Self::Outside => None,
            Self::Denied => Some(ErrorCode::DosApiDenial),
            Self::OverQuota(_) => Some(ErrorCode::OverQuota),
            Self::Deadline => Some(ErrorCode::Timeout),
            _ => Some(ErrorCode::Default),
        }
    }

    /// One sentence for anybody.
    pub(crate) fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Client { text, .. } => Cow::Borrowed(text.as_ref()),
            Self::Cut(Cut::TooLarge) => "Upload limited to 32 megabytes.".into(),
            Self::Cut(cut) => Cow::Owned(sentence(&cut.to_string())),
            Self::NotFound(text) => Cow::Borrowed(text),
            Self::Denied => "Requests from your address are not accepted.".into(),
            Self::Outside => "Access is forbidden.".into(),
            Self::OverQuota(_) => "This app is busy. Please try again in a moment.".into(),
            Self::Deadline => "The request took too long.".into(),
            Self::Start(_) => "The app could not be started.".into(),
            Self::NotServing(_) => "This version is not running.".into(),
            Self::Draining => "The server is shutting down.".into(),
            Self::App(_) | Self::NoScript(_) | Self::Panic => "The app could not answer this request.".into(),
            Self::Died(_) => "The app broke off while it handled this request.".into(),
            Self::Garbage(_) => "The app's answer could not be understood.".into(),
            Self::ResponseTooLarge => "HTTP response was too large. The limit is: 33554432.".into(),
        }
    }

    /// What developers see besides: a traceback, the interpreter's complaint.
    pub(crate) fn detail(&self) -> Option<&str> {
        match self {
            Self::OverQuota(detail)
            | Self::Start(detail)
            | Self::NotServing(detail)
            | Self::App(detail)
            | Self::NoScript(detail)
            | Self::Died(detail)
            | Self::Garbage(detail) => Some(detail).filter(|detail| !detail.is_empty()).map(String::as_str),
            _ => None,
        }
    }

    /// For the log.
    pub(crate) fn log(&self) -> String {
        if matches!(self, Self::Outside) {
            return "The service's ingress setting lets no requests in from there.".into();
        }
        self.detail().map_or_else(|| self.text().into_owned(), str::to_owned)
    }

    /// Whether the connection cannot go on: what follows in it cannot be told from the request's rest.
    pub(crate) fn closes(&self) -> bool {
        matches!(self, Self::Cut(_))
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_REQUEST);
        Self::Client { status, text: sentence(refusal.reason).into() }
    }
}

impl From<Reject> for Fault {
    fn from(reject: Reject) -> Self {
        match reject {
            Reject::NoCapacity(why) => Self::OverQuota(why),
            Reject::StartFailed(why) => Self::Start(why),
            Reject::NotServing(why) => Self::NotServing(why),
            Reject::Draining => Self::Draining,
        }
    }
}

/// `the head is bad` → `The head is bad.`
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).chain(std::iter::once('.')).collect())
}
