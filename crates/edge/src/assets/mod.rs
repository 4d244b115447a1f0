//! Static files: opened safely, kept in memory while small, streamed while large. Which file and which headers is decided in `model::asset`.

mod content;
mod open;
pub(crate) mod stream;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, VARY};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use model::asset::{self, Answer, Entity};
use model::headers::gzip;
use model::route::handler::Matched;
use model::table::Version;

pub(crate) use content::Shelf;
use content::{Book, Found};
pub(crate) use open::small;
use stream::FileStream;

use crate::body::Kind;
use crate::core::Core;
use crate::fault::Fault;
use crate::forward::Reply;
use crate::sweep::millis;

/// What one core remembers of files, so that a hot one is served without a lock or a system call.
#[derive(Default)]
pub(crate) struct Desk(RefCell<HashMap<usize, Drawer>>);

struct Drawer {
    version: Arc<Version>,
    files: HashMap<Box<str>, Hot>,
}

struct Hot {
    book: Arc<Book>,
    checked: u64,
}

/// Files that one core remembers of one version.
const REMEMBERED: usize = 4096;

impl Desk {
    fn find(&self, version: &Arc<Version>, file: &str, now: u64, fresh: u64) -> Option<Arc<Book>> {
        let desk = self.0.borrow();
        let hot = desk.get(&(Arc::as_ptr(version) as usize))?.files.get(file)?;
        (now < hot.checked.saturating_add(fresh) && !hot.book.evicted()).then(|| hot.book.clone())
    }

    fn keep(&self, version: &Arc<Version>, file: &str, book: &Arc<Book>, now: u64) {
        let mut desk = self.0.borrow_mut();
        let drawer =
            desk.entry(Arc::as_ptr(version) as usize).or_insert_with(|| Drawer { version: version.clone(), files: HashMap::new() });
        if drawer.files.len() >= REMEMBERED {
            drawer.files.clear();
        }
        drawer.files.insert(file.into(), Hot { book: book.clone(), checked: now });
    }

    /// Forgets versions that nobody else knows any more.
    pub(crate) fn prune(&self) {
        self.0.borrow_mut().retain(|_, drawer| Arc::strong_count(&drawer.version) > 1);
    }
}

/// A request for a file.
pub(crate) struct Wish<'a> {
    pub(crate) version: &'a Arc<Version>,
    pub(crate) matched: &'a Matched<'a>,
    /// Relative to the app.
    pub(crate) file: &'a str,
    pub(crate) method: &'a Method,
    /// The request's headers as the client sent them.
    pub(crate) headers: &'a HeaderMap,
    pub(crate) gzip: bool,
    /// Seconds since 1970.
    pub(crate) now: u64,
}

/// The file as it is now; `None` if there is none that may be served.
async fn book(core: &Rc<Core>, version: &Arc<Version>, file: &str) -> Result<Option<Arc<Book>>, Fault> {
    let now = core.sweep.now();
    let fresh = core.house.options.revalidate;
    let fresh = if fresh.is_zero() { 0 } else { millis(fresh) };
    if let Some(book) = core.desk.find(version, file, now, fresh) {
        return Ok(Some(book));
    }
    let Some(found) = open::open(version, file) else { return Ok(None) };
    let book = match core.house.shelf.find(&found.stamp) {
        Some(book) => book,
        None => read(core, found).await?,
    };
    core.desk.keep(version, file, &book, now);
    Ok(Some(book))
}

/// Reads a file for the first time: small ones here, others where they hold nobody up.
async fn read(core: &Rc<Core>, found: Found) -> Result<Arc<Book>, Fault> {
    let book = if found.stamp.size <= content::AT_ONCE {
        Book::read(found)
    } else {
        tokio::task::spawn_blocking(move || Book::read(found)).await.map_err(|_| Fault::Panic)?
    };
    let book = Arc::new(book.map_err(|error| Fault::Died(format!("a static file cannot be read: {error}")))?);
    core.house.shelf.keep(&book);
    Ok(book)
}

/// Answers with a file; `None` if there is none.
pub(crate) async fn serve(core: &Rc<Core>, wish: &Wish<'_>) -> Result<Option<Reply>, Fault> {
    let Some(book) = book(core, wish.version, wish.file).await? else { return Ok(None) };
    let mime = asset::mime_type(wish.matched, wish.file);
    let squeezable = book.bytes.is_some() && mime.to_str().is_ok_and(gzip::compressible);
    let entity = Entity { etag: &book.etag, modified: book.modified, length: book.stamp.size };
    let answer = asset::decide(wish.method, wish.headers, &entity, wish.now);
    let mut headers = asset::headers(&wish.version.config, wish.matched, &entity, answer, &mime, wish.now);
    if squeezable {
        headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    let length = book.stamp.size;
    let (status, body) = match answer {
        Answer::NotModified => (StatusCode::NOT_MODIFIED, Kind::Empty),
        Answer::PreconditionFailed => (StatusCode::PRECONDITION_FAILED, Kind::Empty),
        Answer::Unsatisfiable => (StatusCode::RANGE_NOT_SATISFIABLE, Kind::Empty),
        Answer::WrongMethod => (StatusCode::METHOD_NOT_ALLOWED, Kind::Empty),
        Answer::Part { start, end } => (StatusCode::PARTIAL_CONTENT, part(&book, start, end)?),
        Answer::Whole => {
            let packed = if squeezable && wish.gzip { packed(&book).await } else { None };
            if packed.is_some() {
                headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                headers.remove(ACCEPT_RANGES);
            }
            (StatusCode::OK, packed.map_or_else(|| part(&book, 0, length), |bytes| Ok(Kind::Whole(bytes)))?)
        }
    };
    if *wish.method == Method::HEAD {
        if let Some(length) = body.length().filter(|_| status.is_success()) {
            headers.insert(CONTENT_LENGTH, length.into());
        }
        return Ok(Some(Reply { status, headers, body: Kind::Empty }));
    }
    Ok(Some(Reply { status, headers, body }))
}

fn part(book: &Arc<Book>, start: u64, end: u64) -> Result<Kind, Fault> {
    if start == end {
        return Ok(Kind::Empty);
    }
    let Some(bytes) = &book.bytes else {
        let file = book.file().map_err(|error| Fault::Died(format!("a static file cannot be opened: {error}")))?;
        return Ok(Kind::File(FileStream::new(file, start, end)));
    };
    let at = |place: u64| usize::try_from(place).unwrap_or(usize::MAX).min(bytes.len());
    Ok(Kind::Whole(bytes.slice(at(start)..at(end))))
}

/// The file compressed, made when it is first asked for.
async fn packed(book: &Arc<Book>) -> Option<Bytes> {
    if let Some(packed) = book.packed.get() {
        return packed.clone();
    }
    let again = book.clone();
    tokio::task::spawn_blocking(move || again.pack()).await.ok().flatten()
}
