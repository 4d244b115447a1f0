//! Times in bins that are at most 1.6 % wide: percentiles in little memory, whatever comes.

use std::collections::BTreeMap;
use std::time::Duration;

/// Bins per doubling.
const FINE: u64 = 64;

/// How often which time was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    bins: BTreeMap<u64, u64>,
    count: u64,
    max: u64,
}

impl Histogram {
    /// Notes one time.
    pub fn note(&mut self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        *self.bins.entry(bin(micros)).or_default() += 1;
        self.count += 1;
        self.max = self.max.max(micros);
    }

    /// Adds what another one saw.
    pub fn add(&mut self, other: &Self) {
        for (&bin, &count) in &other.bins {
            *self.bins.entry(bin).or_default() += count;
        }
        self.count += other.count;
        self.max = self.max.max(other.max);
    }

    /// How many times were noted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The longest; zero of none.
    pub fn max(&self) -> Duration {
        Duration::from_micros(self.max)
    }

    /// The time that the given share (0–1) of all does not exceed; zero of none.
    pub fn quantile(&self, share: f64) -> Duration {
        let wanted = (share * self.count as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (&bin, &count) in &self.bins {
            seen += count;
            if seen >= wanted {
                return Duration::from_micros(top(bin).min(self.max));
            }
        }
        Duration::ZERO
    }
}

/// Below `2 * FINE` each microsecond has its own bin, above each doubling has `FINE`.
fn bin(micros: u64) -> u64 {
    let shift = u64::from(micros.max(1).ilog2()).saturating_sub(u64::from(FINE.ilog2()));
    shift * FINE + (micros >> shift)
}

/// The largest time of a bin.
fn top(bin: u64) -> u64 {
    let shift = (bin / FINE).saturating_sub(1);
    (((bin - shift * FINE) + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_are_narrow_and_in_order() {
        let mut last = 0;
        for micros in (0..2_000).chain((1..40).map(|n| 3u64 << n)) {
            let bin = bin(micros);
            assert!(top(bin) >= micros && top(bin) as f64 <= micros as f64 * 1.016 + 1.0, "{micros} in {bin} up to {}", top(bin));
            assert!(bin >= last || micros < 2_000, "{micros}");
            last = bin;
        }
    }

    #[test]
    fn percentiles() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), Duration::ZERO);
        for ms in 1..=100 {
            histogram.note(Duration::from_millis(ms));
        }
        let ms = |share| histogram.quantile(share).as_secs_f64() * 1e3;
        assert!((ms(0.5) - 50.0).abs() < 1.0 && (ms(0.95) - 95.0).abs() < 2.0, "{} {}", ms(0.5), ms(0.95));
        assert_eq!(histogram.quantile(1.0), Duration::from_millis(100));
        let mut twice = histogram.clone();
        twice.add(&histogram);
        assert_eq!((twice.count(), twice.quantile(0.5)), (200, histogram.quantile(0.5)));
    }
}
