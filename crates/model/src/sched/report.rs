//! What the machine knows of each instance, for whoever asks.

use super::instance::Stage;
use super::{Scheduler, Serial};
use crate::ids::InstanceId;
use crate::scaling::Scaling;
use crate::time::Tick;

/// Where an instance is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It does not take requests yet.
    Starting,
    /// It takes requests.
    Ready,
    /// It finishes what it has, or was told to end.
    Leaving,
}

/// One instance.
#[derive(Debug, Clone, PartialEq)]
pub struct Report<'m> {
    /// Its number.
    pub serial: Serial,
    /// Its id within the version.
    pub id: &'m InstanceId,
    /// Where it is in its life.
    pub place: Place,
    /// When it was started.
    pub started: Tick,
    /// `min_instances`, basic or manual scaling keep it.
    pub resident: bool,
    /// Requests ever given to it.
    pub requests: u64,
    /// Why it was started.
    pub why: &'m str,
}

impl Scheduler {
    /// Every instance, the oldest first.
    pub fn reports(&self) -> impl Iterator<Item = Report<'_>> {
        let residents = match &self.settings.scaling {
            Scaling::Automatic(rule) => rule.min_instances as usize,
            _ => usize::MAX,
        };
        let mut current = 0;
        self.roster.all().map(move |instance| {
            let place = match instance.stage {
                Stage::Starting => Place::Starting,
                Stage::Ready => Place::Ready,
                Stage::Draining { .. } | Stage::Stopping => Place::Leaving,
            };
            let resident = instance.is_current() && current < residents;
            current += usize::from(instance.is_current());
            let (serial, started, requests) = (instance.serial, instance.started_at, instance.served);
            Report { serial, id: &instance.id, place, started, resident, requests, why: &instance.born }
        })
    }
}
