//! Cloud Tasks: queues, as queue.yaml becomes them (rates, retries, routing, and whether a queue stands still), and their tasks, as far as they ask the
//! app. Queues are kept as documents, tasks by whoever sends them (`Ground::ward`).

mod task;

use http::Method;
use serde_json::{Map, Value, json};
use store::control::{Document, Kind};

use super::{Ask, Ground, Inquiry, Regional, mask, paging};
use crate::status::{Code, Status};

/// Queues of one app (Cloud Tasks' limit).
const QUEUES: usize = 1000;
const FIELDS: [&str; 13] = [
    "name",
    "appEngineHttpQueue",
    "appEngineRoutingOverride",
    "appEngineHttpTarget",
    "rateLimits",
    "retryConfig",
    "state",
    "purgeTime",
    "taskTtl",
    "tombstoneTtl",
    "stackdriverLoggingConfig",
    "type",
    "stats",
];

pub(super) fn answer(ground: &dyn Ground, ask: &Ask<'_>) -> Result<Value, Status> {
    let (segments, verb) = ask.segments();
    let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
    let (app, location, rest) = match super::regional(ground, ask, &parts, "queues")? {
        Regional::Within { app, location, rest } => (app, location, rest),
        Regional::Answer(answer) => return Ok(answer),
    };
    let place = Place { ground, app, location, nested: ask.path.starts_with("/v2beta3/") };
    match (ask.method, rest, verb.as_deref()) {
        (&Method::GET, [], None) => place.list(ask),
        (&Method::POST, [], None) => place.create(ask),
        (&Method::GET, [queue], None) => place.show(&place.find(queue)?),
        (&Method::PATCH, [queue], None) => place.patch(ask, queue),
        (&Method::DELETE, [queue], None) => place.delete(queue),
        (&Method::POST, [queue], Some("pause")) => place.turn(queue, "PAUSED"),
        (&Method::POST, [queue], Some("resume")) => place.turn(queue, "RUNNING"),
        (&Method::POST, [queue], Some("purge")) => {
            place.find(queue)?;
            place.ask_ward(&Method::POST, &["queues", queue], Some("purge"))?;
            place.show(&place.find(queue)?)
        }
        (_, [queue, "tasks", rest @ ..], verb) => place.tasks(ask, queue, rest, verb),
        _ => Err(ask.unknown()),
    }
}

struct Place<'a> {
    ground: &'a dyn Ground,
    app: &'a str,
    location: &'a str,
    /// v2beta3 has the routing within `appEngineHttpQueue`, v2 at the top.
    nested: bool,
}

impl Place<'_> {
    fn full(&self, queue: &str) -> String {
        format!("projects/{}/locations/{}/queues/{queue}", self.app, self.location)
    }

    fn list(&self, ask: &Ask<'_>) -> Result<Value, Status> {
        let all = self.ground.documents(self.app, Kind::Queue)?;
        let shown = all.iter().map(|queue| Ok((queue.name.clone(), self.show(queue)?)));
        paging::page(ask, "queues", shown.collect::<Result<_, Status>>()?)
    }

    fn find(&self, name: &str) -> Result<Document, Status> {
        let queue = self.ground.document(self.app, Kind::Queue, name)?;
        // Every app has this one, whether or not anything was said of it.
        let usual = || (name == "default").then(usual);
        queue.or_else(usual).ok_or_else(|| Status::not_found(format!("The queue {} was not found.", self.full(name))))
    }

    fn show(&self, queue: &Document) -> Result<Value, Status> {
        let mut shown = queue.body.clone();
        let routing = shown["routing"].take();
        if let Value::Object(fields) = &mut shown {
            fields.remove("routing");
        }
        let pull = shown["type"] == "PULL";
        if !pull {
            let routing = self.routing(&routing)?;
            if self.nested {
                shown["appEngineHttpQueue"] = json!({"appEngineRoutingOverride": routing});
            } else if routing != json!({}) {
                shown["appEngineRoutingOverride"] = routing;
            }
        }
        shown["name"] = json!(self.full(&queue.name));
        // A queue that nothing was ever kept of was not purged.
        if let Ok(Some(told)) = self.ground.ward(self.app, Inquiry::new(&Method::GET, &["queues", &queue.name]))
            && told["purgeTime"].is_string()
        {
            shown["purgeTime"] = told["purgeTime"].clone();
        }
        Ok(shown)
    }

    /// With the host that the routing leads to: gcloud compares nothing else on the next deployment.
    fn routing(&self, routing: &Value) -> Result<Value, Status> {
        let Value::Object(fields) = routing else { return Ok(json!({})) };
        let mut shown = fields.clone();
        let part = |name: &str| fields.get(name).and_then(Value::as_str).filter(|part| !part.is_empty());
        if let Some(host) = self.ground.host(self.app)? {
            let labels: Vec<&str> = [part("version"), part("service"), Some(&host)].into_iter().flatten().collect();
            shown.insert("host".into(), json!(labels.join(".")));
        }
        Ok(Value::Object(shown))
    }

    fn create(&self, ask: &Ask<'_>) -> Result<Value, Status> {
        let fields = ask.object("queue", &FIELDS)?;
        let home = self.full("");
        let name = fields.get("name").and_then(Value::as_str).and_then(|name| name.strip_prefix(&home)).unwrap_or_default().to_owned();
        if self.ground.document(self.app, Kind::Queue, &name)?.is_some() {
            return Err(Status::new(Code::AlreadyExists, format!("Queue {} already exists.", self.full(&name))));
        }
        self.put(&name, fresh(), &fields, None)
    }

    /// Changes a queue, or makes it.
    fn patch(&self, ask: &Ask<'_>, name: &str) -> Result<Value, Status> {
        let fields = ask.object("queue", &FIELDS)?;
        let known = match self.ground.document(self.app, Kind::Queue, name)? {
            Some(Document { body: Value::Object(known), .. }) => known,
            Some(_) => return Err(Status::internal()),
            None => fresh(),
        };
        self.put(name, known, &fields, ask.parameter("updateMask"))
    }

    fn put(&self, name: &str, mut queue: Map<String, Value>, from: &Map<String, Value>, mask: Option<&str>) -> Result<Value, Status> {
        if !is_name(name) {
            return Err(Status::field("queue.name", "A queue's name is 1 to 100 letters, digits or hyphens."));
        }
        let is_new = self.ground.document(self.app, Kind::Queue, name)?.is_none();
        if is_new && self.ground.documents(self.app, Kind::Queue)?.len() >= QUEUES {
            return Err(Status::new(Code::ResourceExhausted, format!("An app has at most {QUEUES} queues.")));
        }
        // `routing` is where both forms of the API put it.
        let kept = queue.remove("routing");
        let mut form = queue;
        if let Some(routing) = kept {
            form.insert("appEngineHttpQueue".into(), json!({"appEngineRoutingOverride": routing}));
        }
        let mut from = from.clone();
        if let Some(routing) = from.remove("appEngineRoutingOverride") {
            from.insert("appEngineHttpQueue".into(), json!({"appEngineRoutingOverride": routing}));
        }
        let mask = mask.map(nest);
        mask::apply(mask.as_deref(), &mut form, &from, &FIELDS)?;
        for told in ["name", "stats", "purgeTime", "appEngineHttpTarget"] {
            form.remove(told);
        }
        if let Some(http) = form.remove("appEngineHttpQueue") {
            let mut routing = http["appEngineRoutingOverride"].clone();
            if let Value::Object(fields) = &mut routing {
                fields.remove("host");
                form.insert("routing".into(), routing);
            }
        }
        check(&form)?;
        self.show(&self.ground.put(self.app, Kind::Queue, name, &Value::Object(form))?)
    }

    /// Removes a queue with all its tasks.
    fn delete(&self, name: &str) -> Result<Value, Status> {
        self.find(name)?;
        self.ground.ward(self.app, Inquiry { verb: Some("purge"), ..Inquiry::new(&Method::POST, &["queues", name]) })?;
        self.ground.remove(self.app, Kind::Queue, name)?;
        Ok(json!({}))
    }

    fn turn(&self, name: &str, state: &str) -> Result<Value, Status> {
        let mut body = self.find(name)?.body;
        body["state"] = json!(state);
        self.show(&self.ground.put(self.app, Kind::Queue, name, &body)?)
    }
}

/// The masks of v2 in the words of v2beta3.
fn nest(mask: &str) -> String {
    let paths = mask.split(',').map(|path| match path.trim() {
        path if path.starts_with("appEngineRoutingOverride") || path.starts_with("app_engine_routing_override") => {
            format!("appEngineHttpQueue.{path}")
        }
        path => path.to_owned(),
    });
    paths.collect::<Vec<_>>().join(",")
}

/// A queue of which nothing was said (Cloud Tasks' defaults).
fn fresh() -> Map<String, Value> {
    let fresh = json!({
        "rateLimits": {"maxDispatchesPerSecond": 500.0, "maxBurstSize": 100, "maxConcurrentDispatches": 1000},
        "retryConfig": {"maxAttempts": 100, "minBackoff": "0.100s", "maxBackoff": "3600s", "maxDoublings": 16},
        "state": "RUNNING",
    });
    match fresh {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// The queue `default` of an app that says nothing of it, with the rates of a queue.yaml that does not either.
fn usual() -> Document {
    let mut body = fresh();
    body.insert("rateLimits".into(), json!({"maxDispatchesPerSecond": 5.0, "maxBurstSize": 5}));
    body.insert("retryConfig".into(), json!({"maxAttempts": -1, "minBackoff": "0.100s", "maxBackoff": "3600s", "maxDoublings": 16}));
    let at = std::time::SystemTime::UNIX_EPOCH;
    Document { name: "default".into(), body: Value::Object(body), created: at, updated: at }
}

fn is_name(name: &str) -> bool {
    (1..=100).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn check(queue: &Map<String, Value>) -> Result<(), Status> {
    let field = |path: &str| {
        let (group, name) = path.split_once('.')?;
        queue.get(group)?.get(name).cloned()
    };
    let numbers = [
        ("rateLimits.maxDispatchesPerSecond", 0.0, 500.0),
        ("rateLimits.maxBurstSize", 0.0, 500.0),
        ("rateLimits.maxConcurrentDispatches", 0.0, 5000.0),
        ("retryConfig.maxAttempts", -1.0, f64::from(i32::MAX)),
        ("retryConfig.maxDoublings", 0.0, 100.0),
    ];
    for (path, least, most) in numbers {
        let Some(value) = field(path) else { continue };
        if !value.as_f64().is_some_and(|number| (least..=most).contains(&number)) {
            return Err(Status::field(
                format!("queue.{path}"),
                format!("Queue.{path} must be a number from {least} to {most}, not {value}."),
            ));
        }
    }
    for path in ["retryConfig.minBackoff", "retryConfig.maxBackoff", "retryConfig.maxRetryDuration"] {
        let Some(value) = field(path) else { continue };
        let seconds = value.as_str().and_then(|text| text.strip_suffix('s')).and_then(|text| text.parse::<f64>().ok());
        if !seconds.is_some_and(|seconds| (0.0..=1e9).contains(&seconds)) {
            return Err(Status::field(format!("queue.{path}"), format!("Queue.{path} must be a duration such as \"3.5s\", not {value}.")));
        }
    }
    Ok(())
}
