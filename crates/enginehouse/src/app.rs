//! The app as it is read from its files, and the versions and routing table that follow from it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use appyaml::{Loaded, LoadedService, load_app};
use model::ids::{AppId, VersionKey};
use model::ingress::Ingress;
use model::table::{Naming, RoutingTable, Service, Version};
use model::traffic::TrafficSplit;

use crate::change::{Effect, effect};
use crate::watch::Scope;
use crate::wishes::Wishes;

/// Where an app is read from, and what the command line adds.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) paths: Vec<PathBuf>,
    pub(crate) options: appyaml::Options,
    pub(crate) wishes: Wishes,
}

impl Source {
    /// Reads all files. Folders come out absolute: instances work elsewhere, and the watcher compares paths.
    pub(crate) fn read(&self) -> Loaded {
        let mut loaded = load_app(&self.paths, &self.options);
        for service in &mut loaded.services {
            service.root = whole(&service.root);
            self.wishes.apply(service);
        }
        loaded.files_read = loaded.files_read.iter().map(|file| whole_file(file)).collect();
        loaded
    }
}

fn whole(folder: &Path) -> PathBuf {
    let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    here.canonicalize().or_else(|_| std::path::absolute(here)).unwrap_or_else(|_| folder.to_path_buf())
}

/// A file in a resolved folder; the file itself may be a link, whose own name is the one that changes.
fn whole_file(file: &Path) -> PathBuf {
    let folder = whole(file.parent().unwrap_or(file));
    file.file_name().map_or_else(|| folder.clone(), |name| folder.join(name))
}

/// The app's id, `demo` if nothing names one.
pub(crate) fn id(loaded: &Loaded) -> AppId {
    loaded.app.clone().or_else(|| "demo".parse().ok()).expect("`demo` is a project id")
}

/// Every version that is served, by key.
pub(crate) type Versions = BTreeMap<VersionKey, Arc<Version>>;

/// One reading of the app, and the versions made from it.
pub(crate) struct Edition {
    pub(crate) loaded: Loaded,
    pub(crate) versions: Versions,
    /// The keys of versions whose instances have to be started anew.
    pub(crate) deployed: BTreeSet<VersionKey>,
    /// As it was at the start: a changed `application:` does not rename a running app.
    app: AppId,
    generation: u64,
    deployments: u64,
}

impl Edition {
    /// The first one: everything is new.
    pub(crate) fn first(loaded: Loaded) -> Self {
        // Production's deployment numbers are 18 digits of a clock. Ours must rise over restarts too, because apps use them as cache keys.
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(0));
        let mut edition = Self {
            app: id(&loaded),
            loaded,
            versions: Versions::new(),
            deployed: BTreeSet::new(),
            generation: 1,
            deployments: clock.saturating_mul(100),
        };
        for service in &edition.loaded.services {
            edition.deployments += 1;
            let key = service.config.key.clone();
            edition.versions.insert(key.clone(), version(&edition.app, service, edition.deployments));
            edition.deployed.insert(key);
        }
        edition
    }

    /// The next one after `changed` files; `None` if nothing of it matters. `loaded` must be free of errors.
    pub(crate) fn next(&self, loaded: Loaded, changed: &BTreeSet<PathBuf>) -> Option<Self> {
        let mut next = Self {
            loaded,
            versions: Versions::new(),
            deployed: BTreeSet::new(),
            app: self.app.clone(),
            generation: self.generation + 1,
            deployments: self.deployments,
        };
        let mut most = self.effect_outside_services(&next.loaded);
        for service in &next.loaded.services {
            let key = &service.config.key;
            let old = self.loaded.services.iter().find(|old| old.config.key == *key);
            let weight = old.map_or(Effect::Deployment, |old| effect(old, service, changed, &next.loaded.files_read));
            let made = match (weight, self.versions.get(key)) {
                (Effect::Nothing, Some(running)) => Arc::clone(running),
                (Effect::Table, Some(running)) => version(&self.app, service, running.deployment),
                _ => {
                    next.deployments += 1;
                    next.deployed.insert(key.clone());
                    version(&self.app, service, next.deployments)
                }
            };
            next.versions.insert(key.clone(), made);
            most = most.max(weight);
        }
        (most > Effect::Nothing).then_some(next)
    }

    fn effect_outside_services(&self, new: &Loaded) -> Effect {
        let same = self.loaded.dispatch == new.dispatch
            && self.loaded.cron == new.cron
            && self.loaded.firewall == new.firewall
            && self.versions.keys().eq(new.services.iter().map(|service| &service.config.key).collect::<BTreeSet<_>>());
        if same { Effect::Nothing } else { Effect::Table }
    }

    /// The routing table of this edition.
    pub(crate) fn table(&self, app: &AppId, naming: &Naming) -> RoutingTable {
        let mut services: BTreeMap<_, Service> = BTreeMap::new();
        for (key, version) in &self.versions {
            // One version per service in development: the last file wins, and appyaml has reported two files for one service.
            let service = services.entry(key.service.clone()).or_insert_with(|| Service {
                versions: BTreeMap::new(),
                split: TrafficSplit::all(key.version.clone()),
                ingress: Ingress::All,
            });
            service.versions.insert(key.version.clone(), Arc::clone(version));
        }
        RoutingTable {
            generation: self.generation,
            app: app.clone(),
            naming: naming.clone(),
            services,
            dispatch: self.loaded.dispatch.clone(),
            firewall: self.loaded.firewall.clone(),
        }
    }

    /// What is to be watched for the next one.
    pub(crate) fn scope(&self, wishes: &Wishes) -> Scope {
        scope(&self.loaded.services, self.loaded.files_read.clone(), wishes)
    }
}

/// The folders of `services` and all configuration files.
pub(crate) fn scope(services: &[LoadedService], files: BTreeSet<PathBuf>, wishes: &Wishes) -> Scope {
    let roots = services.iter().map(|service| (service.root.clone(), service.config.skip_files.clone()));
    Scope { roots: roots.collect(), files, unwatched: wishes.unwatched.clone() }
}

fn version(app: &AppId, service: &LoadedService, deployment: u64) -> Arc<Version> {
    Arc::new(Version::new(app.clone(), service.config.clone(), service.root.clone(), deployment))
}
