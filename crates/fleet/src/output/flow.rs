//! How much an instance may print: a bucket that its lines take from. Pure; the time comes in.

use std::time::{Duration, Instant};

/// Lines a second that one instance may print for long.
pub(super) const LINES: u32 = 2_000;
/// Bytes a second.
pub(super) const BYTES: u32 = 1024 * 1024;
/// Seconds of silence that may be saved up and spent at once.
const SAVED: u32 = 4;
/// After a flood nothing is taken until so many seconds' worth have come together: one gap, one mark, instead of thousands.
const PAUSE: u32 = 1;

/// The bucket.
#[derive(Debug)]
pub(super) struct Flow {
    lines: f64,
    bytes: f64,
    at: Instant,
    /// Lines that were dropped since the flood began.
    dropped: Option<u64>,
}

impl Flow {
    pub(super) fn new(now: Instant) -> Self {
        Self { lines: f64::from(LINES * SAVED), bytes: f64::from(BYTES * SAVED), at: now, dropped: None }
    }

    /// Whether what comes now is to be dropped without a look.
    pub(super) fn is_flooded(&mut self, now: Instant) -> bool {
        if self.dropped.is_none() {
            return false;
        }
        self.fill(now);
        self.lines < f64::from(LINES * PAUSE) || self.bytes < f64::from(BYTES * PAUSE)
    }

    /// A line of this length comes; whether it is taken. The lines that were dropped before it are returned too.
    pub(super) fn take(&mut self, length: usize, now: Instant) -> (bool, Option<u64>) {
        if self.is_flooded(now) {
            self.drop_lines(1);
            return (false, None);
        }
        let gap = self.dropped.take().filter(|&lines| lines > 0);
        self.fill(now);
        #[allow(clippy::cast_precision_loss, reason = "lengths of lines are small")]
        let length = length as f64;
        if self.lines < 1.0 || self.bytes < length {
            self.dropped = Some(1);
            return (false, gap);
        }
        self.lines -= 1.0;
        self.bytes -= length;
        (true, gap)
    }

    pub(super) fn drop_lines(&mut self, lines: u64) {
        *self.dropped.get_or_insert(0) += lines;
    }

    /// Whether something was dropped and not told yet.
    pub(super) fn has_gap(&self) -> bool {
        self.dropped.is_some()
    }

    /// What was dropped and not told yet.
    pub(super) fn end(&mut self) -> Option<u64> {
        self.dropped.take().filter(|&lines| lines > 0)
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).min(Duration::from_secs(u64::from(SAVED))).as_secs_f64();
        self.at = now.max(self.at);
        self.lines = (self.lines + passed * f64::from(LINES)).min(f64::from(LINES * SAVED));
        self.bytes = (self.bytes + passed * f64::from(BYTES)).min(f64::from(BYTES * SAVED));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_into_few_gaps() {
        let start = Instant::now();
        let mut flow = Flow::new(start);
        let (mut taken, mut dropped, mut gaps) = (0, 0, 0);
        for number in 0..1_000_000u32 {
            let now = start + Duration::from_micros(u64::from(number) * 10);
            let (kept, gap) = flow.take(10, now);
            taken += u64::from(kept);
            dropped += gap.unwrap_or(0);
            gaps += u64::from(gap.is_some());
        }
        dropped += flow.end().unwrap_or(0);
        assert_eq!(taken + dropped, 1_000_000);
        let most = u64::from(LINES * (SAVED + 10));
        assert!(taken <= most && taken >= most / 2, "{taken}");
        assert!(gaps <= 10, "{gaps}");
    }

    #[test]
    fn long_lines_count_by_their_bytes() {
        let start = Instant::now();
        let mut flow = Flow::new(start);
        let kept = (0..1_000).filter(|_| flow.take(64 * 1024, start).0).count();
        assert_eq!(kept, 64);
        assert!(flow.is_flooded(start + Duration::from_millis(900)) && !flow.is_flooded(start + Duration::from_secs(1)));
    }
}
