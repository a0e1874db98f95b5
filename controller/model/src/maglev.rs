//! Consistent selection after Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer",
//! NSDI 2016, section 3.4, with weights.

use lbfabric_abi::RingSlot;
use xxhash_rust::xxh3::xxh3_64_with_seed;

const OFFSET_SEED: u64 = 0x6f66_6673_6574;
const SKIP_SEED: u64 = 0x736b_6970;

/// A server that takes part.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// What stands in the ring.
    pub id: u32,
    /// What places it on the ring: unique among the entries.
    pub name: &'a str,
    /// Its share; 0 takes no part.
    pub weight: u16,
}

/// The server of each slot: every slot of a ring has one if any entry has weight, otherwise all are [`RingSlot::NONE`].
///
/// The result depends on the set of entries only, not on their order. `slots` is a prime.
///
/// Every server visits all slots in an order of its own and takes the next free one at its turn. In a round a server has
/// as many turns as its weight is of the largest, fractions carried over, until it has its share, which is right to less
/// than one slot. Most slots keep their server when another comes or goes.
pub fn ring(entries: &[Entry<'_>], slots: u32) -> Vec<u32> {
    let mut ring = vec![RingSlot::NONE; slots as usize];
    let mut walkers: Vec<_> = entries
        .iter()
        .filter(|entry| entry.weight > 0)
        .map(|entry| Walker::new(entry, slots))
        .collect();
    walkers.sort_by(|a, b| a.name.cmp(b.name));
    let Some(heaviest) = walkers.iter().map(|w| w.weight).max() else {
        return ring;
    };
    hand_out_shares(&mut walkers, slots);
    let mut free = slots;
    while free > 0 {
        for walker in walkers.iter_mut().filter(|w| w.share > 0) {
            walker.credit += walker.weight;
            if walker.credit < heaviest {
                continue;
            }
            walker.credit -= heaviest;
            walker.share -= 1;
            let slot = walker.next_free(&ring);
            ring[slot] = walker.id;
            free -= 1;
        }
    }
    ring
}

/// Gives every slot to somebody, by the method of the largest remainder.
fn hand_out_shares(walkers: &mut [Walker<'_>], slots: u32) {
    let total: u64 = walkers.iter().map(|w| u64::from(w.weight)).sum();
    let mut left = slots;
    for walker in walkers.iter_mut() {
        let exact = u64::from(slots) * u64::from(walker.weight);
        walker.share = u32::try_from(exact / total).expect("a share is at most the whole");
        walker.remainder = exact % total;
        left -= walker.share;
    }
    let mut by_remainder: Vec<_> = walkers.iter_mut().collect();
    by_remainder.sort_by_key(|w| std::cmp::Reverse(w.remainder));
    for walker in by_remainder.into_iter().take(left as usize) {
        walker.share += 1;
    }
}

/// A server's way through the slots: `offset`, `offset + skip`, … modulo the number of slots.
struct Walker<'a> {
    id: u32,
    name: &'a str,
    weight: u32,
    credit: u32,
    /// Slots still to take.
    share: u32,
    remainder: u64,
    slots: u32,
    at: u32,
    skip: u32,
}

impl<'a> Walker<'a> {
    fn new(entry: &Entry<'a>, slots: u32) -> Self {
        let below = |seed, limit: u32| {
            let hash = xxh3_64_with_seed(entry.name.as_bytes(), seed) % u64::from(limit.max(1));
            u32::try_from(hash).expect("a remainder is below its u32 divisor")
        };
        Self {
            id: entry.id,
            name: entry.name,
            weight: entry.weight.into(),
            credit: 0,
            share: 0,
            remainder: 0,
            slots,
            at: below(OFFSET_SEED, slots),
            skip: below(SKIP_SEED, slots - 1) + 1,
        }
    }

    fn next_free(&mut self, ring: &[u32]) -> usize {
        loop {
            let slot = self.at as usize;
            self.at = (self.at + self.skip) % self.slots;
            if ring[slot] == RingSlot::NONE {
                return slot;
            }
        }
    }
}

/// The smallest prime that is not below `n`.
pub(crate) fn next_prime(n: u32) -> u32 {
    let is_prime = |n: &u32| *n >= 2 && (2..=n.isqrt()).all(|d| !n.is_multiple_of(d));
    let mut candidates = n..=u32::MAX;
    candidates
        .find(is_prime)
        .expect("no ring is near the largest prime below 2^32")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn ring_of(pool: &[(u32, String, u16)], slots: u32) -> Vec<u32> {
        let entries: Vec<_> = pool
            .iter()
            .map(|(id, name, weight)| Entry {
                id: *id,
                name,
                weight: *weight,
            })
            .collect();
        ring(&entries, slots)
    }

    fn pool(weights: &[u16]) -> Vec<(u32, String, u16)> {
        (0u32..)
            .zip(weights)
            .map(|(id, weight)| (id, format!("s{id}"), *weight))
            .collect()
    }

    fn shares(ring: &[u32]) -> BTreeMap<u32, u32> {
        let mut shares = BTreeMap::new();
        for id in ring {
            *shares.entry(*id).or_default() += 1;
        }
        shares
    }

    #[test]
    fn sizes_are_the_documented_primes() {
        assert_eq!(next_prime(32 * 128), 4099);
        assert_eq!(next_prime(512 * 128), 65537);
        assert_eq!(next_prime(128), 131);
    }

    #[test]
    fn no_weight_no_server() {
        assert!(
            ring_of(&pool(&[0, 0]), 131)
                .iter()
                .all(|id| *id == RingSlot::NONE)
        );
        assert!(ring_of(&[], 131).iter().all(|id| *id == RingSlot::NONE));
    }

    #[test]
    fn removing_one_of_many_moves_little_else() {
        for (servers, slots) in [(10u16, 4099), (500, 65537)] {
            let all = pool(&vec![100; servers.into()]);
            let before = ring_of(&all, slots);
            let after = ring_of(&all[1..], slots);
            let moved = before.iter().zip(&after).filter(|(b, a)| b != a).count();
            let share = f64::from(u32::try_from(moved).unwrap()) / f64::from(slots);
            assert!(
                share < 1.0 / f64::from(servers) + 0.02,
                "{servers} servers: {share} of the slots moved"
            );
        }
    }

    proptest! {
        #[test]
        fn shares_follow_weights(weights in prop::collection::vec(0u16.., 1..32)) {
            let total: u32 = weights.iter().map(|w| u32::from(*w)).sum();
            prop_assume!(total > 0);
            let shares = shares(&ring_of(&pool(&weights), 4099));
            for (id, weight) in (0u32..).zip(&weights) {
                let right = 4099.0 * f64::from(*weight) / f64::from(total);
                let share = f64::from(*shares.get(&id).unwrap_or(&0));
                prop_assert!((share - right).abs() < 1.0, "{id}: {share} slots, {right} are right");
            }
        }

        #[test]
        fn order_does_not_matter(
            weights in prop::collection::vec(0u16..200, 1..20), rotation in 0usize..20,
        ) {
            let mut pool = pool(&weights);
            let before = ring_of(&pool, 1031);
            pool.rotate_left(rotation % weights.len());
            prop_assert_eq!(before, ring_of(&pool, 1031));
        }

        #[test]
        fn every_slot_has_a_server_with_weight(weights in prop::collection::vec(0u16..3, 1..20)) {
            prop_assume!(weights.iter().any(|w| *w > 0));
            for id in ring_of(&pool(&weights), 1031) {
                prop_assert!(weights[id as usize] > 0);
            }
        }
    }
}
