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
    let mut free = FreeSlots::all(slots);
    let mut rounds = Rounds::new(&walkers, heaviest);
    let mut turns = Vec::new();
    for round in 0.. {
        if !rounds.take(round, &mut turns) {
            break;
        }
        for index in turns.drain(..) {
            let walker = &mut walkers[index as usize];
            let slot = walker.take_next(&mut free);
            ring[slot as usize] = walker.id;
            if let Some(round) = walker.turn_after(heaviest) {
                rounds.put(round, index);
            }
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
    /// Slots that it takes in all.
    share: u32,
    remainder: u64,
    taken: u32,
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
            share: 0,
            remainder: 0,
            taken: 0,
            slots,
            at: below(OFFSET_SEED, slots),
            skip: below(SKIP_SEED, slots - 1) + 1,
        }
    }

    fn take_next(&mut self, free: &mut FreeSlots) -> u32 {
        self.taken += 1;
        loop {
            let slot = self.at;
            // Both are below `slots`, which is far below 2^31.
            self.at += self.skip;
            if self.at >= self.slots {
                self.at -= self.slots;
            }
            if free.take(slot) {
                return slot;
            }
        }
    }

    /// The round of its next turn, counted from 0, unless it has its share. It comes when the weights of the rounds so far
    /// add up to one more of the heaviest.
    fn turn_after(&self, heaviest: u32) -> Option<u32> {
        (self.taken < self.share).then(|| self.round_of(self.taken + 1, heaviest))
    }

    fn round_of(&self, turn: u32, heaviest: u32) -> u32 {
        let rounds = (u64::from(turn) * u64::from(heaviest)).div_ceil(self.weight.into());
        u32::try_from(rounds - 1).expect("a share is about slots * weight / sum of weights")
    }
}

/// A bit for each slot that nobody has yet: small enough for the processor's nearest cache, as the last slots of a ring are
/// looked for long.
struct FreeSlots(Vec<u64>);

impl FreeSlots {
    fn all(slots: u32) -> Self {
        Self(vec![u64::MAX; slots.div_ceil(u64::BITS) as usize])
    }

    /// Whether it was free.
    fn take(&mut self, slot: u32) -> bool {
        let (word, bit) = (
            &mut self.0[(slot / u64::BITS) as usize],
            1 << (slot % u64::BITS),
        );
        let was_free = *word & bit != 0;
        *word &= !bit;
        was_free
    }
}

/// Who has a turn in which round: a list for each round, linked through the walkers, each of which waits for one turn.
struct Rounds {
    /// The first of each round, or [`Rounds::END`].
    first: Vec<u32>,
    /// The one after each walker.
    next: Vec<u32>,
}

impl Rounds {
    const END: u32 = u32::MAX;

    fn new(walkers: &[Walker<'_>], heaviest: u32) -> Self {
        let with_share = || (0..).zip(walkers).filter(|(_, walker)| walker.share > 0);
        let last = with_share().map(|(_, walker)| walker.round_of(walker.share, heaviest));
        let mut rounds = Self {
            first: vec![Self::END; last.max().map_or(0, |last| last as usize + 1)],
            next: vec![Self::END; walkers.len()],
        };
        for (index, walker) in with_share() {
            rounds.put(walker.round_of(1, heaviest), index);
        }
        rounds
    }

    fn put(&mut self, round: u32, index: u32) {
        self.next[index as usize] = std::mem::replace(&mut self.first[round as usize], index);
    }

    /// Appends those with a turn in a round, in their order; false after the last round.
    fn take(&mut self, round: u32, turns: &mut Vec<u32>) -> bool {
        let Some(first) = self.first.get(round as usize) else {
            return false;
        };
        let mut at = *first;
        while at != Self::END {
            turns.push(at);
            at = self.next[at as usize];
        }
        // Who came last is first in the list: mostly this is the reverse order.
        turns.reverse();
        turns.sort_unstable();
        true
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

    /// The rule word by word: in every round every server's weight is added up, and who has as much as the heaviest takes
    /// its next free slot.
    fn by_the_rule(pool: &[(u32, String, u16)], slots: u32) -> Vec<u32> {
        let mut ring = vec![RingSlot::NONE; slots as usize];
        let mut pool: Vec<_> = pool.iter().filter(|(.., weight)| *weight > 0).collect();
        pool.sort_by(|a, b| a.1.cmp(&b.1));
        let entries: Vec<_> = pool.iter().map(|it| entry(it)).collect();
        let mut walkers: Vec<_> = entries.iter().map(|it| Walker::new(it, slots)).collect();
        let heaviest = walkers.iter().map(|w| w.weight).max().unwrap_or(0);
        hand_out_shares(&mut walkers, slots);
        let mut credits = vec![0; walkers.len()];
        while ring.contains(&RingSlot::NONE) && !walkers.is_empty() {
            for (walker, credit) in walkers.iter_mut().zip(&mut credits) {
                if walker.taken == walker.share {
                    continue;
                }
                *credit += walker.weight;
                if *credit < heaviest {
                    continue;
                }
                *credit -= heaviest;
                walker.taken += 1;
                while ring[walker.at as usize] != RingSlot::NONE {
                    walker.at = (walker.at + walker.skip) % slots;
                }
                ring[walker.at as usize] = walker.id;
            }
        }
        ring
    }

    fn entry((id, name, weight): &(u32, String, u16)) -> Entry<'_> {
        Entry {
            id: *id,
            name,
            weight: *weight,
        }
    }

    fn ring_of(pool: &[(u32, String, u16)], slots: u32) -> Vec<u32> {
        let entries: Vec<_> = pool.iter().map(entry).collect();
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
        fn turns_are_those_of_the_rule(
            weights in prop_oneof![
                prop::collection::vec(0u16.., 1..40),
                prop::collection::vec(0u16..4, 1..200),
                prop::collection::vec(prop::sample::select(vec![0u16, 1, 100, 65_535]), 1..300),
            ],
            slots in prop::sample::select(vec![2u32, 13, 131, 1031]),
        ) {
            let pool = pool(&weights);
            prop_assert_eq!(ring_of(&pool, slots), by_the_rule(&pool, slots));
        }

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
