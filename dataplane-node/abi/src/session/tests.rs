use super::*;

const SYN: SessionPacket = SessionPacket::of_tcp(0x02);
const SYN_ACK: SessionPacket = SessionPacket::of_tcp(0x12);
const ACK: SessionPacket = SessionPacket::of_tcp(0x10);
const FIN: SessionPacket = SessionPacket::of_tcp(0x11);
const RST: SessionPacket = SessionPacket::of_tcp(0x04);

/// Seconds that a flow in this state may be silent, as ticks say it.
fn idle(state: SessionState) -> u32 {
    state.idle_ticks(true)
}

const fn ticks(secs: u32) -> u32 {
    SessionTick::of_secs(secs)
}

#[test]
fn a_connection_opens_and_closes() {
    let opening = SessionState::OPENING;
    assert_eq!(idle(opening), ticks(60));
    let answered = opening.after_client(SYN).after_server(SYN_ACK);
    assert_eq!(idle(answered), ticks(60));
    assert!(!answered.after_client(SYN).is_confirmed(), "sent again");
    let open = answered.after_client(ACK);
    assert!(open.is_confirmed() && !open.is_closing());
    assert_eq!(idle(open), ticks(7_440));
    for half in [open.after_client(FIN), open.after_server(FIN)] {
        assert!(half.is_closing() && !half.is_closed());
        assert_eq!(idle(half), ticks(240));
        let closed = half.after_server(FIN).after_client(FIN);
        assert!(closed.is_closed());
        assert_eq!(idle(closed), ticks(60));
        // Late acknowledgements change nothing.
        assert_eq!(closed.after_client(ACK).after_server(ACK), closed);
    }
}

/// Anyone may send a reset that the ends do not take: who goes on talking after it keeps the connection.
#[test]
fn a_reset_counts_while_nothing_follows() {
    let open = SessionState::OPENING
        .after_server(SYN_ACK)
        .after_client(ACK);
    for reset in [open.after_client(RST), open.after_server(RST)] {
        assert!(reset.is_closing() && reset.is_closed());
        assert!(!reset.after_client(ACK).is_closed());
        assert_eq!(idle(reset), ticks(10));
        assert_eq!(idle(reset.after_client(ACK)), ticks(7_440));
        assert_eq!(idle(reset.after_server(ACK)), ticks(7_440));
    }
}

#[test]
fn udp_lasts_once_the_client_has_gone_on() {
    let none = SessionPacket::of_tcp(0);
    let first = SessionState::OPENING.after_client(none);
    assert_eq!(first.after_server(none).idle_ticks(false), ticks(30));
    let both = first.after_server(none).after_client(none);
    assert_eq!(both.idle_ticks(false), ticks(180));
}

#[test]
fn what_is_taken_first() {
    let now = SessionTick(100_000);
    let at = |state, age| SessionLife::default().with(state, SessionTick(now.0 - age));
    let open = SessionState::OPENING
        .after_server(SYN_ACK)
        .after_client(ACK);
    let closed = open.after_client(FIN).after_server(FIN);
    for taken in [
        at(open, 7_000),
        at(closed, 57),
        at(SessionState::BUSY, 11),
        at(SessionState::OPENING, 2),
    ] {
        assert!(taken.is_takeable(true, now, 2), "{taken:?}");
    }
    for kept in [
        at(open, 6_000),
        at(closed, 50),
        at(SessionState::BUSY, 10),
        at(SessionState::OPENING, 1),
        SessionLife::default(),
    ] {
        assert!(!kept.is_takeable(true, now, 2), "{kept:?}");
    }
    let half_open = at(SessionState::OPENING, 1).rank(now);
    assert!(at(SessionState::OPENING, 2).rank(now) > half_open);
    assert!(half_open > at(open, 9_000).rank(now));
    assert!(at(open, 9_000).rank(now) > at(closed, 57).rank(now));
    assert!(at(closed, 57).rank(now) > at(SessionState::BUSY, 1).rank(now));
    // A clock that was read a moment earlier.
    assert!(!at(open, 0).is_expired(true, SessionTick(now.0 - 1)));
}

#[test]
fn a_claim_is_another_flow() {
    let old = SessionLife(u64::MAX);
    let new = old.claimed(SessionTick(7));
    assert!(!new.is_of(old) && new.state() == SessionState::BUSY);
    assert_eq!(new.tick(), SessionTick(7));
    assert!(new.with(SessionState::OPENING, SessionTick(8)).is_of(new));
}

#[test]
fn words_have_a_tag_and_a_session() {
    for hash in [0, 1, 1 << 24, 0xfedc_ba98_7654_3210, u64::MAX] {
        let place = SessionPlace::of(hash);
        let word = SessionWord::new(place.tag, 0x00ab_cdef);
        assert_eq!(word.session(), 0x00ab_cdef);
        assert_eq!(word.0 ^ place.tag, 0x00ab_cdef);
        assert_ne!(place.tag, SessionWord::FREE.0);
        assert!(place.first(0xff) < 256 && place.second(0xff) < 256);
    }
}

/// Of one server, in a table that has as many places: the second address begins where the first one's ports end.
#[test]
fn ends_of_one_server_do_not_meet() {
    let mut taken = [0u64; 1 << 11];
    for source in 0..2 {
        for port in 1024..=u16::MAX {
            let session = session_of_end(0xfedc_ba98_7654_3210, source, port, (1 << 17) - 1);
            let (word, bit) = (session as usize / 64, 1 << (session % 64));
            assert_eq!(taken[word] & bit, 0);
            taken[word] |= bit;
        }
    }
}

/// The kernel's own ports are left out of the middle.
#[test]
fn ports_lie_on_both_sides_of_the_gap() {
    let settings = crate::Settings {
        nat_port_first: 1024,
        nat_port_count: 36_280,
        nat_port_gap_at: 31_744,
        nat_port_gap: 28_232,
        ..crate::Settings::default()
    };
    assert_eq!(settings.nat_port(0), 1024);
    assert_eq!(settings.nat_port(31_743), 32_767);
    assert_eq!(settings.nat_port(31_744), 61_000);
    assert_eq!(settings.nat_port(36_279), 65_535);
}

#[test]
fn a_flow_has_a_line_in_each_half() {
    let hashes = (0..1_000u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    for hash in hashes {
        let place = SessionPlace::of(hash);
        assert_eq!((place.first(0), place.second(0)), (0, 0));
        assert_eq!((place.first(1), place.second(1)), (0, 1));
        let (first, second) = (place.first(1023), place.second(1023));
        assert!(first < 512 && (512..1024).contains(&second));
    }
}

#[test]
fn sessions_and_records_are_read_as_they_were_written() {
    let words = [1, 2 << 56, 3 << 8, 4 << 48];
    let session = Session::from_words(words);
    assert_eq!((session.client, session.vip), (1, 0));
    assert_eq!(session.server_port_be, (2u16 << 8).to_ne_bytes());
    assert_eq!(session.life, SessionLife(3 << 8));
    assert_eq!((session.origin, session.node_check), (4, 0));
    let mut places = [0; 8];
    places[..4].copy_from_slice(&5u32.to_ne_bytes());
    places[4..].copy_from_slice(&6u32.to_ne_bytes());
    let record = SessionRecord::from_words([1, 2, 3, 4, u64::from_ne_bytes(places)]);
    let [client, vip] = [[1, 2], [3, 4]].map(Address::from_halves);
    assert_eq!((record.client, record.vip), (client, vip));
    assert_eq!((record.tag_at, record.back_at), (5, 6));
}

#[test]
fn an_origin_tells_family_protocol_and_address() {
    for (is_ipv6, protocol, index) in [(false, 6, 0), (true, 17, 7), (false, 17, 3)] {
        let session = Session {
            origin: Session::origin_of(is_ipv6, protocol, index),
            ..Session::default()
        };
        assert_eq!(session.origin & Session::IPV6 != 0, is_ipv6);
        assert_eq!((session.protocol(), session.source()), (protocol, index));
        assert_eq!(session.is_tcp(), protocol == 6);
        assert!(!session.is_dnat());
        let dnat = Session {
            origin: Session::kind_of(is_ipv6, protocol),
            ..Session::default()
        };
        assert!(dnat.is_dnat() && dnat.protocol() == protocol);
        assert_eq!(dnat.origin & Session::IPV6 != 0, is_ipv6);
    }
}
