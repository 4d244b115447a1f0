//! Starting instances: the rules of the three kinds of scaling are asked, limits and the pauses after deaths are kept.

use std::time::Duration;

use super::automatic::{self, Load, Need};
use super::instance::Instance;
use super::{Action, Scheduler, Serial, Start, basic, manual};
use crate::ids::InstanceId;
use crate::journal::Severity;
use crate::pool::{Lifecycle, Reject};
use crate::scaling::{Automatic, Scaling};
use crate::time::Tick;

/// How long a start is thought to take before one was seen.
const START: Duration = Duration::from_secs(1);

impl Scheduler {
    /// Starts what is needed.
    pub(super) fn grow(&mut self, now: Tick) {
        self.deaths.retry(now);
        self.deaths_of.values_mut().for_each(|deaths| deaths.retry(now));
        match self.settings.scaling.clone() {
            Scaling::Automatic(rule) => self.grow_automatic(now, &rule),
            _ => self.grow_numbered(now),
        }
        self.give_up();
    }

    /// Which of the ready instances the load needs; the others are spare.
    pub(super) fn arrange_core(&mut self, now: Tick) {
        let Scaling::Automatic(rule) = &self.settings.scaling else { return };
        let peak = self.meter.peak(now);
        let needed = automatic::required(self.cpu, peak, rule, self.settings.concurrency);
        let kept = self.kept_until(now) as usize;
        self.roster.set_core(needed.max(rule.min_instances as usize).max(kept).max(1));
    }

    /// After a request took the short way: the average must be looked at while there are many.
    pub(super) fn look_if_tight(&mut self, now: Tick) {
        let Scaling::Automatic(rule) = &self.settings.scaling else { return };
        let waits = self.full || self.roster.starting() >= self.settings.starts as usize;
        if !waits && automatic::is_tight(self.meter.level(), self.roster.current(), rule, self.settings.concurrency) {
            self.look_at(automatic::look(now));
        }
    }

    fn grow_automatic(&mut self, now: Tick, rule: &Automatic) {
        if self.deaths.pausing(now) {
            return;
        }
        loop {
            let (most, what) = self.most(rule);
            let current = self.roster.current();
            if current >= most {
                self.lost.clear();
                self.say_full(now, rule, most, what);
                return;
            }
            self.full = false;
            if self.roster.starting() >= self.settings.starts.max(1) as usize {
                return;
            }
            // Where others do its work, what was lost is not missed.
            if let Some(lost) = self.lost.pop_front() {
                if current >= self.roster.core() {
                    continue;
                }
                let ahead = self.pending.free() == 0;
                self.launch(now, None, Start { why: lost.why, ahead });
                continue;
            }
            match automatic::need(&self.load(now), rule, self.settings.concurrency) {
                Need::Start(reason) => self.launch(now, None, Start { why: reason.to_string(), ahead: reason.is_ahead() }),
                Need::Later(at) => return self.look_at(at),
                Need::Nothing => return,
            }
        }
    }

    /// The most instances, and who says so.
    pub(super) fn most(&self, rule: &Automatic) -> (usize, Most) {
        let bears = u32::try_from(self.roster.current()).unwrap_or(u32::MAX).saturating_add(self.room);
        let limits = [(rule.max_instances.unwrap_or(u32::MAX), Most::Asked), (self.settings.cap.instances, Most::Cap), (bears, Most::Room)];
        let (most, what) = limits.into_iter().min_by_key(|(most, _)| *most).unwrap_or((u32::MAX, Most::Asked));
        (most.max(1) as usize, what)
    }

    /// Once, when one more would be started if it might.
    fn say_full(&mut self, now: Tick, rule: &Automatic, most: usize, what: Most) {
        if self.full {
            return;
        }
        match automatic::need(&self.load(now), rule, self.settings.concurrency) {
            Need::Start(reason) => {
                self.full = true;
                let limit = match what {
                    Most::Asked => format!("max_instances {most}"),
                    Most::Cap => format!("the limit of this computer, {most} instances ({})", self.settings.cap.why),
                    Most::Room => format!("the limit of this computer ({})", self.settings.cap.why),
                };
                self.note(Severity::Info, None, format!("no instance more is started: {reason}, but {limit} is reached"));
            }
            Need::Later(at) => self.look_at(at),
            Need::Nothing => {}
        }
    }

    fn load(&mut self, now: Tick) -> Load {
        let covered = self.roster.starting() * self.settings.concurrency as usize;
        let waiting = self.pending.free();
        Load {
            now,
            waiting,
            unserved: self.pending.since(covered).map(|since| (since, covered)),
            current: self.roster.current(),
            kept: self.kept_until(now),
            level: self.meter.level(),
            mean: self.meter.mean(now),
            peak: self.meter.peak(now),
            cpu: self.cpu,
            pace: self.pace.now(now),
            start: self.start.unwrap_or(START),
        }
    }

    pub(super) fn look_at(&mut self, at: Tick) {
        self.look = Some(self.look.map_or(at, |before| before.min(at)));
    }

    fn grow_numbered(&mut self, now: Tick) {
        while let Some(lost) = self.lost.pop_front() {
            let Some(number) = lost.number else { continue };
            let pausing = self.deaths_of.get(&number).is_some_and(|deaths| deaths.pausing(now));
            if self.roster.numbered(number).is_none() && !pausing {
                self.launch(now, Some(number), Start { why: lost.why, ahead: true });
            }
        }
        while let Some((number, start)) = self.next_number(now) {
            self.launch(now, Some(number), start);
        }
    }

    fn next_number(&self, now: Tick) -> Option<(u32, Start)> {
        let pausing = |number| self.deaths_of.get(&number).is_some_and(|deaths| deaths.pausing(now));
        let taken = |number| self.roster.numbered(number).is_some() || pausing(number);
        match &self.settings.scaling {
            Scaling::Automatic(_) => None,
            Scaling::Basic(rule) => {
                let aimed = self.pending.aimed().map(|(number, _)| number);
                // Beside a number that does not start no other is tried: it is the same code.
                let blocked = self.roster.current() == 0 && self.deaths_of.values().any(|deaths| deaths.again_at().is_some());
                let covered = self.roster.starting() * self.settings.concurrency as usize;
                let unserved = if blocked { 0 } else { self.pending.free().saturating_sub(covered) };
                let kept = if blocked { 0 } else { self.kept_until(now).min(rule.max_instances) as usize };
                basic::next(rule, aimed, unserved, taken).or_else(|| {
                    let number = (0..rule.max_instances).find(|number| !taken(*number)).filter(|_| self.roster.current() < kept)?;
                    Some((number, Start { why: format!("{kept} instances are to be ready for traffic to come"), ahead: true }))
                })
            }
            Scaling::Manual(rule) => {
                let complete = self.roster.numbers().count() >= rule.instances as usize;
                if complete { None } else { manual::next(rule, taken) }
            }
        }
    }

    fn launch(&mut self, now: Tick, number: Option<u32>, start: Start) {
        let serial = Serial(self.next_serial);
        self.next_serial += 1;
        let id = number.map_or_else(|| self.opaque(), InstanceId::Number);
        let hello = match number {
            Some(_) => Some(Lifecycle::Start),
            None => (start.ahead && self.settings.warmup).then_some(Lifecycle::Warmup),
        };
        self.room = self.room.saturating_sub(1);
        self.roster.add(Instance::new(serial, id.clone(), hello.is_some(), start.why.clone(), now));
        self.actions.push_back(Action::Start { instance: serial, id, hello, why: start.why });
    }

    /// A name for a new instance (row M1).
    fn opaque(&mut self) -> InstanceId {
        let drawn = splitmix(&mut self.draw) >> 16;
        InstanceId::Opaque(format!("{drawn:012x}").into())
    }

    /// Tells those who wait that instances do not start: between two attempts they hear so at once instead of waiting for the next failure.
    fn give_up(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let alone = self.roster.current() == 0;
        let numbered = self.deaths_of.iter().filter_map(|(number, deaths)| Some((*number, deaths.hopeless()?)));
        let hopeless: Vec<(u32, Reject)> = numbered
            .filter(|(number, _)| self.roster.numbered(*number).is_none())
            .map(|(number, why)| (number, Reject::StartFailed(why.to_owned())))
            .collect();
        for (number, why) in &hopeless {
            self.reject_aimed(*number, why);
        }
        let automatic = self.deaths.hopeless().map(|why| Reject::StartFailed(why.to_owned()));
        if alone && let Some(why) = automatic.or_else(|| hopeless.into_iter().next().map(|(_, why)| why)) {
            self.reject_free(&why);
        }
    }
}

/// Who limits the number of instances.
#[derive(Debug, Clone, Copy)]
pub(super) enum Most {
    /// `max_instances`.
    Asked,
    /// What the computer bears for one version.
    Cap,
    /// What the computer bears for all.
    Room,
}

/// The next of a sequence of well-mixed numbers (Steele, Lea and Flood's `SplitMix64`).
fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
