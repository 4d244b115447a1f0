//! Durations in fixed buckets.

use std::time::Duration;

/// Upper bounds in microseconds: from a static file to the longest request of automatic scaling.
pub(super) const BOUNDS: [u64; 16] = [
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    60_000_000,
    600_000_000,
];

/// How often which duration was seen.
#[derive(Debug, Clone, Default)]
pub(super) struct Histogram {
    /// The last one has no bound.
    buckets: [u64; BOUNDS.len() + 1],
    sum_us: u64,
}

impl Histogram {
    pub(super) fn add(&mut self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.buckets[BOUNDS.partition_point(|bound| *bound < micros)] += 1;
        self.sum_us = self.sum_us.saturating_add(micros);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (own, more) in self.buckets.iter_mut().zip(other.buckets) {
            *own += more;
        }
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
    }

    /// Each bound in seconds with how many were not above it.
    pub(super) fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let sums = self.buckets.iter().scan(0, |sum, bucket| {
            *sum += bucket;
            Some(*sum)
        });
        BOUNDS.iter().map(|bound| seconds(*bound)).zip(sums)
    }

    /// Each bound in microseconds with how many fell between it and the one before; the last one stands for any longer time.
    pub(super) fn counts(&self) -> impl Iterator<Item = (u64, u64)> {
        BOUNDS.into_iter().chain([u64::MAX]).zip(self.buckets)
    }

    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    pub(super) fn sum(&self) -> f64 {
        seconds(self.sum_us)
    }
}

#[allow(clippy::cast_precision_loss, reason = "no sum of durations reaches 2^53 microseconds, 285 years")]
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let mut histogram = Histogram::default();
        for micros in [0, 500, 501, 600_000_000, 600_000_001] {
            histogram.add(Duration::from_micros(micros));
        }
        let sums: Vec<(f64, u64)> = histogram.cumulative().collect();
        assert_eq!((sums[0], sums[1], sums[15]), ((0.0005, 2), (0.001, 3), (600.0, 4)));
        assert_eq!(histogram.count(), 5);
        let mut twice = histogram.clone();
        twice.merge(&histogram);
        assert!(twice.count() == 10 && (twice.sum() - 2.0 * histogram.sum()).abs() < 1e-9);
    }
}
