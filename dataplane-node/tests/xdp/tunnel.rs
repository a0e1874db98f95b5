//! `l4-tunnel`: the packet goes out inside another, byte for byte as it came.

use etherparse::{EtherType, IpDscp, IpEcn, IpNumber, Ipv4Header, Ipv6FlowLabel};
use lbfabric_abi::{Flow, Mode, NextHop};

use super::{
    fabric::{
        CASES, EGRESS_MAC, Fabric, Family, RING_KEY, SERVER, SERVER_MAC, backend, octets4, octets6,
        request, settings,
    },
    kernel::{Action, Ran},
    packets::{ETHERNET, Packet, ethernet, ipv4, ipv6},
};

/// The frame with an outer header of a family, to the server of the fabric.
pub(crate) fn tunnelled(request: &Packet, outer: Family) -> Vec<u8> {
    let number = IpNumber(if request.source.is_ipv4() { 4 } else { 41 });
    wrapped(request, outer, number, &request.ip_packet())
}

/// An outer header of a family, for a flow's packet, before this payload.
pub(crate) fn wrapped(request: &Packet, outer: Family, number: IpNumber, inner: &[u8]) -> Vec<u8> {
    let class = request.traffic_class;
    let (ether_type, header) = match outer {
        Family::V4 => {
            let mut ip = ipv4(
                number,
                octets4(Family::V4.node()),
                octets4(Family::V4.server().ip()),
                inner.len(),
            );
            ip.dont_fragment = true;
            ip.dscp = IpDscp::try_new(class >> 2).unwrap();
            ip.ecn = IpEcn::try_new(class & 3).unwrap();
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
            ip.traffic_class = class;
            ip.flow_label = Ipv6FlowLabel::try_new(low20(flow_hash(request))).unwrap();
            (EtherType::IPV6, ip.to_bytes().to_vec())
        }
    };
    let link = ethernet(EGRESS_MAC, SERVER_MAC, ether_type);
    [link.as_slice(), &header, inner].concat()
}

/// The hash that finds the ring slot of a request.
pub(crate) fn flow_hash(request: &Packet) -> u64 {
    let flow = Flow {
        source: request.source.ip().into(),
        destination: request.destination.ip().into(),
        source_port_be: request.source.port().to_be_bytes(),
        destination_port_be: request.destination.port().to_be_bytes(),
        protocol: request.protocol as u8,
        zero: [0; 3],
    };
    flow.hash(&RING_KEY)
}

fn sent(request: &Packet, outer: Family) -> Ran {
    Ran {
        action: Action::Redirect,
        counter: Some("l4-tunnel"),
        frame: tunnelled(request, outer),
    }
}

/// The server of the fabric with the address of one family only.
pub(crate) fn only(outer: Family) -> lbfabric_abi::Backend {
    let mut server = backend(Family::V4.server().ip(), Family::V6.server().ip());
    match outer {
        Family::V4 => {
            server.ipv6 = [0; 16];
            server.hop6 = NextHop::default();
        }
        Family::V6 => {
            server.ipv4 = [0; 4];
            server.hop4 = NextHop::default();
        }
    }
    server
}

#[test]
fn the_packets_family_is_preferred() {
    let fabric = Fabric::new(Mode::Tunnel);
    for (family, protocol) in CASES {
        let request = request(family, protocol);
        let expected = sent(&request, family);
        assert_eq!(
            fabric.lb(&request.build()),
            expected,
            "{family:?} {protocol:?}"
        );
    }
}

#[test]
fn row_01_row_49_either_family_goes_through_either() {
    let mut fabric = Fabric::new(Mode::Tunnel);
    for outer in [Family::V4, Family::V6] {
        fabric.backend(SERVER, only(outer));
        for (family, protocol) in CASES {
            let request = request(family, protocol);
            let expected = sent(&request, outer);
            assert_eq!(
                fabric.lb(&request.build()),
                expected,
                "{family:?} in {outer:?}"
            );
        }
    }
}

#[test]
fn row_15_the_traffic_class_goes_outside_whole() {
    let mut fabric = Fabric::new(Mode::Tunnel);
    for outer in [Family::V4, Family::V6] {
        fabric.backend(SERVER, only(outer));
        for (family, protocol) in CASES {
            for class in 0..=255 {
                let mut request = request(family, protocol);
                request.traffic_class = class;
                let expected = sent(&request, outer);
                assert_eq!(
                    fabric.lb(&request.build()),
                    expected,
                    "{class:#x} {family:?}"
                );
            }
        }
    }
}

#[test]
fn padding_and_expired_packets() {
    let fabric = Fabric::new(Mode::Tunnel);
    for (family, protocol) in CASES {
        for padding in [0, 1, 6, 18, 40] {
            // No router is passed between client and server in the inner packet's eyes.
            let mut request = request(family, protocol).ttl(1);
            request.payload.clear();
            request.padding = padding;
            let expected = sent(&request, family);
            assert_eq!(
                fabric.lb(&request.build()),
                expected,
                "{family:?} {padding}"
            );
        }
    }
}

#[test]
fn options_go_inside() {
    let fabric = Fabric::new(Mode::Tunnel);
    for words in 0..=10 {
        let mut request = request(Family::V4, lbfabric_abi::Protocol::Tcp);
        request.ip_options = vec![1; words * 4];
        assert_eq!(fabric.lb(&request.build()), sent(&request, Family::V4));
    }
}

#[test]
fn what_is_missing_is_named() {
    let mut fabric = Fabric::new(Mode::Tunnel);
    let whole = backend(Family::V4.server().ip(), Family::V6.server().ip());
    let expect = |fabric: &Fabric, family, protocol, reason| {
        let frame = request(family, protocol).build();
        let ran = fabric.lb(&frame);
        assert_eq!((ran.action, ran.counter), (Action::Drop, Some(reason)));
        assert_eq!(ran.frame, frame);
    };
    for (family, protocol) in CASES {
        let mut server = whole;
        (server.ipv4, server.ipv6) = ([0; 4], [0; 16]);
        fabric.backend(SERVER, server);
        expect(&fabric, family, protocol, "drop-no-backend-address");

        let mut server = whole;
        (server.hop4, server.hop6) = (NextHop::default(), NextHop::default());
        fabric.backend(SERVER, server);
        expect(&fabric, family, protocol, "drop-next-hop-unresolved");

        fabric.backend(SERVER, whole);
        let mut nameless = settings();
        (nameless.source4_count, nameless.source6_count) = (0, 0);
        fabric.settings(nameless);
        expect(&fabric, family, protocol, "drop-no-source-address");
        fabric.settings(settings());
    }
}

#[test]
fn a_large_frame_gets_its_outer_header() {
    let fabric = Fabric::new(Mode::Tunnel);
    for (family, protocol) in CASES {
        let mut request = request(family, protocol);
        request.payload = vec![0x5a; 1400];
        let ran = fabric.lb(&request.build());
        assert_eq!(ran, sent(&request, family));
        if family == Family::V4 {
            let (ip, _) = Ipv4Header::from_slice(&ran.frame[ETHERNET..]).unwrap();
            assert_eq!(usize::from(ip.total_len), ran.frame.len() - ETHERNET);
        }
    }
}

/// What of a hash is a flow label.
fn low20(hash: u64) -> u32 {
    u32::try_from(hash & 0xf_ffff).unwrap()
}
