//! The bundled services of this process: one thread that answers the API calls of all instances.

mod bearers;
pub(crate) mod fetching;
mod identity;

use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use control::ward::Wards;
use model::ids::InstanceId;
use model::rpc::{Door, Doors};
use model::table::Version;
use services::call::Caller;
use services::capability::Capabilities;
use services::memcache::Memcache;
use services::outside::{Links, Outside};
use services::registry::Registry;
use services::server::{Admission, House};
use services::visits::Visits;

use self::fetching::Fetching;
pub(crate) use self::identity::Identities;

/// Bytes that memcache keeps for each app: what App Engine's shared memcache gives in practice is not documented; this is memcached's default.
const MEMCACHE: usize = 64 << 20;

/// What services are started with.
pub(crate) struct Settings {
    /// Where an app's services keep what must outlive the process; `None` for all apps' together.
    pub(crate) folder: Box<dyn Fn(&model::ids::AppId) -> PathBuf + Send + Sync>,
    /// `--test-mode`
    pub(crate) testing: bool,
    /// What apps may fetch.
    pub(crate) fetching: Fetching,
    /// Who apps are, and who calls them.
    pub(crate) identity: Identities,
}

/// The services of this process.
pub(crate) struct Bundled {
    doors: Arc<House>,
    outside: Arc<Outside>,
}

impl Bundled {
    /// Starts the thread. It ends with the process: nothing in it needs to be finished.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub(crate) fn start(settings: Settings) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        std::thread::Builder::new().name("services".into()).spawn(move || runtime.block_on(std::future::pending::<()>()))?;
        let outside = Arc::new(Outside::default());
        let folder: Arc<dyn Fn(&model::ids::AppId) -> PathBuf + Send + Sync> = settings.folder.into();
        let visits = Arc::new(Visits::default());
        let registry =
            Registry::default().with(Arc::new(Memcache::new(MEMCACHE))).with(Arc::new(fetching::start(settings.fetching, &outside)?));
        let (registry, metadata) = identity::add(registry, settings.identity, &folder, &outside, &visits);
        // The last one: it speaks of all others.
        let capabilities = Capabilities::new(registry.names());
        let registry = registry.with(Arc::new(capabilities));
        let admission = if settings.testing { Admission::Anyone } else { Admission::Tickets };
        Ok(Self { doors: Arc::new(House::new(registry, metadata, visits, admission, handle)), outside })
    }

    /// Opens the door of test programs, on a port of the loopback: who calls there calls as an instance of `version`.
    ///
    /// # Errors
    /// If the port is in use.
    pub(crate) fn open_at(&self, port: u16, version: &Arc<Version>) -> io::Result<Box<dyn Door>> {
        let caller = Caller { version: Arc::clone(version), instance: InstanceId::Opaque("test".into()) };
        self.doors.open_at((Ipv4Addr::LOCALHOST, port).into(), caller)
    }

    /// Opens a door for each instance.
    pub(crate) fn doors(&self) -> Arc<dyn Doors> {
        Arc::clone(&self.doors) as Arc<dyn Doors>
    }

    /// What the services tell and take over the admin port and the Admin API.
    #[allow(clippy::unused_self, reason = "the services that have something to tell follow")]
    pub(crate) fn wards(&self) -> Wards {
        Wards::new()
    }

    /// Connects the services with the front end. Until then no instance runs that could call them.
    pub(crate) fn connect(&self, links: Links) {
        self.outside.connect(links);
    }
}
