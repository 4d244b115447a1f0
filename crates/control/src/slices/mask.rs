//! Field masks over JSON: which parts of a stored resource a PATCH replaces.

use serde_json::{Map, Value};

use super::Status;

/// Replaces the fields of `target` that the mask names by those of `from`; without a mask, those that `from` has.
pub(super) fn apply(mask: Option<&str>, target: &mut Map<String, Value>, from: &Map<String, Value>, known: &[&str]) -> Result<(), Status> {
    let paths: Vec<String> = match mask {
        Some(mask) => mask.split(',').map(str::trim).filter(|path| !path.is_empty()).map(camel).collect(),
        None => from.keys().cloned().collect(),
    };
    for path in paths {
        let parts: Vec<&str> = path.split('.').collect();
        if !known.contains(&parts[0]) {
            return Err(Status::field("updateMask", format!("Invalid value at 'update_mask': there is no field \"{path}\".")));
        }
        set(target, &parts, look_up(from, &parts).cloned());
    }
    Ok(())
}

fn look_up<'v>(from: &'v Map<String, Value>, parts: &[&str]) -> Option<&'v Value> {
    let (first, rest) = parts.split_first()?;
    rest.iter().try_fold(from.get(*first)?, |value, part| value.get(part))
}

fn set(target: &mut Map<String, Value>, parts: &[&str], value: Option<Value>) {
    match (parts, value) {
        ([last], Some(value)) => {
            target.insert((*last).to_owned(), value);
        }
        ([last], None) => {
            target.remove(*last);
        }
        ([first, rest @ ..], value) => {
            if value.is_none() && !target.contains_key(*first) {
                return;
            }
            let inner = target.entry((*first).to_owned()).or_insert_with(|| Value::Object(Map::new()));
            if !inner.is_object() {
                *inner = Value::Object(Map::new());
            }
            if let Value::Object(inner) = inner {
                set(inner, rest, value);
            }
        }
        ([], _) => {}
    }
}

/// `rate_limits.max_burst_size` is `rateLimits.maxBurstSize`.
fn camel(path: &str) -> String {
    let mut own = String::with_capacity(path.len());
    let mut raise = false;
    for letter in path.chars() {
        match letter {
            '_' => raise = true,
            letter if raise => {
                own.push(letter.to_ascii_uppercase());
                raise = false;
            }
            letter => own.push(letter),
        }
    }
    own
}
