//! `POST /rpc_http`: one listener for each instance, so that the socket already says who calls; the ticket adds the request.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, ORIGIN};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use model::ids::InstanceId;
use model::rpc::{Doors, Visit};
use model::table::Version;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::AbortHandle;

use crate::call::{Answer, Caller, Context, Failure, envelope, read};
use crate::proto::remote_api::{self as pb, rpc_error::Code};
use crate::registry::Registry;
use crate::socket::Socket;
use crate::test_mode;
use crate::tickets::Tickets;

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

/// All doors of a house: each leads to the same services.
pub struct House {
    registry: Arc<Registry>,
    admission: Admission,
    runtime: tokio::runtime::Handle,
    /// For large bodies.
    room: Arc<Semaphore>,
}

impl House {
    /// Calls run on `runtime`, which must outlive the doors.
    pub fn new(registry: Registry, admission: Admission, runtime: tokio::runtime::Handle) -> Self {
        Self { registry: Arc::new(registry), admission, runtime, room: Arc::new(Semaphore::new(ROOM)) }
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
        let tickets = Arc::new(Tickets::default());
        let desk = Desk {
            registry: Arc::clone(&self.registry),
            caller,
            admission: self.admission,
            tickets: Arc::clone(&tickets),
            room: Arc::clone(&self.room),
        };
        let task = self.runtime.spawn(async move {
            if let Ok(listener) = TcpListener::from_std(listener) {
                accept(listener, Arc::new(desk)).await;
            }
        });
        Ok(Door { address, tickets, task: task.abort_handle() })
    }
}

impl Doors for House {
    fn open(&self, version: &Arc<Version>, instance: &InstanceId) -> Result<Arc<dyn model::rpc::Door>, String> {
        let caller = Caller { version: Arc::clone(version), instance: instance.clone() };
        let door = self.open_door((Ipv4Addr::LOCALHOST, 0).into(), caller);
        door.map(|door| Arc::new(door) as Arc<dyn model::rpc::Door>).map_err(|error| format!("no port for API calls: {error}"))
    }
}

/// The listener of one instance; dropping it closes it and ends its calls.
#[derive(Debug)]
struct Door {
    address: SocketAddr,
    tickets: Arc<Tickets>,
    task: AbortHandle,
}

impl model::rpc::Door for Door {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn begin(&self, ticket: &str, visit: Visit) {
        self.tickets.open(ticket, visit);
    }

    fn end(&self, ticket: &str) {
        self.tickets.close(ticket, Instant::now());
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Desk {
    registry: Arc<Registry>,
    caller: Caller,
    admission: Admission,
    tickets: Arc<Tickets>,
    room: Arc<Semaphore>,
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
    let service = service_fn(move |request| {
        let desk = Arc::clone(&desk);
        async move { Ok::<_, Infallible>(desk.answer(request).await) }
    });
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(Socket(stream), service).await;
}

impl Desk {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let testing = self.admission == Admission::Anyone;
        match (request.uri().path(), request.method()) {
            ("/rpc_http", &Method::POST) => message(envelope(self.rpc(request).await)),
            ("/rpc_http", _) => plain(StatusCode::METHOD_NOT_ALLOWED, "API calls are POSTed.\n"),
            // `remote_api_stub` of Python 2 calls at whatever path it is configured with.
            ("/", &Method::POST) if testing => message(test_mode::envelope(self.rpc(request).await)),
            _ if testing => test_mode::answer(&request, self.caller.version.app.as_str(), &self.registry),
            _ => plain(StatusCode::NOT_FOUND, "API calls go to /rpc_http.\n"),
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

    async fn call(&self, body: Bytes) -> Answer {
        let call: pb::Request = read(body)?;
        let visit = self.tickets.find(call.request_id());
        let testing = self.admission == Admission::Anyone;
        if visit.is_none() && !testing {
            let text = "The ticket of the API call belongs to no request that this instance serves.";
            return Err(Failure::Rpc(Code::SecurityViolation, text.into()));
        }
        let context = Context { caller: self.caller.clone(), visit, now: SystemTime::now(), testing };
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
