//! The listener of the Admin API and its neighbours: connections, bodies, answers. Nothing here knows a resource.

use std::io::{self, Write as _};
use std::net::TcpListener;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, VARY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use model::headers::gzip;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::ask::{Ask, Query, Wanted, overridden};
use super::{Answer, Api, auth, own, route, schema, upload};
use crate::admin::{Desk, is_local};
use crate::socket::{Clock, Socket};
use crate::status::{Code, Status};
use crate::{slices, storage};

/// The body of an answer.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Connections at once; more wait until one is closed.
const CONNECTIONS: usize = 1024;
/// Bytes of a request's head. Clients send longer queries as a POST.
const HEAD: usize = 64 * 1024;
/// How long a head may take, which is also how long a kept connection may say nothing.
const IDLE: Duration = Duration::from_mins(2);
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long the next piece of a body may take.
const PIECE: Duration = Duration::from_mins(1);
/// Bytes of a body that is kept in memory: a version of ten thousand files has 2 MB.
const MOST: usize = 32 * 1024 * 1024;
/// How long requests under way have when the server ends.
const GRACE: Duration = Duration::from_secs(5);
/// How long an answer is held back for its operation to end: gcloud would sleep a second, and then five (decision 223).
const HOLD: Duration = Duration::from_millis(900);

/// Where the settings for TLS come from.
type Secured = Box<dyn Fn() -> Arc<rustls::ServerConfig> + Send + Sync>;

/// Everything behind the admin port.
pub struct Door {
    api: Arc<Api>,
    desk: Option<Desk>,
    tls: Option<Secured>,
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").field("api", &self.api).finish_non_exhaustive()
    }
}

impl Door {
    /// A door to an API.
    pub fn new(api: Arc<Api>) -> Self {
        Self { api, desk: None, tls: None }
    }

    /// Answers `/metrics` and `/healthz` too.
    #[must_use]
    pub fn watching(self, subject: Arc<dyn crate::Subject>, metrics: Arc<crate::Metrics>) -> Self {
        Self { desk: Some(Desk { subject, metrics }), ..self }
    }

    /// Speaks TLS, and nothing else, each connection with the settings that `config` has at its beginning.
    #[must_use]
    pub fn secured(self, config: impl Fn() -> Arc<rustls::ServerConfig> + Send + Sync + 'static) -> Self {
        Self { tls: Some(Box::new(config)), ..self }
    }
}

/// Accepts until `stop` says so, and then lets requests under way finish.
pub(crate) async fn serve(listener: TcpListener, door: Arc<Door>, mut stop: watch::Receiver<bool>) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    let seats = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let Ok(seat) = Arc::clone(&seats).acquire_owned().await else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((socket, peer)) => {
                let _ = socket.set_nodelay(true);
                let near = peer.ip().to_canonical().is_loopback();
                connections.spawn(admit(socket, Arc::clone(&door), near, seat, stop.clone()));
            }
            // Out of file descriptors, perhaps: give others time.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(GRACE, all).await;
}

async fn admit(socket: tokio::net::TcpStream, door: Arc<Door>, near: bool, seat: OwnedSemaphorePermit, stop: watch::Receiver<bool>) {
    match door.tls.as_ref().map(|config| TlsAcceptor::from(config())) {
        None => connection(socket, door, near, stop).await,
        Some(acceptor) => {
            if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(socket)).await {
                connection(stream, door, near, stop).await;
            }
        }
    }
    drop(seat);
}

async fn connection<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    socket: S,
    door: Arc<Door>,
    near: bool,
    mut stop: watch::Receiver<bool>,
) {
    let service = service_fn(move |request| {
        let door = Arc::clone(&door);
        async move { Ok::<_, std::convert::Infallible>(door.answer(request, near).await) }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.max_buf_size(HEAD).timer(Clock).header_read_timeout(IDLE);
    let mut connection = pin!(builder.serve_connection(Socket(socket), service));
    // A connection that breaks off is nobody's loss.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stop.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

impl Door {
    async fn answer(self: Arc<Self>, mut request: Request<Incoming>, near: bool) -> Response<Body> {
        if self.tls.is_some() {
            // What a proxy that speaks TLS for us would say: links in answers begin with it.
            request.headers_mut().insert(HeaderName::from_static("x-forwarded-proto"), HeaderValue::from_static("https"));
        }
        let gzip = gzip::accepts(request.headers());
        let path = request.uri().path();
        if let (Some(desk), "/metrics" | "/healthz") = (&self.desk, path) {
            return self.watched(desk, &request, near);
        }
        let mut query = Query::parse(request.uri().query().unwrap_or_default());
        let plain = query.clone();
        let answered = self.work(request, &mut query).await;
        // What is wrong with the way of asking is told in the usual way.
        let wanted = Wanted::read(&query).or_else(|_| Wanted::read(&plain)).unwrap_or_else(|_| Wanted::usual());
        match answered {
            Ok(Reply::Whole(response)) => response,
            Ok(Reply::Answer(answer)) => {
                let mut tagged = false;
                let bytes = match answer {
                    Answer::Resource(value, message) => {
                        // The only resources that have tags at Google's.
                        tagged = [schema::FIREWALL_RULE.name, schema::LIST_INGRESS_RULES_RESPONSE.name].contains(&message.name);
                        wanted.print(value, Some(message))
                    }
                    Answer::Own(value) => wanted.print(value, None),
                    Answer::Empty => wanted.text(&Value::Object(serde_json::Map::new())),
                    // Those were held.
                    Answer::Running(operation) => wanted.print(self.api.operation_shown(&operation), Some(&schema::OPERATION)),
                };
                let tag = tagged.then(|| HeaderValue::try_from(format!("\"{:08x}\"", super::page::checksum(&bytes))).ok()).flatten();
                let mut response = page(StatusCode::OK, Vec::new());
                if let Some(tag) = tag {
                    response.headers_mut().insert(ETAG, tag);
                }
                fill(&mut response, bytes.into(), gzip);
                response
            }
            Err(status) => {
                let mut response = page(status.code.http(), wanted.text(&status.body()));
                if let Some(challenge) = auth::challenge(&status) {
                    response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
                }
                response
            }
        }
    }

    /// Whoever is on this machine may watch; everybody else needs a token for the whole server.
    fn watched(&self, desk: &Desk, request: &Request<Incoming>, near: bool) -> Response<Body> {
        let local = near && is_local(request.headers());
        let allowed = local || {
            let query = Query::parse(request.uri().query().unwrap_or_default());
            auth::authenticate(self.api.store(), request.headers(), &query).and_then(|caller| caller.check(auth::Deed::Look, None)).is_ok()
        };
        if allowed {
            return desk.answer(request).map(answer_body);
        }
        let health = desk.answer(request);
        if request.uri().path() == "/healthz" {
            // For load balancers: whether, but not what.
            let text = if health.status() == StatusCode::OK { "{\"status\": \"serving\"}\n" } else { "{\"status\": \"unavailable\"}\n" };
            return page(health.status(), text);
        }
        let status = Status::new(Code::Unauthenticated, "Metrics are shown to this machine, and to tokens for the whole server.");
        page(StatusCode::UNAUTHORIZED, status.body().to_string())
    }

    async fn work(&self, request: Request<Incoming>, query: &mut Query) -> Result<Reply, Status> {
        if storage::is_ours(request.uri().path()) {
            let caller = self.caller(request.headers(), query).await?;
            return Ok(Reply::Whole(self.api.storage.answer(&caller, request).await));
        }
        Wanted::read(query)?;
        let (head, body) = request.into_parts();
        let path = head.uri.path().to_owned();
        let caller = self.caller(&head.headers, query).await?;
        if let Some(app) = upload::app_of(&path)
            && head.method == Method::POST
        {
            let answer = upload::receive(&self.api, &caller, app, body).await?;
            return Ok(Reply::Answer(answer));
        }
        let mut body = collect(body, &head.headers).await?;
        let method = overridden(head.method, &head.headers, query, &mut body)?;
        if reads_one_page(&head.headers) {
            query.want_all();
        }
        Wanted::read(query)?;
        // HEAD is GET; hyper leaves the body out.
        let method = if method == Method::HEAD { Method::GET } else { method };
        let api = Arc::clone(&self.api);
        let query = query.clone();
        let answer = blocking(move || {
            if own::is_ours(&path) {
                return api.own(&path, &Ask { method, query, body, caller });
            }
            if slices::is_ours(&path) {
                return api.neighbour(&path, &Ask { method, query, body, caller });
            }
            let Some(resource) = route::resource(&path) else {
                return Err(Status::not_found(format!("There is no method {method} {path}.")));
            };
            api.answer(&resource, &Ask { method, query, body, caller })
        })
        .await?;
        Ok(Reply::Answer(self.hold(answer).await?))
    }

    async fn caller(&self, headers: &HeaderMap, query: &Query) -> Result<auth::Caller, Status> {
        let (api, headers, query) = (Arc::clone(&self.api), headers.clone(), query.clone());
        blocking(move || auth::authenticate(api.store(), &headers, &query)).await
    }

    /// Gives an operation a moment to end, so that its first answer is its last.
    async fn hold(&self, answer: Answer) -> Result<Answer, Status> {
        let Answer::Running(mut operation) = answer else { return Ok(answer) };
        if operation.ended.is_none() {
            *operation = self.api.worker.wait(&operation.app, operation.id, HOLD).await?;
        }
        let api = Arc::clone(&self.api);
        blocking(move || Ok(Answer::Resource(api.operation_shown(&operation), &schema::OPERATION))).await
    }
}

enum Reply {
    Answer(Answer),
    /// What a neighbour answered.
    Whole(Response<Body>),
}

/// Runs what blocks on a thread of its own. A panic there is the request's 500.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Status> + Send + 'static) -> Result<T, Status> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(Status::internal()))
}

/// A body in memory.
async fn collect(mut body: Incoming, headers: &HeaderMap) -> Result<Vec<u8>, Status> {
    let announced = headers.get(http::header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let too_large = || Status::invalid(format!("Request payload size exceeds the limit: {MOST} bytes."));
    if announced.is_some_and(|length| length > MOST) {
        return Err(too_large());
    }
    let mut all = BytesMut::with_capacity(announced.unwrap_or(0).min(64 * 1024));
    while let Some(frame) = tokio::time::timeout(PIECE, body.frame()).await.map_err(|_| late())? {
        let frame = frame.map_err(|_| Status::invalid("The request's body broke off."))?;
        if let Some(data) = frame.data_ref() {
            if all.len() + data.len() > MOST {
                return Err(too_large());
            }
            all.extend_from_slice(data);
        }
    }
    Ok(all.to_vec())
}

pub(super) fn late() -> Status {
    Status::new(Code::Cancelled, "The request's body did not arrive in time.")
}

/// Bytes from which on compression saves packets.
const WORTH: usize = 1400;

/// Gives an answer its body, compressed if the client takes that.
fn fill(response: &mut Response<Body>, bytes: Bytes, gzip: bool) {
    let squeezed = (gzip && bytes.len() >= WORTH).then(|| {
        let mut out = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::fast());
        out.write_all(&bytes).and_then(|()| out.finish()).ok()
    });
    let bytes = match squeezed.flatten() {
        Some(squeezed) => {
            let headers = response.headers_mut();
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
            squeezed.into()
        }
        None => bytes,
    };
    *response.body_mut() = answer_body(Full::new(bytes));
}

fn page(status: StatusCode, bytes: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(answer_body(Full::new(bytes.into())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_TYPE, "application/json; charset=UTF-8"),
        (CACHE_CONTROL, "private"),
        (VARY, "Origin, X-Origin, Referer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "SAMEORIGIN"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// A body as answers have it.
pub fn answer_body(body: Full<Bytes>) -> Body {
    body.map_err(|never| match never {}).boxed_unsync()
}

/// The Modules API of Google's SDKs can ask the Admin API instead of `/rpc_http`, and then reads the first page of a list alone.
fn reads_one_page(headers: &HeaderMap) -> bool {
    let agent = headers.get(http::header::USER_AGENT).map(http::HeaderValue::as_bytes).unwrap_or_default();
    agent.starts_with(b"appengine-modules-api-")
}
