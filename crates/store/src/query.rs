//! Rows of a prepared query, read by a function: for the control plane's state and for tasks alike.

use rusqlite::{Connection, OptionalExtension, Params, Row};

use crate::control::Result;

/// All rows of a query.
pub(crate) fn list<T>(conn: &Connection, sql: &str, with: impl Params, read: impl Fn(&Row<'_>) -> Result<T>) -> Result<Vec<T>> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query(with)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}

/// The only row of a query, if there is one.
pub(crate) fn one<T>(conn: &Connection, sql: &str, with: impl Params, read: impl Fn(&Row<'_>) -> Result<T>) -> Result<Option<T>> {
    let mut statement = conn.prepare_cached(sql)?;
    statement.query_row(with, |row| Ok(read(row))).optional()?.transpose()
}
