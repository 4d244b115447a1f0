//! `POST /rpc_http`: one listener for each instance, so that the socket already says who calls; the ticket adds the request. Everything else that is asked
//! there goes to the metadata server.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, ORIGIN};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use model::ids::InstanceId;
use model::pool::{Boxed, Instance};
use model::rpc::{Doors, Residents, Visit};
use model::table::Version;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::AbortHandle;

use crate::call::{Answer, Caller, Context, Failure, envelope, read};
use crate::metadata::{self, Metadata};
use crate::names;
use crate::peer;
use crate::proto::remote_api::{self as pb, rpc_error::Code};
use crate::registry::Registry;
use crate::socket::Socket;
use crate::test_mode;
use crate::tickets::Tickets;
use crate::visits::Visits;

/// Java's client sends up to 50 MiB, and a little for the envelope.
const MOST_BODY: usize = (50 << 20) + 4096;
/// Connections of one instance: SDKs call from up to 100 threads.
const CONNECTIONS: usize = 256;
/// Bodies up to this take no account of.
const SMALL: usize = 1 << 20;
/// Larger ones of all instances together take at most so many times as much; more wait.
const ROOM: usize = 256;
/// The deadline of a call that names none.
const DEADLINE: Duration = Duration::from_mins(1);
/// The longest deadline that a call may ask for.
const LONGEST: Duration = Duration::from_mins(10);

/// Who may call without a ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Only with the ticket of a request that this instance is serving.
    Tickets,
    /// Anybody who reaches the listener (`--test-mode`).
    Anyone,
}

/// Both addresses of a connection, the other side's first.
type Ends = (SocketAddr, SocketAddr);

/// All doors of a house: each leads to the same services.
pub struct House {
    registry: Arc<Registry>,
    metadata: Arc<Metadata>,
    visits: Arc<Visits>,
    admission: Admission,
    runtime: tokio::runtime::Handle,
    /// For large bodies.
    room: Arc<Semaphore>,
    /// All desks, for those who come by name.
    desks: Desks,
    names: Option<Ipv4Addr>,
}

type Desks = Arc<Mutex<Vec<Weak<Desk>>>>;

impl House {
    /// Calls run on `runtime`, which must outlive the doors.
    pub fn new(registry: Registry, metadata: Metadata, visits: Arc<Visits>, admission: Admission, runtime: tokio::runtime::Handle) -> Self {
        let (registry, metadata) = (Arc::new(registry), Arc::new(metadata));
        let (room, desks) = (Arc::new(Semaphore::new(ROOM)), Desks::default());
        let names = names::take().inspect_err(|error| tracing::debug!(%error, "Google's names lead nowhere")).ok();
        let address = names.as_ref().map(|names| names.address);
        for listener in names.into_iter().flat_map(|names| names.listeners) {
            runtime.spawn(receive(listener, Arc::clone(&desks)));
        }
        Self { registry, metadata, visits, admission, runtime, room, desks, names: address }
    }

    /// A door at an address of the user's choice, through which other programs call in the name of `caller` (test mode).
    ///
    /// # Errors
    /// If the address is in use, or none of this machine.
    pub fn open_at(&self, address: SocketAddr, caller: Caller) -> io::Result<Box<dyn model::rpc::Door>> {
        Ok(Box::new(self.open_door(address, caller)?))
    }

    fn open_door(&self, address: SocketAddr, caller: Caller) -> io::Result<Door> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let desk = Arc::new(Desk {
            registry: Arc::clone(&self.registry),
            metadata: Arc::clone(&self.metadata),
            caller,
            admission: self.admission,
            tickets: Arc::default(),
            residents: Mutex::default(),
            room: Arc::clone(&self.room),
        });
        self.visits.add(&desk.caller, &desk.tickets);
        {
            let mut desks = self.desks.lock().unwrap_or_else(PoisonError::into_inner);
            desks.retain(|desk| desk.strong_count() > 0);
            desks.push(Arc::downgrade(&desk));
        }
        let served = Arc::clone(&desk);
        let task = self.runtime.spawn(async move {
            if let Ok(listener) = TcpListener::from_std(listener) {
                accept(listener, served).await;
            }
        });
        Ok(Door { address, desk, task: task.abort_handle() })
    }
}

impl Doors for House {
    fn names(&self) -> Option<Ipv4Addr> {
        self.names
    }

    fn open(&self, version: &Arc<Version>, instance: &InstanceId) -> Result<Arc<dyn model::rpc::Door>, String> {
        let caller = Caller { version: Arc::clone(version), instance: instance.clone(), seat: Arc::default() };
        let door = self.open_door((Ipv4Addr::LOCALHOST, 0).into(), caller);
        door.map(|door| Arc::new(door) as Arc<dyn model::rpc::Door>).map_err(|error| format!("no port for API calls: {error}"))
    }
}

/// The listener of one instance; dropping it closes it and ends its calls.
#[derive(Debug)]
struct Door {
    address: SocketAddr,
    desk: Arc<Desk>,
    task: AbortHandle,
}

impl model::rpc::Door for Door {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn begin(&self, ticket: &str, visit: Visit) {
        self.desk.tickets.open(ticket, visit);
    }

    fn end(&self, ticket: &str) {
        self.desk.tickets.close(ticket, Instant::now());
    }

    fn house(&self, residents: Residents) {
        // The last one born is asked first: those that descend from it are its own, and not only its zygote's.
        self.desk.residents().insert(0, residents);
    }

    fn leave(&self, instance: &InstanceId) {
        self.desk.residents().retain(|residents| residents.instance != *instance);
    }

    fn belongs_to(&self, instance: &Arc<Instance>) {
        self.desk.caller.seat.take(instance);
    }

    fn measured(&self, cpu: Duration, memory: u64) {
        self.desk.caller.seat.measured(Instant::now(), cpu, memory);
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Desk {
    registry: Arc<Registry>,
    metadata: Arc<Metadata>,
    caller: Caller,
    admission: Admission,
    tickets: Arc<Tickets>,
    /// Whose connections are taken for the instance's.
    residents: Mutex<Vec<Residents>>,
    room: Arc<Semaphore>,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").field("caller", &self.caller).finish_non_exhaustive()
    }
}

/// Connections that came by name: whoever made one is shown to his own desk.
async fn receive(listener: std::net::TcpListener, desks: Desks) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let desks = Arc::clone(&desks);
        tokio::spawn(async move {
            match whose_desk(&stream, &desks).await {
                Some(Ok(desk)) => serve(stream, desk).await,
                Some(Err(Crowd)) => turn_away(stream).await,
                // Nobody that we know: there is nothing to say.
                None => drop(stream),
            }
            drop(permit);
        });
    }
}

/// Several instances run as one user, and the house may not look into them.
struct Crowd;

async fn whose_desk(stream: &TcpStream, desks: &Desks) -> Option<Result<Arc<Desk>, Crowd>> {
    let (peer, here) = (stream.peer_addr().ok()?, stream.local_addr().ok()?);
    let all: Vec<Arc<Desk>> = desks.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade).collect();
    let look = move || {
        // Each desk's own instance; a zygote's desk has its instances among its own. The last ones first.
        let mut own: Vec<(Arc<Desk>, Residents)> = Vec::new();
        for desk in all.into_iter().rev() {
            let found: Vec<_> = desk.residents().iter().filter(|one| one.instance == desk.caller.instance).cloned().collect();
            own.extend(found.into_iter().map(|one| (Arc::clone(&desk), one)));
        }
        let residents: Vec<Residents> = own.iter().map(|(_, one)| one.clone()).collect();
        let mut owners = peer::find(peer, here, &residents).ok()?.into_iter();
        let (first, more) = (owners.next()?, owners.next().is_some());
        if more { Some(Err(Crowd)) } else { own.into_iter().nth(first).map(|(desk, _)| Ok(desk)) }
    };
    tokio::task::spawn_blocking(look).await.ok().flatten()
}

/// Says why nobody is spoken for: a token of another app would be worse than none.
async fn turn_away(stream: TcpStream) {
    let service = service_fn(|_| async {
        let text = "Several instances run as one user, and the server may not look which of them asks (CAP_SYS_PTRACE). \
                    Ask at the address in GCE_METADATA_HOST instead of the name.\n";
        Ok::<_, Infallible>(plain(StatusCode::FORBIDDEN, text))
    });
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(Socket(stream), service).await;
}

async fn accept(listener: TcpListener, desk: Arc<Desk>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    // Connections end with the listener.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let desk = Arc::clone(&desk);
                connections.spawn(async move {
                    serve(stream, desk).await;
                    drop(permit);
                });
            }
            // Out of descriptors: the next moment may have some again.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn serve(stream: TcpStream, desk: Arc<Desk>) {
    let _ = stream.set_nodelay(true);
    let ends = stream.peer_addr().ok().zip(stream.local_addr().ok());
    let service = service_fn(move |request| {
        let desk = Arc::clone(&desk);
        async move { Ok::<_, Infallible>(desk.answer(request, ends).await) }
    });
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(Socket(stream), service).await;
}

impl Desk {
    async fn answer(self: Arc<Self>, request: Request<Incoming>, ends: Option<Ends>) -> Response<Full<Bytes>> {
        let testing = self.admission == Admission::Anyone;
        match (request.uri().path(), request.method()) {
            ("/rpc_http", &Method::POST) => message(envelope(self.rpc(request).await)),
            ("/rpc_http", _) => plain(StatusCode::METHOD_NOT_ALLOWED, "API calls are POSTed.\n"),
            // `remote_api_stub` of Python 2 calls at whatever path it is configured with.
            ("/", &Method::POST) if testing => message(test_mode::envelope(self.rpc(request).await)),
            _ if testing && !metadata::is_meant(&request) => test_mode::answer(&request, self.caller.version.app.as_str(), &self.registry),
            _ => {
                let whose = || self.whose(ends);
                let (parts, _) = request.into_parts();
                let ask = metadata::Ask { method: &parts.method, target: &parts.uri, headers: &parts.headers, whose: &whose };
                self.metadata.answer(&self.caller, ask).await
            }
        }
    }

    /// One call, from the request to the answer, within its deadline.
    async fn rpc(&self, request: Request<Incoming>) -> Answer {
        check(request.headers())?;
        let deadline = deadline(request.headers());
        let whole = async {
            let (body, _room) = self.collect(request).await?;
            guarded(self.call(body)).await
        };
        let late = || Err(Failure::Rpc(Code::DeadlineExceeded, format!("The API call took longer than {} s.", deadline.as_secs_f64())));
        tokio::time::timeout(deadline, whole).await.unwrap_or_else(|_| late())
    }

    /// The body, and the room that it takes, if it may take much.
    async fn collect(&self, request: Request<Incoming>) -> Result<(Bytes, Option<SemaphorePermit<'_>>), Failure> {
        let too_large = || Failure::Rpc(Code::RequestTooLarge, "The request is larger than 50 MiB.".into());
        let most = usize::try_from(request.body().size_hint().upper().unwrap_or(MOST_BODY as u64)).unwrap_or(usize::MAX);
        if most > MOST_BODY && request.body().size_hint().exact().is_some() {
            return Err(too_large());
        }
        let pieces = u32::try_from(most.min(MOST_BODY).div_ceil(SMALL)).unwrap_or(u32::MAX);
        let room = if pieces > 1 { self.room.acquire_many(pieces).await.ok() } else { None };
        match Limited::new(request.into_body(), MOST_BODY).collect().await {
            Ok(body) => Ok((body.to_bytes(), room)),
            Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
            Err(_) => Err(Failure::Rpc(Code::BadRequest, "The request did not arrive whole.".into())),
        }
    }

    fn residents(&self) -> MutexGuard<'_, Vec<Residents>> {
        self.residents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which instance a connection belongs to.
    fn whose(self: &Arc<Self>, ends: Option<Ends>) -> Boxed<'static, Result<InstanceId, String>> {
        let desk = Arc::clone(self);
        Box::pin(async move {
            let Some((peer, here)) = ends else { return Err("the connection is gone".into()) };
            let residents = desk.residents().clone();
            // Of several the last one born: they are one version's, and their tokens the same.
            let look = move || {
                let owners = peer::find(peer, here, &residents)?;
                owners.first().and_then(|at| residents.get(*at)).map(|one| one.instance.clone()).ok_or_else(|| "nobody asks".to_owned())
            };
            match tokio::task::spawn_blocking(look).await.unwrap_or_else(|_| Err("nobody could look".into())) {
                Err(_) if desk.admission == Admission::Anyone => Ok(desk.caller.instance.clone()),
                found => found,
            }
        })
    }

    async fn call(&self, body: Bytes) -> Answer {
        let testing = self.admission == Admission::Anyone;
        if !self.caller.version.config.app_engine_apis && !testing {
            let text = "The app has not asked for the bundled services; write app_engine_apis: true in app.yaml.";
            return Err(Failure::Rpc(Code::FeatureDisabled, text.into()));
        }
        let call: pb::Request = read(body)?;
        let visit = self.tickets.find(call.request_id());
        if visit.is_none() && !testing {
            let text = "The ticket of the API call belongs to no request that this instance serves.";
            return Err(Failure::Rpc(Code::SecurityViolation, text.into()));
        }
        let ticket = testing.then(|| call.request_id().to_owned());
        let context = Context { caller: self.caller.clone(), visit, now: SystemTime::now(), ticket, testing };
        self.registry.call(&call.service_name, &call.method, call.request, &context).await
    }
}

/// A service that panics has failed one call, no more.
async fn guarded(call: impl Future<Output = Answer>) -> Answer {
    let mut call = std::pin::pin!(call);
    std::future::poll_fn(|cx| {
        let polled = catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(cx)));
        polled.unwrap_or_else(|_| Poll::Ready(Err(Failure::Rpc(Code::Unknown, "The service failed; the server's log says why.".into()))))
    })
    .await
}

/// SDKs send `application/octet-stream`. A page in a browser on this machine cannot, unless its server is asked first, and it always names its origin.
fn check(headers: &HeaderMap) -> Result<(), Failure> {
    let refuse = |text: String| Err(Failure::Rpc(Code::BadRequest, text));
    if headers.contains_key(ORIGIN) {
        return refuse("API calls do not come from web pages.".into());
    }
    let kind = headers.get(CONTENT_TYPE).map_or(Ok(""), HeaderValue::to_str).unwrap_or("unreadable");
    if kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/octet-stream") {
        return Ok(());
    }
    let shown: String = kind.chars().take(100).collect();
    refuse(format!("API calls are of the type application/octet-stream, not `{shown}`."))
}

/// `X-Google-RPC-Service-Deadline`: seconds, perhaps with a fraction.
fn deadline(headers: &HeaderMap) -> Duration {
    let asked = headers.get("x-google-rpc-service-deadline").and_then(|value| value.to_str().ok()?.parse::<f64>().ok());
    asked.filter(|seconds| *seconds > 0.0).and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).unwrap_or(DEADLINE).min(LONGEST)
}

fn message(envelope: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(envelope));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    response
}

pub(crate) fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
