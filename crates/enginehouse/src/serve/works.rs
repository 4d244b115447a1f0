//! The wiring of a server: store, control plane, front end and fleets are made here and meet nowhere else. Readable from top to bottom.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use control::otlp::Exporter;
use control::{Admin, Bound, Metrics};
use model::ids::AppId;
use model::journal::Journal;
use model::pool::Pool;
use model::table::Estate;
use store::Storage;

use super::args::Serve;
use super::engine::House;
use super::fleets::{Fleets, Front, Ground};
use super::journal::{AppJournal, FrontJournal, Taps};
use super::ready::Urls;
use super::watched::Watched;
use crate::cli::Tls;
use crate::journal::{Keeping, PerApp, Recorder};
use crate::printer::Style;
use crate::ui::{CYAN, DIM, Ui};
use crate::wire::{requests, traces};

/// A running server.
pub(crate) struct Works {
    ui: Ui,
    grace: std::time::Duration,
    journal: Arc<Recorder>,
    fleets: Arc<Fleets>,
    house: Arc<House>,
    /// Gone once it has drained.
    edge: Option<edge::Running>,
    urls: Urls,
    draining: Arc<AtomicBool>,
    /// Answers until the end.
    _admin: Admin,
    /// Holds the lock.
    _storage: Storage,
}

impl Works {
    /// Starts everything: when it returns, every listener answers.
    pub(crate) fn start(ui: &Ui, asked: &Serve) -> anyhow::Result<Self> {
        let folder = asked.folder()?;
        let storage = Storage::open(&folder, false)?;
        let metrics = Arc::new(Metrics::default());
        let (exporter, sampler) = traces(ui)?;
        let spans = exporter.as_ref().map(Exporter::tallied);
        let style = Style { format: asked.log_format, requests: requests(asked.quiet) };
        let journal = Recorder::start(ui.clone(), style, keeping(asked, storage.dir()), Arc::clone(&metrics), exporter)
            .context("cannot start a thread")?;
        let bound = edge::Edge::bind(edge::Options { sampler, ..edge_options(asked, &storage)? })?;
        let admin = Bound::at(asked.admin.0)?;
        let listening = bound.addresses();
        let plain = asked.listen.len();
        let http = *listening.first().context("nothing is listened on")?;
        let urls = Urls::new(http, listening.get(plain).copied(), admin.address());
        let estate = Arc::new(ArcSwap::from_pointee(Estate::default()));
        let taps = Arc::new(Taps::default());
        let fleets = Fleets::new(Ground {
            options: fleet_options(asked, storage.dir())?,
            recorder: Arc::clone(&journal),
            taps: Arc::clone(&taps),
            estate: Arc::clone(&estate),
        });
        let front = Arc::new(FrontJournal { recorder: Arc::clone(&journal), taps }) as Arc<dyn Journal>;
        let edge = bound.start(estate, Arc::new(Front(Arc::clone(&fleets))) as Arc<dyn Pool>, front)?;
        fleets.connect(edge.caller());
        let house = House::new(Arc::clone(&fleets));
        let draining = Arc::new(AtomicBool::new(false));
        let watched =
            Watched { fleets: Arc::clone(&fleets), pulse: edge.pulse(), losses: journal.losses(), spans, draining: Arc::clone(&draining) };
        let admin = admin.start(Arc::new(watched), metrics).context("cannot start a thread")?;
        Ok(Self {
            ui: ui.clone(),
            grace: asked.grace,
            journal,
            fleets,
            house,
            edge: Some(edge),
            urls,
            draining,
            _admin: admin,
            _storage: storage,
        })
    }

    /// Where it answers.
    pub(crate) fn urls(&self) -> &Urls {
        &self.urls
    }

    /// Prints where it answers.
    pub(crate) fn tell(&self) {
        let ui = &self.ui;
        ui.status(&format!("  {CYAN}{}{CYAN:#}  {DIM}apps{DIM:#}", self.urls.http));
        if let Some(https) = &self.urls.https {
            ui.status(&format!("  {CYAN}{https}{CYAN:#}  {DIM}apps{DIM:#}"));
        }
        ui.status(&format!("  {CYAN}{}{CYAN:#}  {DIM}Admin API, /metrics, /healthz{DIM:#}", self.urls.admin));
    }

    /// Takes no new requests, lets those under way finish, and ends every process.
    pub(crate) async fn drain(&mut self) {
        self.draining.store(true, Ordering::Relaxed);
        if let Some(edge) = &mut self.edge {
            edge.close(self.grace).await;
        }
        // Instances that end are asked for `/_ah/stop`, through the front end.
        self.fleets.stop(self.grace).await;
        self.edge = None;
    }

    /// Ends every process at once.
    pub(crate) async fn halt(&self) {
        self.fleets.stop(std::time::Duration::ZERO).await;
    }

    /// Writes what the log still holds.
    pub(crate) fn close(&self) {
        self.journal.close();
    }
}

/// Logs on disk, one for each app and one for the server itself, unless their limit is 0.
fn keeping(asked: &Serve, data: &Path) -> Keeping {
    if asked.log_limit == 0 {
        return Keeping::Nowhere;
    }
    let data = data.to_owned();
    Keeping::PerApp(PerApp::new(asked.log_limit, move |app| match app {
        Some(app) => app_folder(&data, app).join(store::log::FOLDER),
        None => data.join(store::log::FOLDER),
    }))
}

/// What belongs to one app alone: its log.
pub(crate) fn app_folder(data: &Path, app: &AppId) -> PathBuf {
    // `s~example.com:shop` may stand in a file name, but not in lists of paths such as PATH.
    data.join("apps").join(app.as_str().replace([':', '~'], "_"))
}

/// What a fleet is made with, for each app.
#[allow(clippy::type_complexity, reason = "it is named where it is used")]
fn fleet_options(asked: &Serve, data: &Path) -> anyhow::Result<Box<dyn Fn(&AppId, Arc<AppJournal>) -> fleet::Options + Send + Sync>> {
    let (asked, cache) = (asked.clone(), std::path::absolute(asked.cache(data)).context("the cache's folder cannot be found")?);
    let (capacity, runtime) = (Arc::new(fleet::Capacity::new(asked.max_instances)), tokio::runtime::Handle::current());
    Ok(Box::new(move |app, journal| {
        let mut options = fleet::Options::new(app.clone(), journal as Arc<dyn Journal>, cache.clone(), runtime.clone());
        options.pythons.clone_from(&asked.python);
        options.isolation = asked.isolation.into();
        options.shares.clone_from(&asked.share);
        options.build_limit = asked.build_timeout;
        options.capacity = Arc::clone(&capacity);
        options.beside = true;
        options.preload = asked.preload;
        options
    }))
}

fn edge_options(asked: &Serve, storage: &Storage) -> anyhow::Result<edge::Options> {
    let mut listeners: Vec<edge::Listener> = asked.listen.iter().map(|address| edge::Listener::plain(address.0)).collect();
    let certificate = match (&asked.tls_cert, &asked.tls_key, asked.tls) {
        (Some(chain), Some(key), _) => Some(edge::Certificate::Files { chain: chain.clone(), key: key.clone() }),
        (_, _, Some(Tls::SelfSigned)) => Some(edge::Certificate::SelfSigned { directory: storage.folder("tls")? }),
        _ => None,
    };
    if let Some(certificate) = certificate {
        let usual = [SocketAddr::from(([127, 0, 0, 1], 8443))];
        let addresses: Vec<SocketAddr> =
            if asked.listen_tls.is_empty() { usual.into() } else { asked.listen_tls.iter().map(|address| address.0).collect() };
        listeners.extend(addresses.into_iter().map(|address| edge::Listener { address, tls: Some(certificate.clone()) }));
    }
    let defaults = edge::Options::default();
    Ok(edge::Options {
        listeners,
        patience: asked.patience.unwrap_or(defaults.patience),
        server_name: asked.server_header.clone(),
        geoip: asked.geoip.clone(),
        trusted_proxies: asked.trusted_proxy.iter().cloned().collect(),
        login_secret: storage.secret("login")?.to_vec(),
        threads: asked.threads.map_or(0, usize::from),
        ..defaults
    })
}
