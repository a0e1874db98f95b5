use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// The rule word by word: in every round every server's weight is added up, and who has as much as the heaviest looks at
/// its next slot, heavier ones first.
fn by_the_rule(pool: &[(u32, String, u16)], slots: u32) -> Vec<u32> {
    let mut ring = vec![RingSlot::NONE; slots as usize];
    let mut pool: Vec<_> = pool.iter().filter(|(.., weight)| *weight > 0).collect();
    pool.sort_by(|a, b| a.1.cmp(&b.1));
    pool.sort_by_key(|(.., weight)| Reverse(*weight));
    let entries: Vec<_> = pool.iter().map(|it| entry(it)).collect();
    let mut walkers: Vec<_> = entries.iter().map(Walker::new).collect();
    hand_out_shares(&mut walkers, slots);
    let ways = |it: &Walker<'_>| [0, 1, 2, 3].map(|n| Way::new(it.name, n, slots));
    let mut ways: Vec<[Way; WAYS]> = walkers.iter().map(ways).collect();
    let heaviest = walkers.iter().map(|w| w.weight).max().unwrap_or(0);
    let mut credits = vec![(0, 0); walkers.len()];
    while ring.contains(&RingSlot::NONE) && !walkers.is_empty() {
        for index in 0..walkers.len() {
            let (credit, looks) = &mut credits[index];
            *credit += walkers[index].weight;
            if *credit < heaviest {
                continue;
            }
            *credit -= heaviest;
            let way = &mut ways[index][*looks % WAYS];
            *looks += 1;
            let slot = way.at as usize;
            way.at = (way.at + way.skip) % slots;
            let free = ring.iter().filter(|id| **id == RingSlot::NONE).count();
            let needed = walkers.iter().map(|w| w.least().saturating_sub(w.taken));
            let walker = &walkers[index];
            let may = walker.taken < walker.least()
                || walker.taken < walker.share + walker.slack()
                    && free > needed.sum::<u32>() as usize;
            if may && ring[slot] == RingSlot::NONE {
                ring[slot] = walker.id;
                walkers[index].taken += 1;
            }
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

/// Part of the slots that move, beside those of a server that goes, for pools with names of their own.
fn collateral(servers: u16, slots: u32, pools: u16) -> Vec<f64> {
    let moved = |n: u16| {
        let all: Vec<_> = (0..u32::from(servers))
            .map(|id| (id, format!("pool{n}-{id}"), 100))
            .collect();
        let before = ring_of(&all, slots);
        let after = ring_of(&all[1..], slots);
        let moved = before.iter().zip(&after).filter(|(b, a)| b != a).count();
        f64::from(u32::try_from(moved).unwrap()) / f64::from(slots) - 1.0 / f64::from(servers)
    };
    let mut all: Vec<f64> = (0..pools).map(moved).collect();
    all.sort_by(f64::total_cmp);
    all
}

#[test]
fn removing_one_of_many_moves_little_else() {
    for (servers, slots, pools) in [
        (2, 4099, 25),
        (4, 4099, 25),
        (8, 4099, 25),
        (16, 4099, 25),
        (32, 4099, 25),
        (500, 65_537, 1),
    ] {
        let all = collateral(servers, slots, pools);
        let (median, worst) = (all[all.len() / 2], all[all.len() - 1]);
        assert!(
            median < 0.01,
            "{servers} servers: {median} of the slots moved"
        );
        assert!(
            worst < 0.016,
            "{servers} servers: {worst} of the slots moved"
        );
    }
}

proptest! {
    // The rule word by word is slow.
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn turns_are_those_of_the_rule(
        weights in prop_oneof![
            prop::collection::vec(0u16..1000, 1..10),
            prop::collection::vec(0u16..4, 1..40),
            prop::collection::vec(prop::sample::select(vec![0u16, 1, 10, 100]), 1..150),
        ],
        slots in prop::sample::select(vec![2u32, 13, 131]),
    ) {
        let pool = pool(&weights);
        prop_assert_eq!(ring_of(&pool, slots), by_the_rule(&pool, slots));
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
            let most = 1.0 + f64::from(SLACK).min(right / f64::from(SLOTS_PER_SLACK));
            prop_assert!((share - right).abs() < most, "{id}: {share} slots, {right} are right");
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
