//! Counts requests and instances. Each thread counts in a shard of its own, so that the front end's cores never wait for each other; whoever asks
//! adds them up. The number of series is bounded: labels are versions and the patterns of app.yaml, never paths.

mod health;
mod histogram;
mod process;
mod text;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use model::ids::{AppId, VersionKey};
use model::journal::{Tally, Turn};
use model::sched::Census;
use model::table::Version;

use crate::Subject;
use histogram::Histogram;
use text::Page;

/// Handlers of one version that are told apart; those that follow in app.yaml are counted together.
const HANDLERS: usize = 100;
/// Shards; more threads than these share.
const SHARDS: usize = 32;
/// Reloads leave counts of versions behind; a shard folds them together when it has so many.
const SLOTS: usize = 1_024;

thread_local! {
    static SHARD: Cell<Option<usize>> = const { Cell::new(None) };
}

/// The counts.
#[derive(Debug)]
pub struct Metrics {
    shards: Box<[Mutex<Shard>]>,
    turns: Mutex<BTreeMap<Whose, Turns>>,
    started: f64,
}

/// An app's version.
type Whose = (AppId, VersionKey);

/// What one thread counted.
#[derive(Debug, Default)]
struct Shard {
    /// By the address of the version, which stays taken as long as the slot holds a weak reference to it.
    slots: BTreeMap<usize, Slot>,
    /// Of versions that are gone.
    past: BTreeMap<Whose, Sum>,
    /// Requests that found no version.
    lost: Meter,
}

#[derive(Debug)]
struct Slot {
    version: Weak<Version>,
    key: Whose,
    /// The patterns of its handlers.
    names: Vec<String>,
    counts: Counts,
}

/// What is counted of a version that serves.
#[derive(Debug, Default)]
struct Counts {
    /// By the index of the handler; the last place is for those that follow.
    handlers: Vec<Option<Box<Meter>>>,
    /// Requests that no handler matched.
    none: Meter,
    pending: Histogram,
    cold: u64,
}

/// The same by the pattern of the handler: two handlers may have one pattern, and a reload may move them.
#[derive(Debug, Default)]
struct Sum {
    handlers: BTreeMap<String, Meter>,
    pending: Histogram,
    cold: u64,
}

/// What is counted of a handler.
#[derive(Debug, Clone, Default)]
struct Meter {
    /// Left before an answer, 1xx, 2xx, 3xx, 4xx, 5xx.
    classes: [u64; CLASSES.len()],
    bytes: u64,
    took: Histogram,
}

/// The handler of requests that none matched, and of those that are not told apart.
const NONE: &str = "none";
const OTHERS: &str = "others";
const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// What is counted of a version's instances.
#[derive(Debug, Default)]
struct Turns {
    started: u64,
    died: u64,
    stopped: BTreeMap<&'static str, u64>,
    ready: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, turns: Mutex::default(), started: process::start() }
    }
}

impl Metrics {
    /// Counts a request.
    pub fn tally(&self, tally: &Tally<'_>) {
        let mut shard = self.shard();
        let Some(version) = tally.version else {
            shard.lost.add(tally);
            return;
        };
        let address = Arc::as_ptr(version) as usize;
        if let Some(slot) = shard.slots.get_mut(&address) {
            slot.counts.add(tally);
            return;
        }
        if shard.slots.len() >= SLOTS {
            shard.fold();
        }
        let mut slot = Slot::new(version);
        slot.counts.add(tally);
        shard.slots.insert(address, slot);
    }

    /// Counts a turn in the life of an instance.
    pub fn turn(&self, app: &AppId, version: &VersionKey, turn: Turn) {
        let version = &(app.clone(), version.clone());
        let mut all = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if !all.contains_key(version) {
            all.insert(version.clone(), Turns::default());
        }
        let Some(turns) = all.get_mut(version) else { return };
        match turn {
            Turn::Started => turns.started += 1,
            Turn::Ready { after } => turns.ready.add(after),
            Turn::Died => turns.died += 1,
            Turn::Stopped(why) => *turns.stopped.entry(why.kind()).or_default() += 1,
        }
    }

    fn shard(&self) -> MutexGuard<'_, Shard> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = SHARD.get().unwrap_or_else(|| {
            let number = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
            SHARD.set(Some(number));
            number
        });
        self.shards[number].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The page that Prometheus reads.
    pub fn page(&self, subject: &dyn Subject) -> String {
        let mut page = Page::default();
        page.metric("enginehouse_build_info", "gauge", "Always 1; the label tells the version of Enginehouse.");
        page.sample("enginehouse_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
        self.write_requests(&mut page);
        write_census(&mut page, &subject.census());
        self.write_turns(&mut page);
        let mut last = "";
        for counter in subject.counters() {
            if counter.name != last {
                page.metric(counter.name, "counter", counter.help);
                last = counter.name;
            }
            page.sample(counter.name, counter.label.as_slice(), counter.value);
        }
        process::write(&mut page, self.started);
        page.finish()
    }

    /// All shards together.
    fn sum(&self) -> (BTreeMap<Whose, Sum>, Meter) {
        let (mut all, mut lost) = (BTreeMap::<Whose, Sum>::new(), Meter::default());
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.fold();
            lost.merge(&shard.lost);
            for slot in shard.slots.values() {
                all.entry(slot.key.clone()).or_default().take_in(&slot.counts, &slot.names);
            }
            for (key, past) in &shard.past {
                all.entry(key.clone()).or_default().merge(past);
            }
        }
        (all, lost)
    }

    fn write_requests(&self, page: &mut Page) {
        let (all, lost) = self.sum();
        let mut meters = vec![([("app", ""), ("service", ""), ("version", ""), ("handler", NONE)], &lost)];
        for (key, sum) in &all {
            let [app, service, version] = labels(key);
            meters.extend(sum.handlers.iter().map(|(name, meter)| ([app, service, version, ("handler", name.as_str())], meter)));
        }
        meters.retain(|(_, meter)| meter.took.count() > 0);
        let name = "enginehouse_requests_total";
        page.metric(name, "counter", "Requests by handler of app.yaml and class of status; none: the client left before an answer.");
        for ([app, service, version, handler], meter) in &meters {
            for (class, count) in CLASSES.iter().zip(meter.classes).filter(|(_, count)| *count > 0) {
                page.sample(name, &[*app, *service, *version, *handler, ("class", class)], count);
            }
        }
        let name = "enginehouse_request_duration_seconds";
        page.metric(name, "histogram", "From the head of a request to the last byte of its answer.");
        for (labels, meter) in &meters {
            page.histogram(name, labels, &meter.took);
        }
        let name = "enginehouse_response_bytes_total";
        page.metric(name, "counter", "Bytes of response bodies.");
        for (labels, meter) in &meters {
            page.sample(name, labels, meter.bytes);
        }
        let name = "enginehouse_pending_seconds";
        page.metric(name, "histogram", "Time in the pending queue of the requests that an instance was given.");
        for (key, sum) in &all {
            page.histogram(name, &labels(key), &sum.pending);
        }
        let name = "enginehouse_cold_requests_total";
        page.metric(name, "counter", "Requests that an instance was started for.");
        for (key, sum) in &all {
            page.sample(name, &labels(key), sum.cold);
        }
    }

    fn write_turns(&self, page: &mut Page) {
        let all = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let name = "enginehouse_instance_starts_total";
        page.metric(name, "counter", "Instances that were started.");
        for (key, turns) in all.iter() {
            page.sample(name, &labels(key), turns.started);
        }
        let name = "enginehouse_instance_start_seconds";
        page.metric(name, "histogram", "From the start of an instance until it took requests.");
        for (key, turns) in all.iter() {
            page.histogram(name, &labels(key), &turns.ready);
        }
        let name = "enginehouse_instance_ends_total";
        page.metric(name, "counter", "Instances that were told to end, by reason, and those that died.");
        for (key, turns) in all.iter() {
            let [app, service, version] = labels(key);
            page.sample(name, &[app, service, version, ("reason", "died")], turns.died);
            for (reason, count) in &turns.stopped {
                page.sample(name, &[app, service, version, ("reason", reason)], count);
            }
        }
    }
}

fn labels((app, key): &Whose) -> [(&str, &str); 3] {
    [("app", app.as_str()), ("service", key.service.as_str()), ("version", key.version.as_str())]
}

fn write_census(page: &mut Page, census: &[(Whose, Census)]) {
    // A version that leaves may still stand beside its successor of the same name.
    let mut all = BTreeMap::<&Whose, [usize; 5]>::new();
    for (key, now) in census {
        let sums = all.entry(key).or_default();
        for (sum, more) in sums.iter_mut().zip([now.starting, now.idle, now.busy, now.leaving, now.pending]) {
            *sum += more;
        }
    }
    let name = "enginehouse_instances";
    page.metric(name, "gauge", "Instances by state.");
    for (key, sums) in &all {
        let [app, service, version] = labels(key);
        for (state, count) in ["starting", "idle", "busy", "leaving"].iter().zip(sums) {
            page.sample(name, &[app, service, version, ("state", state)], count);
        }
    }
    let name = "enginehouse_pending_requests";
    page.metric(name, "gauge", "Requests in the pending queue.");
    for (key, [.., pending]) in &all {
        page.sample(name, &labels(key), pending);
    }
}

impl Shard {
    /// Puts the counts of versions that are gone together.
    fn fold(&mut self) {
        let past = &mut self.past;
        self.slots.retain(|_, slot| {
            let alive = slot.version.strong_count() > 0;
            if !alive {
                past.entry(slot.key.clone()).or_default().take_in(&slot.counts, &slot.names);
            }
            alive
        });
    }
}

impl Slot {
    fn new(version: &Arc<Version>) -> Self {
        let handlers = version.handlers().handlers();
        let names = handlers.iter().take(HANDLERS).map(|handler| handler.written.clone()).collect();
        let length = handlers.len().min(HANDLERS + 1);
        let counts = Counts { handlers: (0..length).map(|_| None).collect(), ..Counts::default() };
        Self { version: Arc::downgrade(version), key: (version.app.clone(), version.config.key.clone()), names, counts }
    }
}

impl Counts {
    fn add(&mut self, tally: &Tally<'_>) {
        self.cold += u64::from(tally.cold);
        if let Some(pending) = tally.pending {
            self.pending.add(pending);
        }
        let place = tally.handler.and_then(|index| self.handlers.get_mut(index.min(HANDLERS)));
        let meter = place.map_or(&mut self.none, |place| place.get_or_insert_default());
        meter.add(tally);
    }
}

impl Sum {
    fn take_in(&mut self, counts: &Counts, names: &[String]) {
        for (index, meter) in counts.handlers.iter().enumerate() {
            if let Some(meter) = meter {
                self.add(names.get(index).map_or(OTHERS, String::as_str), meter);
            }
        }
        self.add(NONE, &counts.none);
        self.pending.merge(&counts.pending);
        self.cold += counts.cold;
    }

    fn merge(&mut self, other: &Self) {
        for (name, meter) in &other.handlers {
            self.add(name, meter);
        }
        self.pending.merge(&other.pending);
        self.cold += other.cold;
    }

    /// Editing app.yaml again and again makes no more series than one app.yaml could have.
    fn add(&mut self, name: &str, meter: &Meter) {
        let room = self.handlers.len() < HANDLERS + 2 || self.handlers.contains_key(name);
        self.handlers.entry(if room { name } else { OTHERS }.to_owned()).or_default().merge(meter);
    }
}

impl Meter {
    fn add(&mut self, tally: &Tally<'_>) {
        self.classes[usize::from(tally.status / 100).min(CLASSES.len() - 1)] += 1;
        self.bytes += tally.bytes;
        self.took.add(tally.took);
    }

    fn merge(&mut self, other: &Self) {
        for (own, more) in self.classes.iter_mut().zip(other.classes) {
            *own += more;
        }
        self.bytes += other.bytes;
        self.took.merge(&other.took);
    }
}

#[cfg(test)]
mod tests;
