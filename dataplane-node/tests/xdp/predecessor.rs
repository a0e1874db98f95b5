//! Packets of connections that are older than the node's hold on a leased VIP: they go to the node that held it before, where their
//! sessions are.

use std::{net::SocketAddr, time::Duration};

use lbfabric_abi::{LeasedVip, Mode, NextHop, Protocol};

use super::{
    exact_fabric,
    fabric::{EGRESS, EGRESS_MAC, Fabric, Family, SERVER, backend, request},
    fragments::fragments,
    icmp_packets::{IcmpPacket, Trouble},
    kernel::{Action, INGRESS, Ran},
    leases::{EPOCH, OTHER_MAC, assert_left, boot_clock, long},
    packets::{NODE_MAC, Packet, l4_start},
    sessions,
    shapes::{TAGS, tagged},
};

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// The other node, on the link that clients come in through.
const PREDECESSOR: NextHop = NextHop {
    mac: OTHER_MAC,
    source_mac: NODE_MAC,
    ifindex: INGRESS,
};

fn after(predecessor: NextHop) -> LeasedVip {
    LeasedVip {
        predecessor,
        ..LeasedVip::held(EPOCH)
    }
}

/// Every kind of service whose flows have sessions, with the counter of its packets.
fn with_sessions() -> [(Fabric, &'static str); 3] {
    let mut hairpin = Fabric::new(Mode::Dnat);
    let mut beside = backend(Family::V4.server().ip(), Family::V6.server().ip());
    (beside.host_bits4, beside.host_bits6) = (31, 127);
    hairpin.backend(SERVER, beside);
    let mut fabrics = [
        (Fabric::new(Mode::Fullnat), "l4-fullnat"),
        (exact_fabric::fabric(), "l4-dnat"),
        (hairpin, "l4-fullnat"),
    ];
    for (fabric, _) in &mut fabrics {
        hold(fabric, after(PREDECESSOR));
    }
    fabrics
}

fn hold(fabric: &mut Fabric, lease: LeasedVip) {
    for family in FAMILIES {
        fabric.lease(family.vip().ip(), lease);
    }
    fabric.lease_until(long());
}

/// A client that hairpin's servers would answer past the node.
fn client(family: Family) -> SocketAddr {
    let client = match family {
        Family::V4 => "11.1.2.3:51234",
        Family::V6 => "[fd01:2::3]:51234",
    };
    client.parse().unwrap()
}

fn packet(family: Family, protocol: Protocol) -> Packet {
    request(family, protocol).from(client(family))
}

fn established(family: Family) -> Packet {
    packet(family, Protocol::Tcp).established()
}

/// To the predecessor, as it came but for the link-layer addresses.
fn handed_on(frame: &[u8]) -> Ran {
    let addresses = [OTHER_MAC, NODE_MAC].concat();
    Ran {
        action: Action::Tx,
        counter: Some("to-predecessor"),
        frame: [&addresses, &frame[12..]].concat(),
    }
}

#[test]
fn what_has_no_session_goes_to_the_predecessor() {
    for (mut fabric, counter) in with_sessions() {
        for family in FAMILIES {
            let mut shapes = vec![established(family); 4];
            shapes[1].payload = Vec::new();
            shapes[2].tcp_options = vec![1; 12];
            shapes[3].padding = 9;
            for packet in shapes {
                let frame = packet.build();
                assert_eq!(fabric.lb(&frame), handed_on(&frame), "{counter} {family:?}");
                for tags in TAGS {
                    let frame = tagged(&frame, tags);
                    assert_eq!(fabric.lb(&frame), handed_on(&frame), "{counter} {tags:?}");
                }
            }
            for flags in [0x01, 0x04, 0x11, 0x14, 0x18] {
                let mut frame = established(family).build();
                frame[l4_start(&packet(family, Protocol::Tcp)) + 13] = flags;
                assert_eq!(fabric.lb(&frame), handed_on(&frame), "{counter} {flags:#x}");
            }
            // The node is no hop: it does not count the time to live down, and tells nobody of its end but where it has ended.
            let ending = fabric.lb(&established(family).ttl(1).build());
            assert_eq!(ending.counter, Some("icmp-time-exceeded"));
            let last = established(family).ttl(2).build();
            assert_eq!(fabric.lb(&last), handed_on(&last), "{counter} {family:?}");
        }
        assert_eq!(sessions::all(&mut fabric), []);
        assert_eq!(sessions::words(&mut fabric), 0);
    }
}

#[test]
fn what_begins_here_stays_here() {
    for (fabric, counter) in with_sessions() {
        for family in FAMILIES {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                let first = packet(family, protocol);
                assert_eq!(
                    fabric.lb(&first.build()).counter,
                    Some(counter),
                    "{first:?}"
                );
                // Which is what the program for plain packets looks at, too.
                let later = first.established();
                let ran = fabric.lb(&later.build());
                assert_eq!(ran.counter, Some(counter), "{later:?}");
            }
        }
    }
}

#[test]
fn through_another_interface_it_is_redirected() {
    for (mut fabric, counter) in with_sessions() {
        let elsewhere = NextHop {
            source_mac: EGRESS_MAC,
            ifindex: EGRESS,
            ..PREDECESSOR
        };
        hold(&mut fabric, after(elsewhere));
        for family in FAMILIES {
            let packet = established(family);
            let expected = Ran {
                action: Action::Redirect,
                counter: Some("to-predecessor"),
                frame: packet.clone().macs(EGRESS_MAC, OTHER_MAC).build(),
            };
            let frame = packet.build();
            assert_eq!(fabric.lb(&frame), expected, "{counter} {family:?}");
            // Tags mean another network there.
            assert_eq!(fabric.lb(&tagged(&frame, TAGS[0])), expected, "{counter}");
        }
    }
}

#[test]
fn without_a_hold_or_a_predecessor_it_is_a_new_flow() {
    for (what, lease, is_over) in [
        ("no predecessor", LeasedVip::held(EPOCH), false),
        ("the lease has ended", after(PREDECESSOR), true),
        ("not held", LeasedVip::default(), false),
        (
            "not held, though somebody was",
            LeasedVip {
                flags: 0,
                ..after(PREDECESSOR)
            },
            false,
        ),
    ] {
        for (mut fabric, counter) in with_sessions() {
            hold(&mut fabric, lease);
            if is_over {
                fabric.lease_until(Duration::from_nanos(1));
            }
            for family in FAMILIES {
                let ran = fabric.lb(&established(family).build());
                assert_eq!(ran.counter, Some(counter), "{what} {family:?}");
            }
            assert_eq!(sessions::all(&mut fabric).len(), 2, "{what}");
        }
    }
}

/// Nobody knows of the next owner yet: a new session would end a connection that goes on elsewhere.
#[test]
fn who_has_given_the_vip_up_leaves_what_it_does_not_know_to_others() {
    for (mut fabric, counter) in with_sessions() {
        let nanos = |at: Duration| u64::try_from(at.as_nanos()).unwrap();
        hold(&mut fabric, LeasedVip::given_up(nanos(long())));
        for family in FAMILIES {
            let frame = established(family).build();
            assert_left(
                &fabric,
                &frame,
                Action::Drop,
                "drop-vip-moved",
                "a connection that is not known",
            );
            // What it knows, and what begins, goes on as before.
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                let first = packet(family, protocol);
                for packet in [first.clone(), first.established()] {
                    let ran = fabric.lb(&packet.build());
                    assert_eq!(ran.counter, Some(counter), "{packet:?}");
                }
            }
        }
        hold(&mut fabric, LeasedVip::given_up(nanos(boot_clock())));
        for family in FAMILIES {
            let mut late = established(family);
            late.source.set_port(7);
            let ran = fabric.lb(&late.build());
            assert_eq!(ran.counter, Some(counter), "{family:?}");
        }
    }
}

/// Where any node can carry on a flow, none is sent anywhere else.
#[test]
fn flows_without_sessions_stay() {
    for (mode, counter) in [
        (Mode::Dnat, "l4-dnat"),
        (Mode::Dsr, "l4-dsr"),
        (Mode::Tunnel, "l4-tunnel"),
    ] {
        let mut fabric = Fabric::new(mode);
        hold(&mut fabric, after(PREDECESSOR));
        for family in FAMILIES {
            let ran = fabric.lb(&established(family).build());
            assert_eq!(ran.counter, Some(counter), "{family:?}");
        }
    }
}

#[test]
fn fragments_follow_while_the_vip_is_held() {
    for (mut fabric, counter) in with_sessions() {
        for family in FAMILIES {
            let mut packet = established(family);
            packet.payload = vec![7; 90];
            let [first, second] = fragments(&packet, 40, 77);
            assert_eq!(fabric.lb(&first), handed_on(&first), "{counter} {family:?}");
            assert_eq!(
                fabric.lb(&second),
                handed_on(&second),
                "{counter} {family:?}"
            );
            fabric.lease_until(Duration::from_nanos(1));
            let late = fabric.lb(&second);
            assert_eq!(
                (late.action, late.counter),
                (Action::Drop, Some("drop-fragment"))
            );
            fabric.lease_until(long());
        }
    }
}

/// Such as of a packet that is too big for the way to the client.
#[test]
fn errors_about_what_the_predecessor_has_sent_follow() {
    for (mut fabric, counter) in with_sessions() {
        for family in FAMILIES {
            let error = |protocol| {
                let answer = Packet::new(protocol, family.vip(), client(family)).established();
                let trouble = Trouble::TooBig(1300);
                IcmpPacket::error(trouble, family.router(), &answer, family.header() + 8).build()
            };
            let frame = error(Protocol::Tcp);
            assert_eq!(fabric.lb(&frame), handed_on(&frame), "{counter} {family:?}");
            let tagged = tagged(&frame, TAGS[0]);
            assert_eq!(fabric.lb(&tagged), handed_on(&tagged), "{counter}");
            let of_udp = fabric.lb(&error(Protocol::Udp));
            assert_eq!(of_udp.counter, Some("drop-unknown-flow"));
        }
        hold(&mut fabric, LeasedVip::held(EPOCH));
        for family in FAMILIES {
            let answer = Packet::new(Protocol::Tcp, family.vip(), client(family));
            let error =
                IcmpPacket::error(Trouble::TooBig(1300), family.router(), &answer, 60).build();
            assert_eq!(fabric.lb(&error).counter, Some("drop-unknown-flow"));
        }
    }
}
