//! The server's side of `l4-tunnel`.

use std::net::{IpAddr, SocketAddr};

use aya::maps::lpm_trie::Key;
use etherparse::{EtherType, IpDscp, IpEcn, IpNumber, Ipv4Options};
use lbfabric_abi::{Address, Mode, Protocol};

use super::{
    fabric::{CASES, Fabric, Family, octets4, octets6, request},
    kernel::{Action, Program, Ran},
    packets::{ETHERNET, NODE_MAC, Packet, ROUTER_MAC, ethernet, ipv4, ipv6},
};

/// A server that has both VIPs.
pub(crate) fn server() -> Fabric {
    let mut fabric = Fabric::new(Mode::Tunnel);
    for family in [Family::V4, Family::V6] {
        vip(&mut fabric, family.vip().ip(), 128);
    }
    fabric
}

/// Gives the server the VIP, or the prefix of that many bits of an [`Address`] that it is in.
pub(crate) fn vip(fabric: &mut Fabric, vip: IpAddr, bits: u32) {
    let mut vips = fabric.kernel.trie::<Address, u32>("SERVER_VIPS");
    vips.insert(&Key::new(bits, Address::from(vip)), 1, 0)
        .unwrap();
}

pub(crate) struct Outer {
    family: Family,
    pub(crate) protocol: u8,
    pub(crate) class: u8,
    pub(crate) options: usize,
    fragment: bool,
}

impl Outer {
    pub(crate) fn new(family: Family, inner: &Packet) -> Self {
        Self {
            family,
            protocol: if inner.source.is_ipv4() { 4 } else { 41 },
            class: inner.traffic_class,
            options: 0,
            fragment: false,
        }
    }

    /// The frame that arrives at the server.
    pub(crate) fn wrap(&self, inner: &[u8]) -> Vec<u8> {
        let number = IpNumber(self.protocol);
        let (ether_type, header) = match self.family {
            Family::V4 => {
                let mut ip = ipv4(
                    number,
                    octets4(Family::V4.node()),
                    octets4(Family::V4.server().ip()),
                    inner.len() + self.options,
                );
                ip.options = Ipv4Options::try_from(vec![1; self.options].as_slice()).unwrap();
                ip.dscp = IpDscp::try_new(self.class >> 2).unwrap();
                ip.ecn = IpEcn::try_new(self.class & 3).unwrap();
                ip.more_fragments = self.fragment;
                ip.header_checksum = ip.calc_header_checksum();
                (EtherType::IPV4, ip.to_bytes().to_vec())
            }
            Family::V6 => {
                let mut ip = ipv6(
                    number,
                    octets6(Family::V6.node()),
                    octets6(Family::V6.server().ip()),
                    inner.len(),
                );
                ip.traffic_class = self.class;
                (EtherType::IPV6, ip.to_bytes().to_vec())
            }
        };
        [
            ethernet(ROUTER_MAC, NODE_MAC, ether_type),
            header,
            inner.to_vec(),
        ]
        .concat()
    }
}

pub(crate) fn unpacked(inner: &Packet) -> Ran {
    Ran {
        action: Action::Pass,
        counter: Some("decapsulated"),
        frame: inner.build(),
    }
}

pub(crate) fn assert_passed(server: &Fabric, frame: &[u8], counter: &str, what: &str) {
    let expected = Ran {
        action: Action::Pass,
        counter: Some(match counter {
            "pass-not-ip" => "pass-not-ip",
            _ => "pass-not-vip",
        }),
        frame: frame.to_vec(),
    };
    assert_eq!(
        server.kernel.run(Program::Server, frame),
        expected,
        "{what}"
    );
}

#[test]
fn either_family_comes_out_of_either() {
    let server = server();
    for outer in [Family::V4, Family::V6] {
        for (family, protocol) in CASES {
            let inner = request(family, protocol);
            let frame = Outer::new(outer, &inner).wrap(&inner.ip_packet());
            let ran = server.kernel.run(Program::Server, &frame);
            assert_eq!(ran, unpacked(&inner), "{family:?} in {outer:?}");
        }
    }
}

#[test]
fn every_address_of_a_prefix_is_unpacked() {
    let mut server = server();
    let cases = [
        (
            Family::V4,
            "203.0.113.0",
            96 + 24,
            "203.0.113.77",
            "203.0.114.77",
        ),
        (
            Family::V6,
            "2001:db8:f::",
            48,
            "2001:db8:f:9::77",
            "2001:db8:e:9::77",
        ),
    ];
    for (family, network, bits, inside, outside) in cases {
        vip(&mut server, network.parse().unwrap(), bits);
        let to = |address: &str| {
            let address: IpAddr = address.parse().unwrap();
            request(family, Protocol::Tcp).to(SocketAddr::new(address, 80))
        };
        for outer in [Family::V4, Family::V6] {
            let inner = to(inside);
            let frame = Outer::new(outer, &inner).wrap(&inner.ip_packet());
            let ran = server.kernel.run(Program::Server, &frame);
            assert_eq!(ran, unpacked(&inner), "{family:?} in {outer:?}");
            let inner = to(outside);
            let frame = Outer::new(outer, &inner).wrap(&inner.ip_packet());
            assert_passed(&server, &frame, "pass-not-vip", "outside");
        }
    }
}

/// What the node's program packs, the server's unpacks.
#[test]
fn the_two_programs_agree() {
    let server = server();
    for (family, protocol) in CASES {
        let inner = request(family, protocol);
        let packed = server.lb(&inner.build());
        let ran = server.kernel.run(Program::Server, &packed.frame);
        assert_eq!(ran.frame[ETHERNET..], inner.ip_packet(), "{family:?}");
        assert_eq!(ran.frame[12..14], inner.build()[12..14], "{family:?}");
    }
}

#[test]
fn outer_options_go_too() {
    let server = server();
    for (family, protocol) in CASES {
        for words in 0..=10 {
            let inner = request(family, protocol);
            let mut outer = Outer::new(Family::V4, &inner);
            outer.options = words * 4;
            let ran = server
                .kernel
                .run(Program::Server, &outer.wrap(&inner.ip_packet()));
            assert_eq!(ran, unpacked(&inner), "{family:?} {words}");
        }
    }
}

/// RFC 6040 section 4.2, figure 4: rows are the inner marks, columns the outer ones, in the order of their values.
#[test]
fn row_15_congestion_marks_come_inside() {
    const NOT_ECT: u8 = 0;
    const ECT_1: u8 = 1;
    const ECT_0: u8 = 2;
    const CE: u8 = 3;
    const TABLE: [(u8, [Option<u8>; 4]); 4] = [
        (NOT_ECT, [Some(NOT_ECT), Some(NOT_ECT), Some(NOT_ECT), None]),
        (ECT_1, [Some(ECT_1), Some(ECT_1), Some(ECT_1), Some(CE)]),
        (ECT_0, [Some(ECT_0), Some(ECT_1), Some(ECT_0), Some(CE)]),
        (CE, [Some(CE), Some(CE), Some(CE), Some(CE)]),
    ];
    let server = server();
    for outer_family in [Family::V4, Family::V6] {
        for (family, protocol) in CASES {
            for (inner_mark, row) in TABLE {
                for (outer_mark, mark) in (0u8..).zip(row) {
                    // The inner DSCP stays, whatever the outer one is.
                    let mut inner = request(family, protocol);
                    inner.traffic_class = 0xb8 | inner_mark;
                    let mut outer = Outer::new(outer_family, &inner);
                    outer.class = 0x48 | outer_mark;
                    let frame = outer.wrap(&inner.ip_packet());
                    let expected = match mark {
                        Some(mark) => {
                            inner.traffic_class = 0xb8 | mark;
                            unpacked(&inner)
                        }
                        None => Ran {
                            action: Action::Drop,
                            counter: Some("drop-ecn"),
                            frame: frame.clone(),
                        },
                    };
                    let ran = server.kernel.run(Program::Server, &frame);
                    assert_eq!(ran, expected, "{family:?}: {inner_mark} in {outer_mark}");
                }
            }
        }
    }
}

#[test]
fn what_is_no_tunnel_passes() {
    let server = server();
    for (family, protocol) in CASES {
        let plain = request(family, protocol);
        assert_passed(&server, &plain.build(), "pass-not-vip", "no tunnel");
        let elsewhere = plain.clone().to(family.server());
        for outer in [Family::V4, Family::V6] {
            let frame = Outer::new(outer, &elsewhere).wrap(&elsewhere.ip_packet());
            assert_passed(&server, &frame, "pass-not-vip", "not a VIP");
            // The outer header promises the other family, or another protocol.
            for number in [4, 41, 47, 50] {
                let mut wrong = Outer::new(outer, &plain);
                if wrong.protocol != number {
                    wrong.protocol = number;
                    let frame = wrong.wrap(&plain.ip_packet());
                    assert_passed(&server, &frame, "pass-not-vip", "another protocol");
                }
            }
        }
        let mut outer = Outer::new(Family::V4, &plain);
        outer.fragment = true;
        let frame = outer.wrap(&plain.ip_packet());
        assert_passed(&server, &frame, "pass-not-vip", "a fragment");
    }
    let mut arp = request(Family::V4, Protocol::Tcp).build();
    arp[12..14].copy_from_slice(&[0x08, 0x06]);
    assert_passed(&server, &arp, "pass-not-ip", "ARP");
}

#[test]
fn every_prefix_passes_until_the_inner_header_is_whole() {
    let server = server();
    for outer_family in [Family::V4, Family::V6] {
        for (family, protocol) in CASES {
            let inner = request(family, protocol);
            let frame = Outer::new(outer_family, &inner).wrap(&inner.ip_packet());
            let header = |family| match family {
                Family::V4 => 20,
                Family::V6 => 40,
            };
            let whole = ETHERNET + header(outer_family) + header(family);
            for length in ETHERNET..whole {
                assert_passed(
                    &server,
                    &frame[..length],
                    "pass-not-vip",
                    &format!("{length}"),
                );
            }
            // The kernel judges the rest of the inner packet.
            for length in whole..frame.len() {
                let ran = server.kernel.run(Program::Server, &frame[..length]);
                assert_eq!(ran.counter, Some("decapsulated"), "{length}");
                assert_eq!(ran.frame.len(), length - header(outer_family), "{length}");
            }
        }
    }
}

#[test]
fn impossible_outer_lengths_pass() {
    let server = server();
    let inner = request(Family::V4, Protocol::Udp);
    for words in 0..5u8 {
        let mut frame = Outer::new(Family::V4, &inner).wrap(&inner.ip_packet());
        frame[ETHERNET] = 0x40 | words;
        assert_passed(&server, &frame, "pass-not-vip", &format!("{words}"));
    }
}
