//! Whether a task can be added: the SDK stub's `_VerifyTaskQueueAddRequest`, then what only production checks.

use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue};
use model::taskqueue::{MOST_ETA, MOST_PULL, MOST_PUSH, MOST_TAG, MOST_URL, is_task_name, micros};
use prost::Message as _;

use super::config::{self, Config};
use crate::proto::taskqueue::TaskQueueAddRequest;
use crate::proto::taskqueue::task_queue_mode::Mode;
use crate::proto::taskqueue::task_queue_service_error::ErrorCode;

/// Time that a task may give its handler (Cloud Tasks' limits for App Engine, which took this field over).
const DEADLINES: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(24 * 3600 + 15));

/// Checks one; `Ok` for everything that can be said without looking at other tasks.
pub(super) fn check(request: &TaskQueueAddRequest, config: &Config, now: i64) -> ErrorCode {
    match checked(request, config, now) {
        Ok(()) => ErrorCode::Ok,
        Err(code) => code,
    }
}

fn checked(request: &TaskQueueAddRequest, config: &Config, now: i64) -> Result<(), ErrorCode> {
    let wrong = |is: bool, code: ErrorCode| if is { Err(code) } else { Ok(()) };
    wrong(request.eta_usec < 0 || request.eta_usec > now.saturating_add(micros(MOST_ETA)), ErrorCode::InvalidEta)?;
    let queue = config.find(&request.queue_name)?;
    wrong(request.crontimetable.is_some(), ErrorCode::PermissionDenied)?;
    let pull = request.mode() == Mode::Pull;
    wrong(request.encoded_len() > if pull { MOST_PULL } else { MOST_PUSH }, ErrorCode::TaskTooLarge)?;
    // A queue of the other kind is told for the whole call.
    if pull != queue.is_pull() {
        return Ok(());
    }
    let name = super::text(&request.task_name);
    wrong(!request.task_name.is_empty() && !name.is_some_and(is_task_name), ErrorCode::InvalidTaskName)?;
    wrong(request.payload.is_some(), ErrorCode::InvalidPayload)?;
    wrong(request.retry_parameters.as_ref().is_some_and(|given| config::retry(given).is_none()), ErrorCode::InvalidRetryParameters)?;
    wrong(request.tag.as_ref().is_some_and(|tag| !pull || tag.len() > MOST_TAG), ErrorCode::InvalidTag)?;
    if pull { Ok(()) } else { push(request) }
}

fn push(request: &TaskQueueAddRequest) -> Result<(), ErrorCode> {
    let url = request.url.as_deref().unwrap_or_default();
    if url.first() != Some(&b'/') || url.len() > MOST_URL || url.contains(&b'#') || PathAndQuery::try_from(url).is_err() {
        return Err(ErrorCode::InvalidUrl);
    }
    let good = |key: &[u8], value: &[u8]| HeaderName::from_bytes(key).is_ok() && HeaderValue::from_bytes(value).is_ok();
    if !request.header.iter().all(|header| good(&header.key, &header.value)) {
        return Err(ErrorCode::InvalidRequest);
    }
    let deadline = request.dispatch_deadline_usec.map(|given| u64::try_from(given).map(Duration::from_micros));
    match deadline {
        None => Ok(()),
        Some(Ok(deadline)) if (DEADLINES.0..=DEADLINES.1).contains(&deadline) => Ok(()),
        Some(_) => Err(ErrorCode::InvalidDispatchDeadline),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::proto::taskqueue::task_queue_add_request::Header;
    use crate::proto::taskqueue::{TaskPayload, TaskQueueRetryParameters};

    const NOW: i64 = 1_763_200_000_000_000;

    fn good() -> TaskQueueAddRequest {
        TaskQueueAddRequest {
            queue_name: Bytes::from_static(b"default"),
            eta_usec: NOW,
            url: Some(Bytes::from_static(b"/work?a=b")),
            ..TaskQueueAddRequest::default()
        }
    }

    #[test]
    fn s1_each_mistake_has_its_code() {
        let config = Config::of(&super::super::FileQueues::default(), &[], None);
        let check = |request: &TaskQueueAddRequest| check(request, &config, NOW);
        assert_eq!(check(&good()), ErrorCode::Ok);
        let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        let header = |key: &str, value: &str| vec![Header { key: bytes(key), value: bytes(value) }];
        let cases = [
            (TaskQueueAddRequest { eta_usec: -1, ..good() }, ErrorCode::InvalidEta),
            (TaskQueueAddRequest { eta_usec: NOW + 30 * 86_400_000_000, ..good() }, ErrorCode::Ok),
            (TaskQueueAddRequest { eta_usec: NOW + 30 * 86_400_000_000 + 1, ..good() }, ErrorCode::InvalidEta),
            (TaskQueueAddRequest { eta_usec: i64::MAX, ..good() }, ErrorCode::InvalidEta),
            (TaskQueueAddRequest { queue_name: bytes("other"), ..good() }, ErrorCode::UnknownQueue),
            (TaskQueueAddRequest { queue_name: bytes(""), ..good() }, ErrorCode::InvalidQueueName),
            (TaskQueueAddRequest { queue_name: bytes("a b"), ..good() }, ErrorCode::InvalidQueueName),
            (TaskQueueAddRequest { task_name: bytes("a b"), ..good() }, ErrorCode::InvalidTaskName),
            (TaskQueueAddRequest { task_name: bytes(&"n".repeat(501)), ..good() }, ErrorCode::InvalidTaskName),
            (TaskQueueAddRequest { body: Some(vec![0; 100 << 10].into()), ..good() }, ErrorCode::TaskTooLarge),
            (TaskQueueAddRequest { url: None, ..good() }, ErrorCode::InvalidUrl),
            (TaskQueueAddRequest { url: Some(bytes("http://a/b")), ..good() }, ErrorCode::InvalidUrl),
            (TaskQueueAddRequest { url: Some(bytes(&format!("/{}", "u".repeat(2083)))), ..good() }, ErrorCode::InvalidUrl),
            (TaskQueueAddRequest { url: Some(bytes("/a b")), ..good() }, ErrorCode::InvalidUrl),
            (TaskQueueAddRequest { header: header("a b", "c"), ..good() }, ErrorCode::InvalidRequest),
            (TaskQueueAddRequest { header: header("a", "b\r\nc: d"), ..good() }, ErrorCode::InvalidRequest),
            (TaskQueueAddRequest { header: header("a", "\u{fc}"), ..good() }, ErrorCode::Ok),
            (TaskQueueAddRequest { tag: Some(bytes("t")), ..good() }, ErrorCode::InvalidTag),
            (TaskQueueAddRequest { payload: Some(TaskPayload {}), ..good() }, ErrorCode::InvalidPayload),
            (TaskQueueAddRequest { dispatch_deadline_usec: Some(14_999_999), ..good() }, ErrorCode::InvalidDispatchDeadline),
            (TaskQueueAddRequest { dispatch_deadline_usec: Some(-1), ..good() }, ErrorCode::InvalidDispatchDeadline),
            (TaskQueueAddRequest { dispatch_deadline_usec: Some(15_000_000), ..good() }, ErrorCode::Ok),
            (
                TaskQueueAddRequest {
                    retry_parameters: Some(TaskQueueRetryParameters { retry_limit: Some(-1), ..TaskQueueRetryParameters::default() }),
                    ..good()
                },
                ErrorCode::InvalidRetryParameters,
            ),
        ];
        for (request, code) in cases {
            assert_eq!(check(&request), code, "{request:?}");
        }
    }
}
