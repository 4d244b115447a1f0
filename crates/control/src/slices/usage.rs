//! Service Usage: which of Google's APIs a project may call. Those that this server speaks are enabled, and stay so.

use http::Method;
use serde_json::{Value, json};

use super::{Ask, Ground, paging};
use crate::status::{Code, Status};

/// What this server speaks.
const SPOKEN: [&str; 8] = [
    "appengine.googleapis.com",
    "cloudscheduler.googleapis.com",
    "cloudtasks.googleapis.com",
    "datastore.googleapis.com",
    "logging.googleapis.com",
    "serviceusage.googleapis.com",
    "storage-api.googleapis.com",
    "storage.googleapis.com",
];

pub(super) fn answer(ground: &dyn Ground, ask: &Ask<'_>) -> Result<Value, Status> {
    let (segments, verb) = ask.segments();
    let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
    let app = parts.get(1).copied().unwrap_or_default();
    super::region(ground, app)?;
    match (ask.method, parts.as_slice(), verb.as_deref()) {
        (&Method::GET, [_, app, "services"], None) => {
            let enabled_only = ask.parameter("filter").is_none_or(|filter| !filter.eq_ignore_ascii_case("state:disabled"));
            let all = SPOKEN.into_iter().filter(|_| enabled_only);
            paging::page(ask, "services", all.map(|name| (name.to_owned(), service(app, name))).collect())
        }
        (&Method::GET, [_, app, "services", name], None) => Ok(service(app, name)),
        (&Method::POST, [_, app, "services", name], Some("enable")) => {
            spoken(name)?;
            Ok(done("EnableServiceResponse", &json!({"service": service(app, name)})))
        }
        (&Method::POST, [_, app, "services"], Some("batchEnable")) => {
            let names: Vec<&str> = ask.body["serviceIds"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            names.iter().try_for_each(|name| spoken(name))?;
            let services: Vec<Value> = names.iter().map(|name| service(app, name)).collect();
            Ok(done("BatchEnableServicesResponse", &json!({"services": services})))
        }
        (&Method::POST, [_, _, "services", name], Some("disable")) => {
            Err(Status::new(Code::FailedPrecondition, format!("{name} is a part of this server and cannot be switched off.")))
        }
        _ => Err(ask.unknown()),
    }
}

fn spoken(name: &str) -> Result<(), Status> {
    if SPOKEN.contains(&name) {
        return Ok(());
    }
    Err(Status::new(Code::FailedPrecondition, format!("This server does not speak {name}; it speaks {}.", SPOKEN.join(", "))))
}

fn service(app: &str, name: &str) -> Value {
    json!({
        "name": format!("projects/{app}/services/{name}"),
        "parent": format!("projects/{app}"),
        "config": {"name": name},
        "state": if SPOKEN.contains(&name) { "ENABLED" } else { "DISABLED" },
    })
}

/// An operation that is over.
fn done(kind: &str, response: &Value) -> Value {
    let mut response = response.clone();
    response["@type"] = Value::String(format!("type.googleapis.com/google.api.serviceusage.v1.{kind}"));
    // The name that Google gives operations that were over at once.
    json!({"name": "operations/noop.DONE_OPERATION", "done": true, "response": response})
}
