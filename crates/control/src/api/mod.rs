//! The Admin API: REST as in Google's discovery document of `appengine` v1, under `/v1` and `/v1beta`, and a few methods of our own under
//! `/enginehouse/v1` (docs/reference/admin-api.md).
//!
//! A request is taken apart ([`ask`]), its caller is found out ([`auth`]), its path becomes a resource ([`route`]), and a function of that resource
//! answers from the store, or has a change carried out by the [`Worker`]. These functions block; each runs on a thread of its own, and a panic in it is
//! that request's 500.

mod apps;
pub(crate) mod ask;
mod auth;
mod certificates;
mod dispatch;
mod domains;
mod firewall;
mod instances;
mod lenient;
pub(crate) mod mask;
mod neighbours;
mod operations;
mod own;
mod page;
mod places;
mod route;
mod schema;
mod server;
mod services;
#[cfg(test)]
mod tests;
mod upload;
mod versions;
mod worker;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use model::engine::Engine;
use model::ids::AppId;
use model::route::host::label_of;
use serde_json::Value;
use store::control::{Operation, Store};

pub use auth::Caller;
pub(crate) use auth::{bearer, challenge, check_scopes, stranger};
pub use certificates::certificate_facts;
pub(crate) use server::serve;
pub use server::{Body, Door, answer_body};
pub(crate) use services::shown_split;
pub(crate) use versions::completed;
pub use worker::Worker;

use crate::status::Status;
use crate::storage::Storage;
use crate::ward::Wards;
use schema::Message;

/// What the API tells about the server.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The domain whose names lead here: `localhost`, `apps.example.org`.
    pub domain: String,
    /// The region that stands in host names and is every app's `locationId`.
    pub region: String,
    /// What follows host names in URLs that people can open: `:8080`, or nothing for the scheme's own port.
    pub port: String,
    /// Whether those URLs begin with `https`.
    pub https: bool,
    /// Where the DNS has to lead domains to that can be no alias; none that are known.
    pub addresses: Vec<IpAddr>,
}

impl Settings {
    /// `PROJECT.REGION.r.DOMAIN`, of a service or version if one is named.
    pub fn host(&self, app: &AppId, below: &[&str]) -> String {
        let mut labels: Vec<&str> = below.to_vec();
        labels.push(label_of(app));
        format!("{}.{}.r.{}", labels.join("-dot-"), self.region, self.domain)
    }

    /// A URL that people can open.
    pub fn url(&self, app: &AppId, below: &[&str]) -> String {
        format!("{}://{}{}", if self.https { "https" } else { "http" }, self.host(app, below), self.port)
    }

    /// The bucket that deployments upload to.
    pub fn code_bucket(&self, app: &AppId) -> String {
        format!("staging.{}.{}", app.project().replace(':', "."), self.domain)
    }
}

/// The API.
pub struct Api {
    store: Store,
    worker: Arc<dyn Worker>,
    engine: Arc<dyn Engine>,
    settings: Settings,
    storage: Storage,
    wards: Wards,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Api {
    /// An API over a store.
    pub fn new(store: Store, worker: Arc<dyn Worker>, engine: Arc<dyn Engine>, settings: Settings) -> Self {
        let storage = Storage::new(store.clone(), &settings.domain);
        Self { store, worker, engine, settings, storage, wards: Wards::new() }
    }

    /// The same with collections that other parts of the house answer for.
    #[must_use]
    pub fn with_wards(self, wards: Wards) -> Self {
        Self { wards, ..self }
    }

    /// The state.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What it tells about the server.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}

/// What a method answers with.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A resource, or a list of them, in canonical form.
    Resource(Value, &'static Message),
    /// Something of our own, as it is.
    Own(Value),
    /// An operation, which may be over in a moment.
    Running(Box<Operation>),
    /// `{}`.
    Empty,
}

pub(crate) type Answered = Result<Answer, Status>;

/// A time to the second: `2026-01-31T12:00:00Z`.
pub(crate) fn second(at: SystemTime) -> String {
    let at = jiff::Timestamp::try_from(at).unwrap_or_default();
    jiff::Timestamp::from_second(at.as_second()).unwrap_or_default().to_string()
}

/// A time to the millisecond: `2026-01-31T12:00:00.500Z`.
pub(crate) fn millisecond(at: SystemTime) -> String {
    let at = jiff::Timestamp::try_from(at).unwrap_or_default();
    let at = jiff::Timestamp::from_millisecond(at.as_millisecond()).unwrap_or_default();
    format!("{at:.3}")
}
