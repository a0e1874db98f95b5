//! What the tests of the balancers share: pools as they are at some time, and randomness that a test can repeat.

use std::time::{Duration, Instant};

use proptest::{collection::vec, prelude::*};

use super::{Member, Standing};

/// A pool with these weights.
pub(super) fn standing(weights: &[u16], now: Instant) -> Standing {
    let members = weights.iter().map(|weight| Member {
        weight: *weight,
        ..Member::default()
    });
    let mut standing = Standing::new(members.collect(), Duration::ZERO);
    standing.refresh(now);
    standing
}

/// The same with some of them ejected.
pub(super) fn with_ejected(weights: &[u16], ejected: &[bool], now: Instant) -> Standing {
    let mut standing = standing(weights, now);
    for server in (0..weights.len()).filter(|server| ejected[*server]) {
        standing.member(server).ejected_until = Some(now + Duration::from_secs(1));
    }
    standing.refresh(now);
    standing
}

/// Weights and who is ejected.
pub(super) fn pools() -> impl Strategy<Value = (Vec<u16>, Vec<bool>)> {
    vec((0u16..20, any::<bool>()), 0..40).prop_map(|pool| pool.into_iter().unzip())
}

/// Marsaglia's xorshift.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}
