//! What traffic looks like, in one line: `10x5m,0..100/60s,20~80/24h`. The grammar and the arrivals that follow from it.

use std::time::Duration;

use super::Arrival;
use super::dice::{Dice, Stream};
use crate::time::Tick;

/// Requests per second over time.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Part {
    shape: Shape,
    /// Seconds.
    long: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Shape {
    Steady(f64),
    Ramp(f64, f64),
    /// From the first rate up to the second and back, once.
    Wave(f64, f64),
}

/// What is wrong with a profile, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The first byte that is wrong.
    pub at: usize,
    /// How many bytes are.
    pub len: usize,
    /// What is wrong, and how to mend it.
    pub what: String,
}

/// Whether requests come as strangers send them or like a clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spacing {
    /// Independent of each other (a Poisson process).
    Poisson,
    /// Evenly spaced at the momentary rate.
    Even,
}

/// Requests per second, at most.
const FASTEST: f64 = 100_000.0;
/// Seconds, at most: 31 days.
pub(super) const LONGEST: f64 = 31.0 * 86_400.0;
/// Parts, at most.
const MOST_PARTS: usize = 1_000;

impl Profile {
    /// Reads a profile; the last part may leave out how long it lasts, which is `rest` then.
    ///
    /// # Errors
    /// The first mistake.
    pub fn parse(text: &str, rest: Duration) -> Result<Self, Mistake> {
        let mut parts = Vec::new();
        let mut at = 0;
        let count = text.split(',').count();
        if count > MOST_PARTS {
            return Err(mistake(0, text.len(), format!("{count} parts are too many: at most {MOST_PARTS}")));
        }
        for (n, piece) in text.split(',').enumerate() {
            parts.push(part(piece, at, (n + 1 == count).then_some(rest))?);
            at += piece.len() + 1;
        }
        let profile = Self { parts };
        if profile.seconds() > LONGEST {
            return Err(mistake(0, text.len(), "the parts last longer than 31 days together; shorten them".into()));
        }
        Ok(profile)
    }

    fn seconds(&self) -> f64 {
        self.parts.iter().map(|part| part.long).sum()
    }

    /// How long it lasts.
    pub fn long(&self) -> Duration {
        Duration::from_secs_f64(self.seconds())
    }

    /// How many requests are to be expected.
    pub fn expected(&self) -> f64 {
        self.parts.iter().map(|part| part.area(part.long)).sum()
    }

    /// The arrivals; the same seed gives the same ones.
    pub fn arrivals(&self, spacing: Spacing, seed: u64) -> Arrivals {
        let area = if spacing == Spacing::Even { -0.5 } else { 0.0 };
        Arrivals { parts: self.parts.clone(), spacing, dice: Dice::new(seed, Stream::Arrivals), at: 0, area, before: 0.0, begun: 0.0 }
    }
}

impl Part {
    /// Requests in its first `t` seconds.
    fn area(&self, t: f64) -> f64 {
        match self.shape {
            Shape::Steady(rate) => rate * t,
            Shape::Ramp(from, to) => from * t + (to - from) * t * t / (2.0 * self.long),
            Shape::Wave(low, high) => {
                let turn = std::f64::consts::TAU / self.long;
                f64::midpoint(low, high) * t - (high - low) / 2.0 * (turn * t).sin() / turn
            }
        }
    }

    /// When `area` requests have come.
    fn when(&self, area: f64) -> f64 {
        match self.shape {
            Shape::Steady(rate) => area / rate,
            Shape::Ramp(from, to) => {
                let slope = (to - from) / self.long;
                2.0 * area / (from + (from * from + 2.0 * slope * area).max(0.0).sqrt())
            }
            Shape::Wave(..) => {
                let (mut low, mut high) = (0.0, self.long);
                for _ in 0..40 {
                    let middle = f64::midpoint(low, high);
                    if self.area(middle) < area { low = middle } else { high = middle }
                }
                high
            }
        }
    }
}

/// The arrivals of a profile, in order.
#[derive(Debug, Clone)]
pub struct Arrivals {
    parts: Vec<Part>,
    spacing: Spacing,
    dice: Dice,
    /// The part that is being played.
    at: usize,
    /// Requests up to the last arrival, were they not whole.
    area: f64,
    /// Requests before the part.
    before: f64,
    /// When the part began, in seconds.
    begun: f64,
}

impl Iterator for Arrivals {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        self.area += match self.spacing {
            Spacing::Poisson => self.dice.exponential(),
            Spacing::Even => 1.0,
        };
        loop {
            let part = self.parts.get(self.at)?;
            let whole = part.area(part.long);
            if self.area < self.before + whole {
                let t = self.begun + part.when(self.area - self.before).clamp(0.0, part.long);
                return Some(Arrival { at: Tick((t * 1e6) as u64), service: None });
            }
            self.before += whole;
            self.begun += part.long;
            self.at += 1;
        }
    }
}

fn mistake(at: usize, len: usize, what: String) -> Mistake {
    Mistake { at, len: len.max(1), what }
}

/// `RATE`, `RATExTIME`, `RATE..RATE/TIME`, `RATE~RATE/TIME`, with spaces around.
fn part(piece: &str, at: usize, rest: Option<Duration>) -> Result<Part, Mistake> {
    let text = piece.trim();
    let at = at + (piece.len() - piece.trim_start().len());
    if text.is_empty() {
        return Err(mistake(at, 0, "a part is missing; write for example `10x5m,100x1m`".into()));
    }
    let (rates, long) = match text.split_once('/').or_else(|| text.split_once('x')) {
        Some((rates, time)) => (rates, seconds(time, at + rates.len() + 1)?),
        None => (text, rest.ok_or_else(|| endless(text, at))?.as_secs_f64()),
    };
    let pair = |sign: &str| rates.split_once(sign).map(|(a, b)| Ok::<_, Mistake>((rate(a, at)?, rate(b, at + a.len() + sign.len())?)));
    let shape = match (pair(".."), pair("~")) {
        (Some(ends), _) => ends.map(|(from, to)| Shape::Ramp(from, to))?,
        (None, Some(ends)) => ends.map(|(low, high)| Shape::Wave(low, high))?,
        (None, None) => Shape::Steady(rate(rates, at)?),
    };
    Ok(Part { shape, long })
}

fn endless(text: &str, at: usize) -> Mistake {
    let what = format!("`{text}` does not say how long it lasts, which only the last part may leave out; write for example `{text}x5m`");
    mistake(at, text.len(), what)
}

fn rate(text: &str, at: usize) -> Result<f64, Mistake> {
    let number: Option<f64> = text.trim().parse().ok().filter(|rate: &f64| (0.0..=FASTEST).contains(rate));
    number.ok_or_else(|| {
        let what =
            format!("`{text}` is not a number of requests per second from 0 to {FASTEST}; write for example `5`, `0..100/60s` or `10x5m`");
        mistake(at, text.len(), what)
    })
}

/// `500ms`, `60s`, `5m`, `1h30m`, `7d` in seconds.
fn seconds(text: &str, at: usize) -> Result<f64, Mistake> {
    let wrong = || mistake(at, text.len(), format!("`{text}` is not a time above 0 up to 31d; write for example `90s`, `5m` or `1h30m`"));
    let mut rest = text.trim();
    let mut sum = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let letters = rest[digits..].find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len() - digits);
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        let scale = match &rest[digits..digits + letters] {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            _ => return Err(wrong()),
        };
        sum += number * scale;
        rest = &rest[digits + letters..];
    }
    if sum > 0.0 && sum <= LONGEST { Ok(sum) } else { Err(wrong()) }
}

/// Reads a time as profiles write it.
///
/// # Errors
/// A text for people.
pub fn time(text: &str) -> Result<Duration, String> {
    seconds(text, 0).map(Duration::from_secs_f64).map_err(|mistake| mistake.what)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: Duration = Duration::from_mins(10);

    fn counts(text: &str, spacing: Spacing, each: u64) -> Vec<usize> {
        let profile = Profile::parse(text, REST).expect("reads");
        let mut counts = vec![0; usize::try_from(profile.long().as_secs().div_ceil(each)).expect("small")];
        let mut last = Tick(0);
        for arrival in profile.arrivals(spacing, 1) {
            assert!(arrival.at >= last, "in order");
            last = arrival.at;
            counts[usize::try_from(arrival.at.0 / (each * 1_000_000)).expect("small")] += 1;
        }
        counts
    }

    #[test]
    fn shapes_give_the_requests_that_they_promise() {
        assert_eq!(counts("5", Spacing::Even, 60), [300; 10]);
        assert_eq!(counts("0..100/60s", Spacing::Even, 30), [750, 2250]);
        assert_eq!(counts("10x10s, 0x10s ,100x10s", Spacing::Even, 10), [100, 0, 1000]);
        let wave = counts("0~100/100s", Spacing::Even, 25);
        assert_eq!(wave.iter().sum::<usize>(), 5000);
        assert!(wave[0] == wave[3] && wave[1] == wave[2] && wave[1] > 4 * wave[0], "{wave:?}");
        let random = counts("100x100s", Spacing::Poisson, 50);
        assert!(random.iter().all(|count| (4700..5300).contains(count)) && random[0] != 5000, "{random:?}");
    }

    #[test]
    fn ramps_may_fall_and_rates_may_be_zero() {
        assert_eq!(counts("100..0/60s", Spacing::Even, 30), [2250, 750]);
        assert_eq!(counts("0", Spacing::Poisson, 600), [0]);
        assert_eq!(counts("0..0/1s", Spacing::Poisson, 1), [0]);
        assert_eq!(counts("0.5x10s", Spacing::Even, 10), [5]);
    }

    #[test]
    fn mistakes_name_the_place() {
        let wrong = |text: &str| {
            let mistake = Profile::parse(text, REST).expect_err(text);
            (mistake.at, mistake.len)
        };
        assert_eq!(wrong("10x5m,abc"), (6, 3));
        assert_eq!(wrong("10x5m,20y3m"), (6, 5));
        assert_eq!(wrong("10x5q"), (3, 2));
        assert_eq!(wrong("10,20x5m"), (0, 2));
        assert_eq!(wrong("1..x/5m"), (3, 1));
        assert_eq!(wrong("5x0s"), (2, 2));
        for bad in
            ["", ",", "-1", "NaN", "inf", "1e9", "5x", "5x1", "5x99d", "x5m", "..", "1..2..3/1s", "5xms", "5x1m,", "5x-1s", "é", "5xé"]
        {
            assert!(Profile::parse(bad, REST).is_err(), "{bad}");
        }
        assert!(Profile::parse(&"1x1s,".repeat(2_000), REST).is_err());
    }

    #[test]
    fn times_add_up() {
        assert_eq!(time("1h30m"), Ok(Duration::from_mins(90)));
        assert_eq!(time("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(time("1.5s"), Ok(Duration::from_millis(1500)));
    }
}
