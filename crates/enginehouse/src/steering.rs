//! What apps change about themselves during `run` (the Modules API): kept until the run ends or the scaling in app.yaml changes. Everything that puts
//! versions in force goes through here, so that a reload and a change from inside cannot undo each other.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use fleet::{Fleet, Prepared};
use model::ids::{AppId, VersionKey};
use model::pool::Boxed;
use model::route::host;
use model::scaling::{Manual, Scaling};
use model::steer::{Change, Refused, Steer};
use model::table::{Estate, RoutingTable, Version};

use crate::addresses::{MOST_NAMES, local};
use crate::app::Versions;

/// The versions of the app as they are in force.
pub(crate) struct Steering {
    app: AppId,
    estate: Arc<ArcSwap<Estate>>,
    fleet: Arc<Fleet>,
    /// Where the front end is reached from this machine.
    address: IpAddr,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    wishes: BTreeMap<VersionKey, Wish>,
    prepared: BTreeMap<VersionKey, Prepared>,
}

/// What the app asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Wish {
    instances: Option<u32>,
    stopped: bool,
}

impl Steering {
    pub(crate) fn new(app: AppId, estate: Arc<ArcSwap<Estate>>, fleet: Arc<Fleet>, listening: SocketAddr) -> Arc<Self> {
        let steering = Arc::new(Self { app, estate, fleet, address: local(listening), state: Mutex::default() });
        if let Some(table) = steering.estate.load().apps.get(&steering.app) {
            steering.name(table);
        }
        steering
    }

    /// Instances find the hosts of a table.
    fn name(&self, table: &RoutingTable) {
        self.fleet.name(self.address, &host::local_names(table, MOST_NAMES));
    }

    /// These versions can run.
    pub(crate) fn prepared(&self, made: BTreeMap<VersionKey, Prepared>) {
        self.lock().prepared.extend(made);
    }

    /// Forgets how other versions than these are run.
    pub(crate) fn keep(&self, versions: &Versions) {
        self.lock().prepared.retain(|key, _| versions.contains_key(key));
    }

    /// Forgets what was asked for versions whose scaling is another one now, or that are gone.
    pub(crate) fn forget(&self, old: &Versions, new: &Versions) {
        let same = |key: &VersionKey| match (old.get(key), new.get(key)) {
            (Some(old), Some(new)) => old.config.scaling == new.config.scaling,
            _ => false,
        };
        self.lock().wishes.retain(|key, _| same(key));
    }

    /// Lets these versions run, as far as they are prepared and not stopped.
    pub(crate) fn publish(&self, versions: &Versions) {
        let state = self.lock();
        let wished = versions.values().map(|version| state.apply(version)).filter(|version| !version.stopped);
        let ready: Vec<_> =
            wished.filter_map(|version| Some((Arc::clone(&version), state.prepared.get(&version.config.key)?.clone()))).collect();
        let sizes: Vec<_> = ready.iter().map(|(version, _)| Arc::clone(version)).collect();
        self.fleet.publish(ready);
        for version in sizes {
            self.fleet.resize(&version);
        }
    }

    /// Routes by a table.
    pub(crate) fn route(&self, mut table: RoutingTable) {
        let state = self.lock();
        for service in table.services.values_mut() {
            for version in service.versions.values_mut() {
                *version = state.apply(version);
            }
        }
        self.put(table);
    }

    /// Under the lock.
    fn put(&self, mut table: RoutingTable) {
        table.generation = table.generation.max(self.estate.load().generation + 1);
        self.name(&table);
        self.estate.store(Arc::new(Estate::of(table)));
    }

    fn change(&self, key: &VersionKey, change: Change) -> Result<(), Refused> {
        let mut state = self.lock();
        let table =
            self.estate.load().apps.get(&self.app).map(Arc::clone).ok_or_else(|| Refused::NotNow("the app is not served yet".into()))?;
        let found = table.services.get(&key.service).and_then(|service| service.versions.get(&key.version));
        let version = found.ok_or_else(|| Refused::Missing(key.clone()))?;
        change.check(key, &version.config.scaling, version.stopped)?;
        let wish = state.wishes.entry(key.clone()).or_default();
        match change {
            Change::Instances(instances) => wish.instances = Some(instances),
            Change::Serving(serving) => wish.stopped = !serving,
        }
        let changed = state.apply(version);
        let mut table = RoutingTable::clone(&table);
        if let Some(service) = table.services.get_mut(&key.service) {
            service.versions.insert(key.version.clone(), Arc::clone(&changed));
        }
        self.put(table);
        self.effect(&state, &changed, change);
        Ok(())
    }

    /// What follows for instances.
    fn effect(&self, state: &State, version: &Arc<Version>, change: Change) {
        let key = &version.config.key;
        match change {
            Change::Instances(_) => self.fleet.resize(version),
            Change::Serving(false) => self.fleet.retain(|other, _| other != key),
            // One that is not prepared yet begins once it is.
            Change::Serving(true) => {
                if let Some(prepared) = state.prepared.get(key) {
                    self.fleet.add(Arc::clone(version), prepared.clone());
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// A version as the app wants it.
    fn apply(&self, version: &Arc<Version>) -> Arc<Version> {
        let Some(wish) = self.wishes.get(&version.config.key) else { return Arc::clone(version) };
        let mut config = version.config.clone();
        if let (Scaling::Manual(rule), Some(instances)) = (&mut config.scaling, wish.instances) {
            *rule = Manual { instances };
        }
        Arc::new(Version::new(version.app.clone(), config, version.root.clone(), version.deployment).with_stopped(wish.stopped))
    }
}

impl Steer for Steering {
    fn steer(&self, _: &AppId, version: &VersionKey, change: Change) -> Boxed<'static, Result<(), Refused>> {
        let done = self.change(version, change);
        Box::pin(std::future::ready(done))
    }
}
