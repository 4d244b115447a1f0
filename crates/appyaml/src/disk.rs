//! Reading files from disk: their bytes, their encoding, and where included files lie. Decides nothing about what they say.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::app::{FoundInclude, Includes};
use crate::code;
use crate::diagnostic::{Diagnostic, Report};
use crate::fields::Spanned;
use crate::source::{FileId, Sources, Span};
use crate::yaml::MAX_BYTES;

/// Files read so far, by canonical path, so that none is read twice.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    known: BTreeMap<PathBuf, FileId>,
}

/// How messages name a path: as the user wrote it, without a leading `./`.
pub(crate) fn display(path: &Path) -> String {
    path.strip_prefix(".").unwrap_or(path).display().to_string()
}

/// A regular file or a link to one; anything else (a pipe, a device) could block a reader for ever.
pub(crate) fn is_file(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file())
}

fn is_dir(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_dir())
}

fn canonical(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

impl Disk {
    /// Every file that was read.
    pub(crate) fn files_read(&self) -> BTreeSet<PathBuf> {
        self.known.keys().cloned().collect()
    }

    /// Reads a file, or says why it cannot be read.
    pub(crate) fn read(&mut self, path: &Path, named_at: Option<Span>, sources: &mut Sources, report: &mut Report) -> Option<FileId> {
        let identity = canonical(path);
        if let Some(file) = self.known.get(&identity) {
            return Some(*file);
        }
        let name = display(path);
        let complain = |code, message: String, help: Option<&str>| {
            let diagnostic = match named_at {
                Some(span) => Diagnostic::new(code, span, message),
                None => Diagnostic::general(code, message),
            };
            diagnostic.maybe_help(help.map(str::to_owned))
        };
        let bytes = match contents(path) {
            Ok(bytes) => bytes,
            Err(why) => {
                report.push(complain(&code::A0001, format!("cannot read {name}: {why}"), None));
                return None;
            }
        };
        let text = match decode(bytes) {
            Ok(text) => text,
            Err(why) => {
                report.push(complain(&code::A0002, format!("{name} is not UTF-8 text: {why}"), Some("save it as UTF-8")));
                return None;
            }
        };
        let file = sources.add(name, path, text);
        self.known.insert(identity, file);
        Some(file)
    }
}

/// An error of the file system, for people.
pub(crate) fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "it does not exist".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

/// The bytes of a regular file, at most one more than [`MAX_BYTES`] (so that whoever counts sees that it is too large).
fn contents(path: &Path) -> Result<Vec<u8>, String> {
    use std::io::Read as _;
    let meta = fs::metadata(path).map_err(|error| describe(&error))?;
    if !meta.is_file() {
        return Err(if meta.is_dir() { "it is a folder".into() } else { "it is not a regular file".into() });
    }
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(|error| describe(&error))?;
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(|error| describe(&error))?;
    Ok(bytes)
}

/// UTF-8, with or without a byte order mark.
pub(crate) fn decode(bytes: Vec<u8>) -> Result<String, String> {
    match bytes.get(..2) {
        Some([0xFF, 0xFE] | [0xFE, 0xFF]) => return Err("it is UTF-16".to_owned()),
        Some([0, _] | [_, 0]) => return Err("it has zero bytes, like UTF-16 or a binary file".to_owned()),
        _ => {}
    }
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        // A file that was cut off at the limit may end within a character; that it is too large is what matters.
        Err(error) if error.as_bytes().len() > MAX_BYTES && error.utf8_error().valid_up_to() + 4 > MAX_BYTES => {
            String::from_utf8_lossy(error.as_bytes()).into_owned()
        }
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let line = error.as_bytes()[..at].split(|&b| b == b'\n').count();
            return Err(format!("line {line} has bytes that are none"));
        }
    };
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// Include files of an app on disk, in document 003's order: as written (absolute or from the current folder), from the app folder, from the
/// including file's folder.
pub(crate) struct DiskIncludes<'a> {
    pub(crate) disk: &'a mut Disk,
    pub(crate) root: &'a Path,
}

impl Includes for DiskIncludes<'_> {
    fn find(&mut self, written: &Spanned<String>, includer: FileId, sources: &mut Sources, report: &mut Report) -> FoundInclude {
        let beside = sources.get(includer).path.parent().map(Path::to_owned).unwrap_or_default();
        let places = [PathBuf::from(&written.value), self.root.join(&written.value), beside.join(&written.value)];
        let found = places.into_iter().find_map(|path| {
            if is_file(&path) {
                return Some(path);
            }
            let inner = path.join("include.yaml");
            (is_dir(&path) && is_file(&inner)).then_some(inner)
        });
        let Some(path) = found else { return FoundInclude::Missing };
        match self.disk.read(&path, Some(written.span), sources, report) {
            Some(file) => FoundInclude::File(file, canonical(&path)),
            None => FoundInclude::Refused,
        }
    }
}

/// Include files from memory, for tests and tools: paths relative to the app folder.
pub(crate) struct MemoryIncludes<'a>(pub(crate) &'a BTreeMap<String, String>);

impl Includes for MemoryIncludes<'_> {
    fn find(&mut self, written: &Spanned<String>, includer: FileId, sources: &mut Sources, _report: &mut Report) -> FoundInclude {
        let beside = Path::new(&sources.get(includer).name).parent().map(Path::to_owned).unwrap_or_default();
        let places = [PathBuf::from(&written.value), beside.join(&written.value)];
        let known = |path: &Path| self.0.get_key_value(display(path).trim_end_matches('/'));
        let found = places.iter().find_map(|path| known(path).or_else(|| known(&path.join("include.yaml"))));
        let Some((name, text)) = found else { return FoundInclude::Missing };
        let file = sources.add(name, "", text);
        FoundInclude::File(file, name.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn y1_files_of_other_encodings_are_named() {
        assert_eq!(decode(b"\xef\xbb\xbfruntime: x".to_vec()).as_deref(), Ok("runtime: x"));
        assert_eq!(decode(b"\xff\xfer\0".to_vec()), Err("it is UTF-16".into()));
        assert_eq!(decode(b"a\nb: \xe9\n".to_vec()), Err("line 2 has bytes that are none".into()));
        assert!(decode("é".as_bytes().to_vec()).is_ok());
        let mut large = vec![b'x'; MAX_BYTES];
        large.push(0xC3);
        assert!(decode(large).is_ok());
    }
}
