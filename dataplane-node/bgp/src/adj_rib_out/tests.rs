use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use rustbgpd_wire::attribute::PathAttribute;
use rustbgpd_wire::{MAX_MESSAGE_LEN, Message};

use super::*;
use crate::framing::encode;
use crate::testing::{Peer, config, spec};
use crate::{AttributesSpec, PeerRestart, RouteRefresh};

const _: () = assert!(
    size_of::<Entry>() == 16,
    "a hundred thousand routes are kept for each neighbor"
);

fn negotiated() -> Negotiated {
    Negotiated {
        peer_as: crate::testing::PEER_AS,
        peer_id: Ipv4Addr::new(192, 0, 2, 2),
        hold_time_secs: 90,
        four_byte_as: true,
        families: PerFamily::from_each(|_| true),
        extended_next_hop: false,
        route_refresh: RouteRefresh::Marked,
        peer_restart: None,
    }
}

fn with(med: u32) -> Arc<Attributes> {
    let spec = AttributesSpec {
        med: Some(med),
        ..AttributesSpec::default()
    };
    Arc::new(spec.try_into().unwrap())
}

fn ipv4(number: u32) -> Prefix {
    Prefix::host(IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + number)))
}

fn ipv6(number: u32) -> Prefix {
    let first = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0);
    Prefix::host(IpAddr::V6(Ipv6Addr::from_bits(
        first.to_bits() + u128::from(number),
    )))
}

/// Tells the peer everything; how many messages that took.
fn tell(rib: &mut AdjRibOut, peer: &mut Peer) -> usize {
    let mut count = 0;
    while let Some(told) = rib.next_message() {
        peer.take(&told);
        count += 1;
    }
    assert!(rib.is_settled());
    count
}

#[test]
fn a_hundred_thousand_routes_are_few_messages() {
    let mut rib = AdjRibOut::default();
    let shared = with(1);
    for number in 0..100_000 {
        rib.set(ipv4(number), Some(Arc::clone(&shared)));
    }
    for number in 0..10_000 {
        rib.set(ipv6(number), Some(Arc::clone(&shared)));
    }
    rib.begin(&config(), negotiated());
    let mut peer = Peer::default();
    // 4,096 bytes hold some 809 host routes of 5 bytes, and some 236 of 17.
    let count = tell(&mut rib, &mut peer);
    assert_eq!(
        count,
        100_000_usize.div_ceil(809) + 10_000_usize.div_ceil(236)
    );
    assert_eq!(peer.routes.len(), 110_000);
    assert_eq!(rib.sent().count(), 110_000);
    for number in 0..100_000 {
        rib.set(ipv4(number), None);
    }
    assert_eq!(tell(&mut rib, &mut peer), 100_000_usize.div_ceil(814));
    assert_eq!(peer.routes.len(), 10_000);
    assert_eq!(rib.sets.len(), 1);
}

#[test]
fn withdrawals_come_first() {
    let mut rib = AdjRibOut::default();
    rib.set(ipv4(1), Some(with(1)));
    rib.begin(&config(), negotiated());
    let mut peer = Peer::default();
    tell(&mut rib, &mut peer);
    rib.set(ipv4(0), Some(with(1)));
    rib.set(ipv4(1), None);
    peer.take(&rib.next_message().unwrap());
    assert!(peer.routes.is_empty());
    assert_eq!(tell(&mut rib, &mut peer), 1);
}

#[test]
fn what_is_taken_back_is_not_told() {
    let mut rib = AdjRibOut::default();
    rib.begin(&config(), negotiated());
    rib.set(ipv4(1), Some(with(1)));
    rib.set(ipv4(1), None);
    assert_eq!(rib.next_message(), None);
    rib.set(ipv4(1), Some(with(1)));
    let mut peer = Peer::default();
    assert_eq!(tell(&mut rib, &mut peer), 1);
    rib.set(ipv4(1), Some(with(2)));
    rib.set(ipv4(1), Some(with(1)));
    rib.set(ipv4(1), None);
    rib.set(ipv4(1), Some(with(1)));
    assert_eq!(rib.next_message(), None);
}

#[test]
fn a_new_session_is_told_everything() {
    let mut rib = AdjRibOut::default();
    rib.set(ipv4(1), Some(with(1)));
    rib.begin(&config(), negotiated());
    tell(&mut rib, &mut Peer::default());
    rib.set(ipv4(2), Some(with(1)));
    rib.set(ipv4(1), None);
    rib.end();
    assert_eq!((rib.next_message(), rib.sent().count()), (None, 0));
    rib.begin(&config(), negotiated());
    let mut peer = Peer::default();
    tell(&mut rib, &mut peer);
    assert_eq!(peer.routes.keys().copied().collect::<Vec<_>>(), [ipv4(2)]);
    rib.end();
    rib.set(ipv4(2), None);
    assert_eq!((rib.entries.len(), rib.sets.len()), (0, 0));
}

#[test]
fn routes_that_the_session_cannot_carry_wait() {
    let mut rib = AdjRibOut::default();
    rib.set(ipv4(1), Some(with(1)));
    rib.set(ipv6(1), Some(with(1)));
    let mut only_ipv4 = negotiated();
    only_ipv4.families.ipv6 = false;
    rib.begin(&config(), only_ipv4);
    let mut peer = Peer::default();
    assert_eq!(tell(&mut rib, &mut peer), 1);
    assert_eq!(rib.withheld().collect::<Vec<_>>(), [ipv6(1)]);
    rib.begin(&config(), negotiated());
    assert_eq!(tell(&mut rib, &mut peer), 2);
    assert_eq!(rib.withheld().count(), 0);
}

#[test]
fn ipv4_by_next_hops_of_ipv6_where_that_was_agreed_on() {
    let mut spec = spec();
    spec.next_hops.ipv4 = None;
    spec.next_hops.link_local = "fe80::1".parse().ok();
    let config: NeighborConfig = spec.try_into().unwrap();
    let mut rib = AdjRibOut::default();
    rib.set(ipv4(1), Some(with(1)));
    rib.begin(&config, negotiated());
    assert_eq!(rib.next_message(), None);
    assert_eq!(rib.withheld().collect::<Vec<_>>(), [ipv4(1)]);
    let mut agreed = negotiated();
    agreed.extended_next_hop = true;
    rib.begin(&config, agreed);
    let mut peer = Peer::default();
    tell(&mut rib, &mut peer);
    let reach = peer.routes[&ipv4(1)].iter().find_map(|attribute| {
        let PathAttribute::MpReachNlri(reach) = attribute else {
            return None;
        };
        Some((reach.next_hop, reach.link_local_next_hop))
    });
    let expected = ("2001:db8::1".parse().unwrap(), "fe80::1".parse().ok());
    assert_eq!(reach, Some(expected));
    rib.set(ipv4(1), None);
    tell(&mut rib, &mut peer);
    assert!(peer.routes.is_empty());
}

#[test]
fn the_end_is_marked_after_the_routes_for_those_who_know_of_it() {
    let mut agreed = negotiated();
    agreed.peer_restart = Some(PeerRestart {
        has_restarted: false,
        restart_time_secs: 0,
        families: PerFamily::default(),
        preserved: PerFamily::default(),
    });
    let mut rib = AdjRibOut::default();
    rib.set(ipv6(1), Some(with(1)));
    rib.begin(&config(), agreed);
    let mut peer = Peer::default();
    tell(&mut rib, &mut peer);
    assert_eq!(peer.log, ["end of Ipv4", "update", "end of Ipv6"]);
}

#[test]
fn an_answer_to_a_request_has_its_family_and_marks() {
    let mut rib = AdjRibOut::default();
    rib.set(ipv4(1), Some(with(1)));
    rib.set(ipv4(2), Some(with(2)));
    rib.set(ipv6(1), Some(with(1)));
    rib.begin(&config(), negotiated());
    tell(&mut rib, &mut Peer::default());
    rib.refresh(Family::Ipv4);
    rib.refresh(Family::Ipv4);
    let mut peer = Peer::default();
    tell(&mut rib, &mut peer);
    assert_eq!(peer.log, ["BoRR Ipv4", "update", "update", "EoRR Ipv4"]);
    assert_eq!(peer.routes.len(), 2);
    let mut plain = negotiated();
    plain.route_refresh = RouteRefresh::Plain;
    rib.begin(&config(), plain);
    tell(&mut rib, &mut peer);
    rib.refresh(Family::Ipv6);
    let mut peer = Peer::default();
    tell(&mut rib, &mut peer);
    assert_eq!(peer.log, ["update"]);
}

#[test]
fn draining_tells_all_routes_anew_and_so_does_its_end() {
    let mut rib = AdjRibOut::default();
    rib.set(ipv4(1), Some(with(1)));
    rib.begin(&config(), negotiated());
    let mut peer = Peer::default();
    tell(&mut rib, &mut peer);
    let shutdown = PathAttribute::Communities(vec![0xffff_0000]);
    for is_draining in [true, false] {
        rib.set_draining(is_draining);
        assert_eq!(tell(&mut rib, &mut peer), 1);
        assert_eq!(peer.routes[&ipv4(1)].contains(&shutdown), is_draining);
    }
}

#[test]
fn the_largest_attributes_leave_room_for_routes() {
    let largest = AttributesSpec {
        med: Some(1),
        prepend: 32,
        communities: (0..100).collect(),
        extended_communities: (0..100).collect(),
        large_communities: (0..100).map(|it| (it, it, it)).collect(),
        is_draining: true,
        ..AttributesSpec::default()
    };
    let mut spec = spec();
    spec.local_as = 4_200_000_001;
    let config = NeighborConfig::try_from(spec).unwrap();
    let largest: Arc<Attributes> = Arc::new(largest.try_into().unwrap());
    for four_byte_as in [true, false] {
        let mut rib = AdjRibOut::default();
        for number in 0..1000 {
            rib.set(ipv6(number), Some(Arc::clone(&largest)));
        }
        let mut agreed = negotiated();
        agreed.four_byte_as = four_byte_as;
        rib.begin(&config, agreed);
        let mut peer = Peer {
            is_old: !four_byte_as,
            ..Peer::default()
        };
        assert!(tell(&mut rib, &mut peer) < 20);
        assert_eq!(peer.routes.len(), 1000);
    }
}

#[derive(Clone, Debug)]
enum Op {
    Set(Prefix, Option<u32>),
    Tell,
    Refresh(bool),
    Drain(bool),
    Restart,
}

fn op() -> impl Strategy<Value = Op> {
    let prefix = (0_u32..6, any::<bool>());
    let prefix = prefix.prop_map(|(number, is_v4)| if is_v4 { ipv4(number) } else { ipv6(number) });
    prop_oneof![
        8 => (prefix, proptest::option::of(0_u32..3)).prop_map(|(prefix, med)| Op::Set(prefix, med)),
        4 => Just(Op::Tell),
        1 => any::<bool>().prop_map(Op::Refresh),
        1 => any::<bool>().prop_map(Op::Drain),
        1 => Just(Op::Restart),
    ]
}

proptest! {
    /// Whatever happens, the neighbor ends up with what is to be announced, and is told nothing twice.
    #[test]
    fn the_neighbor_knows_what_is_to_be_announced(ops in proptest::collection::vec(op(), 0..60)) {
        let mut rib = AdjRibOut::default();
        let mut peer = Peer::default();
        let mut desired = BTreeMap::new();
        rib.begin(&config(), negotiated());
        for op in ops {
            match op {
                Op::Set(prefix, Some(med)) => {
                    rib.set(prefix, Some(with(med)));
                    desired.insert(prefix, med);
                }
                Op::Set(prefix, None) => {
                    rib.set(prefix, None);
                    desired.remove(&prefix);
                }
                Op::Tell => {
                    if let Some(told) = rib.next_message() {
                        let before = peer.routes.clone();
                        peer.take(&told);
                        let is_refresh = !peer.refreshing.is_empty() || matches!(told, Told::Refresh(..));
                        let is_new = is_refresh || rib.is_draining || before != peer.routes;
                        prop_assert!(is_new || peer.was_drained, "{told:?}");
                    }
                }
                Op::Refresh(is_v4) => {
                    rib.refresh(if is_v4 { Family::Ipv4 } else { Family::Ipv6 });
                }
                Op::Drain(is_draining) => {
                    peer.was_drained = true;
                    rib.set_draining(is_draining);
                }
                Op::Restart => {
                    rib.end();
                    peer = Peer::default();
                    rib.begin(&config(), negotiated());
                }
            }
            prop_assert_eq!(rib.desired_count(), desired.len());
            prop_assert_eq!(rib.sent_count(), rib.sent().count());
        }
        tell(&mut rib, &mut peer);
        let known: BTreeMap<Prefix, u32> = peer.meds();
        prop_assert_eq!(&known, &desired);
        let sets: BTreeSet<u32> = desired.values().copied().collect();
        prop_assert_eq!(rib.sets.len(), sets.len());
        rib.end();
        for prefix in desired.keys() {
            rib.set(*prefix, None);
        }
        prop_assert_eq!((rib.entries.len(), rib.sets.len()), (0, 0));
    }
}

#[test]
fn no_message_is_too_long() {
    let mut rib = AdjRibOut::default();
    for number in 0..3000 {
        rib.set(ipv4(number), Some(with(number % 2)));
        rib.set(ipv6(number), Some(with(number % 2)));
    }
    rib.begin(&config(), negotiated());
    let mut longest = 0;
    while let Some(Told::Update(update)) = rib.next_message() {
        longest = longest.max(encode(&Message::Update(update.to_message())).len());
    }
    assert!(longest <= usize::from(MAX_MESSAGE_LEN) && longest > 4090);
}
