//! Buckets and objects: names for files, as Cloud Storage has them. Uploads of deployments are too many for the audit log and change nothing that is
//! served, so they neither stand there nor raise `rev`.

use std::time::SystemTime;

use model::ids::AppId;
use rusqlite::{Row, params};
use serde_json::{Value, json};

use super::error::StoreError;
use super::row::{int, micros, number, parsed, text, time, to_json, unsigned};
use super::secrets::random;
use super::{Change, Page, Result, View, row};
use crate::files::{Blob, Sha1, Sha256};

/// A bucket.
#[derive(Debug, Clone, PartialEq)]
pub struct Bucket {
    /// Its name, unique on the server.
    pub name: String,
    /// Whose it is.
    pub app: Option<String>,
    /// Where.
    pub location: String,
    /// When it was made.
    pub created: SystemTime,
    /// What else was said of it: `lifecycle`, `labels`….
    pub body: Value,
}

/// An object.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// Its bucket.
    pub bucket: String,
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub sha256: Sha256,
    /// The same by another digest.
    pub sha1: Sha1,
    /// How many.
    pub size: u64,
    /// `contentType`.
    pub content_type: String,
    /// When it was written.
    pub created: SystemTime,
    /// Rises each time the name is written.
    pub generation: u64,
    /// What else was said of it: `metadata`, `cacheControl`, `md5Hash`….
    pub body: Value,
}

/// A resumable upload that is under way; its bytes so far are in `DIR/uploads/ID`.
#[derive(Debug, Clone, PartialEq)]
pub struct Upload {
    /// Its id, which is also what allows to go on with it.
    pub id: String,
    /// Where it will be.
    pub bucket: String,
    /// Under which name.
    pub name: String,
    /// `contentType`.
    pub content_type: String,
    /// How many bytes, if that was said.
    pub expected: Option<u64>,
    /// What else was said of the object.
    pub body: Value,
    /// When it began.
    pub created: SystemTime,
}

const OBJECTS: &str = "SELECT o.bucket, o.name, o.sha256, b.sha1, b.size, o.content_type, o.created, o.generation, o.body \
                       FROM objects o JOIN blobs b ON b.sha256 = o.sha256";

fn bucket(row: &Row<'_>) -> Result<Bucket> {
    Ok(Bucket { name: text(row, 0)?, app: row.get(1)?, location: text(row, 2)?, created: time(row, 3)?, body: row::json(row, 4)? })
}

fn object(row: &Row<'_>) -> Result<Object> {
    Ok(Object {
        bucket: text(row, 0)?,
        name: text(row, 1)?,
        sha256: parsed(row, 2)?,
        sha1: parsed(row, 3)?,
        size: number(row, 4)?,
        content_type: text(row, 5)?,
        created: time(row, 6)?,
        generation: number(row, 7)?,
        body: row::json(row, 8)?,
    })
}

fn upload(row: &Row<'_>) -> Result<Upload> {
    Ok(Upload {
        id: text(row, 0)?,
        bucket: text(row, 1)?,
        name: text(row, 2)?,
        content_type: text(row, 3)?,
        expected: row.get::<_, Option<i64>>(4)?.map(unsigned),
        body: row::json(row, 5)?,
        created: time(row, 6)?,
    })
}

/// The least text that is greater than every text that begins with `prefix`; `None` = there is no such.
fn behind(prefix: &str) -> Option<String> {
    let last = prefix.chars().next_back()?;
    let kept = &prefix[..prefix.len() - last.len_utf8()];
    let next = (u32::from(last) + 1..=0x0010_ffff).find_map(char::from_u32);
    next.map_or_else(|| behind(kept), |next| Some(format!("{kept}{next}")))
}

impl View<'_> {
    /// All buckets, or an app's.
    pub fn buckets(&self, app: Option<&AppId>) -> Result<Vec<Bucket>> {
        let sql = "SELECT name, app, location, created, body FROM buckets WHERE ?1 IS NULL OR app = ?1 ORDER BY name";
        self.list(sql, [app.map(AppId::as_str)], bucket)
    }

    /// A bucket, if there is one of that name.
    pub fn find_bucket(&self, name: &str) -> Result<Option<Bucket>> {
        self.one("SELECT name, app, location, created, body FROM buckets WHERE name = ?1", [name], bucket)
    }

    /// A bucket's objects whose names begin with `prefix`, by name.
    pub fn objects(&self, bucket: &str, prefix: &str, page: &Page) -> Result<Vec<Object>> {
        let sql = format!(
            "{OBJECTS} WHERE o.bucket = ?1 AND o.name > ?2 AND o.name >= ?3 AND (?4 IS NULL OR o.name < ?4) ORDER BY o.name LIMIT ?5"
        );
        self.list(&sql, params![bucket, page.after(), prefix, behind(prefix), page.limit()], object)
    }

    /// An object, if there is one of that name.
    pub fn find_object(&self, bucket: &str, name: &str) -> Result<Option<Object>> {
        self.one(&format!("{OBJECTS} WHERE o.bucket = ?1 AND o.name = ?2"), [bucket, name], object)
    }

    /// Content by its SHA-256.
    pub fn find_blob(&self, sha256: &Sha256) -> Result<Option<Blob>> {
        self.one("SELECT sha256, sha1, size FROM blobs WHERE sha256 = ?1", [sha256.to_string()], blob)
    }

    /// Content by its SHA-1. Two contents with one SHA-1 are an attack on whoever trusts it, so then there is none.
    pub fn find_blob_by_sha1(&self, sha1: &Sha1) -> Result<Option<Blob>> {
        let mut found = self.list("SELECT sha256, sha1, size FROM blobs WHERE sha1 = ?1 LIMIT 2", [sha1.to_string()], blob)?;
        Ok(if found.len() == 1 { found.pop() } else { None })
    }

    /// A resumable upload.
    pub fn find_upload(&self, id: &str) -> Result<Option<Upload>> {
        self.one("SELECT id, bucket, name, content_type, expected, body, created FROM uploads WHERE id = ?1", [id], upload)
    }
}

fn blob(row: &Row<'_>) -> Result<Blob> {
    Ok(Blob { sha256: parsed(row, 0)?, sha1: parsed(row, 1)?, size: number(row, 2)? })
}

impl Change<'_> {
    /// Makes a bucket.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if there is one of that name.
    pub fn create_bucket(&mut self, name: &str, app: Option<&AppId>, location: &str, body: &Value) -> Result<Bucket> {
        if self.find_bucket(name)?.is_some() {
            return Err(StoreError::Exists(format!("The bucket `{name}` already exists.")));
        }
        let app = app.map(AppId::as_str);
        let sql = "INSERT INTO buckets (name, app, location, created, body) VALUES (?1, ?2, ?3, ?4, ?5)";
        self.run(sql, params![name, app, location, micros(self.now), to_json(body)?])?;
        self.note(app, "buckets.create", &format!("buckets/{name}"), None, Some(&json!({ "location": location })))?;
        self.find_bucket(name)?.ok_or_else(|| StoreError::Missing(name.to_owned()))
    }

    /// Replaces what is said of a bucket.
    pub fn put_bucket(&mut self, name: &str, body: &Value) -> Result<()> {
        let old = self.find_bucket(name)?.ok_or_else(|| StoreError::Missing(format!("The specified bucket does not exist: {name}.")))?;
        self.run("UPDATE buckets SET body = ?2 WHERE name = ?1", params![name, to_json(body)?])?;
        self.note(old.app.as_deref(), "buckets.patch", &format!("buckets/{name}"), Some(&old.body), Some(body))
    }

    /// Removes an empty bucket.
    pub fn delete_bucket(&mut self, name: &str) -> Result<()> {
        let old = self.find_bucket(name)?.ok_or_else(|| StoreError::Missing(format!("The specified bucket does not exist: {name}.")))?;
        if !self.objects(name, "", &Page { after: None, limit: 1 })?.is_empty() {
            return Err(StoreError::Exists("The bucket you tried to delete is not empty.".to_owned()));
        }
        self.run("DELETE FROM uploads WHERE bucket = ?1", [name])?;
        self.run("DELETE FROM buckets WHERE name = ?1", [name])?;
        self.note(old.app.as_deref(), "buckets.delete", &format!("buckets/{name}"), Some(&old.body), None)
    }

    /// Gives content a name: a new one, or in place of what had it.
    pub fn put_object(&mut self, bucket: &str, name: &str, sha256: &Sha256, content_type: &str, body: &Value) -> Result<Object> {
        self.run(
            "INSERT INTO objects (bucket, name, sha256, content_type, created, generation, body) VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6) \
             ON CONFLICT (bucket, name) DO UPDATE SET sha256 = excluded.sha256, content_type = excluded.content_type, \
             created = excluded.created, generation = CASE WHEN excluded.generation > objects.generation THEN excluded.generation \
             ELSE objects.generation + 1 END, body = excluded.body",
            params![bucket, name, sha256.to_string(), content_type, micros(self.now), to_json(body)?],
        )?;
        self.find_object(bucket, name)?.ok_or_else(|| StoreError::Missing(format!("{bucket}/{name}")))
    }

    /// Removes an object; false if there is none of that name.
    pub fn delete_object(&mut self, bucket: &str, name: &str) -> Result<bool> {
        Ok(self.run("DELETE FROM objects WHERE bucket = ?1 AND name = ?2", [bucket, name])? == 1)
    }

    /// Begins a resumable upload.
    pub fn begin_upload(&mut self, bucket: &str, name: &str, content_type: &str, expected: Option<u64>, body: &Value) -> Result<Upload> {
        let id = model::brief::hex(&random::<16>()?);
        self.run(
            "INSERT INTO uploads (id, bucket, name, content_type, expected, body, created, touched) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)",
            params![id, bucket, name, content_type, expected.map(int), to_json(body)?, micros(self.now)],
        )?;
        self.find_upload(&id)?.ok_or(StoreError::Missing(id))
    }

    /// Forgets a resumable upload.
    pub fn end_upload(&mut self, id: &str) -> Result<()> {
        self.run("DELETE FROM uploads WHERE id = ?1", [id])?;
        Ok(())
    }

    /// Says that content is whole in `files/`, or was just asked for: the collector leaves it alone for a while.
    pub(crate) fn put_blob(&mut self, blob: &Blob) -> Result<()> {
        let sql = "INSERT INTO blobs (sha256, sha1, size, touched) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (sha256) DO UPDATE SET touched = excluded.touched";
        self.run(sql, params![blob.sha256.to_string(), blob.sha1.to_string(), int(blob.size), micros(self.now)])?;
        Ok(())
    }
}
