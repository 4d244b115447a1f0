//! Ending instances: idle ones, surplus ones, those that use too much memory, and those that have finished what they had.

use std::time::Duration;

use super::automatic;
use super::instance::{Loss, Stage};
use super::{Action, End, Lost, Scheduler, Serial};
use crate::journal::Severity;
use crate::scaling::Scaling;
use crate::time::Tick;

/// `max_idle_instances` stops nothing before a surplus has lasted so long: random load comes back within minutes.
const SURPLUS: Duration = Duration::from_mins(2);
/// Then it stops half of the surplus in so much time.
const TRIM: Duration = Duration::from_secs(30);

impl Scheduler {
    /// Ends whom nobody needs.
    pub(super) fn shrink(&mut self, now: Tick) {
        self.end_surplus(now);
        self.end_idle(now);
    }

    /// Those that drain end when they have nothing left ([`Self::retire`] and `done` see to that), or when their time is over.
    pub(super) fn stop_drained(&mut self, now: Tick) {
        while let Some((_, serial)) = self.roster.first_draining().filter(|(until, _)| *until <= now) {
            self.end(serial);
        }
    }

    /// The instance finishes what it has and goes.
    pub(super) fn retire(&mut self, now: Tick, serial: Serial, why: End) {
        self.roster.retire(serial, now.after(self.settings.drain), why);
        if self.roster.get(serial).is_some_and(|instance| instance.in_flight == 0) {
            self.end(serial);
        }
    }

    pub(super) fn retire_all(&mut self, now: Tick, why: End) {
        let current: Vec<Serial> = self.roster.all().filter(|instance| instance.is_current()).map(|instance| instance.serial).collect();
        for serial in current {
            self.retire(now, serial, why);
        }
    }

    /// The instance is told to end now; why was said when it was retired.
    pub(super) fn end(&mut self, serial: Serial) {
        let grace = self.settings.grace;
        if let Some(instance) = self.roster.stop(serial) {
            let farewell = instance.number().is_some() && instance.ready_at.is_some();
            let why = instance.why;
            self.actions.push_back(Action::Stop { instance: serial, farewell, grace, why });
        }
    }

    /// After a request: whether the instance is replaced.
    pub(super) fn judge(&mut self, now: Tick, serial: Serial, verdict: Option<End>) {
        let Some(instance) = self.roster.get(serial) else { return };
        let swollen = instance.swollen.zip(self.settings.memory).filter(|_| instance.served > 0);
        let line = swollen.map(|(used, memory)| memory.line("soft", used, instance.served));
        let Some(why) = line.as_ref().map(|_| End::SoftMemory).or(verdict) else {
            if instance.in_flight == 0 {
                self.expect_idle(now);
            }
            return;
        };
        let (id, lost) = (instance.id.clone(), Lost::of(instance, "is replaced"));
        if let Some(line) = line {
            self.note(Severity::Warning, Some(id), line);
        }
        self.lost.push_back(lost);
        self.retire(now, serial, why);
    }

    /// A sample of memory: over the soft limit the instance goes once a request is over, over the hard limit at once.
    pub(super) fn weigh(&mut self, now: Tick, serial: Serial, used: u64) {
        let (Some(memory), Some(instance)) = (self.settings.memory, self.roster.get_mut(serial)) else { return };
        instance.swollen = (used > memory.soft()).then_some(used);
        if used > memory.hard() {
            let line = memory.line("hard", used, instance.served);
            return self.kill(now, serial, line);
        }
        if instance.stage == Stage::Ready && instance.in_flight == 0 {
            self.judge(now, serial, None);
        }
    }

    /// The last word on an instance that is ending: the kernel may have ended it at the hard limit right after it was judged by the soft one.
    pub(super) fn weigh_last(&mut self, serial: Serial, used: u64) {
        let (Some(memory), Some(instance)) = (self.settings.memory, self.roster.get_mut(serial)) else { return };
        if used > memory.hard() && instance.why != End::HardMemory {
            instance.why = End::HardMemory;
            let (id, line) = (instance.id.clone(), memory.line("hard", used, instance.served));
            self.note(Severity::Error, Some(id), line);
        }
    }

    fn kill(&mut self, now: Tick, serial: Serial, line: String) {
        let Some(instance) = self.roster.get_mut(serial) else { return };
        instance.why = End::HardMemory;
        let (gone, lost) = (Loss::of(instance), Lost::of(instance, "was killed"));
        self.note(Severity::Error, Some(gone.id.clone()), line.clone());
        self.roster.stop(serial);
        self.measure(now);
        self.actions.push_back(Action::Stop { instance: serial, farewell: false, grace: Duration::ZERO, why: End::HardMemory });
        if gone.current {
            self.mourn(now, &gone, lost, line);
        }
    }

    /// Under `max_idle_instances`: half of the surplus at once, the rest later.
    fn end_surplus(&mut self, now: Tick) {
        let Scaling::Automatic(rule) = &self.settings.scaling else { return };
        let Some(most) = rule.max_idle_instances.map(|most| most as usize) else { return };
        if self.pending.free() > 0 {
            return;
        }
        let spare = self.roster.spare();
        let surplus = spare.saturating_sub(most);
        if surplus == 0 {
            self.trim_at = None;
            if self.roster.ready() > most
                && let Some(at) = self.meter.falls_at(now)
            {
                self.look_at(at);
            }
            return;
        }
        let due = *self.trim_at.get_or_insert_with(|| now.after(SURPLUS));
        if due <= now {
            let idle = self.roster.in_order().rev().take(spare).filter(|one| one.in_flight == 0).map(|one| one.serial);
            for serial in idle.take(surplus.div_ceil(2)).collect::<Vec<_>>() {
                self.retire(now, serial, End::Surplus { idle: spare, most });
            }
        }
        let due = if due <= now { now.after(TRIM) } else { due };
        self.trim_at = Some(due);
        self.look_at(due);
    }

    /// An instance has nothing to do from now on: it is looked at when that has lasted too long.
    pub(super) fn expect_idle(&mut self, now: Tick) {
        if let (None, Some(limit)) = (self.idle_look, self.idle_limit()) {
            self.idle_look = Some(now.after(limit));
        }
    }

    fn idle_limit(&self) -> Option<Duration> {
        match &self.settings.scaling {
            Scaling::Automatic(_) => Some(self.settings.idle),
            Scaling::Basic(rule) => Some(rule.idle_timeout),
            Scaling::Manual(_) => None,
        }
    }

    /// How many instances stay, however idle they are.
    fn kept(&mut self, now: Tick) -> usize {
        let asked = self.kept_until(now) as usize;
        let Scaling::Automatic(rule) = &self.settings.scaling else { return asked };
        let peak = self.meter.peak(now);
        let needed = automatic::required(self.cpu, peak, rule, self.settings.concurrency);
        (needed + rule.min_idle_instances.unwrap_or_default() as usize).max(rule.min_instances as usize).max(asked)
    }

    fn end_idle(&mut self, now: Tick) {
        let Some(limit) = self.idle_limit().filter(|_| self.idle_look.is_some_and(|at| at <= now)) else { return };
        let kept = self.kept(now);
        let mut dispensable = self.roster.current().saturating_sub(kept);
        let (mut next, mut stays) = (None, false);
        // The spare ones, which are the last to be asked, go first.
        let idle: Vec<(Serial, Tick)> =
            self.roster.in_order().rev().filter(|one| one.in_flight == 0).map(|one| (one.serial, one.idle_since)).collect();
        for (serial, since) in idle {
            let at = since.after(limit);
            if at > now {
                next = Some(next.map_or(at, |before: Tick| before.min(at)));
            } else if dispensable > 0 {
                dispensable -= 1;
                self.retire(now, serial, End::Idle(now.since(since)));
            } else {
                stays = true;
            }
        }
        if stays {
            let ends = [self.meter.falls_at(now), self.keep.map(|keep| keep.until).filter(|until| *until > now)];
            next = ends.into_iter().flatten().chain(next).min();
        }
        self.idle_look = next;
    }
}
