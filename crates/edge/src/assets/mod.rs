//! Static files: opened safely, kept in memory while small, streamed while large. Which file and which headers is decided in `model::asset`.

mod content;
mod open;
pub(crate) mod stream;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, ETAG, VARY};
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

/// What one core remembers of paths, so that a hot file is served without a lock, a pattern or a system call.
#[derive(Default)]
pub(crate) struct Desk(RefCell<Vec<Drawer>>);

struct Drawer {
    version: Arc<Version>,
    /// One map a handler: path → file.
    handlers: Vec<HashMap<Box<[u8]>, Rc<Place>>>,
}

/// A path that leads to a file.
struct Place {
    file: String,
    mime: HeaderValue,
    /// The type is one that is worth compressing.
    squeezable: bool,
    hot: RefCell<Option<Hot>>,
}

/// The file as it was when it was last looked at.
struct Hot {
    book: Arc<Book>,
    checked: u64,
    /// The headers of a whole answer, good for one second.
    ready: Option<(u64, HeaderMap)>,
}

/// Paths that one core remembers of one handler.
const REMEMBERED: usize = 4096;

impl Desk {
    /// The file that `path` leads to; `None` if it leads to none.
    fn place(&self, wish: &Wish<'_>) -> Option<Rc<Place>> {
        let mut desk = self.0.borrow_mut();
        let known = desk.iter().position(|drawer| Arc::ptr_eq(&drawer.version, wish.version));
        let at = known.unwrap_or_else(|| {
            let handlers = wish.version.handlers().handlers().iter().map(|_| HashMap::new()).collect();
            desk.push(Drawer { version: wish.version.clone(), handlers });
            desk.len() - 1
        });
        let places = desk.get_mut(at)?.handlers.get_mut(wish.matched.index)?;
        if let Some(place) = places.get(wish.path) {
            return Some(place.clone());
        }
        let file = asset::locate(&wish.version.config, wish.matched, wish.path)?;
        let mime = asset::mime_type(wish.matched, &file);
        let squeezable = mime.to_str().is_ok_and(gzip::compressible);
        let place = Rc::new(Place { file, mime, squeezable, hot: RefCell::new(None) });
        if places.len() >= REMEMBERED {
            places.clear();
        }
        places.insert(wish.path.into(), place.clone());
        Some(place)
    }

    /// Forgets versions that nobody else knows any more.
    pub(crate) fn prune(&self) {
        self.0.borrow_mut().retain(|drawer| Arc::strong_count(&drawer.version) > 1);
    }
}

impl Place {
    fn fresh(&self, now: u64, fresh: u64) -> Option<Arc<Book>> {
        let hot = self.hot.borrow();
        hot.as_ref().filter(|hot| now < hot.checked.saturating_add(fresh) && !hot.book.evicted()).map(|hot| hot.book.clone())
    }

    fn keep(&self, book: &Arc<Book>, now: u64) {
        let mut hot = self.hot.borrow_mut();
        // What was made ready holds as long as the content does.
        let ready = hot.take().filter(|hot| Arc::ptr_eq(&hot.book, book)).and_then(|hot| hot.ready);
        *hot = Some(Hot { book: book.clone(), checked: now, ready });
    }

    /// The headers of a whole answer: dates have seconds, so they are made once a second.
    fn whole(&self, second: u64, make: impl FnOnce() -> HeaderMap) -> HeaderMap {
        let mut hot = self.hot.borrow_mut();
        let Some(hot) = hot.as_mut() else { return make() };
        match &hot.ready {
            Some((of, headers)) if *of == second => headers.clone(),
            _ => hot.ready.insert((second, make())).1.clone(),
        }
    }
}

/// A request for a file.
pub(crate) struct Wish<'a> {
    pub(crate) version: &'a Arc<Version>,
    pub(crate) matched: &'a Matched<'a>,
    /// The decoded path of the request.
    pub(crate) path: &'a [u8],
    pub(crate) method: &'a Method,
    /// The request's headers as the client sent them.
    pub(crate) headers: &'a HeaderMap,
    pub(crate) gzip: bool,
    /// Seconds since 1970.
    pub(crate) now: u64,
}

/// For how long a file need not be compared with the disk.
fn fresh(core: &Core) -> u64 {
    let fresh = core.house.options.revalidate;
    if fresh.is_zero() { 0 } else { millis(fresh) }
}

/// The file as it is on disk; `None` if there is none that may be served.
async fn book(core: &Rc<Core>, version: &Arc<Version>, place: &Place) -> Result<Option<Arc<Book>>, Fault> {
    let now = core.sweep.now();
    let Some(found) = open::open(version, &place.file) else { return Ok(None) };
    let book = match core.house.shelf.find(&found.stamp) {
        Some(book) => book,
        None => read(core, found).await?,
    };
    place.keep(&book, now);
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
    let Some(place) = core.desk.place(wish) else { return Ok(None) };
    let book = match place.fresh(core.sweep.now(), fresh(core)) {
        Some(book) => book,
        // Boxed: what is rare should not make every request's future larger.
        None => match Box::pin(book(core, wish.version, &place)).await? {
            Some(book) => book,
            None => return Ok(None),
        },
    };
    let squeezable = book.bytes.is_some() && place.squeezable;
    let entity = Entity { etag: &book.etag, modified: book.modified, length: book.stamp.size };
    let answer = asset::decide(wish.method, wish.headers, &entity, wish.now);
    let make = || {
        let mut headers = asset::headers(&wish.version.config, wish.matched, &entity, answer, &place.mime, wish.now);
        if squeezable {
            headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
        }
        headers
    };
    let mut headers = if answer == Answer::Whole { place.whole(wish.now, make) } else { make() };
    let length = book.stamp.size;
    let (status, body) = match answer {
        Answer::NotModified => {
            if squeezable && wish.gzip {
                weaken(&mut headers);
            }
            (StatusCode::NOT_MODIFIED, Kind::Empty)
        }
        Answer::PreconditionFailed => (StatusCode::PRECONDITION_FAILED, Kind::Empty),
        Answer::Unsatisfiable => (StatusCode::RANGE_NOT_SATISFIABLE, Kind::Empty),
        Answer::WrongMethod => (StatusCode::METHOD_NOT_ALLOWED, Kind::Empty),
        Answer::Part { start, end } => (StatusCode::PARTIAL_CONTENT, part(&book, start, end)?),
        Answer::Whole => {
            let packed = if squeezable && wish.gzip { Box::pin(packed(&book)).await } else { None };
            if packed.is_some() {
                headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                headers.remove(ACCEPT_RANGES);
                weaken(&mut headers);
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

/// RFC 9110 §8.8.3: a strong tag promises the same bytes; `If-Range` must not join a part of the file to a part of its compressed form.
fn weaken(headers: &mut HeaderMap) {
    let weak = headers.get(ETAG).filter(|tag| tag.as_bytes().starts_with(b"\"")).map(|tag| [b"W/", tag.as_bytes()].concat());
    if let Some(weak) = weak.and_then(|weak| HeaderValue::from_bytes(&weak).ok()) {
        headers.insert(ETAG, weak);
    }
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
