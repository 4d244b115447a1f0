//! memcache (row S9): in this process, a cache for each app.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use model::ids::AppId;
use model::pool::Boxed;

pub mod cache;
mod hooks;

use cache::{Cache, Item, Moment, NotCounted, Policy, Step, Stored};

use crate::call::{Answer, Context, Failure, Service, read, write};
use crate::card::{self, Card};
use crate::proto::memcache as pb;

/// An answer holds at most so many bytes of values; what does not fit is reported as truncated.
const MOST_ANSWER: usize = 32 << 20;

/// The service.
#[derive(Debug)]
pub struct Memcache {
    /// Bytes of each app.
    most: usize,
    caches: Mutex<HashMap<AppId, Arc<Mutex<Cache>>>>,
    hooks: Mutex<hooks::Hooks>,
}

impl Memcache {
    /// With at most `most` bytes for each app.
    pub fn new(most: usize) -> Self {
        Self { most, caches: Mutex::default(), hooks: Mutex::default() }
    }

    fn of(&self, app: &AppId) -> Arc<Mutex<Cache>> {
        let mut caches = self.caches.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cache) = caches.get(app) {
            return Arc::clone(cache);
        }
        let mut cache = Cache::new(self.most);
        if let Some(most) = self.hooks.lock().unwrap_or_else(PoisonError::into_inner).most {
            cache.limit_bare(most);
        }
        Arc::clone(caches.entry(app.clone()).or_insert_with(|| Arc::new(Mutex::new(cache))))
    }

    fn all(&self) -> Vec<Arc<Mutex<Cache>>> {
        self.caches.lock().unwrap_or_else(PoisonError::into_inner).values().map(Arc::clone).collect()
    }

    /// The time, unless a test has stopped it.
    fn now(&self, context: &Context) -> Moment {
        let stopped = if context.testing { self.hooks.lock().unwrap_or_else(PoisonError::into_inner).clock } else { None };
        stopped.unwrap_or_else(|| moment(context.now))
    }

    fn answer(&self, method: &str, message: Bytes, context: &Context) -> Answer {
        if context.testing && matches!(method, "SetClock" | "AdvanceClock" | "SetMaxSize" | "GetLruChainLength") {
            return self.hook(method, message, context);
        }
        let (cache, now) = (self.of(context.app()), self.now(context));
        let mut cache = cache.lock().unwrap_or_else(PoisonError::into_inner);
        let cache = &mut *cache;
        Ok(match method {
            "Get" => write(&get(cache, now, &own(read::<pb::GetRequest>(message)?, context, |asked| asked.r#override.as_ref())?)),
            "Set" => write(&set(cache, now, own(read::<pb::SetRequest>(message)?, context, |asked| asked.r#override.as_ref())?)),
            "Delete" => write(&delete(cache, now, &own(read::<pb::DeleteRequest>(message)?, context, |asked| asked.r#override.as_ref())?)),
            "Increment" => {
                let asked = own(read::<pb::IncrementRequest>(message)?, context, |asked| asked.r#override.as_ref())?;
                let invalid = || Failure::app(pb::ErrorCode::InvalidValue, "The value is not a 64-bit number.");
                write(&increment(cache, now, asked.name_space(), &asked).ok_or_else(invalid)?)
            }
            "BatchIncrement" => {
                let asked = own(read::<pb::BatchIncrementRequest>(message)?, context, |asked| asked.r#override.as_ref())?;
                let space = asked.name_space();
                let unchanged = || counted(None, pb::increment_response::Status::NotChanged);
                let one = |item| increment(cache, now, space, item).unwrap_or_else(unchanged);
                write(&pb::BatchIncrementResponse { item: asked.item.iter().map(one).collect() })
            }
            "FlushAll" => {
                own(read::<pb::FlushRequest>(message)?, context, |asked| asked.r#override.as_ref())?;
                cache.flush();
                write(&pb::FlushResponse {})
            }
            "Stats" => {
                own(read::<pb::StatsRequest>(message)?, context, |asked| asked.r#override.as_ref())?;
                write(&stats(cache, now))
            }
            _ => return Err(Failure::no_call("memcache", method)),
        })
    }
}

impl Service for Memcache {
    fn card(&self) -> &'static Card {
        &card::MEMCACHE
    }

    fn most(&self) -> usize {
        32 << 20
    }

    fn clear(&self) {
        self.caches.lock().unwrap_or_else(PoisonError::into_inner).clear();
        *self.hooks.lock().unwrap_or_else(PoisonError::into_inner) = hooks::Hooks::default();
    }

    fn call<'a>(&'a self, method: &'a str, message: Bytes, context: &'a Context) -> Boxed<'a, Answer> {
        Box::pin(async move { self.answer(method, message, context) })
    }
}

/// Refuses requests for another app's cache.
fn own<M>(asked: M, context: &Context, target: impl Fn(&M) -> Option<&pb::AppOverride>) -> Result<M, Failure> {
    match target(&asked) {
        Some(other) if !context.is_own(&other.app_id) => {
            Err(Failure::app(pb::ErrorCode::PermissionDenied, "This app may not use the memcache of another one."))
        }
        _ => Ok(asked),
    }
}

fn moment(time: SystemTime) -> Moment {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

fn get(cache: &mut Cache, now: Moment, asked: &pb::GetRequest) -> pb::GetResponse {
    use pb::get_response::Status;
    let mut answer = pb::GetResponse::default();
    let mut room = MOST_ANSWER;
    for key in &asked.key {
        let found = if asked.for_peek() { cache.peek(now, asked.name_space(), key) } else { cache.get(now, asked.name_space(), key) };
        let status = match found {
            None => Status::Miss,
            Some(item) if item.value.len() > room => Status::Truncated,
            Some(item) => {
                room -= item.value.len();
                answer.item.push(shown(key, item, asked, now));
                Status::Hit
            }
        };
        answer.get_status.push(status.into());
    }
    answer
}

fn shown(key: &Bytes, item: &Item, asked: &pb::GetRequest, now: Moment) -> pb::get_response::Item {
    let seconds = |moment: Moment| i64::try_from(moment / 1_000_000).unwrap_or(i64::MAX);
    let left = item.expires.map(|at| i32::try_from(at.saturating_sub(now) / 1_000_000).unwrap_or(i32::MAX));
    let timestamps = asked.for_peek().then(|| pb::ItemTimestamps {
        expiration_time_sec: item.expires.map(seconds),
        last_access_time_sec: Some(seconds(item.used)),
        delete_lock_time_sec: item.expires.filter(|_| item.locked).map(seconds),
    });
    pb::get_response::Item {
        key: key.clone(),
        value: item.value.clone(),
        flags: Some(item.flags),
        cas_id: asked.for_cas().then_some(item.cas),
        expires_in_seconds: left,
        timestamps,
        is_delete_locked: asked.for_peek().then_some(item.locked),
    }
}

fn set(cache: &mut Cache, now: Moment, asked: pb::SetRequest) -> pb::SetResponse {
    use pb::set_request::Policy as Asked;
    use pb::set_response::Status;
    let space = asked.name_space.unwrap_or_default();
    let one = |item: pb::set_request::Item| {
        let policy = match item.set_policy() {
            Asked::Set => Policy::Set,
            Asked::Add => Policy::Add,
            Asked::Replace => Policy::Replace,
            Asked::Cas => Policy::Cas(item.cas_id),
        };
        let (expiration, value) = (item.expiration_time(), (item.value.clone(), item.flags()));
        let status = match cache.set(now, &space, item.key, value, policy, expiration) {
            Stored::Yes => Status::Stored,
            Stored::No => Status::NotStored,
            Stored::TooLarge => Status::Error,
            Stored::Changed => Status::Exists,
        };
        status.into()
    };
    pb::SetResponse { set_status: asked.item.into_iter().map(one).collect() }
}

fn delete(cache: &mut Cache, now: Moment, asked: &pb::DeleteRequest) -> pb::DeleteResponse {
    use pb::delete_response::Status;
    let one = |item: &pb::delete_request::Item| {
        let there = cache.delete(now, asked.name_space(), &item.key, item.delete_time());
        if there { Status::Deleted } else { Status::NotFound }.into()
    };
    pb::DeleteResponse { delete_status: asked.item.iter().map(one).collect() }
}

/// `None` if what is there is no number.
fn increment(cache: &mut Cache, now: Moment, space: &str, asked: &pb::IncrementRequest) -> Option<pb::IncrementResponse> {
    use pb::increment_response::Status;
    let step = Step {
        delta: asked.delta(),
        down: asked.direction() == pb::increment_request::Direction::Decrement,
        initial: asked.initial_value.map(|value| (value, asked.initial_flags())),
    };
    match cache.count(now, space, &asked.key, step) {
        Ok(value) => Some(counted(Some(value), Status::Ok)),
        Err(NotCounted::Missing) => Some(counted(None, Status::NotChanged)),
        Err(NotCounted::NotANumber) => None,
    }
}

fn counted(new_value: Option<u64>, status: pb::increment_response::Status) -> pb::IncrementResponse {
    pb::IncrementResponse { new_value, increment_status: Some(status.into()) }
}

fn stats(cache: &Cache, now: Moment) -> pb::StatsResponse {
    let found = cache.stats(now);
    pb::StatsResponse {
        stats: Some(pb::MergedNamespaceStats {
            hits: found.hits,
            misses: found.misses,
            byte_hits: found.byte_hits,
            items: found.items,
            bytes: found.bytes,
            oldest_item_age: found.oldest,
        }),
    }
}
