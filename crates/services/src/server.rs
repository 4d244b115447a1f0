//! `POST /rpc_http`: one listener for each instance, so that the socket already says who calls; the ticket adds the request.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use model::ids::InstanceId;
use model::rpc::{Doors, Visit};
use model::table::Version;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use crate::call::{Answer, Caller, Context, Failure, envelope, read};
use crate::proto::remote_api::{self as pb, rpc_error::Code};
use crate::registry::Registry;
use crate::socket::Socket;
use crate::tickets::Tickets;

/// Java's client sends up to 50 MiB, and a little for the envelope.
const MOST_BODY: usize = (50 << 20) + 4096;
/// Connections of one instance: SDKs call from up to 100 threads.
const CONNECTIONS: usize = 256;
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
}

impl House {
    /// Calls run on `runtime`, which must outlive the doors.
    pub fn new(registry: Registry, admission: Admission, runtime: tokio::runtime::Handle) -> Self {
        Self { registry: Arc::new(registry), admission, runtime }
    }
}

impl Doors for House {
    fn open(&self, version: &Arc<Version>, instance: &InstanceId) -> Result<Arc<dyn model::rpc::Door>, String> {
        let caller = Caller { version: Arc::clone(version), instance: instance.clone() };
        let door = open(&self.runtime, Arc::clone(&self.registry), caller, self.admission);
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

fn open(runtime: &tokio::runtime::Handle, registry: Arc<Registry>, caller: Caller, admission: Admission) -> io::Result<Door> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let tickets = Arc::new(Tickets::default());
    let desk = Arc::new(Desk { registry, caller, admission, tickets: Arc::clone(&tickets) });
    let task = runtime.spawn(async move {
        if let Ok(listener) = TcpListener::from_std(listener) {
            accept(listener, desk).await;
        }
    });
    Ok(Door { address, tickets, task: task.abort_handle() })
}

struct Desk {
    registry: Arc<Registry>,
    caller: Caller,
    admission: Admission,
    tickets: Arc<Tickets>,
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
        if request.uri().path() != "/rpc_http" {
            return plain(StatusCode::NOT_FOUND, "API calls go to /rpc_http.\n");
        }
        if request.method() != Method::POST {
            return plain(StatusCode::METHOD_NOT_ALLOWED, "API calls are POSTed.\n");
        }
        let deadline = deadline(&request);
        let body = match tokio::time::timeout(LONGEST, Limited::new(request.into_body(), MOST_BODY).collect()).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                return message(Err(Failure::Rpc(Code::RequestTooLarge, "The request is larger than 50 MiB.".into())));
            }
            Ok(Err(_)) | Err(_) => return plain(StatusCode::BAD_REQUEST, "The request did not arrive whole.\n"),
        };
        let late = || Err(Failure::Rpc(Code::DeadlineExceeded, format!("The API call took longer than {} s.", deadline.as_secs_f64())));
        message(tokio::time::timeout(deadline, self.call(body)).await.unwrap_or_else(|_| late()))
    }

    async fn call(&self, body: Bytes) -> Answer {
        let call: pb::Request = read(body)?;
        let visit = self.tickets.find(call.request_id());
        if visit.is_none() && self.admission == Admission::Tickets {
            let text = "The ticket of the API call belongs to no request that this instance serves.";
            return Err(Failure::Rpc(Code::SecurityViolation, text.into()));
        }
        let context = Context { caller: self.caller.clone(), visit, now: SystemTime::now() };
        self.registry.call(&call.service_name, &call.method, call.request, &context).await
    }
}

/// `X-Google-RPC-Service-Deadline`: seconds, perhaps with a fraction.
fn deadline(request: &Request<Incoming>) -> Duration {
    let asked = request.headers().get("x-google-rpc-service-deadline").and_then(|value| value.to_str().ok()?.parse::<f64>().ok());
    asked.filter(|seconds| *seconds > 0.0).and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).unwrap_or(DEADLINE).min(LONGEST)
}

fn message(answer: Answer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(envelope(answer)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    response
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
