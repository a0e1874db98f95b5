//! What does not concern a VIP leaves as it came.

use std::net::SocketAddr;

use etherparse::{EtherType, IpNumber};
use lbfabric_abi::{Mode, Protocol};

use super::{
    fabric::{CASES, Fabric, Family, octets4, octets6, request, reverse},
    kernel::{Action, Program},
    packets::{ETHERNET, NODE_MAC, Packet, ROUTER_MAC, ethernet, fix_ipv4_checksum, ipv4, ipv6},
};

fn assert_passed(fabric: &Fabric, frame: &[u8], counter: &str, what: &str) {
    let ran = fabric.lb(frame);
    assert_eq!(
        (ran.action, ran.counter),
        (Action::Pass, Some(counter)),
        "{what}"
    );
    assert_eq!(ran.frame, frame, "{what}");
}

/// An IP packet that is neither TCP nor UDP.
fn other(family: Family, number: u8, source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let payload = [8, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    let (ether_type, header) = match family {
        Family::V4 => {
            let mut ip = ipv4(
                IpNumber(number),
                octets4(source.ip()),
                octets4(destination.ip()),
                payload.len(),
            );
            ip.header_checksum = ip.calc_header_checksum();
            (EtherType::IPV4, ip.to_bytes().to_vec())
        }
        Family::V6 => {
            let ip = ipv6(
                IpNumber(number),
                octets6(source.ip()),
                octets6(destination.ip()),
                payload.len(),
            );
            (EtherType::IPV6, ip.to_bytes().to_vec())
        }
    };
    [
        ethernet(ROUTER_MAC, NODE_MAC, ether_type),
        header,
        payload.to_vec(),
    ]
    .concat()
}

#[test]
fn other_network_protocols() {
    let fabric = Fabric::new(Mode::Dnat);
    let vip = request(Family::V4, Protocol::Tcp).build();
    // A VLAN tag, QinQ, LLDP, MPLS, PPPoE, and a length instead of a type, before what would be a packet for a VIP.
    for ether_type in [0x8100, 0x88a8, 0x88cc, 0x8847, 0x8864, 0x002e] {
        let mut frame = ethernet([2; 6], [0xff; 6], EtherType(ether_type));
        frame.extend(&vip[ETHERNET..]);
        assert_passed(&fabric, &frame, "pass-not-ip", &format!("{ether_type:#x}"));
    }
    let mut frame = ethernet([2; 6], [0xff; 6], EtherType::ARP);
    frame.extend(&vip[ETHERNET..]);
    assert_passed(&fabric, &frame, "pass-arp", "ARP");
}

#[test]
fn a_version_that_is_not_the_frames() {
    let fabric = Fabric::new(Mode::Dnat);
    for (family, protocol) in CASES {
        let mut frame = request(family, protocol).build();
        frame[ETHERNET] ^= 0x10;
        assert_passed(&fabric, &frame, "pass-not-ip", &format!("{family:?}"));
    }
}

#[test]
fn other_addresses() {
    let fabric = Fabric::new(Mode::Dnat);
    for (family, protocol) in CASES {
        let elsewhere = family.other_server();
        let to = request(family, protocol).to(elsewhere);
        for ttl in [0, 1, 64] {
            let frame = to.clone().ttl(ttl).build();
            assert_passed(&fabric, &frame, "pass-not-vip", "elsewhere");
        }
        // From the VIP instead of to it.
        let frame = Packet::new(protocol, family.vip(), elsewhere).build();
        assert_passed(&fabric, &frame, "pass-not-vip", "from the VIP");
    }
}

#[test]
fn broken_packets_to_other_addresses() {
    let fabric = Fabric::new(Mode::Dnat);
    for (family, protocol) in CASES {
        let whole = request(family, protocol).to(family.server()).build();
        for length in ETHERNET..whole.len() {
            assert_passed(
                &fabric,
                &whole[..length],
                "pass-not-vip",
                &format!("{length}"),
            );
        }
    }
    let mut fragment = request(Family::V4, Protocol::Udp)
        .to(Family::V4.server())
        .build();
    fragment[ETHERNET + 6] = 0x20;
    fix_ipv4_checksum(&mut fragment);
    assert_passed(&fabric, &fragment, "pass-not-vip", "fragment");
    let fragment = other(Family::V6, 44, Family::V6.client(), Family::V6.server());
    assert_passed(&fabric, &fragment, "pass-not-vip", "IPv6 fragment");
}

#[test]
fn frames_that_end_before_their_destination() {
    let fabric = Fabric::new(Mode::Dnat);
    for (family, protocol) in CASES {
        let whole = request(family, protocol).build();
        let header_end = ETHERNET
            + match family {
                Family::V4 => 20,
                Family::V6 => 40,
            };
        for length in ETHERNET..header_end {
            assert_passed(
                &fabric,
                &whole[..length],
                "pass-not-vip",
                &format!("{length}"),
            );
        }
    }
}

#[test]
fn other_transport_protocols() {
    let fabric = Fabric::new(Mode::Dnat);
    for family in [Family::V4, Family::V6] {
        // IGMP, IPIP, GRE, ESP, hop-by-hop options, routing, destination options, SCTP; and the other family's ICMP.
        let icmp = match family {
            Family::V4 => 58,
            Family::V6 => 1,
        };
        for number in [icmp, 2, 4, 47, 50, 0, 43, 60, 132] {
            let frame = other(family, number, family.client(), family.vip());
            assert_passed(&fabric, &frame, "pass-not-served", &format!("{number}"));
            let frame = other(family, number, family.client(), family.server());
            assert_passed(&fabric, &frame, "pass-not-vip", &format!("{number}"));
        }
    }
}

#[test]
fn ports_that_are_not_served() {
    let mut fabric = Fabric::new(Mode::Dnat);
    for (family, protocol) in CASES {
        let mut vip = family.vip();
        vip.set_port(81);
        let frame = request(family, protocol).to(vip).build();
        assert_passed(&fabric, &frame, "pass-not-served", "port 81");
    }
    // A range next to it, and of the other protocol.
    let mut range = Family::V4.vip();
    range.set_port(0x4000);
    let service = super::fabric::service(Mode::Dnat);
    fabric.serve_range(range, 4, Protocol::Tcp, service);
    for (port, protocol) in [
        (0x3fff, Protocol::Tcp),
        (0x5000, Protocol::Tcp),
        (0x4000, Protocol::Udp),
    ] {
        range.set_port(port);
        let frame = request(Family::V4, protocol).to(range).build();
        assert_passed(&fabric, &frame, "pass-not-served", &format!("{port:#x}"));
    }
}

/// What a server answers to the node itself, such as to a health check, is no answer for a client.
#[test]
fn answers_to_the_node_itself() {
    let mut fabric = Fabric::new(Mode::Dnat);
    for (family, protocol) in CASES {
        fabric.reverse(family.server(), protocol, reverse(family.vip(), false));
        let node = SocketAddr::new(family.node(), 44_444);
        let frame = Packet::new(protocol, family.server(), node).build();
        assert_passed(&fabric, &frame, "pass-not-vip", &format!("{family:?}"));
        // An address behind the count is not the node's.
        let other = SocketAddr::new(family.second_node(), 44_444);
        let ran = fabric.lb(&Packet::new(protocol, family.server(), other).build());
        assert_ne!(ran.counter, Some("pass-not-vip"), "{family:?}");
    }
}

#[test]
fn the_passing_program_passes() {
    let fabric = Fabric::new(Mode::Dnat);
    for (family, protocol) in CASES {
        let frame = request(family, protocol).build();
        let ran = fabric.kernel.run(Program::Pass, &frame);
        assert_eq!((ran.action, ran.counter), (Action::Pass, None));
        assert_eq!(ran.frame, frame);
    }
}
