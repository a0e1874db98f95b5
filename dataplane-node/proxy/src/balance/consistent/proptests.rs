use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::balance::{
    Member, ServerConfig,
    simulation::{Random, pools, standing, with_ejected},
};

fn pool(servers: impl IntoIterator<Item = (usize, u16)>) -> PoolConfig {
    let server = |(n, weight)| ServerConfig {
        name: format!("server-{n}"),
        weight,
        ..ServerConfig::of(&"192.0.2.1:80".parse().unwrap())
    };
    PoolConfig {
        servers: servers.into_iter().map(server).collect(),
        ..PoolConfig::default()
    }
}

fn keys() -> impl Iterator<Item = u64> {
    let mut random = Random::new(42);
    std::iter::repeat_with(move || random.next()).take(20_000)
}

/// Whose name a key leads to.
fn homes<'c>(config: &'c PoolConfig, standing: &Standing) -> Vec<&'c str> {
    let balancer = Consistent::new(config);
    let home = |key| {
        balancer
            .choose(standing, key, None, |_| true, |_| 0)
            .unwrap()
    };
    keys()
        .map(|key| config.servers[home(key)].name.as_str())
        .collect()
}

/// How many keys have another home, and how many of those whose home was `gone`.
fn moved(before: &[&str], after: &[&str], gone: &str) -> (usize, usize) {
    let pairs = || before.iter().zip(after);
    (
        pairs().filter(|(before, after)| before != after).count(),
        pairs().filter(|(before, _)| **before == gone).count(),
    )
}

#[test]
fn a_server_that_leaves_takes_its_own_keys_with_it() {
    let now = Instant::now();
    for n in [2usize, 3, 10, 32] {
        let all = pool((0..n).map(|it| (it, 1)));
        let fewer = pool((1..n).map(|it| (it, 1)));
        let before = homes(&all, &standing(&vec![1; n], now));
        let after = homes(&fewer, &standing(&vec![1; n - 1], now));
        let (moved, of_gone) = moved(&before, &after, "server-0");
        let total = before.len();
        assert!(
            of_gone.abs_diff(total / n) * 20 < total / n * 3,
            "{n}: {of_gone}"
        );
        // Less than 3 % of the rest.
        assert!(
            moved >= of_gone && (moved - of_gone) * 100 < total * 3,
            "{n}: {moved} for {of_gone}"
        );
    }
}

#[test]
fn an_ejected_server_moves_no_keys_but_its_own_and_gets_them_back() {
    let now = Instant::now();
    let config = pool((0..10).map(|it| (it, 1)));
    let mut state = standing(&[1; 10], now);
    let before = homes(&config, &state);
    state.member(3).ejected_until = Some(now + Duration::from_secs(1));
    state.refresh(now);
    let during = homes(&config, &state);
    let (moved, of_gone) = moved(&before, &during, "server-3");
    assert_eq!(moved, of_gone);
    // Not all to the same one.
    for n in (0..10).filter(|n| *n != 3) {
        let name = format!("server-{n}");
        let got = before
            .iter()
            .zip(&during)
            .filter(|(before, after)| before != after && **after == name);
        assert!(
            got.count().abs_diff(of_gone / 9) * 2 < of_gone / 9,
            "{name}"
        );
    }
    state.refresh(now + Duration::from_secs(1));
    assert_eq!(homes(&config, &state), before);
}

#[test]
fn in_slow_start_keys_come_back_one_after_the_other() {
    let now = Instant::now();
    let config = pool((0..4).map(|it| (it, 8)));
    let member = Member {
        weight: 8,
        ..Member::default()
    };
    let joined = Member {
        joined: Some(now),
        ..member
    };
    let slow_start = Duration::from_secs(10);
    let mut standing = Standing::new(vec![joined, member, member, member], slow_start);
    let mut before: Vec<bool> = Vec::new();
    for second in 0..=10 {
        standing.refresh(now + Duration::from_secs(second));
        let has: Vec<_> = homes(&config, &standing)
            .iter()
            .map(|it| *it == "server-0")
            .collect();
        let count = has.iter().filter(|has| **has).count();
        let share = usize::try_from(second).unwrap() * 500;
        assert!(count.abs_diff(share) < 250, "{second}: {count}");
        assert!(
            before.iter().zip(&has).all(|(before, now)| !before || *now),
            "none goes away again"
        );
        before = has;
    }
}

#[test]
fn without_servers_nobody_is_chosen() {
    let balancer = Consistent::new(&pool([]));
    let nobody = standing(&[], Instant::now());
    assert_eq!(
        balancer.choose(&nobody, 1, Some(125), |_| true, |_| 0),
        None
    );
    let balancer = Consistent::new(&pool([(0, 0)]));
    let nobody = standing(&[0], Instant::now());
    assert_eq!(balancer.choose(&nobody, 1, None, |_| true, |_| 0), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn shares_follow_weights((weights, _) in pools()) {
        let total: usize = weights.iter().copied().map(usize::from).sum();
        prop_assume!(total > 0);
        let config = pool(weights.iter().copied().enumerate());
        let standing = standing(&weights, Instant::now());
        let balancer = Consistent::new(&config);
        let mut counts = vec![0usize; weights.len()];
        for key in keys() {
            counts[balancer.choose(&standing, key, None, |_| true, |_| 0).unwrap()] += 1;
        }
        for (count, weight) in counts.iter().zip(&weights) {
            let share = 20_000 * usize::from(*weight) / total;
            // Five standard deviations, and what the ring is off.
            let slack = 5 * share.isqrt() + share / 12 + 20;
            prop_assert!(count.abs_diff(share) <= slack, "{} of {}", count, share);
        }
    }

    /// Under any load nobody gets more than its bound, even if all requests have the same key.
    #[test]
    fn nobody_is_above_its_bound(
        (weights, ejected) in pools(),
        percent in 0u16..200,
        limit in 1u32..100,
        seed in any::<u64>(),
        spread in 1u64..1000,
    ) {
        let standing = with_ejected(&weights, &ejected, Instant::now());
        let balancer = Consistent::new(&pool(weights.iter().copied().enumerate()));
        let mut random = Random::new(seed);
        let mut loads = vec![0u32; weights.len()];
        let mut open: Vec<usize> = Vec::new();
        for _ in 0..300 {
            if random.next().is_multiple_of(3) && !open.is_empty() {
                let at = usize::try_from(random.next() % open.len() as u64).unwrap();
                loads[open.swap_remove(at)] -= 1;
            }
            let key = (random.next() % spread).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let has_room = |it: usize| loads[it] < limit;
            let bound = Bound::new(&standing, percent, |it| loads[it]);
            let chosen = balancer.choose(&standing, key, Some(percent), has_room, |it| loads[it]);
            let candidates = standing.candidates();
            prop_assert_eq!(chosen.is_some(), candidates.iter().any(|it| has_room(*it)));
            let Some(server) = chosen else { continue };
            prop_assert!(weights[server] > 0 && !ejected[server] && has_room(server));
            let is_any_full = candidates.iter().any(|it| !has_room(*it));
            // While limits keep requests from some, others have to take more than their shares.
            prop_assert!(is_any_full || bound.takes(loads[server], standing.weight(server)));
            loads[server] += 1;
            open.push(server);
        }
    }
}
