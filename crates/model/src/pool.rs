//! The seam between the front end and the instances: leases. `edge` asks through these traits, `fleet` answers, and neither names the other.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::ids::{InstanceId, VersionKey};
use crate::rpc::{Door, Pass};
use crate::table::Version;

/// Where an instance listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// The Python agent behind a Unix socket (docs/design/agent-protocol.md).
    Agent(PathBuf),
    /// HTTP/1.1 on `$PORT`.
    Http(SocketAddr),
}

/// A running instance.
#[derive(Debug)]
pub struct Instance {
    /// Unique in this process's life, never reused: a key for connection pools.
    pub serial: u64,
    /// Its id within the version.
    pub id: InstanceId,
    /// Whose it is.
    pub version: VersionKey,
    /// Where it listens.
    pub endpoint: Endpoint,
    /// Where it calls bundled services, if it may.
    pub door: Option<Arc<dyn Door>>,
}

/// How a request at an instance ended, as far as scheduling cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Answered, whatever the status below 500.
    Answered,
    /// Answered with a status of 500 or above.
    Faulty,
    /// The client left, or the front end gave up before the instance was asked.
    Abandoned,
    /// The deadline passed.
    TimedOut,
    /// The instance broke the connection or could not be reached.
    Broken,
    /// The instance asked to be replaced.
    Replace,
}

/// Why no instance was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reject {
    /// The queue is full, or waiting took too long: `over_quota`.
    NoCapacity(String),
    /// The instance could not be started; the text is for the log and, in development, for the page.
    StartFailed(String),
    /// The version does not run (stopped, or gone since the table was read).
    NotServing(String),
    /// The house is closing.
    Draining,
}

/// The right to send one request to one instance. Dropping it tells the scheduler that the request is over.
#[derive(Debug)]
pub struct Lease {
    /// The instance to ask.
    pub instance: Arc<Instance>,
    /// Whether the instance was started for this request (a loading request).
    pub cold: bool,
    /// How long the request waited for it.
    pub waited: Duration,
    /// The request's ticket for calls of bundled services.
    pub pass: Option<Pass>,
    /// How it ended; `Abandoned` until the front end says otherwise.
    pub outcome: Outcome,
    /// The pool's own number of the request.
    pub request: u64,
    /// Who wants to hear of the end.
    pub keeper: Arc<dyn Keeper>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.keeper.release(self.request, &self.instance, self.outcome);
    }
}

/// Hears that leases ended. Must not block.
pub trait Keeper: Send + Sync + std::fmt::Debug {
    /// The request is over.
    fn release(&self, request: u64, instance: &Arc<Instance>, outcome: Outcome);
}

/// A future that a trait object can return.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a request asks of the pool.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Which version of which app.
    pub version: Arc<Version>,
    /// A numbered instance, if the host named one.
    pub instance: Option<u32>,
}

/// Gives instances to requests.
pub trait Pool: Send + Sync {
    /// An instance at once, if one has room; never blocks, never starts one.
    fn try_acquire(&self, wanted: &Wanted) -> Option<Lease>;

    /// An instance, waiting at most `patience` for one to start or to have room. The request has its place in the queue when this returns, not only
    /// when the future is polled.
    fn acquire(&self, wanted: Wanted, patience: Duration) -> Boxed<'_, Result<Lease, Reject>>;
}

/// A request of the house's own to one instance (docs: "how instances are managed", "warmup requests").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lifecycle {
    /// `/_ah/start`: the first request of every instance under basic and manual scaling.
    Start,
    /// `/_ah/warmup`: before an instance takes traffic, where `inbound_services` has `warmup`.
    Warmup,
    /// `/_ah/stop`: the app may put things in order before the instance ends.
    Stop,
    /// `/_ah/background`: the app has asked for a thread that outlives its requests.
    Background,
}

impl Lifecycle {
    /// The path that is asked for.
    pub fn path(self) -> &'static str {
        match self {
            Self::Start => "/_ah/start",
            Self::Warmup => "/_ah/warmup",
            Self::Stop => "/_ah/stop",
            Self::Background => "/_ah/background",
        }
    }
}

/// Sends requests of the house's own to instances. The front end is one; the fleet asks it.
pub trait Caller: Send + Sync {
    /// Asks `instance` for the path of `what`, as an internal client (address 0.1.0.3, no login checks), and returns the status of the answer.
    /// The text of an error says why there was none.
    fn call(&self, version: Arc<Version>, instance: Arc<Instance>, what: Lifecycle, limit: Duration)
    -> Boxed<'static, Result<u16, String>>;

    /// Asks `instance` for `/_ah/background`, for the background thread of this id, which runs as long as the request does.
    fn background(&self, _version: Arc<Version>, _instance: Arc<Instance>, _id: String) -> Boxed<'static, Result<u16, String>> {
        Box::pin(std::future::ready(Err("nobody asks for background threads here".into())))
    }
}
