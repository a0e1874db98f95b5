//! `clamp_mss`: the MSS option of a client's SYN.

use std::net::SocketAddr;

use etherparse::{Ipv4Header, Ipv6Header, TcpHeader};
use lbfabric_abi::{Backend, Mode, Protocol, Reverse, VipService};

use super::{
    fabric::{CASES, Fabric, Family, SERVER, request, reverse, service},
    gue::GUE_PORT,
    kernel::{Action, Program, Ran},
    network::{CLIENTS_MAC, NEIGHBOUR_MAC, Route, in_network},
    packets::{ETHERNET, Packet, l4_start},
    tunnel::{only, tunnelled},
};

const NOP: u8 = 1;

/// A fabric of a mode that clamps.
fn fabric(mode: Mode, flags: u32) -> Fabric {
    let mut fabric = Fabric::new(mode);
    for (family, protocol) in CASES {
        let service = VipService {
            flags,
            gue_port_be: GUE_PORT.to_be_bytes(),
            ..service(mode)
        };
        fabric.serve(family.vip(), protocol, service);
    }
    fabric
}

pub(crate) fn mss(value: u16) -> Vec<u8> {
    [&[2, 4], value.to_be_bytes().as_slice()].concat()
}

/// A SYN with these options, filled up with NOPs.
fn syn(family: Family, options: &[u8]) -> Packet {
    let mut syn = request(family, Protocol::Tcp);
    syn.payload.clear();
    syn.tcp_options = options.to_vec();
    while !syn.tcp_options.len().is_multiple_of(4) {
        syn.tcp_options.push(NOP);
    }
    syn
}

/// What reaches the server through the tunnel of IPv4 in IPv4, or IPv6 in IPv6.
fn sent(packet: &Packet, family: Family) -> Ran {
    Ran {
        action: Action::Redirect,
        counter: Some("l4-tunnel"),
        frame: tunnelled(packet, family),
    }
}

/// What is left of 1500 bytes in a tunnel of the packet's own family.
const fn fitting(family: Family) -> u16 {
    match family {
        Family::V4 => 1500 - 20 - 20 - 20,
        Family::V6 => 1500 - 40 - 40 - 20,
    }
}

/// All checksums of the expected packets are computed from scratch.
#[test]
fn it_is_lowered_wherever_it_stands_and_never_raised() {
    let fabric = fabric(Mode::Tunnel, VipService::CLAMP_MSS);
    let before: [&[u8]; 9] = [
        &[],
        &[NOP],
        &[NOP, NOP],
        &[NOP, NOP, NOP],
        &[4, 2],
        &[3, 3, 7],
        &[4, 2, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8],
        &[253, 7, 1, 2, 3, 4, 5],
        // As far behind as it can stand.
        &[NOP; 36],
    ];
    for family in [Family::V4, Family::V6] {
        let fitting = fitting(family);
        for before in before {
            for value in [
                0,
                1,
                536,
                fitting - 1,
                fitting,
                fitting + 1,
                1460,
                8960,
                0xffff,
            ] {
                let with = |value| syn(family, &[before, &mss(value)].concat());
                assert_eq!(
                    fabric.lb(&with(value).build()),
                    sent(&with(value.min(fitting)), family),
                    "{family:?} {before:?} {value}"
                );
            }
        }
    }
}

/// The receiver goes by the last.
#[test]
fn every_one_of_several_is_lowered() {
    let fabric = fabric(Mode::Tunnel, VipService::CLAMP_MSS);
    for family in [Family::V4, Family::V6] {
        let two = |value| syn(family, &[mss(value), vec![NOP], mss(value)].concat());
        assert_eq!(
            fabric.lb(&two(9000).build()),
            sent(&two(fitting(family)), family)
        );
    }
}

#[test]
fn what_is_no_mss_option_stays() {
    let fabric = fabric(Mode::Tunnel, VipService::CLAMP_MSS);
    let large = mss(9000);
    for family in [Family::V4, Family::V6] {
        for options in [
            vec![],
            vec![NOP; 40],
            // Behind the end of options.
            [&[0], large.as_slice()].concat(),
            // Within another option.
            [&[253, 6], large.as_slice()].concat(),
            // Lengths that are none, or lead out of the header.
            [&[253, 0], large.as_slice()].concat(),
            [&[253, 1], large.as_slice()].concat(),
            [&[253, 200], large.as_slice()].concat(),
            vec![2, 3, 0xff, NOP],
            vec![2, 5, 0xff, 0xff, 0xff, NOP, NOP, NOP],
            vec![NOP, NOP, NOP, 2],
            vec![NOP, NOP, 2, 4],
            vec![NOP, 2, 4, 0xff],
        ] {
            let syn = syn(family, &options);
            assert_eq!(
                fabric.lb(&syn.build()),
                sent(&syn, family),
                "{family:?} {options:?}"
            );
        }
    }
}

#[test]
fn only_syns_of_such_services_and_known_ways_change() {
    let large = mss(9000);
    for family in [Family::V4, Family::V6] {
        let mut syn_ack = syn(family, &large);
        syn_ack.ack = true;
        let later = syn(family, &large).established();
        let mut datagram = request(family, Protocol::Udp);
        datagram.payload = large.repeat(20);
        let clamping = fabric(Mode::Tunnel, VipService::CLAMP_MSS);
        for packet in [syn_ack, later, datagram] {
            assert_eq!(clamping.lb(&packet.build()), sent(&packet, family));
        }
        let syn = syn(family, &large);
        assert_eq!(fabric(Mode::Tunnel, 0).lb(&syn.build()), sent(&syn, family));
        let mut unknown = clamping;
        unknown.backend(SERVER, behind(family, 0));
        assert_eq!(unknown.lb(&syn.build()), sent(&syn, family));
    }
}

/// Down to the way that only just takes the SYN itself.
#[test]
fn row_08_it_fits_whatever_the_way_takes() {
    let mut fabric = fabric(Mode::Tunnel, VipService::CLAMP_MSS);
    for family in [Family::V4, Family::V6] {
        let syn = |value| syn(family, &mss(value));
        let headers = if family == Family::V4 {
            20 + 20 + 20
        } else {
            40 + 40 + 20
        };
        for mtu in [headers + 4, headers + 5, 576, 1280, 1400, 1500, 9000] {
            fabric.backend(SERVER, behind(family, mtu));
            let lowered = syn(mtu - headers);
            assert_eq!(
                fabric.lb(&syn(9000).build()),
                sent(&lowered, family),
                "{mtu}"
            );
        }
    }
}

/// A server whose way takes so much.
fn behind(family: Family, mtu: u16) -> Backend {
    Backend {
        mtu4: mtu,
        mtu6: mtu,
        ..only(family)
    }
}

/// The MSS in a frame, behind headers of this length. TCP's checksum is right.
fn mss_behind(frame: &[u8], family: Family, outside: usize) -> u16 {
    let packet = &frame[ETHERNET + outside..];
    let tcp = match family {
        Family::V4 => {
            let (ip, rest) = Ipv4Header::from_slice(packet).unwrap();
            let (tcp, payload) = TcpHeader::from_slice(rest).unwrap();
            assert_eq!(tcp.checksum, tcp.calc_checksum_ipv4(&ip, payload).unwrap());
            tcp
        }
        Family::V6 => {
            let (ip, rest) = Ipv6Header::from_slice(packet).unwrap();
            let (tcp, payload) = TcpHeader::from_slice(rest).unwrap();
            assert_eq!(tcp.checksum, tcp.calc_checksum_ipv6(&ip, payload).unwrap());
            tcp
        }
    };
    let options = tcp.options.as_slice();
    assert_eq!(options[..2], [2, 4]);
    u16::from_be_bytes([options[2], options[3]])
}

/// Each mode leaves what its headers leave of the way to the server, which is 1500 bytes for IPv4 and 1400 for IPv6.
#[test]
fn every_mode_counts_its_own_headers() {
    let own = |family| if family == Family::V4 { 20 } else { 40 };
    for (mode, gue) in [
        (Mode::Dnat, false),
        (Mode::Fullnat, false),
        (Mode::Dsr, false),
        (Mode::Tunnel, false),
        (Mode::Tunnel, true),
    ] {
        let flags = VipService::CLAMP_MSS | if gue { VipService::GUE } else { 0 };
        for outer in [Family::V4, Family::V6] {
            for family in [Family::V4, Family::V6] {
                if mode != Mode::Tunnel && family != outer {
                    continue;
                }
                let mut fabric = fabric(mode, flags);
                let mut server = only(outer);
                (server.mtu4, server.mtu6) = (1500, 1400);
                fabric.backend(SERVER, server);
                let ran = fabric.lb(&syn(family, &mss(9000)).build());
                assert_eq!(ran.action, Action::Redirect, "{mode:?} {ran:?}");
                let outside = match mode {
                    Mode::Tunnel => own(outer) + if gue { 12 } else { 0 },
                    Mode::Dnat | Mode::Fullnat | Mode::Dsr => 0,
                };
                let way = if outer == Family::V4 { 1500 } else { 1400 };
                let expected = way - outside - own(family) - 20;
                let seen = mss_behind(&ran.frame, family, outside);
                assert_eq!(usize::from(seen), expected, "{mode:?} {gue} {family:?}");
            }
        }
    }
}

/// A server's answer, and what its client gets, at the same time to live.
fn answer(fabric: &mut Fabric, mode: Mode, family: Family, options: &[u8]) -> (Packet, Packet) {
    let client = Route::Known.client(family == Family::V4);
    let request = syn(family, &[]).from(client);
    let ran = fabric.lb(&request.build());
    assert_eq!(ran.action, Action::Redirect);
    let to = if mode == Mode::Fullnat {
        let at = l4_start(&request);
        let port = u16::from_be_bytes([ran.frame[at], ran.frame[at + 1]]);
        SocketAddr::new(family.node(), port)
    } else {
        client
    };
    let mut answer = syn(family, options);
    answer.ack = true;
    let translated = answer.clone().from(family.vip()).to(client);
    (answer.from(family.server()).to(to), translated)
}

/// There the server's SYN-ACK comes back through the node. It bounds what the client sends.
#[test]
fn what_accepts_a_connection_is_lowered_where_addresses_are_translated() {
    in_network(|network| {
        for (mode, verdict) in [
            (Mode::Dnat, "l4-dnat-answer"),
            (Mode::Fullnat, "l4-fullnat-answer"),
        ] {
            for family in [Family::V4, Family::V6] {
                for clamps in [false, true] {
                    let flags = if clamps { VipService::CLAMP_MSS } else { 0 };
                    let mut fabric = fabric(mode, flags);
                    let mut server = only(family);
                    (server.mtu4, server.mtu6) = (1400, 1400);
                    fabric.backend(SERVER, server);
                    if mode == Mode::Dnat {
                        let flags = if clamps { Reverse::CLAMP_MSS } else { 0 };
                        let entry = Reverse {
                            flags,
                            ..reverse(family.vip(), false)
                        };
                        fabric.reverse(family.server(), Protocol::Tcp, entry);
                    }
                    let options = [&[NOP], mss(9000).as_slice()].concat();
                    let (sent, mut translated) = answer(&mut fabric, mode, family, &options);
                    if clamps {
                        let fitting = if family == Family::V4 { 1360 } else { 1340 };
                        let lowered = [&[NOP], mss(fitting).as_slice()].concat();
                        translated.tcp_options = syn(family, &lowered).tcp_options;
                    }
                    let later = |packet: &Packet| {
                        let mut later = packet.clone().established();
                        later.tcp_options = syn(family, &options).tcp_options;
                        later
                    };
                    // The second time, the route is remembered.
                    for (sent, translated) in [
                        (sent.clone(), translated.clone()),
                        (later(&sent), later(&translated)),
                        (sent.clone(), translated.clone()),
                    ] {
                        let hops = translated.ttl - 1;
                        let expected = Ran {
                            action: Action::Redirect,
                            counter: Some(verdict),
                            frame: translated
                                .ttl(hops)
                                .macs(CLIENTS_MAC, NEIGHBOUR_MAC)
                                .build(),
                        };
                        let ran =
                            fabric
                                .kernel
                                .run_from(Program::Lb, &sent.build(), network.servers);
                        assert_eq!(ran, expected, "{mode:?} {family:?} {clamps}");
                    }
                }
            }
        }
    });
}
