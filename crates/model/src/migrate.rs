//! Gradual traffic migration (row T3): a machine of events and wishes. The target is warmed to what a step needs, the step's split is put in force, and
//! it is held and watched before the next one; what goes wrong leads back to the split before.
//!
//! The state is everything: it can be written down at any point and read again, and [`Migration::wants`] then asks for what was not acknowledged.
//! Whoever drives it writes the state down first, does what is wanted, and says so by [`Migration::on`].
//!
//! ```text
//! loop {
//!     match migration.wants(now) {
//!         Wants::Warm { instances } => engine.warm(…) → Event::Warmed or Event::NotWarm
//!         Wants::Split(split)       => publish it     → Event::InForce
//!         Wants::Look(within)       => sleep, count   → Event::Seen
//!         Wants::Nothing(outcome)   => close the operation
//!     }
//! }
//! ```

pub mod guard;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::{InboundService, VersionConfig};
use crate::ids::VersionId;
use crate::scaling::Scaling;
use crate::traffic::{ShardBy, TrafficSplit, WHOLE};
use guard::{Guard, Health};

/// Milliseconds of a clock that goes on over restarts (since 1970). If it jumps back, a step is held a little longer.
pub type Millis = u64;

/// A step is looked at this often while it is held.
const LOOK: Duration = Duration::from_secs(1);
/// A guard wants to see this many requests of the target in each step…
const ENOUGH: u64 = 20;
/// …for at most so many times the time that a step is held.
const LONGEST: u32 = 5;
/// Attempts to warm the target for one step, once it has traffic.
const TRIES: u8 = 3;

/// Why traffic cannot be migrated gradually; the texts are for the Admin API's answers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// `shardBy` is missing.
    #[error("Gradual traffic migration (migrateTraffic=true) needs `split.shardBy`: IP, COOKIE or RANDOM.")]
    NoShardBy,
    /// Several versions, or one with a part of the traffic.
    #[error("Gradual traffic migration (migrateTraffic=true) needs exactly one version in `split.allocations`, with all traffic.")]
    NotOne,
    /// Basic or manual scaling.
    #[error("Traffic cannot be migrated gradually to version `{0}`: it has {1} scaling, and automatic scaling is needed.")]
    NotAutomatic(VersionId, &'static str),
    /// No warm-up requests.
    #[error(
        "Traffic cannot be migrated gradually to version `{0}`: warmup requests are not enabled. Add `inbound_services: [warmup]` to its app.yaml and deploy it again."
    )]
    NoWarmup(VersionId),
}

/// Whether `asked` can be migrated to gradually; `target` is the configuration of its version.
///
/// # Errors
/// What is missing.
pub fn check(asked: &TrafficSplit, target: &VersionConfig) -> Result<(), Refusal> {
    let version = asked.only().ok_or(Refusal::NotOne)?;
    if asked.by().is_none() {
        return Err(Refusal::NoShardBy);
    }
    match target.scaling {
        Scaling::Automatic(_) => {}
        Scaling::Basic(_) => return Err(Refusal::NotAutomatic(version.clone(), "basic")),
        Scaling::Manual(_) => return Err(Refusal::NotAutomatic(version.clone(), "manual")),
    }
    if target.inbound.contains(&InboundService::Warmup) { Ok(()) } else { Err(Refusal::NoWarmup(version.clone())) }
}

/// How traffic moves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ramp {
    /// The target's thousandths, step by step; the last one is [`WHOLE`].
    pub steps: Vec<u16>,
    /// How long each step but the last is held.
    pub hold: Duration,
}

impl Default for Ramp {
    fn default() -> Self {
        Self { steps: vec![10, 50, 100, 250, 500, 750, WHOLE], hold: Duration::from_secs(3) }
    }
}

impl Ramp {
    /// The usual steps, spread over `total`.
    pub fn over(total: Duration) -> Self {
        let usual = Self::default();
        let held = u32::try_from(usual.steps.len() - 1).unwrap_or(1).max(1);
        Self { hold: total / held, ..usual }
    }

    /// Steps that rise, are no finer than `unit`, and end with everything.
    fn settled(mut self, unit: u16) -> Self {
        for step in &mut self.steps {
            *step = step.div_ceil(unit).saturating_mul(unit);
        }
        self.steps.retain(|step| (1..WHOLE).contains(step));
        self.steps.sort_unstable();
        self.steps.dedup();
        self.steps.push(WHOLE);
        self
    }
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wants {
    /// At least `instances` of the target are to be ready and warmed up.
    Warm {
        /// The target.
        version: VersionId,
        /// How many in all.
        instances: u32,
    },
    /// This split is to be in force.
    Split(TrafficSplit),
    /// Nothing but to be told after this time what is seen.
    Look(Duration),
    /// It is over.
    Nothing(Outcome),
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The target takes everything.
    Done,
    /// It was given up.
    Aborted {
        /// Why, for people.
        reason: String,
        /// The split from before is in force again; otherwise somebody else's.
        reverted: bool,
    },
}

/// What was seen, in counts since any time in the past.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// Requests of the versions that the target takes over from, together.
    pub old: Health,
    /// Requests of the target.
    pub new: Health,
    /// Ready instances of the versions that the target takes over from.
    pub old_instances: u32,
    /// Ready instances of the target.
    pub new_instances: u32,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The target's instances are ready.
    Warmed,
    /// They are not, and why.
    NotWarm(String),
    /// The split that was wanted is in force.
    InForce,
    /// A look at what runs; also useful before the first wish.
    Seen(Box<Seen>),
    /// An operator wants it to stay as it is.
    Pause,
    /// An operator wants it to go on.
    Resume,
    /// An operator wants the split from before.
    Abort(String),
    /// Another split was put in force by somebody: nothing is reverted.
    Superseded(String),
    /// The process that drove it ended, and this is another one: what was warm is not any more, and counts began anew.
    Restarted,
}

/// A migration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Migration {
    from: TrafficSplit,
    target: VersionId,
    by: ShardBy,
    ramp: Ramp,
    guard: Guard,
    /// `max_instances` of the target.
    most: Option<u32>,
    /// Most instances that the old versions were seen with.
    old_instances: u32,
    phase: Phase,
    paused: bool,
    /// The split of the last step that was begun.
    split: TrafficSplit,
    /// The target's thousandths that are known to be in force.
    in_force: u16,
    /// How often the target lost all its instances in this step.
    falls: u8,
    /// What was seen first since the last restart, at the beginning of the step, and last.
    first: Option<(Health, Health)>,
    begun: Option<(Health, Health)>,
    last: Option<(Health, Health)>,
    notes: Vec<Note>,
}

/// Something that is worth telling in the operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// When.
    pub at: Millis,
    /// What, in one sentence.
    pub text: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    Warming { step: usize, tries: u8 },
    Shifting { step: usize },
    Holding { step: usize, since: Millis },
    Reverting { reason: String },
    Over(Outcome),
}

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Which step, from 1, and of how many.
    pub step: (usize, usize),
    /// The target's thousandths that are in force.
    pub share: u16,
    /// It waits for an operator.
    pub paused: bool,
    /// One sentence.
    pub text: String,
}

impl Migration {
    /// Begins a migration from what is in force to `asked`, which [`check`] let pass; `target` is the configuration of its version.
    ///
    /// # Errors
    /// As [`check`].
    pub fn begin(from: TrafficSplit, asked: &TrafficSplit, target: &VersionConfig, ramp: Ramp, guard: Guard) -> Result<Self, Refusal> {
        check(asked, target)?;
        let version = asked.only().ok_or(Refusal::NotOne)?.clone();
        let by = asked.by().ok_or(Refusal::NoShardBy)?;
        let most = if let Scaling::Automatic(automatic) = &target.scaling { automatic.max_instances } else { None };
        let ramp = ramp.settled(unit(by));
        let has = from.share(version.as_str());
        let phase =
            ramp.steps.iter().position(|share| *share > has).map_or(Phase::Over(Outcome::Done), |step| Phase::Warming { step, tries: 0 });
        Ok(Self {
            split: from.clone(),
            in_force: has,
            falls: 0,
            from,
            target: version,
            by,
            ramp,
            guard,
            most,
            old_instances: 0,
            phase,
            paused: false,
            first: None,
            begun: None,
            last: None,
            notes: Vec::new(),
        })
    }

    /// The version that is to take everything.
    pub fn target(&self) -> &VersionId {
        &self.target
    }

    /// The split from before, which an abort leads back to.
    pub fn from(&self) -> &TrafficSplit {
        &self.from
    }

    /// What was worth telling so far.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// How it ended, if it did.
    pub fn outcome(&self) -> Option<&Outcome> {
        if let Phase::Over(outcome) = &self.phase { Some(outcome) } else { None }
    }

    /// What is to be done now. The same is wanted until an event says that it is done, so that it may be asked again after a restart.
    pub fn wants(&self, now: Millis) -> Wants {
        match &self.phase {
            Phase::Over(outcome) => Wants::Nothing(outcome.clone()),
            Phase::Reverting { .. } => Wants::Split(self.from.clone()),
            _ if self.paused => Wants::Look(LOOK),
            Phase::Warming { step, .. } => Wants::Warm { version: self.target.clone(), instances: self.needed(*step) },
            Phase::Shifting { .. } => Wants::Split(self.split.clone()),
            Phase::Holding { step, since } => {
                let left = self.hold(*step).saturating_sub(Duration::from_millis(now.saturating_sub(*since)));
                Wants::Look(left.clamp(Duration::from_millis(10), LOOK))
            }
        }
    }

    /// Hears what happened; what does not fit to what is wanted changes nothing.
    pub fn on(&mut self, now: Millis, event: Event) {
        if matches!(self.phase, Phase::Over(_)) {
            return;
        }
        match event {
            Event::Warmed => self.warmed(),
            Event::NotWarm(why) => self.not_warm(now, &why),
            Event::InForce => self.in_force(now),
            Event::Seen(seen) => self.seen(now, *seen),
            Event::Pause => self.pause(now, true),
            Event::Resume => self.pause(now, false),
            Event::Abort(reason) => self.abort(now, reason),
            Event::Superseded(reason) => {
                self.note(now, reason.clone());
                self.phase = Phase::Over(Outcome::Aborted { reason, reverted: false });
            }
            Event::Restarted => self.restarted(),
        }
    }

    /// How far it is, for the operation's metadata.
    pub fn progress(&self, now: Millis) -> Progress {
        let of = self.ramp.steps.len();
        let (step, text) = match &self.phase {
            Phase::Warming { step, .. } => (*step, format!("warming {} of its instances", self.needed(*step))),
            Phase::Shifting { step } => (*step, format!("changing to {}", percent(self.ramp.steps[*step]))),
            Phase::Holding { step, since } => {
                let left = self.hold(*step).saturating_sub(Duration::from_millis(now.saturating_sub(*since)));
                (*step, format!("watching it for {} s more", left.as_millis().div_ceil(1000)))
            }
            Phase::Reverting { reason } => (0, format!("going back: {reason}")),
            Phase::Over(Outcome::Done) => (of - 1, "done".to_owned()),
            Phase::Over(Outcome::Aborted { reason, .. }) => (0, format!("aborted: {reason}")),
        };
        let paused = self.paused && self.outcome().is_none();
        let pause = if paused { ", paused" } else { "" };
        let text = format!("{} of the traffic goes to `{}`; {text}{pause}", percent(self.in_force), self.target);
        Progress { step: (step + 1, of), share: self.in_force, paused, text }
    }

    /// Instances that the target needs for a step: its share of what the old versions have.
    fn needed(&self, step: usize) -> u32 {
        let share = self.ramp.steps.get(step).copied().unwrap_or(WHOLE);
        needed(self.old_instances, share, self.most)
    }

    /// How long a step is held: the last one only if a guard watches it, and longer if the guard has seen too little.
    fn hold(&self, step: usize) -> Duration {
        if step + 1 == self.ramp.steps.len() && self.guard.is_empty() {
            return Duration::ZERO;
        }
        let seen = self.last.as_ref().zip(self.begun.as_ref()).map_or(0, |(last, begun)| last.1.since(&begun.1).requests);
        let patient = !self.guard.is_empty() && seen < ENOUGH;
        self.ramp.hold * if patient { LONGEST } else { 1 }
    }

    fn warmed(&mut self) {
        let Phase::Warming { step, .. } = self.phase else { return };
        let Some(share) = self.ramp.steps.get(step).copied() else { return };
        self.split = self.split.change_to(self.shares(share));
        self.phase = Phase::Shifting { step };
    }

    fn not_warm(&mut self, now: Millis, why: &str) {
        let Phase::Warming { step, tries } = self.phase else { return };
        self.note(now, format!("`{}` could not be warmed for {}: {why}", self.target, percent(self.ramp.steps[step])));
        if self.split == self.from || tries + 1 >= TRIES {
            self.abort(now, format!("version `{}` could not be warmed up: {why}", self.target));
        } else {
            self.phase = Phase::Warming { step, tries: tries + 1 };
        }
    }

    fn in_force(&mut self, now: Millis) {
        match &self.phase {
            Phase::Shifting { step } => {
                let step = *step;
                if self.in_force != self.ramp.steps[step] {
                    self.note(now, format!("{} of the traffic goes to `{}`.", percent(self.ramp.steps[step]), self.target));
                    self.in_force = self.ramp.steps[step];
                    self.begun = self.last.clone();
                    self.falls = 0;
                }
                self.phase = Phase::Holding { step, since: now };
                self.held_long_enough(now);
            }
            Phase::Reverting { reason } => {
                let reason = reason.clone();
                self.in_force = self.from.share(self.target.as_str());
                self.note(now, "The split from before is in force again.".to_owned());
                self.phase = Phase::Over(Outcome::Aborted { reason, reverted: true });
            }
            _ => {}
        }
    }

    fn seen(&mut self, now: Millis, seen: Seen) {
        self.old_instances = self.old_instances.max(seen.old_instances);
        let both = (seen.old, seen.new);
        self.first.get_or_insert_with(|| both.clone());
        self.begun.get_or_insert_with(|| both.clone());
        self.last = Some(both);
        if let Some(evidence) = self.judge() {
            return self.abort(now, evidence);
        }
        let Phase::Holding { step, since } = self.phase else { return };
        if now < since {
            self.phase = Phase::Holding { step, since: now };
        }
        if seen.new_instances == 0 { self.fell(now, step) } else { self.held_long_enough(now) }
    }

    /// The guard's verdict about the step so far.
    fn judge(&self) -> Option<String> {
        let (old, new) = self.last.as_ref()?;
        let begun = self.begun.as_ref()?;
        let mut beside = old.since(&begun.0);
        if beside.requests < ENOUGH {
            // Hardly anybody is left at the old versions: what they were like before counts.
            beside = old.since(&self.first.as_ref()?.0);
        }
        let evidence = self.guard.judge(&beside, &new.since(&begun.1))?;
        Some(format!("`{}` with {} of the traffic: {evidence}", self.target, percent(self.in_force)))
    }

    /// The target has traffic and no instance that is ready: it is warmed again. If that does not help, what its requests say decides, because a version
    /// that nobody asks, or that has only files, needs no instances.
    fn fell(&mut self, now: Millis, step: usize) {
        self.falls = self.falls.saturating_add(1);
        if self.falls < TRIES {
            self.note(now, format!("`{}` has no instance that is ready; it is warmed again.", self.target));
            self.phase = Phase::Warming { step, tries: 0 };
            return;
        }
        let here = self.last.as_ref().zip(self.begun.as_ref()).map(|(last, begun)| last.1.since(&begun.1)).unwrap_or_default();
        if here.errors > here.requests / 2 {
            let (errors, requests) = (here.errors, here.requests);
            let target = &self.target;
            return self.abort(
                now,
                format!("version `{target}` lost all its instances {TRIES} times, and {errors} of {requests} requests failed"),
            );
        }
        self.held_long_enough(now);
    }

    fn held_long_enough(&mut self, now: Millis) {
        let Phase::Holding { step, since } = self.phase else { return };
        if self.paused || Duration::from_millis(now.saturating_sub(since)) < self.hold(step) {
            return;
        }
        self.phase =
            if step + 1 < self.ramp.steps.len() { Phase::Warming { step: step + 1, tries: 0 } } else { Phase::Over(Outcome::Done) };
    }

    fn pause(&mut self, now: Millis, paused: bool) {
        if self.paused == paused {
            return;
        }
        self.paused = paused;
        self.note(now, if paused { "Paused." } else { "Resumed." }.to_owned());
        if let Phase::Holding { step, .. } = self.phase
            && !paused
        {
            self.phase = Phase::Holding { step, since: now };
        }
    }

    fn abort(&mut self, now: Millis, reason: String) {
        if matches!(self.phase, Phase::Reverting { .. }) {
            return;
        }
        self.note(now, reason.clone());
        self.phase = Phase::Reverting { reason };
    }

    fn restarted(&mut self) {
        (self.first, self.begun, self.last) = (None, None, None);
        if let Phase::Holding { step, .. } | Phase::Shifting { step } = self.phase {
            self.phase = Phase::Warming { step, tries: 0 };
        }
    }

    fn note(&mut self, at: Millis, text: String) {
        self.notes.push(Note { at, text });
    }

    /// The split in which the target has `share`; the others lose in proportion and never gain.
    fn shares(&self, share: u16) -> TrafficSplit {
        let unit = unit(self.by);
        let others = self.split.parts().filter(|(version, _)| **version != self.target);
        // Rounded up: only another `shardBy` can make a difference, and then everybody is given out anew anyway.
        let mut parts: BTreeMap<VersionId, u16> = others.map(|(version, now)| (version.clone(), now.div_ceil(unit) * unit)).collect();
        let mut excess = parts.values().sum::<u16>().saturating_sub(WHOLE.saturating_sub(share));
        while excess > 0 {
            let weight = |version: &VersionId| u32::from(self.from.share(version.as_str()).max(1));
            // Whoever has lost least of what it had; `now / weight` as a product.
            let richest = parts
                .iter_mut()
                .filter(|(_, now)| **now > 0)
                .max_by(|(a, x), (b, y)| (u32::from(**x) * weight(b)).cmp(&(u32::from(**y) * weight(a))).then_with(|| a.cmp(b)));
            let Some((_, now)) = richest else { break };
            *now = now.saturating_sub(unit);
            excess = excess.saturating_sub(unit);
        }
        parts.retain(|_, now| *now > 0);
        parts.insert(self.target.clone(), share);
        TrafficSplit::new(Some(self.by), parts).unwrap_or_else(|_| TrafficSplit::all(self.target.clone()))
    }
}

/// Instances that a version needs to take `share` thousandths of what `instances` serve now: at least one, at most what it may have.
pub fn needed(instances: u32, share: u16, most: Option<u32>) -> u32 {
    let part = (u64::from(instances) * u64::from(share)).div_ceil(u64::from(WHOLE));
    u32::try_from(part).unwrap_or(u32::MAX).clamp(1, most.unwrap_or(u32::MAX).max(1))
}

/// The finest share, in thousandths.
fn unit(by: ShardBy) -> u16 {
    if by == ShardBy::Ip { 10 } else { 1 }
}

fn percent(share: u16) -> String {
    if share.is_multiple_of(10) { format!("{} %", share / 10) } else { format!("{}.{} %", share / 10, share % 10) }
}

#[cfg(test)]
mod tests;
