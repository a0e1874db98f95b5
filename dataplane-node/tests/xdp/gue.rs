//! `l4-tunnel` with `encapsulation: gue`.

use etherparse::{IpNumber, Ipv4Header, UdpHeader};
use lbfabric_abi::{Mode, Protocol, VipService};

use super::{
    fabric::{CASES, Fabric, Family, SERVER, octets6, request, service},
    kernel::{Action, Program, Ran},
    packets::{ETHERNET, Packet, ipv6},
    tunnel::{flow_hash, only, wrapped},
};

pub(crate) const GUE_PORT: u16 = 6080;

/// A fabric whose service has GUE tunnels, and other flags.
pub(crate) fn fabric(flags: u32) -> Fabric {
    let mut fabric = Fabric::new(Mode::Tunnel);
    for (family, protocol) in CASES {
        let service = VipService {
            flags: VipService::GUE | flags,
            gue_port_be: GUE_PORT.to_be_bytes(),
            ..service(Mode::Tunnel)
        };
        fabric.serve(family.vip(), protocol, service);
    }
    fabric
}

/// The outer UDP header, with the checksum computed over all that follows.
fn udp(outer: Family, source_port: u16, payload: &[u8]) -> UdpHeader {
    let mut udp = UdpHeader {
        source_port,
        destination_port: GUE_PORT,
        length: u16::try_from(UdpHeader::LEN + payload.len()).unwrap(),
        checksum: 0,
    };
    if outer == Family::V6 {
        let ip = ipv6(
            IpNumber::UDP,
            octets6(Family::V6.node()),
            octets6(Family::V6.server().ip()),
            udp.length.into(),
        );
        udp.checksum = udp.calc_checksum_ipv6(&ip, payload).unwrap();
    }
    udp
}

/// The frame that goes to the server; with `checked`, over IPv6, with a checksum.
fn expected(request: &Packet, outer: Family, checked: bool) -> Ran {
    let inner = request.ip_packet();
    let number = if request.source.is_ipv4() { 4 } else { 41 };
    let behind_udp = [&[0, number, 0, 0], inner.as_slice()].concat();
    let entropy = u16::try_from(flow_hash(request) & 0x3fff).unwrap();
    let mut udp = udp(outer, 0xc000 | entropy, &behind_udp);
    if !checked {
        udp.checksum = 0;
    }
    let payload = [udp.to_bytes().as_slice(), &behind_udp].concat();
    Ran {
        action: Action::Redirect,
        counter: Some("l4-tunnel"),
        frame: wrapped(request, outer, IpNumber::UDP, &payload),
    }
}

#[test]
fn row_01_row_49_either_family_goes_through_either() {
    let mut fabric = fabric(0);
    for outer in [Family::V4, Family::V6] {
        fabric.backend(SERVER, only(outer));
        for (family, protocol) in CASES {
            let request = request(family, protocol);
            assert_eq!(
                fabric.lb(&request.build()),
                expected(&request, outer, true),
                "{family:?} {protocol:?} in {outer:?}"
            );
        }
    }
}

/// RFC 6040 section 4.1, normal mode: DSCP and ECN as they are inside.
#[test]
fn row_15_the_traffic_class_goes_outside_whole() {
    let mut fabric = fabric(0);
    for outer in [Family::V4, Family::V6] {
        fabric.backend(SERVER, only(outer));
        for (family, protocol) in CASES {
            for class in 0..=255 {
                let mut request = request(family, protocol);
                request.traffic_class = class;
                assert_eq!(
                    fabric.lb(&request.build()),
                    expected(&request, outer, true),
                    "{class:#x} {family:?} in {outer:?}"
                );
            }
        }
    }
}

/// Any length and content: the checksum that was derived from the inner one is the one over all bytes.
#[test]
fn row_46_the_checksum_over_ipv6_is_right() {
    let mut fabric = fabric(0);
    fabric.backend(SERVER, only(Family::V6));
    for (family, protocol) in CASES {
        for length in 0..150u8 {
            let mut request = request(family, protocol);
            request.payload = (0..length)
                .map(|n| n.wrapping_mul(length).wrapping_add(91))
                .collect();
            request.source.set_port(1024 + 401 * u16::from(length));
            request.ttl = length | 1;
            request.padding = usize::from(length % 3);
            assert_eq!(
                fabric.lb(&request.build()),
                expected(&request, Family::V6, true),
                "{family:?} {protocol:?} {length}"
            );
        }
    }
}

/// RFC 6935: zero, where it would take a look at every byte.
#[test]
fn without_an_inner_checksum_there_is_none_outside() {
    let mut fabric = fabric(0);
    fabric.backend(SERVER, only(Family::V6));
    let mut unchecked = request(Family::V4, Protocol::Udp);
    unchecked.unchecked = true;
    let mut with_options = request(Family::V4, Protocol::Tcp);
    with_options.ip_options = vec![1; 8];
    for request in [unchecked, with_options] {
        let ran = fabric.lb(&request.build());
        assert_eq!(ran, expected(&request, Family::V6, false));
    }
}

/// Ten thousand packets of any class, length and flow: the outer header's checksum is right, it is not to be fragmented and so
/// needs no identification (RFC 6864), and what is inside has come through unchanged.
#[test]
fn outer_headers_of_random_packets_hold() {
    for (gue, between) in [(true, 12), (false, 0)] {
        let mut fabric = if gue {
            fabric(0)
        } else {
            Fabric::new(Mode::Tunnel)
        };
        fabric.backend(SERVER, only(Family::V4));
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut random = || {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            usize::try_from(state >> 33).unwrap()
        };
        for _ in 0..5_000 {
            let (family, protocol) = CASES[random() % 4];
            let mut request = request(family, protocol);
            request.traffic_class = u8::try_from(random() % 256).unwrap();
            request.payload = vec![u8::try_from(random() % 256).unwrap(); random() % 1400];
            request
                .source
                .set_port(u16::try_from(random() % 65_536).unwrap());
            let (action, frame) = fabric
                .kernel
                .run_uncounted(Program::Lb, &request.build(), 1);
            assert_eq!(action, Action::Redirect);
            let (ip, rest) = Ipv4Header::from_slice(&frame[ETHERNET..]).unwrap();
            assert_eq!(ip.header_checksum, ip.calc_header_checksum(), "{ip:?}");
            assert!(ip.dont_fragment && !ip.more_fragments && ip.identification == 0);
            assert_eq!(usize::from(ip.total_len), frame.len() - ETHERNET);
            assert_eq!(ip.dscp.value() << 2 | ip.ecn.value(), request.traffic_class);
            assert_eq!(rest[between..], request.ip_packet());
        }
    }
}
