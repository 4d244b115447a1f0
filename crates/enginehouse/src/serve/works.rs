//! The wiring of a server: store, control plane, front end and fleets are made here and meet nowhere else. Readable from top to bottom.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use arc_swap::ArcSwap;
use control::Metrics;
use control::otlp::Exporter;
use control::ward::Wards;
use fleet::AdminApi;
use model::cron::Missed;
use model::engine::Engine;
use model::ids::{AppId, VersionKey};
use model::ingress::Inside;
use model::journal::{Entry, Journal, Severity};
use model::pool::Pool;
use model::route::host;
use model::rpc::Doors;
use model::signin::SignIn;
use model::table::Estate;
use services::outside::{Links, Ports};
use services::user::Bearers;
use store::control::{Actor, Store, StoreError};

use super::args::Serve;
use super::engine::House;
use super::fleets::{FleetOptions, Fleets, Front, Ground};
use super::handover::Warm;
use super::jobs::Jobs;
use super::journal::{AppJournal, FrontJournal, Taps};
use super::plane::{Plane, Shown};
use super::ready::Urls;
use super::sockets::{Given, Sockets};
use super::tls;
use super::watched::Watched;
use crate::addresses::local;
use crate::bundled::mailing::{MailTls, Mailing};
use crate::bundled::{Bundled, Identities, Settings, StoredQueues};
use crate::cron::Ways;
use crate::google_name::GoogleName;
use crate::journal::{Keeping, PerApp, Recorder};
use crate::ui::{BOLD, CYAN, DIM, Ui};
use crate::wire::{nameless, notices, traces};

/// Instances that a new process starts before it serves, to replace those of the old one, may take so long.
const WARM: Duration = Duration::from_mins(1);
/// The longest deadline that a task or a cron job can have, and a little more.
const LONGEST: Duration = Duration::from_hours(25);
/// The old process lets the state go within this time.
const TAKE: Duration = Duration::from_secs(20);

/// A running server.
pub(crate) struct Works {
    ui: Ui,
    grace: Duration,
    store: Store,
    journal: Arc<Recorder>,
    fleets: Arc<Fleets>,
    house: Arc<House>,
    plane: Plane,
    mail_tls: Option<MailTls>,
    vault: Arc<edge::Vault>,
    /// How certificates are ordered, if they are.
    acme: Option<tls::Settings>,
    /// Who orders them, while this process has the state.
    orders: Option<tls::Orders>,
    shelf: tls::Shelf,
    /// Gone once it has drained.
    edge: Option<edge::Running>,
    /// What is listened on; gone once it is not any more.
    sockets: Option<Sockets>,
    urls: Urls,
    projects: Vec<AppId>,
    bundled: Bundled,
    /// The jobs of apps run, while this process has the state.
    jobs: Option<Jobs>,
    draining: Arc<AtomicBool>,
}

impl Works {
    /// Starts everything but the control plane; connections wait until [`Self::serve`]. `beside`: another process has the state for now.
    pub(crate) fn start(ui: &Ui, asked: &Serve, given: Given, beside: bool) -> anyhow::Result<Self> {
        let folder = asked.folder()?;
        if let Err(why) = crate::inside::tune(&folder) {
            ui.warning(&why);
        }
        let store = if beside { Store::open_beside(&folder)? } else { Store::open(&folder)? };
        let metrics = Arc::new(Metrics::default());
        let (exporter, sampler) = traces(ui)?;
        let spans = exporter.as_ref().map(Exporter::tallied);
        let journal = Recorder::start(ui.clone(), asked.serving.style(true), keeping(asked, store.dir()), Arc::clone(&metrics), exporter)
            .context("cannot start a thread")?;
        let admin = super::plane::listen(given.admin, asked.admin.0)?;
        let edge_options = edge_options(asked, &store, given.http, given.https)?;
        let taken = matches!(edge_options.sign_in, SignIn::Links);
        let invitations = (edge::Invitations::new(&edge_options.login_secret), taken);
        let plain = edge_options.listeners.iter().filter(|listener| listener.tls.is_none()).count();
        let vault = Arc::clone(&edge_options.vault);
        let shelf = tls::Shelf::start(&store, &vault, &journal)?;
        let bound = edge::Edge::bind(edge::Options { sampler, ..edge_options })?;
        let listening = bound.addresses();
        let http = *listening.first().context("nothing is listened on")?;
        let tls = asked.admin_certificate(store.dir()).map(super::plane::Tls::new).transpose()?;
        let urls =
            Urls::new(http, listening.get(plain).copied(), admin.local_addr().context("the admin socket has no address")?, tls.is_some());
        let (clear, encrypted) = listening.split_at(plain.min(listening.len()));
        let of = |addresses: &[SocketAddr]| addresses.iter().map(SocketAddr::port).collect();
        let ports = Ports { http: of(clear), https: of(encrypted) };
        let mut sockets = bound.sockets().context("cannot copy sockets")?;
        let https = sockets.split_off(plain.min(sockets.len()));
        let sockets = Sockets { http: sockets, https, admin: admin.try_clone().context("cannot copy a socket")? };
        let estate = Arc::new(ArcSwap::from_pointee(Estate::default()));
        let taps = Arc::new(Taps::default());
        let hosts = if urls.https.is_some() { host::Style::Dashes } else { host::Style::Dots };
        let cron = Ways { missed: Missed::Once, automatic: !asked.serving.no_cron, told: teller(&journal, &taps) };
        let certificate = asked.serving.certificate(|| anyhow::Ok(store.dir().join("tls")))?;
        let mailing = asked.serving.mailing.clone().secured(certificate, store.dir(), &vault)?;
        let mail_tls = mailing.tls().cloned();
        let bundled = bundled(&store, asked, mailing, &journal, (hosts, cron))?;
        super::jobs::keep_pauses(bundled.cron_desk(), &store);
        store.on_change({
            let reconfigure = bundled.reconfigure();
            move |_| reconfigure()
        });
        let cache = std::path::absolute(asked.cache(store.dir())).context("the cache's folder cannot be found")?;
        let google = GoogleName::take(bundled.names(), store.dir(), &cache).inspect_err(|error| nameless(&journal, error)).ok();
        let admin_api = google.as_ref().map(GoogleName::shown);
        let fleets = Fleets::new(Ground {
            options: fleet_options(asked, store.dir(), cache, bundled.doors(), admin_api),
            recorder: Arc::clone(&journal),
            taps: Arc::clone(&taps),
            estate: Arc::clone(&estate),
            address: local(http),
        });
        let front = Arc::new(FrontJournal { recorder: Arc::clone(&journal), taps }) as Arc<dyn Journal>;
        // Nothing is accepted before there is a state to route by.
        let edge = bound.hold(Arc::clone(&estate), Arc::new(Front(Arc::clone(&fleets))) as Arc<dyn Pool>, front)?;
        fleets.connect(edge.caller());
        let house = House::new(Arc::clone(&fleets));
        let draining = Arc::new(AtomicBool::new(false));
        let watched =
            Watched { fleets: Arc::clone(&fleets), pulse: edge.pulse(), losses: journal.losses(), spans, draining: Arc::clone(&draining) };
        let wards = wards(&bundled, invitations, &estate);
        let shown = Shown { watched, metrics, wards, tls, google };
        let plane = Plane::new(store.clone(), Arc::clone(&house) as Arc<dyn Engine>, admin, shown, asked, http);
        bundled.connect(Links { estate, errands: edge.errands(), ports, caller: edge.caller(), steer: plane.steer() });
        Ok(Self {
            ui: ui.clone(),
            grace: asked.grace,
            store,
            journal,
            fleets,
            house,
            plane,
            mail_tls,
            vault,
            acme: asked.acme(),
            orders: None,
            shelf,
            edge: Some(edge),
            sockets: Some(sockets),
            urls,
            projects: asked.project.clone(),
            bundled,
            jobs: None,
            draining,
        })
    }

    /// Puts the state in force. Nothing is changed or driven yet.
    pub(crate) async fn publish(&self) -> anyhow::Result<()> {
        self.plane.publish().await
    }

    /// Begins to accept requests for apps.
    pub(crate) fn serve(&self) {
        if let Some(edge) = &self.edge {
            edge.serve();
        }
    }

    /// Opens the control plane: this process has the state.
    pub(crate) async fn open(&mut self) -> anyhow::Result<()> {
        self.plane.start().await?;
        for project in self.projects.clone() {
            if self.plane.ensure_app(&project).await? {
                self.journal.notice(Severity::Info, format!("made the app {project}"));
            }
        }
        self.jobs = Some(Jobs::start(&self.store, self.bundled.cron(), &self.journal));
        self.shelf.look();
        if let Some(acme) = self.acme.clone() {
            self.orders = Some(tls::Orders::start(acme, &self.store, &self.vault, &self.journal).context("cannot start a thread")?);
        }
        self.bundled.begin().await;
        Ok(())
    }

    /// Starts instances in place of those of the process before this one, as far as that takes no longer than a minute.
    pub(crate) async fn warm(&self, wanted: &[Warm]) {
        let mut warming = tokio::task::JoinSet::new();
        for one in wanted {
            if let Ok(key) = VersionKey::new(one.service.clone(), one.version.clone()) {
                warming.spawn(self.house.warm(&one.app, &key, one.count));
            }
        }
        // A version that does not come up does not come up later either: its first request will tell.
        let _ = tokio::time::timeout(WARM, async { while warming.join_next().await.is_some() {} }).await;
    }

    /// Takes the state over, as soon as the process before this one has let it go.
    pub(crate) async fn take_over(&mut self) -> anyhow::Result<()> {
        let store = self.store.clone();
        let taken = tokio::task::spawn_blocking(move || store.take_over(TAKE)).await.context("taking the state over broke off")??;
        ensure!(taken, "the process before this one did not let the state go");
        self.open().await
    }

    /// Lets the state go, for the process that follows. Requests are served on.
    pub(crate) async fn let_go(&mut self) {
        self.jobs = None;
        self.bundled.let_go().await;
        self.stop_ordering().await;
        self.plane.stop().await;
        self.store.release();
    }

    /// An order that is under way is left; whoever has the state next begins anew.
    async fn stop_ordering(&mut self) {
        // Ending waits for an answer of the authority that is on its way.
        if let Some(orders) = self.orders.take() {
            let _ = tokio::task::spawn_blocking(move || drop(orders)).await;
        }
    }

    /// Which versions have instances that take requests.
    pub(crate) fn running(&self) -> Vec<Warm> {
        let census = self.fleets.census().into_iter();
        let some = census.filter_map(|(app, key, census)| {
            let count = u32::try_from(census.idle + census.busy).ok().filter(|count| *count > 0)?;
            Some(Warm { app, service: key.service, version: key.version, count })
        });
        some.collect()
    }

    /// What is listened on.
    pub(crate) fn sockets(&self) -> Option<&Sockets> {
        self.sockets.as_ref()
    }

    /// Reads again what can change without a restart.
    pub(crate) async fn reload(&self) {
        self.shelf.look();
        let renewed = self.edge.as_ref().map_or(Ok(()), edge::Running::renew).map_err(anyhow::Error::from);
        let mail = || self.mail_tls.as_ref().map_or(Ok(()), MailTls::renew);
        let renewed = renewed
            .and_then(|()| self.plane.renew())
            .and_then(|()| mail())
            .map_err(|error| format!("{error:#}; the certificates stay as they are"));
        let published = self.plane.publish().await.map_err(|error| format!("{error:#}; what was in force stays"));
        let tuned = crate::inside::tune(self.store.dir()).map_err(|why| format!("{why}; the log's filter stays"));
        let log = tuned.as_deref().unwrap_or_default().to_owned();
        let mut whole = true;
        for failed in [renewed.err(), published.err(), tuned.err()].into_iter().flatten() {
            self.journal.notice(Severity::Error, failed);
            whole = false;
        }
        if whole {
            let text =
                format!("certificates, state and the log's filter (`{log}`) were read again; flags are read at a start or an upgrade");
            self.journal.notice(Severity::Info, text);
        }
    }

    /// Lets go of what nobody needs any more. To be called now and then.
    pub(crate) fn tidy(&self) {
        self.house.tidy();
    }

    /// Every thread that serves requests is there.
    pub(crate) fn is_whole(&self) -> bool {
        self.edge.as_ref().is_some_and(edge::Running::is_whole)
    }

    /// A notice of the server itself.
    pub(crate) fn notice(&self, severity: Severity, text: impl Into<String>) {
        self.journal.notice(severity, text);
    }

    /// Where it answers.
    pub(crate) fn urls(&self) -> &Urls {
        &self.urls
    }

    /// Prints where it answers.
    pub(crate) fn tell(&self, first: bool) {
        let ui = &self.ui;
        let dir = self.store.dir();
        ui.status(&format!("{BOLD}enginehouse {}{BOLD:#}  {DIM}{}{DIM:#}", env!("CARGO_PKG_VERSION"), dir.display()));
        ui.status(&format!("  {CYAN}{}{CYAN:#}  {DIM}apps{DIM:#}", self.urls.http));
        if let Some(https) = &self.urls.https {
            ui.status(&format!("  {CYAN}{https}{CYAN:#}  {DIM}apps{DIM:#}"));
        }
        ui.status(&format!("  {CYAN}{}{CYAN:#}  {DIM}Admin API, /metrics, /healthz{DIM:#}", self.urls.admin));
        if first {
            let token = dir.join("owner-token");
            ui.status(&format!("  a token with all rights was made: {BOLD}{}{BOLD:#}; keep it secret", token.display()));
        }
    }

    /// Takes no new requests, lets those under way finish, and ends every process. Whoever has handed over waits longer for tasks and cron jobs, whose
    /// ends its successor waits for: each has a deadline of its own.
    pub(crate) async fn drain(&mut self, handed: bool) {
        self.draining.store(true, Ordering::Relaxed);
        self.jobs = None;
        self.bundled.let_go().await;
        self.stop_ordering().await;
        self.plane.stop().await;
        // Without this, the kernel would still take connections that nobody accepts.
        self.sockets = None;
        if let Some(edge) = &mut self.edge {
            let patience = if handed { LONGEST } else { self.grace };
            let _ = tokio::join!(edge.close(self.grace), tokio::time::timeout(patience, self.bundled.settled()));
        }
        // Instances that end are asked for `/_ah/stop`, through the front end.
        self.fleets.stop(self.grace).await;
        self.edge = None;
    }

    /// Ends every process at once.
    pub(crate) async fn halt(&self) {
        self.fleets.stop(Duration::ZERO).await;
    }

    /// Writes what the log still holds.
    pub(crate) fn close(&self) {
        self.journal.close();
    }
}

/// Logs on disk, one for each app and one for the server itself, unless their limit is 0.
fn keeping(asked: &Serve, data: &Path) -> Keeping {
    if asked.serving.log_limit == 0 {
        return Keeping::Nowhere;
    }
    let data = data.to_owned();
    Keeping::PerApp(PerApp::new(asked.serving.log_limit, move |app| match app {
        Some(app) => store::app_folder(&data, app).join(store::log::FOLDER),
        None => data.join(store::log::FOLDER),
    }))
}

/// What the house tells and takes about apps, beside App Engine's own API.
fn wards(bundled: &Bundled, (invitations, taken): (edge::Invitations, bool), estate: &Arc<ArcSwap<Estate>>) -> Wards {
    let mut wards = bundled.wards();
    wards.push(Arc::new(super::invite::InviteWard { invitations, estate: Arc::clone(estate), taken }));
    wards
}

/// The bundled services; each app's keep their state in its folder.
fn bundled(
    store: &Store,
    asked: &Serve,
    mailing: Mailing,
    journal: &Arc<Recorder>,
    (hosts, cron): (host::Style, Ways),
) -> anyhow::Result<Bundled> {
    let (data, recorder) = (store.dir().to_owned(), Arc::clone(journal));
    store.allow_service_accounts(asked.service_account_role);
    let (signing, reading) = (store.clone(), store.clone());
    let settings = Settings {
        folder: Arc::new(move |app: &AppId| store::app_folder(&data, app)),
        identity: Identities {
            signer: Arc::new(move || signing.access_key().map_err(|error| error.to_string())),
            people: Some(Box::new(move |token| reading.authenticate(token).map_err(|error| error.to_string()))),
            provider: asked.serving.sign_in()?.map(|provider| provider as Arc<dyn Bearers>),
            region: asked.region.clone(),
            bucket_domain: asked.domain.clone(),
            bucket: None,
            account: None,
            log: None,
            journal: Arc::new(move |app, entry| recorder.put(Some(app.clone()), entry)),
        },
        queues: Arc::new(StoredQueues(store.clone())),
        testing: false,
        tasks_wait: asked.serving.no_tasks,
        fetching: asked.serving.fetching.clone(),
        cron,
        hosts,
        mailing,
        development: false,
        notices: notices(journal),
    };
    Bundled::start(settings).context("cannot start the bundled services")
}

/// Writes what goes wrong with an app's jobs into the app's log.
fn teller(journal: &Arc<Recorder>, taps: &Arc<Taps>) -> services::cron::Told {
    let (journal, taps) = (Arc::clone(journal), Arc::clone(taps));
    Box::new(move |app, text| {
        let journal = AppJournal::new(Arc::clone(&journal), Arc::clone(&taps), app.clone());
        journal.write(Entry::Notice { severity: Severity::Warning, version: None, text });
    })
}

fn fleet_options(asked: &Serve, data: &Path, cache: PathBuf, doors: Arc<dyn Doors>, admin_api: Option<AdminApi>) -> FleetOptions {
    let (sealed, serving) = (data.join("versions"), asked.serving.clone());
    let (capacity, runtime) = (serving.capacity(), tokio::runtime::Handle::current());
    Box::new(move |app, journal| {
        let mut options = fleet::Options::new(app.clone(), journal as Arc<dyn Journal>, cache.clone(), runtime.clone());
        serving.apply_to_fleet(&mut options, &capacity);
        options.beside = true;
        options.sealed = Some(sealed.clone());
        options.doors = Some(Arc::clone(&doors));
        options.admin_api.clone_from(&admin_api);
        options
    })
}

/// Sockets of each listener, handed over.
type Inherited = Vec<Vec<Arc<std::net::TcpListener>>>;

fn edge_options(asked: &Serve, store: &Store, http: Inherited, https: Inherited) -> anyhow::Result<edge::Options> {
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut listeners: Vec<edge::Listener> = if http.is_empty() {
        asked.listen.iter().map(|address| edge::Listener::plain(address.0)).collect()
    } else {
        http.into_iter().map(|given| edge::Listener::plain(nowhere).on(given)).collect()
    };
    // Without a certificate for all names, those of custom domains alone are shown.
    let vault = || (asked.acme().is_some() || !asked.listen_tls.is_empty() || !https.is_empty()).then_some(edge::Certificate::Vault);
    let certificate = asked.serving.certificate(|| anyhow::Ok(store.dir().join("tls")))?.or_else(vault);
    if let Some(certificate) = certificate {
        let secure = |address| edge::Listener::secure(address, certificate.clone());
        let usual = [SocketAddr::from(([127, 0, 0, 1], 8443))];
        if !https.is_empty() {
            listeners.extend(https.into_iter().map(|given| secure(nowhere).on(given)));
        } else if asked.listen_tls.is_empty() {
            listeners.extend(usual.map(secure));
        } else {
            listeners.extend(asked.listen_tls.iter().map(|address| secure(address.0)));
        }
    }
    let (server_name, login_secret) = (asked.server_header.clone(), login_secret(store)?);
    let mut options =
        edge::Options { listeners, server_name, login_secret, inside: Inside::and(asked.internal.clone()), ..edge::Options::default() };
    asked.serving.apply_to_edge(&mut options);
    options.sign_in = asked.who_signs_in()?;
    Ok(options)
}

/// The key of sign-in cookies, drawn once.
fn login_secret(store: &Store) -> anyhow::Result<Vec<u8>> {
    const NAME: &str = "login";
    let known = store.read(|view| view.secret(NAME))?;
    match known {
        Some(known) => Ok(known),
        None => Ok(store.change::<_, StoreError>(&Actor::house(), |change| change.secret_or_draw(NAME))?.to_vec()),
    }
}
