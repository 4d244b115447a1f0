//! Errors in the form of Cloud Storage's JSON API, which is older than google.rpc.Status.

use http::StatusCode;
use serde_json::{Value, json};
use store::control::StoreError;

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The HTTP status.
    pub(crate) status: StatusCode,
    /// The word for programs: `notFound`.
    pub(crate) reason: &'static str,
    /// The text for people.
    pub(crate) message: String,
}

impl Fault {
    pub(super) fn new(status: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self { status, reason, message: message.into() }
    }

    /// 400.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", message)
    }

    /// 404.
    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "notFound", message)
    }

    /// 404 for a bucket.
    pub(super) fn no_bucket() -> Self {
        Self::not_found("The specified bucket does not exist.")
    }

    /// 404 for an object, in Cloud Storage's words.
    pub(super) fn no_object(bucket: &str, name: &str) -> Self {
        Self::not_found(format!("No such object: {bucket}/{name}"))
    }

    /// 412.
    pub(super) fn condition() -> Self {
        Self::new(StatusCode::PRECONDITION_FAILED, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.")
    }

    /// 500; the cause belongs into the log.
    pub(super) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "backendError", "Backend Error")
    }

    /// The body of the answer.
    pub(super) fn body(&self) -> Value {
        json!({"error": {
            "code": self.status.as_u16(),
            "message": self.message,
            "errors": [{"message": self.message, "domain": "global", "reason": self.reason}],
        }})
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Missing(message) => Self::not_found(message),
            StoreError::Exists(message) => Self::new(StatusCode::CONFLICT, "conflict", message),
            StoreError::Invalid(message) => Self::invalid(message),
            StoreError::HandedOver => Self::new(StatusCode::SERVICE_UNAVAILABLE, "backendError", error.to_string()),
            other => {
                tracing::error!(error = %other, "the storage slice cannot reach its files");
                Self::internal()
            }
        }
    }
}
