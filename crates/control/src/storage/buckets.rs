//! Buckets: list, make, look, change, remove.

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use hyper::body::Body;
use serde_json::{Map, Value, json};
use store::control::{Bucket, Page};

use super::{Ask, Fault, Guest, Reply, Storage, empty, gather, json, time};

/// What is told of a bucket and not kept from a body.
const TOLD: [&str; 13] = [
    "kind",
    "id",
    "name",
    "selfLink",
    "projectNumber",
    "location",
    "locationType",
    "timeCreated",
    "updated",
    "metageneration",
    "etag",
    "generation",
    "project",
];

impl Storage {
    /// `/storage/v1/b`.
    pub(super) async fn all_buckets<B>(&self, guest: &dyn Guest, ask: &Ask, body: B) -> Result<Response<Reply>, Fault>
    where
        B: Body<Data = Bytes> + Send + Unpin,
    {
        let missing = || Fault::new(StatusCode::BAD_REQUEST, "required", "Required parameter: project");
        let project = ask.parameter("project").filter(|project| !project.is_empty()).ok_or_else(missing)?.to_owned();
        guest.check(ask.method != Method::GET, Some(&project))?;
        match ask.method {
            Method::GET => {
                let prefix = ask.parameter("prefix").unwrap_or_default().to_owned();
                let found = self
                    .off(move |store| {
                        store.read(|view| {
                            let app = view.find_app(&project)?.ok_or_else(|| unknown(&project))?;
                            Ok(view.buckets(Some(&app.id))?)
                        })
                    })
                    .await?;
                let items: Vec<Value> =
                    found.iter().filter(|bucket| bucket.name.starts_with(&prefix)).map(|bucket| show(ask, bucket)).collect();
                Ok(json(StatusCode::OK, &list("storage#buckets", items)))
            }
            Method::POST => {
                let fields = gather(body).await?;
                let made = self.make(guest, project, fields).await?;
                Ok(json(StatusCode::OK, &show(ask, &made)))
            }
            _ => Err(Fault::not_found("Buckets are listed and made here.")),
        }
    }

    async fn make(&self, guest: &dyn Guest, project: String, fields: Map<String, Value>) -> Result<Bucket, Fault> {
        let name = fields.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        if !is_name(&name) {
            return Err(Fault::invalid(format!("Invalid bucket name: '{name}'")));
        }
        if self.owner(&name).is_some_and(|owner| owner != project) {
            return Err(Fault::new(
                StatusCode::FORBIDDEN,
                "forbidden",
                format!("The name {name} is reserved for the bucket of another app."),
            ));
        }
        let location = fields.get("location").and_then(Value::as_str).map(str::to_owned);
        let body = kept(fields);
        let actor = guest.actor();
        self.off(move |store| {
            store.change(&actor, |change| {
                let app = change.find_app(&project)?.ok_or_else(|| unknown(&project))?;
                if change.find_bucket(&name)?.is_some() {
                    let text = "Your previous request to create the named bucket succeeded and you already own it.";
                    return Err(Fault::new(StatusCode::CONFLICT, "conflict", text));
                }
                Ok(change.create_bucket(&name, Some(&app.id), location.as_deref().unwrap_or(&app.location), &body)?)
            })
        })
        .await
    }

    /// `/storage/v1/b/BUCKET`.
    pub(super) async fn one_bucket<B>(&self, guest: &dyn Guest, ask: &Ask, name: &str, body: B) -> Result<Response<Reply>, Fault>
    where
        B: Body<Data = Bytes> + Send + Unpin,
    {
        let bucket = self.bucket(guest, ask.method != Method::GET, name).await?;
        let actor = guest.actor();
        match ask.method {
            Method::GET => Ok(json(StatusCode::OK, &ask.select(show(ask, &bucket))?)),
            Method::PATCH | Method::PUT => {
                let fields = kept(gather(body).await?);
                let merged = if ask.method == Method::PUT { fields } else { merge(bucket.body, &fields) };
                let changed = merged.clone();
                let name = bucket.name.clone();
                self.off(move |store| Ok(store.change(&actor, |change| change.put_bucket(&name, &changed))?)).await?;
                Ok(json(StatusCode::OK, &show(ask, &Bucket { body: merged, ..bucket })))
            }
            Method::DELETE => {
                let removed = move |change: &mut store::control::Change<'_>| {
                    let some = Page { after: None, limit: 1 };
                    if !change.objects(&bucket.name, "", &some)?.is_empty() {
                        return Err(Fault::new(StatusCode::CONFLICT, "conflict", "The bucket you tried to delete is not empty."));
                    }
                    Ok(change.delete_bucket(&bucket.name)?)
                };
                self.off(move |store| store.change(&actor, removed)).await?;
                Ok(empty(StatusCode::NO_CONTENT))
            }
            _ => Err(Fault::not_found("A bucket is looked at, changed or deleted here.")),
        }
    }
}

fn unknown(project: &str) -> Fault {
    Fault::not_found(format!("Unknown project id: {project}"))
}

/// `{"kind": …, "items": …}`, without empty items.
pub(super) fn list(kind: &str, items: Vec<Value>) -> Value {
    let mut answer = json!({"kind": kind});
    if !items.is_empty() {
        answer["items"] = Value::Array(items);
    }
    answer
}

fn kept(mut fields: Map<String, Value>) -> Value {
    fields.retain(|name, value| !TOLD.contains(&name.as_str()) && !value.is_null());
    Value::Object(fields)
}

/// The fields of `change` over those of `old`; null removes.
pub(super) fn merge(old: Value, change: &Value) -> Value {
    let (Value::Object(mut old), Value::Object(change)) = (old, change) else { return change.clone() };
    for (name, value) in change {
        if value.is_null() {
            old.remove(name);
        } else {
            let before = old.remove(name).unwrap_or_default();
            let both = before.is_object() && value.is_object();
            old.insert(name.clone(), if both { merge(before, value) } else { value.clone() });
        }
    }
    Value::Object(old)
}

fn show(ask: &Ask, bucket: &Bucket) -> Value {
    let created = time(bucket.created);
    let told = json!({
        "kind": "storage#bucket",
        "id": bucket.name,
        "name": bucket.name,
        "selfLink": format!("{}/storage/v1/b/{}", ask.base(), bucket.name),
        "projectNumber": "0",
        "location": bucket.location.to_ascii_uppercase(),
        "locationType": "region",
        "storageClass": "STANDARD",
        "timeCreated": created,
        "updated": created,
        "metageneration": "1",
        "etag": "CAE=",
    });
    merge(told, &bucket.body)
}

/// Cloud Storage's rules for names, without the ban on its own trademarks.
fn is_name(name: &str) -> bool {
    let most = if name.contains('.') { 222 } else { 63 };
    let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.'));
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    (3..=most).contains(&name.len())
        && plain
        && edge(name.chars().next())
        && edge(name.chars().next_back())
        && name.split('.').all(|part| (1..=63).contains(&part.len()))
}
