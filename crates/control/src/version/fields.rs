//! Reading JSON objects: every value with its path, every mistake collected.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::status::FieldViolation;

/// What is wrong so far.
#[derive(Debug, Default)]
pub(super) struct Report(pub(super) Vec<FieldViolation>);

impl Report {
    /// Adds a mistake at a path.
    pub(super) fn push(&mut self, field: impl Into<String>, description: impl Into<String>) {
        self.0.push(FieldViolation::new(field, description));
    }
}

/// An object and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Object<'v> {
    map: &'v Map<String, Value>,
    path: String,
}

impl<'v> Object<'v> {
    /// The object itself, or nothing with a complaint.
    pub(super) fn of(value: &'v Value, path: &str, report: &mut Report) -> Option<Self> {
        let Value::Object(map) = value else {
            report.push(path, "must be an object");
            return None;
        };
        Some(Self { map, path: path.to_owned() })
    }

    /// Where a field of it stands.
    pub(super) fn at(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }

    /// The path of the object.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// A field; `null` is absent.
    pub(super) fn get(&self, name: &str) -> Option<&'v Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    /// Whether a field says anything: neither absent nor an empty value.
    pub(super) fn says(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| match value {
            Value::Bool(flag) => *flag,
            Value::String(text) => !text.is_empty(),
            Value::Array(items) => !items.is_empty(),
            Value::Object(map) => !map.is_empty(),
            Value::Null => false,
            Value::Number(_) => true,
        })
    }

    /// A text that is not empty.
    pub(super) fn text(&self, name: &str, report: &mut Report) -> Option<&'v str> {
        match self.get(name)? {
            Value::String(text) if text.is_empty() => None,
            Value::String(text) => Some(text),
            _ => {
                report.push(self.at(name), "must be a string");
                None
            }
        }
    }

    /// A flag; absent is false.
    pub(super) fn flag(&self, name: &str, report: &mut Report) -> bool {
        match self.get(name) {
            None => false,
            Some(Value::Bool(flag)) => *flag,
            Some(_) => {
                report.push(self.at(name), "must be true or false");
                false
            }
        }
    }

    /// A whole number in a range; 0 is absent, as in protobuf, where it does not lie in the range.
    pub(super) fn integer(&self, name: &str, range: std::ops::RangeInclusive<u32>, report: &mut Report) -> Option<u32> {
        let value = self.get(name)?;
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
        match number {
            Some(0) => None,
            Some(number) if range.contains(&number) => Some(number),
            _ => {
                report.push(self.at(name), format!("must be a whole number from {} to {}, not {value}", range.start(), range.end()));
                None
            }
        }
    }

    /// A number in a range; 0 is absent.
    pub(super) fn number(&self, name: &str, range: std::ops::RangeInclusive<f64>, report: &mut Report) -> Option<f64> {
        let value = self.get(name)?;
        match value.as_f64() {
            Some(0.0) => None,
            Some(number) if range.contains(&number) => Some(number),
            _ => {
                report.push(self.at(name), format!("must be a number from {} to {}, not {value}", range.start(), range.end()));
                None
            }
        }
    }

    /// A duration: `0.03s`.
    pub(super) fn duration(&self, name: &str, report: &mut Report) -> Option<Duration> {
        let text = self.text(name, report)?;
        let parsed = super::parse_seconds(text);
        if parsed.is_none() {
            report.push(self.at(name), format!("`{text}` is not a duration; write seconds with an `s`, such as \"1.5s\""));
        }
        parsed
    }

    /// One of a list of names; the first of them, which is UNSPECIFIED, is absent.
    pub(super) fn word<T: Copy>(&self, name: &str, table: &[(&str, T)], unspecified: &str, report: &mut Report) -> Option<T> {
        let text = self.text(name, report)?;
        if text == unspecified {
            return None;
        }
        let found = table.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let words: Vec<&str> = table.iter().map(|(word, _)| *word).collect();
            report.push(self.at(name), format!("`{text}` is none of {}", words.join(", ")));
        }
        found
    }

    /// An object below.
    pub(super) fn object(&self, name: &str, report: &mut Report) -> Option<Self> {
        Self::of(self.get(name)?, &self.at(name), report)
    }

    /// The items of a list, each with its path.
    pub(super) fn list(&self, name: &str, report: &mut Report) -> Vec<(String, &'v Value)> {
        match self.get(name) {
            None => Vec::new(),
            Some(Value::Array(items)) => {
                items.iter().enumerate().map(|(index, item)| (format!("{}[{index}]", self.at(name)), item)).collect()
            }
            Some(_) => {
                report.push(self.at(name), "must be a list");
                Vec::new()
            }
        }
    }

    /// A mapping of texts.
    pub(super) fn texts(&self, name: &str, report: &mut Report) -> Vec<(&'v str, &'v str)> {
        let Some(object) = self.object(name, report) else { return Vec::new() };
        let mut texts = Vec::new();
        for (key, value) in object.map {
            match value {
                Value::String(text) => texts.push((key.as_str(), text.as_str())),
                _ => report.push(object.at(key), "must be a string"),
            }
        }
        texts
    }
}
