use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Spreads waiting times. Quality does not matter, only that nodes and tasks differ.
#[derive(Debug)]
pub(crate) struct Jitter(u64);

impl Jitter {
    pub(crate) fn new() -> Self {
        // The standard library's hasher is seeded by the operating system.
        Self(RandomState::new().hash_one(0u8) | 1)
    }

    /// A time within `percent` percent of `middle`.
    pub(crate) fn around(&mut self, middle: Duration, percent: u32) -> Duration {
        // xorshift64, Marsaglia 2003.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let spread = u64::from(percent) * 2 + 1;
        let factor = 100 - u64::from(percent) + self.0 % spread;
        let nanos = u64::try_from(middle.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(nanos / 100 * factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_within_and_varies() {
        let mut jitter = Jitter::new();
        let times: Vec<Duration> = (0..1000)
            .map(|_| jitter.around(Duration::from_secs(1), 10))
            .collect();
        let allowed = Duration::from_millis(900)..=Duration::from_millis(1100);
        assert!(times.iter().all(|time| allowed.contains(time)));
        assert!(times.iter().any(|time| *time != times[0]));
    }
}
