//! Errors of the Admin API in the form of google.rpc.Status: a code, a text for the caller, and which fields are to blame.

use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The codes of google.rpc that this house uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs, reason = "the variants are google.rpc.Code's own names")]
pub enum Code {
    Cancelled,
    Unknown,
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    ResourceExhausted,
    FailedPrecondition,
    Aborted,
    OutOfRange,
    Unimplemented,
    Internal,
    Unavailable,
    Unauthenticated,
}

impl Code {
    /// All of them: name, number of google.rpc.Code, HTTP status (google/rpc/code.proto).
    const TABLE: [(Self, &'static str, u8, StatusCode); 15] = [
        (Self::Cancelled, "CANCELLED", 1, StatusCode::REQUEST_TIMEOUT),
        (Self::Unknown, "UNKNOWN", 2, StatusCode::INTERNAL_SERVER_ERROR),
        (Self::InvalidArgument, "INVALID_ARGUMENT", 3, StatusCode::BAD_REQUEST),
        (Self::DeadlineExceeded, "DEADLINE_EXCEEDED", 4, StatusCode::GATEWAY_TIMEOUT),
        (Self::NotFound, "NOT_FOUND", 5, StatusCode::NOT_FOUND),
        (Self::AlreadyExists, "ALREADY_EXISTS", 6, StatusCode::CONFLICT),
        (Self::PermissionDenied, "PERMISSION_DENIED", 7, StatusCode::FORBIDDEN),
        (Self::ResourceExhausted, "RESOURCE_EXHAUSTED", 8, StatusCode::TOO_MANY_REQUESTS),
        (Self::FailedPrecondition, "FAILED_PRECONDITION", 9, StatusCode::BAD_REQUEST),
        (Self::Aborted, "ABORTED", 10, StatusCode::CONFLICT),
        (Self::OutOfRange, "OUT_OF_RANGE", 11, StatusCode::BAD_REQUEST),
        (Self::Unimplemented, "UNIMPLEMENTED", 12, StatusCode::NOT_IMPLEMENTED),
        (Self::Internal, "INTERNAL", 13, StatusCode::INTERNAL_SERVER_ERROR),
        (Self::Unavailable, "UNAVAILABLE", 14, StatusCode::SERVICE_UNAVAILABLE),
        (Self::Unauthenticated, "UNAUTHENTICATED", 16, StatusCode::UNAUTHORIZED),
    ];

    fn row(self) -> &'static (Self, &'static str, u8, StatusCode) {
        Self::TABLE.iter().find(|row| row.0 == self).unwrap_or(&Self::TABLE[1])
    }

    /// Its name: `NOT_FOUND`.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// Its number, which stands in an operation's error.
    pub fn number(self) -> u8 {
        self.row().2
    }

    /// The code of a number; `Unknown` if there is none.
    pub fn of_number(number: i64) -> Self {
        Self::TABLE.iter().find(|row| i64::from(row.2) == number).map_or(Self::Unknown, |row| row.0)
    }

    /// The HTTP status that goes with it.
    pub fn http(self) -> StatusCode {
        self.row().3
    }
}

/// A field that is wrong, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldViolation {
    /// Its path from the request's resource: `version.handlers[0].urlRegex`.
    pub field: String,
    /// What is wrong and how to mend it.
    pub description: String,
}

impl FieldViolation {
    /// A violation.
    pub fn new(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self { field: field.into(), description: description.into() }
    }
}

/// Why a request was refused, or how an operation failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Status {
    /// The kind of refusal.
    pub code: Code,
    /// For the caller.
    pub message: String,
    /// Further messages, each an object with `@type`.
    pub details: Vec<Value>,
}

impl Status {
    /// A refusal without details.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: Vec::new() }
    }

    /// 400: something about the request itself.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, message)
    }

    /// 400 that names fields. The message is that of the first one.
    pub fn fields(violations: &[FieldViolation]) -> Self {
        let message = match violations {
            [] => "Request contains an invalid argument.".to_owned(),
            [one] => format!("{}: {}", one.field, one.description),
            [first, rest @ ..] => format!("{}: {} (and {} more)", first.field, first.description, rest.len()),
        };
        Self::invalid(message).with_violations(violations)
    }

    /// The same with google.rpc.BadRequest.
    #[must_use]
    pub fn with_violations(mut self, violations: &[FieldViolation]) -> Self {
        self.details.push(json!({"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": violations}));
        self
    }

    /// 400 about one field, in the given words.
    pub fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        let message = message.into();
        Self::invalid(message.clone()).with_violations(&[FieldViolation::new(field, message)])
    }

    /// 404.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Code::NotFound, message)
    }

    /// 500; the text is for the caller, the cause belongs into the log.
    pub fn internal() -> Self {
        Self::new(Code::Internal, "Internal error encountered.")
    }

    /// `{"error": …}`, the body of an answer.
    pub fn body(&self) -> Value {
        let mut error = json!({"code": self.code.http().as_u16(), "message": self.message, "status": self.code.name()});
        if !self.details.is_empty() {
            error["details"] = Value::Array(self.details.clone());
        }
        json!({"error": error})
    }

    /// google.rpc.Status, the error of an operation.
    pub fn rpc(&self) -> Value {
        let mut error = json!({"code": self.code.number(), "message": self.message});
        if !self.details.is_empty() {
            error["details"] = Value::Array(self.details.clone());
        }
        error
    }

    /// The status that [`Self::rpc`] wrote.
    pub fn of_rpc(value: &Value) -> Self {
        Self {
            code: Code::of_number(value["code"].as_i64().unwrap_or(2)),
            message: value["message"].as_str().unwrap_or_default().to_owned(),
            details: value["details"].as_array().cloned().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t6_statuses_have_googles_shape() {
        let status = Status::field("service.split", "wrong");
        assert_eq!(
            status.body(),
            json!({"error": {"code": 400, "message": "wrong", "status": "INVALID_ARGUMENT", "details": [
                {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [{"field": "service.split", "description": "wrong"}]}
            ]}})
        );
        assert_eq!(Status::of_rpc(&status.rpc()), status);
        assert_eq!(Status::not_found("x").rpc(), json!({"code": 5, "message": "x"}));
    }
}
