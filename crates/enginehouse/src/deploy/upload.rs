//! Sending files that the server does not have yet: one question with all sums, one answer with those that are missing, one stream with these.
//!
//! Google's way is a list of up to thousands of names and a request for each file; both are there for `gcloud`, but an unchanged app of a thousand
//! files should cost two round trips.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;

use super::collect::Found;
use super::stages::Stage;
use crate::admin::output::size;
use crate::check::count;
use crate::client::{App, Client, Failure, Outcome};

/// How often a broken upload is taken up again; each time the server tells what it has by then.
const ATTEMPTS: usize = 3;
/// One stream holds about so much, so that a broken connection does not cost everything.
const PIECE: u64 = 256 << 20;

/// What was sent.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sent {
    /// Files.
    pub(super) files: usize,
    /// Their bytes.
    pub(super) bytes: u64,
}

/// Sends what is missing of these files, by their sums.
pub(super) fn upload(client: &Client, app: &App, files: &BTreeMap<&str, &Found>, stage: &Stage) -> Outcome<Sent> {
    let mut sent = Sent::default();
    let mut attempt = 0;
    loop {
        let missing = missing(client, app, files)?;
        if missing.is_empty() {
            return Ok(sent);
        }
        if attempt == ATTEMPTS {
            return Err(Failure::Here(format!("the server takes {} but does not keep them", count(missing.len(), "file"))));
        }
        attempt += 1;
        match send(client, app, &missing, stage) {
            Ok(()) => {
                sent.files += missing.len();
                sent.bytes += missing.iter().map(|(_, file)| file.meta.len()).sum::<u64>();
            }
            Err(Failure::Unreachable { .. }) if attempt < ATTEMPTS => {}
            Err(failure) => return Err(failure),
        }
    }
}

fn missing<'f>(client: &Client, app: &App, files: &BTreeMap<&'f str, &'f Found>) -> Outcome<Vec<(&'f str, &'f Found)>> {
    let sums: Vec<&str> = files.keys().copied().collect();
    let answer = client.post(&format!("{}/files:missing", app.own()), &json!({"sha1": sums}))?;
    let known = |sum: &str| files.get_key_value(sum).map(|(sum, file)| (*sum, *file));
    Ok(answer["missing"].as_array().into_iter().flatten().filter_map(|sum| known(sum.as_str()?)).collect())
}

fn send(client: &Client, app: &App, files: &[(&str, &Found)], stage: &Stage) -> Outcome<()> {
    let path = format!("{}/files:upload", app.own());
    let all: u64 = files.iter().map(|(_, file)| file.meta.len()).sum();
    let gone = AtomicU64::new(0);
    for piece in pieces(files) {
        let mut stream = Stream::new(piece, &gone, |gone| stage.detail(&format!("{} of {}", size(gone), size(all))));
        let length = stream.length();
        let sent = client.post_bytes(&path, "application/x-enginehouse-files", length, &mut stream);
        if let Some(why) = stream.failed {
            return Err(Failure::Here(why));
        }
        sent?;
    }
    Ok(())
}

/// The files in portions of about [`PIECE`] bytes.
fn pieces<'a, 'f>(files: &'a [(&'f str, &'f Found)]) -> Vec<&'a [(&'f str, &'f Found)]> {
    let mut all = Vec::new();
    let (mut from, mut bytes) = (0, 0);
    for (at, (_, file)) in files.iter().enumerate() {
        bytes += file.meta.len();
        if bytes >= PIECE || at + 1 == files.len() {
            all.push(&files[from..=at]);
            (from, bytes) = (at + 1, 0);
        }
    }
    all
}

/// Files one after the other, each behind a line with its sum and its length.
struct Stream<'a, 'f, T> {
    files: &'a [(&'f str, &'f Found)],
    head: io::Cursor<String>,
    body: Option<(File, u64)>,
    gone: &'a AtomicU64,
    tell: T,
    /// Why the stream broke off on this side.
    failed: Option<String>,
}

fn head((sum, file): &(&str, &Found)) -> String {
    format!("{sum} {}\n", file.meta.len())
}

impl<'a, 'f, T: FnMut(u64)> Stream<'a, 'f, T> {
    fn new(files: &'a [(&'f str, &'f Found)], gone: &'a AtomicU64, tell: T) -> Self {
        Self { files, head: io::Cursor::default(), body: None, gone, tell, failed: None }
    }

    fn length(&self) -> u64 {
        self.files.iter().map(|file| head(file).len() as u64 + file.1.meta.len()).sum()
    }

    fn next(&mut self, buffer: &mut [u8]) -> Result<usize, String> {
        loop {
            let read = self.head.read(buffer).unwrap_or(0);
            if read > 0 {
                return Ok(read);
            }
            if let Some((file, left)) = &mut self.body {
                let most = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
                let read = file.read(&mut buffer[..most]).map_err(|error| error.to_string())?;
                if read == 0 && *left > 0 {
                    return Err("it became shorter while it was deployed; deploy again".to_owned());
                }
                *left -= read as u64;
                (self.tell)(self.gone.fetch_add(read as u64, Ordering::Relaxed) + read as u64);
                if *left == 0 {
                    self.body = None;
                    self.files = &self.files[1..];
                }
                if read > 0 {
                    return Ok(read);
                }
                continue;
            }
            let Some(next) = self.files.first() else { return Ok(0) };
            self.head = io::Cursor::new(head(next));
            self.body = Some((File::open(&next.1.path).map_err(|error| error.to_string())?, next.1.meta.len()));
        }
    }
}

impl<T: FnMut(u64)> Read for Stream<'_, '_, T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let current = self.files.first().map(|file| file.1.path.clone());
        self.next(buffer).map_err(|why| {
            let text = format!("{}: {why}", current.unwrap_or_default().display());
            self.failed = Some(text.clone());
            io::Error::other(text)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_sent_one_after_the_other() {
        let dir = tempfile::tempdir().expect("folder");
        let found = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).expect("written");
            Found { name: name.to_owned(), meta: std::fs::metadata(&path).expect("there"), path }
        };
        let (a, b, empty) = (found("a", "first"), found("b", "second\n"), found("c", ""));
        let files = [("aa", &a), ("ee", &empty), ("bb", &b)];
        let gone = AtomicU64::new(0);
        let mut told = 0;
        let mut stream = Stream::new(&files, &gone, |bytes| told = bytes);
        let length = stream.length();
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("read");
        assert_eq!(text, "aa 5\nfirstee 0\nbb 7\nsecond\n");
        assert_eq!((length, told), (text.len() as u64, 12));
        std::fs::write(&a.path, "x").expect("written");
        let mut stream = Stream::new(&files, &gone, |_| ());
        assert!(stream.read_to_string(&mut text).is_err());
        assert!(stream.failed.is_some_and(|why| why.contains("shorter")));
    }
}
