//! The seam between requests, instances and the bundled services: each instance that may call them has a door of its own, and each request that it
//! serves a ticket there. `fleet` opens doors, `edge` hands out tickets, the binary knows who answers.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderValue, Method, Uri};

use crate::ids::InstanceId;
use crate::pool::Instance;
use crate::table::Version;

/// What a service may know of the request that calls it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Visit {
    /// Its request-log id.
    pub log_id: String,
    /// The host that the client asked for, with port.
    pub authority: String,
    /// It came over TLS.
    pub https: bool,
    /// The email of the user that is signed in.
    pub user: Option<String>,
    /// When it began.
    pub at: Option<SystemTime>,
    /// Its trace, which the lines of its log carry too.
    pub trace: u128,
    /// Its method.
    pub method: Method,
    /// Path and query.
    pub target: Uri,
    /// The client.
    pub client: Option<IpAddr>,
    /// `Authorization`, as the client sent it.
    pub authorization: Option<HeaderValue>,
    /// `User-Agent`, as the client sent it.
    pub agent: Option<HeaderValue>,
    /// No client asks, but the house: a task, a cron job, a start.
    pub internal: bool,
}

/// Where one instance calls services. Dropping it closes it.
pub trait Door: Send + Sync + std::fmt::Debug {
    /// What its SDK is told (`API_HOST`, `API_PORT`).
    fn address(&self) -> SocketAddr;

    /// A request begins that may call with `ticket`.
    fn begin(&self, ticket: &str, visit: Visit);

    /// It is over; calls that are under way may end.
    fn end(&self, ticket: &str);

    /// An instance has been born whose connections count as its own. A zygote's door has several.
    fn house(&self, _residents: Residents) {}

    /// It has ended: its processes' numbers may be given to others.
    fn leave(&self, _instance: &InstanceId) {}

    /// The instance listens: what calls here is this one.
    fn belongs_to(&self, _instance: &Arc<Instance>) {}

    /// What the instance has used: CPU since its start, bytes of memory now.
    fn measured(&self, _cpu: Duration, _memory: u64) {}
}

/// The processes of one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Residents {
    /// Whose.
    pub instance: InstanceId,
    /// The first of them; its descendants are meant too.
    pub pid: u32,
    /// `cgroup.procs` files that list them.
    pub groups: Vec<PathBuf>,
}

/// Opens doors.
pub trait Doors: Send + Sync {
    /// A door for an instance that is about to start.
    ///
    /// # Errors
    /// A text for people, if the system gives no port.
    fn open(&self, version: &Arc<Version>, instance: &InstanceId) -> Result<Arc<dyn Door>, String>;

    /// Where Google's names for the metadata server and the services lead, if this machine lets us have the ports.
    fn names(&self) -> Option<Ipv4Addr> {
        None
    }
}

/// An instance counts as a door's until this is dropped.
#[derive(Debug)]
pub struct Stay {
    door: Arc<dyn Door>,
    instance: InstanceId,
}

impl Stay {
    /// It begins.
    pub fn new(door: &Arc<dyn Door>, residents: Residents) -> Self {
        let instance = residents.instance.clone();
        door.house(residents);
        Self { door: Arc::clone(door), instance }
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.door.leave(&self.instance);
    }
}

/// A ticket that is good until this is dropped.
#[derive(Debug)]
pub struct Pass {
    door: Arc<dyn Door>,
    ticket: Box<str>,
}

impl Pass {
    /// Begins a request.
    pub fn new(door: &Arc<dyn Door>, ticket: &str, visit: Visit) -> Self {
        door.begin(ticket, visit);
        Self { door: Arc::clone(door), ticket: ticket.into() }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.door.end(&self.ticket);
    }
}
