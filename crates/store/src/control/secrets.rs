//! Secrets by name: keys that the house draws once, accounts of certificate authorities. They stand in no log.

use rusqlite::params;

use super::error::StoreError;
use super::{Change, Result, View};

/// Random bytes of the system.
pub(super) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|e| StoreError::Damaged { what: "the system's random numbers".to_owned(), reason: e.to_string() })?;
    Ok(bytes)
}

impl View<'_> {
    /// A secret, if there is one of that name.
    pub fn secret(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.one("SELECT value FROM secrets WHERE name = ?1", [name], |row| Ok(row.get(0)?))
    }
}

impl Change<'_> {
    /// Writes a secret.
    pub fn put_secret(&mut self, name: &str, value: &[u8]) -> Result<()> {
        let sql = "INSERT INTO secrets (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        self.run(sql, params![name, value])?;
        self.note(None, "secrets.put", &format!("secrets/{name}"), None, None)
    }

    /// The 32 secret bytes of that name, drawn on first use.
    pub fn secret_or_draw(&mut self, name: &str) -> Result<[u8; 32]> {
        if let Some(Ok(known)) = self.secret(name)?.map(TryInto::try_into) {
            return Ok(known);
        }
        let drawn = random()?;
        self.put_secret(name, &drawn)?;
        Ok(drawn)
    }
}
