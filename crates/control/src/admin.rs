//! The admin port: HTTP on the loopback, on a thread of its own. Who knows the token of the app's storage folder may ask the wards (decision 300).
//!
//! Instances and every web page in a browser on this machine can reach it too. Pages are kept out by the Host header: a name that was rebound to the
//! loopback still stands there.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, ORIGIN, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use serde::Serialize;
use tokio::sync::{Semaphore, oneshot, watch};

use crate::api::Door;
use crate::socket::Socket;
use crate::status::Status;
use crate::ward::Local;
use crate::within::Within;
use crate::{Metrics, State, Subject};

/// Connections at once; who watches needs few.
const CONNECTIONS: usize = 64;
/// How long a connection may last; a scraper that keeps it opens another.
const LIFETIME: Duration = Duration::from_mins(5);
/// Bytes of a request's head.
const HEAD: usize = 16 * 1024;

/// Why the admin port cannot be opened; the text says how to mend it.
#[derive(Debug, thiserror::Error)]
#[error("the admin port {port} cannot be opened: {why}; choose another with --admin-port, or none with --admin-port off")]
pub struct AdminError {
    port: u16,
    why: io::Error,
}

/// A port that is taken and does not answer yet.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    address: SocketAddr,
}

impl Bound {
    /// Takes a port of the loopback; 0 asks for any.
    ///
    /// # Errors
    /// If it is in use.
    pub fn new(port: u16) -> Result<Self, AdminError> {
        Self::at((Ipv4Addr::LOCALHOST, port).into())
    }

    /// Takes an address.
    ///
    /// # Errors
    /// If it is in use, or none of this machine.
    pub fn at(address: SocketAddr) -> Result<Self, AdminError> {
        let port = address.port();
        let bind = || {
            let listener = TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            Ok(Self { listener, address })
        };
        bind().map_err(|why| AdminError { port, why })
    }

    /// Takes a socket that listens already.
    ///
    /// # Errors
    /// If it is none.
    pub fn on(listener: TcpListener) -> io::Result<Self> {
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, address })
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Begins to answer.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(self, subject: Arc<dyn Subject>, metrics: Arc<Metrics>, local: Local) -> io::Result<Admin> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let desk = Arc::new(Desk { subject, metrics });
        let (listener, local) = (self.listener, Arc::new(local));
        let thread = std::thread::Builder::new().name("admin".into()).spawn(move || {
            runtime.block_on(async move {
                tokio::select! {
                    () = accept(listener, desk, local) => {}
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Admin { stop: Some(Stop::Now(stop)), thread: Some(thread) })
    }
}

impl Bound {
    /// Begins to answer for the Admin API and all that stands beside it. Requests under way finish when the port is closed.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn open(self, door: Door) -> io::Result<Admin> {
        // One thread moves bytes; what blocks has threads of its own.
        let runtime = tokio::runtime::Builder::new_current_thread().thread_name("admin").enable_all().build()?;
        let (stop, stopped) = watch::channel(false);
        let thread = std::thread::Builder::new().name("admin".into()).spawn(move || {
            runtime.block_on(crate::api::serve(self.listener, Arc::new(door), stopped));
            // What still blocks ends by itself.
            runtime.shutdown_timeout(Duration::from_secs(1));
        })?;
        Ok(Admin { stop: Some(Stop::All(stop)), thread: Some(thread) })
    }
}

impl Bound {
    /// Begins to answer for the Admin API of one app.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn within(self, within: Arc<Within>, tls: Arc<rustls::ServerConfig>) -> io::Result<Admin> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("admin-api".into()).spawn(move || {
            runtime.block_on(async move {
                tokio::select! {
                    () = within.serve(self.listener, tls) => {}
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Admin { stop: Some(Stop::Now(stop)), thread: Some(thread) })
    }
}

#[derive(Debug)]
enum Stop {
    Now(oneshot::Sender<()>),
    All(watch::Sender<bool>),
}

/// An admin port that answers. Dropping it closes it.
#[derive(Debug)]
pub struct Admin {
    stop: Option<Stop>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Admin {
    fn drop(&mut self) {
        match self.stop.take() {
            // Whoever waits hears that the other end is gone.
            Some(Stop::Now(stop)) => drop(stop),
            Some(Stop::All(stop)) => drop(stop.send(true)),
            None => {}
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What requests are answered from.
pub(crate) struct Desk {
    pub(crate) subject: Arc<dyn Subject>,
    pub(crate) metrics: Arc<Metrics>,
}

async fn accept(listener: TcpListener, desk: Arc<Desk>, local: Arc<Local>) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    let seats = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(seat) = Arc::clone(&seats).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((socket, _)) => {
                let (desk, local) = (Arc::clone(&desk), Arc::clone(&local));
                tokio::spawn(async move {
                    let service = service_fn(|request| {
                        let (desk, local) = (Arc::clone(&desk), Arc::clone(&local));
                        async move { Ok::<_, std::convert::Infallible>(desk.answer_local(request, local).await) }
                    });
                    let connection =
                        hyper::server::conn::http1::Builder::new().max_buf_size(HEAD).serve_connection(Socket(socket), service);
                    // A connection that breaks off is nobody's loss.
                    let _ = tokio::time::timeout(LIFETIME, connection).await;
                    drop(seat);
                });
            }
            // Out of file descriptors, perhaps: give others time.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json; charset=UTF-8";
/// Bytes of a body that is asked with.
const BODY: usize = 1 << 20;

/// Asks a ward.
async fn own(request: Request<Incoming>, local: Arc<Local>) -> Result<serde_json::Value, Status> {
    local.check(request.headers())?;
    let (head, body) = request.into_parts();
    let body =
        Limited::new(body, BODY).collect().await.map_err(|_| Status::invalid("The body broke off or is larger than 1 MiB."))?.to_bytes();
    let method = if head.method == Method::HEAD { Method::GET } else { head.method };
    let asked = move || local.answer(method, head.uri.path(), head.uri.query().unwrap_or_default(), &body);
    tokio::task::spawn_blocking(asked).await.unwrap_or_else(|_| Err(Status::internal()))
}

impl Desk {
    /// Answers those who are on this machine.
    async fn answer_local(&self, request: Request<Incoming>, local: Arc<Local>) -> Response<Full<Bytes>> {
        if !is_local(request.headers()) {
            return page(StatusCode::FORBIDDEN, TEXT, "This port answers under localhost and loopback addresses only.\n");
        }
        // Test suites end their server so; a page in a browser has no business with it.
        if let ("/quit", Some(quit), false) = (request.uri().path(), local.quit, request.headers().contains_key(ORIGIN)) {
            quit();
            return page(StatusCode::OK, TEXT, "");
        }
        if !request.uri().path().starts_with("/enginehouse/v1/") {
            return self.answer(&request);
        }
        match own(request, local).await {
            Ok(value) => page(StatusCode::OK, JSON, value.to_string()),
            Err(status) => page(status.code.http(), JSON, status.body().to_string()),
        }
    }

    /// Answers.
    pub(crate) fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut refusal = page(StatusCode::METHOD_NOT_ALLOWED, TEXT, "This port only tells: GET or HEAD.\n");
            refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refusal;
        }
        match request.uri().path() {
            "/metrics" => page(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", self.metrics.page(&*self.subject)),
            "/healthz" => self.health(),
            "/" => page(StatusCode::OK, TEXT, "/metrics  for Prometheus\n/healthz  how the house is, as JSON\n"),
            _ => page(StatusCode::NOT_FOUND, TEXT, "There is nothing here; see / for what is.\n"),
        }
    }

    fn health(&self) -> Response<Full<Bytes>> {
        let (state, preparing) = (self.subject.state(), self.subject.preparing());
        let mut versions: Vec<VersionHealth> = Vec::new();
        for ((app, key), census) in self.subject.census() {
            versions.push(VersionHealth {
                app: app.to_string(),
                service: key.service.to_string(),
                version: key.version.to_string(),
                state: "ready",
                instances: Instances { starting: census.starting, idle: census.idle, busy: census.busy, leaving: census.leaving },
                pending: census.pending,
            });
        }
        for (app, key) in &preparing {
            let (service, version) = (key.service.as_str(), key.version.as_str());
            if !versions.iter().any(|one| one.app == app.as_str() && one.service == service && one.version == version) {
                let (app, service, version) = (app.to_string(), service.to_owned(), version.to_owned());
                versions.push(VersionHealth { app, service, version, state: "preparing", instances: Instances::default(), pending: 0 });
            }
        }
        versions.sort_by(|a, b| (&a.app, &a.service, &a.version).cmp(&(&b.app, &b.service, &b.version)));
        let (status, text) = match state {
            State::Serving if preparing.is_empty() => (StatusCode::OK, "serving"),
            State::Serving => (StatusCode::OK, "preparing"),
            State::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
            State::Broken => (StatusCode::SERVICE_UNAVAILABLE, "broken"),
        };
        // Strings and numbers always serialise.
        let json =
            serde_json::to_string(&Health { status: text, versions, missing_walls: self.subject.missing_walls() }).unwrap_or_default();
        page(status, "application/json", json + "\n")
    }
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
    versions: Vec<VersionHealth>,
    missing_walls: Vec<String>,
}

#[derive(Serialize)]
struct VersionHealth {
    app: String,
    service: String,
    version: String,
    state: &'static str,
    instances: Instances,
    pending: usize,
}

#[derive(Serialize, Default)]
struct Instances {
    starting: usize,
    idle: usize,
    busy: usize,
    leaving: usize,
}

fn page(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'"));
    response
}

/// Whether the one Host header names this machine by a name that nobody else can give away.
pub(crate) fn is_local(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let Ok(authority) = http::uri::Authority::try_from(host.as_bytes()) else { return false };
    let name = authority.host();
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let plain = !authority.as_str().contains('@');
    plain && (name.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_nobody_can_rebind_are_local() {
        let local = |hosts: &[&str]| {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(HOST, HeaderValue::try_from(*host).expect("a value"));
            }
            is_local(&headers)
        };
        for host in ["localhost", "LOCALHOST:8000", "127.0.0.1", "127.0.0.1:8000", "[::1]:8000", "127.8.9.1"] {
            assert!(local(&[host]), "{host}");
        }
        for host in
            ["", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "localhost@evil.example", "0.0.0.0"]
        {
            assert!(!local(&[host]), "{host}");
        }
        assert!(!local(&[]) && !local(&["localhost", "evil.example"]));
    }
}
