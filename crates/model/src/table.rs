//! The routing table: an immutable snapshot of everything the data plane needs. Changes are a new table with a higher generation.

mod estate;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, OnceLock};

pub use estate::{Estate, Found};

use crate::config::{InboundService, VersionConfig};
use crate::dispatch::DispatchRule;
use crate::firewall::Firewall;
use crate::handler::{Handler, HandlerKind, Login, Script};
use crate::ids::{AppId, ServiceId, VersionId};
use crate::ingress::Ingress;
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
    /// Custom domains, which somebody mapped to the app: `www.example.com` is served by the default service, `*.example.com` names services and
    /// versions as the app's own domains do. Lower case.
    pub mapped: Vec<String>,
    /// The host (with port, if it is not the scheme's own) of the default version, for `X-Appengine-Default-Version-Hostname`.
    pub default_hostname: String,
}

impl Naming {
    /// The names of an app on a server whose domain is `domain`: `PROJECT.REGION.r.DOMAIN` and those below it. `port` where it is not the scheme's own;
    /// `mapped` are custom domains.
    pub fn hosted(app: &AppId, region: &str, domain: &str, port: Option<u16>, mapped: Vec<String>) -> Self {
        let port = port.map_or_else(String::new, |port| format!(":{port}"));
        let default_hostname = format!("{}.{region}.r.{domain}{port}", crate::route::host::label_of(app));
        Self { domains: vec![domain.to_owned()], allowed: Vec::new(), addresses: true, mapped, default_hostname }
    }
}

/// A service and its versions.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its versions.
    pub versions: BTreeMap<VersionId, Arc<Version>>,
    /// Who takes the traffic of hosts that name no version. Always among `versions`.
    pub split: TrafficSplit,
    /// Whose requests all its versions take.
    pub ingress: Ingress,
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
    /// It was stopped: it has no instances, and requests for it are refused.
    pub stopped: bool,
    handlers: OnceLock<HandlerSet>,
}

impl Version {
    /// A version.
    pub fn new(app: AppId, config: VersionConfig, root: PathBuf, deployment: u64) -> Self {
        Self { app, config, root, deployment, stopped: false, handlers: OnceLock::new() }
    }

    /// The same, stopped or not.
    #[must_use]
    pub fn with_stopped(self, stopped: bool) -> Self {
        Self { stopped, ..self }
    }

    /// Its handlers, ready to be searched; the implicit ones (`/_ah/start`, `/_ah/warmup`) come first. Made when they are first asked for: of the
    /// versions that a server keeps, few are asked anything.
    pub fn handlers(&self) -> &HandlerSet {
        self.handlers.get_or_init(|| {
            let mut all = implicit_handlers(&self.config);
            all.extend(self.config.handlers.iter().cloned());
            HandlerSet::new(all)
        })
    }
}

/// Lifecycle paths that every app answers, for the house only: `/_ah/warmup` if the app asked for warmup requests, and `/_ah/start`. A script
/// handler of the app's own takes their place; a static one does not (cases.json, `implicit_handlers`).
pub fn implicit_handlers(config: &VersionConfig) -> Vec<Handler> {
    static COMPILED: LazyLock<Vec<(&str, Pattern)>> = LazyLock::new(|| {
        ["/_ah/warmup", "/_ah/start"].into_iter().filter_map(|path| Some((path, Pattern::new(path, Anchor::Whole).ok()?))).collect()
    });
    let wanted = |path: &str| path == "/_ah/start" || config.inbound.contains(&InboundService::Warmup);
    let covers = |handler: &Handler, path: &str| matches!(handler.kind, HandlerKind::Script(_)) && handler.url.is_match(path.as_bytes());
    let covered = |path: &str| config.handlers.iter().any(|handler| covers(handler, path));
    // A second-generation process decides for itself; for a first-generation app the SDK has empty handlers.
    let script = || if config.runtime.is_first_generation() { Script::Nothing } else { Script::Auto };
    let handler = |(_, url): &(&str, Pattern)| Handler { login: Login::Admin, ..Handler::new(url.clone(), HandlerKind::Script(script())) };
    COMPILED.iter().filter(|(path, _)| wanted(path) && !covered(path)).map(handler).collect()
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
