//! Values in columns and back.

use std::fmt::Display;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use rusqlite::{Params, Row};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::StoreError;
use super::{Result, View};
use crate::query;

impl View<'_> {
    /// All rows of a query.
    pub(super) fn list<T>(&self, sql: &str, with: impl Params, read: impl Fn(&Row<'_>) -> Result<T>) -> Result<Vec<T>> {
        query::list(self.conn, sql, with, read)
    }

    /// The only row of a query, if there is one.
    pub(super) fn one<T>(&self, sql: &str, with: impl Params, read: impl Fn(&Row<'_>) -> Result<T>) -> Result<Option<T>> {
        query::one(self.conn, sql, with, read)
    }

    /// A number that a query counts.
    pub(super) fn count(&self, sql: &str, with: impl Params) -> Result<u64> {
        Ok(self.one(sql, with, |row| number(row, 0))?.unwrap_or(0))
    }

    /// Carries a statement out; returns how many rows it met.
    pub(super) fn run(&self, sql: &str, with: impl Params) -> Result<usize> {
        Ok(self.conn.prepare_cached(sql)?.execute(with)?)
    }
}

/// A time as microseconds since 1970.
pub(super) fn micros(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

fn moment(micros: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros(unsigned(micros))
}

pub(super) fn time(row: &Row<'_>, column: usize) -> Result<SystemTime> {
    Ok(moment(row.get(column)?))
}

pub(super) fn maybe_time(row: &Row<'_>, column: usize) -> Result<Option<SystemTime>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(moment))
}

/// SQL has no unsigned numbers; ours never come near the limit.
pub(super) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

pub(super) fn number(row: &Row<'_>, column: usize) -> Result<u64> {
    Ok(unsigned(row.get(column)?))
}

pub(super) fn text(row: &Row<'_>, column: usize) -> Result<String> {
    Ok(row.get(column)?)
}

/// A value that is written as text: names, digests, roles.
pub(super) fn parsed<T: FromStr<Err: Display>>(row: &Row<'_>, column: usize) -> Result<T> {
    let text: String = row.get(column)?;
    text.parse().map_err(|e: T::Err| StoreError::damaged(format!("`{text}`"))(e.to_string()))
}

pub(super) fn json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<T> {
    let text: String = row.get(column)?;
    from_json(&text)
}

pub(super) fn maybe_json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<Option<T>> {
    row.get::<_, Option<String>>(column)?.as_deref().map(from_json).transpose()
}

fn from_json<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|e| StoreError::damaged("JSON in a row")(e.to_string()))
}

pub(super) fn to_json<T: Serialize + ?Sized>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|e| StoreError::damaged("a value")(e.to_string()))
}
