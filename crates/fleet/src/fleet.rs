//! The fleet: one pool per version, and what all pools share.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use model::ids::{AppId, VersionKey};
use model::journal::Journal;
use model::pool::{Boxed, Caller, Lease, Pool, Reject, Wanted};
use model::rpc::Doors;
use model::sched::Census;
use model::table::Version;
use model::time::Tick;
use sandbox::limits::Limits;
use tokio::sync::watch;

use crate::capacity::Capacity;
use crate::google::AdminApi;
use crate::launch::LAUNCHER;
use crate::life::Ports;
use crate::meter::Meter;
use crate::names::Names;
use crate::pool::{Deployment, VersionPool};
use crate::prepare::{Launch, Prepared};
use crate::spawn::Spawner;
use crate::walls::{self, Ground, Isolation, Share, Survey};
use crate::warden::Warden;
use crate::zygote::Preload;

/// How often leftovers in the cache are looked for.
const SWEEP_EVERY: Duration = Duration::from_hours(24);

/// What the fleet needs to know once.
#[derive(Clone)]
pub struct Options {
    /// The app, as `--project` or the files name it.
    pub app: AppId,
    /// Where lines and notices go.
    pub journal: Arc<dyn Journal>,
    /// Environments, the unpacked agent and probe results are kept here, shared by all apps of the user.
    pub cache: PathBuf,
    /// `--python`: interpreters that the user chose.
    pub pythons: Vec<PythonChoice>,
    /// `--env-var`: wins over `env_variables`.
    pub env: BTreeMap<String, String>,
    /// `--isolation`.
    pub isolation: Isolation,
    /// `--share`: folders of the machine that instances see.
    pub shares: Vec<Share>,
    /// Readable tracebacks, `SERVER_SOFTWARE=Development/2.0`.
    pub development: bool,
    /// `--preload`: what zygotes import ahead; wins over what apps say in `ENGINEHOUSE_PRELOAD`.
    pub preload: Option<Preload>,
    /// How long an entrypoint may take until it listens on `$PORT`.
    pub start_limit: Duration,
    /// What the computer bears; several fleets may share it.
    pub capacity: Arc<Capacity>,
    /// Each deployment of a version has a pool of its own, so that the next one can be made ready beside the one that serves. Otherwise a
    /// version has one pool, and a new deployment replaces its instances.
    pub beside: bool,
    /// Folders of versions below this one never change, and are named by what is in them: versions of an app with the same folder share one copy.
    pub sealed: Option<PathBuf>,
    /// How long one step of an installation or a build may take.
    pub build_limit: Duration,
    /// Where instances call bundled services; without it no service answers.
    pub doors: Option<Arc<dyn Doors>>,
    /// Where those who ask Google's Admin API are answered.
    pub admin_api: Option<AdminApi>,
    /// Runs the tasks that watch instances; must outlive the fleet.
    pub runtime: tokio::runtime::Handle,
    /// The binary whose `main` calls [`crate::launch::intercept`].
    pub launcher: PathBuf,
}

impl Options {
    /// Defaults for `app`: no chosen interpreters, production mode, our own binary as launcher.
    pub fn new(app: AppId, journal: Arc<dyn Journal>, cache: PathBuf, runtime: tokio::runtime::Handle) -> Self {
        Self {
            app,
            journal,
            cache,
            pythons: Vec::new(),
            env: BTreeMap::new(),
            isolation: Isolation::default(),
            shares: Vec::new(),
            development: false,
            preload: None,
            start_limit: Duration::from_mins(1),
            capacity: Arc::new(Capacity::new(None)),
            beside: false,
            sealed: None,
            build_limit: Duration::from_mins(10),
            doors: None,
            admin_api: None,
            runtime,
            launcher: LAUNCHER.into(),
        }
    }
}

/// `--python PATH` or `--python RUNTIME=PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PythonChoice {
    /// The runtime that it is for, `python27`; every Python runtime if absent.
    pub runtime: Option<String>,
    /// The interpreter.
    pub path: PathBuf,
}

impl std::str::FromStr for PythonChoice {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (runtime, path) = match text.split_once('=') {
            Some((runtime, path)) if model::runtime::Runtime::parse(runtime).is_some() => (Some(runtime.to_owned()), path),
            _ => (None, text),
        };
        if path.is_empty() { Err("write --python PATH or --python RUNTIME=PATH".into()) } else { Ok(Self { runtime, path: path.into() }) }
    }
}

/// What all pools share.
pub(crate) struct House {
    pub(crate) options: Options,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) spawner: Spawner,
    pub(crate) warden: Arc<Warden>,
    pub(crate) ground: Ground,
    pub(crate) limits: Arc<Limits>,
    pub(crate) meter: Meter,
    pub(crate) ports: Ports,
    pub(crate) capacity: Arc<Capacity>,
    /// Private directory of the agents' sockets; short, because a socket's path has at most 107 bytes.
    pub(crate) run_dir: PathBuf,
    /// Names of the app's own hosts, for its instances.
    pub(crate) names: Names,
    /// Marks the processes of this house.
    pub(crate) token: String,
    /// Who asks instances for `/_ah/start` and the like; instances are not asked before it is known.
    pub(crate) caller: OnceLock<Arc<dyn Caller>>,
    /// The newest copy of each version's files.
    pub(crate) newest: crate::stage::Newest,
    /// Zygotes ever started.
    pub(crate) zygotes: AtomicU64,
    /// Nothing is started any more.
    pub(crate) closing: AtomicBool,
    /// Set once nobody waits politely any more.
    pub(crate) force: watch::Sender<bool>,
    epoch: Instant,
}

impl House {
    /// Marks the processes that install packages.
    pub(crate) fn installer_mark(&self) -> String {
        format!("{}.installer", self.token)
    }

    pub(crate) fn now(&self) -> Tick {
        Tick(u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX))
    }
}

/// One pool of each version, or one of each deployment, the newest last. Ordered: a request finds its pool by comparing two short names, which costs
/// less than hashing them.
type Pools = BTreeMap<VersionKey, Vec<Arc<VersionPool>>>;

/// Instances of every version of the app.
pub struct Fleet {
    house: Arc<House>,
    pools: ArcSwap<Pools>,
    /// Serialises [`Self::publish`].
    publishing: Mutex<Publishing>,
}

#[derive(Default)]
struct Publishing {
    /// Pools that are not published any more and may still have requests.
    leaving: Vec<Weak<VersionPool>>,
}

impl Fleet {
    /// Makes a fleet without versions. Starts the thread that starts processes, and the warden.
    ///
    /// # Errors
    /// If no private directory, thread or process can be made.
    pub fn new(options: Options) -> io::Result<Arc<Self>> {
        let survey = Survey::by(&options.launcher, options.isolation);
        Self::surveyed(options, survey)
    }

    /// A fleet whose survey was begun before, for the same walls.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn surveyed(options: Options, survey: Survey) -> io::Result<Arc<Self>> {
        let token = format!("{:016x}", draw());
        let ground = Ground::of(survey, &options)?;
        let run_dir = private_dir(&token)?;
        std::fs::create_dir_all(&options.cache)?;
        let warden = Arc::new(Warden::start(&options.launcher, &run_dir)?);
        let spawner = Spawner::start(options.launcher.clone(), Arc::clone(&warden), options.runtime.clone())?;
        let house = House {
            journal: Arc::clone(&options.journal),
            runtime: options.runtime.clone(),
            capacity: Arc::clone(&options.capacity),
            names: Names::new(&run_dir, &crate::walls::hosts(options.doors.as_ref()), crate::walls::admin_host(&options)),
            options,
            spawner,
            warden,
            limits: Arc::new(ground.limits()),
            ground,
            meter: Meter::new(),
            ports: Ports::default(),
            run_dir,
            token,
            caller: OnceLock::new(),
            newest: crate::stage::Newest::default(),
            zygotes: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            force: watch::channel(false).0,
            epoch: Instant::now(),
        };
        sweep(&house.options.cache);
        Ok(Arc::new(Self { house: Arc::new(house), pools: ArcSwap::default(), publishing: Mutex::default() }))
    }

    /// Names who sends lifecycle requests; the first word counts. To be said before anything is published.
    pub fn connect(&self, caller: Arc<dyn Caller>) {
        let _ = self.house.caller.set(caller);
    }

    /// Makes `versions` the ones that run. A version that is new gets an empty pool; one with another deployment number is reloaded; one that
    /// is not among them any more drains. Does nothing once [`Self::stop`] was called.
    pub fn publish(&self, versions: Vec<(Arc<Version>, Prepared)>) {
        let mut publishing = self.publishing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.house.closing.load(Ordering::SeqCst) {
            return;
        }
        let old = self.pools.load_full();
        let mut new = Pools::new();
        for (version, prepared) in versions {
            if matches!(prepared.launch, Launch::None) {
                continue;
            }
            let key = version.config.key.clone();
            let deployment = Deployment { version, prepared };
            let pool = if let Some(pool) = old.get(&key).and_then(|pools| pools.last()) {
                if pool.deployment().version.deployment != deployment.version.deployment {
                    pool.reload(deployment);
                }
                Arc::clone(pool)
            } else {
                self.make(deployment)
            };
            new.insert(key, vec![pool]);
        }
        self.put(&mut publishing, new);
        drop(publishing);
        self.warm();
    }

    /// Lets a version run beside all others. Does nothing if it runs already, or once [`Self::stop`] was called.
    pub fn add(&self, version: Arc<Version>, prepared: Prepared) {
        let mut publishing = self.publishing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.house.closing.load(Ordering::SeqCst) || matches!(prepared.launch, Launch::None) || self.find(&version).is_some() {
            return;
        }
        let mut new = Pools::clone(&self.pools.load());
        let key = version.config.key.clone();
        let pool = self.make(Deployment { version, prepared });
        new.entry(key).or_default().push(pool);
        self.put(&mut publishing, new);
        drop(publishing);
        self.warm();
    }

    /// Gives a version under manual scaling as many instances as it says now, without touching those that stay.
    pub fn resize(&self, version: &Version) {
        if let (model::scaling::Scaling::Manual(rule), Some(pool)) = (&version.config.scaling, self.find(version)) {
            pool.resize(rule.instances);
        }
    }

    /// Instances find these names at `address`, besides those that the machine's `/etc/hosts` has. Instances without walls do not.
    pub fn name(&self, address: IpAddr, names: &[String]) {
        self.house.names.set(address, names);
    }

    /// Lets those go that `stays` does not know; it is asked with the version and the number of the deployment. Who waits for one of their instances is
    /// still served.
    pub fn retain(&self, stays: impl Fn(&VersionKey, u64) -> bool) {
        let mut publishing = self.publishing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut new = Pools::clone(&self.pools.load());
        for (key, pools) in &mut new {
            pools.retain(|pool| stays(key, pool.first));
        }
        new.retain(|_, pools| !pools.is_empty());
        self.put(&mut publishing, new);
    }

    fn make(&self, deployment: Deployment) -> Arc<VersionPool> {
        // Of all fleets of the process: serials are the key to kept connections, which belong to no fleet.
        static MADE: AtomicU64 = AtomicU64::new(1);
        let made = MADE.fetch_add(1, Ordering::Relaxed);
        VersionPool::new(Arc::clone(&self.house), deployment, made << 32, draw())
    }

    /// Puts a set of pools in force; those that are not in it leave.
    fn put(&self, publishing: &mut Publishing, new: Pools) {
        let old = self.pools.load_full();
        let stays = |pool: &Arc<VersionPool>| new.get(&pool.key).is_some_and(|pools| pools.iter().any(|other| Arc::ptr_eq(other, pool)));
        let gone: Vec<_> = old.values().flatten().filter(|pool| !stays(pool)).map(Arc::clone).collect();
        self.pools.store(Arc::new(new));
        publishing.leaving.retain(|pool| pool.strong_count() > 0);
        for pool in gone {
            pool.leave();
            publishing.leaving.push(Arc::downgrade(&pool));
        }
    }

    /// [`Pool::acquire`] for whoever does not hold the fleet while it waits.
    pub fn queue(&self, wanted: &Wanted, patience: Duration) -> Boxed<'static, Result<Lease, Reject>> {
        match self.find(&wanted.version) {
            Some(pool) => Box::pin(pool.acquire(wanted, patience)),
            None => Box::pin(std::future::ready(Err(Reject::NotServing(format!("{} does not run", wanted.version.config.key))))),
        }
    }

    /// The pool of a version, of this very deployment if each has its own.
    pub(crate) fn find(&self, version: &Version) -> Option<Arc<VersionPool>> {
        self.pick(&self.pools.load(), version).map(Arc::clone)
    }

    fn pick<'p>(&self, pools: &'p Pools, version: &Version) -> Option<&'p Arc<VersionPool>> {
        let beside = self.house.options.beside;
        pools.get(&version.config.key)?.iter().find(|pool| !beside || pool.first == version.deployment)
    }

    /// Starts the zygotes at once, so that even the first instance is forked. Not when there are many versions: each costs a process, and most
    /// versions of many wait for nobody.
    fn warm(&self) {
        const MOST: usize = 8;
        let pools = self.pools.load_full();
        if pools.len() > MOST {
            return;
        }
        for pool in pools.values().flatten().map(Arc::clone) {
            self.house.runtime.spawn(async move { pool.nest.warm(&pool).await });
        }
    }

    /// Every pool that may have instances, the published ones first.
    fn all_pools(&self) -> Vec<Arc<VersionPool>> {
        let publishing = self.publishing.lock().unwrap_or_else(PoisonError::into_inner);
        let leaving = publishing.leaving.iter().filter_map(Weak::upgrade);
        self.pools.load().values().flatten().map(Arc::clone).chain(leaving).collect()
    }

    /// The pools of a version, the newest deployment's first.
    pub(crate) fn pools_of(&self, key: &VersionKey) -> Vec<Arc<VersionPool>> {
        let all = self.pools.load();
        all.get(key).into_iter().flatten().rev().map(Arc::clone).collect()
    }

    /// How many instances every version has in which state; versions that are leaving included.
    pub fn census(&self) -> Vec<(VersionKey, Census)> {
        self.all_pools().iter().map(|pool| (pool.key.clone(), pool.census())).collect()
    }

    /// Admits nothing any more, lets requests finish for at most `grace`, then kills what is left. When it returns no process is left.
    pub async fn stop(&self, grace: Duration) {
        self.house.closing.store(true, Ordering::SeqCst);
        // Installations hold no request; nobody needs to wait for them.
        self.house.warden.end_marked(&self.house.installer_mark());
        let pools = self.all_pools();
        for pool in &pools {
            pool.drain();
        }
        if tokio::time::timeout(grace, all_empty(&pools)).await.is_err() {
            self.house.force.send_replace(true);
            for pool in &pools {
                pool.halt();
            }
            let _ = tokio::time::timeout(Duration::from_secs(2), all_empty(&pools)).await;
        }
        self.house.warden.dismiss();
        let _ = std::fs::remove_dir_all(&self.house.run_dir);
    }

    /// What the user should know about the walls around instances: each that is missing, or that none were wanted.
    pub fn complaints(&self) -> Vec<String> {
        walls::complaints(&self.house.ground)
    }

    pub(crate) fn house(&self) -> &Arc<House> {
        &self.house
    }
}

async fn all_empty(pools: &[Arc<VersionPool>]) {
    for pool in pools {
        pool.emptied().await;
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.house.warden.dismiss();
        let _ = std::fs::remove_dir_all(&self.house.run_dir);
    }
}

impl Pool for Fleet {
    fn try_acquire(&self, wanted: &Wanted) -> Option<Lease> {
        self.pick(&self.pools.load(), &wanted.version)?.try_acquire(wanted)
    }

    fn acquire(&self, wanted: Wanted, patience: Duration) -> Boxed<'_, Result<Lease, Reject>> {
        self.queue(&wanted, patience)
    }
}

/// Takes leftovers of earlier runs out of the cache, while nobody waits for it. Once a day: looking through a cache of thousands of copies costs as
/// much CPU as ten thousand requests.
fn sweep(cache: &Path) {
    let stamp = cache.join("swept");
    let age = std::fs::metadata(&stamp).and_then(|found| found.modified()).ok().and_then(|at| at.elapsed().ok());
    if age.is_some_and(|age| age < SWEEP_EVERY) {
        return;
    }
    let cache = cache.to_owned();
    let _ = std::thread::Builder::new().name("fleet-sweep".into()).spawn(move || {
        // First, so that others who start meanwhile do not sweep too; best effort, as all of this.
        let _ = std::fs::write(&stamp, []);
        crate::stage::sweep(&cache);
        crate::prune::prune(&cache);
    });
}

/// A random number from the system.
fn draw() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // Without the system's generator, what the standard library seeds its maps with will do: nothing secret hangs on it.
    getrandom::u64().unwrap_or_else(|_| std::hash::RandomState::new().build_hasher().finish())
}

/// A directory that only we may enter, in the shortest suitable place.
fn private_dir(token: &str) -> io::Result<PathBuf> {
    let places = [std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from), Some(std::env::temp_dir()), Some("/tmp".into())];
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for place in places.into_iter().flatten() {
        let dir = place.join(format!("enginehouse-{token}"));
        // 107 bytes, less the slash and the sixteen digits of a serial.
        if dir.as_os_str().len() > 90 {
            continue;
        }
        match make(&dir) {
            Ok(()) => return Ok(dir),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn make(dir: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().mode(0o700).create(dir)
}
