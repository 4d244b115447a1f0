//! The wiring: front end, fleet, journal and watcher are made here and meet nowhere else. Readable from top to bottom.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::DirBuilder;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, anyhow, bail};
use arc_swap::ArcSwap;
use control::otlp::{self, Exporter};
use control::ward::Local;
use control::within::Within;
use control::{Admin, Bound, Metrics};
use fleet::{Fleet, Prepared, Progress};
use model::brief;
use model::cron::Missed;
use model::ids::VersionKey;
use model::journal::{Entry, Journal, Severity};
use model::pool::Pool;
use model::route::host;
use model::rpc::{Door, Doors};
use model::signin::SignIn;
use model::table::{Estate, Naming, Version};
use model::trace::Sampler;
use services::identity::Account;
use services::outside::{Links, Ports};
use services::user::Bearers;
use store::Storage;
use store::access::{self, AccessKey};
use store::log::Writer;

use crate::addresses::{Addresses, naming};
use crate::app::{Edition, Source};
use crate::bundled::{self, Bundled, Identities, YamlQueues};
use crate::check::tally;
use crate::cli::{AdminPort, Run};
use crate::client::place::{Ask, AskFile};
use crate::cron;
use crate::entrance::Entrance;
use crate::google_name::GoogleName;
use crate::journal::{Keeping, Recorder};
use crate::printer::Style;
use crate::serve::{AppJournal, Taps};
use crate::steering::Steering;
use crate::ui::{BOLD, CYAN, DIM, GREEN, Task, Ui, YELLOW};
use crate::watched::Watched;

/// The admin port, as dev_appserver has it.
const ADMIN: u16 = 8000;
/// Requests may finish for this long after Ctrl-C.
const GRACE: Duration = Duration::from_secs(30);
/// Requests that read the previous routing table may still ask for a version that it named.
const STRAGGLERS: Duration = Duration::from_millis(500);

/// Threads that prepare versions, each one after the other. Few, and not a new one for each version: what a thread has freed stays with the process
/// (glibc gives each an arena of its own), and sixteen kept more than a thousand versions need.
const PREPARING: usize = 4;

/// A running app.
pub(crate) struct Works {
    ui: Ui,
    journal: Arc<Recorder>,
    source: Source,
    edition: Edition,
    naming: Naming,
    app: model::ids::AppId,
    fleet: Arc<Fleet>,
    entrance: Arc<Entrance>,
    /// Gone once it has drained.
    edge: Option<edge::Running>,
    steering: Arc<Steering>,
    addresses: Addresses,
    bundled: Bundled,
    queues: Arc<YamlQueues>,
    _test_door: Option<Box<dyn Door>>,
    draining: Arc<AtomicBool>,
    /// Answers until the end.
    _admin: Option<Admin>,
    /// The Admin API as the app sees it.
    _within: Option<Admin>,
    _ask: Option<AskFile>,
    /// Changed files that no edition has taken in yet.
    unapplied: BTreeSet<PathBuf>,
    /// Holds the lock.
    _storage: Storage,
}

impl Works {
    /// Starts everything but the instances: when it returns, static files are served and scripts wait.
    pub(crate) fn start(ui: &Ui, asked: &Run) -> anyhow::Result<Self> {
        let source = source(asked);
        let loaded = source.read();
        complain(ui, &loaded);
        if !loaded.is_ok() {
            bail!("the app cannot be started: {}", tally(&loaded.diagnostics));
        }
        let survey = asked.serving.survey();
        let app = crate::app::id(&loaded);
        let edition = Edition::first(loaded);
        let folder = asked.storage.clone().map_or_else(|| crate::storage::default_folder(&app), Ok)?;
        let storage = Storage::open(&folder, asked.clear)?;
        let metrics = Arc::new(Metrics::default());
        let (exporter, sampler) = traces(ui)?;
        let spans = exporter.as_ref().map(Exporter::tallied);
        let keeping = log_writer(asked, &storage)?.map_or(Keeping::Nowhere, Keeping::Here);
        let journal = Recorder::start(
            ui.clone(),
            Style { level: asked.wishes.level, ..asked.serving.style(false) },
            keeping,
            Arc::clone(&metrics),
            exporter,
        )
        .context("cannot start a thread")?;
        let kept = storage.dir().to_owned();
        let key = AccessKey::new(&storage.secret(access::SECRET)?);
        let within_key = key.clone();
        let recorder = Arc::clone(&journal);
        let cron = cron::Ways {
            // Whoever develops does not want yesterday's jobs.
            missed: Missed::Skip,
            automatic: !asked.serving.no_cron,
            told: AppJournal::new(Arc::clone(&journal), Arc::new(Taps::default()), app.clone()).teller(),
        };
        let certificate = asked.serving.certificate(|| storage.folder("tls"))?;
        let mailing = asked.serving.mailing.clone().secured(certificate, storage.dir(), &edge::Options::default().vault)?;
        let queues = YamlQueues::new(app.clone(), edition.loaded.queues.clone());
        let bundled = Bundled::start(bundled::Settings {
            queues: Arc::clone(&queues) as _,
            folder: Arc::new(move |_| kept.clone()),
            identity: Identities {
                signer: Arc::new(move || Ok(key.clone())),
                people: None,
                provider: asked.serving.sign_in()?.map(|provider| provider as Arc<dyn Bearers>),
                region: "local".into(),
                bucket_domain: "appspot.com".into(),
                bucket: asked.wishes.bucket.clone(),
                account: account(asked)?,
                log: asked.wishes.log.clone(),
                journal: Arc::new(move |app, entry| recorder.put(Some(app.clone()), entry)),
            },
            testing: asked.test_mode,
            tasks_wait: asked.serving.no_tasks,
            fetching: asked.serving.fetching.clone(),
            cron,
            hosts: host::Style::Dots,
            mailing,
            development: true,
            notices: notices(&journal),
        })
        .context("cannot start the bundled services")?;
        let google =
            GoogleName::take(bundled.names(), storage.dir(), &crate::storage::cache()?).inspect_err(|error| nameless(&journal, error)).ok();
        let mut options = fleet_options(asked, &app, &journal, bundled.doors())?;
        options.admin_api = google.as_ref().map(GoogleName::shown);
        let fleet = Fleet::surveyed(options, survey).context("cannot prepare to start instances")?;
        for complaint in fleet.complaints() {
            ui.warning(&complaint);
        }
        let entrance = Entrance::new(Arc::clone(&fleet), edition.versions.keys().cloned());
        let bound = edge::Edge::bind(edge::Options { sampler, ..edge_options(asked, &storage)? })?;
        let listening = bound.addresses();
        let http = *listening.first().context("nothing is listened on")?;
        let names = naming(http, &asked.allow_host);
        let estate = Arc::new(ArcSwap::from_pointee(Estate::of(edition.table(&app, &names))));
        let pool = Arc::clone(&entrance) as Arc<dyn Pool>;
        let edge = bound.start(Arc::clone(&estate), pool, Arc::clone(&journal) as Arc<dyn Journal>)?;
        fleet.connect(edge.caller());
        let port = |at: usize| listening.get(at).map(SocketAddr::port).into_iter().collect();
        let ports = Ports { http: port(0), https: port(1) };
        let steering = Steering::new(app.clone(), Arc::clone(&estate), Arc::clone(&fleet), http);
        let within = google.map(|google| google.open_within(within(&app, &estate, &steering, &within_key)));
        bundled.connect(Links { estate, errands: edge.errands(), ports, caller: edge.caller(), steer: Arc::clone(&steering) as _ });
        bundled.cron().set(&app, cron::of_file(&edition.loaded.cron));
        bundled.cron().open();
        let draining = Arc::new(AtomicBool::new(false));
        let watched = Watched {
            app: app.clone(),
            fleet: Arc::clone(&fleet),
            entrance: Arc::clone(&entrance),
            pulse: edge.pulse(),
            losses: journal.losses(),
            spans,
            draining: Arc::clone(&draining),
        };
        let token = brief::hex(&storage.secret("admin")?);
        let local = Local { app: app.clone(), token: token.clone(), wards: bundled.wards(), quit: asked.test_mode.then_some(quit) };
        let (admin, admin_address) = admin(asked, watched, metrics, local)?;
        let mut addresses = Addresses::new(http, listening.get(1).copied(), admin_address, edition.versions.keys().map(|key| &key.service));
        let test_door = asked.test_mode.then(|| test_door(asked, &bundled, &edition)).transpose()?;
        addresses.api = test_door.as_ref().map(|door| format!("http://{}", door.address()));
        let ask = addresses.admin.clone().map(|url| Ask { app: app.to_string(), url, token });
        let ask = ask.map(|ask| ask.write(storage.dir())).transpose().context("cannot write into the storage folder")?;
        Ok(Self {
            ui: ui.clone(),
            journal,
            source,
            edition,
            naming: names,
            app,
            fleet,
            entrance,
            edge: Some(edge),
            steering,
            addresses,
            bundled,
            queues,
            _test_door: test_door,
            draining,
            _admin: admin,
            _within: within.transpose()?,
            _ask: ask,
            unapplied: BTreeSet::new(),
            _storage: storage,
        })
    }

    /// Finds interpreters and installs packages for the versions that are new, then lets their instances start.
    pub(crate) async fn prepare(&mut self) -> anyhow::Result<()> {
        let made = self.prepare_versions(&self.edition).await?;
        for (key, prepared) in &made {
            self.tell_found(key, prepared);
        }
        self.steering.prepared(made);
        self.steering.publish(&self.edition.versions);
        self.entrance.open(self.edition.versions.keys().cloned());
        self.bundled.begin().await;
        Ok(())
    }

    /// Reads the app again after files changed. Whatever goes wrong, what runs goes on running.
    pub(crate) async fn reload(&mut self, changed: BTreeSet<PathBuf>) -> crate::watch::Scope {
        // What changed together with a mistake is still new once the mistake is mended.
        tracing::debug!(files = ?changed, "files changed");
        self.unapplied.extend(changed);
        let loaded = self.source.read();
        if !loaded.is_ok() {
            complain(&self.ui, &loaded);
            let text = format!("{}; the previous configuration keeps serving", tally(&loaded.diagnostics));
            self.journal.notice(Severity::Error, text);
            let files = loaded.files_read.union(&self.edition.loaded.files_read).cloned().collect();
            return crate::app::scope(&self.edition.loaded.services, files, &self.source.wishes);
        }
        if self.queues.set(&loaded.queues) {
            self.bundled.reconfigure()();
            self.journal.notice(Severity::Info, "reloaded queue.yaml");
        }
        let Some(next) = self.edition.next(loaded, &self.unapplied) else {
            self.unapplied.clear();
            return self.edition.scope(&self.source.wishes);
        };
        complain(&self.ui, &next.loaded);
        match self.prepare_versions(&next).await {
            Ok(made) => {
                self.replace(next, made).await;
                self.edition.scope(&self.source.wishes)
            }
            Err(error) => {
                self.journal.notice(Severity::Error, format!("{error:#}; the previous deployment keeps serving"));
                next.scope(&self.source.wishes)
            }
        }
    }

    /// Instances of the new deployments first, then the table that sends requests to them, then the old ones drain.
    async fn replace(&mut self, next: Edition, made: BTreeMap<VersionKey, Prepared>) {
        self.bundled.cron().set(&self.app, cron::of_file(&next.loaded.cron));
        let text = format!("{}: {}", reloaded(&next), names(&std::mem::take(&mut self.unapplied), &next));
        self.steering.prepared(made);
        self.steering.forget(&self.edition.versions, &next.versions);
        let mut both = self.edition.versions.clone();
        both.extend(next.versions.iter().map(|(key, version)| (key.clone(), Arc::clone(version))));
        self.steering.publish(&both);
        self.steering.route(next.table(&self.app, &self.naming));
        self.entrance.open(next.versions.keys().cloned());
        if both.len() > next.versions.len() {
            tokio::time::sleep(STRAGGLERS).await;
            self.steering.keep(&next.versions);
            self.steering.publish(&next.versions);
        }
        self.edition = next;
        self.journal.notice(Severity::Info, text);
    }

    /// Prepares what has to be deployed, several versions at once, on threads that may block.
    async fn prepare_versions(&self, edition: &Edition) -> anyhow::Result<BTreeMap<VersionKey, Prepared>> {
        let waiting: VecDeque<_> = edition.deployed.iter().filter_map(|key| edition.versions.get(key).map(Arc::clone)).collect();
        let (count, waiting) = (waiting.len().min(PREPARING), Arc::new(std::sync::Mutex::new(waiting)));
        let mut running = Vec::with_capacity(count);
        for _ in 0..count {
            let (fleet, ui, waiting) = (Arc::clone(&self.fleet), self.ui.clone(), Arc::clone(&waiting));
            let next = move || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            running.push(tokio::task::spawn_blocking(move || {
                let one = |version: Arc<Version>| {
                    let key = version.config.key.clone();
                    let telling = Telling { ui: ui.clone(), key: key.clone(), task: std::sync::Mutex::new(None) };
                    let prepared = fleet.prepare(&version, &telling);
                    (key, prepared)
                };
                std::iter::from_fn(next).map(one).collect::<Vec<_>>()
            }));
        }
        let mut made = BTreeMap::new();
        for one in running {
            for (key, prepared) in one.await.context("preparing a version broke off")? {
                made.insert(key.clone(), prepared.map_err(|error| anyhow!("{key} cannot run: {error}"))?);
            }
        }
        Ok(made)
    }

    /// The URLs.
    pub(crate) fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// What is watched from the beginning.
    pub(crate) fn scope(&self) -> crate::watch::Scope {
        self.edition.scope(&self.source.wishes)
    }

    /// Prints what was found in the files, and where each service answers.
    pub(crate) fn tell_services(&self) {
        let ui = &self.ui;
        ui.status(&format!("{BOLD}{}{BOLD:#}", self.app));
        for service in &self.edition.loaded.services {
            let key = &service.config.key;
            let url = self.addresses.services.get(&key.service).map_or("", String::as_str);
            let runtime = &service.config.runtime;
            ui.status(&format!("  {GREEN}{key}{GREEN:#}  {CYAN}{url}{CYAN:#}  {DIM}{runtime}, {}{DIM:#}", service.file.display()));
        }
        if let Some(https) = &self.addresses.https {
            ui.status(&format!("  {CYAN}{https}{CYAN:#}  {DIM}for all of them{DIM:#}"));
        }
        if let Some(admin) = &self.addresses.admin {
            ui.status(&format!("  {CYAN}{admin}{CYAN:#}  {DIM}admin: /metrics, /healthz{DIM:#}"));
        }
        self.tell_tests();
    }

    /// The lines by which test suites find a dev_appserver (Go's `aetest/instance.go` looks for the two of servers, in this spelling).
    fn tell_tests(&self) {
        let Some(api) = &self.addresses.api else { return };
        self.ui.status(&format!("Starting API server at: {api}"));
        for (service, url) in &self.addresses.services {
            self.ui.status(&format!("Starting module \"{service}\" running at: {url}"));
        }
        if let Some(admin) = &self.addresses.admin {
            self.ui.status(&format!("Starting admin server at: {admin}"));
        }
    }

    /// Prints with what a version runs.
    fn tell_found(&self, key: &VersionKey, prepared: &Prepared) {
        let found = &prepared.summary;
        let mut parts = Vec::new();
        if let Some(interpreter) = &found.interpreter {
            parts.push(interpreter.to_string());
        }
        if !found.entrypoint.is_empty() {
            parts.push(format!("runs {}", found.entrypoint));
        }
        if let Some(environment) = &found.environment {
            parts.push(format!("packages in {}", environment.display()));
        }
        if parts.is_empty() {
            parts.push("static files only".into());
        }
        self.ui.status(&format!("  {GREEN}{key}{GREEN:#}  {}", parts.join(", ")));
        for note in &found.notes {
            self.ui.status(&format!("  {YELLOW}note{YELLOW:#}: {key}: {note}"));
        }
    }

    /// Takes no new requests, lets those under way finish, and ends every process.
    pub(crate) async fn drain(&mut self) {
        self.draining.store(true, Ordering::Relaxed);
        self.bundled.cron().close();
        self.bundled.let_go().await;
        if let Some(edge) = &mut self.edge {
            edge.close(GRACE).await;
        }
        // Instances that end are asked for `/_ah/stop`, through the front end.
        self.fleet.stop(GRACE).await;
        self.edge = None;
    }

    /// Ends every process at once.
    pub(crate) async fn halt(&self) {
        self.fleet.stop(Duration::ZERO).await;
    }

    /// Writes what the log still holds.
    pub(crate) fn close(&self) {
        self.journal.close();
    }
}

/// The exporter of traces, if the environment names a collector, and which traces are kept.
pub(crate) fn traces(ui: &Ui) -> anyhow::Result<(Option<Exporter>, Option<Sampler>)> {
    let Some(config) = otlp::Config::read(|name| std::env::var(name).ok())? else { return Ok((None, None)) };
    let (sampler, complaints) = (config.sampler, ui.clone());
    let exporter = Exporter::start(config, move |text| complaints.warning(&text)).context("traces cannot be sent")?;
    Ok((Some(exporter), Some(sampler)))
}

/// Where test programs call: they are taken for an instance of the default service.
fn test_door(asked: &Run, bundled: &Bundled, edition: &Edition) -> anyhow::Result<Box<dyn Door>> {
    let versions = &edition.versions;
    let own = versions.iter().find(|(key, _)| key.service.is_default()).or_else(|| versions.iter().next());
    let (_, version) = own.context("the app has no service")?;
    let port = asked.api_port.unwrap_or(0);
    bundled.open_at(port, version).with_context(|| format!("the API port {port} cannot be opened; choose another with --api-port"))
}

/// Ends this process as SIGTERM does: requests under way finish.
fn quit() {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM);
}

/// What services tell people, as entries of the log.
pub(crate) fn notices(journal: &Arc<Recorder>) -> services::mail::office::Notices {
    let recorder = Arc::clone(journal);
    Box::new(move |app, severity, text| recorder.put(app.cloned(), Entry::Notice { severity, version: None, text }))
}

/// Instances will find Google's Admin API where it is; that hurts only those that ask for it.
pub(crate) fn nameless(journal: &Arc<Recorder>, error: &anyhow::Error) {
    let text = format!("instances whose Modules API asks appengine.googleapis.com are not answered here: {error:#}");
    journal.notice(Severity::Warning, text);
}

/// The Admin API as far as the app may ask about itself.
fn within(app: &model::ids::AppId, estate: &Arc<ArcSwap<Estate>>, steering: &Arc<Steering>, key: &AccessKey) -> Within {
    let (estate, own) = (Arc::clone(estate), app.clone());
    let table = Box::new(move || estate.load().apps.get(&own).map(Arc::clone));
    Within::new(app.clone(), "local".into(), table, Arc::clone(steering) as _, key.clone())
}

/// Opens the admin port. The usual one may be in use by another run, or by something else: then any will do, unless it was asked for.
fn admin(asked: &Run, watched: Watched, metrics: Arc<Metrics>, local: Local) -> anyhow::Result<(Option<Admin>, Option<SocketAddr>)> {
    let bound = match asked.admin_port {
        Some(AdminPort::Off) => return Ok((None, None)),
        Some(AdminPort::Port(port)) => Bound::new(port)?,
        None if asked.port == 0 => Bound::new(0)?,
        None => Bound::new(ADMIN).or_else(|_| Bound::new(0))?,
    };
    let address = bound.address();
    let admin = bound.start(Arc::new(watched), metrics, local).context("cannot start a thread")?;
    Ok((Some(admin), Some(address)))
}

/// The service account, if it is not the app's own.
fn account(asked: &Run) -> anyhow::Result<Option<Account>> {
    let Some((email, file)) = &asked.wishes.account else { return Ok(None) };
    Account::open(email, file, SystemTime::now()).map(Some).map_err(|why| anyhow!("the service account {email} cannot be used: {why}"))
}

/// The log on disk, unless its limit is 0.
fn log_writer(asked: &Run, storage: &Storage) -> anyhow::Result<Option<Writer>> {
    if asked.serving.log_limit == 0 {
        return Ok(None);
    }
    let dir = match &asked.wishes.log {
        Some(folder) => {
            let dir = folder.join(store::log::FOLDER);
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&dir);
            made.with_context(|| format!("cannot make the folder {} of the log", dir.display()))?;
            dir
        }
        None => storage.folder(store::log::FOLDER)?,
    };
    let writer = Writer::open(&dir, asked.serving.log_limit).with_context(|| format!("cannot open the log in {}", dir.display()))?;
    Ok(Some(writer))
}

/// Prints what the files have wrong, or doubtful.
fn complain(ui: &Ui, loaded: &appyaml::Loaded) {
    ui.block(&appyaml::render::text(&loaded.diagnostics, &loaded.sources, true));
}

fn source(asked: &Run) -> Source {
    let env = asked.env_var.iter().cloned().collect();
    let options = appyaml::Options { project: asked.project.clone(), env, runtime: asked.wishes.runtime.clone() };
    Source { paths: asked.target.paths.clone(), options, wishes: asked.wishes.clone() }
}

fn fleet_options(asked: &Run, app: &model::ids::AppId, journal: &Arc<Recorder>, doors: Arc<dyn Doors>) -> anyhow::Result<fleet::Options> {
    let runtime = tokio::runtime::Handle::current();
    let journal = AppJournal::new(Arc::clone(journal), Arc::new(Taps::default()), app.clone());
    let mut options = fleet::Options::new(app.clone(), journal as Arc<dyn Journal>, crate::storage::cache()?, runtime);
    asked.serving.apply_to_fleet(&mut options, &asked.serving.capacity());
    options.development = true;
    options.doors = Some(doors);
    Ok(options)
}

fn edge_options(asked: &Run, storage: &Storage) -> anyhow::Result<edge::Options> {
    let mut listeners = vec![edge::Listener::plain((asked.host, asked.port).into())];
    if let Some(certificate) = asked.serving.certificate(|| storage.folder("tls"))? {
        let port = asked.tls_port.unwrap_or(if asked.port == 0 { 0 } else { 8443 });
        listeners.push(edge::Listener::secure((asked.host, port).into(), certificate));
    }
    let defaults = edge::Options::default();
    let mut options = edge::Options {
        listeners,
        timeouts: edge::Timeouts { deadline: asked.deadline, ..defaults.timeouts.clone() },
        server_name: concat!("Development/", env!("CARGO_PKG_VERSION")).into(),
        development: true,
        login_secret: storage.secret("login")?.to_vec(),
        ..defaults
    };
    asked.serving.apply_to_edge(&mut options);
    options.sign_in = asked.serving.sign_in()?.map_or(SignIn::Open, |provider| SignIn::Provider(provider));
    Ok(options)
}

/// `reloaded default/v1` or `read again`, if no instance is concerned.
fn reloaded(edition: &Edition) -> String {
    let keys: Vec<String> = edition.deployed.iter().map(ToString::to_string).collect();
    if keys.is_empty() { "changed, instances stay".into() } else { format!("reloaded {}", keys.join(", ")) }
}

/// The changed files as the user knows them; many are counted.
fn names(changed: &BTreeSet<PathBuf>, edition: &Edition) -> String {
    let short = |path: &PathBuf| {
        let roots = edition.loaded.services.iter().map(|service| service.root.as_path());
        let relative = roots.filter_map(|root| path.strip_prefix(root).ok()).min_by_key(|rest| rest.as_os_str().len());
        relative.unwrap_or(path).display().to_string()
    };
    let shown: Vec<String> = changed.iter().take(3).map(short).collect();
    let more = changed.len().saturating_sub(shown.len());
    if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
}

/// Shows how preparation goes on. A line appears only if there is something to tell: a warm cache is silent.
struct Telling {
    ui: Ui,
    key: VersionKey,
    task: std::sync::Mutex<Option<Task>>,
}

impl Progress for Telling {
    fn step(&self, text: &str) {
        let text = format!("{}: {text}", self.key);
        let mut task = self.task.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match task.as_ref() {
            Some(task) => task.step(&text),
            None => *task = Some(self.ui.task(&text)),
        }
    }

    fn line(&self, text: &str) {
        if let Some(task) = self.task.lock().unwrap_or_else(std::sync::PoisonError::into_inner).as_ref() {
            task.detail(text);
        }
    }
}
