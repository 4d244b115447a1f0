//! Tasks that come from outside of the app, over Cloud Tasks' API: checked by the same rules, kept in the same place.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use prost::Message as _;
use store::control::StoreError;
use store::tasks::{Added, Fresh, Refused, Task};

use super::check::check;
use super::dispatch::Told;
use super::spec::{self, Push, Shown};
use super::{App, Ruled, house};
use crate::proto::taskqueue::TaskQueueAddRequest;
use crate::proto::taskqueue::task_queue_add_request::Header;
use crate::proto::taskqueue::task_queue_service_error::ErrorCode;

/// Methods that a task's request can have.
const METHODS: [&str; 7] = ["GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"];

/// A push task that is wanted.
#[derive(Debug, Clone, Default)]
pub struct Order {
    /// Its name; the house chooses one if there is none.
    pub name: Option<String>,
    /// When it is due, in microseconds since 1970; now if nothing is said.
    pub eta: Option<i64>,
    /// GET, POST, HEAD, PUT, DELETE, PATCH or OPTIONS.
    pub method: String,
    /// Path and query.
    pub url: String,
    /// Headers of its request.
    pub headers: Vec<(String, String)>,
    /// Its payload.
    pub body: Option<Bytes>,
    /// Time for the app.
    pub deadline: Option<Duration>,
    /// Who runs it, unless its queue says so.
    pub push: Push,
}

/// Why there is no such task now.
#[derive(Debug)]
pub enum Declined {
    /// There is one of this name.
    Exists,
    /// There was one, not long ago.
    Tombstoned,
    /// The tasks of this app take so many bytes, which is their limit.
    Full(u64),
    /// A field of the order is wrong, and why.
    Wrong(&'static str, String),
    /// The database refuses.
    Broken(StoreError),
}

impl App {
    /// Adds a task, which is on the disk afterwards. Blocks.
    ///
    /// # Errors
    /// Why not.
    pub fn order(&self, queue: &Ruled, order: &Order) -> Result<(Task, Shown), Declined> {
        if queue.is_pull() {
            return Err(Declined::Wrong("queue", "It is a pull queue: its tasks are added by the app.".into()));
        }
        if !METHODS.contains(&order.method.as_str()) {
            return Err(Declined::Wrong("method", format!("The method is one of {}.", METHODS.join(", "))));
        }
        let config = self.config();
        let now = house::micros(SystemTime::now());
        let request = request(queue, order, now);
        wrong(check(&request, &config, now))?;
        let spec = spec::encode_as(&request, &order.method, order.push.clone());
        let size = u64::try_from(request.encoded_len()).unwrap_or(u64::MAX);
        let fresh = Fresh { name: order.name.clone(), eta: request.eta_usec, tag: None, size, spec: spec.clone() };
        let (name, limit, wanted) = (queue.queue.name.clone(), config.storage_limit, fresh.clone());
        let added = self.tasks.change_now(move |change| {
            if change.bytes()?.saturating_add(size) > limit {
                return Ok(None);
            }
            change.add(&name, &wanted, now).map(Some)
        });
        match added.map_err(Declined::Broken)? {
            None => Err(Declined::Full(limit)),
            Some(Err(Refused::Exists)) => Err(Declined::Exists),
            Some(Err(_)) => Err(Declined::Tombstoned),
            Some(Ok(Added { id, name })) => {
                self.tell(Told::Arrived(queue.queue.name.clone(), vec![(fresh.eta, id)]));
                let shown = spec::decode(&spec);
                let (eta, created) = (fresh.eta, now);
                Ok((Task { id, name, eta, tag: None, created, retries: 0, executions: 0, first_try: None, run: None, spec }, shown))
            }
        }
    }
}

/// The order in the words of the protocol, whose checks are the house's.
fn request(queue: &Ruled, order: &Order, now: i64) -> TaskQueueAddRequest {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    TaskQueueAddRequest {
        queue_name: bytes(&queue.queue.name),
        task_name: bytes(order.name.as_deref().unwrap_or_default()),
        eta_usec: order.eta.unwrap_or(now),
        url: Some(bytes(&order.url)),
        header: order.headers.iter().map(|(key, value)| Header { key: bytes(key), value: bytes(value) }).collect(),
        body: order.body.clone(),
        dispatch_deadline_usec: order.deadline.map(model::taskqueue::micros),
        ..TaskQueueAddRequest::default()
    }
}

fn wrong(code: ErrorCode) -> Result<(), Declined> {
    let (field, text) = match code {
        ErrorCode::Ok => return Ok(()),
        ErrorCode::InvalidEta => ("eta", "It is from 1970 to 30 days from now."),
        ErrorCode::InvalidTaskName => ("name", "A task is called by 1 to 500 letters, digits, hyphens and underscores."),
        ErrorCode::TaskTooLarge => ("body", "A task has at most 100 KiB."),
        ErrorCode::InvalidUrl => ("url", "It is a path that begins with / and at most 2,083 bytes long."),
        ErrorCode::InvalidDispatchDeadline => ("deadlineSeconds", "It is from 15 seconds to 24 hours and 15 seconds."),
        ErrorCode::InvalidRequest => ("headers", "There is a name or a value that no header can have."),
        _ => ("queue", "It takes no such task."),
    };
    Err(Declined::Wrong(field, text.into()))
}
