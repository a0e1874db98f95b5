use std::{
    ops::{Add, Sub},
    time::Duration,
};

/// A time by one machine's clock, which runs on while the machine sleeps (`CLOCK_BOOTTIME`) and which nobody sets. Moments of two machines are
/// never compared: what goes from one to the other is a duration, or a moment that comes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

// === impl Moment ===

impl Moment {
    /// From the clock's nanoseconds.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// The clock's nanoseconds, as the XDP program compares them.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long ago another one was; zero if it is still to come.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(nanos(by)))
    }
}

impl Sub<Duration> for Moment {
    type Output = Self;

    fn sub(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(by)))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
