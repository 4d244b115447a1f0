//! From replies and faults to responses: error pages, the response rules, compression, lengths (rows Y10, H15–H23).

use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, DATE, LOCATION, RETRY_AFTER, SERVER};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use model::asset;
use model::config::{ErrorCode, ErrorPage};
use model::headers::cache;
use model::headers::response::{Finish, Stats, finish, undo_gzip};
use model::route::split;
use model::table::Version;

use crate::assets;
use crate::body::{Body, Kind};
use crate::core::{Core, Stamp};
use crate::fault::Fault;
use crate::forward::Reply;
use crate::gzip::{WORTHWHILE, Zipped};
use crate::page;
use crate::visit::Visit;
use crate::walk::Cookie;

/// How a reply is finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// By all response rules: it comes from the app.
    Dynamic {
        /// The client takes gzip.
        gzip: bool,
        /// A signed-in administrator asked.
        admin: bool,
    },
    /// As it is: a static file, or a page of ours.
    Own,
}

/// A reply and how it is finished.
pub(crate) struct Answer {
    pub(crate) reply: Reply,
    pub(crate) manner: Manner,
}

impl Answer {
    /// A page of ours.
    pub(crate) fn own(status: StatusCode, headers: HeaderMap, body: impl Into<Bytes>) -> Self {
        let body: Bytes = body.into();
        let body = if body.is_empty() { Kind::Empty } else { Kind::Whole(body) };
        Self { reply: Reply { status, headers, body }, manner: Manner::Own }
    }

    /// Tells the client the bucket that it was drawn for, and caches that others may get another version. What an app says about caching is left to it
    /// (row H17), but for what its Set-Cookie changes.
    pub(crate) fn follow(&mut self, cookie: Cookie, stamp: &Stamp) {
        let headers = &mut self.reply.headers;
        if let Some(bucket) = cookie.bucket {
            split::set_cookie(headers, bucket);
        }
        if self.manner == Manner::Own {
            cache::vary_on_cookie(headers);
            cache::protect_cookie(headers, &stamp.date, stamp.seconds);
        }
    }

    /// A redirect.
    pub(crate) fn redirect(status: StatusCode, location: &str) -> Self {
        let mut headers = page::headers();
        headers.insert(LOCATION, HeaderValue::try_from(location).unwrap_or(HeaderValue::from_static("/")));
        let html = page::html("Moved", &format!("<p><a href=\"{}\">Continue</a></p>\n", page::escape(location)));
        Self::own(status, headers, html)
    }
}

/// Largest error page (row Y10: "under 10 KB").
const LARGEST_PAGE: u64 = 10 * 1024;

/// The answer to a request that cannot be answered.
pub(crate) fn fault(core: &Core, version: Option<&Arc<Version>>, fault: &Fault) -> Answer {
    let status = fault.status();
    let app_page = version.zip(fault.page()).and_then(|(version, code)| app_page(version, code));
    let mut answer = app_page.map_or_else(
        || {
            let detail = fault.detail().filter(|_| core.house.options.development);
            Answer::own(status, page::headers(), page::fault(status, &fault.text(), detail))
        },
        |(mime, bytes)| {
            let mut headers = HeaderMap::with_capacity(6);
            headers.insert(CONTENT_TYPE, mime);
            Answer::own(status, headers, bytes)
        },
    );
    let headers = &mut answer.reply.headers;
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(http::header::ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
    }
    answer
}

/// The page that the app's `error_handlers` name for `code`, or for everything.
fn app_page(version: &Version, code: ErrorCode) -> Option<(HeaderValue, Vec<u8>)> {
    let pages = &version.config.error_pages;
    let of = |code| pages.iter().find(|page| page.code == code);
    let ErrorPage { file, mime_type, .. } = of(code).or_else(|| of(ErrorCode::Default))?;
    let bytes = assets::small(version, file, LARGEST_PAGE)?;
    let mime = mime_type.as_deref().unwrap_or_else(|| asset::mime_by_extension(file));
    Some((HeaderValue::try_from(mime).unwrap_or(HeaderValue::from_static("text/html")), bytes))
}

/// What finishing looks at.
pub(crate) struct Ending<'a> {
    pub(crate) core: &'a Rc<Core>,
    pub(crate) method: &'a Method,
    pub(crate) at: SystemTime,
    /// The connection cannot go on.
    pub(crate) close: bool,
    /// Whoever writes the head adds Date and Server.
    pub(crate) stamped: bool,
}

/// A finished answer. How its body is framed is the protocol's affair.
pub(crate) struct Answered {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
    /// Of its Date.
    pub(crate) at: SystemTime,
    /// The connection cannot go on.
    pub(crate) close: bool,
    /// An instance was asked.
    pub(crate) reached: bool,
}

/// Finishes an answer.
pub(crate) async fn respond(ending: Ending<'_>, answer: Answer, mut visit: Box<Visit>) -> Answered {
    let core = ending.core;
    let server = (!ending.stamped).then_some(&core.house.server);
    let Reply { status, mut headers, mut body } = answer.reply;
    match answer.manner {
        Manner::Dynamic { gzip, admin } => {
            let cpu = visit.notes.as_ref().and_then(|notes| notes.cpu.get());
            let ms = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            let stats = admin.then(|| Stats { ms: ms(visit.took()), cpu_ms: cpu.map_or(0, ms) });
            let plan = {
                let Stamp { seconds: now, date, .. } = &*core.stamp(ending.at);
                let length = body.length();
                finish(&mut headers, &Finish { method: ending.method, status, date, now: *now, server, length, gzip, stats })
            };
            if plan.empty {
                body = Kind::Empty;
            } else if plan.gzip {
                body = compress(core, &mut headers, body).await;
            } else if let Some(length) = plan.length {
                body.expect_length(length);
            }
        }
        Manner::Own => {
            if let Some(server) = server {
                headers.insert(DATE, core.stamp(ending.at).date.clone());
                headers.insert(SERVER, server.clone());
            }
            if *ending.method == Method::HEAD {
                if !headers.contains_key(CONTENT_LENGTH)
                    && let Some(length) = body.length()
                {
                    headers.insert(CONTENT_LENGTH, length.into());
                }
                body = Kind::Empty;
            }
        }
    }
    visit.count.status = status.as_u16();
    visit.note(|record| record.status = status.as_u16());
    let reached = visit.count.pending.is_some();
    Answered { status, headers, body: Body::new(body, visit), at: ending.at, close: ending.close, reached }
}

async fn compress(core: &Rc<Core>, headers: &mut HeaderMap, body: Kind) -> Kind {
    match body {
        Kind::Whole(bytes) => {
            let packed = if bytes.len() < WORTHWHILE { None } else { core.squeezer.whole(&bytes).await };
            packed.map_or_else(
                || {
                    undo_gzip(headers);
                    Kind::Whole(bytes)
                },
                Kind::Whole,
            )
        }
        Kind::Empty => {
            undo_gzip(headers);
            Kind::Empty
        }
        stream => Kind::Zipped(Box::new(Zipped::new(core.clone(), stream))),
    }
}
