//! All instances of a version, and the order in which they are offered requests. A pick, a take and a finish cost a logarithm; what costs more
//! happens only when instances come and go.
//!
//! Who is asked: of the instances that the load needs (the oldest ones) the least loaded; among equals, the one whose turn is longest ago. The
//! others are spare: they are asked only when those are full, so that they become idle and can be stopped. Under basic scaling the lowest number
//! comes first among equals, for the same reason.

use std::collections::{BTreeMap, BTreeSet};

use super::instance::{Instance, Stage};
use super::{End, Serial};
use crate::ids::InstanceId;
use crate::pool::Outcome;
use crate::time::Tick;

/// A ready instance's place: spare, requests, turn.
type Place = (bool, u32, u64, Serial);

#[derive(Debug, Default)]
pub(super) struct Roster {
    all: BTreeMap<Serial, Instance>,
    /// Those that take requests.
    order: BTreeSet<Place>,
    /// The current instance of each number.
    numbers: BTreeMap<u32, Serial>,
    /// Those that finish what they have, by the tick at which they must go.
    draining: BTreeSet<(Tick, Serial)>,
    starting: usize,
    /// Requests at ready instances.
    in_flight: u32,
    /// How many of the oldest ready instances the load needs.
    core: usize,
    turn: u64,
    /// Among equals the lowest number comes first.
    by_number: bool,
}

impl Roster {
    pub(super) fn prefer_low_numbers(&mut self, yes: bool) {
        self.by_number = yes;
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Instance> + '_ {
        self.all.values()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn get(&self, serial: Serial) -> Option<&Instance> {
        self.all.get(&serial)
    }

    /// For what does not change its place.
    pub(super) fn get_mut(&mut self, serial: Serial) -> Option<&mut Instance> {
        self.all.get_mut(&serial)
    }

    pub(super) fn starting(&self) -> usize {
        self.starting
    }

    pub(super) fn ready(&self) -> usize {
        self.order.len()
    }

    /// Instances that take requests now or soon.
    pub(super) fn current(&self) -> usize {
        self.starting + self.order.len()
    }

    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Those that take requests, in the order in which they are asked.
    pub(super) fn in_order(&self) -> impl DoubleEndedIterator<Item = &Instance> + '_ {
        self.order.iter().filter_map(|(.., serial)| self.all.get(serial))
    }

    /// The current instance of a number.
    pub(super) fn numbered(&self, number: u32) -> Option<Serial> {
        self.numbers.get(&number).copied()
    }

    /// The numbers that have a current instance.
    pub(super) fn numbers(&self) -> impl DoubleEndedIterator<Item = (u32, Serial)> + '_ {
        self.numbers.iter().map(|(number, serial)| (*number, *serial))
    }

    /// Who takes the next request that takes any instance.
    pub(super) fn pick(&self, cap: u32) -> Option<Serial> {
        let room = |place: &&Place| place.1 < cap;
        let spare = || self.order.range((true, 0, 0, Serial(0))..).next();
        let (.., serial) = self.order.first().filter(room).or_else(|| spare().filter(room))?;
        Some(*serial)
    }

    /// The numbered instance, if it has room.
    pub(super) fn pick_number(&self, number: u32, cap: u32) -> Option<Serial> {
        let serial = self.numbered(number)?;
        let instance = self.all.get(&serial)?;
        (instance.stage == Stage::Ready && instance.in_flight < cap).then_some(serial)
    }

    pub(super) fn add(&mut self, instance: Instance) {
        if let Some(number) = instance.number() {
            self.numbers.insert(number, instance.serial);
        }
        self.starting += 1;
        self.all.insert(instance.serial, instance);
    }

    /// A starting instance takes requests; false if there is none.
    pub(super) fn set_ready(&mut self, now: Tick, serial: Serial) -> bool {
        let Some(instance) = self.all.get_mut(&serial).filter(|instance| instance.stage == Stage::Starting) else { return false };
        instance.stage = Stage::Ready;
        instance.ready_at = Some(now);
        instance.idle_since = now;
        instance.turn = if self.by_number { instance.number().unwrap_or_default().into() } else { self.turn };
        self.starting -= 1;
        let place = place(instance);
        self.order.insert(place);
        self.sort();
        true
    }

    /// Gives a ready instance one request; true if it is a loading request.
    pub(super) fn take(&mut self, serial: Serial) -> bool {
        let Some(instance) = self.all.get_mut(&serial) else { return false };
        self.order.remove(&place(instance));
        let cold = instance.take();
        if !self.by_number {
            self.turn += 1;
            instance.turn = self.turn;
        }
        self.in_flight += 1;
        self.order.insert(place(instance));
        cold
    }

    /// A request is over; returned is why the process should be replaced, if it should.
    pub(super) fn finish(&mut self, now: Tick, serial: Serial, outcome: Outcome) -> Option<End> {
        let instance = self.all.get_mut(&serial)?;
        let before = instance.in_flight;
        let ready = instance.stage == Stage::Ready;
        if ready {
            self.order.remove(&place(instance));
        }
        let verdict = instance.finish(now, outcome);
        if ready {
            self.in_flight -= before - instance.in_flight;
            self.order.insert(place(instance));
        }
        verdict
    }

    /// Nothing new goes to the instance; it may finish what it has.
    pub(super) fn retire(&mut self, serial: Serial, until: Tick, why: End) {
        self.withdraw(serial);
        if let Some(instance) = self.all.get_mut(&serial).filter(|instance| instance.is_current()) {
            instance.stage = Stage::Draining { until };
            instance.why = why;
            self.draining.insert((until, serial));
        }
    }

    /// The instance was told to end. Returns it, unless it had been told before.
    pub(super) fn stop(&mut self, serial: Serial) -> Option<&mut Instance> {
        self.withdraw(serial);
        let instance = self.all.get_mut(&serial).filter(|instance| instance.stage != Stage::Stopping)?;
        if let Stage::Draining { until } = instance.stage {
            self.draining.remove(&(until, serial));
        }
        instance.stage = Stage::Stopping;
        Some(instance)
    }

    /// The process is gone.
    pub(super) fn remove(&mut self, serial: Serial) -> Option<Instance> {
        self.withdraw(serial);
        let instance = self.all.remove(&serial)?;
        if let Stage::Draining { until } = instance.stage {
            self.draining.remove(&(until, serial));
        }
        Some(instance)
    }

    /// The instance that must stop draining first, and when.
    pub(super) fn first_draining(&self) -> Option<(Tick, Serial)> {
        self.draining.first().copied()
    }

    /// How many instances the load needs.
    pub(super) fn core(&self) -> usize {
        self.core
    }

    /// How many ready instances the load does not need.
    pub(super) fn spare(&self) -> usize {
        self.order.len().saturating_sub(self.core)
    }

    /// How many of the oldest ready instances the load needs.
    pub(super) fn set_core(&mut self, core: usize) {
        if core != self.core {
            self.core = core;
            self.sort();
        }
    }

    /// Takes a current instance out of what requests see; its stage is the caller's affair.
    fn withdraw(&mut self, serial: Serial) {
        let Some(instance) = self.all.get(&serial).filter(|instance| instance.is_current()) else { return };
        if instance.stage == Stage::Ready {
            self.order.remove(&place(instance));
            self.in_flight -= instance.in_flight;
        } else {
            self.starting -= 1;
        }
        if let InstanceId::Number(number) = instance.id
            && self.numbers.get(&number) == Some(&serial)
        {
            self.numbers.remove(&number);
        }
        self.sort();
    }

    /// Says anew which instances are spare.
    fn sort(&mut self) {
        let mut rank = 0;
        let Self { all, order, core, .. } = self;
        if order.len() <= *core && order.last().is_none_or(|last| !last.0) {
            return;
        }
        for instance in all.values_mut() {
            if !order.contains(&place(instance)) {
                continue;
            }
            let spare = rank >= *core;
            rank += 1;
            if spare != instance.spare {
                order.remove(&place(instance));
                instance.spare = spare;
                order.insert(place(instance));
            }
        }
    }

    #[cfg(debug_assertions)]
    pub(super) fn check(&self) {
        let ready: Vec<_> = self.all.values().filter(|instance| instance.stage == Stage::Ready).collect();
        debug_assert_eq!(ready.len(), self.order.len());
        debug_assert!(ready.iter().all(|instance| self.order.contains(&place(instance))), "{self:?}");
        debug_assert_eq!(ready.iter().map(|instance| instance.in_flight).sum::<u32>(), self.in_flight);
        debug_assert_eq!(self.all.values().filter(|instance| instance.stage == Stage::Starting).count(), self.starting);
        let idle_start = |instance: &Instance| instance.in_flight == 0 || instance.stage != Stage::Starting;
        debug_assert!(self.all.values().all(idle_start), "a starting instance has requests: {self:?}");
    }
}

fn place(instance: &Instance) -> Place {
    (instance.spare, instance.in_flight, instance.turn, instance.serial)
}
