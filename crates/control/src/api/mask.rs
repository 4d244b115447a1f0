//! `updateMask` and `fields`: which parts of a resource are meant.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::schema::{Message, camel};
use crate::status::{FieldViolation, Status};

/// The paths of an `updateMask` in lowerCamelCase. Clients separate by commas, some with one too many at the end; some write `snake_case`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct UpdateMask(Vec<String>);

impl UpdateMask {
    /// Reads one.
    ///
    /// # Errors
    /// 400 with the path that is no field of `message`.
    pub(crate) fn parse(text: &str, message: &Message) -> Result<Self, Status> {
        let mut paths = Vec::new();
        for path in text.split(',').map(str::trim).filter(|path| !path.is_empty()) {
            let path = path.split('.').map(camel).collect::<Vec<_>>().join(".");
            if !message.has(&path) {
                let why = format!("Invalid update mask: `{path}` is not a field of {}.", message.name);
                return Err(Status::invalid(why.clone()).with_violations(&[FieldViolation::new("updateMask", why)]));
            }
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
        Ok(Self(paths))
    }

    /// Whether nothing is named.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The paths.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether a field or something in it is named.
    pub(crate) fn touches(&self, field: &str) -> bool {
        self.paths().any(|path| path == field || path.strip_prefix(field).is_some_and(|rest| rest.starts_with('.')))
    }

    /// Whether anything beyond these fields is named; the first that is.
    pub(crate) fn beyond(&self, allowed: &[&str]) -> Option<&str> {
        let within =
            |path: &str| allowed.iter().any(|field| path == *field || path.strip_prefix(*field).is_some_and(|rest| rest.starts_with('.')));
        self.paths().find(|path| !within(path))
    }

    /// Takes the named paths from `from` into `into`; what is named and not there is removed.
    pub(crate) fn apply(&self, from: &Map<String, Value>, into: &mut Map<String, Value>) {
        for path in self.paths() {
            let parts: Vec<&str> = path.split('.').collect();
            put(&parts, Some(from), into);
        }
    }
}

fn put(parts: &[&str], from: Option<&Map<String, Value>>, into: &mut Map<String, Value>) {
    let Some((first, rest)) = parts.split_first() else { return };
    let found = from.and_then(|from| from.get(*first));
    if rest.is_empty() {
        match found {
            Some(value) => into.insert((*first).to_owned(), value.clone()),
            None => into.remove(*first),
        };
        return;
    }
    let below = found.and_then(Value::as_object);
    let inner = into.entry((*first).to_owned()).or_insert_with(|| Value::Object(Map::new()));
    if !inner.is_object() {
        *inner = Value::Object(Map::new());
    }
    if let Value::Object(inner) = inner {
        put(rest, below, inner);
    }
}

/// `fields`: `name,services(id,split/allocations)`. An empty selection takes everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Fields(BTreeMap<String, Self>);

impl Fields {
    /// Reads a selection.
    ///
    /// # Errors
    /// 400 if it is none.
    pub(crate) fn parse(text: &str) -> Result<Self, Status> {
        let fail = || Status::invalid(format!("Invalid field selection {text}"));
        let mut rest = text;
        let mut all = Self::default();
        list(&mut rest, &mut all, 0).filter(|()| rest.is_empty()).ok_or_else(fail)?;
        Ok(all)
    }

    /// The selected part of an answer. A list stands for its items.
    pub(crate) fn select(&self, value: Value) -> Value {
        if self.0.is_empty() {
            return value;
        }
        match value {
            Value::Array(items) => Value::Array(items.into_iter().map(|item| self.select(item)).collect()),
            Value::Object(map) => {
                let star = self.0.get("*");
                let taken = map.into_iter().filter_map(|(name, value)| {
                    let below = self.0.get(&name).or(star)?;
                    Some((name, below.select(value)))
                });
                Value::Object(taken.collect())
            }
            other => other,
        }
    }
}

/// Parts of a selection within each other.
const DEPTH: usize = 20;

fn list(rest: &mut &str, into: &mut Fields, depth: usize) -> Option<()> {
    if depth > DEPTH {
        return None;
    }
    loop {
        let mut here = &mut *into;
        let mut steps = 0;
        loop {
            let end = rest.find([',', '(', ')', '/', '.']).unwrap_or(rest.len());
            let name = rest[..end].trim();
            steps += 1;
            if name.is_empty() || steps > DEPTH {
                return None;
            }
            here = here.0.entry(camel(name)).or_default();
            *rest = &rest[end..];
            match rest.strip_prefix(['/', '.']) {
                Some(after) => *rest = after,
                None => break,
            }
        }
        if let Some(after) = rest.strip_prefix('(') {
            *rest = after;
            list(rest, here, depth + 1)?;
            *rest = rest.strip_prefix(')')?;
        }
        match rest.strip_prefix(',') {
            Some(after) => *rest = after,
            None => return Some(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::api::schema;

    #[test]
    fn t9_masks_as_clients_write_them() {
        let paths = |text: &str, message| UpdateMask::parse(text, message).map(|mask| mask.0.join(" ")).map_err(|status| status.message);
        assert_eq!(paths("dispatchRules,", &schema::APPLICATION).as_deref(), Ok("dispatchRules"));
        assert_eq!(paths("dispatch_rules", &schema::APPLICATION).as_deref(), Ok("dispatchRules"));
        assert_eq!(
            paths("ssl_settings.certificate_id,ssl_settings.ssl_management_type", &schema::DOMAIN_MAPPING).as_deref(),
            Ok("sslSettings.certificateId sslSettings.sslManagementType")
        );
        assert_eq!(paths("", &schema::SERVICE).as_deref(), Ok(""));
        assert_eq!(paths("splits", &schema::SERVICE), Err("Invalid update mask: `splits` is not a field of Service.".into()));
    }

    #[test]
    fn t9_masks_replace_only_what_they_name() {
        let mask = UpdateMask::parse("labels,networkSettings.ingressTrafficAllowed", &schema::SERVICE).expect("a mask");
        let from = json!({"id": "x", "networkSettings": {"ingressTrafficAllowed": "ALL"}});
        let mut into = json!({"id": "s", "labels": {"a": "b"}, "networkSettings": {"ingressTrafficAllowed": "NONE", "other": 1}});
        if let (Some(from), Some(into)) = (from.as_object(), into.as_object_mut()) {
            mask.apply(from, into);
        }
        assert_eq!(into, json!({"id": "s", "networkSettings": {"ingressTrafficAllowed": "ALL", "other": 1}}));
        assert!(mask.touches("networkSettings") && mask.touches("labels") && !mask.touches("split"));
        assert_eq!(mask.beyond(&["labels"]), Some("networkSettings.ingressTrafficAllowed"));
        assert_eq!(mask.beyond(&["labels", "networkSettings"]), None);
    }

    proptest! {
        #[test]
        fn t9_no_selection_can_panic(text in "[a-c()/,.*]{0,30}") {
            if let Ok(fields) = Fields::parse(&text) {
                let _ = fields.select(json!({"a": [{"b": {"c": 1}}]}));
            }
        }
    }

    #[test]
    fn t9_partial_answers() {
        let answer = json!({"services": [{"id": "a", "split": {"allocations": {"v1": 1}, "shardBy": "IP"}}], "nextPageToken": "t"});
        let select = |text: &str| Fields::parse(text).expect(text).select(answer.clone());
        assert_eq!(select("services(id)"), json!({"services": [{"id": "a"}]}));
        assert_eq!(
            select("services/split/allocations,nextPageToken"),
            json!({"services": [{"split": {"allocations": {"v1": 1}}}], "nextPageToken": "t"})
        );
        assert_eq!(select("*"), answer);
        assert_eq!(select("services(*)"), json!({"services": answer["services"]}));
        for bad in ["a(", "a)", ",", "a,,b", "a()", "(a)", "a/"] {
            assert!(Fields::parse(bad).is_err(), "{bad}");
        }
    }
}
