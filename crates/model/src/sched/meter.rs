//! How many requests are at the instances: now, on average lately, and at most within a minute. Kept at a constant cost per change.

use std::time::Duration;

use crate::time::Tick;

const BUCKETS: usize = 6;
/// The peak of this long decides what may be stopped: short pauses stop nothing (dev_appserver looks as far back).
const WIDTH: u64 = 10_000_000;
/// Over this long the average is taken that decides what is started: a burst of some milliseconds starts nothing.
const SMOOTH: f64 = 100_000.0;

/// The meter.
#[derive(Debug, Default)]
pub(super) struct Meter {
    level: u32,
    mean: f64,
    at: Tick,
    peaks: [u32; BUCKETS],
    bucket: u64,
}

impl Meter {
    pub(super) fn level(&self) -> u32 {
        self.level
    }

    /// The average up to `now`.
    pub(super) fn mean(&mut self, now: Tick) -> f64 {
        self.advance(now);
        self.mean
    }

    /// The most within the last minute.
    pub(super) fn peak(&mut self, now: Tick) -> u32 {
        self.advance(now);
        self.peaks.iter().copied().max().unwrap_or_default()
    }

    /// When [`Self::peak`] may fall, if nothing comes.
    pub(super) fn falls_at(&mut self, now: Tick) -> Option<Tick> {
        (self.peak(now) > self.level).then(|| Tick((self.bucket + 1) * WIDTH))
    }

    pub(super) fn set(&mut self, now: Tick, level: u32) {
        self.advance(now);
        self.level = level;
        let slot = self.slot(self.bucket);
        *slot = level.max(*slot);
    }

    fn slot(&mut self, bucket: u64) -> &mut u32 {
        let at = usize::try_from(bucket % BUCKETS as u64).unwrap_or_default();
        &mut self.peaks[at]
    }

    fn advance(&mut self, now: Tick) {
        let passed = Duration::as_micros(&now.since(self.at));
        if passed > 0 {
            #[allow(clippy::cast_precision_loss, reason = "microseconds of a window")]
            let passed = passed as f64;
            self.mean += (f64::from(self.level) - self.mean) * (passed / (SMOOTH + passed));
            self.at = now;
        }
        let bucket = self.at.0 / WIDTH;
        let fresh = (bucket - self.bucket.min(bucket)).min(BUCKETS as u64);
        for back in 0..fresh {
            let level = self.level;
            *self.slot(bucket - back) = level;
        }
        self.bucket = bucket.max(self.bucket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Tick {
        Tick(millis * 1_000)
    }

    #[test]
    fn the_peak_of_a_minute_is_remembered_and_forgotten() {
        let mut meter = Meter::default();
        meter.set(at(1_000), 7);
        meter.set(at(1_001), 2);
        assert_eq!((meter.peak(at(50_000)), meter.level()), (7, 2));
        assert_eq!(meter.falls_at(at(50_000)), Some(at(60_000)));
        assert_eq!(meter.peak(at(60_000)), 2);
        assert_eq!(meter.falls_at(at(60_000)), None);
        meter.set(at(61_000), 0);
        assert_eq!(meter.peak(at(1_000_000)), 0);
    }

    #[test]
    fn the_average_follows_what_lasts_and_not_what_passes() {
        let mut meter = Meter::default();
        meter.set(at(0), 10);
        meter.set(at(5), 0);
        assert!(meter.mean(at(5)) < 1.0);
        meter.set(at(1_000), 10);
        for millis in 1_000..2_000 {
            meter.mean(at(millis));
        }
        assert!(meter.mean(at(2_000)) > 9.0);
    }
}
