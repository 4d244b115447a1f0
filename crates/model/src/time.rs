//! Time as the rules see it: ticks that come from outside, and durations as the configuration files write them.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Microseconds since the process started, from a monotonic clock that the shell owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Tick(pub u64);

impl Tick {
    /// The tick `wait` later, saturating.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(wait.as_micros()).unwrap_or(u64::MAX)))
    }

    /// How long ago `earlier` was; zero if it lies ahead.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// Microseconds since 1970 of an RFC 3339 time such as `2026-01-31T12:00:00.5Z`; `None` if it is not one, or lies before.
pub fn stamp(text: &str) -> Option<u64> {
    u64::try_from(text.parse::<jiff::Timestamp>().ok()?.as_microsecond()).ok()
}

/// A cache period such as `4d 5h` (rows Y8 and Y17), in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expiration(pub u64);

impl Expiration {
    /// What production uses when a file says nothing (document 003, `default_expiration`: 10 minutes).
    pub const DEFAULT: Self = Self(600);

    /// Reads `NUMBER[dhms]` parts that are separated by white space; units in either case, a bare number counts seconds, repeats add up
    /// (the SDK's grammar: `4d5h`, fractions and signs are refused).
    ///
    /// # Errors
    /// A text for people that says which part is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut total: u64 = 0;
        let mut any = false;
        for part in text.split_ascii_whitespace() {
            any = true;
            let digits = part.trim_end_matches(|c: char| c.is_ascii_alphabetic());
            let scale = match &part[digits.len()..] {
                "" | "s" | "S" => 1,
                "m" | "M" => 60,
                "h" | "H" => 3_600,
                "d" | "D" => 86_400,
                _ => return Err(Self::complain(text, part)),
            };
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return Err(Self::complain(text, part));
            }
            let number: u64 = digits.parse().map_err(|_| Self::complain(text, part))?;
            total = number.checked_mul(scale).and_then(|n| total.checked_add(n)).ok_or_else(|| Self::complain(text, part))?;
        }
        if any { Ok(Self(total)) } else { Err("the period is empty; write for example \"4d 5h\"".into()) }
    }

    fn complain(text: &str, part: &str) -> String {
        format!("`{text}` is not a period: `{part}` is not a number followed by d, h, m or s; write for example \"4d 5h\"")
    }

    /// As a [`Duration`].
    pub fn duration(self) -> Duration {
        Duration::from_secs(self.0)
    }
}

impl fmt::Display for Expiration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        let mut wrote = false;
        for (unit, size) in [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)] {
            if rest >= size {
                write!(f, "{}{}{unit}", if wrote { " " } else { "" }, rest / size)?;
                rest %= size;
                wrote = true;
            }
        }
        if wrote { Ok(()) } else { f.write_str("0s") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_read() {
        assert_eq!(stamp("1970-01-01T00:00:01.5Z"), Some(1_500_000));
        assert_eq!(stamp("1970-01-01T02:00:00+02:00"), Some(0));
        assert_eq!(stamp("2026-01-31"), None);
        assert_eq!(stamp("1969-01-01T00:00:00Z"), None);
    }

    #[test]
    fn y8_periods_add_up_and_print_as_written() {
        assert_eq!(Expiration::parse("4d 5h"), Ok(Expiration(4 * 86_400 + 5 * 3_600)));
        assert_eq!(Expiration::parse(" 7D 7d 60 ").map(|e| e.0), Ok(14 * 86_400 + 60));
        assert_eq!(Expiration(4 * 86_400 + 5 * 3_600).to_string(), "4d 5h");
        for bad in ["4d5h", "1.5h", "-1h", "", " ", "d", "5x", "99999999999999999999d"] {
            assert!(Expiration::parse(bad).is_err(), "{bad}");
        }
    }
}
