//! How many instances this computer bears: "no limit" in a file is meant for a data centre, and a laptop must not run a thousand processes.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError, Weak};

use model::config::VersionConfig;
use model::sched::{Cap, Event};

use crate::pool::VersionPool;

/// Instances per core: most of them wait for something.
const PER_CORE: u32 = 4;
/// However few cores there are.
const LEAST: u32 = 8;

/// What all pools of a house share. It bounds what automatic scaling adds; a version's first instance, and the instances of basic and manual
/// scaling, whose number somebody wrote down, are never withheld.
#[derive(Debug)]
pub struct Capacity {
    most: u32,
    why: String,
    used: AtomicU32,
    /// Half of the memory that was free at the start, in MB.
    memory_mb: Option<u64>,
    /// Pools that wait for an instance of another to end.
    short: Mutex<Vec<Weak<VersionPool>>>,
}

impl Capacity {
    /// As the user asked for all versions together, or as this computer is.
    pub fn new(asked: Option<u32>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX));
        let own = cores.saturating_mul(PER_CORE).max(LEAST);
        let (most, why) = match asked {
            Some(most) => (most, "as --max-instances says".to_owned()),
            None => (own, format!("{cores} cores; --max-instances changes it")),
        };
        let memory_mb = if asked.is_some() { None } else { free_memory_mb().map(|mb| mb / 2) };
        Self { most, why, used: AtomicU32::new(0), memory_mb, short: Mutex::default() }
    }

    /// The most instances of one version.
    pub(crate) fn cap(&self, config: &VersionConfig) -> Cap {
        let class = u64::from(config.class.memory_mb(config.runtime.is_first_generation()));
        let fit = self.memory_mb.map_or(u32::MAX, |mb| u32::try_from(mb / class.max(1)).unwrap_or(u32::MAX)).max(1);
        if fit < self.most {
            let why = format!("{class} MB each in half of the free memory; --max-instances changes it");
            return Cap { instances: fit, why };
        }
        Cap { instances: self.most, why: self.why.clone() }
    }

    /// How many more may start.
    pub(crate) fn room(&self) -> u32 {
        self.most.saturating_sub(self.used.load(Ordering::Relaxed))
    }

    pub(crate) fn started(&self) {
        self.used.fetch_add(1, Ordering::Relaxed);
    }

    /// An instance is gone: whoever was short of one looks again.
    pub(crate) fn ended(&self) {
        self.used.fetch_sub(1, Ordering::Relaxed);
        let short = std::mem::take(&mut *self.short.lock().unwrap_or_else(PoisonError::into_inner));
        for pool in short.iter().filter_map(Weak::upgrade) {
            pool.tell(Event::Tick);
        }
    }

    /// The pool wants to hear when there is room again.
    pub(crate) fn wait(&self, pool: &Weak<VersionPool>) {
        let mut short = self.short.lock().unwrap_or_else(PoisonError::into_inner);
        if !short.iter().any(|known| known.ptr_eq(pool)) {
            short.push(Weak::clone(pool));
        }
    }
}

fn free_memory_mb() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn y29_the_computer_bounds_what_the_file_does_not() {
        let capacity = Capacity::new(Some(2));
        assert_eq!(capacity.room(), 2);
        (0..3).for_each(|_| capacity.started());
        assert_eq!(capacity.room(), 0);
        capacity.ended();
        capacity.ended();
        assert_eq!(capacity.room(), 1);
        assert!(Capacity::new(None).room() >= LEAST);
        assert!(free_memory_mb().is_some_and(|mb| mb > 0));
    }
}
