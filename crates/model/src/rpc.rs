//! The seam between requests, instances and the bundled services: each instance that may call them has a door of its own, and each request that it
//! serves a ticket there. `fleet` opens doors, `edge` hands out tickets, the binary knows who answers.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::ids::InstanceId;
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
}

/// Where one instance calls services. Dropping it closes it.
pub trait Door: Send + Sync + std::fmt::Debug {
    /// What its SDK is told (`API_HOST`, `API_PORT`).
    fn address(&self) -> SocketAddr;

    /// A request begins that may call with `ticket`.
    fn begin(&self, ticket: &str, visit: Visit);

    /// It is over; calls that are under way may end.
    fn end(&self, ticket: &str);
}

/// Opens doors.
pub trait Doors: Send + Sync {
    /// A door for an instance that is about to start.
    ///
    /// # Errors
    /// A text for people, if the system gives no port.
    fn open(&self, version: &Arc<Version>, instance: &InstanceId) -> Result<Arc<dyn Door>, String>;
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
