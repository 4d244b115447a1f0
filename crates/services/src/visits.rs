//! Which requests are under way, by what is known of them at the doors: for the log's readers, who may ask for what has not ended yet.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use model::ids::AppId;
use model::rpc::Visit;

use crate::call::Caller;
use crate::tickets::Tickets;

/// The requests of all doors of a house.
#[derive(Default)]
pub struct Visits {
    doors: Mutex<Vec<(Caller, Weak<Tickets>)>>,
}

impl Visits {
    /// A door was opened.
    pub(crate) fn add(&self, caller: &Caller, tickets: &Arc<Tickets>) {
        let mut doors = self.doors.lock().unwrap_or_else(PoisonError::into_inner);
        doors.retain(|(_, tickets)| tickets.strong_count() > 0);
        doors.push((caller.clone(), Arc::downgrade(tickets)));
    }

    /// The apps that have a door.
    pub(crate) fn apps(&self) -> Vec<AppId> {
        let doors = self.doors.lock().unwrap_or_else(PoisonError::into_inner);
        let mut apps: Vec<AppId> = doors.iter().map(|(caller, _)| caller.version.app.clone()).collect();
        apps.sort_unstable();
        apps.dedup();
        apps
    }

    /// The requests of an app that have not ended yet.
    pub(crate) fn of(&self, app: &AppId) -> Vec<(Caller, Arc<Visit>)> {
        let doors = self.doors.lock().unwrap_or_else(PoisonError::into_inner);
        let own = doors.iter().filter(|(caller, _)| caller.version.app == *app);
        let visits = own.filter_map(|(caller, tickets)| Some((caller, tickets.upgrade()?)));
        visits.flat_map(|(caller, tickets)| tickets.under_way().into_iter().map(|visit| (caller.clone(), visit))).collect()
    }
}
