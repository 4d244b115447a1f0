//! The wiring of a server: store, control plane, front end and fleets are made here and meet nowhere else. Readable from top to bottom.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use control::otlp::Exporter;
use control::{Admin, Bound, Metrics};
use model::journal::Journal;
use model::pool::Pool;
use model::table::Estate;
use store::Storage;
use store::log::Writer;

use super::args::Serve;
use super::ready::Urls;
use super::watched::Watched;
use crate::cli::Tls;
use crate::journal::Recorder;
use crate::printer::Style;
use crate::ui::{CYAN, DIM, Ui};
use crate::wire::{requests, traces};

/// A running server.
pub(crate) struct Works {
    ui: Ui,
    grace: std::time::Duration,
    journal: Arc<Recorder>,
    fleets: Arc<super::fleets::Fleets>,
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
        let writer = log_writer(asked, &storage)?;
        let journal = Recorder::start(ui.clone(), style, writer, Arc::clone(&metrics), exporter).context("cannot start a thread")?;
        let bound = edge::Edge::bind(edge::Options { sampler, ..edge_options(asked, &storage)? })?;
        let admin = Bound::at(asked.admin.0)?;
        let listening = bound.addresses();
        let plain = asked.listen.len();
        let http = *listening.first().context("nothing is listened on")?;
        let urls = Urls::new(http, listening.get(plain).copied(), admin.address());
        let estate = Arc::new(ArcSwap::from_pointee(Estate::default()));
        let fleets = super::fleets::Fleets::new();
        let pool = Arc::clone(&fleets) as Arc<dyn Pool>;
        let edge = bound.start(estate, pool, Arc::clone(&journal) as Arc<dyn Journal>)?;
        let draining = Arc::new(AtomicBool::new(false));
        let watched =
            Watched { fleets: Arc::clone(&fleets), pulse: edge.pulse(), losses: journal.losses(), spans, draining: Arc::clone(&draining) };
        let admin = admin.start(Arc::new(watched), metrics).context("cannot start a thread")?;
        Ok(Self { ui: ui.clone(), grace: asked.grace, journal, fleets, edge: Some(edge), urls, draining, _admin: admin, _storage: storage })
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

/// The log on disk, unless its limit is 0.
fn log_writer(asked: &Serve, storage: &Storage) -> anyhow::Result<Option<Writer>> {
    if asked.log_limit == 0 {
        return Ok(None);
    }
    let dir = storage.folder(store::log::FOLDER)?;
    let writer = Writer::open(&dir, asked.log_limit).with_context(|| format!("cannot open the log in {}", dir.display()))?;
    Ok(Some(writer))
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
        login_secret: storage.secret("login")?.to_vec(),
        threads: asked.threads.map_or(0, usize::from),
        ..defaults
    })
}
