//! What only tests ask of memcache (`--test-mode`): a clock that stands still, and a size that is reached soon.

use std::sync::PoisonError;

use bytes::Bytes;

use super::Memcache;
use super::cache::Moment;
use crate::call::{Answer, Context, Failure, read, write};
use crate::proto::memcache as pb;

/// What tests have set.
#[derive(Debug, Default)]
pub(super) struct Hooks {
    /// The clock stands here.
    pub(super) clock: Option<Moment>,
    /// Bytes of keys and values that an app may keep, without what keeping them costs.
    pub(super) most: Option<usize>,
}

impl Memcache {
    /// One of the methods of `MemcacheStubService`.
    pub(super) fn hook(&self, method: &str, message: Bytes, context: &Context) -> Answer {
        let mut hooks = self.hooks.lock().unwrap_or_else(PoisonError::into_inner);
        match method {
            "SetClock" => {
                hooks.clock = Some(moment(read::<pb::SetClockRequest>(message)?.clock_time_milliseconds));
            }
            "AdvanceClock" => {
                let step = moment(read::<pb::AdvanceClockRequest>(message)?.milliseconds);
                let clock = hooks.clock.unwrap_or_else(|| super::moment(context.now)).saturating_add(step);
                hooks.clock = Some(clock);
                let clock_time_milliseconds = i64::try_from(clock / 1000).unwrap_or(i64::MAX);
                return Ok(write(&pb::AdvanceClockResponse { clock_time_milliseconds }));
            }
            "SetMaxSize" => {
                let most = usize::try_from(read::<pb::SetMaxSizeRequest>(message)?.max_size_bytes).unwrap_or(0);
                hooks.most = Some(most);
                drop(hooks);
                for cache in self.all() {
                    cache.lock().unwrap_or_else(PoisonError::into_inner).limit_bare(most);
                }
            }
            "GetLruChainLength" => {
                drop(hooks);
                let cache = self.of(context.app());
                let length = cache.lock().unwrap_or_else(PoisonError::into_inner).length();
                return Ok(write(&pb::GetLruChainLengthResponse { chain_length: i64::try_from(length).unwrap_or(i64::MAX) }));
            }
            _ => return Err(Failure::no_call("memcache", method)),
        }
        Ok(Bytes::new())
    }
}

/// Milliseconds as the cache counts; a clock before 1970 stands at its beginning.
fn moment(milliseconds: i64) -> Moment {
    u64::try_from(milliseconds).unwrap_or(0).saturating_mul(1000)
}
