//! The protection of a service: who may use it, and how many new flows it takes.

use crate::Address;

/// Who may use a service that nobody's list names, and how many new flows there may be. `GUARDS[id]`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// All of them together.
    pub flows: RateLimit,
    /// Those of one client address.
    pub source_flows: RateLimit,
    /// [`SourcePrefix::ALLOWED`] or [`SourcePrefix::DENIED`]: clients that no prefix in `SOURCE_RULES` matches.
    pub others: u32,
    /// Zero.
    pub zero: u32,
}

/// A token bucket, by the moment at which it will be full again: the generic cell rate algorithm (ITU-T I.371, virtual
/// scheduling). One word of state, zero at the beginning, in [`TOKEN_UNITS`] of a nanosecond.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateLimit {
    /// The time that one token takes to come back; 0: without limit.
    pub interval: u64,
    /// The time that all tokens take.
    pub depth: u64,
}

/// Parts of a nanosecond that token buckets count in: rates up to [`NEW_FLOWS_MAX`](crate::NEW_FLOWS_MAX) come out to a
/// thousandth, and a word lasts for 36 years.
pub const TOKEN_UNITS: u64 = 1 << 4;

/// A client or many, to a service: the key data of an LPM trie.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourcePrefix {
    /// The guard's id, and [`SourcePrefix::IPV4`].
    pub guard: u32,
    /// The clients' address.
    pub address: Address,
}

/// Clients whose token buckets a set holds.
pub const SOURCE_WAYS: usize = 4;

/// Token buckets of clients, one cache line. `SOURCE_TOKENS[hash & mask]`.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceTokens {
    /// The clients' and services' keyed hashes; zero where there is none.
    pub tags: [u64; SOURCE_WAYS],
    /// Their buckets, as [`RateLimit::take`] leaves them.
    pub full_at: [u64; SOURCE_WAYS],
}

// === impl RateLimit ===

impl RateLimit {
    /// A bucket that gains `per_second` tokens, at least 1, and holds `burst`, at least 1.
    pub const fn new(per_second: u32, burst: u32) -> Self {
        let interval = 1_000_000_000 * TOKEN_UNITS / per_second as u64;
        Self {
            interval,
            depth: interval * burst as u64,
        }
    }

    /// A bucket that is further from full than this and all its tokens was left by a larger limit, and counts as full. What other
    /// CPUs have read of the clock meanwhile is far less.
    const FOREIGN: u64 = 1_000_000_000 * TOKEN_UNITS;

    /// Whether it limits anything.
    #[inline(always)]
    pub const fn is_set(&self) -> bool {
        self.interval != 0
    }

    /// The bucket after a token has been taken, none if it is empty. `full_at` is the bucket before, `now` of the monotonic
    /// clock, in nanoseconds.
    #[inline(always)]
    pub const fn take(&self, full_at: u64, monotonic_ns: u64) -> Option<u64> {
        let now = monotonic_ns * TOKEN_UNITS;
        let is_foreign = full_at > now + self.depth + Self::FOREIGN;
        let from = if full_at > now && !is_foreign {
            full_at
        } else {
            now
        };
        let next = from + self.interval;
        if next - now > self.depth {
            return None;
        }
        Some(next)
    }
}

// === impl SourcePrefix ===

impl SourcePrefix {
    /// Bits before the address.
    pub const ADDRESS_AT: u32 = 32;
    /// All bits, as a lookup needs.
    pub const BITS: u32 = 160;
    /// In `guard`: of IPv4 addresses. The prefix of all IPv6 addresses would hold them too, as they stand in the maps.
    pub const IPV4: u32 = 1 << 31;
    /// What a rule says.
    pub const ALLOWED: u32 = 1;
    /// As above.
    pub const DENIED: u32 = 2;

    /// A client, to a service.
    #[inline(always)]
    pub const fn new(guard: u32, address: Address) -> Self {
        let family = match address.ipv4_word() {
            Some(_) => Self::IPV4,
            None => 0,
        };
        Self {
            guard: guard | family,
            address,
        }
    }
}

const _: () = assert!(size_of::<Guard>() == 40 && size_of::<RateLimit>() == 16);
const _: () = assert!(size_of::<SourcePrefix>() == 20 && size_of::<SourceTokens>() == 64);
const _: () = assert!(crate::SERVICES_MAX <= SourcePrefix::IPV4);
const _: () = assert!(crate::NEW_FLOWS_MAX as u64 <= 1_000_000_000 * TOKEN_UNITS / 1000);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    proptest! {
        /// Against a bucket of counted tokens: never more than the burst and what has come since, and never fewer by more than
        /// one.
        #[test]
        fn as_many_as_come(per_second in 1u32..=10_000_000, burst in 1u32..=1000, gaps in prop::collection::vec(0u32..200_000_000, 1..200)) {
            let limit = RateLimit::new(per_second, burst);
            let (mut full_at, mut now) = (0, 77 * SECOND);
            let (mut taken, mut secs) = (0.0, 0.0);
            let mut tokens = f64::from(burst);
            for gap in gaps {
                now += u64::from(gap);
                let gap = f64::from(gap) / 1e9;
                secs += gap;
                tokens = (tokens + gap * f64::from(per_second)).min(f64::from(burst));
                match limit.take(full_at, now) {
                    Some(next) => {
                        full_at = next;
                        taken += 1.0;
                        prop_assert!(tokens > 0.98, "{tokens}");
                        tokens -= 1.0;
                    }
                    None => prop_assert!(tokens < 1.02, "{tokens}"),
                }
            }
            let most = f64::from(burst) + secs * f64::from(per_second) * 1.001;
            prop_assert!(taken <= most + 0.01);
        }
    }

    #[test]
    fn a_burst_at_once_and_then_the_rate() {
        let limit = RateLimit::new(10, 3);
        let mut full_at = 0;
        let mut at = |now| match limit.take(full_at, now) {
            Some(next) => {
                full_at = next;
                true
            }
            None => false,
        };
        assert_eq!(
            [at(SECOND), at(SECOND), at(SECOND), at(SECOND)],
            [true, true, true, false]
        );
        assert!(!at(SECOND + SECOND / 10 - 1));
        assert!(at(SECOND + SECOND / 10));
        assert!(!at(SECOND + SECOND / 10));
    }

    #[test]
    fn what_a_larger_limit_has_left_locks_nobody_out() {
        let (large, small) = (RateLimit::new(1, 1_000), RateLimit::new(100, 10));
        let now = 50 * SECOND;
        let full_at = (0..1_000).fold(0, |full_at, _| large.take(full_at, now).unwrap());
        assert_eq!(large.take(full_at, now), None);
        let full_at = small.take(full_at, now).unwrap();
        // It is its own from now on.
        let full_at = (1..10).fold(full_at, |full_at, _| small.take(full_at, now).unwrap());
        assert_eq!(small.take(full_at, now), None);
        // A CPU that has read the clock a little earlier is no reason to begin anew.
        assert_eq!(small.take(full_at, now - SECOND / 100), None);
    }

    #[test]
    fn the_families_of_clients_are_told_apart() {
        let v4 = SourcePrefix::new(5, Address::from_ipv4([10, 0, 0, 1]));
        let v6 = SourcePrefix::new(5, Address([0x20; 16]));
        assert_eq!((v4.guard, v6.guard), (5 | SourcePrefix::IPV4, 5));
    }
}
