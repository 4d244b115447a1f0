//! An edge under test: real sockets in front, a fake pool and fake instances behind.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use edge::{Edge, Listener, Options, Running};
use model::config::VersionConfig;
use model::firewall::Firewall;
use model::handler::{Handler, HandlerKind, Origin, Script, StaticFiles, StaticSource};
use model::ids::{AppId, InstanceId, VersionKey};
use model::ingress::Ingress;
use model::journal::{Entry, Journal, Request};
use model::pattern::{Anchor, Pattern};
use model::pool::{Boxed, Endpoint, Instance, Keeper, Lease, Outcome, Pool, Reject, Wanted};
use model::runtime::Runtime;
use model::signin::SignIn;
use model::table::{Estate, Naming, RoutingTable, Service, Version};
use model::traffic::TrafficSplit;

/// How long a test waits for something that must happen.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A handler that runs code.
pub fn script(url: &str) -> Handler {
    Handler {
        origin: Origin { file: "app.yaml".into(), line: 7 },
        ..Handler::new(Pattern::new(url, Anchor::Whole).expect("a pattern"), HandlerKind::Script(Script::Auto))
    }
}

/// A `static_dir` handler.
pub fn files(url: &str, dir: &str) -> Handler {
    Handler {
        url: Pattern::new(&format!("{url}/(.*)"), Anchor::Whole).expect("a pattern"),
        kind: HandlerKind::Static(Box::new(StaticFiles {
            source: StaticSource::Dir(dir.into()),
            mime_type: None,
            expiration: None,
            http_headers: Vec::new(),
            require_matching_file: false,
            application_readable: false,
        })),
        ..script(url)
    }
}

/// A version with the defaults of document 003.
pub fn config(runtime: &str, handlers: Vec<Handler>) -> VersionConfig {
    let runtime = Runtime::parse(runtime).expect("a runtime");
    let key = VersionKey::new("default".parse().expect("a name"), "v1".parse().expect("a name")).expect("a pair");
    VersionConfig::new(key, runtime, handlers)
}

/// The app of the tests.
pub fn app() -> AppId {
    "demo".parse().expect("an id")
}

/// One version as a table that answers to `localhost` and `app.test`.
pub fn table(config: VersionConfig, root: &Path) -> RoutingTable {
    let (service, version) = (config.key.service.clone(), config.key.version.clone());
    let held = Arc::new(Version::new(app(), config, root.to_owned(), 1));
    let services = BTreeMap::from([(
        service,
        Service { versions: BTreeMap::from([(version.clone(), held)]), split: TrafficSplit::all(version), ingress: Ingress::All },
    )]);
    let naming = Naming { domains: vec!["localhost".into(), "app.test".into()], default_hostname: "localhost".into(), ..Naming::default() };
    RoutingTable { generation: 1, app: app(), naming, services, dispatch: Vec::new(), firewall: Firewall::default() }
}

/// A pool with one instance, or with a reason for having none.
#[derive(Debug)]
pub struct OneInstance {
    endpoint: Mutex<Result<Endpoint, Reject>>,
    serial: AtomicU64,
    outcomes: Arc<Outcomes>,
}

/// How leases ended.
#[derive(Debug, Default)]
pub struct Outcomes {
    all: Mutex<Vec<Outcome>>,
    changed: Condvar,
}

impl Keeper for Outcomes {
    fn release(&self, _: u64, _: &Arc<Instance>, outcome: Outcome) {
        self.all.lock().expect("unpoisoned").push(outcome);
        self.changed.notify_all();
    }
}

impl Outcomes {
    /// The outcomes, once there are `count`.
    pub fn wait(&self, count: usize) -> Vec<Outcome> {
        let all = self.all.lock().expect("unpoisoned");
        let (all, late) = self.changed.wait_timeout_while(all, PATIENCE, |all| all.len() < count).expect("unpoisoned");
        assert!(!late.timed_out(), "{count} leases end; {} did", all.len());
        all.clone()
    }
}

impl Pool for OneInstance {
    fn try_acquire(&self, wanted: &Wanted) -> Option<Lease> {
        let endpoint = self.endpoint.lock().expect("unpoisoned").clone().ok()?;
        let serial = self.serial.load(Ordering::Relaxed);
        let instance = Instance {
            serial,
            id: InstanceId::Opaque("e4b565394caa".into()),
            version: wanted.version.config.key.clone(),
            endpoint,
            door: None,
        };
        Some(Lease {
            instance: Arc::new(instance),
            cold: false,
            waited: Duration::ZERO,
            pass: None,
            outcome: Outcome::Abandoned,
            request: 0,
            keeper: self.outcomes.clone(),
        })
    }

    fn acquire(&self, wanted: Wanted, _: Duration) -> Boxed<'_, Result<Lease, Reject>> {
        Box::pin(async move {
            let reject = self.endpoint.lock().expect("unpoisoned").clone().err();
            reject.map_or_else(|| self.try_acquire(&wanted).ok_or(Reject::Draining), Err)
        })
    }
}

/// Request records.
#[derive(Debug, Default)]
pub struct Notebook {
    all: Mutex<Vec<Request>>,
    changed: Condvar,
}

impl Journal for Notebook {
    fn write(&self, entry: Entry) {
        if let Entry::Request(request) = entry {
            self.all.lock().expect("unpoisoned").push(*request);
            self.changed.notify_all();
        }
    }
}

impl Notebook {
    /// The records, once there are `count`.
    pub fn wait(&self, count: usize) -> Vec<Request> {
        let all = self.all.lock().expect("unpoisoned");
        let (all, late) = self.changed.wait_timeout_while(all, PATIENCE, |all| all.len() < count).expect("unpoisoned");
        assert!(!late.timed_out(), "{count} requests are written down; {} were", all.len());
        all.clone()
    }
}

/// A running edge.
pub struct Node {
    pub address: SocketAddr,
    pub addresses: Vec<SocketAddr>,
    pub journal: Arc<Notebook>,
    pub outcomes: Arc<Outcomes>,
    pub pool: Arc<OneInstance>,
    estate: Arc<ArcSwap<Estate>>,
    pub running: Running,
}

/// Options for tests: one loopback listener, two threads.
pub fn options() -> Options {
    Options {
        listeners: vec![Listener::plain(SocketAddr::from(([127, 0, 0, 1], 0)))],
        server_name: "Development/x".into(),
        login_secret: vec![7; 32],
        sign_in: SignIn::Open,
        threads: 2,
        ..Options::default()
    }
}

impl Node {
    /// Starts one.
    pub fn start(options: Options, table: RoutingTable, endpoint: Result<Endpoint, Reject>) -> Self {
        let edge = Edge::bind(options).expect("binds");
        let addresses = edge.addresses();
        let outcomes = Arc::new(Outcomes::default());
        let pool = Arc::new(OneInstance { endpoint: Mutex::new(endpoint), serial: AtomicU64::new(1), outcomes: outcomes.clone() });
        let journal = Arc::new(Notebook::default());
        let estate = Arc::new(ArcSwap::from_pointee(Estate::of(table)));
        let running = edge.start(estate.clone(), pool.clone(), journal.clone()).expect("starts");
        Self { address: addresses[0], addresses, journal, outcomes, pool, estate, running }
    }

    /// A node without instances.
    pub fn files(options: Options, table: RoutingTable) -> Self {
        Self::start(options, table, Err(Reject::NotServing("there is none".into())))
    }

    /// A node before an app.
    pub fn app(endpoint: Endpoint) -> Self {
        Self::start(options(), table(config("nodejs22", vec![script("/.*")]), Path::new("/nowhere")), Ok(endpoint))
    }

    /// Another table is in force.
    pub fn show(&self, table: RoutingTable) {
        self.estate.store(Arc::new(Estate::of(table)));
    }

    /// Other apps are in force.
    pub fn show_all(&self, estate: Estate) {
        self.estate.store(Arc::new(estate));
    }

    /// The instance was replaced.
    pub fn replace(&self, endpoint: Endpoint) {
        *self.pool.endpoint.lock().expect("unpoisoned") = Ok(endpoint);
        self.pool.serial.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection.
    pub fn connect(&self) -> Client {
        Client::to(self.address)
    }

    /// One GET.
    pub fn get(&self, path: &str) -> Answer {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
    }

    /// One request on a connection of its own.
    pub fn send(&self, request: &str) -> Answer {
        let mut client = self.connect();
        client.write(request.as_bytes());
        let head = request.starts_with("HEAD ");
        client.answer(head)
    }
}

/// A raw connection.
pub struct Client {
    pub stream: TcpStream,
    pending: Vec<u8>,
}

/// A response, taken apart by hand.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The connection ended in the middle of it.
    pub cut: bool,
}

impl Answer {
    /// All values of a header, joined.
    pub fn header(&self, name: &str) -> Option<String> {
        let values: Vec<&str> = self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str()).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Client {
    pub fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        stream.set_nodelay(true).expect("set");
        Self { stream, pending: Vec::new() }
    }

    /// Sends bytes; a server that refuses may have closed already.
    pub fn write(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Reads once more; false at the end.
    fn more(&mut self) -> bool {
        let mut part = [0; 16 * 1024];
        match self.stream.read(&mut part) {
            Ok(0) => false,
            Ok(length) => {
                self.pending.extend_from_slice(&part[..length]);
                true
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => false,
            Err(error) => panic!("no answer: {error}"),
        }
    }

    /// What comes next, however much that is; `None` at the end.
    pub fn some(&mut self) -> Option<Vec<u8>> {
        (!self.pending.is_empty() || self.more()).then(|| std::mem::take(&mut self.pending))
    }

    /// Whether the server closes the connection without another byte.
    pub fn closed(&mut self) -> bool {
        self.pending.is_empty() && !self.more()
    }

    /// Reads up to and with a line end.
    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.pending.windows(2).position(|two| two == b"\r\n") {
                let line = String::from_utf8_lossy(&self.pending[..at]).into_owned();
                self.pending.drain(..at + 2);
                return Some(line);
            }
            if !self.more() {
                return None;
            }
        }
    }

    fn take(&mut self, length: usize) -> (Vec<u8>, bool) {
        while self.pending.len() < length {
            if !self.more() {
                return (std::mem::take(&mut self.pending), true);
            }
        }
        (self.pending.drain(..length).collect(), false)
    }

    /// Reads one response; 100 Continue counts as one.
    pub fn answer(&mut self, head: bool) -> Answer {
        let status = self.line().expect("an answer");
        let status = status.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("a status line: {status}"));
        let mut headers = Vec::new();
        while let Some(line) = self.line().filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').expect("a header");
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
        let mut answer = Answer { status, headers, body: Vec::new(), cut: false };
        if head || status < 200 || status == 204 || status == 304 {
            return answer;
        }
        if let Some(length) = answer.header("content-length") {
            (answer.body, answer.cut) = self.take(length.parse().expect("a number"));
        } else if answer.header("transfer-encoding").is_some() {
            while let Some(part) = self.chunk() {
                match part {
                    Ok(part) if part.is_empty() => return answer,
                    Ok(part) => answer.body.extend(part),
                    Err(part) => {
                        answer.body.extend(part);
                        break;
                    }
                }
            }
            answer.cut = true;
        } else {
            while self.more() {}
            answer.body = std::mem::take(&mut self.pending);
        }
        answer
    }

    /// One chunk of a chunked body: empty at the end, `Err` if it is cut off.
    pub fn chunk(&mut self) -> Option<Result<Vec<u8>, Vec<u8>>> {
        let size = usize::from_str_radix(&self.line()?, 16).expect("a chunk size");
        let (part, cut) = self.take(size);
        if cut {
            return Some(Err(part));
        }
        self.take(2);
        Some(Ok(part))
    }

    /// Reads a response's head only.
    pub fn head(&mut self) -> Answer {
        self.answer(true)
    }
}

/// A folder with files.
pub fn folder(files: &[(&str, &[u8])]) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let root = directory.path().join("app");
    for (name, content) in files {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().expect("inside")).expect("made");
        std::fs::write(path, content).expect("written");
    }
    (directory, root)
}
