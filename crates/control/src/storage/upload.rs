//! Uploads: content alone, description and content in two parts, or resumable in any number of pieces.

use std::fs::OpenOptions;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::PoisonError;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION, RANGE};
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Body;
use serde_json::{Map, Value, json};
use store::control::{Actor, Bucket, Object, Upload};
use store::files::{Blob, Expected, Sha1};
use tokio::sync::mpsc;

use super::intake::{Announced, Intake, LARGEST, too_large};
use super::multipart::{Found, Multipart};
use super::objects::{check_name, said, show};
use super::sums::{Sums, Written};
use super::{Ask, Conditions, Fault, Guest, PATIENCE, Reply, Storage, empty, gather, json, late, object};

const BINARY: &str = "application/octet-stream";

/// What is made of an upload.
struct Target {
    bucket: String,
    name: String,
    content_type: String,
    /// What was said of the object.
    said: Value,
    announced: Announced,
    conditions: Conditions,
    actor: Actor,
}

impl Storage {
    /// `/upload/storage/v1/b/BUCKET/o`.
    pub(super) async fn upload<B>(&self, guest: &dyn Guest, ask: &Ask, bucket: &str, body: B) -> Result<Response<Reply>, Fault>
    where
        B: Body<Data = Bytes> + Send + Unpin,
    {
        let bucket = self.bucket(guest, true, bucket).await?;
        let resumed = ask.parameter("upload_id");
        match (&ask.method, ask.parameter("uploadType"), resumed) {
            (&Method::PUT, _, Some(id)) => self.resume(guest, ask, &bucket, id, body).await,
            (&Method::DELETE, _, Some(id)) => self.cancel(&bucket, id).await,
            (&Method::POST, Some("media"), _) => {
                let target = Target::new(guest, ask, &bucket, Map::new(), ask.header("content-type"))?;
                let mut intake = Intake::begin(&self.store)?;
                let mut body = body;
                while let Some(piece) = next(&mut body).await? {
                    intake.push(piece).await?;
                }
                self.keep(ask, intake, target).await
            }
            (&Method::POST, Some("multipart"), _) => self.two_parts(guest, ask, &bucket, body).await,
            (&Method::POST, Some("resumable"), _) => self.begin(guest, ask, &bucket, gather(body).await?).await,
            _ => Err(Fault::invalid("An upload has uploadType=media, multipart or resumable.")),
        }
    }

    async fn two_parts<B>(&self, guest: &dyn Guest, ask: &Ask, bucket: &Bucket, mut body: B) -> Result<Response<Reply>, Fault>
    where
        B: Body<Data = Bytes> + Send + Unpin,
    {
        let wrong = |why: String| Fault::invalid(format!("Missing or malformed multipart/related body: {why}."));
        let kind = ask.header("content-type").unwrap_or_default();
        let mut reader = Multipart::new(kind).ok_or_else(|| wrong("the Content-Type names no boundary".into()))?;
        let mut description = Map::new();
        let mut content_type = None;
        let mut intake = Intake::begin(&self.store)?;
        while let Some(piece) = next(&mut body).await? {
            for found in reader.push(&piece).map_err(wrong)? {
                match found {
                    Found::Description(text) => description = object(&text)?,
                    Found::Content(named) => content_type = named,
                    Found::Piece(bytes) => intake.push(bytes.into()).await?,
                    Found::End => {}
                }
            }
        }
        if !reader.is_whole() {
            return Err(wrong("it has no end".into()));
        }
        let target = Target::new(guest, ask, bucket, description, content_type.as_deref())?;
        self.keep(ask, intake, target).await
    }

    async fn keep(&self, ask: &Ask, intake: Intake, target: Target) -> Result<Response<Reply>, Fault> {
        let (blob, sums) = intake.finish(target.announced.clone()).await?;
        let made = self.off(move |store| store.change(&target.actor.clone(), |tx| target.put(tx, &blob, &sums))).await?;
        Ok(json(StatusCode::OK, &ask.select(show(&ask.base(), &made))?))
    }

    /// The first request of a resumable upload: the answer says where its pieces go.
    async fn begin(
        &self,
        guest: &dyn Guest,
        ask: &Ask,
        bucket: &Bucket,
        description: Map<String, Value>,
    ) -> Result<Response<Reply>, Fault> {
        let target = Target::new(guest, ask, bucket, description, ask.header("x-upload-content-type"))?;
        let length = ask.header("x-upload-content-length").and_then(|text| text.parse().ok()).or(target.announced.size);
        if length.is_some_and(|length| length > LARGEST) {
            return Err(too_large());
        }
        let base = ask.base();
        let upload = self
            .off(move |store| {
                let body = target.remembered();
                let begun =
                    store.change(&target.actor, |tx| tx.begin_upload(&target.bucket, &target.name, &target.content_type, length, &body))?;
                Ok(begun)
            })
            .await?;
        let mut response = empty(StatusCode::OK);
        let location = format!("{base}/upload/storage/v1/b/{}/o?uploadType=resumable&upload_id={}", upload.bucket, upload.id);
        if let (Ok(location), Ok(id)) = (HeaderValue::try_from(location), HeaderValue::try_from(&upload.id)) {
            response.headers_mut().insert(LOCATION, location);
            response.headers_mut().insert("x-guploader-uploadid", id);
        }
        Ok(response)
    }

    /// Another piece, or the question how far it is.
    async fn resume<B>(&self, guest: &dyn Guest, ask: &Ask, bucket: &Bucket, id: &str, body: B) -> Result<Response<Reply>, Fault>
    where
        B: Body<Data = Bytes> + Send + Unpin,
    {
        let _turn = Turn::take(self, id)?;
        let upload = self.find_upload(bucket, id).await?;
        let path = self.store.dir().join("uploads").join(&upload.id);
        let have = std::fs::metadata(&path).map_or(0, |data| data.len());
        let piece = Piece::read(ask.header("content-range"))?;
        let total = piece.total().or(upload.expected);
        let have = match piece {
            Piece::Asks { .. } => have,
            // What is sent again is passed over; what lies ahead cannot be taken.
            Piece::From { first, .. } if first > have => have,
            Piece::From { first, .. } => append(&path, have, have - first, total, body).await?,
            Piece::Whole => append(&path, 0, 0, total, body).await?,
        };
        let is_whole = match piece {
            Piece::Whole => true,
            _ => total == Some(have),
        };
        if !is_whole {
            return Ok(incomplete(have));
        }
        let target = Target::remember(guest, upload.clone(), have)?;
        let made = self.off(move |store| finish(store, &path, &target, &upload)).await?;
        Ok(json(StatusCode::OK, &show(&ask.base(), &made)))
    }

    async fn find_upload(&self, bucket: &Bucket, id: &str) -> Result<Upload, Fault> {
        let (bucket, id) = (bucket.name.clone(), id.to_owned());
        let missing = || Fault::not_found("There is no such upload; begin another one.");
        let found = self.off(move |store| Ok(store.read(|view| view.find_upload(&id))?)).await?;
        found.filter(|upload| upload.bucket == bucket).ok_or_else(missing)
    }

    async fn cancel(&self, bucket: &Bucket, id: &str) -> Result<Response<Reply>, Fault> {
        let _turn = Turn::take(self, id)?;
        let upload = self.find_upload(bucket, id).await?;
        self.off(move |store| {
            let _ = std::fs::remove_file(store.dir().join("uploads").join(&upload.id));
            Ok(store.change(&Actor::house(), |tx| tx.end_upload(&upload.id))?)
        })
        .await?;
        // Cloud Storage's own status for this: client closed request.
        Ok(empty(StatusCode::from_u16(499).unwrap_or(StatusCode::NO_CONTENT)))
    }
}

/// The next piece of a body.
async fn next<B: Body<Data = Bytes> + Send + Unpin>(body: &mut B) -> Result<Option<Bytes>, Fault> {
    loop {
        let frame = tokio::time::timeout(PATIENCE, body.frame()).await;
        match frame.map_err(|_| late())? {
            None => return Ok(None),
            Some(Err(_)) => return Err(Fault::invalid("The upload broke off.")),
            Some(Ok(frame)) => {
                if let Ok(bytes) = frame.into_data() {
                    return Ok(Some(bytes));
                }
            }
        }
    }
}

impl Target {
    fn new(
        guest: &dyn Guest,
        ask: &Ask,
        bucket: &Bucket,
        description: Map<String, Value>,
        content_type: Option<&str>,
    ) -> Result<Self, Fault> {
        let text = |name: &str| description.get(name).and_then(Value::as_str).map(str::to_owned);
        let missing = || Fault::new(StatusCode::BAD_REQUEST, "required", "Required parameter: name");
        let name = ask.parameter("name").map(str::to_owned).or_else(|| text("name")).filter(|name| !name.is_empty()).ok_or_else(missing)?;
        check_name(&name)?;
        let size = match description.get("size") {
            Some(Value::String(size)) => Some(size.parse().map_err(|_| Fault::invalid("Invalid size."))?),
            Some(size) => size.as_u64(),
            None => None,
        };
        // Several sums may stand in one header, in any order.
        let header = |kind: &str| {
            let all = ask.headers.get_all("x-goog-hash").iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
            all.filter_map(|one| one.trim().split_once('=')).find(|(own, _)| *own == kind).map(|(_, sum)| sum.to_owned())
        };
        let md5 = text("md5Hash").or_else(|| header("md5")).or_else(|| ask.header("content-md5").map(str::to_owned));
        let announced =
            Announced { size, md5, crc32c: text("crc32c").or_else(|| header("crc32c")), sha1: named_by_content(&bucket.name, &name) };
        let content_type = text("contentType").or_else(|| content_type.map(str::to_owned)).unwrap_or_else(|| BINARY.to_owned());
        let conditions = ask.conditions()?;
        let mut said = said(description);
        if let Some(encoding) = ask.parameter("contentEncoding") {
            said["contentEncoding"] = json!(encoding);
        }
        Ok(Self { bucket: bucket.name.clone(), name, content_type, said, announced, conditions, actor: guest.actor() })
    }

    /// What a resumable upload must know when its last piece comes.
    fn remembered(&self) -> Value {
        let Announced { size, md5, crc32c, .. } = &self.announced;
        json!({"said": self.said, "size": size, "md5": md5, "crc32c": crc32c, "matches": self.conditions.matches, "differs": self.conditions.differs})
    }

    fn remember(guest: &dyn Guest, upload: Upload, size: u64) -> Result<Self, Fault> {
        let text = |name: &str| upload.body[name].as_str().map(str::to_owned);
        let said_size = upload.body["size"].as_u64();
        if said_size.or(upload.expected).is_some_and(|said| said != size) {
            return Err(Fault::invalid(format!(
                "The upload has {size} bytes, but {} were announced.",
                said_size.or(upload.expected).unwrap_or(0)
            )));
        }
        let sha1 = named_by_content(&upload.bucket, &upload.name);
        let number = |name: &str| upload.body[name].as_u64();
        Ok(Self {
            announced: Announced { size: Some(size), md5: text("md5"), crc32c: text("crc32c"), sha1 },
            conditions: Conditions { generation: None, matches: number("matches"), differs: number("differs") },
            said: upload.body["said"].clone(),
            bucket: upload.bucket,
            name: upload.name,
            content_type: upload.content_type,
            actor: guest.actor(),
        })
    }

    fn put(&self, tx: &mut store::control::Change<'_>, blob: &Blob, sums: &Written) -> Result<Object, Fault> {
        self.conditions.check(tx.find_object(&self.bucket, &self.name)?.map_or(0, |old| old.generation))?;
        let mut body = if self.said.is_object() { self.said.clone() } else { json!({}) };
        body["md5Hash"] = json!(sums.md5);
        body["crc32c"] = json!(sums.crc32c);
        Ok(tx.put_object(&self.bucket, &self.name, &blob.sha256, &self.content_type, &body)?)
    }
}

/// Deployments name their files by SHA-1; a file that is something else is damaged.
fn named_by_content(bucket: &str, name: &str) -> Option<Sha1> {
    let is_digest = name.len() == 40 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    (bucket.starts_with("staging.") && is_digest).then(|| name.parse().ok()).flatten()
}

/// Only one at a time writes to an upload.
struct Turn<'a>(&'a Storage, String);

impl<'a> Turn<'a> {
    fn take(storage: &'a Storage, id: &str) -> Result<Self, Fault> {
        if storage.busy.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned()) {
            return Ok(Self(storage, id.to_owned()));
        }
        Err(Fault::new(StatusCode::SERVICE_UNAVAILABLE, "backendError", "Another piece of this upload is still being written; try again."))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

/// What a Content-Range says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    /// `bytes */TOTAL` or `bytes */*`: how far is it?
    Asks { total: Option<u64> },
    /// `bytes FIRST-LAST/TOTAL` or `…/*`.
    From { first: u64, total: Option<u64> },
    /// None: everything at once.
    Whole,
}

impl Piece {
    fn read(header: Option<&str>) -> Result<Self, Fault> {
        let Some(header) = header else { return Ok(Self::Whole) };
        let wrong = || Fault::invalid(format!("Invalid Content-Range: {header}"));
        let (range, total) = header.trim().strip_prefix("bytes").and_then(|rest| rest.trim_start().split_once('/')).ok_or_else(wrong)?;
        let total = match total.trim() {
            "*" => None,
            number => Some(number.parse::<u64>().map_err(|_| wrong())?),
        };
        if range.trim() == "*" {
            return Ok(Self::Asks { total });
        }
        let (first, last) = range.split_once('-').ok_or_else(wrong)?;
        let (first, last): (u64, u64) = (first.trim().parse().map_err(|_| wrong())?, last.trim().parse().map_err(|_| wrong())?);
        if last < first || total.is_some_and(|total| last >= total) {
            return Err(wrong());
        }
        Ok(Self::From { first, total })
    }

    fn total(self) -> Option<u64> {
        match self {
            Self::Asks { total } | Self::From { total, .. } => total,
            Self::Whole => None,
        }
    }
}

/// Writes a body behind the first `keep` bytes of a file, without its own first `skip`; how many bytes the file has then.
async fn append<B>(path: &Path, keep: u64, skip: u64, total: Option<u64>, mut body: B) -> Result<u64, Fault>
where
    B: Body<Data = Bytes> + Send + Unpin,
{
    let (pieces, mut queue) = mpsc::channel::<Bytes>(16);
    let path = path.to_owned();
    let writer = tokio::task::spawn_blocking(move || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path)?;
        file.set_len(keep)?;
        io::Seek::seek(&mut file, io::SeekFrom::Start(keep))?;
        while let Some(piece) = queue.blocking_recv() {
            file.write_all(&piece)?;
        }
        Ok(())
    });
    let most = total.unwrap_or(LARGEST).min(LARGEST);
    let (mut have, mut skip) = (keep, skip);
    let mut fault = None;
    while fault.is_none() {
        match next(&mut body).await {
            Ok(Some(mut piece)) => {
                let passed = usize::try_from(skip).unwrap_or(usize::MAX).min(piece.len());
                skip -= passed as u64;
                let piece = piece.split_off(passed);
                have += piece.len() as u64;
                if have > most {
                    fault = Some(Fault::invalid("The upload has more bytes than were announced."));
                } else if !piece.is_empty() && pieces.send(piece).await.is_err() {
                    break;
                }
            }
            Ok(None) => break,
            // What came is kept: the client asks how far it is and goes on from there.
            Err(broken) => fault = Some(broken),
        }
    }
    drop(pieces);
    let written = writer.await.map_err(|_| Fault::internal())?;
    written.map_err(|error| {
        tracing::error!(%error, "an upload cannot be written");
        Fault::internal()
    })?;
    fault.map_or(Ok(have), Err)
}

/// Gives the bytes of an upload their names.
fn finish(store: &store::Store, path: &Path, target: &Target, upload: &Upload) -> Result<Object, Fault> {
    let broken = |error: io::Error| {
        tracing::error!(%error, "an upload cannot be read back");
        Fault::internal()
    };
    let mut draft = store.draft()?;
    let mut sums = Sums::new();
    let empty = || if upload.expected == Some(0) { Ok(None) } else { Err(Fault::internal()) };
    let file = match std::fs::File::open(path) {
        Ok(file) => Some(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => empty()?,
        Err(error) => return Err(broken(error)),
    };
    if let Some(mut file) = file {
        let mut piece = vec![0; 256 * 1024];
        loop {
            let read = file.read(&mut piece).map_err(broken)?;
            if read == 0 {
                break;
            }
            draft.write_all(&piece[..read]).map_err(broken)?;
            sums.update(&piece[..read]);
        }
    }
    let sums = sums.finish();
    target.announced.compare(&sums)?;
    let blob = draft.finish(&Expected { size: target.announced.size, sha1: target.announced.sha1, ..Expected::default() })?;
    let made = store.change(&target.actor, |tx| {
        let made = target.put(tx, &blob, &sums)?;
        tx.end_upload(&upload.id)?;
        Ok::<_, Fault>(made)
    })?;
    let _ = std::fs::remove_file(path);
    Ok(made)
}

/// 308: what is there so far.
fn incomplete(have: u64) -> Response<Reply> {
    let mut response = empty(StatusCode::PERMANENT_REDIRECT);
    if have > 0
        && let Ok(range) = HeaderValue::try_from(format!("bytes=0-{}", have - 1))
    {
        response.headers_mut().insert(RANGE, range);
    }
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t9_content_ranges_of_resumable_uploads() {
        let read = |text: &str| Piece::read(Some(text)).ok();
        assert_eq!(Piece::read(None).ok(), Some(Piece::Whole));
        assert_eq!(read("bytes 0-11999999/12000000"), Some(Piece::From { first: 0, total: Some(12_000_000) }));
        assert_eq!(read("bytes 262144-524287/*"), Some(Piece::From { first: 262_144, total: None }));
        assert_eq!(read("bytes */500"), Some(Piece::Asks { total: Some(500) }));
        assert_eq!(read("bytes */*"), Some(Piece::Asks { total: None }));
        for wrong in ["", "bytes", "bytes 5-1/10", "bytes 0-10/10", "bytes a-b/c", "lines 0-1/2", "bytes 0/1"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
