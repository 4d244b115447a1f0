//! One fleet per app, made on demand, behind one pool. A version is prepared when the first request needs it, or when its scaling asks for
//! instances without any; until then it costs nothing, and requests for it wait here.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use fleet::Fleet;
use model::ids::{AppId, VersionKey};
use model::journal::{Journal as _, Severity};
use model::pool::{Boxed, Caller, Lease, Pool, Reject, Wanted};
use model::route::host;
use model::sched::Census;
use model::table::{Estate, RoutingTable, Version};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::journal::{AppJournal, Taps};
use super::slot::{Guest, Slot, State, Telling};
use crate::addresses::MOST_NAMES;
use crate::journal::Recorder;

/// Versions that are prepared at the same time.
const PREPARING: usize = 4;

/// Options of an app's fleet.
pub(crate) type FleetOptions = Box<dyn Fn(&AppId, Arc<AppJournal>) -> fleet::Options + Send + Sync>;

/// What all fleets are made with.
pub(crate) struct Ground {
    /// Options of the first fleet; the app and the journal differ.
    pub(crate) options: FleetOptions,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) taps: Arc<Taps>,
    /// The snapshot in force.
    pub(crate) estate: Arc<ArcSwap<Estate>>,
    /// Where the front end is reached from this machine.
    pub(crate) address: IpAddr,
}

/// All fleets.
pub(crate) struct Fleets {
    pub(crate) ground: Ground,
    pub(crate) runtime: Handle,
    apps: ArcSwap<HashMap<AppId, Arc<AppFleet>>>,
    /// Serialises changes of `apps`.
    making: Mutex<()>,
    caller: OnceLock<Arc<dyn Caller>>,
    builders: Arc<Semaphore>,
}

/// The fleet of one app and what is on its way to it.
pub(crate) struct AppFleet {
    pub(crate) app: AppId,
    pub(crate) journal: Arc<AppJournal>,
    /// Made when the first version is prepared.
    fleet: OnceLock<Arc<Fleet>>,
    slots: Mutex<HashMap<(VersionKey, u64), Arc<Slot>>>,
}

/// What is left of an app after a sweep.
pub(crate) struct Left {
    /// Nothing.
    pub(crate) empty: bool,
    /// Requests wait for something that is not served any more.
    pub(crate) busy: bool,
}

impl AppFleet {
    /// The fleet, if any version was ever prepared.
    pub(crate) fn fleet(&self) -> Option<&Arc<Fleet>> {
        self.fleet.get()
    }

    /// The slot of a deployment, made if there is none.
    pub(crate) fn slot(&self, version: &Arc<Version>) -> Arc<Slot> {
        let place = (version.config.key.clone(), version.deployment);
        Arc::clone(self.lock().entry(place).or_insert_with(|| Slot::new(Arc::clone(version))))
    }

    /// Lets go of every deployment that `live` does not know, unless somebody waits for it or has it pinned.
    pub(crate) fn sweep(&self, live: impl Fn(&VersionKey, u64) -> bool) -> Left {
        let mut slots = self.lock();
        let mut busy = false;
        slots.retain(|(key, deployment), slot| {
            let serves = live(key, *deployment) || slot.is_pinned();
            busy |= !serves && slot.has_guests();
            serves || slot.has_guests()
        });
        if let Some(fleet) = self.fleet.get() {
            fleet.retain(|key, deployment| slots.contains_key(&(key.clone(), deployment)));
        }
        Left { empty: slots.is_empty(), busy }
    }

    /// Lets go of one deployment that never served.
    pub(crate) fn dismiss(&self, slot: &Slot) {
        let place = (slot.version.config.key.clone(), slot.version.deployment);
        let mut slots = self.lock();
        slots.remove(&place);
        if let Some(fleet) = self.fleet.get() {
            fleet.retain(|key, deployment| slots.contains_key(&(key.clone(), deployment)));
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(VersionKey, u64), Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fleets {
    /// No fleets yet. Must be called inside the runtime that is to watch instances.
    pub(crate) fn new(ground: Ground) -> Arc<Self> {
        Arc::new(Self {
            ground,
            runtime: Handle::current(),
            apps: ArcSwap::default(),
            making: Mutex::default(),
            caller: OnceLock::new(),
            builders: Arc::new(Semaphore::new(PREPARING)),
        })
    }

    /// Names who sends lifecycle requests; to be said before anything is asked.
    pub(crate) fn connect(&self, caller: Arc<dyn Caller>) {
        let _ = self.caller.set(caller);
    }

    /// Lets the instances of an app find its hosts.
    pub(crate) fn name(&self, fleet: &Fleet, table: &RoutingTable) {
        fleet.name(self.ground.address, &host::local_names(table, MOST_NAMES));
    }

    /// The fleet of an app, which is made if there is none.
    pub(crate) fn app(&self, app: &AppId) -> Arc<AppFleet> {
        if let Some(known) = self.known(app) {
            return known;
        }
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = self.known(app) {
            return known;
        }
        let journal = AppJournal::new(Arc::clone(&self.ground.recorder), Arc::clone(&self.ground.taps), app.clone());
        let made = Arc::new(AppFleet { app: app.clone(), journal, fleet: OnceLock::new(), slots: Mutex::default() });
        let mut apps = HashMap::clone(&self.apps.load());
        apps.insert(app.clone(), Arc::clone(&made));
        self.apps.store(Arc::new(apps));
        made
    }

    /// The fleet of an app, if there is one.
    pub(crate) fn known(&self, app: &AppId) -> Option<Arc<AppFleet>> {
        self.apps.load().get(app).map(Arc::clone)
    }

    /// Every app that was ever needed.
    pub(crate) fn all(&self) -> Vec<Arc<AppFleet>> {
        self.apps.load().values().map(Arc::clone).collect()
    }

    /// Begins to prepare a deployment, unless that is under way or done. `anew`: although it failed a moment ago.
    pub(crate) fn prepare(self: &Arc<Self>, app: &Arc<AppFleet>, slot: &Arc<Slot>, anew: bool) {
        if !(if anew { slot.begin_anew() } else { slot.begin() }) {
            return;
        }
        let (all, app, slot, builders) = (Arc::clone(self), Arc::clone(app), Arc::clone(slot), Arc::clone(&self.builders));
        self.runtime.spawn(async move {
            // The semaphore is never closed.
            let _permit = builders.acquire_owned().await;
            let (house, about) = (Arc::clone(&app), Arc::clone(&slot));
            let outcome = tokio::task::spawn_blocking(move || all.prepare_now(&house, &about)).await;
            let outcome = outcome.unwrap_or_else(|_| Err("preparing the version broke off".to_owned()));
            if let Err(why) = &outcome {
                app.journal.notice(Severity::Error, &slot.version.config.key, format!("it cannot run: {why}"));
            }
            slot.settle(outcome);
        });
    }

    /// Blocks, perhaps for minutes.
    fn prepare_now(&self, app: &Arc<AppFleet>, slot: &Arc<Slot>) -> Result<(), String> {
        let fleet = self.fleet_of(app)?;
        let telling = Telling { slot: Arc::clone(slot), journal: Arc::clone(&app.journal) };
        let prepared = fleet.prepare(&slot.version, &telling).map_err(|error| error.to_string())?;
        // Under the lock of the slots: a version that was let go meanwhile gets no instances.
        let slots = app.lock();
        let place = (slot.version.config.key.clone(), slot.version.deployment);
        if slots.get(&place).is_some_and(|known| Arc::ptr_eq(known, slot)) {
            fleet.add(Arc::clone(&slot.version), prepared);
        }
        drop(slots);
        // The number of instances may have been changed since the slot was made.
        let estate = self.ground.estate.load();
        let key = &slot.version.config.key;
        let service = estate.apps.get(&app.app).and_then(|table| table.services.get(&key.service));
        if let Some(newest) = service.and_then(|service| service.versions.get(&key.version)) {
            fleet.resize(newest);
        }
        Ok(())
    }

    /// The fleet of an app, which is made on first use: that takes a process and a look at the machine.
    fn fleet_of(&self, app: &Arc<AppFleet>) -> Result<Arc<Fleet>, String> {
        if let Some(fleet) = app.fleet.get() {
            return Ok(Arc::clone(fleet));
        }
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fleet) = app.fleet.get() {
            return Ok(Arc::clone(fleet));
        }
        let _context = self.runtime.enter();
        let options = (self.ground.options)(&app.app, Arc::clone(&app.journal));
        let fleet = Fleet::new(options).map_err(|error| format!("instances cannot be started: {error}"))?;
        if let Some(caller) = self.caller.get() {
            fleet.connect(Arc::clone(caller));
        }
        if let Some(table) = self.ground.estate.load().apps.get(&app.app) {
            self.name(&fleet, table);
        }
        for complaint in fleet.complaints() {
            app.journal.write(model::journal::Entry::Notice { severity: Severity::Warning, version: None, text: complaint });
        }
        let _ = app.fleet.set(Arc::clone(&fleet));
        Ok(fleet)
    }

    /// Waits in the waiting room, then at the version's instances.
    async fn wait(
        self: Arc<Self>,
        app: Arc<AppFleet>,
        slot: Arc<Slot>,
        guest: Guest,
        wanted: Wanted,
        patience: Duration,
    ) -> Result<Lease, Reject> {
        let since = Instant::now();
        // The caller's runtime may have no timer; ours does.
        let mut alarm = self.runtime.spawn(tokio::time::sleep(patience));
        let settled = tokio::select! {
            settled = slot.settled() => settled,
            _ = &mut alarm => {
                let text = format!("{} is still being prepared; the log shows how far it is. Try again in a moment.", wanted.version.config.key);
                return Err(Reject::StartFailed(text));
            }
        };
        alarm.abort();
        settled.map_err(Reject::StartFailed)?;
        let gone = || Reject::NotServing(format!("{} does not run", wanted.version.config.key));
        let place = app.fleet().ok_or_else(gone)?.queue(&wanted, patience.saturating_sub(since.elapsed()));
        // Not before the request has its place in the queue: nobody lets go of a version that has guests.
        drop(guest);
        place.await
    }

    /// How many instances every version of every app has in which state.
    pub(crate) fn census(&self) -> Vec<(AppId, VersionKey, Census)> {
        let of = |app: Arc<AppFleet>| {
            let census = app.fleet().map(|fleet| fleet.census()).unwrap_or_default();
            census.into_iter().map(move |(key, census)| (app.app.clone(), key, census))
        };
        self.all().into_iter().flat_map(of).collect()
    }

    /// Versions that are being prepared.
    pub(crate) fn preparing(&self) -> Vec<(AppId, VersionKey)> {
        let of = |app: Arc<AppFleet>| {
            let slots = app.lock();
            let preparing = slots.values().filter(|slot| slot.state() == State::Preparing);
            preparing.map(|slot| (app.app.clone(), slot.version.config.key.clone())).collect::<Vec<_>>()
        };
        self.all().into_iter().flat_map(of).collect()
    }

    /// Walls around instances that are missing.
    pub(crate) fn missing_walls(&self) -> Vec<String> {
        self.all().iter().find_map(|app| app.fleet().map(|fleet| fleet.complaints())).unwrap_or_default()
    }

    /// An app is gone: its processes end.
    pub(crate) fn forget(&self, app: &Arc<AppFleet>, grace: Duration) {
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        // Somebody may have needed it again meanwhile.
        if !app.lock().is_empty() {
            return;
        }
        let mut apps = HashMap::clone(&self.apps.load());
        apps.remove(&app.app);
        self.apps.store(Arc::new(apps));
        if let Some(fleet) = app.fleet.get().map(Arc::clone) {
            self.runtime.spawn(async move { fleet.stop(grace).await });
        }
    }

    /// Ends every process, within `grace`.
    pub(crate) async fn stop(&self, grace: Duration) {
        let mut ending = tokio::task::JoinSet::new();
        for fleet in self.all().iter().filter_map(|app| app.fleet.get().map(Arc::clone)) {
            ending.spawn_on(async move { fleet.stop(grace).await }, &self.runtime);
        }
        while ending.join_next().await.is_some() {}
    }
}

/// The pool that the front end sees.
pub(crate) struct Front(pub(crate) Arc<Fleets>);

impl Pool for Front {
    fn try_acquire(&self, wanted: &Wanted) -> Option<Lease> {
        self.0.apps.load().get(&wanted.version.app)?.fleet.get()?.try_acquire(wanted)
    }

    fn acquire(&self, wanted: Wanted, patience: Duration) -> Boxed<'_, Result<Lease, Reject>> {
        let app = self.0.app(&wanted.version.app);
        if let Some(fleet) = app.fleet().filter(|fleet| fleet.runs(&wanted.version)) {
            return fleet.queue(&wanted, patience);
        }
        let slot = app.slot(&wanted.version);
        let guest = slot.enter();
        self.0.prepare(&app, &slot, false);
        Box::pin(Arc::clone(&self.0).wait(app, slot, guest, wanted, patience))
    }
}
