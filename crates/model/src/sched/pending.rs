//! The queue of requests that wait for an instance: bounded in length and in time, first come first served. Requests that named an instance
//! wait for that one, the others for any; every question costs a logarithm at most.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::ReqId;
use crate::time::Tick;

/// A request that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) req: ReqId,
    pub(super) aim: Option<u32>,
    pub(super) since: Tick,
    pub(super) until: Tick,
}

/// A place in the queue; lower is earlier.
pub(super) type Place = u64;

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Pending {
    next: Place,
    all: BTreeMap<Place, Waiting>,
    places: BTreeMap<ReqId, Place>,
    /// Those that take any instance.
    free: BTreeMap<Place, Tick>,
    /// Those that named one.
    aimed: BTreeMap<u32, BTreeSet<Place>>,
    deadlines: BTreeSet<(Tick, Place)>,
}

impl Pending {
    pub(super) fn push(&mut self, now: Tick, req: ReqId, aim: Option<u32>, patience: Duration) {
        let place = self.next;
        self.next += 1;
        let until = now.after(patience);
        match aim {
            None => drop(self.free.insert(place, now)),
            Some(number) => drop(self.aimed.entry(number).or_default().insert(place)),
        }
        self.deadlines.insert((until, place));
        self.places.insert(req, place);
        self.all.insert(place, Waiting { req, aim, since: now, until });
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// How many take any instance.
    pub(super) fn free(&self) -> usize {
        self.free.len()
    }

    /// Since when the request waits that is the `rank`th (from 0) of those that take any instance.
    pub(super) fn since(&self, rank: usize) -> Option<Tick> {
        self.free.values().nth(rank).copied()
    }

    /// The first that takes any instance.
    pub(super) fn first_free(&self) -> Option<Place> {
        self.free.keys().next().copied()
    }

    /// The numbers that are waited for, each with its first place.
    pub(super) fn aimed(&self) -> impl Iterator<Item = (u32, Place)> + '_ {
        self.aimed.iter().filter_map(|(number, places)| Some((*number, *places.first()?)))
    }

    pub(super) fn forget(&mut self, req: ReqId) {
        if let Some(&place) = self.places.get(&req) {
            self.take(place);
        }
    }

    pub(super) fn take(&mut self, place: Place) -> Option<Waiting> {
        let waiting = self.all.remove(&place)?;
        self.places.remove(&waiting.req);
        self.deadlines.remove(&(waiting.until, place));
        match waiting.aim {
            None => drop(self.free.remove(&place)),
            Some(number) => {
                if let Some(places) = self.aimed.get_mut(&number) {
                    places.remove(&place);
                    if places.is_empty() {
                        self.aimed.remove(&number);
                    }
                }
            }
        }
        Some(waiting)
    }

    /// Takes the first of all.
    pub(super) fn take_first(&mut self) -> Option<Waiting> {
        let place = *self.all.keys().next()?;
        self.take(place)
    }

    /// Takes the first that waits for the numbered instance.
    pub(super) fn take_aimed(&mut self, number: u32) -> Option<Waiting> {
        let place = *self.aimed.get(&number)?.first()?;
        self.take(place)
    }

    /// Takes one whose patience is over.
    pub(super) fn take_late(&mut self, now: Tick) -> Option<Waiting> {
        let &(until, place) = self.deadlines.first()?;
        if until <= now { self.take(place) } else { None }
    }

    /// The tick at which the first patience ends.
    pub(super) fn deadline(&self) -> Option<Tick> {
        self.deadlines.first().map(|(until, _)| *until)
    }

    #[cfg(debug_assertions)]
    pub(super) fn check(&self) {
        let aimed: usize = self.aimed.values().map(BTreeSet::len).sum();
        debug_assert_eq!(self.all.len(), self.free.len() + aimed);
        debug_assert_eq!(self.all.len(), self.places.len());
        debug_assert_eq!(self.all.len(), self.deadlines.len());
    }
}
