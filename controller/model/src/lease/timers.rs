use std::time::Duration;

use thiserror::Error;

/// How long leases last, and what follows from it.
///
/// ```text
/// owner's clock     ├─ asks ──── lease ────┤ silent
/// leader's clock      ├─ hears ─── lease ────┼ margin ┤ may give away
///                     └──────── fence ────────────────┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timers {
    lease: Duration,
    renew_every: Duration,
    margin: Duration,
    steady_after: Duration,
}

/// Timers that do not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidTimers {
    /// One lost renewal would cost the lease.
    #[error("a lease of {lease:?} needs renewals every {max:?} or more often, not every {renew_every:?}", max = *lease / 4)]
    TooFewRenewals {
        /// The lease.
        lease: Duration,
        /// Between renewals.
        renew_every: Duration,
    },
    /// Clocks drift by more.
    #[error("a lease of {lease:?} needs a margin of {min:?} or more, not {margin:?}", min = *lease / 50)]
    TooSmallMargin {
        /// The lease.
        lease: Duration,
        /// The margin.
        margin: Duration,
    },
}

// === impl Timers ===

impl Default for Timers {
    /// The timers of `docs/adr/2026-11-27-lease-timers.md`.
    fn default() -> Self {
        Self {
            lease: Duration::from_millis(120),
            renew_every: Duration::from_millis(20),
            margin: Duration::from_millis(10),
            steady_after: Duration::from_secs(10),
        }
    }
}

impl Timers {
    /// Checks that a lost renewal does not cost the lease, and that clocks may differ by 2 %, which is more than any do that work.
    pub fn new(
        lease: Duration,
        renew_every: Duration,
        margin: Duration,
    ) -> Result<Self, InvalidTimers> {
        if renew_every.is_zero() || renew_every > lease / 4 {
            return Err(InvalidTimers::TooFewRenewals { lease, renew_every });
        }
        if margin < lease / 50 {
            return Err(InvalidTimers::TooSmallMargin { lease, margin });
        }
        Ok(Self {
            lease,
            renew_every,
            margin,
            ..Self::default()
        })
    }

    /// The same, with another time for which a node has to be there before VIPs move to it that are served elsewhere.
    #[must_use]
    pub fn with_steady_after(self, steady_after: Duration) -> Self {
        Self {
            steady_after,
            ..self
        }
    }

    /// How long an owner may answer, from when it asked.
    pub fn lease(self) -> Duration {
        self.lease
    }

    /// How often owners ask.
    pub fn renew_every(self) -> Duration {
        self.renew_every
    }

    /// After how long nothing is left of a lease by anybody's clock.
    pub fn fence(self) -> Duration {
        self.lease + self.margin
    }

    /// How long a node has to be there before VIPs move to it that are served elsewhere.
    pub fn steady_after(self) -> Duration {
        self.steady_after
    }

    /// An owner with no more of its lease left asks controllers whether there is a leader: two renewals are late.
    pub fn ask_below(self) -> Duration {
        self.lease.saturating_sub(self.renew_every * 2)
    }

    /// Whoever was not heard for so long counts as gone, where nothing but speed depends on it.
    pub fn gone_after(self) -> Duration {
        self.lease / 2
    }
}

#[cfg(test)]
impl Timers {
    /// Any timers, sound or not, in units of the checked model's clocks.
    pub(super) fn of_units(lease: u64, margin: u64) -> Self {
        Self {
            lease: Duration::from_nanos(lease),
            renew_every: Duration::from_nanos(1),
            margin: Duration::from_nanos(margin),
            steady_after: Duration::from_secs(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn a_late_renewal_and_a_slow_clock_are_provided_for() {
        let timers = Timers::default();
        let Timers {
            lease,
            renew_every,
            margin,
            ..
        } = timers;
        assert_eq!(Timers::new(lease, renew_every, margin), Ok(timers));
        assert!(matches!(
            Timers::new(MS(100), MS(26), MS(10)),
            Err(InvalidTimers::TooFewRenewals { .. })
        ));
        assert!(Timers::new(MS(100), MS(0), MS(10)).is_err());
        let error = Timers::new(MS(100), MS(25), MS(1)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a lease of 100ms needs a margin of 2ms or more, not 1ms"
        );
    }
}
