//! What ends a migration by itself: `error-rate>1%,p99>2x`. Old and new are compared side by side, and only what chance does not explain counts.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Fewest bad requests that prove anything.
const FEWEST: u64 = 3;
/// How probable a false alarm may be at one look, and the same in standard deviations.
const CHANCE: f64 = 0.005;
const DEVIATIONS: f64 = 2.576;

/// Requests of a version, counted since any time in the past.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Health {
    /// All.
    pub requests: u64,
    /// Those that were answered with a status of 500 or above, or broke.
    pub errors: u64,
    /// Durations: microseconds that were not exceeded, rising, and how many fell between this bound and the one before.
    pub took: Vec<(u64, u64)>,
}

impl Health {
    /// What came after `earlier`. Counts that are smaller than before began anew.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        if self.requests < earlier.requests || self.errors < earlier.errors {
            return self.clone();
        }
        let before = |bound: u64| earlier.took.iter().find(|(known, _)| *known == bound).map_or(0, |(_, count)| *count);
        Self {
            requests: self.requests - earlier.requests,
            errors: self.errors - earlier.errors,
            took: self.took.iter().map(|(bound, count)| (*bound, count.saturating_sub(before(*bound)))).collect(),
        }
    }

    /// Adds another version's counts, which have the same bounds.
    pub fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        for (bound, count) in &other.took {
            match self.took.iter_mut().find(|(known, _)| known == bound) {
                Some((_, own)) => *own += count,
                None => self.took.push((*bound, *count)),
            }
        }
        self.took.sort_unstable();
    }

    /// The microseconds that `hundredths` of the requests did not exceed, between two bounds in proportion.
    pub fn quantile(&self, hundredths: u8) -> Option<u64> {
        let all: u64 = self.took.iter().map(|(_, count)| count).sum();
        let mut left = (all.checked_mul(u64::from(hundredths))?).div_ceil(100);
        if all == 0 {
            return None;
        }
        let mut from = 0_u64;
        for (bound, count) in &self.took {
            if left <= *count && *count > 0 {
                // The last bound may stand for "any longer time".
                let to = (*bound).min(from.saturating_mul(10).saturating_add(1_000_000)).max(from);
                return Some(from + (to - from).saturating_mul(left) / count);
            }
            left = left.saturating_sub(*count);
            from = *bound;
        }
        Some(from)
    }

    /// How many took longer than `limit` microseconds, between two bounds in proportion.
    fn slower(&self, limit: u64) -> u64 {
        let mut from = 0_u64;
        let mut slower = 0;
        for (bound, count) in &self.took {
            if from >= limit {
                slower += count;
            } else if *bound > limit {
                let to = (*bound).min(from.saturating_mul(10).saturating_add(1_000_000)).max(limit);
                slower += count.saturating_mul(to - limit) / (to - from).max(1);
            }
            from = *bound;
        }
        slower
    }
}

/// Conditions that end a migration.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Guard(Vec<Condition>);

impl Eq for Guard {}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Condition {
    what: What,
    limit: Limit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    ErrorRate,
    Quantile(u8),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Limit {
    /// A share of the requests.
    Share(f64),
    /// A duration in microseconds.
    Micros(u64),
    /// So many times what the old versions have.
    Times(f64),
}

/// Why a text is no guard.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no condition: write for example `error-rate>1%`, `error-rate>2x`, `p99>2x`, `p95>800ms` or `p50>1.5s`, several with commas between them"
)]
pub struct GuardError(pub String);

impl FromStr for Guard {
    type Err = GuardError;

    fn from_str(text: &str) -> Result<Self, GuardError> {
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(Condition::parse).collect::<Result<_, _>>().map(Self)
    }
}

impl Condition {
    fn parse(text: &str) -> Result<Self, GuardError> {
        let fail = || GuardError(text.chars().take(60).collect());
        let (what, limit) = text.split_once('>').ok_or_else(fail)?;
        let what = match what.trim() {
            "error-rate" => What::ErrorRate,
            other => {
                let hundredths = other.strip_prefix('p').and_then(|number| number.parse().ok());
                What::Quantile(hundredths.filter(|number| (1..=99).contains(number)).ok_or_else(fail)?)
            }
        };
        let limit = limit.trim();
        let number = |unit: &str| -> Option<f64> {
            let number: f64 = limit.strip_suffix(unit)?.trim().parse().ok()?;
            (number.is_finite() && (0.0..=1e9).contains(&number)).then_some(number)
        };
        let micros = |number: f64| Limit::Micros(u64::try_from(Duration::from_secs_f64(number).as_micros()).unwrap_or(u64::MAX));
        let limit = match what {
            _ if number("x").is_some_and(|times| times >= 1.0) => number("x").map(Limit::Times),
            What::ErrorRate => number("%").filter(|percent| *percent < 100.0).map(|percent| Limit::Share(percent / 100.0)),
            What::Quantile(_) => number("ms").map(|ms| micros(ms / 1000.0)).or_else(|| number("s").map(micros)),
        };
        Ok(Self { what, limit: limit.ok_or_else(fail)? })
    }

    /// The evidence, if the condition holds beyond doubt.
    fn judge(&self, old: &Health, new: &Health) -> Option<String> {
        match self.what {
            What::ErrorRate => {
                let limit = match self.limit {
                    Limit::Share(share) => share,
                    // With one error more than was seen: none yet does not mean never.
                    Limit::Times(times) => times * ratio(old.errors + 1, old.requests + 1),
                    Limit::Micros(_) => return None,
                };
                let told = |health: &Health| {
                    format!("{} ({} of {} requests)", percent(ratio(health.errors, health.requests)), health.errors, health.requests)
                };
                exceeds(new.errors, new.requests, limit)
                    .then(|| format!("error-rate {} exceeds {self}; beside it the old version had {}", told(new), told(old)))
            }
            What::Quantile(hundredths) => {
                let beside = old.quantile(hundredths);
                let limit = match self.limit {
                    Limit::Micros(micros) => micros,
                    #[allow(
                        clippy::cast_possible_truncation,
                        clippy::cast_sign_loss,
                        clippy::cast_precision_loss,
                        reason = "microseconds of requests"
                    )]
                    Limit::Times(times) => (beside? as f64 * times) as u64,
                    Limit::Share(_) => return None,
                };
                // p99 > limit says that more than 1 % take longer than the limit, which can be counted.
                exceeds(new.slower(limit), new.requests, 1.0 - f64::from(hundredths) / 100.0).then(|| {
                    let own = new.quantile(hundredths).map_or_else(String::new, millis);
                    let beside = beside
                        .map_or_else(|| "no requests".to_owned(), |micros| format!("{} of {} requests", millis(micros), old.requests));
                    format!("p{hundredths} {own} of {} requests exceeds {self}; beside it the old version had {beside}", new.requests)
                })
            }
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.what {
            What::ErrorRate => f.write_str("error-rate>")?,
            What::Quantile(hundredths) => write!(f, "p{hundredths}>")?,
        }
        match self.limit {
            // As it was written, in spite of the division.
            Limit::Share(share) => write!(f, "{}%", (share * 1e8).round() / 1e6),
            Limit::Micros(micros) if micros % 1000 == 0 => write!(f, "{}ms", micros / 1000),
            Limit::Micros(micros) => write!(f, "{}.{:03}ms", micros / 1000, micros % 1000),
            Limit::Times(times) => write!(f, "{times}x"),
        }
    }
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, condition) in self.0.iter().enumerate() {
            write!(f, "{}{condition}", if n == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl Serialize for Guard {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Guard {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Guard {
    /// It has no condition.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The evidence against `new` beside `old`, if there is some.
    pub fn judge(&self, old: &Health, new: &Health) -> Option<String> {
        self.0.iter().find_map(|condition| condition.judge(old, new))
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts of requests")]
fn ratio(part: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { part as f64 / all as f64 }
}

/// Whether `bad` of `all` is more than `limit` beyond doubt.
#[allow(clippy::cast_precision_loss, reason = "counts of requests")]
fn exceeds(bad: u64, all: u64, limit: f64) -> bool {
    let n = all as f64;
    if bad < FEWEST || bad > all || ratio(bad, all) <= limit {
        return false;
    }
    if n * limit < 20.0 {
        return tail(bad, n, limit) < CHANCE;
    }
    // The lower end of Wilson's interval.
    let (p, z2) = (ratio(bad, all), DEVIATIONS * DEVIATIONS);
    let margin = DEVIATIONS * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).max(0.0).sqrt();
    (p + z2 / (2.0 * n) - margin) / (1.0 + z2 / n) > limit
}

/// How probable `bad` or more of `n` are, if each is bad with probability `p`: the binomial distribution, term by term. For `n * p` below some hundred.
#[allow(clippy::cast_precision_loss, reason = "counts of requests")]
fn tail(bad: u64, n: f64, p: f64) -> f64 {
    let mut term = (1.0 - p).powf(n);
    let mut fewer = 0.0;
    for k in 0..bad {
        fewer += term;
        term *= (n - k as f64) / (k as f64 + 1.0) * p / (1.0 - p);
        // Beyond the middle the terms only shrink.
        if term < 1e-18 && k as f64 > n * p {
            break;
        }
    }
    1.0 - fewer
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn millis(micros: u64) -> String {
    if micros < 10_000 { format!("{}.{} ms", micros / 1000, micros % 1000 / 100) } else { format!("{} ms", micros / 1000) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(requests: u64, errors: u64, took: &[(u64, u64)]) -> Health {
        Health { requests, errors, took: took.to_vec() }
    }

    #[test]
    fn t3_guards_are_read_and_written() {
        for (text, written) in [
            ("error-rate>1%, p99>2x", "error-rate>1%,p99>2x"),
            ("error-rate > 0.07 %", "error-rate>0.07%"),
            ("p95>800ms,p50>1.5s", "p95>800ms,p50>1500ms"),
            ("error-rate>2.5x", "error-rate>2.5x"),
            ("", ""),
        ] {
            let guard: Guard = text.parse().expect("a guard");
            assert_eq!(guard.to_string(), written);
            let json = serde_json::to_string(&guard).expect("writes");
            assert_eq!(serde_json::from_str::<Guard>(&json).expect("reads"), guard);
        }
        for bad in [
            "error-rate",
            "error-rate>1",
            "p99<2x",
            "p100>2x",
            "p99>1%",
            "latency>2x",
            "error-rate>100%",
            "p99>0.5x",
            "p99>NaNms",
            "error-rate>-1%",
        ] {
            let error = bad.parse::<Guard>().expect_err(bad);
            assert!(error.to_string().contains("write for example"), "{error}");
        }
    }

    #[test]
    fn t3_only_what_chance_does_not_explain_is_evidence() {
        let guard: Guard = "error-rate>1%".parse().expect("a guard");
        let old = health(10_000, 5, &[]);
        for (requests, errors, trips) in [
            (0, 0, false),
            (1, 1, false),
            (2, 2, false),
            (3, 3, true),
            (100, 2, false),
            (100, 4, false),
            (100, 8, true),
            (10_000, 120, false),
            (10_000, 150, true),
        ] {
            assert_eq!(guard.judge(&old, &health(requests, errors, &[])).is_some(), trips, "{errors} of {requests}");
        }
        assert_eq!(
            guard.judge(&old, &health(240, 12, &[])).expect("evidence"),
            "error-rate 5.0 % (12 of 240 requests) exceeds error-rate>1%; beside it the old version had 0.1 % (5 of 10000 requests)"
        );
        // As bad as the old one is not worse.
        let guard: Guard = "error-rate>2x".parse().expect("a guard");
        assert_eq!(guard.judge(&health(1000, 200, &[]), &health(1000, 220, &[])), None);
        assert!(guard.judge(&health(1000, 10, &[]), &health(1000, 60, &[])).is_some());
    }

    #[test]
    fn t3_slow_versions_are_told_from_fast_ones() {
        let bounds = |fast: u64, middle: u64, slow: u64| {
            health(fast + middle + slow, 0, &[(10_000, fast), (100_000, middle), (1_000_000, slow), (u64::MAX, 0)])
        };
        let guard: Guard = "p99>2x".parse().expect("a guard");
        let old = bounds(1000, 5, 0);
        assert_eq!(old.quantile(50), Some(5_030));
        assert_eq!(guard.judge(&old, &bounds(500, 3, 0)), None);
        let evidence = guard.judge(&old, &bounds(450, 20, 40)).expect("evidence");
        assert!(
            evidence.starts_with("p99 887 ms of 510 requests exceeds p99>2x; beside it the old version had 9.9 ms of 1005 requests"),
            "{evidence}"
        );
        let guard: Guard = "p50>5s".parse().expect("a guard");
        assert_eq!(guard.judge(&old, &bounds(0, 0, 100)), None);
        assert!(guard.judge(&Health::default(), &health(50, 0, &[(1000, 0), (10_000_000, 0), (60_000_000, 50)])).is_some());
        assert_eq!(
            "p99>2x".parse::<Guard>().expect("a guard").judge(&Health::default(), &bounds(0, 0, 100)),
            None,
            "nothing to compare with"
        );
    }

    #[test]
    fn t3_counts_may_begin_anew() {
        let before = health(100, 5, &[(10, 60), (20, 40)]);
        let after = health(150, 6, &[(10, 90), (20, 60)]);
        assert_eq!(after.since(&before), health(50, 1, &[(10, 30), (20, 20)]));
        assert_eq!(health(7, 0, &[(10, 7)]).since(&before), health(7, 0, &[(10, 7)]));
        let mut sum = before.clone();
        sum.add(&health(1, 0, &[(15, 1)]));
        assert_eq!(sum, health(101, 5, &[(10, 60), (15, 1), (20, 40)]));
    }
}
