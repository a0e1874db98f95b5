use std::ops::{Add, Sub};
use std::time::Duration;

/// A point in time on the clock of whoever drives the machines: nanoseconds since a start of their choice. The clock never goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

impl Moment {
    /// The moment that is `elapsed` after the start; 584 years at most.
    pub fn after_start(elapsed: Duration) -> Self {
        Self(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
    }

    /// How long after `earlier` this is; zero if it is not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

impl Sub for Moment {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

/// The first of those moments that there are.
pub(crate) fn first(moments: impl IntoIterator<Item = Option<Moment>>) -> Option<Moment> {
    moments.into_iter().flatten().min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_end_is_passed() {
        let second = Duration::from_secs(1);
        let late = Moment::after_start(Duration::MAX);
        assert_eq!(late + second, late);
        assert_eq!(Moment::default() - late, Duration::ZERO);
        assert_eq!(Moment::default() + second - Moment::default(), second);
    }
}
