//! Echo of VIPs, and ICMP errors in both directions: whom they reach, and what they quote then.

use std::net::{IpAddr, SocketAddr};

use lbfabric_abi::{Flow, Mode, NatForward, Protocol, VipService};

use super::{
    fabric::{
        CASES, EGRESS_MAC, Fabric, Family, RING_SLOTS, RING_START, SERVER, SERVER_MAC, request,
        reverse, service,
    },
    fullnat::forward_flow,
    gue::GUE_PORT,
    icmp_packets::{IcmpPacket, TROUBLES, Trouble},
    kernel::{Action, Program, Ran},
    network::{CLIENTS_MAC, NEIGHBOUR_MAC, Network, Route, in_network},
    packets::{ETHERNET, NODE_MAC, Packet, ROUTER_MAC, ethernet, ipv4, ipv6},
};

const MODES: [Mode; 4] = [Mode::Dnat, Mode::Fullnat, Mode::Dsr, Mode::Tunnel];
const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

fn ran(action: Action, counter: &'static str, frame: Vec<u8>) -> Ran {
    Ran {
        action,
        counter: Some(counter),
        frame,
    }
}

/// Lengths of quotes: the least that there is, up to TCP's checksum, with it, odd, and whole.
fn quotes(about: &Packet, family: Family) -> [usize; 6] {
    let header = family.header();
    let whole = about.ip_packet().len();
    [
        header + 8,
        header + 16,
        header + 18,
        header + 21,
        whole - 1,
        whole,
    ]
}

#[test]
fn row_11_a_vip_answers_echo_and_the_node_answers_for_itself() {
    let mut fabric = Fabric::new(Mode::Dsr);
    for family in FAMILIES {
        let (client, vip) = (family.client().ip(), family.vip().ip());
        for (size, padding) in [(0, 18), (1, 0), (56, 0), (57, 3), (1400, 0)] {
            for ttl in [1, 64, 255] {
                let mut ping = IcmpPacket::ping(family, client, vip, size).ttl(ttl);
                ping.padding = padding;
                let mut reply = ping.clone().macs(NODE_MAC, ROUTER_MAC).ttl(64);
                (reply.source, reply.destination) = (vip, client);
                reply.kind = if family == Family::V4 { 0 } else { 129 };
                let expected = ran(Action::Tx, "icmp-echo-reply", reply.build());
                assert_eq!(fabric.lb(&ping.build()), expected, "{family:?} {size}");
            }
        }
        let own = IcmpPacket::ping(family, client, family.node(), 56).build();
        let expected = ran(Action::Pass, "pass-not-vip", own.clone());
        assert_eq!(fabric.lb(&own), expected);
        // A reply is no request.
        let mut reply = IcmpPacket::ping(family, client, vip, 56);
        reply.kind = if family == Family::V4 { 0 } else { 129 };
        let reply = reply.build();
        let expected = ran(Action::Pass, "pass-not-served", reply.clone());
        assert_eq!(fabric.lb(&reply), expected);

        let ping = IcmpPacket::ping(family, client, vip, 56).build();
        fabric.unserve(vip);
        let expected = ran(Action::Drop, "drop-echo-unserved", ping.clone());
        assert_eq!(fabric.lb(&ping), expected);
        fabric.vip_address(vip);
        // An address of the node that is a VIP as well stays the node's.
        fabric.vip_address(family.node());
        assert_eq!(fabric.lb(&own).action, Action::Pass);
    }
}

/// The server's answer that an error is about, as it left the VIP.
fn answer(family: Family, protocol: Protocol) -> Packet {
    Packet::new(protocol, family.vip(), family.client()).established()
}

/// What full NAT has for the flow.
fn session(fabric: &mut Fabric, family: Family, protocol: Protocol) -> NatForward {
    let request = request(family, protocol);
    assert_eq!(fabric.lb(&request.build()).counter, Some("l4-fullnat"));
    let flow = forward_flow(&request);
    fabric
        .kernel
        .hash::<Flow, NatForward>("NAT_FORWARD")
        .get(&flow, 0)
        .unwrap()
}

/// The error as the server of a mode gets it.
fn at_server(fabric: &mut Fabric, mode: Mode, error: &IcmpPacket, about: &Packet) -> Vec<u8> {
    let family = family_of(about);
    let sent = error.clone().macs(EGRESS_MAC, SERVER_MAC);
    let mut server = family.server();
    server.set_port(8080);
    let translated = |source: IpAddr, about: Packet| {
        let mut sent = sent.clone().ttl(error.ttl - 1);
        (sent.source, sent.destination) = (source, server.ip());
        sent.body = about.ip_packet();
        sent.body.truncate(error.body.len());
        sent.build()
    };
    match mode {
        Mode::Dsr => sent.build(),
        Mode::Dnat => translated(error.source, about.clone().from(server)),
        Mode::Fullnat => {
            let entry = session(fabric, family, about.protocol);
            let node = SocketAddr::new(
                entry.source.into(),
                u16::from_be_bytes(entry.source_port_be),
            );
            translated(node.ip(), about.clone().from(server).to(node))
        }
        Mode::Tunnel => outer(family, error),
    }
}

fn family_of(packet: &Packet) -> Family {
    if packet.source.is_ipv4() {
        Family::V4
    } else {
        Family::V6
    }
}

/// The error in a tunnel to the server; of IPv6's outer header, the flow label is left out.
fn outer(family: Family, error: &IcmpPacket) -> Vec<u8> {
    let inner = error.ip_packet();
    let (node, server) = (family.node(), family.server().ip());
    let header = match (node, server) {
        (IpAddr::V4(node), IpAddr::V4(server)) => {
            let mut ip = ipv4(4.into(), node.octets(), server.octets(), inner.len());
            ip.dont_fragment = true;
            ip.dscp = etherparse::IpDscp::try_new(error.traffic_class >> 2).unwrap();
            ip.header_checksum = ip.calc_header_checksum();
            ip.to_bytes().to_vec()
        }
        (IpAddr::V6(node), IpAddr::V6(server)) => {
            let mut ip = ipv6(41.into(), node.octets(), server.octets(), inner.len());
            ip.traffic_class = error.traffic_class;
            ip.to_bytes().to_vec()
        }
        mixed => panic!("not one family: {mixed:?}"),
    };
    let ether_type = match family {
        Family::V4 => etherparse::EtherType::IPV4,
        Family::V6 => etherparse::EtherType::IPV6,
    };
    [ethernet(EGRESS_MAC, SERVER_MAC, ether_type), header, inner].concat()
}

#[test]
fn row_06_an_error_about_an_answer_reaches_the_flows_server() {
    for mode in MODES {
        let mut fabric = Fabric::new(mode);
        for (family, protocol) in CASES {
            let mut mapped = service(mode);
            mapped.backend_port_be = match mode {
                Mode::Dnat | Mode::Fullnat => 8080u16.to_be_bytes(),
                Mode::Dsr | Mode::Tunnel => [0; 2],
            };
            fabric.serve(family.vip(), protocol, mapped);
            let about = answer(family, protocol);
            for trouble in TROUBLES {
                for quoted in quotes(&about, family) {
                    let error = IcmpPacket::error(trouble, family.router(), &about, quoted);
                    let expected = at_server(&mut fabric, mode, &error, &about);
                    let mut ran = fabric.lb(&error.build());
                    if (mode, family) == (Mode::Tunnel, Family::V6) {
                        ran.frame[ETHERNET + 1] &= 0xf0;
                        ran.frame[ETHERNET + 2..ETHERNET + 4].fill(0);
                    }
                    let expected = super::kernel::Ran {
                        action: Action::Redirect,
                        counter: Some("icmp-error"),
                        frame: expected,
                    };
                    assert_eq!(
                        ran, expected,
                        "{mode:?} {family:?} {protocol:?} {trouble:?} {quoted}"
                    );
                }
            }
        }
        // Nothing is counted as traffic beside what `session` has sent.
        if mode != Mode::Fullnat {
            assert_eq!(fabric.traffic("BACKEND_COUNTERS", SERVER), (0, 0));
        }
    }
}

/// Each flow's error goes where the flow's packets go, also where servers share a ring.
#[test]
fn row_06_errors_follow_their_flows_over_a_shared_ring() {
    let mut fabric = Fabric::new(Mode::Dsr);
    let mut near = super::fabric::backend(Family::V4.server().ip(), Family::V6.server().ip());
    near.hop4.mac = [2, 0, 0, 0, 0, 0x77];
    near.hop6.mac = near.hop4.mac;
    fabric.backend(super::fabric::OTHER_SERVER, near);
    let ring: Vec<u32> = (0..RING_SLOTS)
        .map(|slot| if slot % 2 == 0 { SERVER } else { SERVER + 1 })
        .collect();
    fabric.ring(RING_START, &ring);
    let mut seen = std::collections::BTreeSet::new();
    for (family, protocol) in CASES {
        for port in 40_000..40_040 {
            let mut client = family.client();
            client.set_port(port);
            let forward = fabric.lb(&request(family, protocol).from(client).build());
            let about = answer(family, protocol).to(client);
            let error = IcmpPacket::error(
                Trouble::TooBig(1300),
                client.ip(),
                &about,
                family.header() + 8,
            );
            let ran = fabric.lb(&error.build());
            assert_eq!(ran.counter, Some("icmp-error"));
            assert_eq!(ran.frame[..12], forward.frame[..12], "{client}");
            seen.insert(ran.frame[..6].to_vec());
        }
    }
    assert_eq!(seen.len(), 2);
}

#[test]
fn row_06_what_cannot_be_about_an_answer_is_refused() {
    for mode in MODES {
        let fabric = Fabric::new(mode);
        for (family, protocol) in CASES {
            let about = answer(family, protocol);
            let error = |about: &Packet, quoted| {
                let mut error =
                    IcmpPacket::error(Trouble::PortUnreachable, family.router(), about, quoted);
                error.destination = family.vip().ip();
                error.build()
            };
            let whole = about.ip_packet().len();
            let expect = |frame: Vec<u8>, action, counter| {
                let what = format!("{mode:?} {family:?} {counter}");
                assert_eq!(fabric.lb(&frame), ran(action, counter, frame), "{what}");
            };
            for quoted in [
                0,
                1,
                family.header() - 1,
                family.header(),
                family.header() + 7,
            ] {
                expect(error(&about, quoted), Action::Drop, "drop-bad-quote");
            }
            // Another sender's packet.
            let other = about.clone().from(family.other_server());
            expect(error(&other, whole), Action::Drop, "drop-bad-quote");
            // From a port that nobody serves.
            let mut port = family.vip();
            port.set_port(81);
            let other = about.clone().from(port);
            expect(error(&other, whole), Action::Pass, "pass-not-served");
            if mode == Mode::Fullnat {
                expect(error(&about, whole), Action::Drop, "drop-unknown-flow");
            }
        }
    }
}

/// Runs a frame that comes from the servers.
fn from_servers(fabric: &Fabric, network: &Network, frame: &[u8]) -> Ran {
    fabric.kernel.run_from(Program::Lb, frame, network.servers)
}

#[test]
fn row_05_an_error_about_a_clients_packet_reaches_the_client() {
    in_network(|network| {
        for mode in [Mode::Dnat, Mode::Fullnat] {
            let mut fabric = Fabric::new(mode);
            for (family, protocol) in CASES {
                let mut server = family.server();
                server.set_port(8080);
                let mut mapped = service(mode);
                mapped.backend_port_be = server.port().to_be_bytes();
                fabric.serve(family.vip(), protocol, mapped);
                if mode == Mode::Dnat {
                    fabric.reverse(server, protocol, reverse(family.vip(), false));
                }
                for route in [Route::Known, Route::NoNeighbour] {
                    let client = route.client(family == Family::V4);
                    let sent = request(family, protocol).from(client);
                    let forwarded = fabric.lb(&sent.build());
                    let on_link = match mode {
                        Mode::Dnat => sent.clone().to(server),
                        _ => sent.clone().to(server).from(node_of(&forwarded, family)),
                    };
                    for trouble in TROUBLES {
                        for (source, told) in [
                            (server.ip(), family.vip().ip()),
                            (family.router(), family.router()),
                        ] {
                            for quoted in quotes(&on_link, family) {
                                let error = IcmpPacket::error(trouble, source, &on_link, quoted);
                                let mut expected = IcmpPacket::error(trouble, told, &sent, quoted);
                                let (action, counter) = if route == Route::Known {
                                    expected = expected
                                        .macs(CLIENTS_MAC, NEIGHBOUR_MAC)
                                        .ttl(error.ttl - 1);
                                    (Action::Redirect, "icmp-error")
                                } else {
                                    (Action::Pass, "pass-to-route")
                                };
                                assert_eq!(
                                    from_servers(&fabric, network, &error.build()),
                                    ran(action, counter, expected.build()),
                                    "{mode:?} {family:?} {protocol:?} {trouble:?} {quoted}"
                                );
                            }
                        }
                    }
                }
            }
        }
    });
}

/// The source of a frame that full NAT has sent.
fn node_of(forwarded: &Ran, family: Family) -> SocketAddr {
    let at = ETHERNET + family.header();
    let port = u16::from_be_bytes([forwarded.frame[at], forwarded.frame[at + 1]]);
    SocketAddr::new(family.node(), port)
}

#[test]
fn row_05_errors_of_no_service_pass_as_they_are() {
    in_network(|network| {
        for mode in MODES {
            let mut fabric = Fabric::new(mode);
            for (family, protocol) in CASES {
                fabric.reverse(family.server(), protocol, reverse(family.vip(), false));
                let node = SocketAddr::new(family.node(), 20_000);
                for about in [
                    Packet::new(protocol, family.client(), family.other_server()),
                    Packet::new(protocol, node, family.server()),
                ] {
                    for trouble in TROUBLES {
                        let error = IcmpPacket::error(
                            trouble,
                            about.destination.ip(),
                            &about,
                            family.header() + 8,
                        )
                        .build();
                        assert_eq!(
                            from_servers(&fabric, network, &error),
                            ran(Action::Pass, "pass-not-vip", error.clone()),
                            "{mode:?} {family:?}"
                        );
                    }
                }
            }
        }
    });
}

/// A router on a tunnel's way has a smaller link: the client hears of it, less the outer header.
#[test]
fn row_06_a_too_big_message_about_a_tunnel_reaches_the_client() {
    in_network(|network| {
        let cases = [0, VipService::GUE].map(|flags| FAMILIES.map(|outer| (flags, outer)));
        for (flags, outer) in cases.into_iter().flatten() {
            let mut fabric = Fabric::new(Mode::Tunnel);
            fabric.backend(SERVER, super::tunnel::only(outer));
            let between = if flags == 0 { 0 } else { 12 };
            let overhead = outer.header() + between;
            for (family, protocol) in CASES {
                let service = VipService {
                    flags,
                    gue_port_be: GUE_PORT.to_be_bytes(),
                    ..service(Mode::Tunnel)
                };
                fabric.serve(family.vip(), protocol, service);
                let client = Route::Known.client(family == Family::V4);
                let mut sent = request(family, protocol).from(client);
                sent.payload = vec![0x5a; 1300];
                let tunnelled = fabric.lb(&sent.build()).frame;
                for quoted in [overhead + family.header() + 8, 400, 548] {
                    let mut error = IcmpPacket::error(
                        Trouble::TooBig(1400),
                        outer.router(),
                        &Packet::new(
                            Protocol::Udp,
                            SocketAddr::new(outer.node(), 0),
                            outer.server(),
                        ),
                        0,
                    );
                    error.body = tunnelled[ETHERNET..ETHERNET + quoted].to_vec();
                    let room = 1400 - u16::try_from(overhead).unwrap();
                    let mut expected = IcmpPacket::error(
                        Trouble::TooBig(room),
                        family.vip().ip(),
                        &sent,
                        quoted - overhead,
                    )
                    .macs(CLIENTS_MAC, NEIGHBOUR_MAC)
                    .ttl(64);
                    expected.destination = client.ip();
                    assert_eq!(
                        from_servers(&fabric, network, &error.build()),
                        ran(Action::Redirect, "icmp-too-big", expected.build()),
                        "{family:?} in {outer:?}, {flags}, {quoted}"
                    );
                }
                // Too little of the client's packet: the kernel's.
                let mut error = IcmpPacket::new(3, 4, outer.router(), outer.node());
                if outer == Family::V6 {
                    (error.kind, error.code) = (2, 0);
                }
                error.rest[2..].copy_from_slice(&1400u16.to_be_bytes());
                for quoted in [outer.header(), overhead + 8] {
                    error.body = tunnelled[ETHERNET..ETHERNET + quoted].to_vec();
                    let frame = error.build();
                    let expected = ran(Action::Pass, "pass-not-vip", frame.clone());
                    assert_eq!(from_servers(&fabric, network, &frame), expected);
                }
            }
        }
    });
}

/// Every prefix, and every length that the IP header may claim, of errors and echo requests: nothing goes out that is longer
/// than what came in and an outer header, and no program is aborted.
#[test]
fn row_16_cut_and_lying_messages() {
    in_network(|network| {
        for mode in MODES {
            let mut fabric = Fabric::new(mode);
            for (family, protocol) in CASES {
                fabric.reverse(family.server(), protocol, reverse(family.vip(), false));
                let back = answer(family, protocol);
                let to = Packet::new(protocol, family.client(), family.server());
                for whole in [
                    IcmpPacket::ping(family, family.client().ip(), family.vip().ip(), 9).build(),
                    IcmpPacket::error(Trouble::TooBig(1300), family.router(), &back, 600).build(),
                    IcmpPacket::error(Trouble::TooBig(1300), family.router(), &to, 600).build(),
                ] {
                    let check = |frame: &[u8]| {
                        let ran = from_servers(&fabric, network, frame);
                        assert_ne!(ran.action, Action::Aborted);
                        assert!(ran.counter.is_some());
                        let outer = match ran.action {
                            Action::Redirect | Action::Tx => 40,
                            Action::Pass | Action::Drop | Action::Aborted => 0,
                        };
                        assert!(ran.frame.len() <= frame.len() + outer);
                    };
                    for length in ETHERNET..whole.len() {
                        check(&whole[..length]);
                    }
                    let at = ETHERNET + if family == Family::V4 { 2 } else { 4 };
                    for claimed in (0..=300).chain([0x8000, 0xffff]) {
                        let mut frame = whole.clone();
                        frame[at..at + 2].copy_from_slice(&u16::to_be_bytes(claimed));
                        check(&frame);
                    }
                    // The lengths of the quoted header, and its version.
                    for first in 0..=255 {
                        let mut frame = whole.clone();
                        let at = ETHERNET + family.header() + 8;
                        frame[at] = first;
                        check(&frame);
                    }
                }
            }
        }
    });
}
