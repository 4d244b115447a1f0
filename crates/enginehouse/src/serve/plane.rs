//! The control plane of a server: the Admin API and whoever carries its changes out.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use anyhow::Context as _;
use control::{Admin, Bound, Metrics};
use model::engine::Engine;
use model::ids::AppId;
use store::control::{Actor, Store, StoreError};

use super::args::Serve;
use super::ready::Urls;
use super::watched::Watched;

/// The control plane.
pub(crate) struct Plane {
    store: Store,
    _engine: Arc<dyn Engine>,
    region: String,
    admin: TcpListener,
    watched: Arc<Watched>,
    metrics: Arc<Metrics>,
    /// Answers while there is one.
    running: Option<Admin>,
}

/// Takes the address of the Admin API, unless a socket was handed over.
pub(crate) fn listen(given: Option<TcpListener>, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = match given {
        Some(given) => given,
        None => TcpListener::bind(address)
            .with_context(|| format!("cannot listen on {address} for the Admin API; choose another with --admin"))?,
    };
    listener.set_nonblocking(true).context("the admin socket cannot be used")?;
    Ok(listener)
}

impl Plane {
    pub(crate) fn new(
        store: Store,
        engine: Arc<dyn Engine>,
        admin: TcpListener,
        watched: Watched,
        metrics: Arc<Metrics>,
        asked: &Serve,
        _urls: &Urls,
    ) -> Self {
        Self { store, _engine: engine, region: asked.region.clone(), admin, watched: Arc::new(watched), metrics, running: None }
    }

    /// Puts the state in force, without changing or driving anything.
    pub(crate) async fn publish(&self) -> anyhow::Result<()> {
        Ok(())
    }

    /// Puts the state in force, goes on with operations, and answers.
    pub(crate) async fn start(&mut self) -> anyhow::Result<()> {
        let listener = self.admin.try_clone().context("cannot copy a socket")?;
        let admin = Bound::on(listener)?.start(Arc::clone(&self.watched) as _, Arc::clone(&self.metrics));
        self.running = Some(admin.context("cannot start a thread")?);
        Ok(())
    }

    /// Makes an app, unless there is one of this id; tells whether it made one.
    pub(crate) async fn ensure_app(&self, id: &AppId) -> anyhow::Result<bool> {
        let made = self.store.change::<_, StoreError>(&Actor::house(), |change| {
            if change.find_app(id.as_str())?.is_some() {
                return Ok(false);
            }
            change.create_app(id, &self.region, serde_json::Map::new())?;
            Ok(true)
        });
        Ok(made?)
    }

    /// Answers no more, and ends all drivers where they are.
    pub(crate) async fn stop(&mut self) {
        self.running = None;
    }
}
