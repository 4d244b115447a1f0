//! What the control plane asks of the server: versions made ready beside what serves, snapshots put in force, instances shown and ended.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fleet::Step;
use model::config::{InboundService, VersionConfig};
use model::engine::{Engine, InstanceReport, NotReady, Stage};
use model::ids::{AppId, InstanceId, VersionKey};
use model::pool::Boxed;
use model::scaling::Scaling;
use model::table::{Estate, Version};

use super::fleets::{AppFleet, Fleets};
use super::journal::Tap;
use super::slot::Slot;

/// A version that was made ready stays so long, even if it takes no traffic yet.
const KEPT: Duration = Duration::from_mins(10);
/// How long the answer to the first request may take.
const CHECK: Duration = Duration::from_mins(1);
/// Whoever publishes waits at most so long for requests that follow older snapshots; what those need stays until they are through.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is looked whether they are.
const LOOK: Duration = Duration::from_millis(2);
/// How often it is looked whether requests still wait for a version that is gone.
const LATER: Duration = Duration::from_millis(50);
/// Instances of an app that is gone may finish their requests for so long.
const FAREWELL: Duration = Duration::from_mins(10);
/// In `env_variables`: `none` lets a version serve without an answer to a first request.
const HEALTH_CHECK: &str = "ENGINEHOUSE_HEALTH_CHECK";

/// The engine.
pub(crate) struct House {
    fleets: Arc<Fleets>,
    /// Snapshots that are not in force any more and that requests may still follow.
    older: Arc<Mutex<Vec<Arc<Estate>>>>,
}

impl House {
    pub(crate) fn new(fleets: Arc<Fleets>) -> Arc<Self> {
        Arc::new(Self { fleets, older: Arc::default() })
    }

    /// Lets go of what was made ready and never published, and tries again to prepare what could not be prepared. To be called now and then.
    pub(crate) fn tidy(&self) {
        tidy(&self.fleets, &self.older);
        prepare_wanted(&self.fleets, &self.fleets.ground.estate.load_full());
    }

    /// The version of a snapshot in force that a key names.
    fn version(&self, app: &AppId, key: &VersionKey) -> Option<Arc<Version>> {
        let estate = self.fleets.ground.estate.load();
        estate.apps.get(app)?.services.get(&key.service)?.versions.get(&key.version).map(Arc::clone)
    }
}

impl Engine for House {
    fn make_ready(&self, version: Arc<Version>, told: Arc<dyn Fn(Stage) + Send + Sync>) -> Boxed<'static, Result<(), NotReady>> {
        let (fleets, serving) = (Arc::clone(&self.fleets), self.version(&version.app, &version.config.key));
        Box::pin(async move {
            let serves = serving.is_some_and(|serving| serving.deployment == version.deployment);
            let app = fleets.app(&version.app);
            let slot = app.slot(&version);
            slot.pin(Duration::from_hours(24));
            let tap = fleets.ground.taps.open(&version.app, &version.config.key);
            let making = Making { fleets, app: Arc::clone(&app), slot: Arc::clone(&slot), tap, told };
            let made = making.make().await;
            match &made {
                Ok(()) => slot.pin(KEPT),
                Err(_) if serves => slot.unpin(),
                Err(_) => app.dismiss(&slot),
            }
            made
        })
    }

    fn warm(&self, app: &AppId, version: &VersionKey, count: u32) -> Boxed<'static, Result<(), NotReady>> {
        let (fleets, found) = (Arc::clone(&self.fleets), self.version(app, version));
        let missing = format!("there is no version {version}");
        Box::pin(async move {
            let version = found.ok_or(NotReady { message: missing, log: Vec::new() })?;
            let app = fleets.app(&version.app);
            let slot = app.slot(&version);
            let tap = fleets.ground.taps.open(&version.app, &version.config.key);
            let making = Making { fleets, app, slot, tap, told: Arc::new(|_| {}) };
            making.prepare().await?;
            making.raise(count).await.map(drop)
        })
    }

    fn publish(&self, estate: Arc<Estate>) -> Boxed<'static, ()> {
        let (fleets, older) = (Arc::clone(&self.fleets), Arc::clone(&self.older));
        {
            let mut older = lock(&older);
            // An `Arc` of our own, because its holders are counted.
            older.push(fleets.ground.estate.swap(Arc::new(Estate::clone(&estate))));
        }
        fit(&fleets, &estate);
        prepare_wanted(&fleets, &estate);
        drop(estate);
        let runtime = fleets.runtime.clone();
        let (through, settled) = tokio::sync::oneshot::channel();
        runtime.spawn(async move {
            let estate = loop {
                if let Some(estate) = alone(&fleets, &older) {
                    break estate;
                }
                tokio::time::sleep(LOOK).await;
            };
            let mut busy = sweep(&fleets, &estate);
            drop(estate);
            let _ = through.send(());
            while busy {
                tokio::time::sleep(LATER).await;
                busy = tidy(&fleets, &older);
            }
        });
        Box::pin(async move {
            // Beyond that only requests are left whose client is slow to send its body; the sweep waits for them.
            let _ = runtime.spawn(async move { tokio::time::timeout(PATIENCE, settled).await }).await;
        })
    }

    fn instances(&self, app: &AppId, version: &VersionKey) -> Vec<InstanceReport> {
        self.fleets.known(app).and_then(|app| Some(app.fleet()?.reports(version))).unwrap_or_default()
    }

    fn end(&self, app: &AppId, version: &VersionKey, instance: &InstanceId) -> bool {
        self.fleets.known(app).and_then(|app| Some(app.fleet()?.end(version, instance))).unwrap_or(false)
    }
}

fn lock(older: &Mutex<Vec<Arc<Estate>>>) -> std::sync::MutexGuard<'_, Vec<Arc<Estate>>> {
    older.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The snapshot in force, if no request follows an older one. A request holds its snapshot until it has its place at an instance or in a queue
/// (`edge::walk`), and nobody can come by an older one any more, so that the count of an older snapshot only falls.
fn alone(fleets: &Fleets, older: &Mutex<Vec<Arc<Estate>>>) -> Option<Arc<Estate>> {
    let mut older = lock(older);
    older.retain(|snapshot| Arc::strong_count(snapshot) > 1);
    // Under the lock: of what this returns, nothing is let go, even if another snapshot takes its place right now.
    older.is_empty().then(|| fleets.ground.estate.load_full())
}

/// Lets go of what nobody needs any more, if that can be said now; tells whether something is left.
fn tidy(fleets: &Arc<Fleets>, older: &Mutex<Vec<Arc<Estate>>>) -> bool {
    alone(fleets, older).is_none_or(|estate| sweep(fleets, &estate))
}

/// Begins to prepare the versions that are to have instances before anybody asks.
fn prepare_wanted(fleets: &Arc<Fleets>, estate: &Estate) {
    for (app, version) in wanted(estate) {
        let app = fleets.app(app);
        let slot = app.slot(version);
        fleets.prepare(&app, &slot, false);
    }
}

/// Gives versions that run as many instances as they ask for by number now, and lets instances find the app's hosts.
fn fit(fleets: &Fleets, estate: &Estate) {
    for (app, table) in &estate.apps {
        let Some(app) = fleets.known(app) else { continue };
        let Some(fleet) = app.fleet() else { continue };
        fleets.name(fleet, table);
        for version in table.services.values().flat_map(|service| service.versions.values()) {
            fleet.resize(version);
        }
    }
}

/// Versions that are to have instances before anybody asks.
fn wanted(estate: &Estate) -> impl Iterator<Item = (&AppId, &Arc<Version>)> {
    estate.apps.iter().flat_map(|(app, table)| {
        table.services.values().flat_map(move |service| {
            let versions = service.versions.iter();
            let eager =
                versions.filter(|(id, version)| !version.stopped && is_eager(&version.config, service.split.share(id.as_str()) > 0));
            eager.map(move |(_, version)| (app, version))
        })
    })
}

/// Whether a version is to have instances before anybody asks for it. What `min_instances` keeps is meant for versions that have traffic.
fn is_eager(config: &VersionConfig, has_traffic: bool) -> bool {
    match &config.scaling {
        Scaling::Manual(rule) => rule.instances > 0,
        Scaling::Automatic(rule) => has_traffic && (rule.min_instances > 0 || rule.min_idle_instances.is_some_and(|least| least > 0)),
        Scaling::Basic(_) => false,
    }
}

/// Lets go of everything that a snapshot does not have; tells whether requests that wait hold something back.
fn sweep(fleets: &Arc<Fleets>, estate: &Estate) -> bool {
    let mut busy = false;
    for app in fleets.all() {
        let live: BTreeMap<VersionKey, u64> = estate.apps.get(&app.app).map(|table| deployments(table)).unwrap_or_default();
        let left = app.sweep(|key, deployment| live.get(key) == Some(&deployment));
        busy |= left.busy;
        if left.empty && !estate.apps.contains_key(&app.app) {
            fleets.forget(&app, FAREWELL);
        }
    }
    busy
}

fn deployments(table: &model::table::RoutingTable) -> BTreeMap<VersionKey, u64> {
    let versions = table.services.values().flat_map(|service| service.versions.values());
    versions.filter(|version| !version.stopped).map(|version| (version.config.key.clone(), version.deployment)).collect()
}

/// One version on its way to readiness.
struct Making {
    fleets: Arc<Fleets>,
    app: Arc<AppFleet>,
    slot: Arc<Slot>,
    tap: Arc<Tap>,
    told: Arc<dyn Fn(Stage) + Send + Sync>,
}

impl Making {
    async fn make(&self) -> Result<(), NotReady> {
        (self.told)(Stage::Copying);
        self.prepare().await?;
        let version = &self.slot.version;
        let Some(fleet) = self.app.fleet().filter(|fleet| fleet.runs(version)) else {
            // It runs no code.
            (self.told)(Stage::Ready);
            return Ok(());
        };
        (self.told)(Stage::Booting);
        // As many as serve under the same name now: it takes their place.
        let before = fleet.reports(&version.config.key).iter().filter(|one| one.ready && !one.leaving).count();
        let cold = self.raise(u32::try_from(before.max(1)).unwrap_or(u32::MAX)).await?;
        if is_checked(&version.config) {
            let checked = match cold {
                Some(why) => Err(format!("the warm-up failed: {why}")),
                None if version.config.inbound.contains(&InboundService::Warmup) => Ok(()),
                None => {
                    (self.told)(Stage::Warming);
                    fleet.check(version, CHECK).await.map_err(|unready| unready.0)
                }
            };
            checked.map_err(|message| self.not_ready(message))?;
        }
        (self.told)(Stage::Ready);
        Ok(())
    }

    /// Copies, installs, builds.
    async fn prepare(&self) -> Result<(), NotReady> {
        self.slot.tell(Arc::clone(&self.told));
        self.fleets.prepare(&self.app, &self.slot, true);
        self.slot.settled().await.map_err(|message| NotReady { message, log: self.slot.lines() })
    }

    /// Starts instances; returned is why a warm-up failed, if one did.
    async fn raise(&self, count: u32) -> Result<Option<String>, NotReady> {
        let Some(fleet) = self.app.fleet().filter(|fleet| fleet.runs(&self.slot.version)) else { return Ok(None) };
        let cold = Mutex::new(None);
        let told = |step: &Step| match step {
            Step::Starting(instance) => self.tap.hear(instance.clone()),
            Step::Greeting => (self.told)(Stage::Warming),
            Step::Cold(why) => *cold.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.clone()),
            Step::Ready(_) | Step::Died(_) => {}
        };
        let raised = fleet.raise(&self.slot.version, count, KEPT, &told).await;
        raised.map_err(|unready| self.not_ready(unready.0))?;
        Ok(cold.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    fn not_ready(&self, message: String) -> NotReady {
        NotReady { message, log: self.tap.lines() }
    }
}

/// Whether the first instance has to answer a request before the version may serve. Under basic and manual scaling `/_ah/start` decides.
fn is_checked(config: &VersionConfig) -> bool {
    let off = config.env.iter().any(|(name, value)| name == HEALTH_CHECK && value == "none");
    matches!(config.scaling, Scaling::Automatic(_)) && !off
}
