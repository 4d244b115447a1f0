//! Pages of lists: `pageSize` and `pageToken` in, `nextPageToken` out.

use std::fmt::Write as _;

use serde_json::Value;

use super::ask::Query;
use super::schema;
use crate::status::{FieldViolation, Status};

/// What a list that asks for no size gets.
const USUAL: usize = 100;
/// What no list gets more of.
const MOST: usize = 1_000;

/// Which page is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Paging {
    /// Most entries.
    pub(crate) size: usize,
    /// The key of the last entry of the page before.
    pub(crate) after: Option<String>,
    /// Which list it is, so that a token of another one is refused.
    list: u32,
}

impl Paging {
    /// Reads the query of the list called `name` (and its filter: a page of one is no page of another).
    ///
    /// # Errors
    /// 400 if the size is no size or the token is none of this list's.
    pub(crate) fn read(query: &Query, name: &str) -> Result<Self, Status> {
        let refuse =
            |field: &str, message: String| Err(Status::invalid(message.clone()).with_violations(&[FieldViolation::new(field, message)]));
        let size = match query.get("pageSize") {
            None | Some("") => USUAL,
            Some(text) => match schema::integer(&Value::String(text.to_owned())) {
                Some(0) => USUAL,
                Some(size) if size > 0 => usize::try_from(size).unwrap_or(MOST).min(MOST),
                Some(size) => return refuse("pageSize", format!("The page size must not be negative; it is {size}.")),
                None => return refuse("pageSize", schema::bad_value("page_size", "TYPE_INT32", &Value::String(text.to_owned()))),
            },
        };
        let list = checksum(name.as_bytes());
        let after = match query.get("pageToken") {
            None | Some("") => None,
            Some(token) => {
                let Some(after) = open(token, list) else {
                    let message = "The page token is not valid: it must be the nextPageToken of the same list with the same filter.";
                    return refuse("pageToken", message.to_owned());
                };
                Some(after)
            }
        };
        Ok(Self { size, after, list })
    }

    /// As the store wants it: one entry more than the page has, so that it is known whether another page follows.
    pub(crate) fn store(&self) -> store::control::Page {
        store::control::Page { after: self.after.clone(), limit: self.size + 1 }
    }

    /// Cuts what [`Self::store`] gave to the page, and makes the token of the next one.
    pub(crate) fn cut<T>(&self, items: &mut Vec<T>, key: impl Fn(&T) -> String) -> Option<String> {
        if items.len() <= self.size {
            return None;
        }
        items.truncate(self.size);
        items.last().map(|last| self.token(&key(last)))
    }

    /// Cuts a whole list, which is in the order of its keys, to the page.
    pub(crate) fn slice<T>(&self, items: Vec<T>, key: impl Fn(&T) -> String) -> (Vec<T>, Option<String>) {
        let mut items: Vec<T> = match &self.after {
            Some(after) => items.into_iter().skip_while(|item| key(item) != *after).skip(1).collect(),
            None => items,
        };
        let next = self.cut(&mut items, key);
        (items, next)
    }

    fn token(&self, key: &str) -> String {
        let mut text = String::with_capacity(24 + key.len() * 2);
        let sum = checksum(format!("{}\0{key}", self.list).as_bytes());
        let _ = write!(text, "{sum:08x}");
        for byte in key.bytes() {
            let _ = write!(text, "{byte:02x}");
        }
        text
    }
}

fn open(token: &str, list: u32) -> Option<String> {
    let sum = token.get(..8)?;
    let rest = token.get(8..)?;
    if rest.len() % 2 == 1 || !rest.is_ascii() {
        return None;
    }
    let bytes: Option<Vec<u8>> = (0..rest.len()).step_by(2).map(|at| u8::from_str_radix(rest.get(at..at + 2)?, 16).ok()).collect();
    let key = String::from_utf8(bytes?).ok()?;
    (u32::from_str_radix(sum, 16).ok()? == checksum(format!("{list}\0{key}").as_bytes())).then_some(key)
}

/// FNV-1a: against mistakes, not against malice; a token opens nothing that its list does not show.
pub(super) fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t9_pages_follow_each_other_and_foreign_tokens_are_refused() {
        let query = |text: &str| Query::parse(text);
        let all: Vec<String> = (0..7).map(|n| format!("v{n}")).collect();
        let mut seen = Vec::new();
        let mut token = String::new();
        loop {
            let paging = Paging::read(&query(&format!("pageSize=3&pageToken={token}")), "versions of a").expect("a page");
            let (page, next) = paging.slice(all.clone(), Clone::clone);
            assert!(page.len() <= 3);
            seen.extend(page);
            match next {
                Some(next) => token = next,
                None => break,
            }
        }
        assert_eq!(seen, all);
        for bad in ["x", "ü12345678", "0000000061", "123456781", &format!("{token}00")] {
            assert!(Paging::read(&query(&format!("pageToken={bad}")), "versions of a").is_err(), "{bad}");
        }
        assert!(Paging::read(&query(&format!("pageToken={token}")), "versions of b").is_err());
        assert!(Paging::read(&query("pageSize=-1"), "x").is_err() && Paging::read(&query("page_size=many"), "x").is_err());
        assert_eq!(Paging::read(&query("page_size=5000"), "x").map(|paging| paging.size), Ok(MOST));
    }
}
