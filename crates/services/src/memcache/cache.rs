//! The cache of one app: namespaces, expiry, locks, compare-and-set, the least recently used going first. Pure: the time is an argument.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

/// Seconds above which a time is one of the Unix clock, not an offset (memcached's protocol).
const MONTH: u32 = 30 * 24 * 3600;
/// What an item costs beside its bytes.
const OVERHEAD: usize = 96;

/// A moment of the Unix clock, in microseconds.
pub type Moment = u64;

const SECOND: u64 = 1_000_000;

/// Where an item is found.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Place {
    namespace: Box<str>,
    key: Bytes,
}

/// One item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What was stored.
    pub value: Bytes,
    /// The client's own marks.
    pub flags: u32,
    /// Names this state of the item.
    pub cas: u64,
    /// When it ends.
    pub expires: Option<Moment>,
    /// When it was read last.
    pub used: Moment,
    /// Deleted, and until `expires` nothing may be added in its place.
    pub locked: bool,
    /// Its place in the order of use.
    turn: u64,
}

/// How an item is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Whatever was there.
    Set,
    /// Only if nothing is there.
    Add,
    /// Only if something is there.
    Replace,
    /// Only if nobody has changed it since.
    Cas(Option<u64>),
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// It is there.
    Yes,
    /// The policy forbade it.
    No,
    /// The key or value is larger than the documents allow.
    TooLarge,
    /// Somebody was quicker.
    Changed,
}

/// Why a number was not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotCounted {
    /// There is nothing, and nothing to begin with.
    Missing,
    /// What is there is no number.
    NotANumber,
}

/// What a counter is changed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// By how much.
    pub delta: u64,
    /// Down, ending at 0; up wraps around.
    pub down: bool,
    /// Value and flags of a counter that is missing.
    pub initial: Option<(u64, u32)>,
}

/// What was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Reads that found something.
    pub hits: u64,
    /// Reads that did not.
    pub misses: u64,
    /// Bytes that were found.
    pub byte_hits: u64,
    /// Items at the moment.
    pub items: u64,
    /// Bytes of keys and values at the moment.
    pub bytes: u64,
    /// Seconds since the oldest item was used.
    pub oldest: u32,
}

/// The cache.
#[derive(Debug)]
pub struct Cache {
    items: HashMap<Place, Item>,
    /// Least recently used first.
    order: BTreeMap<u64, Place>,
    turns: u64,
    next_cas: u64,
    stats: Stats,
    held: usize,
    most: usize,
    /// What is counted of an item beside its bytes.
    overhead: usize,
}

/// Documented limits: keys of 250 bytes, values of a million.
pub const MOST_KEY: usize = 250;
/// See [`MOST_KEY`].
pub const MOST_VALUE: usize = 1_000_000;

impl Cache {
    /// An empty cache of at most `most` bytes.
    pub fn new(most: usize) -> Self {
        Self {
            items: HashMap::new(),
            order: BTreeMap::new(),
            turns: 0,
            next_cas: 1,
            stats: Stats::default(),
            held: 0,
            most,
            overhead: OVERHEAD,
        }
    }

    /// From now on at most `most` bytes of keys and values, with nothing counted for keeping them: tests count so.
    pub fn limit_bare(&mut self, most: usize) {
        self.held -= self.items.len() * std::mem::take(&mut self.overhead);
        self.most = most;
        self.shrink();
    }

    /// How many items are kept, locked and expired ones too.
    pub fn length(&self) -> usize {
        self.items.len()
    }

    /// Reads an item, and counts that.
    pub fn get(&mut self, now: Moment, namespace: &str, key: &Bytes) -> Option<&Item> {
        let place = Place { namespace: namespace.into(), key: key.clone() };
        self.expire(now, &place);
        if self.items.get(&place).is_none_or(|item| item.locked) {
            self.stats.misses += 1;
            return None;
        }
        self.turns += 1;
        let turn = self.turns;
        let item = self.items.get_mut(&place)?;
        self.order.remove(&item.turn);
        (item.turn, item.used) = (turn, now);
        self.stats.hits += 1;
        self.stats.byte_hits += (key.len() + item.value.len()) as u64;
        self.order.insert(turn, place);
        Some(item)
    }

    /// Looks at an item, locked ones too; no use of it.
    pub fn peek(&mut self, now: Moment, namespace: &str, key: &Bytes) -> Option<&Item> {
        let place = Place { namespace: namespace.into(), key: key.clone() };
        self.expire(now, &place);
        self.items.get(&place)
    }

    /// Stores an item. `expiration` as memcached has it: 0 never, up to a month from now, otherwise of the Unix clock.
    pub fn set(&mut self, now: Moment, namespace: &str, key: Bytes, value: (Bytes, u32), policy: Policy, expiration: u32) -> Stored {
        if key.is_empty() || key.len() > MOST_KEY || value.0.len() > MOST_VALUE {
            return Stored::TooLarge;
        }
        let place = Place { namespace: namespace.into(), key };
        self.expire(now, &place);
        let old = self.items.get(&place);
        let stored = match (policy, old) {
            (Policy::Set, _) | (Policy::Add, None) => Stored::Yes,
            (_, Some(old)) if old.locked => Stored::No,
            (Policy::Replace, Some(_)) => Stored::Yes,
            (Policy::Cas(Some(cas)), Some(old)) if old.cas == cas => Stored::Yes,
            (Policy::Cas(Some(_)), Some(_)) => Stored::Changed,
            _ => Stored::No,
        };
        if stored == Stored::Yes {
            self.put(now, place, value, (expiration != 0).then(|| moment(now, expiration)));
        }
        stored
    }

    /// Takes an item away; with a `lock` of seconds, nothing may be added in its place for so long. Whether it was there.
    pub fn delete(&mut self, now: Moment, namespace: &str, key: &Bytes, lock: u32) -> bool {
        let place = Place { namespace: namespace.into(), key: key.clone() };
        self.expire(now, &place);
        if !self.items.contains_key(&place) {
            return false;
        }
        if lock == 0 {
            self.remove(&place);
        } else if let Some(item) = self.items.get_mut(&place) {
            self.held -= item.value.len();
            item.value = Bytes::new();
            (item.locked, item.expires) = (true, Some(moment(now, lock)));
        }
        true
    }

    /// Changes a counter, which is a decimal text. The new value.
    ///
    /// # Errors
    /// See [`NotCounted`].
    pub fn count(&mut self, now: Moment, namespace: &str, key: &Bytes, step: Step) -> Result<u64, NotCounted> {
        let place = Place { namespace: namespace.into(), key: key.clone() };
        self.expire(now, &place);
        let (old, flags, expires) = match self.items.get(&place).filter(|item| !item.locked) {
            Some(item) => {
                let text = std::str::from_utf8(&item.value).ok().map(str::trim);
                let number = text.and_then(|text| text.parse().ok()).ok_or(NotCounted::NotANumber)?;
                (number, item.flags, item.expires)
            }
            None => step.initial.map(|(value, flags)| (value, flags, None)).ok_or(NotCounted::Missing)?,
        };
        let new: u64 = if step.down { u64::saturating_sub(old, step.delta) } else { u64::wrapping_add(old, step.delta) };
        self.put(now, place, (new.to_string().into(), flags), expires);
        Ok(new)
    }

    /// Forgets everything, and what was counted.
    pub fn flush(&mut self) {
        let (next_cas, overhead) = (self.next_cas, self.overhead);
        *self = Self { next_cas, overhead, ..Self::new(self.most) };
    }

    /// What was counted.
    pub fn stats(&self, now: Moment) -> Stats {
        let oldest = self.order.values().next().and_then(|place| self.items.get(place)).map_or(0, |item| now.saturating_sub(item.used));
        Stats {
            items: self.items.len() as u64,
            bytes: (self.held - self.items.len() * self.overhead) as u64,
            oldest: u32::try_from(oldest / SECOND).unwrap_or(u32::MAX),
            ..self.stats
        }
    }

    fn put(&mut self, now: Moment, place: Place, (value, flags): (Bytes, u32), expires: Option<Moment>) {
        self.remove(&place);
        self.turns += 1;
        self.held += self.weight(&place, &value);
        // Values are copied out of the request that they came with: a view of it would keep all of it.
        let value = Bytes::copy_from_slice(&value);
        let item = Item { value, flags, cas: self.next_cas, expires, used: now, locked: false, turn: self.turns };
        self.next_cas += 1;
        let place = Place { key: Bytes::copy_from_slice(&place.key), ..place };
        self.order.insert(self.turns, place.clone());
        self.items.insert(place, item);
        self.shrink();
    }

    /// The least recently used go until the rest fits.
    fn shrink(&mut self) {
        while self.held > self.most {
            let Some(oldest) = self.order.values().next().cloned() else { return };
            self.remove(&oldest);
        }
    }

    fn expire(&mut self, now: Moment, place: &Place) {
        if self.items.get(place).is_some_and(|item| item.expires.is_some_and(|at| now >= at)) {
            self.remove(place);
        }
    }

    fn remove(&mut self, place: &Place) {
        if let Some(item) = self.items.remove(place) {
            self.order.remove(&item.turn);
            self.held -= self.weight(place, &item.value);
        }
    }

    fn weight(&self, place: &Place, value: &Bytes) -> usize {
        place.key.len() + value.len() + self.overhead
    }
}

fn moment(now: Moment, seconds: u32) -> Moment {
    let seconds_in = u64::from(seconds) * SECOND;
    if seconds > MONTH { seconds_in } else { now.saturating_add(seconds_in) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = 1_700_000_000 * SECOND;

    fn key(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    fn set(cache: &mut Cache, name: &'static str, text: &'static str, policy: Policy) -> Stored {
        cache.set(NOW, "", key(name), (key(text), 0), policy, 0)
    }

    #[test]
    fn s9_policies() {
        let mut cache = Cache::new(1 << 20);
        assert_eq!(set(&mut cache, "a", "1", Policy::Replace), Stored::No);
        assert_eq!(set(&mut cache, "a", "1", Policy::Add), Stored::Yes);
        assert_eq!(set(&mut cache, "a", "2", Policy::Add), Stored::No);
        let cas = cache.get(NOW, "", &key("a")).expect("there").cas;
        assert_eq!(set(&mut cache, "a", "2", Policy::Cas(Some(cas + 1))), Stored::Changed);
        assert_eq!(set(&mut cache, "a", "2", Policy::Cas(Some(cas))), Stored::Yes);
        assert_eq!(set(&mut cache, "a", "3", Policy::Cas(Some(cas))), Stored::Changed);
        assert_eq!(set(&mut cache, "b", "3", Policy::Cas(Some(cas))), Stored::No);
        assert_eq!(set(&mut cache, "a", "3", Policy::Cas(None)), Stored::No);
        assert!(cache.get(NOW, "other", &key("a")).is_none(), "namespaces are apart");
    }

    #[test]
    fn s9_a_delete_lock_forbids_adding_but_not_setting() {
        let mut cache = Cache::new(1 << 20);
        set(&mut cache, "a", "1", Policy::Set);
        assert!(cache.delete(NOW, "", &key("a"), 10));
        assert!(cache.get(NOW, "", &key("a")).is_none());
        assert!(cache.peek(NOW, "", &key("a")).is_some_and(|item| item.locked));
        assert_eq!(set(&mut cache, "a", "2", Policy::Add), Stored::No);
        assert_eq!(set(&mut cache, "a", "2", Policy::Replace), Stored::No);
        assert_eq!(set(&mut cache, "a", "2", Policy::Set), Stored::Yes);
        assert!(cache.delete(NOW, "", &key("a"), 10));
        assert!(cache.peek(NOW + 10 * SECOND, "", &key("a")).is_none(), "the lock ends");
        assert!(!cache.delete(NOW + 10 * SECOND, "", &key("a"), 0));
    }

    #[test]
    fn s9_counters_wrap_above_and_stop_at_zero() {
        let mut cache = Cache::new(1 << 20);
        let step = |delta, down, initial| Step { delta, down, initial };
        assert_eq!(cache.count(NOW, "", &key("n"), step(1, false, None)), Err(NotCounted::Missing));
        assert_eq!(cache.count(NOW, "", &key("n"), step(1, false, Some((u64::MAX - 1, 3)))), Ok(u64::MAX));
        assert_eq!(cache.count(NOW, "", &key("n"), step(2, false, None)), Ok(1));
        assert_eq!(cache.count(NOW, "", &key("n"), step(2, true, None)), Ok(0));
        assert_eq!(cache.get(NOW, "", &key("n")).map(|item| (item.flags, item.value.clone())), Some((3, key("0"))));
        set(&mut cache, "t", "text", Policy::Set);
        assert_eq!(cache.count(NOW, "", &key("t"), step(1, false, None)), Err(NotCounted::NotANumber));
    }

    #[test]
    fn s9_times_are_offsets_up_to_a_month() {
        let mut cache = Cache::new(1 << 20);
        cache.set(NOW, "", key("a"), (key("1"), 0), Policy::Set, 10);
        cache.set(NOW, "", key("b"), (key("1"), 0), Policy::Set, 1_700_000_010);
        for name in ["a", "b"] {
            assert!(cache.get(NOW + 10 * SECOND - 1, "", &key(name)).is_some());
            assert!(cache.get(NOW + 10 * SECOND, "", &key(name)).is_none());
        }
    }

    #[test]
    fn s9_the_least_recently_used_goes_first() {
        let mut cache = Cache::new(3 * (OVERHEAD + 2));
        for name in ["a", "b", "c"] {
            set(&mut cache, name, "1", Policy::Set);
        }
        assert!(cache.get(NOW, "", &key("a")).is_some());
        set(&mut cache, "d", "1", Policy::Set);
        let there: Vec<_> = ["a", "b", "c", "d"].into_iter().filter(|name| cache.peek(NOW, "", &key(name)).is_some()).collect();
        assert_eq!(there, ["a", "c", "d"]);
        let stats = cache.stats(NOW);
        assert_eq!((stats.items, stats.bytes, stats.hits), (3, 6, 1));
        cache.flush();
        assert_eq!(cache.stats(NOW), Stats::default());
    }
}
