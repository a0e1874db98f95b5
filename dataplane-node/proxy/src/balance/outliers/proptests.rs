use proptest::{collection::vec, prelude::*};

use super::*;

const RATE_OFF: OutlierConfig = OutlierConfig {
    consecutive: 3,
    failure_percent: 0,
    requests_min: 10,
    window: Duration::from_secs(10),
    ejection: Duration::from_secs(10),
    ejection_max: Duration::from_secs(70),
    ejected_percent_max: 50,
    counts_all_5xx: false,
};

#[test]
fn failures_in_a_row_eject() {
    let now = Instant::now();
    let mut outliers = Outliers::new();
    let mut failed = |successes| outliers.failed(&"a", successes, 4, now, &RATE_OFF);
    assert_eq!(failed(0), None);
    assert_eq!(failed(0), None);
    // One that goes well begins a new row.
    assert_eq!(failed(1), None);
    assert_eq!(failed(0), None);
    assert_eq!(failed(0), Some(now + Duration::from_secs(10)));
    assert_eq!(failed(0), None, "it is out already");
    assert_eq!(outliers.ejected(now), 1);
    assert_eq!(outliers.ejected(now + Duration::from_secs(10)), 0);
}

#[test]
fn a_rate_of_failures_ejects() {
    let now = Instant::now();
    let config = OutlierConfig {
        consecutive: 0,
        failure_percent: 20,
        ..RATE_OFF
    };
    let mut outliers = Outliers::new();
    let failures = (1..100).find(|_| outliers.failed(&"a", 3, 4, now, &config).is_some());
    assert_eq!(failures, Some(3), "3 of 12 are the first that are enough");
    // 1 of 10 is not too much, however often.
    assert!((0..1000).all(|_| outliers.failed(&"b", 9, 4, now, &config).is_none()));
    // Nor is it what happened long ago.
    for minute in 0..100 {
        let then = now + Duration::from_mins(minute);
        assert_eq!(outliers.failed(&"c", 0, 4, then, &config), None);
    }
}

#[test]
fn an_ejection_doubles_and_is_forgiven() {
    let mut now = Instant::now();
    let mut outliers = Outliers::new();
    let mut eject = |now| {
        let until = (0..3).find_map(|_| outliers.failed(&"a", 0, 4, now, &RATE_OFF));
        until.unwrap() - now
    };
    for secs in [10, 20, 40, 70, 70] {
        let long = eject(now);
        assert_eq!(long, Duration::from_secs(secs));
        now += long;
    }
    // It has been in three times as long as the first time out: three of five are forgiven.
    assert_eq!(
        eject(now + Duration::from_secs(30)),
        Duration::from_secs(40)
    );
    assert_eq!(
        eject(now + Duration::from_hours(1)),
        Duration::from_secs(10)
    );
}

#[test]
fn who_has_left_is_forgotten() {
    let now = Instant::now();
    let mut outliers = Outliers::new();
    assert!((0..3).any(|_| outliers.failed(&"a", 0, 2, now, &RATE_OFF).is_some()));
    assert!(
        (0..9).all(|_| outliers.failed(&"b", 0, 2, now, &RATE_OFF).is_none()),
        "half is out"
    );
    outliers.retain(|server| *server != "a");
    assert!((0..3).any(|_| outliers.failed(&"b", 0, 2, now, &RATE_OFF).is_some()));
}

proptest! {
    /// Whatever fails when: no more than the share is out, an ejection is neither too short nor too long, and who has begun one is
    /// out until its end.
    #[test]
    fn never_more_than_the_share_is_out(
        servers in 1usize..30,
        percent in 0u8..120,
        consecutive in 0u32..5,
        failure_percent in 0u8..101,
        events in vec((0usize..30, 0u32..20, 0u64..5000), 1..400),
    ) {
        let config = OutlierConfig {
            ejected_percent_max: percent,
            consecutive,
            failure_percent,
            ..RATE_OFF
        };
        let mut now = Instant::now();
        let mut outliers = Outliers::new();
        let mut until = vec![now; servers];
        for (server, successes, millis) in events {
            now += Duration::from_millis(millis);
            let server = server % servers;
            if let Some(end) = outliers.failed(&server, successes, servers, now, &config) {
                prop_assert!(until[server] <= now, "once at a time");
                prop_assert!(end >= now + config.ejection && end <= now + config.ejection_max);
                until[server] = end;
            }
            let out = until.iter().filter(|until| now < **until).count();
            prop_assert_eq!(out, outliers.ejected(now));
            prop_assert!(out * 100 <= servers * usize::from(percent));
        }
    }
}
