//! Requests of the house's own to one instance: `/_ah/start`, `/_ah/warmup`, `/_ah/stop`, `/_ah/background`. They come from no socket and take no lease, but else go the
//! way of any request: matched by the version's handlers, asked with the same headers, written down (docs/decisions/110-lifecycle-requests.md).

use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use model::environ;
use model::gate::{self, Internal};
use model::handler::{HandlerKind, Script};
use model::headers::request::{Client, Facts, Forwarded, Geo};
use model::journal::{Entry, Request};
use model::pool::{Boxed, Caller, Endpoint, Instance, Keeper, Lease, Lifecycle, Outcome};
use model::route::handler::Matched;
use model::route::host;
use model::rpc::{Pass, Visit};
use model::table::Version;
use tokio::sync::{mpsc, oneshot};

use crate::core::Core;
use crate::draws::Hex;
use crate::errands;
use crate::fault::Fault;
use crate::forward::{Notes, Reply, agent, http as upstream};
use crate::upload::Upload;
use crate::walk::handler_name;

/// Where such requests come from (runtime-contract: "source IP 0.1.0.3").
const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(0, 1, 0, 3));

/// Background threads run as long as their instance, as far as a timer counts.
const ENDLESS: Duration = Duration::from_hours(24 * 20);

/// What a core is given to do.
pub(crate) enum Job {
    Lifecycle(Question),
    Errand(Box<errands::Sent>),
}

/// A lifecycle request on its way to a core.
pub(crate) struct Question {
    version: Arc<Version>,
    instance: Arc<Instance>,
    what: Lifecycle,
    limit: Duration,
    /// Headers that only the house may send.
    trusted: HeaderMap,
    reply: oneshot::Sender<Result<u16, String>>,
}

/// What a core takes its jobs from.
pub(crate) type Jobs = mpsc::UnboundedReceiver<Job>;

/// Hands jobs to the cores in turn.
pub(crate) struct Counter {
    cores: Vec<mpsc::UnboundedSender<Job>>,
    next: AtomicUsize,
}

impl Counter {
    /// A counter and the end of each core.
    pub(crate) fn new(cores: usize) -> (Arc<Self>, Vec<Jobs>) {
        let (senders, receivers) = (0..cores).map(|_| mpsc::unbounded_channel()).unzip();
        (Arc::new(Self { cores: senders, next: AtomicUsize::new(0) }), receivers)
    }

    /// Gives the job to the next core that still lives.
    pub(crate) fn give(&self, mut job: Job) {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        for at in 0..self.cores.len() {
            match self.cores[(first.wrapping_add(at)) % self.cores.len()].send(job) {
                Ok(()) => return,
                Err(mpsc::error::SendError(back)) => job = back,
            }
        }
        // Whoever waits sees the end of the channel.
    }
}

impl Counter {
    fn ask(
        &self,
        version: Arc<Version>,
        instance: Arc<Instance>,
        what: Lifecycle,
        limit: Duration,
        trusted: HeaderMap,
    ) -> Boxed<'static, Result<u16, String>> {
        let (reply, answer) = oneshot::channel();
        self.give(Job::Lifecycle(Question { version, instance, what, limit, trusted, reply }));
        Box::pin(async move { answer.await.unwrap_or_else(|_| Err("the front end is closed".into())) })
    }
}

impl Caller for Counter {
    fn call(
        &self,
        version: Arc<Version>,
        instance: Arc<Instance>,
        what: Lifecycle,
        limit: Duration,
    ) -> Boxed<'static, Result<u16, String>> {
        self.ask(version, instance, what, limit, HeaderMap::new())
    }

    fn background(&self, version: Arc<Version>, instance: Arc<Instance>, id: String) -> Boxed<'static, Result<u16, String>> {
        let Ok(id) = HeaderValue::try_from(id) else { return Box::pin(std::future::ready(Err("the id is malformed".into()))) };
        let trusted = HeaderMap::from_iter([(HeaderName::from_static("x-appengine-backgroundrequest"), id)]);
        self.ask(version, instance, Lifecycle::Background, ENDLESS, trusted)
    }
}

/// Runs the jobs of one core until the core ends.
pub(crate) async fn attend(core: Rc<Core>, mut jobs: Jobs) {
    while let Some(job) = jobs.recv().await {
        match job {
            Job::Lifecycle(question) => tokio::task::spawn_local(run(core.clone(), question)),
            Job::Errand(sent) => tokio::task::spawn_local(errands::run(core.clone(), sent)),
        };
    }
}

async fn run(core: Rc<Core>, question: Question) {
    let Question { version, instance, what, limit, trusted, mut reply } = question;
    let trace = core.draws.id();
    let call = Call { core: &core, version: &version, instance: &instance, what, limit, trusted: &trusted, trace };
    let answer = tokio::select! {
        answer = call.made() => answer,
        // Nobody waits any more: the instance was told to end.
        () = reply.closed() => return,
    };
    let _ = reply.send(answer);
}

struct Call<'a> {
    core: &'a Rc<Core>,
    version: &'a Arc<Version>,
    instance: &'a Arc<Instance>,
    what: Lifecycle,
    limit: Duration,
    trusted: &'a HeaderMap,
    trace: u128,
}

/// The scheduler counts no request of the house's own.
#[derive(Debug)]
struct Nobody;

impl Keeper for Nobody {
    fn release(&self, _: u64, _: &Arc<Instance>, _: Outcome) {}
}

impl Call<'_> {
    /// Asks, and writes down what came of it.
    async fn made(&self) -> Result<u16, String> {
        let (at, begun) = (SystemTime::now(), Instant::now());
        let log_id = Hex::new(self.core.draws.id());
        // Not held while the instance is asked: whoever publishes a snapshot waits for those who follow the one before.
        let table = self.core.house.estate.load().apps.get(&self.version.app).map(Arc::clone);
        let naming = table.as_ref().map(|table| &table.naming);
        let authority = naming.map_or_else(String::new, |naming| host::of_version(naming, &self.version.config.key));
        let default_hostname = naming.map_or("", |naming| &naming.default_hostname);
        let notes = Rc::new(Notes::default());
        let found = self.handler();
        let answer = self.ask(found.as_ref(), &authority, default_hostname, log_id.as_str(), &notes).await;
        let (status, bytes, fault) = match answer {
            Ok((status, bytes)) => (status, bytes, notes.fault.take()),
            Err(fault) => (fault.status(), 0, Some(fault.log())),
        };
        let outcome = fault.clone().map_or(Ok(status.as_u16()), Err);
        if self.core.house.journal.wants_requests() {
            let mut record = Request::new(at, log_id.as_str(), SOURCE);
            record.method = "GET".into();
            record.host = authority;
            record.target = self.what.path().into();
            record.status = status.as_u16();
            record.bytes = bytes;
            record.took = begun.elapsed();
            record.app = Some(self.version.app.clone());
            record.version = Some(self.version.config.key.clone());
            record.instance = Some(self.instance.id.clone());
            record.handler = found.as_ref().map(handler_name);
            record.cpu = notes.cpu.get();
            record.fault = fault;
            record.lines = notes.lines.take();
            record.trace = Some(self.trace);
            self.core.house.journal.write(Entry::Request(Box::new(record)));
        }
        outcome
    }

    /// The first script among the handlers that match; files are no answer to a lifecycle request.
    fn handler(&self) -> Option<Matched<'_>> {
        let path = self.what.path().as_bytes();
        let mut found = self.version.handlers().find(path);
        while let Some(matched) = found {
            if matches!(matched.handler.kind, HandlerKind::Script(_)) {
                return Some(matched);
            }
            found = self.version.handlers().find_after(matched.index, path);
        }
        None
    }

    /// Status and length of the answer.
    async fn ask(
        &self,
        found: Option<&Matched<'_>>,
        authority: &str,
        default_hostname: &str,
        log_id: &str,
        notes: &Rc<Notes>,
    ) -> Result<(StatusCode, u64), Fault> {
        let path = self.what.path().as_bytes();
        let script = found.and_then(|matched| match &matched.handler.kind {
            HandlerKind::Script(script) => Some(script),
            HandlerKind::Static(_) => None,
        });
        // The SDK for Python 3 answers these in the app's own process, whatever its handlers are.
        let sdk = &self.version.config;
        let by_sdk =
            matches!(self.what, Lifecycle::Stop | Lifecycle::Background) && sdk.app_engine_apis && !sdk.runtime.is_first_generation();
        let script = script.or_else(|| by_sdk.then_some(&Script::Auto));
        let named = match (found, script) {
            (Some(matched), Some(Script::Wsgi(template) | Script::Cgi(template))) => {
                Some(String::from_utf8_lossy(&template.expand(&matched.captures(path), path)).into_owned())
            }
            _ => None,
        };
        let ticket = Hex::new(self.core.draws.ticket());
        let client = Client::new(SOURCE, false, Geo::default());
        let facts = Facts {
            caller: gate::Caller::Internal(match self.what {
                Lifecycle::Start => Internal::Start,
                Lifecycle::Warmup => Internal::Warmup,
                Lifecycle::Stop => Internal::Stop,
                Lifecycle::Background => Internal::Background,
            }),
            client: &client,
            forwarded: &Forwarded::default(),
            trace: self.trace,
            place: None,
            log_id,
            ticket: ticket.as_str(),
            timeout: self.limit,
            default_hostname,
            user: None,
            login: false,
        };
        let headers = self.trusted;
        let visit = Visit { log_id: log_id.to_owned(), authority: authority.to_owned(), internal: true, ..Visit::default() };
        let lease = Lease {
            instance: self.instance.clone(),
            cold: false,
            waited: Duration::ZERO,
            pass: self.instance.door.as_ref().map(|door| Pass::new(door, ticket.as_str(), visit)),
            outcome: Outcome::Abandoned,
            request: 0,
            keeper: Arc::new(Nobody),
        };
        let upload = Upload::whole(bytes::Bytes::new());
        let first_generation = self.version.config.runtime.is_first_generation();
        let reply = match &self.instance.endpoint {
            // The agent of a first-generation app stands in for handlers that the app does not have, as the SDK does.
            Endpoint::Agent(socket) if first_generation || script.is_some() => {
                let environ = environ::Call {
                    version: self.version,
                    facts: &facts,
                    method: &Method::GET,
                    authority,
                    port: self.core.house.http_port,
                    path,
                    raw_path: self.what.path(),
                    query: None,
                    protocol: "HTTP/1.1",
                    headers,
                    content_length: 0,
                    script: named.as_deref(),
                    kind: script.unwrap_or(&Script::Nothing),
                };
                let question =
                    agent::Question { lease, upload, buffered: first_generation, deadline: self.limit, alarm: None, notes: notes.clone() };
                agent::ask(self.core, socket, question, |out| environ::write(out, &environ)).await.map_err(|failed| failed.fault)?
            }
            Endpoint::Http(address) if script.is_some_and(|script| *script != Script::Nothing) => {
                let question = upstream::Question {
                    lease,
                    method: &Method::GET,
                    target: self.what.path(),
                    authority,
                    headers,
                    facts: &facts,
                    upload,
                    buffered: first_generation,
                    deadline: self.limit,
                    alarm: None,
                    notes: notes.clone(),
                };
                upstream::ask(self.core, *address, question).await.map_err(|failed| failed.fault)?
            }
            _ if script.is_some() => return Ok((StatusCode::OK, 0)),
            _ => return Ok((StatusCode::NOT_FOUND, 0)),
        };
        Ok(swallow(reply).await)
    }
}

/// Takes in the whole answer, so that the connection can be used again.
async fn swallow(reply: Reply) -> (StatusCode, u64) {
    let Reply { status, mut body, .. } = reply;
    let mut bytes = 0;
    while let Some(Ok(piece)) = std::future::poll_fn(|cx| body.poll_piece(cx)).await {
        bytes += piece.len() as u64;
    }
    (status, bytes)
}
