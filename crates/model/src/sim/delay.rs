//! How long something takes in a simulation: always the same, or spread out as times of real services are.

use std::time::Duration;

use super::dice::Dice;

/// A fixed time, or a lognormal distribution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Delay {
    /// Always this long.
    Fixed(Duration),
    /// Half of the draws are shorter than `p50`, one in a hundred is longer than `p99`.
    Spread {
        /// The median.
        p50: Duration,
        /// The 99th percentile.
        p99: Duration,
    },
}

/// Nothing takes longer.
const LONGEST_MS: f64 = 86_400_000.0;
/// How many standard deviations the 99th percentile of a normal distribution lies above its middle.
const Z99: f64 = 2.326_347_874;

impl Delay {
    /// Reads `100` or `50..200` in milliseconds: fixed, or median and 99th percentile.
    ///
    /// # Errors
    /// A text for people.
    pub fn parse_ms(text: &str) -> Result<Self, String> {
        let Some((low, high)) = text.split_once("..") else { return Ok(Self::Fixed(millis(text)?)) };
        let (p50, p99) = (millis(low)?, millis(high)?);
        if p50.is_zero() || p99 < p50 {
            return Err(format!("`{text}`: write the median and then the 99th percentile, for example 50..200; the median is above 0"));
        }
        Ok(if p50 == p99 { Self::Fixed(p50) } else { Self::Spread { p50, p99 } })
    }

    /// One draw.
    pub fn draw(self, dice: &mut Dice) -> Duration {
        match self {
            Self::Fixed(time) => time,
            Self::Spread { p50, p99 } => {
                let sigma = (p99.as_secs_f64() / p50.as_secs_f64()).ln() / Z99;
                let ms = p50.as_secs_f64() * 1e3 * (sigma * dice.normal()).exp();
                Duration::from_secs_f64(ms.min(LONGEST_MS) / 1e3)
            }
        }
    }
}

impl std::fmt::Display for Delay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        match self {
            Self::Fixed(time) => write!(f, "{} ms", ms(*time)),
            Self::Spread { p50, p99 } => write!(f, "{}..{} ms", ms(*p50), ms(*p99)),
        }
    }
}

fn millis(text: &str) -> Result<Duration, String> {
    let number: Option<f64> = text.trim().parse().ok().filter(|ms: &f64| (0.0..=LONGEST_MS).contains(ms));
    number.map(|ms| Duration::from_secs_f64(ms / 1e3)).ok_or_else(|| {
        format!(
            "`{text}` is not a number of milliseconds up to a day; write for example 100, or 50..200 for a median and a 99th percentile"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::dice::Stream;
    use super::*;

    #[test]
    fn delays_are_read_or_refused() {
        assert_eq!(Delay::parse_ms("100"), Ok(Delay::Fixed(Duration::from_millis(100))));
        assert_eq!(Delay::parse_ms("0.5"), Ok(Delay::Fixed(Duration::from_micros(500))));
        assert_eq!(Delay::parse_ms("50..50"), Ok(Delay::Fixed(Duration::from_millis(50))));
        assert_eq!(Delay::parse_ms("50..200").expect("reads").to_string(), "50..200 ms");
        for bad in ["", "x", "-1", "NaN", "inf", "200..50", "0..5", "1..", "..", "1e12", "50...200"] {
            assert!(Delay::parse_ms(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_spread_has_its_median_and_its_99th_percentile() {
        let delay = Delay::parse_ms("50..200").expect("reads");
        let mut dice = Dice::new(3, Stream::Services);
        let mut draws: Vec<_> = (0..10_000).map(|_| delay.draw(&mut dice).as_secs_f64() * 1e3).collect();
        draws.sort_by(f64::total_cmp);
        assert!((45.0..55.0).contains(&draws[5_000]), "{}", draws[5_000]);
        assert!((170.0..230.0).contains(&draws[9_900]), "{}", draws[9_900]);
    }
}
