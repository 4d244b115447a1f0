//! The control plane of a server: the Admin API and whoever carries its changes out.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use arc_swap::ArcSwap;
use control::api::{Api, Door};
use control::ward::Wards;
use control::work::{self, Keep};
use control::{Admin, Bound, Metrics};
use model::engine::Engine;
use model::ids::AppId;
use model::table::Naming;
use store::control::{Actor, Store, StoreError};

use super::args::Serve;
use super::watched::Watched;
use crate::google_name::GoogleName;

/// How long a new app may take until it is in force.
const MAKING: Duration = Duration::from_secs(30);

/// The control plane.
pub(crate) struct Plane {
    store: Store,
    house: work::House,
    api: Arc<Api>,
    region: String,
    admin: TcpListener,
    watched: Arc<Watched>,
    metrics: Arc<Metrics>,
    tls: Option<Tls>,
    /// What instances find under Google's name.
    google: Option<GoogleName>,
    /// Answer while there are some.
    running: Vec<Admin>,
}

/// What the control plane shows besides the store.
pub(crate) struct Shown {
    pub(crate) watched: Watched,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) wards: Wards,
    pub(crate) tls: Option<Tls>,
    pub(crate) google: Option<GoogleName>,
}

/// How the admin port speaks https.
pub(crate) struct Tls {
    certificate: edge::Certificate,
    config: Arc<ArcSwap<rustls::ServerConfig>>,
}

impl Tls {
    /// Reads the certificate.
    pub(crate) fn new(certificate: edge::Certificate) -> anyhow::Result<Self> {
        let config = Arc::new(ArcSwap::new(edge::only_http1(&certificate)?));
        Ok(Self { certificate, config })
    }
}

/// Takes the address of the Admin API, unless a socket was handed over.
pub(crate) fn listen(given: Option<TcpListener>, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let cannot = || format!("cannot listen on {address} for the Admin API; choose another address with --admin");
    let listener = match given {
        Some(given) => given,
        None => TcpListener::bind(address).with_context(cannot)?,
    };
    listener.set_nonblocking(true).context("the admin socket cannot be used")?;
    Ok(listener)
}

impl Plane {
    /// A control plane that neither answers nor does anything yet. `port` is that of the first listener for apps.
    pub(crate) fn new(store: Store, engine: Arc<dyn Engine>, admin: TcpListener, shown: Shown, asked: &Serve, front: SocketAddr) -> Self {
        let Shown { watched, metrics, wards, tls, google } = shown;
        let port = Some(front.port()).filter(|port| *port != 80);
        let settings = control::api::Settings {
            domain: asked.domain.clone(),
            region: asked.region.clone(),
            port: port.map_or_else(String::new, |port| format!(":{port}")),
            https: false,
            addresses: asked.addresses(),
        };
        let (region, domain, buckets) = (asked.region.clone(), asked.domain.clone(), settings.clone());
        let work = work::Settings {
            naming: Arc::new(move |app, mapped| Naming::hosted(app, &region, &domain, port, mapped)),
            buckets: Arc::new(move |app| vec![buckets.code_bucket(app), format!("{}.{}", app.project().replace(':', "."), buckets.domain)]),
            watch: Some(Arc::clone(&metrics) as _),
            fallback: None,
            most_versions: None,
            keep: Keep::default(),
        };
        let house = work::House::new(store.clone(), Arc::clone(&engine), work, tokio::runtime::Handle::current());
        let api = Arc::new(Api::new(store.clone(), Arc::new(house.clone()), engine, settings).with_wards(wards));
        let (region, watched) = (asked.region.clone(), Arc::new(watched));
        Self { store, house, api, region, admin, watched, metrics, tls, google, running: Vec::new() }
    }

    /// Who changes versions for their own app.
    pub(crate) fn steer(&self) -> Arc<dyn model::steer::Steer> {
        Arc::new(self.house.clone())
    }

    /// Puts the state in force, without changing or driving anything.
    pub(crate) async fn publish(&self) -> anyhow::Result<()> {
        self.house.publish().await.map_err(|status| anyhow!("the state cannot be put in force: {status}"))
    }

    /// Puts the state in force, goes on with operations, and answers.
    pub(crate) async fn start(&mut self) -> anyhow::Result<()> {
        self.house.start().await.map_err(|status| anyhow!("the state cannot be put in force: {status}"))?;
        let listener = self.admin.try_clone().context("cannot copy a socket")?;
        let mut door = Door::new(Arc::clone(&self.api)).watching(Arc::clone(&self.watched) as _, Arc::clone(&self.metrics));
        if let Some(tls) = &self.tls {
            let config = Arc::clone(&tls.config);
            door = door.secured(move || config.load_full());
        }
        self.running.push(Bound::on(listener).context("the admin socket cannot be used")?.open(door).context("cannot start a thread")?);
        if let Some(google) = &self.google {
            self.running.push(google.open(&self.api)?);
        }
        Ok(())
    }

    /// Reads the certificate of the admin port again, for the connections that follow.
    pub(crate) fn renew(&self) -> anyhow::Result<()> {
        if let Some(tls) = &self.tls {
            tls.config.store(edge::only_http1(&tls.certificate)?);
        }
        Ok(())
    }

    /// Makes an app, unless there is one of this id; tells whether it made one.
    pub(crate) async fn ensure_app(&self, id: &AppId) -> anyhow::Result<bool> {
        if self.store.read::<_, StoreError>(|view| view.find_app(id.as_str()))?.is_some() {
            return Ok(false);
        }
        let begun = self.house.create_app(&Actor::house(), id, &self.region, serde_json::Map::new());
        let failed = |status: control::status::Status| anyhow!("the app {id} cannot be made: {status}");
        let begun = begun.map_err(failed)?;
        self.house.wait(id, begun.id, MAKING).await.map_err(failed)?;
        Ok(true)
    }

    /// Answers no more, and ends all drivers where they are.
    pub(crate) async fn stop(&mut self) {
        // The thread that answers may wait for an operation to end: it must not wait for this very thread.
        let running = std::mem::take(&mut self.running);
        if !running.is_empty() {
            let _ = tokio::task::spawn_blocking(move || drop(running)).await;
        }
        self.house.stop().await;
    }
}
