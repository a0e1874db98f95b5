//! IPv6's neighbor discovery for VIPs with leases: who is answered, and how, and who is not.

use std::net::{IpAddr, Ipv6Addr};

use super::{
    fabric::{Fabric, Family, octets6},
    icmp_packets::IcmpPacket,
    kernel::Action,
    leases::{OTHER_MAC, ask_until_the_end, assert_left, long, sent},
    packets::{ETHERNET, NODE_MAC, ROUTER_MAC},
    shapes::{TAGS, tagged},
};

const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const HEADER: usize = 40;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];

/// The option with the source's link-layer address, and with the target's.
fn link_option(kind: u8, mac: [u8; 6]) -> Vec<u8> {
    [&[kind, 1][..], &mac].concat()
}

/// The nonce of RFC 3971, as RFC 7527 uses it.
const NONCE: [u8; 8] = [14, 1, 1, 2, 3, 4, 5, 6];

fn solicited_node(target: IpAddr) -> (IpAddr, [u8; 6]) {
    let [.., a, b, c] = octets6(target);
    let mut group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0).octets();
    group[13..].copy_from_slice(&[a, b, c]);
    (Ipv6Addr::from(group).into(), [0x33, 0x33, 0xff, a, b, c])
}

/// A message about an address.
fn message(kind: u8, source: IpAddr, destination: IpAddr, target: IpAddr) -> IcmpPacket {
    let mut message = IcmpPacket::new(kind, 0, source, destination).ttl(255);
    message.traffic_class = 0;
    message.body = octets6(target).to_vec();
    message
}

/// A host's question for the VIP.
fn solicitation() -> IcmpPacket {
    let target = Family::V6.leased();
    let (group, mac) = solicited_node(target);
    let mut asks = message(SOLICITATION, Family::V6.host(), group, target);
    asks.destination_mac = mac;
    asks.body.extend(link_option(1, ROUTER_MAC));
    asks
}

/// RFC 4862 section 5.4.2: is anybody there?
fn probe() -> IcmpPacket {
    let mut asks = solicitation();
    asks.source = Ipv6Addr::UNSPECIFIED.into();
    asks.body.truncate(16);
    asks
}

/// The node's answer to whoever is at `mac`.
fn answer(question: &IcmpPacket, mac: [u8; 6]) -> IcmpPacket {
    let target = Family::V6.leased();
    let is_probe = question.source == IpAddr::from(Ipv6Addr::UNSPECIFIED);
    let (destination, mac, flags) = if is_probe {
        (ALL_NODES.into(), ALL_NODES_MAC, OVERRIDE)
    } else {
        (question.source, mac, SOLICITED | OVERRIDE)
    };
    let mut tells = message(ADVERTISEMENT, target, destination, target).macs(NODE_MAC, mac);
    tells.rest[0] = flags;
    tells.body.extend(link_option(2, NODE_MAC));
    tells
}

/// Questions of every kind that have to be answered, with whom.
fn questions() -> Vec<(IcmpPacket, [u8; 6])> {
    let mut questions = vec![(probe(), ALL_NODES_MAC)];
    let mut nonce = probe();
    nonce.body.extend(NONCE);
    questions.push((nonce, ALL_NODES_MAC));
    // Whether the host is still there, without and with the option, which may not say where the frame comes from.
    let mut unicast = solicitation();
    (unicast.destination, unicast.destination_mac) = (Family::V6.leased(), NODE_MAC);
    questions.push((unicast.clone(), ROUTER_MAC));
    unicast.body.truncate(16);
    questions.push((unicast.clone(), ROUTER_MAC));
    unicast.body.extend(link_option(1, OTHER_MAC));
    questions.push((unicast, OTHER_MAC));
    questions.push((solicitation(), ROUTER_MAC));
    // Other options, before and behind, in messages of any length up to the largest.
    for units in 1..=12 {
        let other = [&[200, units][..], &vec![0x5a; 8 * usize::from(units) - 2]].concat();
        let mut before = solicitation();
        before.body.splice(16..16, other.clone());
        questions.push((before, ROUTER_MAC));
        let mut behind = solicitation();
        behind.body.extend(other);
        questions.push((behind, ROUTER_MAC));
    }
    let padded = questions.clone().into_iter().map(|(mut question, mac)| {
        question.padding = 5;
        question.traffic_class = 0xc0;
        (question, mac)
    });
    questions.extend(padded.collect::<Vec<_>>());
    questions
}

#[test]
fn a_held_vip_is_answered() {
    let mut fabric = Fabric::with_leases();
    for (question, mac) in questions() {
        let answer = answer(&question, mac).build();
        let expected = sent("nd-advertisement", answer.clone());
        assert_eq!(fabric.lb(&question.build()), expected, "{question:?}");
        for tags in TAGS {
            let expected = sent("nd-advertisement", tagged(&answer, tags));
            let ran = fabric.lb(&tagged(&question.build(), tags));
            assert_eq!(ran, expected, "{question:?}");
        }
    }
    assert_eq!(fabric.claims(), []);
}

#[test]
fn nobody_answers_for_a_vip_that_is_not_held() {
    let mut fabric = Fabric::with_leases();
    fabric.give_up();
    for (question, _) in questions() {
        let frame = question.build();
        let what = format!("{question:?}");
        assert_left(&fabric, &frame, Action::Drop, "drop-vip-not-held", &what);
        let ran = fabric.lb(&tagged(&frame, TAGS[3]));
        assert_eq!(ran.counter, Some("drop-vip-not-held"));
    }
}

#[test]
fn nobody_answers_after_the_end_of_the_lease() {
    let mut fabric = Fabric::with_leases();
    let question = solicitation();
    let answer = sent("nd-advertisement", answer(&question, ROUTER_MAC).build());
    ask_until_the_end(&mut fabric, &question.build(), &answer);
}

#[test]
fn other_neighbor_discovery_passes() {
    let mut fabric = Fabric::with_leases();
    let mut others = Vec::new();
    // For a VIP without a lease, the node's own address, and the IPv4 VIP in the form of an IPv6 address.
    let mapped = "::ffff:192.0.2.10".parse().unwrap();
    for target in [Family::V6.vip().ip(), Family::V6.node(), mapped] {
        let mut other = solicitation();
        other.body[..16].copy_from_slice(&octets6(target));
        others.push(other);
    }
    // A switch that does not know where another host is.
    let mut elsewhere = solicitation();
    elsewhere.destination_mac = OTHER_MAC;
    others.push(elsewhere);
    // The answer to the node's own question.
    let mut tells = message(
        ADVERTISEMENT,
        Family::V6.host(),
        Family::V6.node(),
        Family::V6.host(),
    );
    tells.rest[0] = SOLICITED;
    others.push(tells);
    for other in others {
        let frame = other.build();
        assert_left(
            &fabric,
            &frame,
            Action::Pass,
            "pass-nd",
            &format!("{other:?}"),
        );
        for tags in TAGS {
            let frame = tagged(&frame, tags);
            assert_left(
                &fabric,
                &frame,
                Action::Pass,
                "pass-nd",
                &format!("{other:?}"),
            );
        }
    }
    // Routers' solicitations and advertisements, and redirects.
    for kind in [133, 134, 137] {
        let other = message(
            kind,
            Family::V6.host(),
            ALL_NODES.into(),
            Family::V6.leased(),
        );
        assert_left(
            &fabric,
            &other.build(),
            Action::Pass,
            "pass-not-vip",
            &format!("{kind}"),
        );
    }
    assert_eq!(fabric.claims(), []);
}

#[test]
fn every_prefix_of_a_frame_is_left_alone() {
    let fabric = Fabric::with_leases();
    let whole = solicitation().build();
    for length in ETHERNET..whole.len() {
        assert_left(
            &fabric,
            &whole[..length],
            Action::Pass,
            "pass-not-vip",
            &format!("{length}"),
        );
    }
    assert_eq!(fabric.lb(&whole).action, Action::Tx);
}

/// Every length that a message may have by what its IPv6 header says.
#[test]
fn every_length_of_a_message() {
    let fabric = Fabric::with_leases();
    for length in 0..=300_usize {
        let mut question = solicitation();
        question.body.resize(length.max(24) - 8, 0);
        if length > 32 {
            // One option fills the rest, if it can.
            let units = u8::try_from((length - 32) / 8).unwrap();
            question.body[24] = 200;
            if length > 33 {
                question.body[25] = units;
            }
        }
        let mut frame = question.build();
        let what = format!("{length}");
        if length < 24 {
            frame.truncate(ETHERNET + HEADER + length);
            frame[ETHERNET + 5] = u8::try_from(length).unwrap();
            // The target is not there; below a header of ICMPv6, nothing is.
            let counter = if length < 8 {
                "pass-not-vip"
            } else {
                "pass-nd"
            };
            assert_left(&fabric, &frame, Action::Pass, counter, &what);
        } else if length % 8 == 0 && length <= 128 {
            let expected = answer(&question, ROUTER_MAC).build();
            assert_eq!(
                fabric.lb(&frame),
                sent("nd-advertisement", expected),
                "{what}"
            );
        } else {
            assert_left(
                &fabric,
                &frame,
                Action::Drop,
                "drop-bad-solicitation",
                &what,
            );
        }
    }
}

/// What RFC 4861 section 7.1.1 and RFC 4862 section 5.4 tell not to answer.
fn malformed() -> Vec<(&'static str, Vec<u8>)> {
    let changed = |change: &dyn Fn(&mut IcmpPacket)| {
        let mut question = solicitation();
        change(&mut question);
        question.build()
    };
    let changed_probe = |change: &dyn Fn(&mut IcmpPacket)| {
        let mut question = probe();
        change(&mut question);
        question.build()
    };
    let mut wrong_sum = solicitation().build();
    wrong_sum[ETHERNET + HEADER + 2] ^= 1;
    vec![
        ("hop limit", changed(&|it| it.ttl = 254)),
        ("hop limit", changed(&|it| it.ttl = 1)),
        ("code", changed(&|it| it.code = 1)),
        ("checksum", wrong_sum),
        ("option of no length", changed(&|it| it.body[17] = 0)),
        ("option that ends outside", changed(&|it| it.body[17] = 2)),
        (
            "second option of no length",
            changed(&|it| it.body.extend([200, 0, 0, 0, 0, 0, 0, 0])),
        ),
        (
            "second option that ends outside",
            changed(&|it| it.body.extend([200, 2, 0, 0, 0, 0, 0, 0])),
        ),
        (
            "an address of two units",
            changed(&|it| {
                it.body[17] = 2;
                it.body.extend([0; 8]);
            }),
        ),
        (
            "an address of a group",
            changed(&|it| it.body[18..].fill(0xff)),
        ),
        ("no address", changed(&|it| it.body[18..].fill(0))),
        ("from a group", changed(&|it| it.source = ALL_NODES.into())),
        (
            "from the loopback",
            changed(&|it| it.source = Ipv6Addr::LOCALHOST.into()),
        ),
        (
            "from an IPv4 address",
            changed(&|it| it.source = "::ffff:192.0.2.10".parse().unwrap()),
        ),
        (
            "a probe with an address",
            changed_probe(&|it| it.body.extend(link_option(1, ROUTER_MAC))),
        ),
        (
            "a probe to the address",
            changed_probe(&|it| it.destination = Family::V6.leased()),
        ),
        (
            "a probe to all",
            changed_probe(&|it| it.destination = ALL_NODES.into()),
        ),
        (
            "a probe to others' group",
            changed_probe(&|it| it.destination = "ff02::1:ff11:2030".parse().unwrap()),
        ),
    ]
}

#[test]
fn malformed_solicitations_are_not_answered() {
    let mut fabric = Fabric::with_leases();
    for is_held in [true, false] {
        for (what, frame) in malformed() {
            assert_left(&fabric, &frame, Action::Drop, "drop-bad-solicitation", what);
        }
        assert_eq!(fabric.claims(), [], "{is_held}");
        fabric.give_up();
    }
}

/// A group's address is no VIP, whatever the maps say.
#[test]
fn a_group_is_never_answered_for() {
    let mut fabric = Fabric::with_leases();
    let group: IpAddr = "ff02::10:2030".parse().unwrap();
    fabric.lease(group, lbfabric_abi::LeasedVip::held(1));
    let mut question = solicitation();
    question.body[..16].copy_from_slice(&octets6(group));
    let frame = question.build();
    assert_left(
        &fabric,
        &frame,
        Action::Drop,
        "drop-bad-solicitation",
        "a group",
    );
}

/// RFC 6980: no neighbor discovery in fragments. What is for a group of hosts goes to the kernel, which knows that.
#[test]
fn fragments_are_not_answered() {
    let mut fabric = Fabric::with_leases();
    let fragment = |question: &IcmpPacket, more: u8| {
        let mut frame = question.build();
        let behind = ETHERNET + HEADER;
        frame.splice(behind..behind, [58, 0, 0, more, 0, 0, 0, 9]);
        frame[ETHERNET + 5] += 8;
        frame[ETHERNET + 6] = 44;
        frame
    };
    for more in [0, 1] {
        let frame = fragment(&solicitation(), more);
        assert_left(&fabric, &frame, Action::Pass, "pass-not-vip", "to a group");
    }
    fabric.vip_address(Family::V6.leased());
    let mut unicast = solicitation();
    (unicast.destination, unicast.destination_mac) = (Family::V6.leased(), NODE_MAC);
    assert_eq!(fabric.lb(&unicast.build()).action, Action::Tx);
    let whole = fragment(&unicast, 0);
    assert_left(
        &fabric,
        &whole,
        Action::Drop,
        "drop-bad-solicitation",
        "the only one",
    );
    let first = fragment(&unicast, 1);
    assert_left(
        &fabric,
        &first,
        Action::Pass,
        "pass-not-served",
        "the first one",
    );
}

/// A host that has the VIP's address: it tells all, or one that asked, or it asks for something itself.
fn claims(mac: [u8; 6]) -> [IcmpPacket; 4] {
    let (vip, host) = (Family::V6.leased(), Family::V6.host());
    let mut tells_all = message(ADVERTISEMENT, vip, ALL_NODES.into(), vip).macs(mac, ALL_NODES_MAC);
    tells_all.rest[0] = OVERRIDE;
    let mut without = tells_all.clone();
    tells_all.body.extend(link_option(2, mac));
    without.source = "fe80::1".parse().unwrap();
    let mut tells_one = tells_all.clone();
    (tells_one.destination, tells_one.destination_mac) = (host, ROUTER_MAC);
    tells_one.rest[0] = SOLICITED | OVERRIDE;
    let (group, group_mac) = solicited_node(host);
    let mut asks = message(SOLICITATION, vip, group, host).macs(mac, group_mac);
    asks.body.extend(link_option(1, mac));
    [tells_all, without, tells_one, asks]
}

#[test]
fn another_owner_is_noted_and_nothing_else() {
    let mut fabric = Fabric::with_leases();
    let vip = Family::V6.leased();
    for claim in claims(OTHER_MAC) {
        let frame = claim.build();
        assert_left(
            &fabric,
            &frame,
            Action::Pass,
            "pass-vip-claim",
            &format!("{claim:?}"),
        );
    }
    assert_eq!(fabric.claims(), [(vip, OTHER_MAC, 4)]);
    let tagged = tagged(&claims(ROUTER_MAC)[0].build(), TAGS[0]);
    assert_left(&fabric, &tagged, Action::Pass, "pass-vip-claim", "tagged");
    assert_eq!(fabric.claims(), [(vip, ROUTER_MAC, 1), (vip, OTHER_MAC, 4)]);
    assert_eq!(fabric.lb(&solicitation().build()).action, Action::Tx);
}

#[test]
fn what_is_no_claim_is_not_noted() {
    let mut fabric = Fabric::with_leases();
    let passes = |fabric: &Fabric, frame: &[u8], what: &str| {
        assert_left(fabric, frame, Action::Pass, "pass-nd", what);
    };
    for claim in claims(NODE_MAC) {
        passes(&fabric, &claim.build(), "the node's own");
    }
    let [tells_all, ..] = claims(OTHER_MAC);
    let mut routed = tells_all.clone();
    routed.ttl = 254;
    passes(&fabric, &routed.build(), "it comes from elsewhere");
    let mut odd = tells_all.clone();
    odd.rest[0] = SOLICITED;
    passes(&fabric, &odd.build(), "all have asked for it");
    let mut cut = tells_all.clone();
    cut.body[17] = 0;
    passes(&fabric, &cut.build(), "an option of no length");
    let mut wrong = tells_all.build();
    wrong[ETHERNET + HEADER + 3] ^= 0x10;
    passes(&fabric, &wrong, "checksum");

    fabric.lease_until(std::time::Duration::ZERO);
    for claim in claims(OTHER_MAC) {
        passes(&fabric, &claim.build(), "the lease is over");
    }
    fabric.lease_until(long());
    fabric.give_up();
    for claim in claims(OTHER_MAC) {
        passes(&fabric, &claim.build(), "another node holds it");
    }
    assert_eq!(fabric.claims(), []);
}
