//! The bundled services of this process: one thread that answers the API calls of all instances.

mod bearers;
pub(crate) mod fetching;
mod identity;
pub(crate) mod mailing;
mod queues;

use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use control::ward::{Ward, Wards};
use model::ids::InstanceId;
use model::route::host::Style;
use model::rpc::{Door, Doors};
use model::table::Version;
use services::call::Caller;
use services::capability::Capabilities;
use services::cron::Cron;
use services::mail::Mail;
use services::mail::office::{Notices, Office};
use services::memcache::Memcache;
use services::modules::Modules;
use services::outside::{Links, Outside};
use services::registry::Registry;
use services::server::{Admission, House};
use services::system::System;
use services::taskqueue::{self, QueueFile, TaskQueue};
use services::visits::Visits;

use self::fetching::Fetching;
pub(crate) use self::identity::Identities;
use self::mailing::{MailWard, Mailing};
use self::queues::QueuesWard;
pub(crate) use self::queues::{StoredQueues, YamlQueues};
use crate::cron;

/// Bytes that memcache keeps for each app: what App Engine's shared memcache gives in practice is not documented; this is memcached's default.
const MEMCACHE: usize = 64 << 20;

/// What services are started with.
pub(crate) struct Settings {
    /// Where an app's services keep what must outlive the process.
    pub(crate) folder: Arc<dyn Fn(&model::ids::AppId) -> PathBuf + Send + Sync>,
    /// `--test-mode`
    pub(crate) testing: bool,
    /// Tasks are sent only if somebody says so of each.
    pub(crate) tasks_wait: bool,
    /// What apps may fetch.
    pub(crate) fetching: Fetching,
    /// How mail comes and goes.
    pub(crate) mailing: Mailing,
    /// An app that runs on its developer's machine.
    pub(crate) development: bool,
    /// Who tells people what mail does.
    pub(crate) notices: Notices,
    /// Who apps are, and who calls them.
    pub(crate) identity: Identities,
    /// Where the configuration of queues lives.
    pub(crate) queues: Arc<dyn QueueFile>,
    /// How cron goes on.
    pub(crate) cron: cron::Ways,
    /// How names of hosts are written that apps are told.
    pub(crate) hosts: Style,
}

/// The services of this process.
pub(crate) struct Bundled {
    doors: Arc<House>,
    outside: Arc<Outside>,
    tasks: Arc<taskqueue::House>,
    runtime: tokio::runtime::Handle,
    cron: Arc<Cron>,
    cron_desk: Arc<cron::Desk>,
    office: Arc<Office>,
}

/// A thread of its own for what may block on the disk for moments. It ends with the process: nothing in it needs to be finished.
fn thread(name: &str) -> io::Result<tokio::runtime::Handle> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    std::thread::Builder::new().name(name.into()).spawn(move || runtime.block_on(std::future::pending::<()>()))?;
    Ok(handle)
}

impl Bundled {
    /// Starts the thread. It ends with the process: nothing in it needs to be finished.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub(crate) fn start(settings: Settings) -> io::Result<Self> {
        let handle = thread("services")?;
        let outside = Arc::new(Outside::default());
        let visits = Arc::new(Visits::default());
        let tasks = taskqueue::House::new(Arc::clone(&settings.folder), settings.queues, Arc::clone(&outside), thread("dispatch")?);
        tasks.stand_still(settings.tasks_wait);
        let office = mailing::start(settings.mailing, settings.development, &settings.folder, settings.notices, &outside)?;
        let registry = Registry::default()
            .with(Arc::new(Memcache::new(MEMCACHE)))
            .with(Arc::new(Modules::new(Arc::clone(&outside), settings.hosts)))
            .with(Arc::new(System::new(Arc::clone(&outside))))
            .with(Arc::new(TaskQueue(Arc::clone(&tasks))))
            .with(Arc::new(fetching::start(settings.fetching, &outside)?))
            .with(Arc::new(Mail::new(Arc::clone(&office))));
        let (registry, metadata) = identity::add(registry, settings.identity, &settings.folder, &outside, &visits);
        // The last one: it speaks of all others.
        let capabilities = Capabilities::new(registry.names());
        let registry = registry.with(Arc::new(capabilities));
        let admission = if settings.testing { Admission::Anyone } else { Admission::Tickets };
        let cron = cron::start(Arc::clone(&outside), Arc::clone(&settings.folder), settings.cron)?;
        let cron_desk = cron::Desk::new(Arc::clone(&cron));
        let doors = Arc::new(House::new(registry, metadata, visits, admission, handle.clone()));
        Ok(Self { doors, outside, tasks, runtime: handle, cron, cron_desk, office })
    }

    /// Opens the door of test programs, on a port of the loopback: who calls there calls as an instance of `version`.
    ///
    /// # Errors
    /// If the port is in use.
    pub(crate) fn open_at(&self, port: u16, version: &Arc<Version>) -> io::Result<Box<dyn Door>> {
        let caller = Caller { version: Arc::clone(version), instance: InstanceId::Opaque("test".into()), seat: Arc::default() };
        self.doors.open_at((Ipv4Addr::LOCALHOST, port).into(), caller)
    }

    /// Opens a door for each instance.
    pub(crate) fn doors(&self) -> Arc<dyn Doors> {
        Arc::clone(&self.doors) as Arc<dyn Doors>
    }

    /// Where Google's names lead inside instances, if we may have them.
    pub(crate) fn names(&self) -> Option<Ipv4Addr> {
        self.doors.names()
    }

    /// What the services tell and take over the admin port and the Admin API.
    pub(crate) fn wards(&self) -> Wards {
        vec![
            Arc::clone(&self.cron_desk) as Arc<dyn Ward>,
            Arc::new(QueuesWard(Arc::clone(&self.tasks))),
            Arc::new(MailWard(Arc::clone(&self.office))),
        ]
    }

    /// Begins to do what is due: this process has the state.
    pub(crate) async fn begin(&self) {
        self.office.begin();
        let tasks = Arc::clone(&self.tasks);
        let _ = tokio::task::spawn_blocking(move || tasks.begin()).await;
    }

    /// Does nothing more by itself; what is under way ends.
    pub(crate) async fn let_go(&self) {
        self.office.pause();
        let tasks = Arc::clone(&self.tasks);
        let _ = tokio::task::spawn_blocking(move || tasks.let_go()).await;
    }

    /// Waits until the tasks and cron jobs have ended that were under way when the state was let go.
    pub(crate) async fn settled(&self) {
        tokio::join!(self.tasks.settled(), self.cron.settled());
    }

    /// What is to be called when the configuration of queues may have changed; it does not wait.
    pub(crate) fn reconfigure(&self) -> impl Fn() + Send + Sync + 'static {
        let (tasks, runtime) = (Arc::clone(&self.tasks), self.runtime.clone());
        move || {
            let tasks = Arc::clone(&tasks);
            drop(runtime.spawn_blocking(move || tasks.reload_all()));
        }
    }

    /// The jobs, which do not run before they are opened.
    pub(crate) fn cron(&self) -> &Arc<Cron> {
        &self.cron
    }

    /// What is told of jobs.
    pub(crate) fn cron_desk(&self) -> &cron::Desk {
        &self.cron_desk
    }

    /// Connects the services with the front end. Until then no instance runs that could call them.
    pub(crate) fn connect(&self, links: Links) {
        self.outside.connect(links);
    }
}
