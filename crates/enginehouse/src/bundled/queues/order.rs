//! `POST queues/QUEUE/tasks`: a task that comes from outside of the app.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use control::status::{Code, Status};
use model::ids::{ServiceId, VersionId};
use serde_json::{Map, Value, json};
use services::taskqueue::{App, Declined, Order, Push, Ruled};

use super::ward::{broken, shown_task};

/// Adds the task that the body describes, and shows it.
pub(super) fn add(app: &App, queue: &Ruled, body: &Value) -> Result<Value, Status> {
    let order = read(body)?;
    let (task, spec) = app.order(queue, &order).map_err(|declined| refusal(declined, queue, &order))?;
    Ok(shown_task(&task, &spec))
}

fn refusal(declined: Declined, queue: &Ruled, order: &Order) -> Status {
    let (name, queue) = (order.name.as_deref().unwrap_or_default(), &queue.queue.name);
    match declined {
        Declined::Exists => Status::new(Code::AlreadyExists, format!("The queue {queue} has a task {name} already.")),
        Declined::Tombstoned => {
            let text = format!("The queue {queue} had a task {name} not long ago; its name can be used again nine days after its end.");
            Status::new(Code::AlreadyExists, text)
        }
        Declined::Full(limit) => {
            Status::new(Code::ResourceExhausted, format!("The tasks of this app take {limit} bytes, which is their limit."))
        }
        Declined::Wrong(field, why) => Status::field(field, why),
        Declined::Broken(error) => broken(&error),
    }
}

fn read(body: &Value) -> Result<Order, Status> {
    let Value::Object(fields) = body else { return Err(Status::invalid("A task is an object.")) };
    let known = ["name", "eta", "method", "url", "headers", "body", "bodyBase64", "deadlineSeconds", "routing"];
    if let Some(stranger) = fields.keys().find(|name| !known.contains(&name.as_str())) {
        return Err(Status::field(stranger.as_str(), format!("A task has no field `{stranger}`; it has {}.", known.join(", "))));
    }
    let text = |name: &'static str| match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(Status::field(name, "It is a text.")),
    };
    let eta = text("eta")?.map(|eta| eta.parse::<jiff::Timestamp>()).transpose();
    let eta = eta.map_err(|_| Status::field("eta", "It is a time such as 2026-01-31T12:00:00Z."))?;
    let whole = text("bodyBase64")?.map(|body| BASE64_STANDARD.decode(body)).transpose();
    let whole = whole.map_err(|_| Status::field("bodyBase64", "It is not base64."))?;
    let deadline = match fields.get("deadlineSeconds") {
        None | Some(Value::Null) => None,
        Some(value) => {
            let seconds = value.as_f64().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
            Some(seconds.ok_or_else(|| Status::field("deadlineSeconds", "It is a number of seconds."))?)
        }
    };
    Ok(Order {
        name: text("name")?,
        eta: eta.map(jiff::Timestamp::as_microsecond),
        method: text("method")?.unwrap_or_else(|| "POST".into()),
        url: text("url")?.unwrap_or_else(|| "/".into()),
        headers: headers(fields)?,
        body: whole.or_else(|| Some(fields.get("body")?.as_str()?.into())).map(Into::into),
        deadline,
        push: routing(fields.get("routing"))?,
    })
}

fn headers(fields: &Map<String, Value>) -> Result<Vec<(String, String)>, Status> {
    let wrong = || Status::field("headers", "It is a list of objects with `name` and `value`.");
    let all = match fields.get("headers") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(all) => all.as_array().ok_or_else(wrong)?,
    };
    let one = |header: &Value| Some((header["name"].as_str()?.to_owned(), header["value"].as_str()?.to_owned()));
    all.iter().map(|header| one(header).ok_or_else(wrong)).collect()
}

/// `{"service": …, "version": …, "instance": …}`: the default service where none is named.
fn routing(given: Option<&Value>) -> Result<Push, Status> {
    let part = |name: &str| given.and_then(|given| given[name].as_str()).filter(|part| !part.is_empty());
    let wrong = |field: &str, text: &str| Status::field(format!("routing.{field}"), format!("`{text}` is no {field}."));
    let service = part("service").unwrap_or("default");
    service.parse::<ServiceId>().map_err(|_| wrong("service", service))?;
    let version = part("version");
    if let Some(version) = version {
        version.parse::<VersionId>().map_err(|_| wrong("version", version))?;
    }
    let instance = part("instance").map(|instance| instance.parse().map_err(|_| wrong("instance", instance))).transpose()?;
    Ok(Push { service: service.into(), version: version.map(Into::into), instance })
}

pub(super) fn shown_routing(push: &Push) -> Value {
    let mut shown = json!({"service": push.service});
    if let Some(version) = &push.version {
        shown["version"] = json!(version);
    }
    if let Some(instance) = push.instance {
        shown["instance"] = json!(instance.to_string());
    }
    shown
}
