//! Tasks in Cloud Tasks' form: what a client says becomes what the ward of queues takes (decision 302), and back.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE};
use http::Method;
use serde_json::{Map, Value, json};

use super::super::ask::check_known;
use super::super::{Ask, Inquiry};
use super::Place;
use crate::status::{Code, Status};

/// Tasks on a page unless less is asked for (Cloud Tasks' limit).
const PAGE: usize = 1000;
const METHODS: [&str; 8] = ["HTTP_METHOD_UNSPECIFIED", "POST", "GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"];
const FIELDS: [&str; 12] = [
    "name",
    "appEngineHttpRequest",
    "httpRequest",
    "pullMessage",
    "scheduleTime",
    "dispatchDeadline",
    "createTime",
    "dispatchCount",
    "responseCount",
    "firstAttempt",
    "lastAttempt",
    "view",
];
const REQUEST: [&str; 5] = ["httpMethod", "appEngineRouting", "relativeUri", "headers", "body"];

impl Place<'_> {
    /// Answers for `queues/QUEUE/tasks…`.
    pub(super) fn tasks(&self, ask: &Ask<'_>, queue: &str, path: &[&str], verb: Option<&str>) -> Result<Value, Status> {
        match (ask.method, path, verb) {
            (&Method::GET, [], None) => {
                self.find_task_queue(queue)?;
                self.list_tasks(ask, queue)
            }
            (&Method::POST, [], None) => {
                self.find_task_queue(queue)?;
                self.create_task(ask, queue)
            }
            (&Method::GET, [task], None) => {
                let full = view(ask.parameter("responseView").map(Value::from).as_ref())?;
                self.shown(queue, &self.ask_ward(&Method::GET, &["queues", queue, "tasks", task], None)?, full)
            }
            (&Method::DELETE, [task], None) => self.ask_ward(&Method::DELETE, &["queues", queue, "tasks", task], None),
            (&Method::POST, [task], Some("run")) => {
                let full = view(ask.object("request", &["name", "responseView"])?.get("responseView"))?;
                self.shown(queue, &self.ask_ward(&Method::POST, &["queues", queue, "tasks", task], Some("run"))?, full)
            }
            (_, [_] | [], Some(verb)) => Err(super::super::beyond(&format!("`{verb}` of a task"))),
            _ => Err(ask.unknown()),
        }
    }

    /// Only queues with an App Engine target keep tasks that this API speaks of.
    fn find_task_queue(&self, queue: &str) -> Result<(), Status> {
        if self.find(queue)?.body["type"] == "PULL" {
            let text = format!("The queue {} is a pull queue, whose tasks the app adds and leases.", self.full(queue));
            return Err(Status::new(Code::FailedPrecondition, text));
        }
        Ok(())
    }

    fn list_tasks(&self, ask: &Ask<'_>, queue: &str) -> Result<Value, Status> {
        let full = view(ask.parameter("responseView").map(Value::from).as_ref())?;
        let size = ask.parameter("pageSize").filter(|size| *size != "0").map_or_else(|| PAGE.to_string(), str::to_owned);
        let token = ask.parameter("pageToken").unwrap_or_default().to_owned();
        let query = BTreeMap::from([("pageSize".to_owned(), size), ("pageToken".to_owned(), token)]);
        let path = ["queues", queue, "tasks"];
        let told = self.ward(Inquiry { query, ..Inquiry::new(&Method::GET, &path) })?;
        let tasks = told["tasks"].as_array().into_iter().flatten();
        let tasks = tasks.map(|task| self.shown(queue, task, full)).collect::<Result<Vec<_>, _>>()?;
        let mut answer = Map::new();
        if !tasks.is_empty() {
            answer.insert("tasks".into(), tasks.into());
        }
        if told["nextPageToken"].is_string() {
            answer.insert("nextPageToken".into(), told["nextPageToken"].clone());
        }
        Ok(Value::Object(answer))
    }

    fn create_task(&self, ask: &Ask<'_>, queue: &str) -> Result<Value, Status> {
        let request = ask.object("request", &["parent", "task", "responseView"])?;
        let full = view(request.get("responseView"))?;
        let wanted = self.wanted(queue, request.get("task").unwrap_or(&Value::Null))?;
        let path = ["queues", queue, "tasks"];
        let made = self.ward(Inquiry { body: wanted, ..Inquiry::new(&Method::POST, &path) }).map_err(in_own_terms)?;
        self.shown(queue, &made, full)
    }

    /// The task of a client as the ward takes it.
    fn wanted(&self, queue: &str, task: &Value) -> Result<Value, Status> {
        let task = object(task, "task", &FIELDS)?;
        for other in ["httpRequest", "pullMessage"] {
            if task.contains_key(other) {
                return Err(Status::field(format!("task.{other}"), "Tasks of this server ask the app: use appEngineHttpRequest."));
            }
        }
        let Some(request) = task.get("appEngineHttpRequest") else {
            return Err(Status::field("task.appEngineHttpRequest", "A task needs an appEngineHttpRequest."));
        };
        let request = object(request, "task.appEngineHttpRequest", &REQUEST)?;
        let method = method(request.get("httpMethod"))?;
        let mut wanted = json!({"method": method});
        if let Some(name) = task.get("name").and_then(Value::as_str).filter(|name| !name.is_empty()) {
            let home = format!("{}/tasks/", self.full(queue));
            let own = name.strip_prefix(&home).filter(|own| !own.is_empty() && !own.contains('/'));
            let own = own.ok_or_else(|| Status::field("task.name", format!("A task of this queue is called {home}TASK, not {name}.")))?;
            wanted["name"] = json!(own);
        }
        let kept = [("relativeUri", "url"), ("appEngineRouting", "routing")];
        for (from, to) in kept {
            if let Some(value) = request.get(from).filter(|value| **value != json!("")) {
                wanted[to] = value.clone();
            }
        }
        if let Some(eta) = task.get("scheduleTime") {
            wanted["eta"] = eta.clone();
        }
        if let Some(deadline) = task.get("dispatchDeadline") {
            wanted["deadlineSeconds"] = json!(seconds(deadline)?);
        }
        wanted["headers"] = headers(request.get("headers"))?;
        if let Some(body) = request.get("body").and_then(Value::as_str).filter(|body| !body.is_empty()) {
            if !matches!(method, "POST" | "PUT" | "PATCH") {
                return Err(Status::field("task.appEngineHttpRequest.body", format!("A {method} request has no body.")));
            }
            // Clients of Google's send either alphabet.
            let whole = BASE64_STANDARD.decode(body).or_else(|_| BASE64_URL_SAFE.decode(body));
            let whole = whole.map_err(|_| Status::field("task.appEngineHttpRequest.body", "The body is not base64."))?;
            wanted["bodyBase64"] = json!(BASE64_STANDARD.encode(whole));
        }
        Ok(wanted)
    }

    /// What the ward shows, in Cloud Tasks' form; the payload only in the full view.
    fn shown(&self, queue: &str, task: &Value, full: bool) -> Result<Value, Status> {
        let text = |name: &str| task[name].as_str().unwrap_or_default();
        let mut request = json!({"httpMethod": text("method"), "relativeUri": text("url")});
        let routing = self.routing(&task["routing"])?;
        request["appEngineRouting"] = routing;
        let pairs = task["headers"].as_array().into_iter().flatten();
        let headers: Map<String, Value> = pairs.filter_map(|one| Some((one["name"].as_str()?.to_owned(), one["value"].clone()))).collect();
        if !headers.is_empty() {
            request["headers"] = Value::Object(headers);
        }
        if full {
            let whole =
                task["body"].as_str().map(|body| BASE64_STANDARD.encode(body)).or_else(|| Some(task["bodyBase64"].as_str()?.into()));
            if let Some(whole) = whole {
                request["body"] = json!(whole);
            }
        }
        let mut shown = json!({
            "name": format!("{}/tasks/{}", self.full(queue), text("name")),
            "appEngineHttpRequest": request,
            "scheduleTime": task["eta"],
            "createTime": task["created"],
            // A task that nobody said anything about has ten minutes (Cloud Tasks' default).
            "dispatchDeadline": format!("{}s", task["deadlineSeconds"].as_f64().unwrap_or(600.0)),
            "dispatchCount": task["retries"],
            "responseCount": task["executions"],
            "view": if full { "FULL" } else { "BASIC" },
        });
        if task["firstTry"].is_string() {
            shown["firstAttempt"] = json!({"dispatchTime": task["firstTry"]});
        }
        if task["lastTry"].is_object() {
            shown["lastAttempt"] = attempt(&task["lastTry"]);
        }
        Ok(shown)
    }

    /// Asks who keeps the tasks.
    pub(super) fn ask_ward(&self, method: &Method, path: &[&str], verb: Option<&str>) -> Result<Value, Status> {
        self.ward(Inquiry { verb, ..Inquiry::new(method, path) })
    }

    fn ward(&self, inquiry: Inquiry<'_>) -> Result<Value, Status> {
        self.ground.ward(self.app, inquiry)?.ok_or_else(|| super::super::beyond("Keeping tasks"))
    }
}

/// The last try: `{"time", "milliseconds", "status"}`.
fn attempt(last: &Value) -> Value {
    let mut shown = json!({"dispatchTime": last["time"]});
    let begun = last["time"].as_str().and_then(|time| time.parse::<jiff::Timestamp>().ok());
    let took = jiff::SignedDuration::from_millis(last["milliseconds"].as_i64().unwrap_or(0));
    let Some(status) = last["status"].as_u64() else { return shown };
    if let Some(ended) = begun.and_then(|begun| begun.checked_add(took).ok()) {
        shown["responseTime"] = json!(format!("{ended:.3}"));
    }
    let (code, name) = code(status);
    shown["responseStatus"] = json!({"code": code, "message": format!("{name}({code}): HTTP status code {status}")});
    shown
}

/// The code of google.rpc for a status of HTTP (the comments of google/rpc/code.proto).
fn code(status: u64) -> (u8, &'static str) {
    let code = match status {
        200..=299 => return (0, "OK"),
        400 => Code::InvalidArgument,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::NotFound,
        409 => Code::Aborted,
        429 => Code::ResourceExhausted,
        499 => Code::Cancelled,
        500 => Code::Internal,
        501 => Code::Unimplemented,
        503 => Code::Unavailable,
        504 => Code::DeadlineExceeded,
        _ => Code::Unknown,
    };
    (code.number(), code.name())
}

/// An object whose fields are all known.
fn object<'v>(value: &'v Value, what: &str, known: &[&str]) -> Result<&'v Map<String, Value>, Status> {
    let Value::Object(fields) = value else { return Err(Status::field(what, format!("{what} is an object."))) };
    check_known(fields, what, known)?;
    Ok(fields)
}

/// A method by its name or, as generated clients send it, its number.
fn method(value: Option<&Value>) -> Result<&'static str, Status> {
    let found = match value {
        None | Some(Value::Null) => Some(0),
        Some(Value::String(name)) => METHODS.iter().position(|known| known == name),
        Some(number) => number.as_u64().and_then(|number| usize::try_from(number).ok()).filter(|number| *number < METHODS.len()),
    };
    match found {
        Some(0) => Ok("POST"),
        Some(number) => Ok(METHODS[number]),
        None => Err(Status::field("task.appEngineHttpRequest.httpMethod", format!("The method is one of {}.", METHODS[1..].join(", ")))),
    }
}

/// Whether the payload is shown; views come by name or number.
fn view(value: Option<&Value>) -> Result<bool, Status> {
    match value {
        None | Some(Value::Null) => Ok(false),
        Some(view) if [json!("FULL"), json!("2"), json!(2)].contains(view) => Ok(true),
        Some(view) if [json!("BASIC"), json!("VIEW_UNSPECIFIED"), json!("0"), json!("1"), json!(0), json!(1)].contains(view) => Ok(false),
        Some(view) => Err(Status::field("responseView", format!("The view is BASIC or FULL, not {view}."))),
    }
}

fn seconds(value: &Value) -> Result<f64, Status> {
    let seconds = value.as_str().and_then(|text| text.strip_suffix('s')).and_then(|text| text.parse::<f64>().ok());
    seconds
        .filter(|seconds| seconds.is_finite())
        .ok_or_else(|| Status::field("task.dispatchDeadline", format!("The deadline is a duration such as \"600s\", not {value}.")))
}

/// The map of a client as the ward's list.
fn headers(given: Option<&Value>) -> Result<Value, Status> {
    let wrong = || Status::field("task.appEngineHttpRequest.headers", "Headers are an object of texts.");
    let fields = match given {
        None | Some(Value::Null) => return Ok(json!([])),
        Some(given) => given.as_object().ok_or_else(wrong)?,
    };
    let one = |(name, value): (&String, &Value)| value.as_str().map(|value| json!({"name": name, "value": value}));
    Ok(Value::Array(fields.iter().map(one).collect::<Option<_>>().ok_or_else(wrong)?))
}

/// The ward's names of fields in Cloud Tasks' words.
fn in_own_terms(mut status: Status) -> Status {
    let names = [
        ("name", "task.name"),
        ("eta", "task.scheduleTime"),
        ("deadlineSeconds", "task.dispatchDeadline"),
        ("method", "task.appEngineHttpRequest.httpMethod"),
        ("url", "task.appEngineHttpRequest.relativeUri"),
        ("headers", "task.appEngineHttpRequest.headers"),
        ("body", "task.appEngineHttpRequest.body"),
    ];
    for violation in status.details.iter_mut().filter_map(|detail| detail["fieldViolations"].as_array_mut()).flatten() {
        let given = violation["field"].as_str().unwrap_or_default().to_owned();
        if let Some((_, own)) = names.iter().find(|(name, _)| *name == given) {
            violation["field"] = json!(own);
        } else if let Some(part) = given.strip_prefix("routing.") {
            violation["field"] = json!(format!("task.appEngineHttpRequest.appEngineRouting.{part}"));
        }
    }
    status
}
