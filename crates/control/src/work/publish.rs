//! From the state to what is in force: the store's rows become an [`Estate`], of which only what changed is made anew.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use ipnet::IpNet;
use model::dispatch::{DispatchRule, HostPattern, PathPattern};
use model::engine::Engine;
use model::firewall::{Firewall, FirewallRule};
use model::ids::{AppId, ServiceId, VersionId, VersionKey};
use model::ingress::Ingress;
use model::table::{Estate, RoutingTable, Service, Version};
use serde_json::Value;
use store::control::{Action, App, Domain, FirewallRow, Page, ServingStatus, Store, StoreError, View};
use tokio::sync::{Notify, watch};

use super::{Settings, locked};
use crate::status::Status;
use crate::version::lower;

/// Puts the state in force.
pub(super) struct Publisher {
    store: Store,
    engine: Arc<dyn Engine>,
    settings: Settings,
    known: Mutex<Known>,
    /// Versions that were made ready and are not in the state yet.
    adopted: Mutex<BTreeMap<(AppId, VersionKey), Arc<Version>>>,
    estate: Mutex<Arc<Estate>>,
    wake: Arc<Notify>,
    /// The `rev` that is in force.
    reached: watch::Sender<u64>,
    /// One publication at a time.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known(BTreeMap<AppId, KnownApp>);

struct KnownApp {
    rev: u64,
    table: Arc<RoutingTable>,
    services: BTreeMap<ServiceId, KnownService>,
}

struct KnownService {
    rev: u64,
    versions: BTreeMap<VersionId, (u64, Option<Arc<Version>>)>,
    service: Service,
}

impl Publisher {
    pub(super) fn new(store: Store, engine: Arc<dyn Engine>, settings: &Settings) -> Arc<Self> {
        let wake = Arc::new(Notify::new());
        let weak: Weak<Notify> = Arc::downgrade(&wake);
        store.on_change(move |_| {
            if let Some(wake) = weak.upgrade() {
                wake.notify_one();
            }
        });
        Arc::new(Self {
            store,
            engine,
            settings: settings.clone(),
            known: Mutex::default(),
            adopted: Mutex::default(),
            estate: Mutex::default(),
            wake,
            reached: watch::Sender::new(0),
            turn: tokio::sync::Mutex::default(),
        })
    }

    pub(super) fn estate(&self) -> Arc<Estate> {
        Arc::clone(&locked(&self.estate))
    }

    /// Takes the very version that was made ready, so that whoever runs it knows it again once it is published.
    pub(super) fn adopt(&self, version: &Arc<Version>) {
        locked(&self.adopted).insert((version.app.clone(), version.config.key.clone()), Arc::clone(version));
    }

    /// Waits until a `rev` is in force.
    pub(super) async fn reached(&self, rev: u64) {
        // The sender lives as long as we do.
        let _ = self.reached.subscribe().wait_for(|reached| *reached >= rev).await;
    }

    /// Follows the state for ever.
    pub(super) async fn follow(self: Arc<Self>) {
        loop {
            if *self.reached.borrow() >= self.store.rev() {
                self.wake.notified().await;
                continue;
            }
            if let Err(status) = self.once().await {
                tracing::error!("the state cannot be put in force: {status}");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }

    /// Puts the state in force as it is now.
    pub(super) async fn once(self: &Arc<Self>) -> Result<(), Status> {
        let _turn = self.turn.lock().await;
        let publisher = Arc::clone(self);
        let built = tokio::task::spawn_blocking(move || publisher.build()).await.map_err(|error| {
            tracing::error!("the state cannot be put in force: {error}");
            Status::internal()
        })?;
        let estate = built?;
        let rev = estate.generation;
        // The first one is published whatever it holds: nobody serves before.
        let first = *self.reached.borrow() == 0;
        if first || !is_same(&self.estate(), &estate) {
            *locked(&self.estate) = Arc::clone(&estate);
            self.engine.publish(estate).await;
        }
        self.reached.send_replace(rev);
        Ok(())
    }

    fn build(&self) -> Result<Arc<Estate>, Status> {
        let mut known = locked(&self.known);
        let estate = self.store.read(|view| {
            let rev = view.rev()?;
            let apps = view.apps(&Page::all())?;
            known.0.retain(|id, _| apps.iter().any(|app| app.id == *id));
            for app in apps {
                if known.0.get(&app.id).is_none_or(|known| known.rev != app.rev) {
                    let services = known.0.remove(&app.id).map(|known| known.services).unwrap_or_default();
                    known.0.insert(app.id.clone(), self.app(view, rev, &app, services)?);
                }
            }
            let tables = known.0.values().map(|app| Arc::clone(&app.table));
            Ok::<_, StoreError>(Estate::build(rev, tables, self.settings.fallback.as_ref()))
        })?;
        Ok(Arc::new(estate))
    }

    fn app(&self, view: &View<'_>, rev: u64, app: &App, mut known: BTreeMap<ServiceId, KnownService>) -> Result<KnownApp, StoreError> {
        let stamps = view.service_stamps(&app.id)?;
        let there: BTreeSet<&ServiceId> = stamps.iter().map(|(id, _)| id).collect();
        known.retain(|id, _| there.contains(id));
        for (id, rev) in &stamps {
            if known.get(id).is_none_or(|known| known.rev != *rev) {
                let versions = known.remove(id).map(|known| known.versions).unwrap_or_default();
                known.insert(id.clone(), self.service(view, &view.service(&app.id, id)?, versions)?);
            }
        }
        let mapped = view.domains(&app.id, &Page::all())?.into_iter().map(|domain: Domain| domain.id).collect();
        let table = RoutingTable {
            generation: rev,
            app: app.id.clone(),
            naming: (self.settings.naming)(&app.id, mapped),
            services: known.iter().map(|(id, known)| (id.clone(), known.service.clone())).collect(),
            dispatch: dispatch(app.fields.get("dispatchRules")),
            firewall: if is_disabled(app) { firewall(&[nobody()]) } else { firewall(&view.firewall(&app.id)?) },
        };
        Ok(KnownApp { rev: app.rev, table: Arc::new(table), services: known })
    }

    fn service(
        &self,
        view: &View<'_>,
        service: &store::control::Service,
        mut known: BTreeMap<VersionId, (u64, Option<Arc<Version>>)>,
    ) -> Result<KnownService, StoreError> {
        if known.is_empty() {
            // The first time all are needed, and one question is quicker than many.
            for stored in view.versions(&service.app, &service.id, &Page::all())? {
                known.insert(stored.id.clone(), (stored.rev, self.version(&stored)));
            }
        }
        let stamps = view.version_stamps(&service.app, &service.id)?;
        let there: BTreeSet<&VersionId> = stamps.iter().map(|stamp| &stamp.id).collect();
        known.retain(|id, _| there.contains(id));
        for stamp in &stamps {
            let place = known.entry(stamp.id.clone());
            if matches!(&place, Entry::Occupied(known) if known.get().0 == stamp.rev) {
                continue;
            }
            let version = self.version(&view.version(&service.app, &service.id, &stamp.id)?);
            place.insert_entry((stamp.rev, version));
        }
        let versions = known.iter().filter_map(|(id, (_, version))| Some((id.clone(), version.clone()?))).collect();
        let network = |field: &str| service.network.as_ref().and_then(|network| network.get(field)?.as_str());
        let ingress = network("ingressTrafficAllowed").map_or(Ingress::All, Ingress::parse);
        let published = Service { versions, split: service.split.clone(), ingress };
        Ok(KnownService { rev: service.rev, versions: known, service: published })
    }

    /// A version as the data plane sees it; none that cannot be read, which keeps nobody else from being served.
    fn version(&self, stored: &store::control::Version) -> Option<Arc<Version>> {
        let key = VersionKey::new(stored.service.clone(), stored.id.clone()).ok()?;
        let adopted = locked(&self.adopted).remove(&(stored.app.clone(), key.clone()));
        if let Some(adopted) = adopted.filter(|adopted| adopted.deployment == stored.deployment && stored.status == ServingStatus::Serving)
        {
            return Some(adopted);
        }
        match lower(&key, &stored.spec) {
            Ok(config) => {
                let version = Version::new(stored.app.clone(), config, self.store.folder(&stored.manifest), stored.deployment);
                Some(Arc::new(version.with_stopped(stored.status == ServingStatus::Stopped)))
            }
            Err(violations) => {
                tracing::error!(
                    version = stored.name(),
                    "a version in the state cannot be read and is not served: {}",
                    Status::fields(&violations)
                );
                None
            }
        }
    }
}

/// Whether two snapshots route alike: an operation that is over changes the state and nothing that is served.
fn is_same(a: &Estate, b: &Estate) -> bool {
    a.apps.len() == b.apps.len() && a.apps.values().zip(b.apps.values()).all(|(a, b)| Arc::ptr_eq(a, b))
}

/// An app that its owner disabled turns everybody away.
fn is_disabled(app: &App) -> bool {
    matches!(app.fields.get("servingStatus").and_then(Value::as_str), Some("USER_DISABLED" | "SYSTEM_DISABLED"))
}

/// `dispatchRules` of an app, in the order in which they are tried. What is no rule was refused before it was stored.
fn dispatch(rules: Option<&Value>) -> Vec<DispatchRule> {
    let rules = rules.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let text = |rule: &Value, field: &str| rule.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let read = |(at, rule): (usize, &Value)| {
        let (domain, path) = (text(rule, "domain"), text(rule, "path"));
        let host = match domain.as_str() {
            "" | "*" => HostPattern::Any,
            exact if !exact.starts_with('*') => HostPattern::Exact(exact.to_ascii_lowercase()),
            suffix => HostPattern::Suffix(suffix.trim_start_matches('*').to_ascii_lowercase()),
        };
        let pattern = match path.strip_suffix('*') {
            Some(prefix) => PathPattern::Prefix(prefix.to_owned()),
            None => PathPattern::Exact(path.clone()),
        };
        let service = text(rule, "service").parse().ok()?;
        let line = u32::try_from(at + 1).unwrap_or(u32::MAX);
        Some(DispatchRule { written: format!("{domain}{path}"), host, path: pattern, service, line })
    };
    rules.iter().enumerate().filter_map(read).collect()
}

fn nobody() -> FirewallRow {
    let description = "The app is disabled (servingStatus).".to_owned();
    FirewallRow { priority: 1, action: Action::Deny, source_range: "*".to_owned(), description }
}

fn firewall(rows: &[FirewallRow]) -> Firewall {
    let everybody = ["0.0.0.0/0", "::/0"];
    let mut rules = Vec::new();
    for row in rows {
        let ranges: Vec<&str> = if row.source_range == "*" { everybody.to_vec() } else { vec![row.source_range.as_str()] };
        for range in ranges {
            let source = range.parse::<IpNet>().or_else(|_| range.parse().map(|address: std::net::IpAddr| IpNet::from(address)));
            let Ok(source) = source else { continue };
            rules.push(FirewallRule { allow: row.action == Action::Allow, source, description: row.description.clone() });
        }
    }
    // The last word of an app that allows everybody needs no rule.
    while rules.last().is_some_and(|rule: &FirewallRule| rule.allow) {
        rules.pop();
    }
    Firewall { rules }
}
