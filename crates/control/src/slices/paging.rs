//! Pages of a list that is ordered by name: the token is the last name that was given out.

use serde_json::{Map, Value};

use super::{Ask, Status};

/// Entries on a page unless less is asked for.
const MOST: usize = 1000;

/// One page of `all` under `field`; an empty list is `{}`, as everywhere in Google's APIs.
pub(super) fn page(ask: &Ask<'_>, field: &str, all: Vec<(String, Value)>) -> Result<Value, Status> {
    let size = match ask.parameter("pageSize").map(str::parse::<i64>) {
        None | Some(Ok(0)) => MOST,
        Some(Ok(size)) if size > 0 => usize::try_from(size).unwrap_or(MOST).min(MOST),
        Some(_) => return Err(Status::field("pageSize", "The page size is a number that is not negative.")),
    };
    let after = ask.parameter("pageToken").unwrap_or_default();
    let mut rest = all.into_iter().filter(|(name, _)| after.is_empty() || name.as_str() > after).peekable();
    let mut last = String::new();
    let mut items = Vec::new();
    while let Some((name, item)) = rest.next_if(|_| items.len() < size) {
        last = name;
        items.push(item);
    }
    let mut answer = Map::new();
    if !items.is_empty() {
        answer.insert(field.to_owned(), Value::Array(items));
    }
    if rest.peek().is_some() {
        answer.insert("nextPageToken".into(), Value::String(last));
    }
    Ok(Value::Object(answer))
}
