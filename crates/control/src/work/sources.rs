//! Where a deployment's files come from: objects that were uploaded before.

use std::borrow::Cow;
use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use serde_json::Value;
use store::Store;
use store::control::{StoreError, View};
use store::files::{ArchiveError, Blob, Limits, Manifest, ManifestFile, Sha1, Sha256};

use crate::status::{FieldViolation, Status};

/// What a deployment consists of.
#[derive(Debug)]
pub(super) enum Source {
    /// Files by path.
    Files(Manifest),
    /// A zip archive of them.
    Zip(Sha256),
}

/// Most violations that are told at once.
const MOST: usize = 20;

/// Finds what `deployment` of a version names.
pub(super) fn find(view: &View<'_>, version: &Value) -> Result<Source, Status> {
    let deployment = version.get("deployment").unwrap_or(&Value::Null);
    let files = deployment.get("files").and_then(Value::as_object).filter(|files| !files.is_empty());
    match (files, deployment.get("zip"), deployment.get("container")) {
        (Some(files), None, None) => Ok(Source::Files(manifest(view, files)?)),
        (None, Some(zip), None) => archive(view, zip),
        (None, None, Some(_)) => Err(Status::field(
            "version.deployment.container",
            "Container images are for the flexible environment; deploy the app's files (`deployment.files` or `deployment.zip`).",
        )),
        (None, None, None) => {
            Err(Status::field("version.deployment", "A version needs its files: `deployment.files` or `deployment.zip`."))
        }
        _ => Err(Status::field("version.deployment", "A deployment has either `files` or `zip`.")),
    }
}

fn manifest(view: &View<'_>, files: &serde_json::Map<String, Value>) -> Result<Manifest, Status> {
    let mut found = BTreeMap::new();
    let mut wrong = Vec::new();
    for (path, file) in files {
        match content(view, file) {
            Ok(blob) => {
                let mime = file.get("mimeType").and_then(Value::as_str).filter(|mime| !mime.is_empty()).map(str::to_owned);
                found.insert(path.clone(), ManifestFile { sha256: blob.sha256, size: blob.size, mime });
            }
            Err(Unfound::Store(error)) => return Err(error.into()),
            Err(Unfound::Field(field, text)) => wrong.push(FieldViolation::new(format!("version.deployment.files[{path}].{field}"), text)),
        }
        if wrong.len() >= MOST {
            break;
        }
    }
    if !wrong.is_empty() {
        return Err(Status::fields(&wrong));
    }
    Manifest::new(found).map_err(|bad| {
        let violations = bad.iter().take(MOST).map(|bad| FieldViolation::new("version.deployment.files", bad.to_string()));
        Status::fields(&violations.collect::<Vec<_>>())
    })
}

enum Unfound {
    Store(StoreError),
    Field(&'static str, String),
}

impl From<StoreError> for Unfound {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// The content of one file: the object that it was uploaded as; if that was overwritten or removed since, whatever has its SHA-1.
fn content(view: &View<'_>, file: &Value) -> Result<Blob, Unfound> {
    let text = |field: &str| file.get(field).and_then(Value::as_str).unwrap_or_default();
    let sha1: Option<Sha1> = match text("sha1Sum") {
        "" => None,
        text => Some(text.parse().map_err(|error| Unfound::Field("sha1Sum", format!("{error}")))?),
    };
    let url = text("sourceUrl");
    if !url.is_empty() {
        let Some((bucket, name)) = object_of(url) else {
            let text = format!("`{url}` is no URL of an object; write https://storage.googleapis.com/BUCKET/OBJECT.");
            return Err(Unfound::Field("sourceUrl", text));
        };
        if let Some(object) = view.find_object(&bucket, &name)? {
            match sha1 {
                Some(sha1) if sha1 != object.sha1 => {}
                _ => return Ok(Blob { sha256: object.sha256, sha1: object.sha1, size: object.size }),
            }
        }
    }
    if let Some(sha1) = sha1 {
        if let Some(blob) = view.find_blob_by_sha1(&sha1)? {
            return Ok(blob);
        }
        return Err(Unfound::Field(
            "sha1Sum",
            format!("No file with SHA-1 {sha1} was uploaded; upload it to the app's code bucket first."),
        ));
    }
    Err(Unfound::Field("sourceUrl", format!("There is no object `{url}`; upload it first.")))
}

fn archive(view: &View<'_>, zip: &Value) -> Result<Source, Status> {
    const FIELD: &str = "version.deployment.zip.sourceUrl";
    let url = zip.get("sourceUrl").and_then(Value::as_str).unwrap_or_default();
    let (bucket, name) = object_of(url).ok_or_else(|| {
        Status::field(FIELD, format!("`{url}` is no URL of an object; write https://storage.googleapis.com/BUCKET/OBJECT."))
    })?;
    let object = view.find_object(&bucket, &name)?;
    object
        .map(|object| Source::Zip(object.sha256))
        .ok_or_else(|| Status::field(FIELD, format!("There is no object `{url}`; upload it first.")))
}

/// Unpacks an archive.
pub(super) fn unpack(store: &Store, archive: &Sha256) -> Result<Manifest, Status> {
    store.unpack(archive, &Limits::default()).map_err(|error| match error {
        ArchiveError::Bad(text) => Status::field("version.deployment.zip.sourceUrl", text),
        ArchiveError::Store(error) => error.into(),
    })
}

/// Bucket and object of a URL: `gs://B/O`, `https://storage.googleapis.com/B/O` (and the same at any host, as ours), `https://B.storage.googleapis.com/O`,
/// and the API's own `…/storage/v1/b/B/o/O`.
fn object_of(url: &str) -> Option<(String, String)> {
    let decode = |text: &str| percent_decode_str(text).decode_utf8().ok().map(Cow::into_owned);
    let plain = |bucket: &str, name: &str| {
        let (bucket, name) = (decode(bucket)?, decode(name)?);
        (!bucket.is_empty() && !name.is_empty()).then_some((bucket, name))
    };
    if let Some(rest) = url.strip_prefix("gs://") {
        // Such names are not encoded.
        let (bucket, name) = rest.split_once('/')?;
        return (!bucket.is_empty() && !name.is_empty()).then(|| (bucket.to_owned(), name.to_owned()));
    }
    let (_, rest) = url.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https"))?;
    let (host, path) = rest.split_once('/')?;
    let path = path.split(['?', '#']).next().unwrap_or(path);
    if let Some(bucket) = host.strip_suffix(".storage.googleapis.com") {
        return plain(bucket, path);
    }
    let api = ["storage/v1/b/", "download/storage/v1/b/"].iter().find_map(|prefix| path.strip_prefix(prefix));
    let (bucket, name) = api.map_or_else(|| path.split_once('/'), |rest| rest.split_once("/o/"))?;
    plain(bucket, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t9_objects_are_found_by_every_url_that_names_them() {
        let both = |url: &str| object_of(url).map(|(bucket, name)| format!("{bucket} {name}"));
        for url in [
            "gs://b.c/a/x y",
            "https://storage.googleapis.com/b.c/a/x%20y",
            "https://b.c.storage.googleapis.com/a/x%20y",
            "http://localhost:8085/b.c/a/x%20y?alt=media",
            "http://localhost:8085/storage/v1/b/b.c/o/a%2Fx%20y?alt=media",
        ] {
            assert_eq!(both(url).as_deref(), Some("b.c a/x y"), "{url}");
        }
        for url in ["", "b/c", "ftp://h/b/o", "https://h", "https://h/b", "https://h/b/", "gs://b", "gs:///o", "https:///b/o%ff"] {
            assert_eq!(both(url), None, "{url}");
        }
    }
}
