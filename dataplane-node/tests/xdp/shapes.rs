//! Packets of other than plain shape, by the rows of `docs/parsing.md`: tags, extension headers, large frames. And
//! what its siblings share.

use lbfabric_abi::{Mode, Protocol};

use super::{
    fabric::{CASES, EGRESS_MAC, Fabric, Family, SERVER, SERVER_MAC, backend, request, reverse},
    icmp_own::behind,
    kernel::{Action, INGRESS, Program, Ran},
    network::{CLIENTS_MAC, NEIGHBOUR_MAC, Route, in_network},
    packets::{ETHERNET, Packet, l4_start},
};

pub(crate) const MODES: [Mode; 4] = [Mode::Dnat, Mode::Fullnat, Mode::Dsr, Mode::Tunnel];

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
pub(crate) fn forwarded(
    mode: Mode,
    family: Family,
    packet: &Packet,
    ran: &Ran,
    l4: usize,
) -> Packet {
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
pub(crate) fn assert_sent(ran: &Ran, mode: Mode, family: Family, action: Action, expected: &[u8]) {
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

pub(crate) fn tagged(frame: &[u8], tags: &[[u8; 4]]) -> Vec<u8> {
    [&frame[..12], &tags.concat(), &frame[12..]].concat()
}

pub(crate) const TAGS: [&[[u8; 4]]; 5] = [
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
pub(crate) fn extended(frame: &[u8], headers: &[(u8, Vec<u8>)]) -> Vec<u8> {
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
pub(crate) fn padding(units: u8) -> Vec<u8> {
    let mut rest = vec![units, 1, 4];
    rest.resize(7 + 8 * usize::from(units), 0);
    rest
}

/// A routing header of this many segments left.
pub(crate) fn routing(left: u8) -> Vec<u8> {
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

// === Row 44: large frames ===

/// Frames that take more than one page come in several parts.
#[test]
fn row_44_frames_of_several_parts() {
    for mode in MODES {
        let mut fabric = Fabric::new(mode);
        fabric.backend(SERVER, behind(0));
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

/// Wherever the packet ends: in the first part of the frame, or in another.
#[test]
fn row_44_padding_of_several_parts_does_not_enter_a_tunnel() {
    let mut fabric = Fabric::new(Mode::Tunnel);
    fabric.backend(SERVER, behind(0));
    for (family, protocol) in CASES {
        for length in [100, 3900, 9000] {
            let mut request = request(family, protocol);
            request.payload = vec![0x5a; length];
            request.padding = 12_000;
            let ran = fabric.lb(&request.build());
            request.padding = 0;
            let on = forwarded(Mode::Tunnel, family, &request, &ran, l4_start(&request));
            assert_sent(&ran, Mode::Tunnel, family, Action::Redirect, &on.build());
        }
    }
}
