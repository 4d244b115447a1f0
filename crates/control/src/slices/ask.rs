//! What is asked of a slice.

use http::Method;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use crate::api::ask::Query;
use crate::status::Status;

/// A request, once it is known that its sender may make it.
#[derive(Debug)]
pub(crate) struct Ask<'a> {
    /// Its method.
    pub(crate) method: &'a Method,
    /// Its path, as sent.
    pub(crate) path: &'a str,
    /// Its query.
    pub(crate) query: &'a Query,
    /// Its body; null if there is none.
    pub(crate) body: &'a Value,
}

/// Percent-encoding undone.
pub(super) fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// What stands before the first slash.
pub(super) fn until_slash(text: &str) -> &str {
    text.split('/').next().unwrap_or(text)
}

/// Refuses fields that nobody knows.
pub(super) fn check_known(fields: &Map<String, Value>, what: &str, known: &[&str]) -> Result<(), Status> {
    match fields.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(stranger) => Err(Status::field(
            format!("{what}.{stranger}"),
            format!("Invalid JSON payload received. Unknown name \"{stranger}\" at '{what}': Cannot find field."),
        )),
    }
}

impl Ask<'_> {
    /// The segments after the API's version, decoded, and the verb after the last one's colon.
    ///
    /// Project ids may hold colons too (`example.com:app`), so that nothing but the last segment is looked at, and that only if it is not the id.
    pub(super) fn segments(&self) -> (Vec<String>, Option<String>) {
        let path = self.path.trim_start_matches('/').trim_end_matches('/');
        let mut segments: Vec<String> = path.split('/').skip(1).map(decode).collect();
        let verb = match segments.len() {
            0 | 2 => None,
            last => segments[last - 1].rsplit_once(':').map(|(name, verb)| (name.to_owned(), verb.to_owned())),
        };
        match verb {
            Some((name, verb)) => {
                if let Some(last) = segments.last_mut() {
                    *last = name;
                }
                (segments, Some(verb))
            }
            None => (segments, None),
        }
    }

    /// A parameter of the query; an empty one counts as absent.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.get(name).filter(|value| !value.is_empty())
    }

    /// The body, an object whose fields are all known.
    pub(super) fn object(&self, what: &str, known: &[&str]) -> Result<Map<String, Value>, Status> {
        let fields = match self.body {
            Value::Object(fields) => fields.clone(),
            Value::Null => Map::new(),
            _ => return Err(Status::invalid(format!("Invalid JSON payload received. A {what} is an object."))),
        };
        check_known(&fields, what, known)?;
        Ok(fields)
    }

    /// 404 for a path or a method that the slice does not have.
    pub(super) fn unknown(&self) -> Status {
        Status::not_found(format!("This server has no method {} {}.", self.method, self.path))
    }
}
