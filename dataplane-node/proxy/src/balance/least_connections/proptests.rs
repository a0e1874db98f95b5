use std::time::Instant;

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::balance::simulation::{Random, pools, standing, with_ejected};

/// One after the other, each done before the next: by weight, as nobody has more than anybody else.
#[test]
fn equals_take_turns() {
    let standing = standing(&[2, 1, 0, 1], Instant::now());
    let mut balancer = LeastConnections::default();
    let mut counts = [0; 4];
    for _ in 0..400 {
        counts[balancer.choose(&standing, |_| Some(0)).unwrap()] += 1;
    }
    assert_eq!(counts, [200, 100, 0, 100]);
}

proptest! {
    /// Requests that come and go in any order: whoever is chosen has the fewest for its weight, nobody is over the limit, and while
    /// they only come, shares are exact to one request.
    #[test]
    fn the_least_loaded_is_chosen(
        (weights, ejected) in pools(),
        limit in 1u32..30,
        seed in any::<u64>(),
        goes in vec(0u8..4, 1..300),
    ) {
        let standing = with_ejected(&weights, &ejected, Instant::now());
        let mut balancer = LeastConnections::default();
        let mut random = Random::new(seed);
        let mut loads = vec![0u32; weights.len()];
        let mut open: Vec<usize> = Vec::new();
        for go in goes {
            if go == 0 && !open.is_empty() {
                let at = usize::try_from(random.next() % open.len() as u64).unwrap();
                loads[open.swap_remove(at)] -= 1;
                continue;
            }
            let chosen = balancer.choose(&standing, |it| (loads[it] < limit).then(|| loads[it]));
            let with_room = || standing.candidates().iter().filter(|it| loads[**it] < limit);
            prop_assert_eq!(chosen.is_some(), with_room().next().is_some());
            let Some(server) = chosen else { continue };
            prop_assert!(weights[server] > 0 && !ejected[server] && loads[server] < limit);
            for other in with_room() {
                let here = loads[server] * u32::from(weights[*other]);
                prop_assert!(here <= loads[*other] * u32::from(weights[server]));
            }
            loads[server] += 1;
            open.push(server);
        }
    }

    #[test]
    fn shares_follow_weights((weights, ejected) in pools(), requests in 1u32..500) {
        let standing = with_ejected(&weights, &ejected, Instant::now());
        let mut balancer = LeastConnections::default();
        let mut loads = vec![0u32; weights.len()];
        let total: u32 = standing.candidates().iter().map(|it| u32::from(weights[*it])).sum();
        prop_assume!(total > 0);
        for _ in 0..requests {
            let server = balancer.choose(&standing, |it| Some(loads[it]));
            loads[server.unwrap()] += 1;
        }
        for server in standing.candidates() {
            let share = f64::from(requests) * f64::from(weights[*server]) / f64::from(total);
            let over = f64::from(loads[*server]) - share;
            // The next one of its own may have come already, and so may everybody's.
            prop_assert!(over <= 1.0, "{} is {} over", server, over);
        }
    }
}
