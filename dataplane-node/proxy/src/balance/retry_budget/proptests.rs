use proptest::{collection::vec, prelude::*};

use super::*;

#[test]
fn a_tenth_and_one_a_second() {
    let begun = Instant::now();
    let config = RetryBudgetConfig {
        percent: 10,
        per_second_min: 1,
    };
    let mut budget = RetryBudget::new(config, begun);
    let taken = |budget: &mut RetryBudget, now| (0..1000).filter(|_| budget.take(now)).count();
    assert_eq!(taken(&mut budget, begun), 10, "what ten seconds bring");
    (0..200).for_each(|_| budget.request(begun));
    assert_eq!(taken(&mut budget, begun), 20);
    assert_eq!(taken(&mut budget, begun + Duration::from_secs(9)), 0);
    assert_eq!(taken(&mut budget, begun + Duration::from_secs(10)), 10);
    // A clock that is behind, and one that was away for long.
    budget.request(begun);
    assert!(!budget.take(begun));
    assert_eq!(taken(&mut budget, begun + Duration::from_secs(100_000)), 10);
}

proptest! {
    /// Against a list of all that has happened.
    #[test]
    fn it_is_what_the_last_ten_seconds_allow(
        percent in 0u8..101,
        per_second_min in 0u32..4,
        events in vec((any::<bool>(), 0u64..1500), 1..400),
    ) {
        let begun = Instant::now();
        let mut budget = RetryBudget::new(RetryBudgetConfig { percent, per_second_min }, begun);
        let (mut requests, mut retries): (Vec<u64>, Vec<u64>) = (Vec::new(), Vec::new());
        let mut millis = 0;
        for (is_retry, wait) in events {
            // Most come together.
            millis += wait.saturating_sub(1300);
            let (now, second) = (begun + Duration::from_millis(millis), millis / 1000);
            let recent = |all: &[u64]| all.iter().filter(|it| **it + 10 > second).count() as u64;
            if is_retry {
                let allowed = recent(&requests) * u64::from(percent) / 100 + 10 * u64::from(per_second_min);
                let expected = recent(&retries) < allowed;
                prop_assert_eq!(budget.take(now), expected);
                if expected {
                    retries.push(second);
                }
            } else {
                budget.request(now);
                requests.push(second);
            }
        }
    }
}
