//! Fragments, rows 10, 11 and 16 of `docs/parsing.md`: those after the first reach what the first has reached.

use lbfabric_abi::{Mode, Protocol};

use super::{
    fabric::{CASES, Fabric, Family, SERVER, backend, request, reverse},
    kernel::{Action, Program},
    network::{CLIENTS_MAC, NEIGHBOUR_MAC, Route, in_network},
    packets::{ETHERNET, Packet, fix_ipv4_checksum, l4_start},
    shapes::{MODES, assert_sent, forwarded},
};

/// A packet in two fragments, the first with `first` bytes behind the IP header.
pub(crate) fn fragments(packet: &Packet, first: usize, identification: u16) -> [Vec<u8>; 2] {
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
                let node = if mode == Mode::Fullnat {
                    let at = l4_start(&request);
                    let port = u16::from_be_bytes([ran.frame[at], ran.frame[at + 1]]);
                    (family.node(), port).into()
                } else {
                    fabric.reverse(family.server(), protocol, reverse(family.vip(), false));
                    client
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
