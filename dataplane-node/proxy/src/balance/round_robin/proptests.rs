use std::time::Instant;

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::balance::simulation::{pools, standing, with_ejected};

#[test]
fn turns_are_spread_out() {
    let standing = standing(&[5, 1, 1], Instant::now());
    let mut turns = RoundRobin::default();
    let order: Vec<_> = (0..14)
        .filter_map(|_| turns.choose(&standing, |_| true))
        .collect();
    assert_eq!(order, [0, 0, 1, 0, 2, 0, 0, 0, 0, 1, 0, 2, 0, 0]);
}

proptest! {
    /// After any number of choices nobody is more than two off its share, and after a whole round nobody is off at all.
    #[test]
    fn shares_are_exact((weights, ejected) in pools(), rounds in 1usize..4) {
        let standing = with_ejected(&weights, &ejected, Instant::now());
        let total: u32 = standing.candidates().iter().map(|it| standing.weight(*it)).sum();
        let round = usize::try_from(total / crate::balance::standing::SCALE).unwrap();
        let mut turns = RoundRobin::default();
        let mut counts = vec![0usize; weights.len()];
        for n in 1..=round * rounds {
            let server = turns.choose(&standing, |_| true).unwrap();
            prop_assert!(weights[server] > 0 && !ejected[server]);
            counts[server] += 1;
            for server in standing.candidates() {
                let (count, weight) = (counts[*server] * round, n * usize::from(weights[*server]));
                prop_assert!(count.abs_diff(weight) <= 2 * round);
            }
        }
        for server in standing.candidates() {
            prop_assert_eq!(counts[*server], usize::from(weights[*server]) * rounds);
        }
        prop_assert!(round > 0 || turns.choose(&standing, |_| true).is_none());
    }

    /// Whoever has no room is passed over, and whoever has some is found.
    #[test]
    fn who_is_full_is_passed_over(
        (weights, ejected) in pools(),
        full in vec(any::<u64>(), 1..50),
    ) {
        let standing = with_ejected(&weights, &ejected, Instant::now());
        let mut turns = RoundRobin::default();
        for full in full {
            let has_room = |server: usize| full >> (server % 64) & 1 == 0;
            let chosen = turns.choose(&standing, has_room);
            let anybody = standing.candidates().iter().any(|it| has_room(*it));
            prop_assert_eq!(chosen.is_some(), anybody);
            if let Some(server) = chosen {
                prop_assert!(has_room(server) && standing.candidates().contains(&server));
            }
        }
    }
}
