//! Certificates that the server manages: for each custom domain whose `sslManagementType` is `AUTOMATIC` one is ordered, and ordered again before it
//! ends. One order at a time; what failed is tried again later and later. All that is known stands in the store, so a restart goes on where it was.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use edge::Vault;
use model::ids::AppId;
use model::journal::Severity;
use serde_json::{Value, json};
use store::control::{Actor, Certificate, Domain, PrivateKey, Store, StoreError};

use super::authority::{Account, Authority, Issued, Proof, Trouble, agent};
use super::{Bell, Worker};
use crate::client::Failure;
use crate::journal::Recorder;

/// Failures are at most so long apart.
const LONGEST: Duration = Duration::from_hours(24);
/// What will not be issued is asked for again after so long, in case the authority has changed its mind.
const PERMANENT: Duration = Duration::from_hours(24 * 30);
/// An authority that is asked too often forgets that within an hour at the earliest.
const LIMITED: Duration = Duration::from_hours(1);
/// Even if nothing is due, the plan is looked through so often: clocks are set now and then.
const LOOK: Duration = Duration::from_hours(1);

/// How certificates are ordered.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The authority's directory.
    pub(crate) directory: String,
    /// Whom it warns.
    pub(crate) email: Option<String>,
    /// Whose word about the authority's own certificate counts; the system's if absent.
    pub(crate) ca: Option<PathBuf>,
    /// Time after a first failure.
    pub(crate) retry: Duration,
    /// How names are proven.
    pub(crate) proof: Proof,
}

/// The thread that orders.
#[derive(Debug)]
pub(crate) struct Orders {
    _worker: Worker,
}

impl Orders {
    /// Begins to order. Only for the master of the store.
    pub(crate) fn start(settings: Settings, store: &Store, vault: &Arc<Vault>, journal: &Arc<Recorder>) -> std::io::Result<Self> {
        let bell = Arc::new(Bell::default());
        let ringing = Arc::downgrade(&bell);
        store.on_change(move |_| {
            if let Some(bell) = ringing.upgrade() {
                bell.ring();
            }
        });
        let clerk = Clerk { settings, store: store.clone(), vault: Arc::clone(vault), journal: Arc::clone(journal) };
        Ok(Self { _worker: Worker::start("acme", bell, move |bell| clerk.work(bell))? })
    }
}

struct Clerk {
    settings: Settings,
    store: Store,
    vault: Arc<Vault>,
    journal: Arc<Recorder>,
}

/// One certificate that is to be managed.
struct Task {
    app: AppId,
    name: String,
    /// Its row, if there is one yet.
    row: Option<Certificate>,
}

impl Clerk {
    fn work(&self, bell: &Bell) {
        loop {
            let next = self.round(bell).unwrap_or_else(|error| {
                self.journal.notice(Severity::Error, format!("certificates cannot be managed: {error}"));
                None
            });
            let wait = next.and_then(|next| next.duration_since(SystemTime::now()).ok());
            if !bell.wait(wait.unwrap_or(if next.is_some() { Duration::ZERO } else { LOOK }).min(LOOK)) {
                return;
            }
        }
    }

    /// Does what is due; returns when the next thing is.
    fn round(&self, bell: &Bell) -> Result<Option<SystemTime>, StoreError> {
        let (domains, certificates) = self.store.read::<_, StoreError>(|view| Ok((view.all_domains()?, view.all_certificates()?)))?;
        self.drop_orphans(&domains, &certificates)?;
        let tasks: Vec<Task> = domains.iter().filter(|domain| is_managed(domain)).map(|domain| task(domain, &certificates)).collect();
        let now = SystemTime::now();
        let (due, later): (Vec<_>, Vec<_>) = tasks.into_iter().partition(|task| task.due() <= now);
        let mut authority = None;
        for task in due {
            if bell.has_ended() {
                return Ok(None);
            }
            let row = match &task.row {
                Some(row) => row.clone(),
                None => match self.begin(&task)? {
                    Some(row) => row,
                    None => continue,
                },
            };
            let issued = self.order(&mut authority, &task, bell);
            if bell.has_ended() {
                // Not the authority's fault: the next start goes on at once.
                return Ok(None);
            }
            self.settle(&task, &row.id, issued)?;
        }
        Ok(later.iter().map(Task::due).min())
    }

    /// Certificates whose mapping is gone, or is somebody else's affair now.
    fn drop_orphans(&self, domains: &[Domain], certificates: &[Certificate]) -> Result<(), StoreError> {
        let is_wanted = |one: &Certificate| domains.iter().any(|domain| domain.app == one.app && ids(domain).any(|id| id == one.id));
        for orphan in certificates.iter().filter(|one| one.managed.is_some() && !is_wanted(one)) {
            self.change(|change| change.delete_certificate(&orphan.app, &orphan.id))?;
        }
        Ok(())
    }

    /// Makes the row of a certificate that is to come.
    fn begin(&self, task: &Task) -> Result<Option<Certificate>, StoreError> {
        self.change(|change| {
            let Some(domain) = change.find_domain(&task.app, &task.name)?.filter(is_managed) else { return Ok(None) };
            let now = change.now();
            let row = Certificate {
                app: task.app.clone(),
                id: change.free_certificate_id(&task.app)?,
                name: format!("managed for {}", task.name),
                chain: String::new(),
                key: PrivateKey(String::new()),
                domains: vec![task.name.clone()],
                expires: now,
                managed: Some(json!({ "status": "PENDING" })),
                created: now,
            };
            change.put_certificate(&row)?;
            let mut body = domain.body;
            body["sslSettings"]["pendingManagedCertificateId"] = row.id.as_str().into();
            change.put_domain(&task.app, &task.name, &body)?;
            Ok(Some(row))
        })
    }

    fn order(&self, authority: &mut Option<Authority>, task: &Task, bell: &Bell) -> Result<Issued, Trouble> {
        for first in [true, false] {
            if authority.is_none() {
                *authority = Some(self.open(first)?);
            }
            let Some(open) = authority.as_mut() else { break };
            match open.order(&task.name, &self.vault, bell) {
                // It has forgotten us, or everybody: a new account then.
                Err(trouble) if first && trouble.kind == "accountDoesNotExist" => *authority = None,
                other => return other,
            }
        }
        Err(Trouble::here("the authority knows no account"))
    }

    /// The account, which is made once for each authority.
    fn open(&self, kept: bool) -> Result<Authority, Trouble> {
        let settings = &self.settings;
        let own = |error: &dyn std::fmt::Display| Trouble::here(error.to_string());
        let name = format!("acme/{}", settings.directory);
        let known = self.store.read::<_, StoreError>(|view| view.secret(&name)).map_err(|error| own(&error))?;
        let known = known.filter(|_| kept).and_then(|bytes| read_account(&bytes));
        let tls = if settings.directory.starts_with("https:") {
            Some(crate::client::trusted(settings.ca.as_deref()).map_err(|failure| match failure {
                Failure::Here(text) => Trouble::here(text),
                other => Trouble::here(format!("{other:?}")),
            })?)
        } else {
            None
        };
        let (authority, fresh) = Authority::open(agent(tls), settings, known.as_ref())?;
        if let Some(account) = fresh {
            let bytes = json!({ "id": account.id, "key": account.key }).to_string();
            self.change(|change| change.put_secret(&name, bytes.as_bytes())).map_err(|error| own(&error))?;
        }
        Ok(authority)
    }

    /// Writes down how it went.
    fn settle(&self, task: &Task, id: &str, issued: Result<Issued, Trouble>) -> Result<(), StoreError> {
        let name = &task.name;
        let issued = issued.and_then(|issued| {
            let facts = control::api::certificate_facts(&issued.chain).ok_or_else(|| Trouble::here("what was issued cannot be read"))?;
            Ok((issued, facts))
        });
        let said = self.change(|change| {
            let Ok(mut row) = change.certificate(&task.app, id) else { return Ok(None) };
            let failures = row.managed.as_ref().and_then(|managed| managed["failures"].as_u64()).unwrap_or_default() + 1;
            let said = match &issued {
                Ok((issued, (names, until))) => {
                    let renewed = !row.chain.is_empty();
                    (row.chain, row.key) = (issued.chain.clone(), PrivateKey(issued.key.clone()));
                    (row.domains, row.expires) = (names.clone(), *until);
                    row.managed = Some(json!({ "status": "OK", "lastRenewalTime": stamp(change.now()) }));
                    let word = if renewed { "renewed" } else { "issued" };
                    (Severity::Info, format!("the certificate of {name} was {word}; it ends on {}", stamp(*until)))
                }
                Err(trouble) => {
                    let wait = self.wait(trouble, failures);
                    let mut managed = row.managed.take().unwrap_or_default();
                    managed["status"] = status(trouble).into();
                    managed["failures"] = failures.into();
                    managed["again"] = seconds(change.now() + wait).into();
                    managed["lastError"] = trouble.text.as_str().into();
                    row.managed = Some(managed);
                    (Severity::Error, format!("no certificate for {name}: {trouble}; tried again in {} s", wait.as_secs()))
                }
            };
            change.put_certificate(&row)?;
            if let (Ok(_), Some(domain)) = (&issued, change.find_domain(&task.app, name)?.filter(is_managed)) {
                let mut body = domain.body;
                let pending = body["sslSettings"].as_object_mut().and_then(|ssl| ssl.remove("pendingManagedCertificateId"));
                if pending.is_some() || body["sslSettings"]["certificateId"] != id {
                    body["sslSettings"]["certificateId"] = id.into();
                    change.put_domain(&task.app, name, &body)?;
                }
            }
            Ok(Some(said))
        })?;
        if let Some((severity, text)) = said {
            self.journal.notice(severity, text);
        }
        Ok(())
    }

    fn wait(&self, trouble: &Trouble, failures: u64) -> Duration {
        let doubled = u32::try_from(failures.saturating_sub(1)).unwrap_or(u32::MAX).min(20);
        let wait = self.settings.retry.saturating_mul(1 << doubled).min(LONGEST);
        let least = match trouble.kind.as_str() {
            "rateLimited" if trouble.after.is_none() => LIMITED,
            _ if status(trouble) == "FAILED_PERMANENT" => PERMANENT,
            _ => Duration::ZERO,
        };
        wait.max(least).max(trouble.after.unwrap_or_default())
    }

    fn change<T>(&self, act: impl FnOnce(&mut store::control::Change<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.store.change::<_, StoreError>(&Actor::house(), act)
    }
}

impl Task {
    /// A third of its life before it ends; at once if there is none; later if that has failed.
    fn due(&self) -> SystemTime {
        let Some(row) = &self.row else { return UNIX_EPOCH };
        let managed = row.managed.as_ref();
        if let Some(again) = managed.and_then(|managed| managed["again"].as_u64()) {
            return UNIX_EPOCH + Duration::from_secs(again);
        }
        if row.chain.is_empty() {
            return UNIX_EPOCH;
        }
        let renewed = managed.and_then(|managed| managed["lastRenewalTime"].as_str()?.parse::<jiff::Timestamp>().ok());
        let life = renewed.and_then(|renewed| row.expires.duration_since(renewed.into()).ok()).unwrap_or_default();
        row.expires - life / 3
    }
}

fn task(domain: &Domain, certificates: &[Certificate]) -> Task {
    let row = ids(domain).find_map(|id| certificates.iter().find(|one| one.managed.is_some() && one.app == domain.app && one.id == id));
    Task { app: domain.app.clone(), name: domain.id.clone(), row: row.cloned() }
}

fn is_managed(domain: &Domain) -> bool {
    domain.body["sslSettings"]["sslManagementType"] == "AUTOMATIC"
}

/// The certificates that a mapping names: the one that it has, and the one that it is to get.
fn ids(domain: &Domain) -> impl Iterator<Item = &str> {
    ["pendingManagedCertificateId", "certificateId"].into_iter().filter_map(|field| domain.body["sslSettings"][field].as_str())
}

/// The Admin API's word for it.
fn status(trouble: &Trouble) -> &'static str {
    match trouble.kind.as_str() {
        "caa" => "FAILED_RETRYING_CAA_FORBIDDEN",
        "rejectedIdentifier" | "unsupportedIdentifier" => "FAILED_PERMANENT",
        _ => "FAILED_RETRYING_NOT_VISIBLE",
    }
}

fn read_account(bytes: &[u8]) -> Option<Account> {
    let kept: Value = serde_json::from_slice(bytes).ok()?;
    let key: Vec<u8> = serde_json::from_value(kept["key"].clone()).ok()?;
    Some(Account { key, id: kept["id"].as_str()?.to_owned() })
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn stamp(at: SystemTime) -> String {
    let at = jiff::Timestamp::try_from(at).unwrap_or_default();
    jiff::Timestamp::from_second(at.as_second()).unwrap_or_default().to_string()
}
