//! `POST /enginehouse/v1/apps/A/files:upload`: many files in one stream, each behind a line with its SHA-1 and its length (`SUM LENGTH\n`). Google's way
//! is a request for each file; an unchanged app of a thousand files should cost one question and an empty answer.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use serde_json::json;
use store::Store;
use store::files::{Draft, Expected, Sealed, Sha1};
use tokio::sync::mpsc;

use super::auth::{Caller, Deed};
use super::server::late;
use super::{Answer, Api};
use crate::status::{Code, Status};

/// How long the next piece may take.
const PIECE: Duration = Duration::from_mins(1);
/// Pieces that wait for the disk.
const AHEAD: usize = 16;
/// What goes to the disk at once: a few waits for it cost nothing beside the sending.
const BATCH_FILES: usize = 2_000;
const BATCH_BYTES: u64 = 128 << 20;
/// Longest line before a file.
const LINE: usize = 80;

/// The app of a path that takes uploads.
pub(crate) fn app_of(path: &str) -> Option<String> {
    let app = path.strip_prefix("/enginehouse/v1/apps/")?.strip_suffix("/files:upload")?;
    let app = percent_decode_str(app).decode_utf8().ok()?;
    (!app.contains('/')).then(|| app.into_owned())
}

/// Takes the stream.
pub(crate) async fn receive(api: &Arc<Api>, caller: &Caller, app: String, mut body: Incoming) -> Result<Answer, Status> {
    caller.check(Deed::Deploy, Some(&app))?;
    let store = api.store().clone();
    let (pieces, come) = mpsc::channel::<Bytes>(AHEAD);
    let writer = tokio::task::spawn_blocking(move || write(&store, &app, come));
    let mut broken = None;
    loop {
        match tokio::time::timeout(PIECE, body.frame()).await {
            Ok(None) => break,
            Ok(Some(Ok(frame))) => {
                // The writer has given up: its reason is the answer.
                if let Ok(data) = frame.into_data()
                    && pieces.send(data).await.is_err()
                {
                    break;
                }
            }
            Ok(Some(Err(_))) => {
                broken = Some(Status::invalid("The request's body broke off."));
                break;
            }
            Err(_) => {
                broken = Some(late());
                break;
            }
        }
    }
    drop(pieces);
    let written = writer.await.unwrap_or_else(|_| Err(Status::internal()));
    match broken {
        Some(status) => Err(status),
        None => written.map(|files| Answer::Own(json!({"files": files}))),
    }
}

enum Part {
    Line(Vec<u8>),
    File { draft: Box<Draft>, expected: Expected, left: u64 },
}

fn write(store: &Store, app: &str, mut come: mpsc::Receiver<Bytes>) -> Result<u64, Status> {
    store.read(|view| view.app(app))?;
    let mut part = Part::Line(Vec::new());
    let mut batch = Batch::default();
    let mut files = 0;
    while let Some(piece) = come.blocking_recv() {
        let mut rest: &[u8] = &piece;
        while !rest.is_empty() {
            (part, rest) = step(store, part, rest)?;
            if let Part::File { draft, expected, left: 0 } = part {
                batch.add(store, *draft, &expected)?;
                files += 1;
                part = Part::Line(Vec::new());
            }
        }
    }
    // What came whole is kept even if the rest did not: the client asks what is missing, and sends that.
    batch.keep(store)?;
    match part {
        Part::Line(line) if line.is_empty() => Ok(files),
        _ => Err(Status::invalid("The stream of files ends in the middle of one.")),
    }
}

/// Files that go to the disk together.
#[derive(Default)]
struct Batch {
    files: Vec<Sealed>,
    bytes: u64,
}

impl Batch {
    fn add(&mut self, store: &Store, draft: Draft, expected: &Expected) -> Result<(), Status> {
        self.files.push(draft.seal(expected)?);
        self.bytes += expected.size.unwrap_or(0);
        if self.files.len() >= BATCH_FILES || self.bytes >= BATCH_BYTES { self.keep(store) } else { Ok(()) }
    }

    fn keep(&mut self, store: &Store) -> Result<(), Status> {
        self.bytes = 0;
        let files = std::mem::take(&mut self.files);
        if !files.is_empty() {
            store.keep(files)?;
        }
        Ok(())
    }
}

fn step<'r>(store: &Store, part: Part, rest: &'r [u8]) -> Result<(Part, &'r [u8]), Status> {
    match part {
        Part::Line(mut line) => {
            let end = rest.iter().position(|b| *b == b'\n');
            line.extend_from_slice(&rest[..end.unwrap_or(rest.len())]);
            if line.len() > LINE {
                return Err(bad_line());
            }
            let Some(end) = end else { return Ok((Part::Line(line), &[])) };
            let (sha1, left) = read_line(&line).ok_or_else(bad_line)?;
            let expected = Expected { sha1: Some(sha1), size: Some(left), sha256: None };
            Ok((Part::File { draft: Box::new(store.draft()?), expected, left }, &rest[end + 1..]))
        }
        Part::File { mut draft, expected, left } => {
            let now = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
            draft.write_all(&rest[..now]).map_err(|error| {
                tracing::error!("an upload cannot be written: {error}");
                Status::new(Code::ResourceExhausted, "The server cannot write the file; its disk may be full.")
            })?;
            Ok((Part::File { draft, expected, left: left - now as u64 }, &rest[now..]))
        }
    }
}

fn read_line(line: &[u8]) -> Option<(Sha1, u64)> {
    let (sum, length) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    Some((sum.parse().ok()?, length.parse().ok()?))
}

fn bad_line() -> Status {
    Status::invalid(
        "Each file of the stream stands behind a line with its SHA-1 and its length, such as `da39a3ee5e6b4b0d3255bfef95601890afd80709 0`.",
    )
}
