use proptest::prelude::*;

use super::*;

fn tickets(keys: &[u8], context: &[u8]) -> Tickets {
    let keys = keys.iter().map(|byte| TicketKey::new([*byte; KEY_BYTES]));
    let config = TicketConfig {
        keys: keys.collect(),
        lifetime: Duration::from_secs(100),
    };
    Tickets::new(&config, context)
}

#[test]
fn tickets_open_with_their_key_in_their_time_and_their_context() {
    let now = UNIX_EPOCH + Duration::from_hours(500_000);
    let late = |secs| now + Duration::from_secs(secs);
    let one = tickets(&[1], b"here");
    let ticket = one.seal(b"state", now).unwrap();
    let state = Some(b"state".to_vec());
    assert_eq!(one.open(&ticket, now), state);
    assert_eq!(tickets(&[1], b"here").open(&ticket, late(99)), state);
    assert_eq!(tickets(&[2, 3, 1], b"here").open(&ticket, now), state);
    assert_eq!(one.open(&ticket, late(100)), None);
    assert_eq!(tickets(&[2], b"here").open(&ticket, now), None);
    assert_eq!(tickets(&[1], b"there").open(&ticket, now), None);
    let rotated = tickets(&[2, 1], b"here").seal(b"state", now).unwrap();
    assert_eq!(one.open(&rotated, now), None);
    assert_ne!(one.seal(b"state", now).unwrap(), ticket);
    assert_eq!(tickets(&[], b"here").seal(b"state", now), None);
    assert!(!tickets(&[], b"here").enabled());
}

#[test]
fn a_key_does_not_show() {
    let key = TicketKey::new([0x5a; KEY_BYTES]);
    assert_eq!(format!("{key:?}"), "TicketKey(..)");
}

proptest! {
    #[test]
    fn nothing_else_opens(at in any::<prop::sample::Index>(), bit in 0..8u8, cut in any::<prop::sample::Index>(), other in prop::collection::vec(any::<u8>(), 0..200)) {
        let one = tickets(&[1], b"");
        let mut ticket = one.seal(b"state", UNIX_EPOCH).unwrap();
        prop_assert_eq!(one.open(&ticket[..cut.index(ticket.len())], UNIX_EPOCH), None);
        let at = at.index(ticket.len());
        ticket[at] ^= 1 << bit;
        prop_assert_eq!(one.open(&ticket, UNIX_EPOCH), None);
        prop_assert_eq!(one.open(&other, UNIX_EPOCH), None);
    }
}
