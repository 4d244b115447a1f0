//! The tables, and how older ones become today's.
//!
//! The SQL keeps to what `PostgreSQL` reads too: JSON and digests are TEXT, times are microseconds since 1970 in BIGINT. Only
//! placeholders (`?1` for `$1`, which `SQLite` would take for a name) and `AUTOINCREMENT` differ there (decision 210). A migration only adds: during
//! an upgrade the old process still reads and writes (decision 211).

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use super::error::OpenError;

/// One text per step; the schema's number is how many of them were carried out.
const STEPS: &[&str] = &[include_str!("schema/1.sql"), include_str!("schema/2.sql")];

/// The newest schema that this program knows.
pub(crate) const KNOWN: u32 = 2;

/// Brings the database up to date, all or nothing. Returns the number that a newer program left, if one did.
pub(crate) fn migrate(conn: &mut Connection) -> Result<Option<u32>, OpenError> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let have = number(&tx)?;
    if have > KNOWN {
        return Ok(Some(have));
    }
    for step in STEPS.iter().skip(have as usize) {
        tx.execute_batch(step)?;
    }
    if have < KNOWN {
        tx.execute(
            "INSERT INTO meta (name, value) VALUES ('schema', ?1) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            [KNOWN.to_string()],
        )?;
    }
    tx.commit()?;
    Ok(None)
}

/// The schema's number; 0 for an empty database.
fn number(tx: &Transaction<'_>) -> Result<u32, OpenError> {
    tx.execute_batch("CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)")?;
    let text: Option<String> = tx.query_row("SELECT value FROM meta WHERE name = 'schema'", [], |row| row.get(0)).optional()?;
    Ok(text.and_then(|text| text.parse().ok()).unwrap_or(0))
}
