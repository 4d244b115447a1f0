//! Sends what is due: the shell around `model::taskqueue::Line`, one for each app. It reads what is due soon, asks the app, and writes down what came of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use model::errand::{Answer, Unanswered};
use model::queue::Queue;
use model::taskqueue::{Action, Attempt, Event, Line, Micros, Outcome, TaskId, Verdict, judge};
use store::tasks::{Left, Run, Task};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use super::errand::errand;
use super::house::{App, House, micros, tombstone};
use super::spec;

/// The longest sleep: the wall clock may be set.
const LONGEST: Duration = Duration::from_mins(1);
/// After a failure of the disk.
const PAUSE: Duration = Duration::from_secs(1);

/// What the dispatcher hears.
pub(super) enum Told {
    /// Tasks were added to a queue.
    Arrived(String, Vec<(Micros, TaskId)>),
    /// A task is to be sent now.
    Forced(String, TaskId),
    /// A queue was emptied.
    Purged(String),
    /// The configuration changed.
    Config,
    /// Another process has changed the tasks.
    Stale,
    /// A task in flight ended, and is due again at a time if it is.
    Ended(String, TaskId, Outcome, Option<Micros>),
    /// Tasks can be loaded again.
    Again(String),
}

/// Sends the tasks of one app.
pub(super) struct Dispatcher {
    house: Arc<House>,
    app: Arc<App>,
    sender: UnboundedSender<Told>,
    /// Cleared when this process is to send no more.
    sends: Arc<AtomicBool>,
    lines: BTreeMap<String, Line>,
    /// Tasks of a process that let the state go, and until when they are its.
    held: BTreeMap<TaskId, Micros>,
    /// When it was last looked for those.
    looked: Instant,
}

fn now() -> Micros {
    micros(SystemTime::now())
}

impl Dispatcher {
    pub(super) fn new(house: Arc<House>, app: Arc<App>, sender: UnboundedSender<Told>, sends: Arc<AtomicBool>) -> Self {
        Self { house, app, sender, sends, lines: BTreeMap::new(), held: BTreeMap::new(), looked: Instant::now() }
    }

    /// Works until this process is to send no more.
    pub(super) async fn run(mut self, mut told: UnboundedReceiver<Told>) {
        self.look_for_held();
        self.configure();
        while self.sends.load(Ordering::SeqCst) {
            let next = self.step();
            let heard = tokio::time::timeout(next, told.recv()).await;
            match heard {
                Ok(Some(first)) => {
                    self.hear(first);
                    while let Ok(more) = told.try_recv() {
                        self.hear(more);
                    }
                }
                Ok(None) => return,
                Err(_) => {}
            }
            if !self.held.is_empty() && self.looked.elapsed() >= PAUSE && self.look_for_held() {
                self.stale();
            }
        }
    }

    /// Does all that can be done now; returns how long to sleep.
    fn step(&mut self) -> Duration {
        let names: Vec<String> = self.lines.keys().cloned().collect();
        for name in &names {
            while let Some(action) = self.lines.get_mut(name).and_then(|line| line.poll(now())) {
                match action {
                    Action::Load(eta, id, most) => self.load(name, (eta, id), most),
                    Action::Send(id) => self.send(name, id),
                }
            }
        }
        let at = now();
        let next = self.lines.values().filter_map(|line| line.deadline(at)).min();
        let longest = if self.held.is_empty() { LONGEST } else { PAUSE };
        next.map_or(longest, |next| Duration::from_micros(u64::try_from(next.saturating_sub(at)).unwrap_or(0)).min(longest))
    }

    fn on(&mut self, queue: &str, event: Event) {
        if let Some(line) = self.lines.get_mut(queue) {
            line.on(now(), event);
        }
    }

    fn hear(&mut self, told: Told) {
        match told {
            Told::Arrived(queue, tasks) => {
                for (eta, id) in tasks {
                    self.on(&queue, Event::Arrived(eta, id));
                }
            }
            Told::Forced(queue, id) => self.on(&queue, Event::Forced(id)),
            Told::Purged(queue) => self.on(&queue, Event::Purged),
            Told::Config => self.configure(),
            Told::Stale => {
                self.look_for_held();
                self.stale();
            }
            Told::Ended(queue, id, outcome, again) => {
                self.on(&queue, Event::Ended(id, outcome));
                if let Some(eta) = again {
                    self.on(&queue, Event::Arrived(eta, id));
                }
            }
            Told::Again(queue) => self.on(&queue, Event::NotLoaded),
        }
    }

    fn stale(&mut self) {
        for line in self.lines.values_mut() {
            line.on(now(), Event::Stale);
        }
    }

    /// Looks which tasks others still execute; tells whether that changed. Whoever lets the state go and takes it back is such another to itself.
    fn look_for_held(&mut self) -> bool {
        let at = now();
        self.looked = Instant::now();
        #[allow(
            clippy::redundant_closure_for_method_calls,
            reason = "`View` has a lifetime, with which a method's path is not general enough"
        )]
        let held = self.app.tasks.read(|view| view.held()).unwrap_or_default();
        let mut held: BTreeMap<_, _> = held.into_iter().filter(|(_, until)| *until > at).collect();
        // Whoever had them may have died under them.
        if !held.is_empty() && self.app.tasks.forget_held().unwrap_or(false) {
            held.clear();
        }
        let changed = self.held != held;
        self.held = held;
        changed
    }

    /// A line for each push queue.
    fn configure(&mut self) {
        let config = self.app.config();
        self.lines.retain(|name, line| line.in_flight() > 0 || config.queues.get(name).is_some_and(|queue| queue.rules().is_some()));
        for (name, queue) in &config.queues {
            let Some(mut rules) = queue.rules() else { continue };
            rules.paused |= self.house.hooks.still();
            self.app.board.rate(name, if rules.paused { 0.0 } else { rules.per_second });
            match self.lines.get_mut(name) {
                Some(line) => line.on(now(), Event::Ruled(rules)),
                None => drop(self.lines.insert(name.clone(), Line::new(rules, now()))),
            }
        }
    }

    fn load(&mut self, queue: &str, from: (Micros, TaskId), most: usize) {
        match self.app.tasks.read(|view| view.due(queue, from, most)) {
            Ok(tasks) => {
                let all = tasks.len() < most;
                self.on(queue, Event::Loaded { tasks, all });
            }
            Err(error) => {
                tracing::error!(%error, app = %self.app.id, queue, "tasks cannot be read");
                self.later(Told::Again(queue.to_owned()));
            }
        }
    }

    fn later(&self, told: Told) {
        let sender = self.sender.clone();
        tokio::spawn(async move {
            tokio::time::sleep(PAUSE).await;
            let _ = sender.send(told);
        });
    }

    /// Sends a task that is due, unless it changed meanwhile.
    fn send(&mut self, queue: &str, id: TaskId) {
        let config = self.app.config();
        let found = match self.app.tasks.read(|view| view.task(id)) {
            Ok(found) => found,
            Err(error) => {
                tracing::error!(%error, app = %self.app.id, queue, "a task cannot be read");
                self.on(queue, Event::Gone(id));
                return self.later(Told::Stale);
            }
        };
        let ruled = config.queues.get(queue);
        let (Some((of, task)), Some(ruled)) = (found, ruled) else { return self.on(queue, Event::Gone(id)) };
        if of != queue || self.held.contains_key(&id) {
            return self.on(queue, Event::Gone(id));
        }
        if task.eta > now() {
            // It was read before it was put off.
            self.on(queue, Event::Gone(id));
            return self.on(queue, Event::Arrived(task.eta, id));
        }
        self.app.board.sent(queue, id);
        if !self.sends.load(Ordering::SeqCst) {
            // Whoever lets the state go has not seen it in flight, perhaps.
            self.app.board.recalled(queue, id);
            return self.on(queue, Event::Gone(id));
        }
        let sends = Arc::clone(&self.sends);
        let flight = Flight {
            house: Arc::clone(&self.house),
            app: Arc::clone(&self.app),
            queue: ruled.queue.clone(),
            task,
            sends: Arc::clone(&sends),
        };
        let (sender, name) = (self.sender.clone(), queue.to_owned());
        tokio::spawn(async move {
            let (house, app) = (Arc::clone(&flight.house), Arc::clone(&flight.app));
            let (outcome, again) = flight.run().await;
            app.board.ended(&name, id, now());
            if !sends.load(Ordering::SeqCst) {
                house.release(&app, id).await;
            }
            let _ = sender.send(Told::Ended(name, id, outcome, again));
        });
    }
}

/// A task in flight.
struct Flight {
    house: Arc<House>,
    app: Arc<App>,
    queue: Queue,
    task: Task,
    sends: Arc<AtomicBool>,
}

impl Flight {
    /// Asks the app and writes down what came of it; tells when the task is due again, if it is.
    async fn run(self) -> (Outcome, Option<Micros>) {
        let shown = spec::decode(&self.task.spec);
        let dispatched = now();
        let request =
            self.house.outside.table(&self.app.id).and_then(|table| errand(&self.app.id, &table, &self.queue, &self.task, &shown));
        let answer = match request {
            Some(errand) => self.house.outside.run(errand).await,
            None => Err(Unanswered("the app has no version that could take it".into())),
        };
        // The house closes: whoever sends next begins anew with what is not written down.
        if answer.is_err() && !self.sends.load(Ordering::SeqCst) {
            return (Outcome::Overloaded, None);
        }
        let ended = now();
        let (status, reached) = match &answer {
            Ok(Answer { status, reached, .. }) => (Some(status.as_u16()), *reached),
            Err(_) => (None, true),
        };
        let outcome = if !reached || matches!(status, Some(429 | 503)) { Outcome::Overloaded } else { Outcome::Answered };
        let first_try = self.task.first_try.unwrap_or(dispatched);
        let attempt = Attempt { retries: self.task.retries, executions: self.task.executions, first_try, status, reached, now: ended };
        let verdict = judge(&attempt, shown.retry.as_ref().unwrap_or(&self.queue.retry));
        let run = Run { dispatched, elapsed: ended.saturating_sub(dispatched), code: status, reason: Some(reason(reached).into()) };
        (outcome, self.write(verdict, first_try, run).await)
    }

    async fn write(&self, verdict: Verdict, first_try: Micros, run: Run) -> Option<Micros> {
        let id = self.task.id;
        let (written, again) = match verdict {
            Verdict::Again { eta, retries, executions } => {
                let kept = self.app.change(move |change| change.retry(id, eta, (retries, executions), first_try, &run)).await;
                (kept.map(|there| there.then_some(eta)), now())
            }
            Verdict::Done | Verdict::GivenUp => {
                if verdict == Verdict::GivenUp {
                    tracing::warn!(app = %self.app.id, queue = self.queue.name, task = self.task.name, retries = self.task.retries, "a task failed for good");
                }
                let until = tombstone(now());
                let gone = self.app.change(move |change| change.remove(id, Left::TombstoneIfNamed(until))).await;
                (gone.map(|_| None), now())
            }
        };
        match written {
            Ok(eta) => eta,
            Err(error) => {
                tracing::error!(%error, app = %self.app.id, queue = self.queue.name, "the end of a task cannot be written; it runs again");
                Some(again.saturating_add(model::taskqueue::micros(PAUSE)))
            }
        }
    }
}

/// `X-AppEngine-TaskRetryReason`.
fn reason(reached: bool) -> &'static str {
    if reached { "App Error" } else { "Instance Unavailable" }
}
