//! Addresses that packets for a service cannot have, row 17 of `docs/parsing.md`.

use std::net::IpAddr;

use lbfabric_abi::{Mode, Protocol};

use super::{
    fabric::{CASES, Fabric, Family, request, reverse, service},
    kernel::Action,
    packets::{ETHERNET, Packet},
    shapes::{MODES, TAGS, tagged},
};

const RANGE: u16 = 0x4000;

#[test]
fn row_17_martians_are_dropped_for_services_alone() {
    const V4: [&str; 8] = [
        "0.0.0.0",
        "0.1.2.3",
        "127.0.0.1",
        "127.255.0.1",
        "224.0.0.1",
        "239.1.1.1",
        "240.0.0.1",
        "255.255.255.255",
    ];
    const V6: [&str; 5] = ["::", "::1", "ff02::1", "ff0e::5", "::ffff:198.51.100.7"];
    for mode in MODES {
        let mut fabric = Fabric::new(mode);
        for family in [Family::V4, Family::V6] {
            let mut other_vip = family.vip();
            other_vip.set_ip(match family {
                Family::V4 => "203.0.113.11".parse().unwrap(),
                Family::V6 => "2001:db8:f::11".parse().unwrap(),
            });
            fabric.serve(other_vip, Protocol::Tcp, service(mode));
        }
        for (family, protocol) in CASES {
            let sources: &[&str] = match family {
                Family::V4 => &V4,
                Family::V6 => &V6,
            };
            let other_vip = match family {
                Family::V4 => "203.0.113.11",
                Family::V6 => "2001:db8:f::11",
            };
            for source in sources.iter().chain([&other_vip]) {
                for ttl in [1, 64] {
                    let ip: IpAddr = source.parse().unwrap();
                    let frame = from_raw(&request(family, protocol).ttl(ttl), ip);
                    let ran = fabric.lb(&frame);
                    let expected = (Action::Drop, Some("drop-martian"));
                    assert_eq!((ran.action, ran.counter), expected, "{source}");
                    assert_eq!(ran.frame, frame);
                }
                let elsewhere = request(family, protocol).to(family.other_server());
                let frame = from_raw(&elsewhere, source.parse().unwrap());
                let ran = fabric.lb(&frame);
                assert_eq!(
                    (ran.action, ran.counter),
                    (Action::Pass, Some("pass-not-vip"))
                );
            }
            for port in [80, 51234] {
                let mut source = family.vip();
                source.set_port(port);
                let ran = fabric.lb(&request(family, protocol).from(source).build());
                assert_eq!((ran.action, ran.counter), (Action::Drop, Some("drop-land")));
            }
        }
    }
}

/// The frame with another source, whatever its checksums.
fn from_raw(packet: &Packet, source: IpAddr) -> Vec<u8> {
    let mut frame = packet.build();
    match (packet.source.ip(), source) {
        (IpAddr::V4(_), IpAddr::V4(v4)) => {
            frame[ETHERNET + 12..ETHERNET + 16].copy_from_slice(&v4.octets());
        }
        (_, IpAddr::V6(v6)) => {
            frame[ETHERNET + 8..ETHERNET + 24].copy_from_slice(&v6.octets());
        }
        mixed => panic!("{mixed:?}"),
    }
    frame
}

#[test]
fn row_17_frames_to_a_link_layer_group() {
    let fabric = Fabric::new(Mode::Dnat);
    for (family, protocol) in CASES {
        for mac in [
            [0xff; 6],
            [0x01, 0, 0x5e, 0, 0, 1],
            [0x33, 0x33, 0, 0, 0, 1],
        ] {
            let packet = request(family, protocol).macs([2; 6], mac);
            let ran = fabric.lb(&packet.build());
            assert_eq!(
                (ran.action, ran.counter),
                (Action::Drop, Some("drop-martian"))
            );
            let elsewhere = packet.to(family.other_server()).build();
            let ran = fabric.lb(&elsewhere);
            assert_eq!(
                (ran.action, ran.counter),
                (Action::Pass, Some("pass-not-vip"))
            );
        }
    }
}

/// IPv4 in IPv6's clothes is no VIP.
#[test]
fn row_17_a_mapped_destination_is_no_vip() {
    let mut fabric = Fabric::new(Mode::Dnat);
    let mut frame = request(Family::V6, Protocol::Tcp).build();
    let mapped = "::ffff:203.0.113.10".parse::<std::net::Ipv6Addr>().unwrap();
    frame[ETHERNET + 24..ETHERNET + 40].copy_from_slice(&mapped.octets());
    // Tagged, it does not end at the filter of the first program.
    for frame in [frame.clone(), tagged(&frame, TAGS[0])] {
        let ran = fabric.lb(&frame);
        assert_eq!(
            (ran.action, ran.counter),
            (Action::Pass, Some("pass-not-vip"))
        );
        assert_eq!(ran.frame, frame);
    }
    // Nor is it a server.
    let server = Family::V4.server();
    let mut range = server;
    range.set_port(RANGE);
    fabric.reverse_range(range, 4, Protocol::Tcp, reverse(Family::V4.vip(), true));
    let client = Family::V6.client();
    let mut sent = Packet::new(Protocol::Tcp, Family::V6.server(), client);
    sent.source.set_port(RANGE);
    let mapped = "::ffff:10.1.0.3".parse::<IpAddr>().unwrap();
    let frame = tagged(&from_raw(&sent, mapped), TAGS[0]);
    let ran = fabric.lb(&frame);
    assert_eq!(
        (ran.action, ran.counter),
        (Action::Pass, Some("pass-not-vip"))
    );
}
