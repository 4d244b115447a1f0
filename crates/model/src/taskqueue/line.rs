//! One push queue: a token bucket, a limit of tasks in flight, and a window on what is due soon. The tasks themselves lie in the database; a million of
//! them cost no more memory here than a thousand.

use std::collections::{BTreeMap, BTreeSet};

use super::Micros;

/// A task's number in its database; never used twice.
pub type TaskId = i64;

/// Tasks that are held ready; the window grows to twice as many before its end is cut off.
const WINDOW: usize = 1000;
/// Tasks in flight where the queue sets no limit.
const IN_FLIGHT: u32 = 1000;
/// Tasks in flight of a queue that has not shown yet what its app can take.
const FIRST: u32 = 10;

/// What a queue may do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// Tasks a second, on average; zero stands still.
    pub per_second: f64,
    /// How many may leave at once after a pause.
    pub bucket_size: u32,
    /// Most tasks in flight.
    pub max_concurrent_requests: Option<u32>,
    /// Nothing leaves.
    pub paused: bool,
}

/// How a task in flight ended, as far as the queue is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Answered,
    /// 503, 429, or no instance: the app is to be asked less.
    Overloaded,
}

/// What the shell tells.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A task was added, or has another time.
    Arrived(Micros, TaskId),
    /// The first tasks of the database from `from` on, by time and number; `all` if there are no more.
    Loaded {
        /// The tasks.
        tasks: Vec<(Micros, TaskId)>,
        /// There are no more.
        all: bool,
    },
    /// The tasks could not be loaded.
    NotLoaded,
    /// A task that was to be sent is not there any more.
    Gone(TaskId),
    /// A task in flight ended.
    Ended(TaskId, Outcome),
    /// A task is to be sent now, whatever the rules say, unless it is in flight.
    Forced(TaskId),
    /// The queue was emptied.
    Purged,
    /// Somebody else changed the database.
    Stale,
    /// The rules changed.
    Ruled(Rules),
}

/// What the shell is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Tell the first tasks of the database that are not before this one, at most so many.
    Load(Micros, TaskId, usize),
    /// Send a task. It counts as in flight until it has ended or turned out to be gone.
    Send(TaskId),
}

/// One push queue.
#[derive(Debug, Clone)]
pub struct Line {
    rules: Rules,
    tokens: f64,
    filled: Micros,
    /// How many may be in flight before the app has proved that it can take more.
    ease: u32,
    /// What is due next: all tasks before `edge` but those in flight.
    window: BTreeSet<(Micros, TaskId)>,
    etas: BTreeMap<TaskId, Micros>,
    /// Tasks from here on are in the database alone; `None` if there are none.
    edge: Option<(Micros, TaskId)>,
    loading: bool,
    flying: BTreeSet<TaskId>,
    forced: Vec<TaskId>,
}

impl Line {
    /// A queue whose tasks are still to be loaded; its bucket is full.
    pub fn new(rules: Rules, now: Micros) -> Self {
        Self {
            rules,
            tokens: f64::from(rules.bucket_size),
            filled: now,
            ease: FIRST,
            window: BTreeSet::new(),
            etas: BTreeMap::new(),
            edge: Some((Micros::MIN, TaskId::MIN)),
            loading: false,
            flying: BTreeSet::new(),
            forced: Vec::new(),
        }
    }

    /// How many tasks are in flight.
    pub fn in_flight(&self) -> usize {
        self.flying.len()
    }

    /// Tasks a second that the queue may send now.
    pub fn enforced_rate(&self) -> f64 {
        if self.rules.paused { 0.0 } else { self.rules.per_second }
    }

    /// Nothing is held for it, so the machine may be forgotten and made anew.
    pub fn is_idle(&self) -> bool {
        self.flying.is_empty() && self.window.is_empty() && self.edge.is_none() && self.forced.is_empty()
    }

    /// Takes in what happened.
    pub fn on(&mut self, now: Micros, event: Event) {
        match event {
            Event::Arrived(eta, id) => self.arrived(eta, id),
            Event::Loaded { tasks, all } => self.loaded(tasks, all),
            Event::NotLoaded => self.loading = false,
            Event::Gone(id) => {
                self.flying.remove(&id);
                // It was not sent.
                self.tokens = (self.tokens + 1.0).min(self.most_tokens());
            }
            Event::Ended(id, outcome) => {
                self.flying.remove(&id);
                self.ease = match outcome {
                    Outcome::Answered => (self.ease + 1).min(IN_FLIGHT),
                    Outcome::Overloaded => (self.ease / 2).max(1),
                };
            }
            Event::Forced(id) => {
                self.forget(id);
                if !self.flying.contains(&id) && !self.forced.contains(&id) {
                    self.forced.push(id);
                }
            }
            Event::Purged => {
                self.window.clear();
                self.etas.clear();
                self.forced.clear();
                self.edge = Some((Micros::MIN, TaskId::MIN));
            }
            Event::Stale => {
                self.window.clear();
                self.etas.clear();
                self.edge = Some((Micros::MIN, TaskId::MIN));
            }
            Event::Ruled(rules) => {
                self.refill(now);
                let grown = f64::from(rules.bucket_size.saturating_sub(self.rules.bucket_size));
                self.rules = rules;
                self.tokens = (self.tokens + grown).min(self.most_tokens());
            }
        }
        #[cfg(test)]
        self.check();
    }

    fn arrived(&mut self, eta: Micros, id: TaskId) {
        self.forget(id);
        let held = self.edge.is_none_or(|edge| (eta, id) < edge);
        if held && !self.flying.contains(&id) {
            self.hold(eta, id);
            self.cut();
        }
    }

    fn loaded(&mut self, tasks: Vec<(Micros, TaskId)>, all: bool) {
        self.loading = false;
        self.edge = if all { None } else { tasks.last().map(|(eta, id)| (*eta, id.saturating_add(1))).or(self.edge) };
        for (eta, id) in tasks {
            // What arrived meanwhile is newer than what was read.
            if !self.flying.contains(&id) && !self.etas.contains_key(&id) && !self.forced.contains(&id) {
                self.hold(eta, id);
            }
        }
        self.cut();
    }

    fn hold(&mut self, eta: Micros, id: TaskId) {
        self.window.insert((eta, id));
        self.etas.insert(id, eta);
    }

    fn forget(&mut self, id: TaskId) {
        if let Some(eta) = self.etas.remove(&id) {
            self.window.remove(&(eta, id));
        }
    }

    /// Keeps the window small: what is far off stays in the database.
    fn cut(&mut self) {
        if self.window.len() <= 2 * WINDOW {
            return;
        }
        let Some(edge) = self.window.iter().nth(WINDOW).copied() else { return };
        let far = self.window.split_off(&edge);
        for (_, id) in far {
            self.etas.remove(&id);
        }
        self.edge = Some(edge);
    }

    /// The next thing to do; to be asked until there is none.
    pub fn poll(&mut self, now: Micros) -> Option<Action> {
        if let Some(id) = self.forced.pop() {
            self.flying.insert(id);
            return Some(Action::Send(id));
        }
        self.refill(now);
        if let Some(action) = self.load() {
            return Some(action);
        }
        if !self.is_open() || self.tokens < 1.0 {
            return None;
        }
        let first = *self.window.first()?;
        if first.0 > now {
            return None;
        }
        self.forget(first.1);
        self.flying.insert(first.1);
        self.tokens -= 1.0;
        Some(Action::Send(first.1))
    }

    fn load(&mut self) -> Option<Action> {
        let (eta, id) = self.edge?;
        // Early, so that there is no pause between two windows.
        if self.loading || self.window.len() >= WINDOW / 4 || !self.is_open() {
            return None;
        }
        self.loading = true;
        // Those in flight are still in the database.
        Some(Action::Load(eta, id, WINDOW + self.flying.len()))
    }

    /// More may be sent, as far as the rules and the app's ability go.
    fn is_open(&self) -> bool {
        let limit = self.rules.max_concurrent_requests.unwrap_or(IN_FLIGHT).min(self.ease);
        !self.rules.paused && self.rules.per_second > 0.0 && self.flying.len() < limit as usize
    }

    /// When to poll again if nothing happens.
    pub fn deadline(&self, now: Micros) -> Option<Micros> {
        if !self.forced.is_empty() {
            return Some(now);
        }
        if !self.is_open() {
            return None;
        }
        let first = self.window.first()?.0;
        let missing = (1.0 - self.tokens).max(0.0);
        #[allow(clippy::cast_possible_truncation, reason = "clamped")]
        let wait = (missing / self.rules.per_second * 1e6).ceil().clamp(0.0, 1e15) as Micros;
        Some(first.max(self.filled.saturating_add(wait)).max(now))
    }

    fn most_tokens(&self) -> f64 {
        f64::from(self.rules.bucket_size.max(1))
    }

    fn refill(&mut self, now: Micros) {
        let passed = now.saturating_sub(self.filled);
        // The wall clock may go back; nothing is won or lost by that.
        if passed > 0 && !self.rules.paused {
            #[allow(clippy::cast_precision_loss, reason = "not for less than 285 years")]
            let seconds = passed as f64 / 1e6;
            self.tokens = (self.tokens + seconds * self.rules.per_second).min(self.most_tokens());
        }
        self.filled = now;
    }

    #[cfg(test)]
    fn check(&self) {
        debug_assert_eq!(self.window.len(), self.etas.len(), "one place for each task");
        debug_assert!(self.window.len() <= 2 * WINDOW, "the window is small");
        debug_assert!(!self.etas.keys().any(|id| self.flying.contains(id)), "nothing is sent twice at once");
        let beyond = self.edge.is_some_and(|edge| self.window.range(edge..).next().is_some());
        debug_assert!(!beyond, "nothing is held beyond the edge");
    }
}

#[cfg(test)]
mod tests;
