//! Datastore's composite indexes, as `gcloud app deploy index.yaml` and `gcloud datastore indexes` keep them.

use http::Method;
use serde_json::{Value, json};
use store::control::{Document, Kind};

use super::{Ask, Ground, paging};
use crate::status::{Code, Status};

/// Properties of one index (Datastore's limit).
const PROPERTIES: usize = 100;
/// Indexes of one app (Datastore's limit).
const INDEXES: usize = 200;

pub(super) fn answer(ground: &dyn Ground, ask: &Ask<'_>) -> Result<Value, Status> {
    let (segments, verb) = ask.segments();
    let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
    super::region(ground, parts.get(1).copied().unwrap_or_default())?;
    match (ask.method, parts.as_slice(), verb) {
        (&Method::GET, [_, app, "indexes"], None) => {
            let all = ground.documents(app, Kind::Index)?;
            paging::page(ask, "indexes", all.iter().map(|document| (document.name.clone(), show(app, document))).collect())
        }
        (&Method::POST, [_, app, "indexes"], None) => create(ground, ask, app),
        (&Method::GET, [_, app, "indexes", id], None) => Ok(show(app, &find(ground, app, id)?)),
        (&Method::DELETE, [_, app, "indexes", id], None) => {
            let document = find(ground, app, id)?;
            ground.remove(app, Kind::Index, id)?;
            Ok(done(app, &show(app, &document), "DELETE_INDEX"))
        }
        _ => Err(ask.unknown()),
    }
}

fn find(ground: &dyn Ground, app: &str, id: &str) -> Result<Document, Status> {
    ground.document(app, Kind::Index, id)?.ok_or_else(|| Status::not_found(format!("The index {id} was not found.")))
}

fn create(ground: &dyn Ground, ask: &Ask<'_>, app: &str) -> Result<Value, Status> {
    let body = ask.object("index", &["projectId", "indexId", "kind", "ancestor", "properties", "state"])?;
    let index = check(&Value::Object(body))?;
    let all = ground.documents(app, Kind::Index)?;
    // The name is made of what the index is, so that two of the same cannot be.
    let id = name(&index);
    if all.iter().any(|document| document.name == id) {
        return Err(Status::new(Code::AlreadyExists, "index already exists"));
    }
    if all.len() >= INDEXES {
        return Err(Status::new(Code::ResourceExhausted, format!("An app has at most {INDEXES} composite indexes.")));
    }
    let document = ground.put(app, Kind::Index, &id, &index)?;
    Ok(done(app, &show(app, &document), "CREATE_INDEX"))
}

/// The parts that define an index, with their defaults.
fn check(body: &Value) -> Result<Value, Status> {
    let Some(kind) = body["kind"].as_str().filter(|kind| !kind.is_empty() && kind.len() <= 1500) else {
        return Err(Status::field("index.kind", "An index has a kind of at most 1,500 bytes."));
    };
    let ancestor = match &body["ancestor"] {
        Value::Null => "NONE",
        Value::String(text) if text == "NONE" || text == "ALL_ANCESTORS" => text,
        Value::Number(number) if number.as_u64() == Some(1) => "NONE",
        Value::Number(number) if number.as_u64() == Some(2) => "ALL_ANCESTORS",
        other => return Err(Status::field("index.ancestor", format!("Invalid value {other}: NONE or ALL_ANCESTORS."))),
    };
    let given = body["properties"].as_array().map_or(&[] as &[Value], Vec::as_slice);
    if given.is_empty() || given.len() > PROPERTIES {
        return Err(Status::field("index.properties", format!("An index has 1 to {PROPERTIES} properties, not {}.", given.len())));
    }
    let properties = given.iter().enumerate().map(|(at, given)| property(at, given)).collect::<Result<Vec<_>, _>>()?;
    Ok(json!({"kind": kind, "ancestor": ancestor, "properties": properties}))
}

fn property(at: usize, given: &Value) -> Result<Value, Status> {
    let field = |name: &str| format!("index.properties[{at}].{name}");
    let Some(name) = given["name"].as_str().filter(|name| !name.is_empty()) else {
        return Err(Status::field(field("name"), "A property of an index has a name."));
    };
    let direction = match &given["direction"] {
        Value::Null => "ASCENDING",
        Value::String(text) if text == "ASCENDING" || text == "DESCENDING" => text,
        Value::Number(number) if number.as_u64() == Some(1) => "ASCENDING",
        Value::Number(number) if number.as_u64() == Some(2) => "DESCENDING",
        other => return Err(Status::field(field("direction"), format!("Invalid value {other}: ASCENDING or DESCENDING."))),
    };
    Ok(json!({"name": name, "direction": direction}))
}

/// Thirty-two characters that stand for this definition and no other (FNV-1a over its text, twice).
fn name(index: &Value) -> String {
    let text = index.to_string();
    let hash = |seed: u64| text.bytes().fold(seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{:016x}{:016x}", hash(0xcbf2_9ce4_8422_2325), hash(0x6c62_272e_07bb_0142))
}

fn show(app: &str, document: &Document) -> Value {
    let mut index = document.body.clone();
    index["projectId"] = json!(app);
    index["indexId"] = json!(document.name);
    index["state"] = json!("READY");
    index
}

fn done(app: &str, index: &Value, what: &str) -> Value {
    let mut response = index.clone();
    response["@type"] = json!("type.googleapis.com/google.datastore.admin.v1.Index");
    let id = index["indexId"].as_str().unwrap_or_default();
    json!({
        "name": format!("projects/{app}/operations/{id}"),
        "done": true,
        "metadata": {
            "@type": "type.googleapis.com/google.datastore.admin.v1.IndexOperationMetadata",
            "common": {"operationType": what, "state": "SUCCESSFUL"},
            "indexId": id,
        },
        "response": response,
    })
}
