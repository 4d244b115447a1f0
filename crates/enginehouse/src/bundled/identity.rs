//! Who apps are and who calls them: app identity, the metadata server, users, and what apps read of their own log.

use std::path::PathBuf;
use std::sync::Arc;

use model::ids::AppId;
use services::call::Service;
use services::identity::{self, Account, Identity, Signer};
use services::logservice::{Journal, Logs};
use services::metadata::Metadata;
use services::outside::Outside;
use services::registry::Registry;
use services::user::{Bearers, Users};
use services::visits::Visits;

use super::bearers::{Known, People};

/// What these services are started with.
pub(crate) struct Identities {
    /// The key of access tokens.
    pub(crate) signer: Signer,
    /// Knows the tokens of people.
    pub(crate) people: Option<People>,
    /// Knows the tokens of an OpenID provider.
    pub(crate) provider: Option<Arc<dyn Bearers>>,
    /// The region that apps are told.
    pub(crate) region: String,
    /// What follows an app's name in that of its default bucket.
    pub(crate) bucket_domain: String,
    /// The default bucket, if it is to have another name.
    pub(crate) bucket: Option<String>,
    /// The service account, if it is to be another one.
    pub(crate) account: Option<Account>,
    /// Where the log is, if not with the rest of an app's state.
    pub(crate) log: Option<PathBuf>,
    /// Takes what apps log through an API.
    pub(crate) journal: Journal,
}

/// These services, beside those that there are, and the metadata server.
pub(crate) fn add(
    registry: Registry,
    asked: Identities,
    folder: &Arc<dyn Fn(&AppId) -> PathBuf + Send + Sync>,
    outside: &Arc<Outside>,
    visits: &Arc<Visits>,
) -> (Registry, Metadata) {
    let Identities { signer, people, provider, region, bucket_domain, bucket, account, log, journal } = asked;
    let bearers = Arc::new(Known { signer: Arc::clone(&signer), people, provider });
    let settings = identity::Settings { folder: Arc::clone(folder), signer, bucket_domain, bucket, account };
    let identity = Arc::new(Identity::new(settings, Arc::clone(outside)));
    let kept = Arc::clone(folder);
    let logs = Logs::new(
        journal,
        Arc::new(move |app: &AppId| log.clone().unwrap_or_else(|| kept(app)).join(store::log::FOLDER)),
        Arc::clone(visits),
    );
    let registry = registry
        .with(Arc::new(Users::new(bearers, Arc::clone(outside))))
        .with(Arc::clone(&identity) as Arc<dyn Service>)
        .with(Arc::new(logs));
    (registry, Metadata::new(identity, region))
}
