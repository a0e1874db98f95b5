use proptest::{collection::vec, prelude::*};

use super::*;
use crate::balance::simulation::{Random, pools, standing, with_ejected};

const DECAY: Duration = Duration::from_secs(10);

#[test]
fn a_peak_counts_at_once_and_fades() {
    let begun = Instant::now();
    let mut latency = Latency::default();
    assert!(latency.cost(0, begun, DECAY) < 1.0);
    // Whoever has not answered yet is not asked again by everybody.
    assert!(latency.cost(1, begun, DECAY) > 1e9);
    latency.observe(Duration::from_millis(1), begun, DECAY);
    latency.observe(Duration::from_millis(100), begun, DECAY);
    assert!(latency.cost(0, begun, DECAY) > 99e6);
    assert!(latency.cost(3, begun, DECAY) > 399e6);
    let later = begun + DECAY;
    let faded = latency.cost(0, later, DECAY);
    assert!((36e6..37e6).contains(&faded), "{faded}");
    latency.observe(Duration::from_millis(1), later, DECAY);
    let mean = latency.cost(0, later, DECAY);
    assert!((37e6..38e6).contains(&mean), "100 and 1, by age: {mean}");
    // Time that goes backwards between threads does no harm.
    latency.observe(Duration::from_millis(1), begun, DECAY);
    assert!(latency.cost(0, begun, DECAY).is_finite());
}

/// Servers with a latency each, at most `concurrent` requests at a time: how many each gets.
fn shares(weights: &[u16], millis: &[u64], concurrent: usize, requests: usize) -> Vec<usize> {
    let mut now = Instant::now();
    let standing = standing(weights, now);
    let mut random = Random::new(7);
    let mut latencies = vec![Latency::default(); weights.len()];
    let mut loads = vec![0u32; weights.len()];
    let mut counts = vec![0; weights.len()];
    let mut open: Vec<(Instant, usize)> = Vec::new();
    for _ in 0..requests {
        if open.len() == concurrent {
            let first = (0..open.len()).min_by_key(|at| open[*at].0).unwrap();
            let (done, server) = open.swap_remove(first);
            now = now.max(done);
            loads[server] -= 1;
            latencies[server].observe(Duration::from_millis(millis[server]), now, DECAY);
        }
        let cost = |server: usize| latencies[server].cost(loads[server], now, DECAY);
        let server = PeakEwma::choose(&standing, random.next(), |_| true, cost).unwrap();
        // No two take exactly as long.
        let jitter = Duration::from_micros(random.next() % 1000);
        open.push((now + Duration::from_millis(millis[server]) + jitter, server));
        loads[server] += 1;
        counts[server] += 1;
    }
    counts
}

#[test]
fn a_slow_server_gets_less() {
    let counts = shares(&[1; 4], &[10, 10, 10, 100], 16, 10_000);
    let fast = counts[..3].iter().min().unwrap();
    assert!(counts[3] * 5 < *fast, "{counts:?}");
    assert!(counts[3] > 0, "it is tried again: {counts:?}");
}

#[test]
fn shares_follow_weights_under_load() {
    let weights = [1, 2, 4, 1, 2, 4];
    let counts = shares(&weights, &[10; 6], 140, 70_000);
    for (count, weight) in counts.iter().zip(weights) {
        let share = 5000 * usize::from(weight);
        assert!(count.abs_diff(share) * 4 < share, "{counts:?}");
    }
}

proptest! {
    #[test]
    fn two_are_different_and_all_are_reached(count in 1usize..40, seed in any::<u64>()) {
        let mut random = Random::new(seed);
        let mut seen = vec![false; count];
        for _ in 0..count * 40 {
            let [one, other] = two_of(count, random.next()).unwrap();
            prop_assert!(one < count && other < count && (one != other || count == 1));
            (seen[one], seen[other]) = (true, true);
        }
        prop_assert!(seen.iter().all(|seen| *seen));
    }

    #[test]
    fn nobody_is_chosen_who_must_not_be(
        (weights, ejected) in pools(),
        steps in vec((any::<u64>(), any::<u64>(), 0u64..1000), 1..100),
    ) {
        let mut now = Instant::now();
        let standing = with_ejected(&weights, &ejected, now);
        let mut latencies = vec![Latency::default(); weights.len()];
        for (random, full, millis) in steps {
            now += Duration::from_millis(millis);
            let has_room = |server: usize| full >> (server % 64) & 1 == 0;
            let cost = |server: usize| latencies[server].cost(0, now, DECAY);
            let chosen = PeakEwma::choose(&standing, random, has_room, cost);
            let anybody = standing.candidates().iter().any(|it| has_room(*it));
            prop_assert_eq!(chosen.is_some(), anybody);
            if let Some(server) = chosen {
                prop_assert!(weights[server] > 0 && !ejected[server] && has_room(server));
                latencies[server].observe(Duration::from_millis(millis), now, DECAY);
            }
        }
    }
}
