//! Hands the store's certificates to the front end: at start, and after every change of a certificate or a mapping.

use std::sync::Arc;
use std::time::Duration;

use edge::{Named, Vault};
use model::journal::Severity;
use store::control::{Certificate, Domain, Store, StoreError};

use super::{Bell, Worker};
use crate::journal::Recorder;

/// Changes ring; nothing should be missed, but a certificate that is not shown is dear.
const LOOK: Duration = Duration::from_mins(10);

/// Keeps the front end's certificates as the store has them.
#[derive(Debug)]
pub(crate) struct Shelf {
    worker: Worker,
}

impl Shelf {
    /// Hands over what there is, and goes on with what comes.
    pub(crate) fn start(store: &Store, vault: &Arc<Vault>, journal: &Arc<Recorder>) -> anyhow::Result<Self> {
        let mut known = renew(store, vault, journal, &Vec::new())?;
        let bell = Arc::new(Bell::default());
        let (store, vault, journal, ringing) = (store.clone(), Arc::clone(vault), Arc::clone(journal), Arc::downgrade(&bell));
        store.on_change(move |_| {
            if let Some(bell) = ringing.upgrade() {
                bell.ring();
            }
        });
        let worker = Worker::start("certificates", bell, move |bell| {
            while bell.wait(LOOK) {
                match renew(&store, &vault, &journal, &known) {
                    Ok(fresh) => known = fresh,
                    Err(error) => journal.notice(Severity::Error, format!("certificates cannot be read: {error}; those in force stay")),
                }
            }
        })?;
        Ok(Self { worker })
    }

    /// Has the store looked through: another process may have changed it before this one became its master.
    pub(crate) fn look(&self) {
        self.worker.bell.ring();
    }
}

/// What was handed over: for each name the certificate and when it ends, which changes with each renewal.
type Known = Vec<(String, Certificate)>;

fn renew(store: &Store, vault: &Vault, journal: &Recorder, known: &Known) -> Result<Known, StoreError> {
    let (domains, certificates) = store.read::<_, StoreError>(|view| Ok((view.all_domains()?, view.all_certificates()?)))?;
    let fresh = mapped(&domains, &certificates);
    if fresh == *known {
        return Ok(fresh);
    }
    let named = |(name, certificate): &(String, Certificate)| Named {
        names: vec![name.clone()],
        chain: certificate.chain.clone(),
        key: certificate.key.0.clone(),
    };
    let all: Vec<Named> = fresh.iter().map(named).collect();
    for (name, why) in vault.put(&all) {
        journal.notice(Severity::Error, format!("the certificate mapped to {name} cannot be used: {why}"));
    }
    Ok(fresh)
}

/// The certificate of each mapped name that has one.
fn mapped(domains: &[Domain], certificates: &[Certificate]) -> Known {
    let of = |domain: &Domain| {
        let id = domain.body["sslSettings"]["certificateId"].as_str().filter(|id| !id.is_empty())?;
        certificates.iter().find(|one| one.app == domain.app && one.id == id && !one.chain.is_empty())
    };
    domains.iter().filter_map(|domain| Some((domain.id.clone(), of(domain)?.clone()))).collect()
}
