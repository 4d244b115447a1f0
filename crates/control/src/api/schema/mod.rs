//! Messages as data: reading what clients send (any spelling of names, enums by name or number, numbers as texts) into one canonical form, and
//! writing that form as a client wants it.
//!
//! Canonical: lowerCamelCase names, enums by name, 64-bit integers as texts, other numbers as numbers, no nulls.

mod messages;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use serde_json::{Map, Number, Value};

pub(crate) use self::messages::*;
use crate::status::{FieldViolation, Status};

/// A message.
#[derive(Debug)]
pub(crate) struct Message {
    /// Its name in `google.appengine.v1`.
    pub(crate) name: &'static str,
    fields: &'static [Field],
}

/// A field of a message.
#[derive(Debug)]
pub(crate) struct Field {
    name: &'static str,
    shape: Shape,
    kind: Kind,
    /// Only told, never set.
    told: bool,
}

impl Field {
    const fn told(mut self) -> Self {
        self.told = true;
        self
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    One,
    List,
    Map,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Bool,
    Int32,
    Uint32,
    Int64,
    Double,
    Text,
    Duration,
    Enum(&'static Enum),
    Message(&'static Message),
    Any,
}

/// Names and numbers; of two names for one number the first is written.
#[derive(Debug)]
pub(crate) struct Enum(&'static [(&'static str, i64)]);

impl Enum {
    /// The name that a client means: by name in any case, number, or number as text.
    pub(crate) fn name(&self, value: &Value) -> Option<&'static str> {
        let number = match value {
            Value::Number(number) => number.as_i64()?,
            Value::String(text) => {
                if let Some((name, _)) = self.0.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)) {
                    return Some(name);
                }
                text.parse().ok()?
            }
            _ => return None,
        };
        self.0.iter().find(|(_, known)| *known == number).map(|(name, _)| *name)
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
    }
}

const fn field(name: &'static str, shape: Shape, kind: Kind) -> Field {
    Field { name, shape, kind, told: false }
}

const fn one(name: &'static str, kind: Kind) -> Field {
    field(name, Shape::One, kind)
}

const fn list(name: &'static str, kind: Kind) -> Field {
    field(name, Shape::List, kind)
}

const fn map(name: &'static str, kind: Kind) -> Field {
    field(name, Shape::Map, kind)
}

const fn any(name: &'static str) -> Field {
    field(name, Shape::One, Kind::Any)
}

/// `camelCase` as `snake_case`.
pub(crate) fn snake(name: &str) -> String {
    let mut made = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            made.push('_');
        }
        made.push(c.to_ascii_lowercase());
    }
    made
}

/// `snake_case` as `camelCase`; what is camelCase already stays.
pub(crate) fn camel(name: &str) -> String {
    let mut made = String::with_capacity(name.len());
    let mut up = false;
    for c in name.chars() {
        if c == '_' {
            up = true;
        } else {
            made.push(if up { c.to_ascii_uppercase() } else { c });
            up = false;
        }
    }
    made
}

impl Message {
    fn find(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name).or_else(|| {
            let camel = if name.contains('_') { Cow::Owned(camel(name)) } else { return None };
            self.fields.iter().find(|field| field.name == camel)
        })
    }

    /// Whether a dotted path of canonical names leads to a field. Keys of maps are free.
    pub(crate) fn has(&self, path: &str) -> bool {
        let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
        let Some(field) = self.fields.iter().find(|field| field.name == name) else { return false };
        match (rest, field.kind, field.shape) {
            (None, ..) | (Some(_), Kind::Any, _) | (Some(_), _, Shape::Map) => true,
            (Some(rest), Kind::Message(message), _) => message.has(rest),
            (Some(_), ..) => false,
        }
    }

    /// A field that an update mask could name.
    pub(crate) fn example(&self) -> &'static str {
        let settable = self.fields.iter().find(|field| !field.told && matches!(field.kind, Kind::Message(_)));
        settable.or(self.fields.first()).map_or("", |field| field.name)
    }

    /// Reads a body in any spelling. `root` is what it is called in complaints: `service`. Fields that are only told are left out.
    ///
    /// # Errors
    /// 400 with every mistake and its path.
    pub(crate) fn read(&'static self, value: &Value, root: &str) -> Result<Map<String, Value>, Status> {
        let mut reader = Reader { wrong: Vec::new() };
        let read = reader.message(self, value, root);
        match read {
            Some(Value::Object(map)) if reader.wrong.is_empty() => Ok(map),
            _ => {
                reader.wrong.truncate(50);
                let text: Vec<&str> = reader.wrong.iter().map(|wrong| wrong.description.as_str()).collect();
                Err(Status::invalid(text.join("\n")).with_violations(&reader.wrong))
            }
        }
    }

    /// The canonical form as a client wants it: without defaults, and enums by number if it asked for that.
    pub(crate) fn write(&self, value: Value, ints: bool) -> Value {
        let Value::Object(map) = value else { return value };
        let written = map.into_iter().filter_map(|(name, value)| {
            let Some(field) = self.fields.iter().find(|field| field.name == name) else { return Some((name, value)) };
            let value = field.write(value, ints);
            (!field.is_default(&value)).then_some((name, value))
        });
        Value::Object(written.collect())
    }
}

/// The message that `@type` names.
fn of_type(value: &Value) -> Option<&'static Message> {
    let name = value.get("@type")?.as_str()?.rsplit('.').next()?;
    let known = messages::ALL.iter().find(|message| message.name == name).copied();
    // v1beta's names of the same messages.
    known.or_else(|| messages::ALL.iter().find(|message| Some(message.name) == name.strip_suffix("Beta")).copied())
}

impl Field {
    fn write(&self, value: Value, ints: bool) -> Value {
        match (self.shape, value) {
            (Shape::List, Value::Array(items)) => Value::Array(items.into_iter().map(|item| self.kind.write(item, ints)).collect()),
            (Shape::Map, Value::Object(map)) => {
                Value::Object(map.into_iter().map(|(key, value)| (key, self.kind.write(value, ints))).collect())
            }
            (_, value) => self.kind.write(value, ints),
        }
    }

    /// What protobuf's JSON leaves out.
    fn is_default(&self, value: &Value) -> bool {
        match value {
            Value::Null => true,
            Value::Array(items) => items.is_empty(),
            Value::Object(map) => self.shape == Shape::Map && map.is_empty(),
            Value::Bool(flag) => !flag,
            Value::Number(number) => number.as_f64() == Some(0.0),
            Value::String(text) => match self.kind {
                Kind::Int64 if text == "0" => true,
                Kind::Enum(names) => names.0.first().is_some_and(|(name, _)| name == text),
                // A duration is a message of its own in protobuf: `0s` is something.
                _ => text.is_empty(),
            },
        }
    }
}

impl Kind {
    fn write(self, value: Value, ints: bool) -> Value {
        match (self, value) {
            (Self::Message(message), value) => message.write(value, ints),
            (Self::Enum(names), Value::String(name)) if ints => names.number(&name).map_or(Value::String(name), Value::from),
            (Self::Any, value) => match of_type(&value) {
                Some(message) => message.write(value, ints),
                None => value,
            },
            (_, value) => value,
        }
    }

    /// How complaints call it.
    fn label(self) -> &'static str {
        match self {
            Self::Bool => "TYPE_BOOL",
            Self::Int32 => "TYPE_INT32",
            Self::Uint32 => "TYPE_UINT32",
            Self::Int64 => "TYPE_INT64",
            Self::Double => "TYPE_DOUBLE",
            Self::Text => "TYPE_STRING",
            Self::Duration => "type.googleapis.com/google.protobuf.Duration",
            Self::Enum(_) => "TYPE_ENUM",
            Self::Message(_) | Self::Any => "TYPE_MESSAGE",
        }
    }
}

struct Reader {
    wrong: Vec<FieldViolation>,
}

impl Reader {
    fn refuse(&mut self, path: &str, kind: Kind, value: &Value) -> Option<Value> {
        self.wrong.push(FieldViolation::new(path, bad_value(path, kind.label(), value)));
        None
    }

    fn message(&mut self, message: &'static Message, value: &Value, path: &str) -> Option<Value> {
        let Value::Object(map) = value else { return self.refuse(path, Kind::Message(message), value) };
        let mut read = Map::new();
        for (name, value) in map {
            if name == "@type" {
                continue;
            }
            let Some(field) = message.find(name) else {
                let text = format!("Invalid JSON payload received. Unknown name \"{name}\" at '{path}': Cannot find field.");
                self.wrong.push(FieldViolation::new(path, text));
                continue;
            };
            if value.is_null() {
                continue;
            }
            let path = format!("{path}.{}", snake(field.name));
            if let Some(value) = self.field(field, value, &path)
                && !field.told
            {
                read.insert(field.name.to_owned(), value);
            }
        }
        Some(Value::Object(read))
    }

    fn field(&mut self, field: &Field, value: &Value, path: &str) -> Option<Value> {
        match (field.shape, value) {
            (Shape::One, value) => self.value(field.kind, value, path),
            (Shape::List, Value::Array(items)) => {
                let items = items.iter().enumerate().filter_map(|(at, item)| self.value(field.kind, item, &format!("{path}[{at}]")));
                Some(Value::Array(items.collect()))
            }
            // A single item stands for a list of it, as in protobuf's parser.
            (Shape::List, Value::Object(_) | Value::String(_)) => self.value(field.kind, value, path).map(|item| Value::Array(vec![item])),
            (Shape::Map, Value::Object(map)) => {
                let mut read = Map::new();
                for (key, value) in map {
                    if let Some(value) = self.value(field.kind, value, &format!("{path}[{key:?}]")) {
                        read.insert(key.clone(), value);
                    }
                }
                Some(Value::Object(read))
            }
            _ => self.refuse(path, field.kind, value),
        }
    }

    fn value(&mut self, kind: Kind, value: &Value, path: &str) -> Option<Value> {
        let read = match kind {
            Kind::Message(message) => return self.message(message, value, path),
            Kind::Any => Some(value.clone()),
            Kind::Bool => flag(value).map(Value::Bool),
            Kind::Text => match value {
                Value::String(_) => Some(value.clone()),
                // env_variables: {PORT: 80} of hand-written bodies.
                Value::Number(number) => Some(Value::String(number.to_string())),
                _ => None,
            },
            Kind::Duration => value.as_str().and_then(duration).map(Value::String),
            Kind::Enum(names) => names.name(value).map(Value::from),
            Kind::Int32 => integer(value).filter(|n| i32::try_from(*n).is_ok()).map(Value::from),
            Kind::Uint32 => integer(value).filter(|n| u32::try_from(*n).is_ok()).map(Value::from),
            Kind::Int64 => integer(value).map(|n| Value::String(n.to_string())),
            Kind::Double => double(value),
        };
        if read.is_none() {
            return self.refuse(path, kind, value);
        }
        read
    }
}

/// The text for a value of the wrong kind.
pub(crate) fn bad_value(path: &str, label: &str, value: &Value) -> String {
    let shown: String = value.to_string().chars().take(200).collect();
    format!("Invalid value at '{path}' ({label}), {shown}")
}

/// true, false, 1 and 0, also as texts in any case.
pub(crate) fn flag(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) => match number.as_i64() {
            Some(0) => Some(false),
            Some(1) => Some(true),
            _ => None,
        },
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

fn duration(text: &str) -> Option<String> {
    // Written again, so that `1.50s` and `1.5s` are the same.
    crate::version::parse_seconds(text).map(crate::version::seconds)
}

/// A whole number, also as a text, also as `1.0`.
pub(crate) fn integer(value: &Value) -> Option<i64> {
    let whole = |float: f64| {
        // Above 2^53 a float no longer says which integer is meant.
        #[allow(clippy::cast_possible_truncation, reason = "a whole number below 2^53")]
        (float.fract() == 0.0 && float.abs() <= 9_007_199_254_740_992.0).then_some(float as i64)
    };
    match value {
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().and_then(whole)),
        Value::String(text) => text.trim_ascii().parse().ok().or_else(|| text.trim_ascii().parse::<f64>().ok().and_then(whole)),
        _ => None,
    }
}

fn double(value: &Value) -> Option<Value> {
    match value {
        Value::Number(_) => Some(value.clone()),
        Value::String(text) => text.trim_ascii().parse::<f64>().ok().and_then(Number::from_f64).map(Value::Number),
        _ => None,
    }
}
