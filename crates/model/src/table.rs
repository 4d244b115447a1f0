//! The routing table: an immutable snapshot of everything the data plane needs. Changes are a new table with a higher generation.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::VersionConfig;
use crate::dispatch::DispatchRule;
use crate::firewall::Firewall;
use crate::ids::{AppId, ServiceId, VersionId};
use crate::route::handler::HandlerSet;

/// The snapshot.
#[derive(Debug, Clone)]
pub struct RoutingTable {
    /// Rises with every change.
    pub generation: u64,
    /// The app.
    pub app: AppId,
    /// Which host names belong to it.
    pub naming: Naming,
    /// Its services; `default` is always among them.
    pub services: BTreeMap<ServiceId, Service>,
    /// dispatch.yaml.
    pub dispatch: Vec<DispatchRule>,
    /// dos.yaml.
    pub firewall: Firewall,
}

/// Host names of the app.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Naming {
    /// Domains under which `SERVICE`, `SERVICE-dot-APP`, `VERSION-dot-SERVICE`… are looked up: `localhost`, `shop.example.org`. Lower case.
    pub domains: Vec<String>,
    /// Further names that are served by the default service (`--allow-host`); a leading `*.` allows every name below. `*` allows all.
    pub allowed: Vec<String>,
    /// The host (with port, if it is not the scheme's own) of the default version, for `X-Appengine-Default-Version-Hostname`.
    pub default_hostname: String,
}

/// A service and its versions.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its versions.
    pub versions: BTreeMap<VersionId, Arc<Version>>,
    /// The version that takes the traffic of hosts that name none. Always one of `versions`.
    pub serving: VersionId,
}

/// A version as the data plane sees it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Version {
    /// Its configuration.
    pub config: VersionConfig,
    /// The folder that its files are served from.
    pub root: PathBuf,
    /// A number that rises with each reload of this version, the fractional part of `CURRENT_VERSION_ID`.
    pub deployment: u64,
    /// Its handlers, ready to be searched; the implicit ones (`/_ah/start`, `/_ah/warmup`) come first.
    pub handlers: HandlerSet,
}

impl Version {
    /// A version whose handlers are ready to be searched.
    pub fn new(config: VersionConfig, root: PathBuf, deployment: u64) -> Self {
        let handlers = HandlerSet::new(config.handlers.clone());
        Self { config, root, deployment, handlers }
    }
}

/// A table that does not hold together: each entry is a text for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Dangling(pub String);

impl RoutingTable {
    /// Checks that every name in the table leads somewhere.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn build(
        generation: u64,
        app: AppId,
        naming: Naming,
        services: BTreeMap<ServiceId, Service>,
        dispatch: Vec<DispatchRule>,
        firewall: Firewall,
    ) -> Result<Self, Vec<Dangling>> {
        Ok(Self { generation, app, naming, services, dispatch, firewall })
    }
}
