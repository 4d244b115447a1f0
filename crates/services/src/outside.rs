//! What services know of the rest of the house. Doors open before the front end does, so it is connected later; until then nothing calls.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use model::errand::{Answer, Errand, Errands, Unanswered};
use model::ids::{AppId, VersionKey};
use model::pool::{Caller, Instance};
use model::steer::{Change, Refused, Steer};
use model::table::{Estate, RoutingTable, Version};

/// The ends of the house's other parts.
pub struct Links {
    /// The snapshot in force.
    pub estate: Arc<ArcSwap<Estate>>,
    /// The front end, for requests of the house's own.
    pub errands: Arc<dyn Errands>,
    /// The ports of the front end.
    pub ports: Ports,
    /// Who asks single instances.
    pub caller: Arc<dyn Caller>,
    /// Who changes versions for their own app.
    pub steer: Arc<dyn Steer>,
}

/// Where the front end listens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ports {
    /// For http.
    pub http: Vec<u16>,
    /// For https.
    pub https: Vec<u16>,
}

/// The rest of the house, as services see it.
#[derive(Default)]
pub struct Outside {
    links: OnceLock<Links>,
}

impl Outside {
    /// Connects it; only the first time counts.
    pub fn connect(&self, links: Links) {
        let _ = self.links.set(links);
    }

    /// What the app's routing looks like now.
    pub fn table(&self, app: &AppId) -> Option<Arc<RoutingTable>> {
        self.links.get()?.estate.load().apps.get(app).map(Arc::clone)
    }

    /// The snapshot in force. To be let go soon: whoever publishes the next one waits for those who follow it.
    pub fn estate(&self) -> Option<Arc<Estate>> {
        Some(self.links.get()?.estate.load_full())
    }

    /// Whether the front end listens on a port for a scheme.
    pub fn listens(&self, https: bool, port: u16) -> bool {
        self.links.get().is_some_and(|links| (if https { &links.ports.https } else { &links.ports.http }).contains(&port))
    }

    /// Sends a request of the house's own.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn run(&self, errand: Errand) -> Result<Answer, Unanswered> {
        match self.links.get() {
            Some(links) => links.errands.run(errand).await,
            None => Err(Unanswered("the front end is not there yet".into())),
        }
    }

    /// Asks an instance to run a background thread; resolves once it has run.
    ///
    /// # Errors
    /// Why it does not run.
    pub async fn background(&self, version: Arc<Version>, instance: Arc<Instance>, id: String) -> Result<u16, String> {
        match self.links.get() {
            Some(links) => links.caller.background(version, instance, id).await,
            None => Err("the front end is not there yet".into()),
        }
    }

    /// Changes a version of an app in the app's own name.
    ///
    /// # Errors
    /// Why it is not changed.
    pub async fn steer(&self, app: &AppId, version: &VersionKey, change: Change) -> Result<(), Refused> {
        match self.links.get() {
            Some(links) => links.steer.steer(app, version, change).await,
            None => Err(Refused::NotNow("the house is not open yet".into())),
        }
    }
}
