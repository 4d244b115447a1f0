//! Cron (row S2): runs the jobs of cron.yaml as requests of the house's own. [`model::cron::Course`] decides when; here are the clock, the requests, and
//! the file that outlives the process. Nothing runs before [`Cron::open`], and nothing begins after [`Cron::close`].

mod leaving;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::USER_AGENT;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::Timestamp;
use model::cron::{Course, CronJob, Kept, Missed};
use model::errand::Errand;
use model::gate::{Caller, Internal};
use model::ids::AppId;
use model::route::host::{self, Style};
use model::table::Naming;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::Notify;

use self::leaving::{Heard, Leaving};
use crate::outside::Outside;

/// Where jobs come from (reference: the SDK's `cron_handler.py`).
const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(0, 1, 0, 1));
/// The clock is looked at this often at least: somebody may set it.
const LOOK: Duration = Duration::from_secs(30);
/// So often it is looked how runs ended that another process has.
const LISTEN: Duration = Duration::from_millis(500);
/// An answer is read as far as this, and thrown away.
const MOST: usize = 1 << 20;
/// The file in an app's folder.
const FILE: &str = "cron.json";

/// A job and what it is called.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Unique in its app.
    pub name: String,
    /// What it does.
    pub job: CronJob,
    /// The method of its request; GET for what cron.yaml says.
    pub method: Method,
    /// Whether its owner has paused it; `None` = [`Cron::pause`] decides, and is remembered.
    pub paused: Option<bool>,
}

/// How the last run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Last {
    /// When it began, in microseconds since 1970.
    pub began: i64,
    /// How long it took, in milliseconds.
    pub took: u64,
    /// The status of the answer.
    pub status: Option<u16>,
    /// Why there was none.
    pub error: Option<String>,
}

/// What is told about a job.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The job.
    pub job: Job,
    /// When it runs next.
    pub due: Option<Timestamp>,
    /// It runs right now.
    pub running: bool,
    /// It is paused.
    pub paused: bool,
    /// Failed runs one after the other.
    pub failures: u32,
    /// Its last run.
    pub last: Option<Last>,
}

/// Why a job does not run at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotRun {
    /// There is none of that name.
    #[error("there is no such job")]
    Missing,
    /// It runs already.
    #[error("the job runs already; only one run of a job is under way at a time")]
    Running,
    /// This process does not run jobs.
    #[error("this process does not run jobs")]
    Closed,
}

/// Hears what went wrong with an app's jobs.
pub type Told = Box<dyn Fn(&AppId, String) + Send + Sync>;

/// What cron is started with.
pub struct Settings {
    /// Where an app's state is kept.
    pub folder: Box<dyn Fn(&AppId) -> PathBuf + Send + Sync>,
    /// What becomes of missed runs.
    pub missed: Missed,
    /// Jobs run by themselves, and not only when somebody asks.
    pub automatic: bool,
    /// Hears of runs that failed.
    pub told: Told,
    /// Runs the jobs; it may wait for the disk.
    pub runtime: Handle,
}

/// The jobs of all apps.
pub struct Cron {
    outside: Arc<Outside>,
    settings: Settings,
    state: Mutex<State>,
    /// Apart from the rest, so that the clock does not keep it alive.
    wake: Arc<Notify>,
    /// A run has ended that was left to end.
    left: Notify,
}

#[derive(Default)]
struct State {
    open: bool,
    apps: BTreeMap<AppId, BTreeMap<String, Held>>,
    /// Runs that go on although the state was let go.
    leaving: BTreeMap<AppId, Leaving>,
}

struct Held {
    job: Job,
    course: Course,
    last: Option<Last>,
    /// Another process runs it, and tells how that ends.
    elsewhere: bool,
}

/// A job in the file.
#[derive(Serialize, Deserialize)]
struct Written {
    /// Schedule and zone: others begin anew.
    when: (String, String),
    kept: Kept,
    last: Option<Last>,
}

impl Held {
    fn report(&self) -> Report {
        Report {
            job: self.job.clone(),
            due: self.course.due(),
            running: self.course.is_running(),
            paused: self.course.is_paused(),
            failures: self.course.failures(),
            last: self.last.clone(),
        }
    }
}

/// The host of `[version.]service`, or of a version of the default service; rules of dispatch.yaml apply where no version is named.
fn authority(naming: &Naming, target: Option<&str>) -> String {
    let Some(target) = target else { return naming.default_hostname.clone() };
    let labels: Vec<&str> = target.split('.').collect();
    match (host::below(naming, &labels, Style::Dots), naming.domains.first()) {
        // An address has no names below it, but the app's domain has.
        (host, Some(domain)) if host == naming.default_hostname => format!("{target}.{domain}"),
        (host, _) => host,
    }
}

fn when(job: &Job) -> (String, String) {
    (job.job.written.clone(), job.job.timezone.clone())
}

impl Cron {
    /// Without jobs, and closed.
    pub fn new(outside: Arc<Outside>, settings: Settings) -> Arc<Self> {
        let cron = Arc::new(Self { outside, settings, state: Mutex::default(), wake: Arc::default(), left: Notify::new() });
        let (weak, wake) = (Arc::downgrade(&cron), Arc::clone(&cron.wake));
        cron.settings.runtime.spawn(async move {
            while let Some(pause) = weak.upgrade().map(|cron| cron.turn()) {
                let _ = tokio::time::timeout(pause, wake.notified()).await;
            }
        });
        cron
    }

    /// These are the jobs of an app from now on. A job that keeps its name and schedule keeps its state.
    pub fn set(&self, app: &AppId, jobs: Vec<Job>) {
        let now = Timestamp::now();
        let mut state = self.lock();
        let mut before = state.apps.remove(app).unwrap_or_default();
        let mut written = if before.is_empty() && !jobs.is_empty() { self.read(app) } else { BTreeMap::new() };
        let mut after = BTreeMap::new();
        for job in jobs {
            let same = before.remove(&job.name).filter(|held| when(&held.job) == when(&job));
            let mut held = if let Some(held) = same {
                // A run that is under way goes on.
                Held { course: held.course.changed(&job.job), job: job.clone(), ..held }
            } else {
                let known = written.remove(&job.name).filter(|written| written.when == when(&job));
                self.begin(&job, known, now)
            };
            if let Some(paused) = job.paused {
                held.course.pause(paused, now);
            }
            after.insert(job.name, held);
        }
        self.hear(app, &mut after, now);
        if !after.is_empty() {
            state.apps.insert(app.clone(), after);
        }
        drop(state);
        self.wake.notify_one();
    }

    /// A job that is new to this process.
    fn begin(&self, job: &Job, known: Option<Written>, now: Timestamp) -> Held {
        let (kept, last) = known.map_or((None, None), |written| (Some(written.kept), written.last));
        let (course, elsewhere) = match kept {
            Some(kept) if kept.is_running() => (Course::elsewhere(&job.job, kept), true),
            kept => (Course::new(&job.job, kept, self.settings.missed, now), false),
        };
        Held { course, last, job: job.clone(), elsewhere }
    }

    /// Takes in how runs ended that another process had. One of which nobody can tell any more has failed. True if there are still others.
    fn hear(&self, app: &AppId, jobs: &mut BTreeMap<String, Held>, now: Timestamp) -> bool {
        if !jobs.values().any(|held| held.elsewhere) {
            return false;
        }
        let mut heard = Heard::look(&(self.settings.folder)(app));
        let (mut changed, mut more) = (false, false);
        for (name, held) in jobs.iter_mut().filter(|(_, held)| held.elsewhere) {
            match heard.ends.remove(name) {
                Some(ended) => {
                    held.course.end(now, ended.good);
                    held.last = Some(ended.last);
                }
                None if heard.all => held.course.end(now, false),
                None => {
                    more = true;
                    continue;
                }
            }
            (held.elsewhere, changed) = (false, true);
        }
        if changed {
            self.write(app, jobs);
            heard.forget();
        }
        more
    }

    /// Begins to run jobs.
    pub fn open(&self) {
        self.lock().open = true;
        self.wake.notify_one();
    }

    /// Begins no job any more and lets the state go; runs that are under way end, and whoever has the state then hears how.
    pub fn close(&self) {
        let mut guard = self.lock();
        let state = &mut *guard;
        if !std::mem::take(&mut state.open) {
            return;
        }
        for (app, jobs) in &state.apps {
            let own = jobs.iter().filter(|(_, held)| held.course.is_running() && !held.elsewhere);
            let running: BTreeSet<String> = own.map(|(name, _)| name.clone()).collect();
            if !running.is_empty() {
                let folder = (self.settings.folder)(app);
                match Leaving::new(&folder, running) {
                    Ok(leaving) => drop(state.leaving.insert(app.clone(), leaving)),
                    Err(error) => {
                        let text =
                            format!("how running cron jobs end cannot be told in {}; they count as failed: {error}", folder.display());
                        (self.settings.told)(app, text);
                    }
                }
            }
            self.write(app, jobs);
        }
        state.apps.clear();
    }

    /// Waits until the runs have ended that went on when the state was let go.
    pub async fn settled(&self) {
        loop {
            let left = self.left.notified();
            if self.lock().leaving.is_empty() {
                return;
            }
            left.await;
        }
    }

    /// The jobs of an app, by name.
    pub fn list(&self, app: &AppId) -> Vec<Report> {
        self.lock().apps.get(app).into_iter().flat_map(BTreeMap::values).map(Held::report).collect()
    }

    /// Runs a job at once, paused or not.
    ///
    /// # Errors
    /// If there is none of that name, or it runs already.
    pub fn run(self: &Arc<Self>, app: &AppId, name: &str) -> Result<(), NotRun> {
        let mut state = self.lock();
        if !state.open {
            return Err(NotRun::Closed);
        }
        let jobs = state.apps.get_mut(app).ok_or(NotRun::Missing)?;
        let held = jobs.get_mut(name).ok_or(NotRun::Missing)?;
        let now = Timestamp::now();
        if !held.course.start(now) {
            return Err(NotRun::Running);
        }
        let job = held.job.clone();
        self.write(app, jobs);
        drop(state);
        self.launch(app.clone(), job, now);
        Ok(())
    }

    /// Pauses a job, or lets it go on; false if there is none of that name.
    pub fn pause(&self, app: &AppId, name: &str, paused: bool) -> bool {
        let mut state = self.lock();
        let Some(jobs) = state.apps.get_mut(app) else { return false };
        let Some(held) = jobs.get_mut(name) else { return false };
        held.course.pause(paused, Timestamp::now());
        self.write(app, jobs);
        drop(state);
        self.wake.notify_one();
        true
    }

    /// Starts what is due; returns how long there is nothing to do.
    fn turn(self: &Arc<Self>) -> Duration {
        let now = Timestamp::now();
        let mut state = self.lock();
        if !state.open || !self.settings.automatic {
            return LOOK;
        }
        let (mut begun, mut next, mut longest) = (Vec::new(), None::<Timestamp>, LOOK);
        for (app, jobs) in &mut state.apps {
            if self.hear(app, jobs, now) {
                longest = LISTEN;
            }
            let before = begun.len();
            for held in jobs.values_mut() {
                match held.course.due() {
                    Some(at) if at <= now => {
                        held.course.start(now);
                        begun.push((app.clone(), held.job.clone()));
                    }
                    Some(at) => next = Some(next.map_or(at, |next| next.min(at))),
                    None => {}
                }
            }
            if begun.len() > before {
                self.write(app, jobs);
            }
        }
        drop(state);
        for (app, job) in begun {
            self.launch(app, job, now);
        }
        next.and_then(|next| Duration::try_from(next.duration_since(now)).ok()).map_or(longest, |wait| wait.min(longest))
    }

    fn launch(self: &Arc<Self>, app: AppId, job: Job, began: Timestamp) {
        let cron = Arc::clone(self);
        self.settings.runtime.spawn(async move {
            let answer = match cron.errand(&app, &job) {
                Some(errand) => cron.outside.run(errand).await.map(|answer| answer.status.as_u16()).map_err(|error| error.0),
                None => Err("the app is not served".into()),
            };
            cron.ended(&app, &job, began, answer);
        });
    }

    fn errand(&self, app: &AppId, job: &Job) -> Option<Errand> {
        let table = self.outside.table(app)?;
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static("AppEngine-Google; (+http://code.google.com/appengine)"));
        let mut trusted = HeaderMap::new();
        trusted.insert(HeaderName::from_static("x-appengine-cron"), HeaderValue::from_static("true"));
        Some(Errand {
            app: app.clone(),
            authority: authority(&table.naming, job.job.target.as_deref()),
            caller: Caller::Internal(Internal::Cron),
            source: SOURCE,
            https: false,
            method: job.method.clone(),
            target: job.job.url.clone(),
            headers,
            trusted,
            body: Bytes::new(),
            deadline: job.job.attempt_deadline,
            most: MOST,
        })
    }

    /// A run is over; 200 to 299 is success.
    fn ended(&self, app: &AppId, job: &Job, began: Timestamp, answer: Result<u16, String>) {
        let now = Timestamp::now();
        let good = matches!(answer, Ok(200..=299));
        let failure = match &answer {
            Ok(_) if good => None,
            Ok(status) => Some(format!("was answered with status {status}")),
            Err(why) => Some(format!("was not answered: {why}")),
        };
        let last = Last {
            began: began.as_microsecond(),
            took: now.duration_since(began).as_millis().try_into().unwrap_or(0),
            status: answer.as_ref().ok().copied(),
            error: answer.err(),
        };
        let mut state = self.lock();
        let mut again = None;
        if state.leaving.get(app).is_some_and(|leaving| leaving.has(&job.name)) {
            self.left_run_ended(&mut state, app, &job.name, (good, last));
        } else if let Some(jobs) = state.apps.get_mut(app)
            && let Some(held) = jobs.get_mut(&job.name)
        {
            held.course.end(now, good);
            held.last = Some(last);
            again = held.course.due();
            self.write(app, jobs);
        }
        drop(state);
        self.wake.notify_one();
        if let Some(failure) = failure {
            let next = again.map_or_else(String::new, |at| format!("; it runs again at {at:.0}"));
            (self.settings.told)(app, format!("the cron job {} ({}) {failure}{next}", job.name, job.job.url));
        }
    }

    fn left_run_ended(&self, state: &mut State, app: &AppId, name: &str, (good, last): (bool, Last)) {
        let Some(leaving) = state.leaving.get_mut(app) else { return };
        if let Err(error) = leaving.ended(name, good, last) {
            (self.settings.told)(app, format!("how the cron job {name} ended cannot be written, it counts as failed: {error}"));
        }
        if leaving.is_over() {
            state.leaving.remove(app);
        }
        self.left.notify_waiters();
    }

    fn read(&self, app: &AppId) -> BTreeMap<String, Written> {
        let file = (self.settings.folder)(app).join(FILE);
        match std::fs::read(&file).map(|bytes| serde_json::from_slice(&bytes)) {
            Ok(Ok(written)) => written,
            Ok(Err(error)) => {
                (self.settings.told)(app, format!("{} cannot be read, cron jobs begin anew: {error}", file.display()));
                BTreeMap::new()
            }
            // The first time there is none.
            Err(_) => BTreeMap::new(),
        }
    }

    fn write(&self, app: &AppId, jobs: &BTreeMap<String, Held>) {
        let written: BTreeMap<&str, Written> = jobs
            .iter()
            .map(|(name, held)| {
                let written = Written { when: when(&held.job), kept: held.course.kept().clone(), last: held.last.clone() };
                (name.as_str(), written)
            })
            .collect();
        let folder = (self.settings.folder)(app);
        let done = serde_json::to_vec(&written)
            .map_err(std::io::Error::from)
            .and_then(|bytes| std::fs::create_dir_all(&folder).and_then(|()| store::write_atomically(&folder.join(FILE), &bytes)));
        if let Err(error) = done {
            (self.settings.told)(app, format!("the state of cron jobs cannot be written into {}: {error}", folder.display()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s2_targets_are_hosts() {
        let naming = |host: &str| Naming { domains: vec!["localhost".into()], default_hostname: host.into(), ..Naming::default() };
        let of = |host: &str, target: Option<&str>| authority(&naming(host), target);
        assert_eq!(of("localhost:8080", None), "localhost:8080");
        assert_eq!(of("localhost:8080", Some("api")), "api.localhost:8080");
        assert_eq!(of("shop.local.r.localhost", Some("v1.api")), "v1.api.shop.local.r.localhost");
        assert_eq!(of("192.0.2.7:8080", Some("v1.api")), "v1.api.localhost", "an address has no names below it");
    }
}
