//! A task as a request to the app (row H12).

use std::net::{IpAddr, Ipv4Addr};

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use model::errand::Errand;
use model::gate::{Caller, Internal};
use model::ids::{AppId, ServiceId, VersionKey};
use model::queue::Queue;
use model::route::host;
use model::table::RoutingTable;
use store::tasks::Task;

use super::spec::{Push, Shown};

/// Where tasks come from (reference/runtime-contract.md §8).
const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(0, 1, 0, 2));
const AGENT: HeaderValue = HeaderValue::from_static("AppEngine-Google; (+http://code.google.com/appengine)");
/// Headers of the task's own that only the house may send.
const OWN: [&str; 3] = ["x-appengine-current-namespace", "x-appengine-default-namespace", "x-appengine-failfast"];

/// The request of a task; `None` if the app has nothing that could take it.
pub(super) fn errand(app: &AppId, table: &RoutingTable, queue: &Queue, task: &Task, shown: &Shown) -> Option<Errand> {
    let (headers, trusted) = headers(queue, task, shown);
    let method: Method = shown.method.as_deref().unwrap_or("POST").parse().ok()?;
    Some(Errand {
        app: app.clone(),
        authority: authority(table, queue, shown.push.as_ref())?,
        caller: Caller::Internal(Internal::TaskQueue),
        source: SOURCE,
        https: false,
        method,
        target: shown.url.clone(),
        headers,
        trusted,
        body: shown.body.clone(),
        deadline: shown.deadline,
        most: 0,
    })
}

/// The host of whoever runs it: the queue's target goes first, then what the task says. What is not there any more is the default service's, as for any
/// other request.
fn authority(table: &RoutingTable, queue: &Queue, push: Option<&Push>) -> Option<String> {
    let naming = &table.naming;
    let (service, version, instance) = match (&queue.target, push) {
        (Some(target), _) => {
            let (version, service) = target.rsplit_once('.').map_or((None, target.as_str()), |(version, service)| (Some(version), service));
            // `target: v2` names a version of the default service if there is no such service.
            match (version, table.services.contains_key(service)) {
                (None, false) => ("default", Some(service), None),
                _ => (service, version, None),
            }
        }
        (None, Some(push)) => (push.service.as_str(), push.version.as_deref(), push.instance),
        (None, None) => ("default", None, None),
    };
    let service: ServiceId = service.parse().ok()?;
    let version = version.and_then(|version| version.parse().ok()).and_then(|version| VersionKey::new(service.clone(), version).ok());
    Some(match (version, instance) {
        (Some(key), Some(instance)) => format!("{instance}.{}", host::of_version(naming, &key)),
        (Some(key), None) => host::of_version(naming, &key),
        // As the app's own pages have it.
        (None, _) if service.is_default() => naming.default_hostname.clone(),
        (None, _) => host::of_service(naming, &service),
    })
}

/// The app's headers, and the house's.
fn headers(queue: &Queue, task: &Task, shown: &Shown) -> (HeaderMap, HeaderMap) {
    let (mut headers, mut trusted) = (HeaderMap::new(), HeaderMap::new());
    headers.insert(USER_AGENT, AGENT);
    if shown.has_body {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    }
    let mut first = true;
    for (key, value) in &shown.headers {
        let (Ok(name), Ok(value)) = (HeaderName::from_bytes(key), HeaderValue::from_bytes(value)) else { continue };
        if OWN.contains(&name.as_str()) {
            trusted.append(name, value);
        } else if name == CONTENT_TYPE && std::mem::take(&mut first) {
            headers.insert(name, value);
        } else if name != HOST && name != CONTENT_LENGTH && name != USER_AGENT {
            headers.append(name, value);
        }
    }
    let mut say = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::try_from(value) {
            trusted.insert(HeaderName::from_static(name), value);
        }
    };
    say("x-appengine-queuename", &queue.name);
    say("x-appengine-taskname", &task.name);
    say("x-appengine-taskretrycount", &task.retries.to_string());
    say("x-appengine-taskexecutioncount", &task.executions.to_string());
    say("x-appengine-tasketa", &format!("{}.{:06}", task.eta.max(0) / 1_000_000, task.eta.max(0) % 1_000_000));
    if let Some(run) = &task.run {
        if let Some(code) = run.code {
            say("x-appengine-taskpreviousresponse", &code.to_string());
        }
        if let Some(reason) = &run.reason {
            say("x-appengine-taskretryreason", reason);
        }
    }
    (headers, trusted)
}
