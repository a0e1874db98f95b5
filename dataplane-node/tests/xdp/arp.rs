//! ARP for VIPs with leases: who is answered, and how, and who is not.

use std::net::{IpAddr, Ipv4Addr};

use etherparse::EtherType;
use lbfabric_abi::{LEASED_VIPS_MAX, LeasedVip, Protocol};

use super::{
    fabric::{Fabric, Family, octets4, request},
    kernel::{Action, INGRESS, Program},
    leases::{EPOCH, OTHER_MAC, ask_until_the_end, assert_left, sent},
    packets::{ETHERNET, NODE_MAC, ROUTER_MAC, ethernet},
    shapes::{TAGS, tagged},
};

const BROADCAST: [u8; 6] = [0xff; 6];
const REQUEST: u8 = 1;
const REPLY: u8 = 2;

/// ARP in an Ethernet frame.
#[derive(Clone, Debug)]
pub(crate) struct Arp {
    source_mac: [u8; 6],
    destination_mac: [u8; 6],
    /// Hardware and protocol, and how long their addresses are.
    network: [u8; 6],
    operation: u8,
    pub(crate) sender_mac: [u8; 6],
    sender: [u8; 4],
    target_mac: [u8; 6],
    target: [u8; 4],
    padding: usize,
}

impl Arp {
    /// A host's question for the VIP.
    pub(crate) fn request() -> Self {
        Self {
            source_mac: ROUTER_MAC,
            destination_mac: BROADCAST,
            network: [0, 1, 8, 0, 6, 4],
            operation: REQUEST,
            sender_mac: ROUTER_MAC,
            sender: octets4(Family::V4.host()),
            target_mac: [0; 6],
            target: octets4(Family::V4.leased()),
            padding: 18,
        }
    }

    /// RFC 5227: is anybody there?
    fn probe() -> Self {
        Self {
            sender: [0; 4],
            ..Self::request()
        }
    }

    /// RFC 5227: it is mine.
    fn announcement(mac: [u8; 6], operation: u8) -> Self {
        let vip = octets4(Family::V4.leased());
        Self {
            source_mac: mac,
            operation,
            sender_mac: mac,
            sender: vip,
            target: vip,
            ..Self::request()
        }
    }

    /// The node's answer.
    fn answer(&self) -> Self {
        Self {
            source_mac: NODE_MAC,
            destination_mac: self.sender_mac,
            operation: REPLY,
            sender_mac: NODE_MAC,
            sender: self.target,
            target_mac: self.sender_mac,
            target: self.sender,
            ..self.clone()
        }
    }

    pub(crate) fn build(&self) -> Vec<u8> {
        let mut frame = ethernet(self.source_mac, self.destination_mac, EtherType::ARP);
        frame.extend(self.network);
        frame.extend([0, self.operation]);
        frame.extend(self.sender_mac);
        frame.extend(self.sender);
        frame.extend(self.target_mac);
        frame.extend(self.target);
        assert_eq!(frame.len(), ETHERNET + 28);
        frame.resize(frame.len() + self.padding, 0xee);
        frame
    }
}

/// Questions of every kind that have to be answered.
fn questions() -> Vec<Arp> {
    let mut questions = Vec::new();
    for base in [Arp::request(), Arp::probe()] {
        for destination_mac in [BROADCAST, NODE_MAC] {
            for target_mac in [[0; 6], BROADCAST, NODE_MAC] {
                for padding in [0, 18] {
                    questions.push(Arp {
                        destination_mac,
                        target_mac,
                        padding,
                        ..base.clone()
                    });
                }
            }
        }
    }
    // Somebody asks in another one's name, as proxies do: the answer is for that one.
    questions.push(Arp {
        source_mac: OTHER_MAC,
        ..Arp::request()
    });
    questions
}

#[test]
fn a_held_vip_is_answered() {
    let mut fabric = Fabric::with_leases();
    for question in questions() {
        let expected = sent("arp-reply", question.answer().build());
        assert_eq!(fabric.lb(&question.build()), expected, "{question:?}");
        for tags in TAGS {
            let expected = sent("arp-reply", tagged(&question.answer().build(), tags));
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
    for question in questions() {
        let frame = question.build();
        assert_left(
            &fabric,
            &frame,
            Action::Drop,
            "drop-vip-not-held",
            "untagged",
        );
        for tags in TAGS {
            let ran = fabric.lb(&tagged(&frame, tags));
            assert_eq!(
                (ran.action, ran.counter),
                (Action::Drop, Some("drop-vip-not-held"))
            );
        }
    }
    // Each VIP by itself.
    fabric.lease(Family::V4.other_leased(), LeasedVip::held(EPOCH));
    assert_left(
        &fabric,
        &Arp::request().build(),
        Action::Drop,
        "drop-vip-not-held",
        "another one is held",
    );
    let other = Arp {
        target: octets4(Family::V4.other_leased()),
        ..Arp::request()
    };
    assert_eq!(
        fabric.lb(&other.build()),
        sent("arp-reply", other.answer().build())
    );
}

#[test]
fn nobody_answers_after_the_end_of_the_lease() {
    let mut fabric = Fabric::with_leases();
    let request = Arp::request();
    let answer = sent("arp-reply", request.answer().build());
    ask_until_the_end(&mut fabric, &request.build(), &answer);
}

/// Whoever has a flow goes on with it, also while nobody says where to.
#[test]
fn packets_are_forwarded_whatever_becomes_of_the_lease() {
    let mut fabric = Fabric::with_leases();
    for family in [Family::V4, Family::V6] {
        let vip = family.vip();
        let frame = request(family, Protocol::Tcp).build();
        for held in [true, false] {
            for end in [super::leases::long(), std::time::Duration::ZERO] {
                let lease = if held {
                    LeasedVip::held(EPOCH)
                } else {
                    LeasedVip::default()
                };
                fabric.lease(vip.ip(), lease);
                fabric.lease_until(end);
                let ran = fabric.lb(&frame);
                assert_eq!(
                    (ran.action, ran.counter),
                    (Action::Redirect, Some("l4-dsr")),
                    "{family:?} {held} {end:?}"
                );
            }
        }
    }
}

#[test]
fn other_arp_passes() {
    let mut fabric = Fabric::with_leases();
    let request = Arp::request();
    let mut others = vec![
        // For others' addresses: a VIP without a lease, and the node's own.
        Arp {
            target: octets4(Family::V4.vip().ip()),
            ..request.clone()
        },
        Arp {
            target: octets4(Family::V4.node()),
            ..request.clone()
        },
        // A switch that does not know where another host is.
        Arp {
            destination_mac: OTHER_MAC,
            ..request.clone()
        },
        // The answer to the node's own question.
        Arp {
            destination_mac: NODE_MAC,
            operation: REPLY,
            target: octets4(Family::V4.node()),
            ..request.clone()
        },
    ];
    // Of RARP and InARP, and numbers without a meaning.
    others.extend([0, 3, 4, 8, 9, 255].map(|operation| Arp {
        operation,
        ..request.clone()
    }));
    // Other hardware and protocols, and addresses of other lengths.
    others.extend(
        [
            [0, 6, 8, 0, 6, 4],
            [1, 1, 8, 0, 6, 4],
            [0, 1, 8, 6, 6, 4],
            [0, 1, 0x86, 0xdd, 6, 4],
            [0, 1, 8, 0, 7, 4],
            [0, 1, 8, 0, 6, 16],
        ]
        .map(|network| Arp {
            network,
            ..request.clone()
        }),
    );
    for other in &others {
        let frame = other.build();
        assert_left(
            &fabric,
            &frame,
            Action::Pass,
            "pass-arp",
            &format!("{other:?}"),
        );
        for tags in TAGS {
            let frame = tagged(&frame, tags);
            assert_left(
                &fabric,
                &frame,
                Action::Pass,
                "pass-arp",
                &format!("{other:?}"),
            );
        }
    }
    assert_eq!(fabric.claims(), []);
}

#[test]
fn every_prefix_of_a_request_passes() {
    let fabric = Fabric::with_leases();
    let request = Arp {
        padding: 0,
        ..Arp::request()
    };
    let whole = request.build();
    for length in ETHERNET..whole.len() {
        let frame = &whole[..length];
        assert_left(
            &fabric,
            frame,
            Action::Pass,
            "pass-arp",
            &format!("{length}"),
        );
    }
    assert_eq!(fabric.lb(&whole).action, Action::Tx);
    for tags in TAGS {
        let whole = tagged(&whole, tags);
        let behind = ETHERNET + 4 * tags.len();
        for length in ETHERNET..whole.len() {
            let counter = if length < behind {
                "pass-not-ip"
            } else {
                "pass-arp"
            };
            assert_left(
                &fabric,
                &whole[..length],
                Action::Pass,
                counter,
                &format!("{length}"),
            );
        }
        assert_eq!(fabric.lb(&whole).action, Action::Tx);
    }
}

#[test]
fn who_cannot_be_answered_is_not() {
    let mut fabric = Fabric::with_leases();
    let request = Arp::request();
    let mut wrong: Vec<Arp> = [[0; 6], BROADCAST, [1, 0, 0x5e, 0, 0, 1]]
        .map(|sender_mac| Arp {
            sender_mac,
            ..request.clone()
        })
        .into();
    wrong.extend(
        [
            [127, 0, 0, 1],
            [0, 1, 2, 3],
            [224, 0, 0, 1],
            [255, 255, 255, 255],
        ]
        .map(|sender| Arp {
            sender,
            ..request.clone()
        }),
    );
    for wrong in wrong {
        assert_left(
            &fabric,
            &wrong.build(),
            Action::Drop,
            "drop-bad-solicitation",
            &format!("{wrong:?}"),
        );
    }
    assert_eq!(fabric.claims(), []);
    // The node does not know its own address on that interface: it says nothing rather than something wrong.
    let ran = fabric
        .kernel
        .run_from(Program::Lb, &request.build(), INGRESS);
    assert_eq!(ran.action, Action::Tx);
    fabric.forget_link(INGRESS);
    assert_left(
        &fabric,
        &request.build(),
        Action::Drop,
        "drop-internal",
        "no address",
    );
}

impl Fabric {
    fn forget_link(&mut self, ifindex: u32) {
        self.kernel
            .hash::<u32, lbfabric_abi::LinkAddress>("LINKS")
            .remove(&ifindex)
            .unwrap();
    }
}

/// The claims of a host that has the VIP's address: announcements, answers and questions.
fn claims(mac: [u8; 6]) -> [Arp; 4] {
    let vip = octets4(Family::V4.leased());
    [
        Arp::announcement(mac, REQUEST),
        Arp::announcement(mac, REPLY),
        Arp {
            source_mac: mac,
            destination_mac: OTHER_MAC,
            operation: REPLY,
            sender_mac: mac,
            sender: vip,
            target: octets4(Family::V4.host()),
            ..Arp::request()
        },
        Arp {
            source_mac: mac,
            sender_mac: mac,
            sender: vip,
            target: octets4(Family::V4.host()),
            ..Arp::request()
        },
    ]
}

#[test]
fn another_owner_is_noted_and_nothing_else() {
    let mut fabric = Fabric::with_leases();
    let vip: IpAddr = Family::V4.leased();
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
    for claim in claims(ROUTER_MAC) {
        let frame = tagged(&claim.build(), TAGS[0]);
        assert_left(
            &fabric,
            &frame,
            Action::Pass,
            "pass-vip-claim",
            &format!("{claim:?}"),
        );
    }
    assert_eq!(fabric.claims(), [(vip, ROUTER_MAC, 4), (vip, OTHER_MAC, 4)]);
    // The owner goes on to answer.
    assert_eq!(fabric.lb(&Arp::request().build()).action, Action::Tx);
}

#[test]
fn the_owner_is_nobodys_rival() {
    let mut fabric = Fabric::with_leases();
    // Its own frames, which a switch has sent back.
    for claim in claims(NODE_MAC) {
        assert_left(
            &fabric,
            &claim.build(),
            Action::Pass,
            "pass-arp",
            &format!("{claim:?}"),
        );
    }
    // Another node may have the VIP by now: the kernel learns where, as with any address.
    fabric.lease_until(std::time::Duration::ZERO);
    for claim in claims(OTHER_MAC) {
        assert_left(
            &fabric,
            &claim.build(),
            Action::Pass,
            "pass-arp",
            &format!("{claim:?}"),
        );
    }
    fabric.lease_until(super::leases::long());
    fabric.give_up();
    for claim in claims(OTHER_MAC) {
        assert_left(
            &fabric,
            &claim.build(),
            Action::Pass,
            "pass-arp",
            &format!("{claim:?}"),
        );
    }
    assert_eq!(fabric.claims(), []);
}

#[test]
fn every_vip_of_a_node_may_be_leased() {
    let mut fabric = Fabric::with_leases();
    let first = u32::from(Ipv4Addr::new(10, 64, 0, 0));
    // Two are there.
    let vips: Vec<Ipv4Addr> = (first..first + LEASED_VIPS_MAX - 2)
        .map(Ipv4Addr::from)
        .collect();
    for vip in &vips {
        fabric.lease((*vip).into(), LeasedVip::held(EPOCH));
    }
    for vip in [vips[0], vips[77_777], *vips.last().unwrap()] {
        let request = Arp {
            target: vip.octets(),
            ..Arp::request()
        };
        let expected = sent("arp-reply", request.answer().build());
        assert_eq!(fabric.lb(&request.build()), expected);
    }
}
