//! The mail of all apps: who may send, who gets what, and where it is kept until it is there.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use model::config::InboundService;
use model::ids::AppId;
use model::journal::Severity;
use model::route::host::owns;
use model::table::{Estate, RoutingTable};
use rustls::ServerConfig;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::address::{Mailbox, domain};
use super::compose::{Stamp, compose};
use super::drawer::{Drawer, Slip, State, Way, fresh_id, now};
use super::dsn;
use super::relay::Relay;
use super::rules::{self, Letter};
use super::session::header;
use super::words::readable;
use super::{courier, listener};
use crate::outside::Outside;
use crate::urlfetch::Trust;

/// Who may stand in `From`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Senders {
    /// Anybody: in development nothing is sent, or to the developer's own server.
    Anyone,
    /// The app's own addresses, whoever is signed in, and these: `person@example.com`, `@example.com`, `*`.
    Listed(Vec<String>),
}

/// Who tells people: of an app, or of the house.
pub type Notices = Box<dyn Fn(Option<&AppId>, Severity, String) + Send + Sync>;

/// What it is started with.
pub struct Settings {
    /// Where an app's services keep what they must.
    pub folder: Box<dyn Fn(&AppId) -> PathBuf + Send + Sync>,
    /// Who takes mail for others; without one it is kept.
    pub relay: Option<Relay>,
    /// PEM file of the authorities whose certificates are good.
    pub bundle: Option<PathBuf>,
    /// Who may send.
    pub senders: Senders,
    /// Who gets what is for the administrators.
    pub admins: Vec<Mailbox>,
    /// Domains besides `APP.appspotmail.com` and the hosts of apps: `anything@APP.DOMAIN`, or `anything@DOMAIN` if there is only one app.
    pub domains: Vec<String>,
    /// Where other servers bring mail.
    pub listen: Option<SocketAddr>,
    /// The certificate that they are shown after STARTTLS, which may be renewed.
    pub tls: Option<Arc<ArcSwap<ServerConfig>>>,
    /// What people should know.
    pub notices: Notices,
    /// Whatever apps send is logged whole (`--log-mail`).
    pub show_body: bool,
    /// Where it works.
    pub runtime: Handle,
}

/// A message that waits, by app and name.
pub(super) type Waiting = (AppId, String);

/// The office. Messages are taken in at any time; they are delivered, and the listener is open, from [`Self::begin`] to [`Self::pause`].
pub struct Office {
    pub(super) settings: Settings,
    pub(super) outside: Arc<Outside>,
    pub(super) trust: Arc<Trust>,
    /// What came since the courier looked; it finds what came before by itself.
    fresh: Mutex<Vec<Waiting>>,
    pub(super) wake: Notify,
    working: Mutex<Vec<AbortHandle>>,
}

impl Office {
    /// An office where nobody works yet.
    pub fn new(settings: Settings, outside: Arc<Outside>) -> Arc<Self> {
        let trust = Arc::new(Trust::new(settings.bundle.clone()));
        Arc::new(Self { settings, outside, trust, fresh: Mutex::default(), wake: Notify::new(), working: Mutex::default() })
    }

    /// Begins to deliver and to listen: this process has the state.
    pub fn begin(self: &Arc<Self>) {
        let mut working = self.working.lock().unwrap_or_else(PoisonError::into_inner);
        if !working.is_empty() {
            return;
        }
        working.push(self.settings.runtime.spawn(courier::work(Arc::clone(self))).abort_handle());
        if let Some(address) = self.settings.listen {
            working.push(self.settings.runtime.spawn(open(Arc::clone(self), address)).abort_handle());
        }
    }

    /// Leaves everything to the process that follows.
    pub fn pause(&self) {
        for task in self.working.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
    }

    /// An app's messages.
    pub fn drawer(&self, app: &AppId) -> Drawer {
        Drawer::new((self.settings.folder)(app).join("mail"))
    }

    /// Which app takes mail for an address.
    pub fn takes(&self, address: &str) -> Option<AppId> {
        let estate = self.outside.estate()?;
        let table = addressed(&estate, &self.settings.domains, domain(address))?;
        let comes_back =
            || dsn::returned(address).is_some_and(|id| asks_for(table, InboundService::MailBounce) && self.sent(&table.app, id).is_some());
        (asks_for(table, InboundService::Mail) || comes_back()).then(|| table.app.clone())
    }

    /// Whether an address is one of the app's own.
    pub(super) fn is_own(&self, app: &AppId, address: &str) -> bool {
        let estate = self.outside.estate();
        estate.is_some_and(|estate| addressed(&estate, &self.settings.domains, domain(address)).is_some_and(|table| table.app == *app))
    }

    /// Whether an app wants to hear of what could not be delivered.
    pub(super) fn takes_bounces(&self, app: &AppId) -> bool {
        self.outside.table(app).is_some_and(|table| asks_for(&table, InboundService::MailBounce))
    }

    /// Whether an app may send as somebody.
    pub(super) fn may_send(&self, app: &AppId, from: &Mailbox, user: Option<&str>) -> bool {
        let Senders::Listed(listed) = &self.settings.senders else { return true };
        self.is_own(app, &from.address) || rules::may_send(from, &[mail_domain(app)], listed, user)
    }

    /// Takes what an app sends.
    pub(super) async fn send(&self, app: &AppId, letter: Letter) -> io::Result<()> {
        let (id, host) = (fresh_id(), mail_domain(app));
        let date = httpdate::fmt_http_date(SystemTime::now()).replace("GMT", "+0000");
        let long = if app.as_str().contains('~') { app.to_string() } else { format!("s~{app}") };
        let to = letter.recipients();
        let here = to.iter().any(|address| self.takes(address).is_some());
        let state = if !to.is_empty() && (here || self.settings.relay.is_some()) { State::Queued } else { State::Kept };
        let note = match state {
            State::Kept if to.is_empty() => "no administrators are named (--mail-admin)",
            State::Kept => "no mail server is named (--smtp-url)",
            _ => "",
        };
        let message = compose(&letter, &Stamp { id: &id, app: &long, host: &host, date: &date });
        let slip = Slip { note: note.into(), ..slip(id, Way::Out, state, letter.from.address, to, letter.subject, message.len()) };
        if state == State::Kept {
            (self.settings.notices)(
                Some(app),
                Severity::Info,
                format!("mail {} to {}: {} ({note})", slip.id, people(&slip.to), slip.subject),
            );
        }
        self.put(app, slip, message).await
    }

    /// Shows people a whole letter in the log; of attachments their names and sizes.
    pub(super) fn tell(&self, app: &AppId, severity: Severity, letter: &Letter) {
        (self.settings.notices)(Some(app), severity, letter.shown());
    }

    /// Takes a message for apps of this house.
    ///
    /// # Errors
    /// If it cannot be kept.
    pub async fn take_in(&self, from: &str, to: &[String], message: Vec<u8>) -> io::Result<()> {
        let mut apps: BTreeMap<AppId, Vec<String>> = BTreeMap::new();
        for address in to {
            if let Some(app) = self.takes(address) {
                apps.entry(app).or_default().push(address.clone());
            }
        }
        for (app, to) in apps {
            let to = self.sort(&app, from, to, &message).await?;
            if to.is_empty() {
                continue;
            }
            let subject = readable(&header(&message, "Subject").unwrap_or_default());
            let slip = slip(fresh_id(), Way::In, State::Queued, from.to_owned(), to, subject, message.len());
            self.put(&app, slip, message.clone()).await?;
        }
        Ok(())
    }

    /// Puts a message into an app's drawer, and has it looked after.
    pub(super) async fn put(&self, app: &AppId, slip: Slip, message: Vec<u8>) -> io::Result<()> {
        let (drawer, waiting) = (self.drawer(app), (app.clone(), slip.id.clone()));
        let queued = slip.state == State::Queued;
        tokio::task::spawn_blocking(move || drawer.put(&slip, &message)).await.map_err(|_| io::Error::other("writing broke off"))??;
        // While nobody works here, whoever works finds the message in the drawer.
        if queued && !self.working.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
            self.fresh.lock().unwrap_or_else(PoisonError::into_inner).push(waiting);
            self.wake.notify_one();
        }
        Ok(())
    }

    /// What came since this was asked the last time.
    pub(super) fn fresh(&self) -> Vec<Waiting> {
        std::mem::take(&mut *self.fresh.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Test mode: throws all mail away. Blocks.
    pub(super) fn clear(&self) {
        let Some(estate) = self.outside.estate() else { return };
        for app in estate.apps.keys() {
            // What cannot be removed is told by whoever reads it next.
            let _ = self.drawer(app).clear();
        }
    }
}

/// A slip for a new message.
pub(super) fn slip(id: String, way: Way, state: State, from: String, to: Vec<String>, subject: String, size: usize) -> Slip {
    let pending = if state == State::Queued { to.clone() } else { Vec::new() };
    let (time, size) = (now(), size as u64);
    Slip { id, way, state, time, from, to, pending, subject, size, tries: 0, next: 0, note: String::new(), about: None }
}

/// Recipients for a line of the log.
pub(super) fn people(to: &[String]) -> String {
    match to {
        [] => "nobody".into(),
        [one] => one.clone(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
    }
}

/// `shop.appspotmail.com`
pub(super) fn mail_domain(app: &AppId) -> String {
    format!("{}.appspotmail.com", label(app))
}

/// A project id without `domain.tld:`.
fn label(app: &AppId) -> &str {
    app.project().rsplit(':').next().unwrap_or_default()
}

/// The app that a domain of mail is for.
fn addressed<'e>(estate: &'e Estate, domains: &[String], domain: &str) -> Option<&'e RoutingTable> {
    let domain = domain.to_ascii_lowercase();
    let named = |name: &str| estate.apps.values().find(|table| label(&table.app) == name).map(AsRef::as_ref);
    if let Some(name) = domain.strip_suffix(".appspotmail.com") {
        return named(name);
    }
    for known in domains {
        if domain == *known {
            return estate.apps.values().next().filter(|_| estate.apps.len() == 1).map(AsRef::as_ref);
        }
        if let Some(name) = domain.strip_suffix(known.as_str()).and_then(|rest| rest.strip_suffix('.')) {
            return named(name);
        }
    }
    let found = estate.find(&domain).ok()?;
    owns(found.table, found.by, &domain, "").then_some(found.table.as_ref())
}

/// Whether the version that would get it has the service in `inbound_services`.
fn asks_for(table: &RoutingTable, service: InboundService) -> bool {
    let default = table.services.iter().find(|(id, _)| id.is_default()).or_else(|| table.services.iter().next());
    default.is_some_and(|(_, found)| {
        found.split.parts().any(|(version, _)| found.versions.get(version).is_some_and(|version| version.config.inbound.contains(&service)))
    })
}

/// Opens the listener; the process before this one may still have the port.
async fn open(office: Arc<Office>, address: SocketAddr) {
    let mut told = false;
    loop {
        match tokio::net::TcpListener::bind(address).await {
            Ok(listener) => {
                let address = listener.local_addr().unwrap_or(address);
                (office.settings.notices)(None, Severity::Info, format!("mail for apps is taken at {address}"));
                return listener::listen(listener, office).await;
            }
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
                    (office.settings.notices)(
                        None,
                        Severity::Error,
                        format!("mail cannot be taken at {address}: {error}; it is tried again"),
                    );
                }
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
        }
    }
}
