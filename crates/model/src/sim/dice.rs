//! Seeded draws, so that a simulation can be told again. The caller brings the seed.

/// A sequence of draws.
#[derive(Debug, Clone)]
pub struct Dice(u64);

/// What a sequence is for: sequences of one seed do not repeat each other, and drawing more from one does not shift another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants say it")]
pub enum Stream {
    Arrivals = 1,
    Services = 2,
    Starts = 3,
    Ids = 4,
}

impl Dice {
    /// The sequence for `stream` of `seed`.
    pub fn new(seed: u64, stream: Stream) -> Self {
        let mut dice = Self(seed ^ (stream as u64).wrapping_mul(0xd1b5_4a32_d192_ed03));
        // Neighbouring seeds differ in few bits at first.
        dice.draw();
        dice
    }

    /// The next 64 bits (Steele, Lea and Flood's `SplitMix64`).
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Between 0 and 1, never either.
    pub fn unit(&mut self) -> f64 {
        ((self.draw() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// Gaps of a Poisson process of rate 1.
    pub fn exponential(&mut self) -> f64 {
        -self.unit().ln()
    }

    /// The standard normal distribution (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_repeat_and_have_the_right_middle() {
        let all = |mut dice: Dice| (0..4).map(|_| dice.draw()).collect::<Vec<_>>();
        assert_eq!(all(Dice::new(7, Stream::Starts)), all(Dice::new(7, Stream::Starts)));
        assert_ne!(all(Dice::new(7, Stream::Starts)), all(Dice::new(7, Stream::Ids)));
        assert_ne!(all(Dice::new(7, Stream::Starts)), all(Dice::new(8, Stream::Starts)));
        let mut dice = Dice::new(1, Stream::Services);
        let mean = |draw: &mut dyn FnMut() -> f64| (0..20_000).map(|_| draw()).sum::<f64>() / 20_000.0;
        assert!((mean(&mut || dice.unit()) - 0.5).abs() < 0.02);
        assert!((mean(&mut || dice.exponential()) - 1.0).abs() < 0.05);
        assert!(mean(&mut || dice.normal()).abs() < 0.05);
    }
}
