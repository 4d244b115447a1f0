//! Objects: list, look, change what is said of them, copy, remove.

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use hyper::body::Body;
use serde_json::{Map, Value, json};
use store::control::{Object, Page};

use super::buckets::{list, merge};
use super::{Ask, Fault, Guest, Reply, Storage, empty, gather, json, time};

/// Objects on a page, as in Cloud Storage.
const PAGE: usize = 1000;
/// What may be said of an object.
const SAID: [&str; 7] =
    ["metadata", "cacheControl", "contentDisposition", "contentEncoding", "contentLanguage", "customTime", "storageClass"];

impl Storage {
    /// GET `/storage/v1/b/BUCKET/o`.
    pub(super) async fn list_objects(&self, guest: &dyn Guest, ask: &Ask, bucket: &str) -> Result<Response<Reply>, Fault> {
        let bucket = self.bucket(guest, false, bucket).await?.name;
        let size = match ask.parameter("maxResults").map(str::parse::<usize>) {
            None => PAGE,
            Some(Ok(size)) if size > 0 => size.min(PAGE),
            Some(_) => return Err(Fault::invalid("Invalid value for maxResults: a number above zero.")),
        };
        let text = |name: &str| ask.parameter(name).filter(|text| !text.is_empty()).map(str::to_owned);
        let wanted = Wanted { prefix: text("prefix").unwrap_or_default(), delimiter: text("delimiter"), end: text("endOffset"), size };
        // A name that the list begins with is not passed by, one that a page ended with is.
        let begin = text("startOffset");
        let after = text("pageToken");
        let base = ask.base();
        let found = self
            .off(move |store| {
                store.read(|view| wanted.collect(&base, after, begin.as_deref(), |page| Ok(view.objects(&bucket, &wanted.prefix, page)?)))
            })
            .await?;
        Ok(json(StatusCode::OK, &ask.select(found)?))
    }

    /// `/storage/v1/b/BUCKET/o/OBJECT`.
    pub(super) async fn one_object<B>(
        &self,
        guest: &dyn Guest,
        ask: &Ask,
        bucket: &str,
        name: &str,
        body: B,
    ) -> Result<Response<Reply>, Fault>
    where
        B: Body<Data = Bytes> + Send + Unpin,
    {
        let bucket = self.bucket(guest, ask.method != Method::GET, bucket).await?.name;
        let (name, conditions, actor) = (name.to_owned(), ask.conditions()?, guest.actor());
        match ask.method {
            Method::GET => {
                let object = self.object(&bucket, &name).await?;
                conditions.check(object.generation)?;
                if conditions.generation.is_some_and(|wanted| wanted != object.generation) {
                    return Err(Fault::no_object(&bucket, &name));
                }
                Ok(json(StatusCode::OK, &ask.select(show(&ask.base(), &object))?))
            }
            Method::PATCH | Method::PUT => {
                let fields = gather(body).await?;
                let content_type = fields.get("contentType").and_then(Value::as_str).map(str::to_owned);
                let change = said(fields);
                let is_put = ask.method == Method::PUT;
                let changed = self
                    .off(move |store| {
                        store.change(&actor, |tx| {
                            let old = tx.find_object(&bucket, &name)?.ok_or_else(|| Fault::no_object(&bucket, &name))?;
                            conditions.check(old.generation)?;
                            let mut body = old.body.clone();
                            if is_put && let Value::Object(fields) = &mut body {
                                fields.retain(|name, _| !SAID.contains(&name.as_str()));
                            }
                            let content_type = content_type.unwrap_or(old.content_type);
                            Ok(tx.put_object(&bucket, &name, &old.sha256, &content_type, &merge(body, &change))?)
                        })
                    })
                    .await?;
                Ok(json(StatusCode::OK, &show(&ask.base(), &changed)))
            }
            Method::DELETE => {
                self.off(move |store| {
                    store.change(&actor, |tx| {
                        let old = tx.find_object(&bucket, &name)?.ok_or_else(|| Fault::no_object(&bucket, &name))?;
                        conditions.check(old.generation)?;
                        tx.delete_object(&bucket, &name)?;
                        Ok(())
                    })
                })
                .await?;
                Ok(empty(StatusCode::NO_CONTENT))
            }
            _ => Err(Fault::not_found("An object is looked at, changed or deleted here.")),
        }
    }

    /// An object that must be there.
    pub(super) async fn object(&self, bucket: &str, name: &str) -> Result<Object, Fault> {
        let (bucket, name) = (bucket.to_owned(), name.to_owned());
        self.off(move |store| {
            let found = store.read(|view| view.find_object(&bucket, &name))?;
            found.ok_or_else(|| Fault::no_object(&bucket, &name))
        })
        .await
    }

    /// POST `…/o/OBJECT/rewriteTo/b/BUCKET/o/OBJECT` and `copyTo`: another name for the same content.
    pub(super) async fn copy(
        &self,
        guest: &dyn Guest,
        ask: &Ask,
        from: (&str, &str),
        to: (&str, &str),
        said_of_it: Map<String, Value>,
    ) -> Result<Response<Reply>, Fault> {
        let source = self.bucket(guest, false, from.0).await?.name;
        let target = self.bucket(guest, true, to.0).await?.name;
        let old = self.object(&source, from.1).await?;
        check_name(to.1)?;
        let conditions = ask.conditions()?;
        let content_type = said_of_it.get("contentType").and_then(Value::as_str).unwrap_or(&old.content_type).to_owned();
        let body = merge(old.body, &said(said_of_it));
        let (name, actor, size) = (to.1.to_owned(), guest.actor(), old.size);
        let made = self
            .off(move |store| {
                store.change(&actor, |tx| {
                    conditions.check(tx.find_object(&target, &name)?.map_or(0, |object| object.generation))?;
                    Ok(tx.put_object(&target, &name, &old.sha256, &content_type, &body)?)
                })
            })
            .await?;
        let resource = show(&ask.base(), &made);
        if ask.path.contains("/copyTo/") {
            return Ok(json(StatusCode::OK, &resource));
        }
        let size = size.to_string();
        let done =
            json!({"kind": "storage#rewriteResponse", "totalBytesRewritten": size, "objectSize": size, "done": true, "resource": resource});
        Ok(json(StatusCode::OK, &done))
    }
}

/// What a list is to hold.
struct Wanted {
    prefix: String,
    delimiter: Option<String>,
    end: Option<String>,
    size: usize,
}

impl Wanted {
    /// One page: objects, and what their names begin with up to the delimiter, each once.
    fn collect(
        &self,
        base: &str,
        mut after: Option<String>,
        begin: Option<&str>,
        objects: impl Fn(&Page) -> Result<Vec<Object>, Fault>,
    ) -> Result<Value, Fault> {
        let (mut items, mut prefixes): (Vec<Value>, Vec<String>) = (Vec::new(), Vec::new());
        let mut next = None;
        'pages: loop {
            let page = objects(&Page { after: after.clone(), limit: PAGE })?;
            let is_last = page.len() < PAGE;
            for object in page {
                let name = object.name.clone();
                if begin.is_some_and(|begin| name.as_str() < begin) || after_prefix(prefixes.last(), &name) {
                    after = Some(name);
                    continue;
                }
                if self.end.as_ref().is_some_and(|end| name >= *end) {
                    break 'pages;
                }
                if items.len() + prefixes.len() == self.size {
                    next.clone_from(&after);
                    break 'pages;
                }
                match self.prefix_of(&name) {
                    // A page that ended within a prefix goes on behind it.
                    Some(prefix) if after.as_deref().is_some_and(|after| after.starts_with(&prefix)) && prefixes.is_empty() => {}
                    Some(prefix) => prefixes.push(prefix),
                    None => items.push(show(base, &object)),
                }
                after = Some(name);
            }
            if is_last {
                break;
            }
        }
        let mut answer = list("storage#objects", items);
        if !prefixes.is_empty() {
            answer["prefixes"] = json!(prefixes);
        }
        if let Some(next) = next {
            answer["nextPageToken"] = json!(next);
        }
        Ok(answer)
    }

    fn prefix_of(&self, name: &str) -> Option<String> {
        let delimiter = self.delimiter.as_ref()?;
        let rest = name.get(self.prefix.len()..)?;
        rest.find(delimiter.as_str()).map(|at| name[..self.prefix.len() + at + delimiter.len()].to_owned())
    }
}

fn after_prefix(prefix: Option<&String>, name: &str) -> bool {
    prefix.is_some_and(|prefix| name.starts_with(prefix.as_str()))
}

/// What a client may say of an object.
pub(super) fn said(mut fields: Map<String, Value>) -> Value {
    fields.retain(|name, _| SAID.contains(&name.as_str()));
    Value::Object(fields)
}

/// Cloud Storage's rules for names.
pub(super) fn check_name(name: &str) -> Result<(), Fault> {
    let is_good = (1..=1024).contains(&name.len()) && !name.contains(['\r', '\n']) && !matches!(name, "." | "..");
    if is_good { Ok(()) } else { Err(Fault::invalid("An object's name has 1 to 1,024 bytes and no line ends.")) }
}

/// The resource that stands for an object.
pub(super) fn show(base: &str, object: &Object) -> Value {
    let Object { bucket, name, generation, .. } = object;
    let path = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
    let created = time(object.created);
    let told = json!({
        "kind": "storage#object",
        "id": format!("{bucket}/{name}/{generation}"),
        "selfLink": format!("{base}/storage/v1/b/{bucket}/o/{path}"),
        "mediaLink": format!("{base}/download/storage/v1/b/{bucket}/o/{path}?generation={generation}&alt=media"),
        "name": name,
        "bucket": bucket,
        "generation": generation.to_string(),
        "metageneration": "1",
        "contentType": object.content_type,
        "storageClass": "STANDARD",
        "size": object.size.to_string(),
        "etag": etag(object),
        "timeCreated": created,
        "updated": created,
        "timeStorageClassUpdated": created,
    });
    merge(told, &object.body)
}

/// Changes with the content and with what is said of it.
pub(super) fn etag(object: &Object) -> String {
    format!("{:x}-{}", object.generation, &object.sha256.to_string()[..16])
}
