//! Zygotes: per version one warm process that has imported the libraries and forks instances, in a tenth of the time of a fresh start
//! (docs/decisions/140-zygotes.md). Whatever goes wrong here, an instance is started afresh instead.

mod birth;
mod learned;
mod link;

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as Pair;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use model::ids::InstanceId;
use model::journal::{Severity, Stream};
use model::rpc::Residents;
use model::sched::Serial;
use rustix::process::Signal;
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::Mutex;

pub(crate) use birth::Order;
use learned::Learned;
pub(crate) use link::Link;
use link::{Ends, Failure};

use crate::fleet::House;
use crate::life::{self, Newborn};
use crate::output::{self, Source, Tail};
use crate::pool::{Deployment, VersionPool};
use crate::prepare::{AgentLaunch, Launch};
use crate::process::Process;
use crate::process_env;
use crate::python::agent::{self, Role};
use crate::spawn::Spec;
use crate::walls::{self, Isolation};

/// `env_variables` entry by which an app chooses for itself.
pub(crate) const VARIABLE: &str = "ENGINEHOUSE_PRELOAD";
/// A zygote that forked nothing for so long ends.
const IDLE: Duration = Duration::from_hours(1);
/// Zygotes that end by themselves in a row before no more are started for a deployment.
const ATTEMPTS: u32 = 3;
/// Reports of a deployment's instances about what they import; later instances need not make any.
const TEACHERS: u32 = 5;

/// What a zygote imports ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Preload {
    /// There are no zygotes: every instance is started afresh.
    None,
    /// Installed packages, the SDK and the standard library.
    #[default]
    Libraries,
    /// The app's own modules too.
    App,
}

impl std::str::FromStr for Preload {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            "libraries" => Ok(Self::Libraries),
            "app" => Ok(Self::App),
            other => Err(format!("`{other}` is none of `app`, `libraries` and `none`")),
        }
    }
}

/// The place for the zygote of one version.
#[derive(Debug, Default)]
pub(crate) struct Nest {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    current: Option<Current>,
    /// The deployment that the rest is about.
    deployment: u64,
    /// No zygotes for it.
    off: bool,
    failures: u32,
    taught: u32,
    learned: Option<(PathBuf, Learned)>,
}

#[derive(Debug)]
struct Current {
    link: Arc<Link>,
    /// Instances of a deployment with another key need another zygote.
    key: Key,
    used: Instant,
}

/// Everything that is the same in all instances that one zygote can fork.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    launch: (PathBuf, PathBuf, Vec<PathBuf>),
    first_generation: bool,
    env: Vec<(OsString, OsString)>,
    /// Its own modules are imported, or it sees only the folder it was shown: another deployment needs another.
    deployment: Option<u64>,
}

/// A version that has a zygote, or could have.
struct Breed<'a> {
    pool: &'a Arc<VersionPool>,
    deployment: &'a Deployment,
    launch: &'a AgentLaunch,
    preload: Preload,
}

/// Variables in which two instances differ.
const INDIVIDUAL: [&str; 4] = ["GAE_INSTANCE", "GAE_DEPLOYMENT_ID", "ENGINEHOUSE_AGENT", "TMPDIR"];

impl<'a> Breed<'a> {
    /// `None` if its instances are started afresh.
    fn of(pool: &'a Arc<VersionPool>, deployment: &'a Deployment) -> Option<Self> {
        let Launch::Agent(launch) = &deployment.prepared.launch else { return None };
        if !pool.house.ground.may_fork() {
            return None;
        }
        // Under strict isolation no instance shares anything with another, not even what was forked.
        if pool.house.options.isolation == Isolation::Strict {
            return None;
        }
        let own = || pool.house.options.env.get(VARIABLE).or_else(|| deployment.version.config.env.get(VARIABLE))?.parse().ok();
        let preload = pool.house.options.preload.or_else(own).unwrap_or_default();
        (preload != Preload::None).then_some(Self { pool, deployment, launch, preload })
    }

    fn key(&self) -> Key {
        let launch = self.launch;
        let mut env = process_env::of(&self.pool.house, self.deployment, &id(), None);
        env.retain(|(name, _)| !INDIVIDUAL.iter().any(|individual| name == individual));
        Key {
            launch: (launch.python.clone(), launch.folder.clone(), launch.paths.clone()),
            first_generation: self.deployment.version.config.runtime.is_first_generation(),
            env,
            deployment: (self.preload == Preload::App || self.is_walled()).then_some(self.deployment.version.deployment),
        }
    }

    /// Its zygote sees a root of its own.
    fn is_walled(&self) -> bool {
        self.pool.house.ground.report().is_some_and(|report| report.walls.namespaces)
    }

    fn note(&self, severity: Severity, text: String) {
        self.pool.note(severity, text);
    }
}

/// Stands for the instance where a zygote's own environment and output need one.
fn id() -> InstanceId {
    InstanceId::Opaque("zygote".into())
}

impl Nest {
    /// An instance forked from the version's zygote, which is started first if there is none. `None`: start it afresh.
    pub(crate) async fn fork(&self, pool: &Arc<VersionPool>, newborn: &Newborn<'_>, listener: &OwnedFd) -> Option<Process> {
        let breed = Breed::of(pool, newborn.deployment)?;
        let (link, learn) = self.link(&breed).await?;
        let house = &pool.house;
        let mut env = process_env::of(house, newborn.deployment, newborn.id, None);
        env.retain(|(name, _)| name != agent::VARIABLE);
        env.extend(process_env::calls(newborn.deployment, newborn.door));
        let mark = house.mark(newborn.serial);
        env.push((crate::warden::MARK.into(), mark.clone().into()));
        let agent = agent::config(house, newborn.deployment, breed.launch, newborn.id, Role::Forked { learn });
        let order = Order { serial: newborn.serial, env, agent, mark, listener, aside: breed.is_walled(), group: newborn.group };
        match birth::fork(house, &link, order).await {
            Ok((process, reports)) => {
                if learn {
                    tokio::spawn(listen(reports, Arc::downgrade(pool)));
                }
                Some(process)
            }
            Err(failure) => {
                self.failed(&breed, &link, failure).await;
                None
            }
        }
    }

    /// Starts the zygote before anybody asks.
    pub(crate) async fn warm(&self, pool: &Arc<VersionPool>) {
        let deployment = pool.deployment();
        if let Some(breed) = Breed::of(pool, &deployment) {
            self.link(&breed).await;
        }
    }

    /// The way to a zygote that suits the deployment, and whether the next instance is to report what it imports.
    async fn link(&self, breed: &Breed<'_>) -> Option<(Arc<Link>, bool)> {
        let mut state = self.state.lock().await;
        let deployment = breed.deployment.version.deployment;
        if state.deployment != deployment {
            (state.deployment, state.off, state.failures, state.taught) = (deployment, false, 0, 0);
        }
        let key = breed.key();
        if state.current.as_ref().is_some_and(|current| current.key != key || current.link.is_gone()) {
            state.current = None;
        }
        if state.off || breed.pool.house.closing.load(Ordering::SeqCst) {
            return None;
        }
        if state.current.is_none() {
            let link = match hatch(breed).await {
                Ok(link) => link,
                Err(error) => {
                    state.off = true;
                    breed.note(Severity::Warning, format!("instances are started afresh: no zygote could be started: {error}"));
                    return None;
                }
            };
            if let Some(learned) = state.learned(breed) {
                link.preload(learned, breed.preload == Preload::App);
            }
            state.current = Some(Current { link, key, used: Instant::now() });
        }
        let learn = state.taught < TEACHERS;
        let current = state.current.as_mut()?;
        current.used = Instant::now();
        Some((Arc::clone(&current.link), learn))
    }

    async fn failed(&self, breed: &Breed<'_>, link: &Arc<Link>, failure: Failure) {
        let mut state = self.state.lock().await;
        if breed.pool.house.closing.load(Ordering::SeqCst) || state.deployment != breed.deployment.version.deployment || state.off {
            return;
        }
        if state.current.as_ref().is_some_and(|current| Arc::ptr_eq(&current.link, link)) {
            state.current = None;
        }
        state.failures += 1;
        let why = match failure {
            Failure::Refused(why) => {
                state.off = true;
                why
            }
            Failure::Failed(why) => why,
            Failure::Gone => "the zygote is gone".into(),
        };
        state.off |= state.failures >= ATTEMPTS;
        if state.off {
            breed.note(Severity::Warning, format!("instances are started afresh, not forked from a zygote: {why}"));
        } else {
            breed.note(Severity::Info, format!("this instance is started afresh, not forked from a zygote: {why}"));
        }
    }

    /// An instance has reported; the zygote gets what is new, behind whatever it does now.
    async fn learn(&self, pool: &Arc<VersionPool>, report: Learned) {
        let deployment = pool.deployment();
        let Some(breed) = Breed::of(pool, &deployment) else { return };
        let mut state = self.state.lock().await;
        state.taught += 1;
        let app = breed.preload == Preload::App;
        let known = state.learned(&breed).is_some();
        let (file, learned) =
            state.learned.get_or_insert_with(|| (learned::file(&pool.house, &deployment, breed.launch), Learned::default()));
        if !learned.add(report) && known {
            return;
        }
        let stored = learned::store(file, learned);
        let text = format!("{} installed modules are known, which the zygote imports ahead", learned.modules.len());
        if let Some(current) = state.current.as_ref().filter(|current| !current.link.is_gone())
            && let Some((_, learned)) = &state.learned
        {
            current.link.preload(learned, app);
        }
        drop(state);
        breed.note(Severity::Debug, text);
        if let Err(error) = stored {
            breed.note(Severity::Debug, format!("cannot remember which modules are imported: {error}"));
        }
    }

    /// The zygote forked nothing for long: drops it. Otherwise, when to ask again; `None` if it is not this place's any more.
    async fn rest(&self, link: &Weak<Link>) -> Option<Duration> {
        let mut state = self.state.lock().await;
        let current = state.current.as_ref().filter(|current| std::ptr::eq(Arc::as_ptr(&current.link), link.as_ptr()))?;
        // Instances hold the link too.
        let left = IDLE.saturating_sub(current.used.elapsed());
        if left.is_zero() && Arc::strong_count(&current.link) == 1 {
            state.current = None;
            return None;
        }
        Some(left.max(IDLE / 10))
    }
}

impl State {
    /// What is known about the app.
    fn learned(&mut self, breed: &Breed<'_>) -> Option<&Learned> {
        let file = learned::file(&breed.pool.house, breed.deployment, breed.launch);
        if self.learned.as_ref().is_none_or(|(known, _)| *known != file) {
            self.learned = learned::load(&file).map(|learned| (file, learned));
        }
        self.learned.as_ref().map(|(_, learned)| learned)
    }
}

/// Starts a zygote.
async fn hatch(breed: &Breed<'_>) -> io::Result<Arc<Link>> {
    let house = &breed.pool.house;
    // It is shown to the zygote, so it must be there.
    std::fs::create_dir_all(process_env::home(house, breed.deployment))?;
    let (ours, theirs) = Pair::pair()?;
    let mut env = process_env::of(house, breed.deployment, &id(), None);
    env.retain(|(name, _)| name != agent::VARIABLE);
    let settings = agent::config(house, breed.deployment, breed.launch, &id(), Role::Zygote);
    env.push((agent::VARIABLE.into(), settings.into()));
    // What is imported ahead may read at once where the metadata server is.
    let door = life::door(house, breed.deployment, &id()).map_err(io::Error::other)?;
    env.extend(process_env::metadata(door.as_ref().map(|door| door.address())));
    let (program, args) = life::command(&breed.deployment.prepared.launch);
    let walls = walls::plan(house, breed.deployment, None, None, None).map(walls::for_many);
    let dir = life::directory(breed.deployment, walls.as_ref());
    let spec = Spec { program, args, env, dir, stdin: Some(theirs.into()), mark: house.zygote_mark(), walls };
    let process = house.spawner.spawn(spec).await?;
    if let Some(door) = &door {
        // Its instances descend from it.
        door.house(Residents { instance: id(), pid: process.pid(), groups: Vec::new() });
    }
    let (link, ends) = Link::new(birth::nonblocking(ours)?, door);
    tokio::spawn(keep(Arc::downgrade(breed.pool), Arc::clone(house), process, Arc::downgrade(&link), ends));
    Ok(link)
}

/// Watches a zygote until it is gone, and ends it when nobody holds its link any more.
async fn keep(pool: Weak<VersionPool>, house: Arc<House>, mut process: Process, link: Weak<Link>, ends: Ends) {
    if let Some(version) = pool.upgrade().map(|pool| pool.key.clone()) {
        let source = Source::new(version, id(), Arc::clone(&house.journal), Tail::default());
        for (pipe, stream) in [(process.stdout.take(), Stream::Stdout), (process.stderr.take(), Stream::Stderr)] {
            pipe.map(|pipe| tokio::spawn(output::read(pipe, Arc::clone(&source), stream)));
        }
    }
    let Ends { mut left, gone } = ends;
    tokio::select! {
        _ = &mut left => {}
        _ = gone => {
            if let Some(pool) = pool.upgrade().filter(|_| link.strong_count() > 0 && !house.closing.load(Ordering::SeqCst)) {
                pool.note(Severity::Warning, "the zygote is gone; its instances live on, the next one starts another".into());
            }
            // In namespaces what is left of it keeps its instances alive.
            let _ = left.await;
        }
        () = rest(&pool, &link) => {}
    }
    process.signal(Signal::KILL);
    let _ = process.wait().await;
    let pid = process.pid();
    let _ = tokio::task::spawn_blocking(move || house.warden.end(pid)).await;
}

/// Drops the zygote's place when it has been idle for long; then waits for those who still hold it, which is to say for ever.
async fn rest(pool: &Weak<VersionPool>, link: &Weak<Link>) {
    let mut pause = IDLE;
    loop {
        tokio::time::sleep(pause).await;
        let Some(pool) = pool.upgrade() else { break };
        match pool.nest.rest(link).await {
            Some(left) => pause = left,
            None => break,
        }
    }
    std::future::pending::<()>().await;
}

/// Hears what an instance imports, until it ends.
async fn listen(mut reports: OwnedReadHalf, pool: Weak<VersionPool>) {
    while let Some((kind, payload)) = link::frame(&mut reports).await {
        let (b'M', Some(report), Some(pool)) = (kind, Learned::parse(&payload), pool.upgrade()) else { return };
        pool.nest.learn(&pool, report).await;
    }
}

impl House {
    /// Marks the processes of an instance. All marks are of one length: a forked instance writes its own over its zygote's.
    pub(crate) fn mark(&self, serial: Serial) -> String {
        format!("{}.{:020}", self.token, serial.0)
    }

    fn zygote_mark(&self) -> String {
        let number = self.zygotes.fetch_add(1, Ordering::Relaxed);
        format!("{}.z{number:019}", self.token)
    }
}
