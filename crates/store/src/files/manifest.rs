//! Which files a version consists of.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use super::Sha256;

/// Most files of a version: far above App Engine's 10,000.
const MOST_FILES: usize = 100_000;
/// Longest path, and longest name in it, in bytes (Linux: `PATH_MAX` less our own folder, `NAME_MAX`).
const LONGEST_PATH: usize = 1024;
const LONGEST_NAME: usize = 255;

/// One file of a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestFile {
    /// Its bytes.
    pub sha256: Sha256,
    /// How many they are.
    pub size: u64,
    /// `mimeType`, if one was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime: Option<String>,
}

/// Why a path cannot be in a manifest; the text is for the Admin API's answers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{path}` {why}")]
pub struct BadPath {
    /// The path, shortened.
    pub path: String,
    /// What is wrong with it.
    pub why: &'static str,
}

/// The files of a version by path. Every path is relative, plain and leads to one file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Manifest(BTreeMap<String, ManifestFile>);

impl Manifest {
    /// A manifest of these files.
    ///
    /// # Errors
    /// Every path that is absolute, leaves the folder, has odd characters, or is both a file and a folder.
    pub fn new(files: BTreeMap<String, ManifestFile>) -> Result<Self, Vec<BadPath>> {
        let mut wrong: Vec<BadPath> = files.keys().filter_map(|path| check_path(path).err()).collect();
        for path in files.keys() {
            let parents = path.match_indices('/').map(|(at, _)| &path[..at]);
            if parents.into_iter().any(|parent| files.contains_key(parent)) {
                wrong.push(bad(path, "lies below a path that is a file"));
            }
        }
        if files.len() > MOST_FILES {
            wrong.push(bad("deployment", "has more than 100,000 files"));
        }
        if wrong.is_empty() { Ok(Self(files)) } else { Err(wrong) }
    }

    /// The files by path.
    pub fn files(&self) -> &BTreeMap<String, ManifestFile> {
        &self.0
    }

    /// How many files.
    pub fn count(&self) -> u64 {
        self.0.len() as u64
    }

    /// How many bytes.
    pub fn size(&self) -> u64 {
        self.0.values().map(|file| file.size).sum()
    }

    /// The name of the folder that holds these files: a digest of paths and contents, not of types.
    pub fn hash(&self) -> Sha256 {
        let mut context = Context::new(&SHA256);
        context.update(b"enginehouse manifest 1\n");
        for (path, file) in &self.0 {
            context.update(&file.sha256.0);
            context.update(&(path.len() as u64).to_be_bytes());
            context.update(path.as_bytes());
        }
        Sha256::of(&context.finish())
    }
}

fn bad(path: &str, why: &'static str) -> BadPath {
    BadPath { path: path.chars().take(120).collect(), why }
}

/// Whether a path may name a file of an app.
///
/// # Errors
/// Why not.
pub fn check_path(path: &str) -> Result<(), BadPath> {
    let fail = |why| Err(bad(path, why));
    if path.is_empty() {
        return fail("is an empty path");
    }
    if path.len() > LONGEST_PATH {
        return fail("is longer than 1,024 bytes");
    }
    if path.starts_with('/') {
        return fail("is an absolute path; paths are relative to the app's folder");
    }
    if path.contains(['\\', '\0']) || path.chars().any(char::is_control) {
        return fail("has a backslash or a control character in it");
    }
    for name in path.split('/') {
        match name {
            "" => return fail("has an empty part"),
            "." | ".." => return fail("has `.` or `..` as a part; paths are plain and stay in the app's folder"),
            _ if name.len() > LONGEST_NAME => return fail("has a part that is longer than 255 bytes"),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(byte: u8) -> ManifestFile {
        ManifestFile { sha256: Sha256([byte; 32]), size: 1, mime: None }
    }

    fn manifest(paths: &[&str]) -> Result<Manifest, Vec<BadPath>> {
        Manifest::new(paths.iter().map(|path| ((*path).to_owned(), file(1))).collect())
    }

    #[test]
    fn odd_paths_are_refused() {
        for bad in
            ["", "/etc/passwd", "../x", "a/../b", "a/./b", "./a", "a//b", "a/", "a\\b", "a\0b", "a\nb", &"x".repeat(256), &"x/".repeat(600)]
        {
            assert!(manifest(&[bad]).is_err(), "{bad:?}");
        }
        for good in ["app.yaml", "a/b/c", ".gcloudignore", "..a/b..", "größe.txt", "a b/c"] {
            assert!(manifest(&[good]).is_ok(), "{good:?}");
        }
        assert!(manifest(&["a", "a/b"]).is_err());
        assert!(manifest(&["a", "a-/b", "a/b/c"]).is_err());
        assert!(manifest(&["a-b", "a/b"]).is_ok());
    }

    #[test]
    fn the_hash_is_of_paths_and_contents() {
        let one = |path: &str, byte: u8, mime: Option<&str>| {
            let file = ManifestFile { mime: mime.map(str::to_owned), ..file(byte) };
            Manifest::new(BTreeMap::from([(path.to_owned(), file)])).expect("valid").hash()
        };
        assert_eq!(one("a", 1, None), one("a", 1, Some("text/plain")));
        assert_ne!(one("a", 1, None), one("b", 1, None));
        assert_ne!(one("a", 1, None), one("a", 2, None));
    }
}
