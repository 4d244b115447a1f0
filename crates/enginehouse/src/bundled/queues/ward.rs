//! `/enginehouse/v1/apps/APP/queues…`: queues and tasks for people (decision 302).

use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use control::status::{Code, Status};
use control::ward::{Question, Ward};
use http::Method;
use model::queue::{QueueAccess, QueueMode};
use serde_json::{Value, json};
use services::taskqueue::{App, House, QueueSettings, Ruled, Shown, Steer};
use store::control::StoreError;
use store::tasks::{From, Refused, Task};

use super::order;

/// Tasks of a page.
const PAGE: usize = 100;
const MOST: usize = 1000;

/// The ward of queues.
pub(crate) struct QueuesWard(pub(crate) Arc<House>);

impl Ward for QueuesWard {
    fn collection(&self) -> &'static str {
        "queues"
    }

    fn answer(&self, question: &Question) -> Result<Value, Status> {
        let app = self.0.app(&question.app).map_err(|error| broken(&error))?;
        let (get, post, delete) = (question.method == Method::GET, question.method == Method::POST, question.method == Method::DELETE);
        let (path, verb) = question.parts();
        let find = |queue: &str| self.find(&app, queue);
        match (path.as_slice(), verb) {
            ([], None) if get => list(&app),
            ([], None) if question.method == Method::PATCH => {
                let failed = |why| Status::new(Code::FailedPrecondition, why);
                self.0.set(&app, &settings(&question.body)?).map_err(failed)?;
                list(&app)
            }
            ([], Some("refresh")) if post => {
                self.0.reload(&app.id);
                Ok(json!({}))
            }
            ([queue], None) if get => shown(&app, &find(queue)?),
            ([queue], Some(verb @ ("pause" | "resume"))) if post => {
                let ruled = find(queue)?;
                let failed = |why| Status::new(Code::Unavailable, why);
                self.0.steer(&app, &ruled.queue.name, &Steer::Pause(verb == "pause")).map_err(failed)?;
                shown(&app, &find(queue)?)
            }
            ([queue], Some("purge")) if post => {
                let ruled = find(queue)?;
                app.purge(&ruled.queue.name).map_err(|error| broken(&error))?;
                shown(&app, &ruled)
            }
            ([queue, "tasks"], None) if get => tasks(&app, &find(queue)?, question),
            ([queue, "tasks"], None) if post => order::add(&app, &find(queue)?, &question.body),
            ([queue, "tasks", task], None) if get => one(&app, &find(queue)?.queue.name, task).map(|(task, spec)| shown_task(&task, &spec)),
            ([queue, "tasks", task], Some("run")) if post => run(&app, &find(queue)?, task),
            ([queue, "tasks", task], None) if delete => {
                match app.delete(&find(queue)?.queue.name, task).map_err(|error| broken(&error))? {
                    Ok(()) => Ok(json!({})),
                    Err(Refused::Tombstoned) => Err(Status::not_found(format!("The task {task} is gone already."))),
                    Err(_) => Err(no_task(queue, task)),
                }
            }
            _ => Err(question.missing()),
        }
    }
}

/// `{"storageLimitBytes": "1000", "access": {"QUEUE": [{"email": "a@b", "writer": true}]}}`; what is not said is as if it had never been.
pub(super) fn settings(body: &Value) -> Result<QueueSettings, Status> {
    let storage_limit = match &body["storageLimitBytes"] {
        Value::Null => None,
        Value::String(number) => Some(number.parse().map_err(|_| Status::field("storageLimitBytes", "The limit is no number of bytes."))?),
        number => Some(number.as_u64().ok_or_else(|| Status::field("storageLimitBytes", "The limit is no number of bytes."))?),
    };
    let one = |entry: &Value| {
        let email = entry["email"].as_str().map(str::to_owned)?;
        Some(QueueAccess { email, writer: entry["writer"].as_bool().unwrap_or(false) })
    };
    let queues = body["access"].as_object().into_iter().flatten();
    let access = queues.map(|(queue, entries)| Some((queue.clone(), entries.as_array()?.iter().map(one).collect::<Option<Vec<_>>>()?)));
    let access: Option<_> = access.collect();
    Ok(QueueSettings { storage_limit, access: access.ok_or_else(|| Status::field("access", "The entries have an `email` each."))? })
}

impl QueuesWard {
    /// A queue, which may have been made a moment ago.
    fn find(&self, app: &App, queue: &str) -> Result<Ruled, Status> {
        let find = || app.config().queues.get(queue).cloned();
        let found = find().or_else(|| {
            self.0.reload(&app.id);
            find()
        });
        found.ok_or_else(|| Status::not_found(format!("The app {} has no queue {queue}.", app.id)))
    }
}

pub(super) fn broken(error: &StoreError) -> Status {
    tracing::error!(%error, "tasks");
    Status::new(Code::Unavailable, "The tasks of this app cannot be read or written now.")
}

fn no_task(queue: &str, task: &str) -> Status {
    Status::not_found(format!("There is no task {task} in the queue {queue}."))
}

fn list(app: &App) -> Result<Value, Status> {
    let config = app.config();
    let queues: Result<Vec<Value>, Status> = config.queues.values().map(|queue| shown(app, queue)).collect();
    Ok(json!({"queues": queues?, "storageLimitBytes": config.storage_limit.to_string()}))
}

fn moment(micros: i64) -> Value {
    let at = jiff::Timestamp::from_microsecond(micros).unwrap_or_default();
    format!("{at:.3}").into()
}

fn shown(app: &App, ruled: &Ruled) -> Result<Value, Status> {
    let queue = &ruled.queue;
    let read = app.tasks.read(|view| Ok((view.queue(&queue.name)?.unwrap_or_default(), view.oldest(&queue.name)?)));
    let (kept, oldest) = read.map_err(|error| broken(&error))?;
    let now = i64::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_micros()).unwrap_or(i64::MAX);
    let seen = app.board.seen(&queue.name, now);
    let retry = &queue.retry;
    let mut shown = json!({
        "name": queue.name,
        "mode": if ruled.is_pull() { "pull" } else { "push" },
        "state": if ruled.paused { "PAUSED" } else { "RUNNING" },
        "tasks": kept.tasks,
        "bytes": kept.bytes,
        "retry": {
            "minBackoffSeconds": retry.min_backoff.as_secs_f64(),
            "maxBackoffSeconds": retry.max_backoff.as_secs_f64(),
            "maxDoublings": retry.max_doublings,
        },
    });
    if let QueueMode::Push { per_second, bucket_size, max_concurrent_requests } = queue.mode {
        shown["rate"] = json!(per_second);
        shown["bucketSize"] = json!(bucket_size);
        shown["inFlight"] = json!(seen.in_flight);
        shown["executedLastMinute"] = json!(seen.last_minute);
        if let Some(most) = max_concurrent_requests {
            shown["maxConcurrentRequests"] = json!(most);
        }
    }
    let more =
        [("oldestEta", oldest.map(moment)), ("purgeTime", kept.purged.map(moment)), ("target", queue.target.as_deref().map(Value::from))];
    for (name, value) in more {
        if let Some(value) = value {
            shown[name] = value;
        }
    }
    if !queue.acl.is_empty() {
        shown["access"] = queue.acl.iter().map(|one| json!({"email": one.email, "writer": one.writer})).collect();
    }
    if let Some(limit) = retry.limit {
        shown["retry"]["taskRetryLimit"] = json!(limit);
    }
    if let Some(age) = retry.age_limit {
        shown["retry"]["taskAgeLimitSeconds"] = json!(age.as_secs());
    }
    Ok(shown)
}

/// By time; a page's token is where the next one begins.
fn tasks(app: &App, ruled: &Ruled, question: &Question) -> Result<Value, Status> {
    let (most, token) = question.page(PAGE, MOST)?;
    let start = match token {
        None => From::Eta(i64::MIN, String::new()),
        Some(token) => {
            let parts = token.split_once(':').and_then(|(eta, name)| Some((eta.parse().ok()?, name.to_owned())));
            let (eta, name) = parts.ok_or_else(|| Status::field("pageToken", "The page token is none of this list."))?;
            From::Eta(eta, name)
        }
    };
    let mut found = app.list(&ruled.queue.name, &start, most + 1).map_err(|error| broken(&error))?;
    let next = (found.len() > most).then(|| found.pop()).flatten().map(|(task, _)| format!("{}:{}", task.eta, task.name));
    let mut answer = json!({"tasks": found.iter().map(|(task, spec)| shown_task(task, spec)).collect::<Vec<_>>()});
    if let Some(next) = next {
        answer["nextPageToken"] = next.into();
    }
    Ok(answer)
}

fn one(app: &App, queue: &str, name: &str) -> Result<(Task, Shown), Status> {
    let found = app.list(queue, &From::Name(name.to_owned()), 1).map_err(|error| broken(&error))?;
    found.into_iter().next().filter(|(task, _)| task.name == name).ok_or_else(|| no_task(queue, name))
}

fn run(app: &App, ruled: &Ruled, name: &str) -> Result<Value, Status> {
    let queue = &ruled.queue.name;
    if ruled.is_pull() {
        let text = format!("{queue} is a pull queue: its tasks are leased by the app, not run.");
        return Err(Status::new(Code::FailedPrecondition, text));
    }
    let (task, spec) = one(app, queue, name)?;
    if !app.force(queue, name).map_err(|error| broken(&error))? {
        return Err(no_task(queue, name));
    }
    Ok(shown_task(&task, &spec))
}

/// The payload is shown as text where it is one.
pub(super) fn shown_task(task: &Task, spec: &Shown) -> Value {
    let mut shown = json!({
        "name": task.name,
        "eta": moment(task.eta),
        "created": moment(task.created),
        "retries": task.retries,
        "executions": task.executions,
        "bytes": spec.body.len(),
    });
    if let Some(method) = &spec.method {
        shown["method"] = json!(method);
        shown["url"] = json!(spec.url);
    }
    let headers: Vec<Value> = spec
        .headers
        .iter()
        .map(|(key, value)| json!({"name": String::from_utf8_lossy(key), "value": String::from_utf8_lossy(value)}))
        .collect();
    if !headers.is_empty() {
        shown["headers"] = headers.into();
    }
    if spec.has_body {
        match std::str::from_utf8(&spec.body) {
            Ok(text) => shown["body"] = json!(text),
            Err(_) => shown["bodyBase64"] = json!(BASE64_STANDARD.encode(&spec.body)),
        }
    }
    if let Some(tag) = &task.tag {
        shown["tag"] = json!(String::from_utf8_lossy(tag));
    }
    if let Some(push) = &spec.push {
        let parts = [push.version.as_deref(), Some(push.service.as_str())];
        shown["target"] = json!(parts.into_iter().flatten().collect::<Vec<_>>().join("."));
        shown["routing"] = order::shown_routing(push);
    }
    if let Some(deadline) = spec.deadline {
        shown["deadlineSeconds"] = json!(deadline.as_secs_f64());
    }
    if let Some(first) = task.first_try {
        shown["firstTry"] = moment(first);
    }
    if let Some(run) = &task.run {
        shown["lastTry"] =
            json!({"time": moment(run.dispatched), "milliseconds": run.elapsed / 1000, "status": run.code, "reason": run.reason});
    }
    shown
}
