use std::time::Duration;

/// Spreads times apart, from a seed that comes from outside: the same seed gives the same times. Quality does not matter, only
/// that neighbors differ.
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    /// Any seed will do, also one of two that differ by one bit.
    pub(crate) fn new(seed: u64) -> Self {
        // Fibonacci hashing spreads small seeds; xorshift stays at zero.
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A time from `least` to `most` percent of `whole`, both included.
    pub(crate) fn part(&mut self, whole: Duration, least: u8, most: u8) -> Duration {
        // xorshift64, Marsaglia 2003.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let steps = u32::from(most.saturating_sub(least)) * 100 + 1;
        // The high bits: the low ones of few steps repeat.
        let step = u32::try_from((self.0 >> 32) % u64::from(steps)).unwrap_or(0);
        whole / 10_000 * (u32::from(least) * 100 + step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_within_both_ends_and_reach_them() {
        let mut chance = Chance::new(7);
        let whole = Duration::from_secs(1);
        let parts: Vec<Duration> = (0..100_000).map(|_| chance.part(whole, 75, 100)).collect();
        let (least, most) = (parts.iter().min(), parts.iter().max());
        assert_eq!(least, Some(&Duration::from_millis(750)));
        assert_eq!(most, Some(&Duration::from_secs(1)));
    }

    #[test]
    fn seeds_differ() {
        let part = |seed| Chance::new(seed).part(Duration::from_secs(100), 0, 100);
        assert_ne!(part(1), part(2));
    }
}
