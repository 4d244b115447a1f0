//! What never changes of a task, as it is kept and as people see it.

use std::time::Duration;

use bytes::Bytes;
use model::queue::QueueRetry;
use prost::Message as _;

use super::config;
use crate::proto::stored_task as kept;
use crate::proto::taskqueue::{TaskQueueAddRequest, TaskQueueRetryParameters, task_queue_add_request::RequestMethod};

/// Who runs a task, unless its queue says so.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Push {
    /// The service.
    pub service: String,
    /// The version; none = whatever version the service's traffic goes to.
    pub version: Option<String>,
    /// The instance, of a service with manual or basic scaling.
    pub instance: Option<u32>,
}

/// A task, decoded.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Shown {
    /// The method; none of a pull task.
    pub method: Option<String>,
    /// Path and query.
    pub url: String,
    /// Headers as the app gave them.
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    /// The payload.
    pub body: Bytes,
    /// There is a payload, perhaps an empty one.
    pub has_body: bool,
    /// For people.
    pub description: Option<Bytes>,
    /// Its own retry parameters.
    pub retry: Option<QueueRetry>,
    /// Time for the app.
    pub deadline: Option<Duration>,
    /// Who runs it.
    pub push: Option<Push>,
}

/// Writes what is kept of a task. `push` only of push tasks.
pub(crate) fn encode(request: &TaskQueueAddRequest, push: Option<Push>) -> Vec<u8> {
    match push {
        Some(push) => encode_as(request, method_name(request.method()), push),
        None => written(request, None, Push::default()).encode_to_vec(),
    }
}

/// The same of a push task with this method, which the protocol may not have.
pub(crate) fn encode_as(request: &TaskQueueAddRequest, method: &str, push: Push) -> Vec<u8> {
    written(request, Some(method.to_owned()), push).encode_to_vec()
}

fn written(request: &TaskQueueAddRequest, method: Option<String>, push: Push) -> kept::Spec {
    let header = |header: &crate::proto::taskqueue::task_queue_add_request::Header| kept::Header {
        key: header.key.clone(),
        value: header.value.clone(),
    };
    let retry = |given: &TaskQueueRetryParameters| kept::Retry {
        limit: given.retry_limit.and_then(|limit| u32::try_from(limit).ok()),
        age_limit_sec: given.age_limit_sec,
        min_backoff_sec: given.min_backoff_sec,
        max_backoff_sec: given.max_backoff_sec,
        max_doublings: given.max_doublings.and_then(|count| u32::try_from(count).ok()),
    };
    kept::Spec {
        method,
        url: request.url.clone(),
        header: request.header.iter().map(header).collect(),
        body: request.body.clone(),
        description: request.description.clone(),
        retry: request.retry_parameters.as_ref().map(retry),
        dispatch_deadline_usec: request.dispatch_deadline_usec,
        service: (!push.service.is_empty()).then_some(push.service),
        version: push.version,
        instance: push.instance,
    }
}

/// Reads it; what a newer program wrote beside is skipped.
pub(crate) fn decode(spec: &[u8]) -> Shown {
    let spec = kept::Spec::decode(spec).unwrap_or_default();
    Shown {
        url: String::from_utf8_lossy(spec.url.as_deref().unwrap_or_default()).into_owned(),
        headers: spec.header.into_iter().map(|header| (header.key.to_vec(), header.value.to_vec())).collect(),
        has_body: spec.body.is_some(),
        body: spec.body.unwrap_or_default(),
        description: spec.description,
        retry: spec.retry.as_ref().and_then(|given| config::retry(&shown_retry(given))),
        deadline: spec.dispatch_deadline_usec.and_then(|micros| u64::try_from(micros).ok()).map(Duration::from_micros),
        push: spec.service.map(|service| Push { service, version: spec.version, instance: spec.instance }),
        method: spec.method,
    }
}

fn shown_retry(given: &kept::Retry) -> TaskQueueRetryParameters {
    let number = |value: Option<u32>| value.map(|value| i32::try_from(value).unwrap_or(i32::MAX));
    TaskQueueRetryParameters {
        retry_limit: number(given.limit),
        age_limit_sec: given.age_limit_sec,
        min_backoff_sec: given.min_backoff_sec,
        max_backoff_sec: given.max_backoff_sec,
        max_doublings: number(given.max_doublings),
    }
}

/// The retry parameters as they were given.
pub(crate) fn given_retry(spec: &[u8]) -> Option<TaskQueueRetryParameters> {
    kept::Spec::decode(spec).ok()?.retry.as_ref().map(shown_retry)
}

pub(crate) fn method_name(method: RequestMethod) -> &'static str {
    match method {
        RequestMethod::Get => "GET",
        RequestMethod::Post => "POST",
        RequestMethod::Head => "HEAD",
        RequestMethod::Put => "PUT",
        RequestMethod::Delete => "DELETE",
    }
}

/// The number of a method's name.
pub(crate) fn method_number(name: &str) -> i32 {
    let all = [RequestMethod::Get, RequestMethod::Head, RequestMethod::Put, RequestMethod::Delete];
    all.into_iter().find(|method| method_name(*method) == name).unwrap_or(RequestMethod::Post).into()
}
