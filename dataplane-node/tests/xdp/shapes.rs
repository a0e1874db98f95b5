//! Packets of other than plain shape, by the rows of `docs/parsing.md`: tags, extension headers, fragments, martians, large
//! frames.

use lbfabric_abi::{Mode, Protocol};

use super::{
    fabric::{
        CASES, EGRESS_MAC, Fabric, Family, SERVER, SERVER_MAC, backend, request, reverse, service,
    },
    kernel::{Action, INGRESS, Program, Ran},
    network::{CLIENTS_MAC, NEIGHBOUR_MAC, Route, in_network},
    packets::{ETHERNET, Packet, fix_ipv4_checksum, l4_start},
};

const MODES: [Mode; 4] = [Mode::Dnat, Mode::Fullnat, Mode::Dsr, Mode::Tunnel];
const DNAT_RANGE: u16 = 0x4000;

/// Bytes of the outer header.
fn outer(family: Family, mode: Mode) -> usize {
    match (mode, family) {
        (Mode::Tunnel, Family::V4) => 20,
        (Mode::Tunnel, Family::V6) => 40,
        (Mode::Dnat | Mode::Fullnat | Mode::Dsr, _) => 0,
    }
}

const fn name(mode: Mode) -> &'static str {
    match mode {
        Mode::Dnat => "l4-dnat",
        Mode::Fullnat => "l4-fullnat",
        Mode::Dsr => "l4-dsr",
        Mode::Tunnel => "l4-tunnel",
    }
}

/// The packet as it goes on to [`SERVER`], but for an outer header; `ran` tells the node's port.
fn forwarded(mode: Mode, family: Family, packet: &Packet, ran: &Ran, l4: usize) -> Packet {
    let on = packet.clone().macs(EGRESS_MAC, SERVER_MAC);
    match mode {
        Mode::Dsr | Mode::Tunnel => on,
        Mode::Dnat => on.to(family.server()).ttl(packet.ttl - 1),
        Mode::Fullnat => {
            let port = u16::from_be_bytes([ran.frame[l4], ran.frame[l4 + 1]]);
            on.to(family.server())
                .from((family.node(), port).into())
                .ttl(packet.ttl - 1)
        }
    }
}

/// Sent to the server as `expected`, which begins with an Ethernet header.
#[track_caller]
fn assert_sent(ran: &Ran, mode: Mode, family: Family, action: Action, expected: &[u8]) {
    assert_eq!((ran.action, ran.counter), (action, Some(name(mode))));
    let head = expected.len() - ip_length(expected, family);
    assert_eq!(&ran.frame[..12], &expected[..12], "link-layer addresses");
    assert_eq!(&ran.frame[12..head - 2], &expected[12..head - 2], "tags");
    let inner = head + outer(family, mode);
    assert_eq!(
        &ran.frame[inner..],
        &expected[head..],
        "{mode:?} {family:?}"
    );
}

fn ip_length(frame: &[u8], family: Family) -> usize {
    let tags = frame[12..]
        .chunks(4)
        .take_while(|it| it[..2] == [0x81, 0] || it[..2] == [0x88, 0xa8]);
    let ip = ETHERNET + 4 * tags.count();
    let word = |at| usize::from(u16::from_be_bytes([frame[at], frame[at + 1]]));
    match family {
        Family::V4 => word(ip + 2),
        Family::V6 => word(ip + 4) + 40,
    }
}

// === Row 13: tags ===

fn tagged(frame: &[u8], tags: &[[u8; 4]]) -> Vec<u8> {
    [&frame[..12], &tags.concat(), &frame[12..]].concat()
}

const TAGS: [&[[u8; 4]]; 5] = [
    &[[0x81, 0, 0x20, 5]],
    // A priority without a VLAN.
    &[[0x81, 0, 0xe0, 0]],
    &[[0x88, 0xa8, 0, 7]],
    &[[0x88, 0xa8, 0, 7], [0x81, 0, 0, 5]],
    &[[0x81, 0, 0, 7], [0x81, 0, 0, 5]],
];

#[test]
fn row_13_tags_stay_on_the_same_interface_and_go_on_another() {
    for mode in MODES {
        let mut fabric = Fabric::new(mode);
        for (family, protocol) in CASES {
            for tags in TAGS {
                let request = request(family, protocol);
                let frame = tagged(&request.build(), tags);
                let mut server = backend(Family::V4.server().ip(), Family::V6.server().ip());
                fabric.backend(SERVER, server);
                let ran = fabric.lb(&frame);
                let expected = forwarded(mode, family, &request, &ran, l4_start(&request)).build();
                assert_sent(&ran, mode, family, Action::Redirect, &expected);

                (server.hop4.ifindex, server.hop6.ifindex) = (INGRESS, INGRESS);
                fabric.backend(SERVER, server);
                assert_sent(
                    &fabric.lb(&frame),
                    mode,
                    family,
                    Action::Tx,
                    &tagged(&expected, tags),
                );
            }
        }
    }
}

#[test]
fn row_13_tagged_frames_that_are_not_served_leave_as_they_came() {
    let fabric = Fabric::new(Mode::Dnat);
    for (family, protocol) in CASES {
        let request = request(family, protocol);
        let mut unserved = request.clone();
        unserved.destination.set_port(81);
        let elsewhere = request.clone().to(family.other_server());
        let to_node = request.clone().to((family.node(), 4444).into());
        for tags in TAGS {
            for (packet, counter) in [
                (&unserved, "pass-not-served"),
                (&elsewhere, "pass-not-vip"),
                // The tags are off for a while, and back in the end.
                (&to_node, "pass-not-vip"),
            ] {
                let frame = tagged(&packet.build(), tags);
                let ran = fabric.lb(&frame);
                assert_eq!((ran.action, ran.counter), (Action::Pass, Some(counter)));
                assert_eq!(ran.frame, frame);
            }
            let whole = tagged(&request.build(), tags);
            for length in ETHERNET..ETHERNET + 4 * tags.len() {
                let ran = fabric.lb(&whole[..length]);
                assert_eq!(
                    (ran.action, ran.counter),
                    (Action::Pass, Some("pass-not-ip"))
                );
            }
        }
        let three = tagged(&request.build(), &[[0x81, 0, 0, 5]; 3]);
        assert_eq!(fabric.lb(&three).counter, Some("pass-not-ip"));
    }
}

#[test]
fn row_13_tagged_answers() {
    in_network(|network| {
        let mut fabric = Fabric::new(Mode::Dnat);
        for (family, protocol) in CASES {
            fabric.reverse(family.server(), protocol, reverse(family.vip(), false));
            for tags in TAGS {
                for (route, action) in [
                    (Route::Known, Action::Redirect),
                    (Route::SameInterface, Action::Tx),
                    (Route::NoNeighbour, Action::Pass),
                ] {
                    let client = route.client(family == Family::V4);
                    let sent = Packet::new(protocol, family.server(), client);
                    let frame = tagged(&sent.build(), tags);
                    let ran = fabric.kernel.run_from(Program::Lb, &frame, network.servers);
                    assert_eq!(ran.action, action);
                    let on = Packet::new(protocol, family.vip(), client);
                    let expected = match action {
                        Action::Redirect => on
                            .ttl(sent.ttl - 1)
                            .macs(CLIENTS_MAC, NEIGHBOUR_MAC)
                            .build(),
                        Action::Tx => {
                            let on = on.ttl(sent.ttl - 1);
                            let macs = (super::network::SERVERS_MAC, NEIGHBOUR_MAC);
                            tagged(&on.macs(macs.0, macs.1).build(), tags)
                        }
                        _ => tagged(&on.build(), tags),
                    };
                    assert_eq!(ran.frame, expected, "{route:?}");
                }
            }
        }
    });
}

// === Row 12: extension headers ===

/// Puts extension headers, each given without its first byte, between IPv6 and what follows.
fn extended(frame: &[u8], headers: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let l4 = ETHERNET + 40;
    let mut out = frame[..l4].to_vec();
    let last = out[ETHERNET + 6];
    let mut kinds = headers.iter().map(|(kind, _)| *kind).chain([last]);
    out[ETHERNET + 6] = kinds.next().unwrap();
    for ((_, rest), next) in headers.iter().zip(kinds) {
        out.push(next);
        out.extend(rest);
    }
    out.extend(&frame[l4..]);
    let length = u16::try_from(out.len() - l4).unwrap();
    out[ETHERNET + 4..ETHERNET + 6].copy_from_slice(&length.to_be_bytes());
    out
}

/// Options that say nothing: `units` times eight bytes behind the first eight.
fn padding(units: u8) -> Vec<u8> {
    let mut rest = vec![units, 1, 4];
    rest.resize(7 + 8 * usize::from(units), 0);
    rest
}

/// A routing header of this many segments left.
fn routing(left: u8) -> Vec<u8> {
    let mut rest = vec![2, 4, left];
    rest.resize(23, 0);
    rest
}

#[test]
fn row_12_extension_headers_before_tcp_and_udp() {
    let atomic = || (44, vec![0, 0, 0, 1, 2, 3, 4]);
    let chains: [Vec<(u8, Vec<u8>)>; 7] = [
        vec![(0, padding(0))],
        vec![(60, padding(3))],
        vec![(43, routing(0))],
        vec![atomic()],
        vec![
            (0, padding(1)),
            (60, padding(0)),
            (43, routing(0)),
            atomic(),
            (60, padding(2)),
        ],
        vec![(60, padding(0)); 8],
        vec![(60, padding(40))],
    ];
    for mode in MODES {
        let fabric = Fabric::new(mode);
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let request = request(Family::V6, protocol);
            for chain in &chains {
                let frame = extended(&request.build(), chain);
                let ran = fabric.lb(&frame);
                let l4 = l4_start(&request) + frame.len() - request.build().len();
                let on = forwarded(mode, Family::V6, &request, &ran, l4);
                let expected = extended(&on.build(), chain);
                assert_sent(&ran, mode, Family::V6, Action::Redirect, &expected);
            }
        }
    }
}

#[test]
fn row_12_extension_headers_that_cannot_be_served() {
    let fabric = Fabric::new(Mode::Dnat);
    let expect = |chain: &[(u8, Vec<u8>)], action, counter| {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let frame = extended(&request(Family::V6, protocol).build(), chain);
            let ran = fabric.lb(&frame);
            assert_eq!(
                (ran.action, ran.counter),
                (action, Some(counter)),
                "{chain:?}"
            );
            assert_eq!(ran.frame, frame);
            let other = request(Family::V6, protocol).to(Family::V6.other_server());
            let frame = extended(&other.build(), chain);
            let ran = fabric.lb(&frame);
            assert_eq!(
                (ran.action, ran.counter),
                (Action::Pass, Some("pass-not-vip"))
            );
            assert_eq!(ran.frame, frame);
        }
    };
    // The VIP is a station on the packet's way.
    expect(&[(43, routing(1))], Action::Pass, "pass-not-served");
    // IPsec, and hop-by-hop options behind others.
    expect(&[(51, padding(0))], Action::Pass, "pass-not-served");
    expect(
        &[(60, padding(0)), (0, padding(0))],
        Action::Pass,
        "pass-not-served",
    );
    let dropped = "drop-extension-headers";
    expect(&vec![(60, padding(0)); 9], Action::Drop, dropped);
    expect(&[(60, padding(60))], Action::Drop, dropped);
    let atomic = || (44, vec![0, 0, 0, 1, 2, 3, 4]);
    expect(&[atomic(), atomic()], Action::Drop, dropped);
    // Longer than the packet.
    expect(
        &[(60, vec![20, 1, 4, 0, 0, 0, 0])],
        Action::Drop,
        "drop-truncated",
    );
}

// === Rows 10 and 11: fragments ===

/// A packet in two fragments, the first with `first` bytes behind the IP header.
fn fragments(packet: &Packet, first: usize, identification: u16) -> [Vec<u8>; 2] {
    let frame = packet.build();
    let l4 = l4_start(packet);
    let piece = |from: usize, to: usize, more: bool| {
        let is_ipv4 = packet.source.is_ipv4();
        let mut out = frame[..l4].to_vec();
        let field = u16::try_from(from).unwrap() | u16::from(more) << if is_ipv4 { 13 } else { 0 };
        if is_ipv4 {
            let total = u16::try_from(l4 - ETHERNET + to - from).unwrap();
            out[ETHERNET + 2..ETHERNET + 4].copy_from_slice(&total.to_be_bytes());
            out[ETHERNET + 4..ETHERNET + 6].copy_from_slice(&identification.to_be_bytes());
            let field = field & 0x2000 | u16::try_from(from / 8).unwrap();
            out[ETHERNET + 6..ETHERNET + 8].copy_from_slice(&field.to_be_bytes());
            fix_ipv4_checksum(&mut out);
        } else {
            let payload = u16::try_from(8 + to - from).unwrap();
            out[ETHERNET + 4..ETHERNET + 6].copy_from_slice(&payload.to_be_bytes());
            let next = std::mem::replace(&mut out[ETHERNET + 6], 44);
            let [a, b] = field.to_be_bytes();
            let [c, d] = identification.to_be_bytes();
            out.extend([next, 0, a, b, 0, 0, c, d]);
        }
        out.extend(&frame[l4 + from..l4 + to]);
        out
    };
    let end = frame.len() - l4;
    [piece(0, first, true), piece(first, end, false)]
}

/// Packets of one protocol are apart from those of another: IPv6 does not tell their fragments apart.
fn identification(protocol: Protocol) -> u16 {
    u16::from(protocol as u8) << 4
}

fn large(family: Family, protocol: Protocol) -> Packet {
    let mut packet = request(family, protocol);
    packet.payload = (0..90u8).collect();
    packet
}

#[test]
fn row_10_first_and_later_fragments_reach_the_same_server() {
    for mode in MODES {
        let fabric = Fabric::new(mode);
        for (family, protocol) in CASES {
            let request = large(family, protocol);
            let id = identification(protocol);
            let frames = fragments(&request, 24, id);
            let before = fabric.lb(&frames[1]);
            let dropped = (Action::Drop, Some("drop-fragment"));
            assert_eq!((before.action, before.counter), dropped, "before the first");

            let first = fabric.lb(&frames[0]);
            let extra = if family == Family::V6 { 8 } else { 0 };
            let l4 = l4_start(&request) + extra;
            let on = forwarded(mode, family, &request, &first, l4);
            let expected = fragments(&on, 24, id);
            assert_sent(&first, mode, family, Action::Redirect, &expected[0]);
            let later = fabric.lb(&frames[1]);
            assert_sent(&later, mode, family, Action::Redirect, &expected[1]);
            // Of eight bytes less than any header.
            let last = fragments(&request, 96, id + 1);
            let first = fabric.lb(&last[0]);
            assert_eq!(first.action, Action::Redirect);
            let expected = fragments(&on, 96, id + 1);
            assert_sent(
                &fabric.lb(&last[1]),
                mode,
                family,
                Action::Redirect,
                &expected[1],
            );
            // Of another packet.
            let ran = fabric.lb(&fragments(&request, 24, id + 2)[1]);
            assert_eq!((ran.action, ran.counter), dropped);
        }
        assert_eq!(fabric.traffic("BACKEND_COUNTERS", SERVER).0, 16);
    }
}

/// What is known of a packet's first fragment does not outlive its server.
#[test]
fn row_10_fragments_do_not_follow_to_a_removed_server() {
    for mode in MODES {
        let mut fabric = Fabric::new(mode);
        let whole = backend(Family::V4.server().ip(), Family::V6.server().ip());
        for (family, protocol) in CASES {
            fabric.backend(SERVER, whole);
            let frames = fragments(&large(family, protocol), 24, 7);
            assert_eq!(fabric.lb(&frames[0]).action, Action::Redirect);
            fabric.backend(SERVER, lbfabric_abi::Backend { flags: 0, ..whole });
            let ran = fabric.lb(&frames[1]);
            let expected = (Action::Drop, Some("drop-no-backend"));
            assert_eq!((ran.action, ran.counter), expected, "{mode:?}");
        }
    }
}

#[test]
fn row_10_fragments_of_answers() {
    in_network(|network| {
        for mode in [Mode::Dnat, Mode::Fullnat] {
            let mut fabric = Fabric::new(mode);
            for (family, protocol) in CASES {
                let id = identification(protocol);
                let client = Route::Known.client(family == Family::V4);
                let request = request(family, protocol).from(client);
                let ran = fabric.lb(&request.build());
                let node = match mode {
                    Mode::Fullnat => {
                        let at = l4_start(&request);
                        let port = u16::from_be_bytes([ran.frame[at], ran.frame[at + 1]]);
                        (family.node(), port).into()
                    }
                    _ => {
                        fabric.reverse(family.server(), protocol, reverse(family.vip(), false));
                        client
                    }
                };
                let mut sent = Packet::new(protocol, family.server(), node);
                sent.payload = (0..90u8).collect();
                let on = sent.clone().from(family.vip()).to(client).ttl(sent.ttl - 1);
                let expected = fragments(&on.macs(CLIENTS_MAC, NEIGHBOUR_MAC), 32, id);
                let frames = fragments(&sent, 32, id);
                // Before the first it is nobody's but the node's.
                let early = fabric
                    .kernel
                    .run_from(Program::Lb, &frames[1], network.servers);
                assert_eq!(
                    (early.action, early.counter),
                    (Action::Pass, Some("pass-not-vip"))
                );
                for (frame, expected) in frames.iter().zip(expected) {
                    let ran = fabric.kernel.run_from(Program::Lb, frame, network.servers);
                    assert_eq!(ran.action, Action::Redirect, "{mode:?} {family:?}");
                    assert_eq!(ran.frame, expected, "{mode:?} {family:?}");
                }
            }
        }
    });
}

/// The kernel gets all of a packet or nothing.
#[test]
fn row_11_fragments_that_are_not_served_pass() {
    let fabric = Fabric::new(Mode::Dnat);
    for (family, protocol) in CASES {
        let mut unserved = large(family, protocol);
        unserved.destination.set_port(81);
        let elsewhere = large(family, protocol).to(family.other_server());
        for (packet, counter) in [(unserved, "pass-not-served"), (elsewhere, "pass-not-vip")] {
            for frame in fragments(&packet, 24, 5) {
                let ran = fabric.lb(&frame);
                assert_eq!((ran.action, ran.counter), (Action::Pass, Some(counter)));
                assert_eq!(ran.frame, frame);
            }
        }
    }
}

/// A first fragment has to have all headers (RFC 7112, RFC 1858).
#[test]
fn row_16_a_first_fragment_without_its_ports() {
    let fabric = Fabric::new(Mode::Dnat);
    for family in [Family::V4, Family::V6] {
        let frames = fragments(&large(family, Protocol::Tcp), 16, 5);
        let ran = fabric.lb(&frames[0]);
        assert_eq!(
            (ran.action, ran.counter),
            (Action::Drop, Some("drop-truncated"))
        );
        let ran = fabric.lb(&frames[1]);
        assert_eq!(
            (ran.action, ran.counter),
            (Action::Drop, Some("drop-fragment"))
        );
    }
}

// === Row 17: martians ===

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
                    let ip: std::net::IpAddr = source.parse().unwrap();
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
fn from_raw(packet: &Packet, source: std::net::IpAddr) -> Vec<u8> {
    let mut frame = packet.build();
    match (packet.source.ip(), source) {
        (std::net::IpAddr::V4(_), std::net::IpAddr::V4(v4)) => {
            frame[ETHERNET + 12..ETHERNET + 16].copy_from_slice(&v4.octets());
        }
        (_, std::net::IpAddr::V6(v6)) => {
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
    range.set_port(DNAT_RANGE);
    fabric.reverse_range(range, 4, Protocol::Tcp, reverse(Family::V4.vip(), true));
    let client = Family::V6.client();
    let mut sent = Packet::new(Protocol::Tcp, Family::V6.server(), client);
    sent.source.set_port(DNAT_RANGE);
    let mapped = "::ffff:10.1.0.3".parse::<std::net::IpAddr>().unwrap();
    let frame = tagged(&from_raw(&sent, mapped), TAGS[0]);
    let ran = fabric.lb(&frame);
    assert_eq!(
        (ran.action, ran.counter),
        (Action::Pass, Some("pass-not-vip"))
    );
}

// === Row 44: large frames ===

/// Frames that take more than one page come in several parts.
#[test]
fn row_44_frames_of_several_parts() {
    for mode in MODES {
        let fabric = Fabric::new(mode);
        for (family, protocol) in CASES {
            for length in [3000, 5000, 9000, 30_000, 60_000] {
                let mut request = request(family, protocol);
                request.payload = (0..length).map(|n: u32| n.to_le_bytes()[1]).collect();
                let ran = fabric.lb(&request.build());
                let on = forwarded(mode, family, &request, &ran, l4_start(&request));
                assert_sent(&ran, mode, family, Action::Redirect, &on.build());

                let mut lying = request.build();
                lying.truncate(lying.len() - 1);
                let ran = fabric.lb(&lying);
                assert_eq!(
                    (ran.action, ran.counter),
                    (Action::Drop, Some("drop-bad-length"))
                );
            }
        }
    }
}
