//! The routing table: an immutable snapshot of everything the data plane needs. Changes are a new table with a higher generation.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::{InboundService, VersionConfig};
use crate::dispatch::DispatchRule;
use crate::firewall::Firewall;
use crate::handler::{Handler, HandlerKind, Login, Script};
use crate::ids::{AppId, ServiceId, VersionId};
use crate::pattern::{Anchor, Pattern};
use crate::route::handler::HandlerSet;
use crate::traffic::TrafficSplit;

/// The snapshot.
#[derive(Debug, Clone)]
pub struct RoutingTable {
    /// Rises with every change.
    pub generation: u64,
    /// The app.
    pub app: AppId,
    /// Which host names belong to it.
    pub naming: Naming,
    /// Its services. Without `default` among them, the first stands in for it.
    pub services: BTreeMap<ServiceId, Service>,
    /// dispatch.yaml.
    pub dispatch: Vec<DispatchRule>,
    /// dos.yaml.
    pub firewall: Firewall,
}

/// All apps of one server: what a request is looked up in first.
#[derive(Debug, Clone, Default)]
pub struct Estate {
    /// Rises with every change of any app.
    pub generation: u64,
    /// The apps' tables.
    pub apps: BTreeMap<AppId, Arc<RoutingTable>>,
}

impl Estate {
    /// A server with one app, which every request is for.
    pub fn of(table: RoutingTable) -> Self {
        Self { generation: table.generation, apps: BTreeMap::from([(table.app.clone(), Arc::new(table))]) }
    }

    /// The app that answers to `authority`.
    pub fn find(&self, _authority: &str) -> Option<&Arc<RoutingTable>> {
        self.apps.values().next()
    }
}

/// Host names of the app.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Naming {
    /// Domains under which `SERVICE`, `SERVICE-dot-APP`, `VERSION-dot-SERVICE`… are looked up: `localhost`, `shop.example.org`. Lower case.
    pub domains: Vec<String>,
    /// Further names that are served by the default service (`--allow-host`); a leading `*.` stands for one label, `**.` for any number of labels, and `*`
    /// allows all.
    pub allowed: Vec<String>,
    /// Any IP address is a good host. For servers that were told to listen beyond the loopback: it is no door for DNS rebinding, which needs a name.
    /// Loopback addresses always are.
    pub addresses: bool,
    /// The host (with port, if it is not the scheme's own) of the default version, for `X-Appengine-Default-Version-Hostname`.
    pub default_hostname: String,
}

/// A service and its versions.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its versions.
    pub versions: BTreeMap<VersionId, Arc<Version>>,
    /// Who takes the traffic of hosts that name no version. Always among `versions`.
    pub split: TrafficSplit,
}

/// A version as the data plane sees it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Version {
    /// Whose it is.
    pub app: AppId,
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
    pub fn new(app: AppId, config: VersionConfig, root: PathBuf, deployment: u64) -> Self {
        let mut all = implicit_handlers(&config);
        all.extend(config.handlers.iter().cloned());
        let handlers = HandlerSet::new(all);
        Self { app, config, root, deployment, handlers }
    }
}

/// Lifecycle paths that every app answers, for the house only: `/_ah/warmup` if the app asked for warmup requests, and `/_ah/start`. A script
/// handler of the app's own takes their place; a static one does not (cases.json, `implicit_handlers`).
pub fn implicit_handlers(config: &VersionConfig) -> Vec<Handler> {
    let mut paths = vec!["/_ah/start"];
    if config.inbound.contains(&InboundService::Warmup) {
        paths.insert(0, "/_ah/warmup");
    }
    let covers = |handler: &Handler, path: &str| matches!(handler.kind, HandlerKind::Script(_)) && handler.url.is_match(path.as_bytes());
    paths.retain(|path| !config.handlers.iter().any(|handler| covers(handler, path)));
    // A second-generation process decides for itself; for a first-generation app the SDK has empty handlers.
    let script = || if config.runtime.is_first_generation() { Script::Nothing } else { Script::Auto };
    let handler = |path: &&str| {
        Some(Handler { login: Login::Admin, ..Handler::new(Pattern::new(path, Anchor::Whole).ok()?, HandlerKind::Script(script())) })
    };
    paths.iter().filter_map(handler).collect()
}

/// A table that does not hold together: each entry is a text for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Dangling(pub String);

impl RoutingTable {
    /// Checks that every name in the table leads somewhere. A table that is put together without it still routes: what dangles goes to the
    /// default service ([`crate::route::host::Why::Soft`]), which is what a running server prefers to stopping.
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
        let mut wrong = Vec::new();
        for (id, service) in &services {
            for (version, _) in service.split.parts().filter(|(version, _)| !service.versions.contains_key(*version)) {
                wrong.push(Dangling(format!("service `{id}` is to serve version `{version}`, which does not exist")));
            }
            for (version, held) in &service.versions {
                if held.config.key.service != *id || held.config.key.version != *version {
                    wrong.push(Dangling(format!("`{}` stands in the table as `{id}/{version}`", held.config.key)));
                }
            }
        }
        for rule in &dispatch {
            if !services.contains_key(&rule.service) {
                let text =
                    format!("dispatch.yaml:{}: `{}` goes to service `{}`, which does not exist", rule.line, rule.written, rule.service);
                wrong.push(Dangling(text));
            }
        }
        if wrong.is_empty() { Ok(Self { generation, app, naming, services, dispatch, firewall }) } else { Err(wrong) }
    }
}
