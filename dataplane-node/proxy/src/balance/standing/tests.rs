use proptest::{collection::vec, prelude::*};

use super::*;

fn member(weight: u16) -> Member {
    Member {
        weight,
        ..Member::default()
    }
}

fn refreshed(members: Vec<Member>, slow_start: Duration, now: Instant) -> Standing {
    let mut standing = Standing::new(members, slow_start);
    standing.refresh(now);
    standing
}

#[test]
fn a_weight_of_zero_gets_nothing() {
    let standing = refreshed(vec![member(3), member(0)], Duration::ZERO, Instant::now());
    assert_eq!(standing.candidates(), [0]);
    assert_eq!((standing.weight(0), standing.weight(1)), (3 * SCALE, 0));
    assert_eq!(standing.next_change(), None);
}

#[test]
fn who_is_ejected_comes_back_by_itself() {
    let now = Instant::now();
    let until = now + Duration::from_secs(10);
    let mut standing = refreshed(vec![member(1), member(1)], Duration::ZERO, now);
    standing.member(0).ejected_until = Some(until);
    standing.refresh(now);
    assert_eq!(standing.candidates(), [1]);
    assert!(standing.is_ejected(0, now));
    assert_eq!(standing.next_change(), Some(until));
    standing.refresh(until);
    assert_eq!(standing.candidates(), [0, 1]);
    assert_eq!(standing.weight(0), SCALE);
}

#[test]
fn who_comes_back_gets_its_share_over_time() {
    let now = Instant::now();
    let slow_start = Duration::from_secs(64);
    let until = now + Duration::from_secs(10);
    let back = Member {
        ejected_until: Some(until),
        ..member(4)
    };
    let mut standing = refreshed(vec![back], slow_start, now);
    let mut before = 0;
    for second in 0..=64 {
        let now = until + Duration::from_secs(second);
        assert!(second == 0 || standing.next_change() <= Some(now));
        standing.refresh(now);
        let weight = standing.weight(0);
        assert!(
            weight > before || second == 0 && weight == 4,
            "{second}: {weight}"
        );
        let exact = u32::try_from(second).unwrap() * 4 * SCALE / 64;
        assert!(weight == exact.max(4), "{second}: {weight}");
        before = weight;
    }
    assert_eq!(before, standing.whole_weight(0));
    assert_eq!(standing.next_change(), None);
}

#[test]
fn backups_come_in_when_nobody_else_is_left() {
    let now = Instant::now();
    let until = now + Duration::from_secs(10);
    let backup = Member {
        is_backup: true,
        ..member(1)
    };
    let mut standing = refreshed(vec![backup, member(1), backup], Duration::ZERO, now);
    assert_eq!(standing.candidates(), [1]);
    assert_eq!([0, 1, 2].map(|it| standing.weight(it)), [0, SCALE, 0]);
    standing.member(1).ejected_until = Some(until);
    standing.refresh(now);
    assert_eq!(standing.candidates(), [0, 2]);
    standing.refresh(until);
    assert_eq!(standing.candidates(), [1]);
}

proptest! {
    /// Candidates are those that have a weight, in order, and nothing changes before it is said to.
    #[test]
    fn what_stands_holds_until_it_is_said_to_change(
        servers in vec((0u16..4, any::<bool>(), 0u64..20, 0u64..20), 0..12),
        slow_start in 0u64..15,
        steps in vec(0u64..3000, 1..30),
    ) {
        let begun = Instant::now();
        let at = |secs| (secs > 0).then(|| begun + Duration::from_secs(secs));
        let members = servers.iter().map(|(weight, is_backup, joined, until)| Member {
            weight: *weight,
            is_backup: *is_backup,
            joined: at(*joined),
            ejected_until: at(*until),
        });
        let members: Vec<_> = members.collect();
        let mut standing = Standing::new(members.clone(), Duration::from_secs(slow_start));
        let mut now = begun;
        standing.refresh(now);
        for step in steps {
            now += Duration::from_millis(step);
            let anew = refreshed(members.clone(), Duration::from_secs(slow_start), now);
            if standing.next_change().is_some_and(|change| change <= now) {
                standing.refresh(now);
            }
            // In slow start it may be a step behind.
            prop_assert_eq!(standing.candidates(), anew.candidates());
            let weighing: Vec<_> = (0..servers.len()).filter(|it| anew.weight(*it) > 0).collect();
            prop_assert_eq!(standing.candidates(), weighing);
            for server in 0..servers.len() {
                prop_assert!(standing.weight(server) <= standing.whole_weight(server));
                prop_assert!(!standing.is_ejected(server, now) || standing.weight(server) == 0);
                let behind = anew.weight(server).abs_diff(standing.weight(server));
                prop_assert!(behind <= standing.whole_weight(server) / 32 + 4);
            }
        }
    }
}
