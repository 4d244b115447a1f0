//! An object's content on its way out, in pieces that a thread reads ahead of the socket.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    ETAG,
};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, SizeHint};
use store::control::Object;
use tokio::sync::mpsc;

use super::objects::etag;
use super::{Ask, Fault, Guest, Reply, Storage};

/// Bytes that are read at once.
const PIECE: usize = 64 * 1024;
/// Pieces that wait for the socket.
const QUEUE: usize = 4;

impl Storage {
    /// GET `…/o/OBJECT?alt=media`.
    pub(super) async fn download(&self, guest: &dyn Guest, ask: &Ask, bucket: &str, name: &str) -> Result<Response<Reply>, Fault> {
        let bucket = self.bucket(guest, false, bucket).await?.name;
        let object = self.object(&bucket, name).await?;
        let conditions = ask.conditions()?;
        conditions.check(object.generation)?;
        if conditions.generation.is_some_and(|wanted| wanted != object.generation) {
            return Err(Fault::no_object(&bucket, name));
        }
        let range = range(ask.header("range"), object.size)?;
        let (begin, length) = range.unwrap_or((0, object.size));
        let sha256 = object.sha256;
        let file = self
            .off(move |store| {
                let mut file = store.open_blob(&sha256)?;
                file.seek(SeekFrom::Start(begin)).map_err(|_| Fault::internal())?;
                Ok(file)
            })
            .await?;
        let (pieces, queue) = mpsc::channel(QUEUE);
        tokio::task::spawn_blocking(move || read(file, length, &pieces));
        let mut response = Response::new(Content { queue, left: length }.boxed_unsync());
        describe(&mut response, &object, range);
        Ok(response)
    }
}

fn describe(response: &mut Response<Reply>, object: &Object, range: Option<(u64, u64)>) {
    let headers = response.headers_mut();
    let mut add = |name: HeaderName, text: &str| {
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(name, value);
        }
    };
    let said = |name: &str| object.body[name].as_str().unwrap_or_default();
    add(CONTENT_TYPE, &object.content_type);
    add(ETAG, &etag(object));
    add(ACCEPT_RANGES, "bytes");
    add(CONTENT_LENGTH, &range.map_or(object.size, |(_, length)| length).to_string());
    for (name, field) in [
        (CONTENT_ENCODING, "contentEncoding"),
        (CONTENT_DISPOSITION, "contentDisposition"),
        (CONTENT_LANGUAGE, "contentLanguage"),
        (CACHE_CONTROL, "cacheControl"),
    ] {
        if !said(field).is_empty() {
            add(name, said(field));
        }
    }
    add(HeaderName::from_static("x-goog-generation"), &object.generation.to_string());
    add(HeaderName::from_static("x-goog-hash"), &format!("crc32c={},md5={}", said("crc32c"), said("md5Hash")));
    // What somebody uploaded must not run as a page of this server.
    add(HeaderName::from_static("x-content-type-options"), "nosniff");
    add(HeaderName::from_static("content-security-policy"), "sandbox");
    if let Some((begin, length)) = range {
        add(CONTENT_RANGE, &format!("bytes {begin}-{}/{}", begin + length - 1, object.size));
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
}

/// The part that is asked for: where it begins and how long it is. Several parts at once are answered whole.
fn range(header: Option<&str>, size: u64) -> Result<Option<(u64, u64)>, Fault> {
    let Some(text) = header.and_then(|header| header.strip_prefix("bytes=")).filter(|text| !text.contains(',')) else { return Ok(None) };
    let Some((first, last)) = text.split_once('-') else { return Ok(None) };
    let outside = || Fault::new(StatusCode::RANGE_NOT_SATISFIABLE, "requestedRangeNotSatisfiable", "Request range not satisfiable");
    match (first.trim().parse::<u64>(), last.trim().parse::<u64>()) {
        (Ok(first), _) if first >= size => Err(outside()),
        (Ok(first), Ok(last)) if last >= first => Ok(Some((first, last.min(size - 1) - first + 1))),
        (Ok(first), Err(_)) if last.trim().is_empty() => Ok(Some((first, size - first))),
        (Err(_), Ok(0)) if first.is_empty() => Err(outside()),
        (Err(_), Ok(last)) if first.is_empty() && size > 0 => Ok(Some((size - last.min(size), last.min(size)))),
        _ => Ok(None),
    }
}

fn read(file: File, length: u64, pieces: &mpsc::Sender<io::Result<Bytes>>) {
    let mut file = file.take(length);
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        let read = file.by_ref().take(PIECE as u64).read_to_end(&mut piece);
        let (next, is_over) = match read {
            Ok(0) => return,
            Ok(_) => (Ok(Bytes::from(piece)), false),
            Err(error) => (Err(error), true),
        };
        // The client may have left.
        if pieces.blocking_send(next).is_err() || is_over {
            return;
        }
    }
}

/// The content as a body.
struct Content {
    queue: mpsc::Receiver<io::Result<Bytes>>,
    left: u64,
}

impl Body for Content {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.queue.poll_recv(cx).map(|piece| {
            if piece.is_none() && self.left > 0 {
                return Some(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            piece.map(|piece| {
                let piece = piece?;
                self.left = self.left.saturating_sub(piece.len() as u64);
                Ok(Frame::data(piece))
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t9_ranges_as_http_writes_them() {
        let read = |text: &str| range(Some(text), 100).ok();
        assert_eq!(read("bytes=0-9"), Some(Some((0, 10))));
        assert_eq!(read("bytes=90-200"), Some(Some((90, 10))));
        assert_eq!(read("bytes=50-"), Some(Some((50, 50))));
        assert_eq!(read("bytes=-30"), Some(Some((70, 30))));
        assert_eq!(read("bytes=-300"), Some(Some((0, 100))));
        for whole in ["bytes=9-1", "bytes=a-b", "lines=1-2", "bytes=0-1,5-6", "bytes=-", "bytes=1"] {
            assert_eq!(read(whole), Some(None), "{whole}");
        }
        assert_eq!((read("bytes=100-"), read("bytes=-0")), (None, None));
        assert_eq!(range(Some("bytes=-5"), 0).ok(), Some(None));
    }
}
