//! The thin shell around one version's scheduler: a lock, the oneshots of who waits, one timer task, one task per instance.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use model::config::VersionConfig;
use model::engine::InstanceReport;
use model::ids::{InstanceId, VersionKey};
use model::journal::{Entry, Severity, Turn};
use model::pool::{Instance, Keeper, Lease, Outcome, Reject, Wanted};
use model::sched::{Action, Census, Event, Memory, Place, ReqId, Scheduler, Serial, Settings};
use model::table::Version;
use model::time::Tick;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::fleet::House;
use crate::life::{self, Birth, Ending};
use crate::meter::Busy;
use crate::output;
use crate::prepare::Prepared;
use crate::report::{Step, Tally};
use crate::zygote::Nest;

/// A version together with how to start it.
#[derive(Debug)]
pub(crate) struct Deployment {
    pub(crate) version: Arc<Version>,
    pub(crate) prepared: Prepared,
}

impl Deployment {
    /// The folder that instances work in: the copy of the app's files.
    pub(crate) fn folder(&self) -> &Path {
        self.prepared.files.as_ref().map_or(&self.version.root, |files| files.root())
    }
}

/// The pool of one version.
pub(crate) struct VersionPool {
    pub(crate) key: VersionKey,
    /// The number of the deployment that it was made for.
    pub(crate) first: u64,
    pub(crate) house: Arc<House>,
    state: Mutex<State>,
    /// The timer should look at the clock again. Apart from the pool, so that the timer does not keep it alive.
    alarm: Arc<Notify>,
    me: Weak<Self>,
    /// Where its instances are forked from.
    pub(crate) nest: Nest,
    /// An instance is gone.
    gone: Notify,
}

struct State {
    machine: Scheduler,
    deployment: Arc<Deployment>,
    running: BTreeMap<Serial, Running>,
    waiters: HashMap<ReqId, oneshot::Sender<Result<Lease, Reject>>>,
    next_request: u64,
    /// The tick that the timer task waits for.
    armed: Option<Tick>,
    /// Who wants to hear what happens to instances.
    followers: Vec<mpsc::UnboundedSender<Step>>,
}

struct Running {
    id: InstanceId,
    /// Known once it is ready.
    instance: Option<Arc<Instance>>,
    /// Taken when it is told to stop.
    stop: Option<oneshot::Sender<Ending>>,
    /// Tells who measures it that it has something to do.
    busy: Busy,
    /// What it did.
    work: Tally,
    /// Bytes, when it was measured last.
    memory: u64,
}

/// What is to be done once the lock is released.
enum Work {
    Start(Birth, oneshot::Receiver<Ending>),
    Give(oneshot::Sender<Result<Lease, Reject>>, Box<Result<Lease, Reject>>),
    Stop(oneshot::Sender<Ending>, Ending),
    Note(Severity, String),
}

impl std::fmt::Debug for VersionPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "pool of {}", self.key)
    }
}

impl VersionPool {
    /// A pool with the instances that are to run before anybody asks. `first_serial` leaves room for four thousand million instances before the next pool's begin.
    pub(crate) fn new(house: Arc<House>, deployment: Deployment, first_serial: u64, draw: u64) -> Arc<Self> {
        let config = &deployment.version.config;
        let state = State {
            machine: Scheduler::new(settings(&house, config), first_serial, draw),
            running: BTreeMap::new(),
            waiters: HashMap::new(),
            next_request: 0,
            armed: None,
            followers: Vec::new(),
            deployment: Arc::new(deployment),
        };
        let key = state.deployment.version.config.key.clone();
        let first = state.deployment.version.deployment;
        let alarm = Arc::new(Notify::new());
        let pool = Arc::new_cyclic(|me| Self {
            key,
            first,
            house,
            state: Mutex::new(state),
            alarm: Arc::clone(&alarm),
            me: Weak::clone(me),
            nest: Nest::default(),
            gone: Notify::new(),
        });
        pool.house.runtime.spawn(keep_time(Arc::downgrade(&pool), alarm));
        pool.tell(Event::Tick);
        pool
    }

    /// The deployment that new instances are started from.
    pub(crate) fn deployment(&self) -> Arc<Deployment> {
        Arc::clone(&self.lock().deployment)
    }

    /// Replaces the deployment: old instances drain, new ones start.
    pub(crate) fn reload(&self, deployment: Deployment) {
        let settings = settings(&self.house, &deployment.version.config);
        let mut state = self.lock();
        state.deployment = Arc::new(deployment);
        self.on(state, Event::Reload(settings));
    }

    /// Nobody is routed here any more: who waits is served, then it drains.
    pub(crate) fn leave(&self) {
        self.on(self.lock(), Event::Leave);
    }

    pub(crate) fn drain(&self) {
        self.on(self.lock(), Event::Drain);
    }

    /// Waits until no process is left.
    pub(crate) async fn emptied(&self) {
        loop {
            let gone = self.gone.notified();
            tokio::pin!(gone);
            // Registered before the look, so that an exit between the two is not missed.
            gone.as_mut().enable();
            if self.lock().machine.is_empty() {
                return;
            }
            gone.await;
        }
    }

    /// How many instances are in which state.
    pub(crate) fn census(&self) -> Census {
        self.lock().machine.census()
    }

    /// Tells every instance to end at once, whatever it has.
    pub(crate) fn halt(&self) {
        let mut state = self.lock();
        let stops: Vec<_> = state.running.values_mut().filter_map(|running| running.stop.take()).collect();
        drop(state);
        for stop in stops {
            let _ = stop.send(Ending::default());
        }
    }

    pub(crate) fn tell(&self, event: Event) {
        self.on(self.lock(), event);
    }

    /// Keeps so many instances ready for so long, and tells what happens from now on.
    pub(crate) fn keep(&self, least: u32, time: Duration) -> mpsc::UnboundedReceiver<Step> {
        let (sender, steps) = mpsc::unbounded_channel();
        let mut state = self.lock();
        state.followers.push(sender);
        let until = self.house.now().after(time);
        self.on(state, Event::Keep { least, until });
        steps
    }

    /// Manual scaling has so many instances from now on; those that run stay.
    pub(crate) fn resize(&self, instances: u32) {
        let state = self.lock();
        if state.machine.size().is_some_and(|now| now != instances) {
            self.on(state, Event::Resize(instances));
        }
    }

    /// Whether so many instances are ready, as far as limits let them be.
    pub(crate) fn is_warm(&self, least: u32) -> bool {
        self.lock().machine.is_warm(least)
    }

    /// An instance that takes requests.
    pub(crate) fn any_ready(&self) -> Option<Arc<Instance>> {
        self.lock().running.values().find_map(|running| running.instance.clone())
    }

    /// Lets whoever follows know.
    pub(crate) fn follow(&self, step: &Step) {
        self.lock().tell(step);
    }

    /// What is known of each instance.
    pub(crate) fn reports(&self) -> Vec<InstanceReport> {
        let (now, clock) = (self.house.now(), SystemTime::now());
        let mut state = self.lock();
        let State { machine, running, .. } = &mut *state;
        let report = |one: model::sched::Report<'_>| {
            let running = running.get_mut(&one.serial)?;
            let pace = running.work.pace(now);
            Some(InstanceReport {
                id: one.id.clone(),
                started: clock.checked_sub(now.since(one.started)).unwrap_or(clock),
                ready: one.place == Place::Ready,
                leaving: one.place == Place::Leaving,
                resident: one.resident,
                requests: one.requests,
                errors: running.work.errors,
                qps: pace.qps,
                latency_ms: pace.latency_ms,
                memory: running.memory,
                why: one.why.to_owned(),
            })
        };
        machine.reports().filter_map(report).collect()
    }

    /// Ends an instance politely; false if there is none of this id.
    pub(crate) fn end(&self, id: &InstanceId) -> bool {
        let state = self.lock();
        let found = state.machine.reports().find(|one| one.id == id && one.place != Place::Leaving).map(|one| one.serial);
        if let Some(serial) = found {
            self.on(state, Event::End(serial));
        }
        found.is_some()
    }

    /// What an instance uses.
    pub(crate) fn measured(&self, serial: Serial, cpu: Duration, memory: u64) {
        let mut state = self.lock();
        if let Some(running) = state.running.get_mut(&serial) {
            running.memory = memory;
            if let Some(door) = running.instance.as_ref().and_then(|instance| instance.door.as_ref()) {
                door.measured(cpu, memory);
            }
        }
        self.on(state, Event::Sample { instance: serial, cpu, memory });
    }

    /// Where it is told that the instance has something to do.
    pub(crate) fn busy(&self, serial: Serial) -> Busy {
        self.lock().running.get(&serial).map(|running| running.busy.clone()).unwrap_or_default()
    }

    /// What instances may use.
    pub(crate) fn memory(&self) -> Memory {
        Memory::of(&self.deployment().version.config)
    }

    /// An instance takes requests at its endpoint.
    pub(crate) fn ready(&self, instance: Arc<Instance>) {
        let serial = Serial(instance.serial);
        let mut state = self.lock();
        if let Some(running) = state.running.get_mut(&serial) {
            running.instance = Some(Arc::clone(&instance));
        }
        self.on(state, Event::Ready(serial));
        self.follow(&Step::Ready(instance));
    }

    /// An instance's process is gone.
    pub(crate) fn exited(&self, serial: Serial, why: String) {
        if self.lock().running.remove(&serial).is_some() {
            self.house.capacity.ended();
        }
        self.tell(Event::Exited { instance: serial, why });
        self.gone.notify_waiters();
    }

    pub(crate) fn try_acquire(&self, wanted: &Wanted) -> Option<Lease> {
        let mut state = self.lock();
        let now = self.house.now();
        let grant = state.machine.grant(now, wanted.instance)?;
        self.ring(&state);
        // A granted instance is ready, and `ready` recorded it before the machine heard of it.
        let running = state.running.get(&grant.to)?;
        running.busy.set();
        let instance = Arc::clone(running.instance.as_ref()?);
        drop(state);
        Some(self.lease(now, instance, grant.cold, Duration::ZERO))
    }

    /// Takes its place in the queue at once, and waits when polled.
    pub(crate) fn acquire(self: Arc<Self>, wanted: &Wanted, patience: Duration) -> impl Future<Output = Result<Lease, Reject>> + use<> {
        let (req, receiver) = self.queue(wanted, patience);
        let waiting = Waiting { pool: self, req: Some(req) };
        async move {
            let mut waiting = waiting;
            let answer = receiver.await.unwrap_or(Err(Reject::Draining));
            waiting.req = None;
            answer
        }
    }

    fn queue(&self, wanted: &Wanted, patience: Duration) -> (ReqId, oneshot::Receiver<Result<Lease, Reject>>) {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.lock();
        let req = ReqId(state.next_request());
        state.waiters.insert(req, sender);
        self.on(state, Event::Queued { req, aim: wanted.instance, patience });
        (req, receiver)
    }

    fn me(&self) -> Arc<Self> {
        self.me.upgrade().expect("a method runs on a pool that somebody holds")
    }

    fn lease(&self, now: Tick, instance: Arc<Instance>, cold: bool, waited: Duration) -> Lease {
        // Whoever calls holds the pool, so the weak handle is good.
        let keeper: Arc<dyn Keeper> = self.me();
        // What tells a request from others here is when it was given away: that is all that has to be known at its end.
        Lease { instance, cold, waited, pass: None, outcome: Outcome::Abandoned, request: now.0, keeper }
    }

    /// How long the timer may sleep.
    fn arm(&self) -> Option<Duration> {
        let mut state = self.lock();
        state.armed = state.machine.deadline();
        state.armed.map(|at| at.since(self.house.now()))
    }

    /// Wakes the timer if the machine's deadline has come nearer.
    fn ring(&self, state: &State) {
        let deadline = state.machine.deadline();
        if deadline.is_some() && state.armed.is_none_or(|armed| deadline < Some(armed)) {
            self.alarm.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the machine and does what it says, the latter without the lock: a lease that nobody takes is dropped here and comes back in.
    fn on(&self, state: MutexGuard<'_, State>, event: Event) {
        self.at(self.house.now(), state, event);
    }

    /// The same, for whoever has looked at the clock already, behind the lock.
    fn at(&self, now: Tick, mut state: MutexGuard<'_, State>, event: Event) {
        tracing::trace!(version = %self.key, ?event, "the scheduler hears");
        state.machine.allow(self.house.capacity.room());
        state.machine.on(now, event);
        let work = self.collect(now, &mut state);
        self.ring(&state);
        if state.machine.is_short() {
            self.house.capacity.wait(&self.me);
        }
        drop(state);
        for work in work {
            self.perform(work);
        }
    }

    /// Turns actions into work, with everything that needs the lock looked up.
    fn collect(&self, now: Tick, state: &mut State) -> Vec<Work> {
        let mut work = Vec::new();
        while let Some(action) = state.machine.poll() {
            tracing::trace!(version = %self.key, ?action, "the scheduler says");
            match action {
                Action::Start { instance: serial, id, hello, why } => {
                    let (stop, stopped) = oneshot::channel();
                    self.house.capacity.started();
                    state.running.insert(serial, Running::new(id.clone(), stop));
                    state.tell(&Step::Starting(id.clone()));
                    self.house.journal.turn(&self.key, Turn::Started);
                    work.push(Work::Note(Severity::Info, format!("instance {id} starts: {why}")));
                    work.push(Work::Start(Birth { serial, id, hello, deployment: Arc::clone(&state.deployment) }, stopped));
                }
                Action::Assign { req, to, cold, waited } => {
                    let instance = state.running.get(&to).and_then(|running| {
                        running.busy.set();
                        running.instance.clone()
                    });
                    if let (Some(sender), Some(instance)) = (state.waiters.remove(&req), instance) {
                        work.push(Work::Give(sender, Box::new(Ok(self.lease(now, instance, cold, waited)))));
                    }
                }
                Action::Reject { req, why } => {
                    if let Some(sender) = state.waiters.remove(&req) {
                        work.push(Work::Give(sender, Box::new(Err(why))));
                    }
                }
                Action::Stop { instance, farewell, grace, why } => {
                    let Some(running) = state.running.get_mut(&instance) else { continue };
                    self.house.journal.turn(&self.key, Turn::Stopped(why));
                    work.push(Work::Note(Severity::Info, format!("instance {} stops: {why}", running.id)));
                    work.extend(running.stop.take().map(|stop| Work::Stop(stop, Ending { farewell, grace })));
                }
                Action::Note { severity, id, text } => {
                    let text = id.map_or_else(|| text.clone(), |id| format!("instance {id}: {text}"));
                    work.push(Work::Note(severity, text));
                }
                Action::Died { id, why, again_in } => {
                    self.house.journal.turn(&self.key, Turn::Died);
                    state.tell(&Step::Died(why.clone()));
                    // The process's last lines are in the journal already.
                    let how = why.lines().next().unwrap_or_default().trim_end_matches(output::LAST_LINES);
                    let pause = if again_in.is_zero() {
                        String::new()
                    } else {
                        format!("; no other is started for {:.1} s", again_in.as_secs_f32())
                    };
                    work.push(Work::Note(Severity::Error, format!("instance {id} is gone: {how}{pause}")));
                }
            }
        }
        work
    }

    fn perform(&self, work: Work) {
        match work {
            Work::Start(birth, stopped) => drop(self.house.runtime.spawn(life::live(self.me(), birth, stopped))),
            Work::Give(sender, answer) => drop(sender.send(*answer)),
            Work::Stop(stop, ending) => drop(stop.send(ending)),
            Work::Note(severity, text) => self.note(severity, text),
        }
    }

    pub(crate) fn note(&self, severity: Severity, text: String) {
        self.house.journal.write(Entry::Notice { severity, version: Some(self.key.clone()), text });
    }
}

impl State {
    fn next_request(&mut self) -> u64 {
        self.next_request += 1;
        self.next_request
    }

    fn tell(&mut self, step: &Step) {
        self.followers.retain(|follower| follower.send(step.clone()).is_ok());
    }
}

impl Running {
    fn new(id: InstanceId, stop: oneshot::Sender<Ending>) -> Self {
        Self { id, instance: None, stop: Some(stop), busy: Busy::default(), work: Tally::default(), memory: 0 }
    }
}

impl Keeper for VersionPool {
    fn release(&self, request: u64, instance: &Arc<Instance>, outcome: Outcome) {
        let mut state = self.lock();
        // Behind the lock, so that the machine's time never goes back.
        let now = self.house.now();
        if let Some(running) = state.running.get_mut(&Serial(instance.serial)) {
            running.work.count(now, now.since(Tick(request)), outcome);
        }
        self.at(now, state, Event::Done { at: Serial(instance.serial), outcome });
    }
}

impl Drop for VersionPool {
    fn drop(&mut self) {
        self.alarm.notify_one();
    }
}

/// What a version's configuration and this computer say.
fn settings(house: &House, config: &VersionConfig) -> Settings {
    Settings { cap: house.capacity.cap(config), ..Settings::of(config) }
}

/// A request in the queue; if its future is dropped, the queue forgets it.
struct Waiting {
    pool: Arc<VersionPool>,
    req: Option<ReqId>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(req) = self.req.take() {
            let mut state = self.pool.lock();
            state.waiters.remove(&req);
            self.pool.on(state, Event::Gone(req));
        }
    }
}

/// The one timer of a pool: sleeps until the machine's deadline, or until an earlier one comes up; ends with the pool.
async fn keep_time(pool: Weak<VersionPool>, alarm: Arc<Notify>) {
    loop {
        let Some(wait) = pool.upgrade().map(|pool| pool.arm()) else { return };
        let Some(wait) = wait else {
            // An idle version has no timer.
            alarm.notified().await;
            continue;
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {
                if let Some(pool) = pool.upgrade() {
                    pool.tell(Event::Tick);
                }
            }
            () = alarm.notified() => {}
        }
    }
}
