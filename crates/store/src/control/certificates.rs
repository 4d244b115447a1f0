//! Certificates and their private keys. Keys stand in the database (mode 0600) and nowhere else: no log, no audit row, no debug output.

use std::fmt;
use std::time::SystemTime;

use model::ids::AppId;
use rusqlite::{Row, params};
use serde_json::{Value, json};

use super::error::StoreError;
use super::row::{maybe_json, micros, parsed, text, time, to_json};
use super::{Change, Page, Result, View, row};

/// A private key in PEM. Not printed for debugging.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey(pub String);

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(hidden)")
    }
}

/// A certificate.
#[derive(Debug, Clone, PartialEq)]
pub struct Certificate {
    /// Whose it is.
    pub app: AppId,
    /// Its id.
    pub id: String,
    /// `displayName`.
    pub name: String,
    /// The chain in PEM, leaf first.
    pub chain: String,
    /// Its key.
    pub key: PrivateKey,
    /// The names that it is for.
    pub domains: Vec<String>,
    /// When it ends.
    pub expires: SystemTime,
    /// `managedCertificate` of one that the house renews: `status`, `lastRenewalTime`, `lastError`….
    pub managed: Option<Value>,
    /// When it was made.
    pub created: SystemTime,
}

impl Certificate {
    /// `apps/A/authorizedCertificates/ID`.
    pub fn resource(&self) -> String {
        resource(&self.app, &self.id)
    }

    fn audit(&self) -> Value {
        json!({ "displayName": self.name, "domainNames": self.domains, "publicCertificate": self.chain, "managedCertificate": self.managed })
    }
}

const COLUMNS: &str = "SELECT app, id, name, chain, private_key, domains, expires, managed, created FROM certificates";

fn certificate(row: &Row<'_>) -> Result<Certificate> {
    Ok(Certificate {
        app: parsed(row, 0)?,
        id: text(row, 1)?,
        name: text(row, 2)?,
        chain: text(row, 3)?,
        key: PrivateKey(text(row, 4)?),
        domains: row::json(row, 5)?,
        expires: time(row, 6)?,
        managed: maybe_json(row, 7)?,
        created: time(row, 8)?,
    })
}

fn resource(app: &AppId, id: &str) -> String {
    format!("apps/{app}/authorizedCertificates/{id}")
}

impl View<'_> {
    /// An app's certificates by id.
    pub fn certificates(&self, app: &AppId, page: &Page) -> Result<Vec<Certificate>> {
        let sql = format!("{COLUMNS} WHERE app = ?1 AND id > ?2 ORDER BY id LIMIT ?3");
        self.list(&sql, params![app.as_str(), page.after(), page.limit()], certificate)
    }

    /// The certificates of all apps.
    pub fn all_certificates(&self) -> Result<Vec<Certificate>> {
        self.list(&format!("{COLUMNS} ORDER BY app, id"), [], certificate)
    }

    /// A certificate.
    pub fn certificate(&self, app: &AppId, id: &str) -> Result<Certificate> {
        let found = self.one(&format!("{COLUMNS} WHERE app = ?1 AND id = ?2"), [app.as_str(), id], certificate)?;
        found.ok_or_else(|| StoreError::Missing(format!("Certificate `{}` was not found.", resource(app, id))))
    }

    /// The smallest number that no certificate of the app has as its id: ids of certificates are numbers.
    pub fn free_certificate_id(&self, app: &AppId) -> Result<String> {
        let taken = self.certificates(app, &Page::all())?;
        let highest = taken.iter().filter_map(|known| known.id.parse::<u64>().ok()).max().unwrap_or(10_000_000);
        Ok((highest + 1).to_string())
    }
}

impl Change<'_> {
    /// Writes a certificate: a new one, or in place of the one with its id (a renewal keeps it).
    pub fn put_certificate(&mut self, new: &Certificate) -> Result<()> {
        let old = self.certificate(&new.app, &new.id).ok();
        self.run(
            "INSERT INTO certificates (app, id, name, chain, private_key, domains, expires, managed, created) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (app, id) DO UPDATE SET name = excluded.name, chain = excluded.chain, \
             private_key = excluded.private_key, domains = excluded.domains, expires = excluded.expires, managed = excluded.managed",
            params![
                new.app.as_str(),
                new.id,
                new.name,
                new.chain,
                new.key.0,
                to_json(&new.domains)?,
                micros(new.expires),
                new.managed.as_ref().map(to_json).transpose()?,
                micros(new.created)
            ],
        )?;
        let action = if old.is_some() { "authorizedCertificates.patch" } else { "authorizedCertificates.create" };
        let before = old.as_ref().map(Certificate::audit);
        self.note(Some(new.app.as_str()), action, &new.resource(), before.as_ref(), Some(&new.audit()))
    }

    /// Removes a certificate.
    pub fn delete_certificate(&mut self, app: &AppId, id: &str) -> Result<()> {
        let old = self.certificate(app, id)?;
        self.run("DELETE FROM certificates WHERE app = ?1 AND id = ?2", [app.as_str(), id])?;
        self.note(Some(app.as_str()), "authorizedCertificates.delete", &old.resource(), Some(&old.audit()), None)
    }
}
