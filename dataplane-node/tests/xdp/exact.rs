//! `l4-dnat` with exact state: what becomes of packets where an answer does not tell its VIP.

use aya::maps::lpm_trie::Key;
use lbfabric_abi::{
    Address, Backend, EndpointPrefix, FilterRegion, Mode, NextHop, Protocol, Reverse, RingSlot,
    SessionState, VipFlags, VipPrefix, VipService,
};

use super::{
    clamp::mss,
    exact_fabric::{ACK, Flow, assert_all_words_lead_to_sessions, exact, fabric, from_servers},
    fabric::{
        CASES, EGRESS_MAC, Fabric, Family, OTHER_SERVER, POOL, RING_SLOTS, RING_START, SERVER,
        SERVER_MAC, SERVICE, backend, reverse, service,
    },
    fragments::fragments,
    kernel::{Action, Ran},
    network::{CLIENTS_MAC, NEIGHBOUR_MAC, in_network},
    sessions,
};

#[test]
fn two_vips_of_one_family_are_answered_as_the_one_that_was_asked() {
    in_network(|network| {
        let mut fabric = fabric();
        let mut flows = Vec::new();
        for (family, protocol) in CASES {
            for (port, vip) in (4000..).zip(family.vips()) {
                flows.push(Flow::new(protocol, vip, port));
            }
        }
        for flow in &flows {
            flow.assert_begins(&fabric);
        }
        // The second time the route is remembered.
        for flow in flows.iter().chain(&flows) {
            flow.assert_answered(&fabric, network);
            flow.assert_sends(&fabric, &flow.packet.clone().established());
        }
        for flow in &flows {
            let session = sessions::of(&mut fabric, &flow.packet).unwrap();
            assert!(session.is_dnat() && session.life.state().is_confirmed());
            assert_eq!(session.server_port_be, flow.server.port().to_be_bytes());
            assert_eq!(u32::from(session.backend), SERVER);
            assert_eq!(u32::from(session.service), SERVICE);
            assert_eq!(u32::from(session.pool), POOL);
        }
        assert_eq!(sessions::all(&mut fabric).len(), flows.len());
        assert_all_words_lead_to_sessions(&mut fabric);
        let count = 3 * flows.len() as u64;
        assert_eq!(fabric.traffic("SERVICE_COUNTERS", SERVICE).0, count);
        assert_eq!(fabric.traffic("BACKEND_COUNTERS", SERVER).0, count);
    });
}

#[test]
fn packets_of_any_shape_take_the_same_way() {
    in_network(|network| {
        let fabric = fabric();
        for vip in Family::V4.vips() {
            let port = 4000 + u16::from(vip == Family::V4.vip());
            let mut flow = Flow::new(Protocol::Tcp, vip, port);
            flow.packet.ip_options = vec![1; 12];
            flow.assert_begins(&fabric);
            flow.assert_answered(&fabric, network);
            let mut unchecked = Flow::new(Protocol::Udp, vip, port);
            unchecked.packet.unchecked = true;
            unchecked.assert_begins(&fabric);
            unchecked.assert_answered(&fabric, network);
        }
    });
}

/// A prefix, with a port of its own and servers that listen on another one.
#[test]
fn any_address_of_a_prefix_is_answered_as_itself() {
    in_network(|network| {
        let mut fabric = fabric();
        for (family, bits, first) in [
            (Family::V4, 96 + 24, "198.18.7.0:443"),
            (Family::V6, 64, "[2001:db8:77::]:443"),
        ] {
            let first: std::net::SocketAddr = first.parse().unwrap();
            let address = Address::from(first.ip());
            fabric.vip_prefix(VipPrefix { address, bits }, VipFlags::KNOWN);
            let mapped = VipService {
                backend_port_be: 8443u16.to_be_bytes(),
                ..exact()
            };
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                let key = EndpointPrefix {
                    address,
                    protocol: protocol as u8,
                    vip_bits: u8::try_from(bits).unwrap(),
                    port_be: 443u16.to_be_bytes(),
                };
                fabric
                    .kernel
                    .trie::<EndpointPrefix, VipService>("VIP_RANGES")
                    .insert(&Key::new(EndpointPrefix::BITS, key), mapped, 0)
                    .unwrap();
                let mut server = family.server();
                server.set_port(8443);
                fabric.reverse(server, protocol, Reverse::BY_SESSION);
                for host in [0u8, 1, 77, 255] {
                    let vip = nth(first, host);
                    fabric.pass_filter(FilterRegion::Prefix, vip.ip());
                    let flow = Flow {
                        server,
                        ..Flow::new(protocol, vip, 5000 + u16::from(host))
                    };
                    flow.assert_begins(&fabric);
                    flow.assert_sends(&fabric, &flow.packet.clone().established());
                    flow.assert_answered(&fabric, network);
                }
            }
        }
        assert_all_words_lead_to_sessions(&mut fabric);
    });
}

/// The address with another last byte.
fn nth(first: std::net::SocketAddr, host: u8) -> std::net::SocketAddr {
    let mut address = Address::from(first.ip());
    address.0[15] = host;
    std::net::SocketAddr::new(address.into(), first.port())
}

/// Two services, of different VIP ports, end at one port of the server: as a range, of which the port is one.
#[test]
fn services_that_share_a_servers_port_are_told_apart() {
    in_network(|network| {
        let mut fabric = Fabric::new(Mode::Dnat);
        for (family, protocol) in CASES {
            let mut server = family.server();
            server.set_port(0x1f90);
            fabric.reverse_range(server, 12, protocol, Reverse::BY_SESSION);
            for (number, port) in [(SERVICE, 80), (6, 443)] {
                let shared = VipService {
                    service: number,
                    backend_port_be: server.port().to_be_bytes(),
                    ..exact()
                };
                let mut vip = family.vip();
                vip.set_port(port);
                fabric.serve(vip, protocol, shared);
                let flow = Flow {
                    server,
                    ..Flow::new(protocol, vip, 4000 + port)
                };
                flow.assert_begins(&fabric);
                flow.assert_answered(&fabric, network);
                let session = sessions::of(&mut fabric, &flow.packet).unwrap();
                assert_eq!(u32::from(session.service), number);
            }
        }
    });
}

/// Without a session nobody knows whose answer it is: another node may have sent the request.
#[test]
fn what_no_session_tells_of_passes() {
    in_network(|network| {
        let fabric = fabric();
        for (family, protocol) in CASES {
            let flow = Flow::new(protocol, family.vip(), 4000);
            let answer = flow.answer().build();
            let expected = Ran {
                action: Action::Pass,
                counter: Some("pass-not-vip"),
                frame: answer.clone(),
            };
            assert_eq!(from_servers(&fabric, network, &answer), expected);
            flow.assert_begins(&fabric);
            let other = Flow::new(protocol, family.vip(), 4001).answer().build();
            let ran = from_servers(&fabric, network, &other);
            assert_eq!(ran.counter, Some("pass-not-vip"));
        }
    });
}

/// A service that becomes exact: until their clients' next packets, its flows have no sessions, but servers go on sending.
#[test]
fn flows_from_before_are_answered_as_they_were() {
    in_network(|network| {
        let mut fabric = fabric();
        for (family, protocol) in CASES {
            let before = Reverse {
                flags: Reverse::EXACT,
                ..reverse(family.vip(), false)
            };
            fabric.reverse(family.server(), protocol, before);
            Flow::new(protocol, family.vip(), 4000).assert_answered(&fabric, network);
            // What has a session goes by that.
            let flow = Flow::new(protocol, family.second_vip(), 4000);
            flow.assert_begins(&fabric);
            flow.assert_answered(&fabric, network);
        }
    });
}

/// The session decides, also when no server takes new flows; it gives way when its server is gone.
#[test]
fn a_flow_stays_on_its_server_while_that_lives() {
    let mut fabric = fabric();
    for (family, protocol) in CASES {
        fabric.ring(RING_START, &[SERVER; RING_SLOTS as usize]);
        let flow = Flow::new(protocol, family.second_vip(), 4000);
        flow.assert_begins(&fabric);
        for next in [OTHER_SERVER, RingSlot::NONE] {
            fabric.ring(RING_START, &[next; RING_SLOTS as usize]);
            flow.assert_sends(&fabric, &flow.packet.clone().established());
        }
        Flow::new(protocol, family.vip(), 4001).assert_refused(&fabric, "drop-no-backend");

        fabric.ring(RING_START, &[OTHER_SERVER; RING_SLOTS as usize]);
        let whole = backend(Family::V4.server().ip(), Family::V6.server().ip());
        fabric.backend(SERVER, Backend { flags: 0, ..whole });
        let moved = Flow {
            server: family.other_server(),
            ..flow
        };
        moved.assert_sends(&fabric, &moved.packet.clone().established());
        fabric.backend(SERVER, whole);
        moved.assert_sends(&fabric, &moved.packet.clone().established());
    }
    // What the first server had is free.
    assert_eq!(sessions::all(&mut fabric).len(), CASES.len());
    assert_all_words_lead_to_sessions(&mut fabric);
}

#[test]
fn nothing_is_written_for_a_packet_that_cannot_go() {
    let mut fabric = fabric();
    let whole = backend(Family::V4.server().ip(), Family::V6.server().ip());
    for (family, protocol) in CASES {
        let flow = Flow::new(protocol, family.vip(), 4000);
        let unresolved = Backend {
            hop4: NextHop::default(),
            hop6: NextHop::default(),
            ..whole
        };
        fabric.backend(SERVER, unresolved);
        flow.assert_refused(&fabric, "drop-next-hop-unresolved");
        fabric.backend(SERVER, whole);
        let expiring = fabric.lb(&flow.packet.clone().ttl(1).build());
        assert_eq!(expiring.counter, Some("icmp-time-exceeded"));
    }
    assert_eq!(sessions::all(&mut fabric), []);
    assert_eq!(sessions::words(&mut fabric), 0);
}

#[test]
fn row_10_fragments_follow_in_both_directions() {
    in_network(|network| {
        let fabric = fabric();
        for (n, (family, protocol)) in (0..).zip(CASES) {
            for (port, vip) in (4000..).zip(family.vips()) {
                let id = n << 8 | port;
                let mut flow = Flow::new(protocol, vip, port);
                flow.packet.payload = (0..90u8).collect();
                let hops = flow.packet.ttl - 1;
                let on = flow.packet.clone().macs(EGRESS_MAC, SERVER_MAC);
                let on = fragments(&on.to(flow.server).ttl(hops), 32, id);
                for (piece, expected) in fragments(&flow.packet, 32, id).iter().zip(on) {
                    let ran = fabric.lb(piece);
                    let to = (Action::Redirect, Some("l4-dnat"));
                    assert_eq!((ran.action, ran.counter), to, "{flow:?}");
                    assert_eq!(ran.frame, expected, "{flow:?}");
                }
                let mut answer = flow.answer();
                answer.payload = (0..90u8).collect();
                let hops = answer.ttl - 1;
                let on = flow.translated(&answer).ttl(hops);
                let on = fragments(&on.macs(CLIENTS_MAC, NEIGHBOUR_MAC), 32, id);
                for (piece, expected) in fragments(&answer, 32, id).iter().zip(on) {
                    let ran = from_servers(&fabric, network, piece);
                    let back = (Action::Redirect, Some("l4-dnat-answer"));
                    assert_eq!((ran.action, ran.counter), back, "{flow:?}");
                    assert_eq!(ran.frame, expected, "{flow:?}");
                }
            }
        }
    });
}

/// Two services at one endpoint, of which one clamps.
#[test]
fn what_accepts_a_connection_is_lowered_by_its_own_service() {
    in_network(|network| {
        let mut fabric = fabric();
        let narrow = Backend {
            mtu4: 1400,
            mtu6: 1400,
            ..backend(Family::V4.server().ip(), Family::V6.server().ip())
        };
        fabric.backend(SERVER, narrow);
        for family in [Family::V4, Family::V6] {
            let clamping = VipService {
                flags: VipService::EXACT_STATE | VipService::CLAMP_MSS,
                ..exact()
            };
            fabric.serve(family.second_vip(), Protocol::Tcp, clamping);
            let fitting = if family == Family::V4 { 1360 } else { 1340 };
            for (port, vip, limit) in [
                (4000, family.vip(), 9000),
                (4001, family.second_vip(), fitting),
            ] {
                let mut flow = Flow::new(Protocol::Tcp, vip, port);
                flow.packet.payload.clear();
                flow.packet.tcp_options = mss(9000);
                let mut lowered = flow.packet.clone();
                lowered.tcp_options = mss(limit);
                let expected = flow.at_server(&lowered);
                assert_eq!(fabric.lb(&flow.packet.build()), expected);

                let mut answer = flow.answer();
                (answer.syn, answer.ack) = (true, true);
                answer.payload.clear();
                answer.tcp_options = mss(9000);
                let hops = answer.ttl - 1;
                let mut back = flow.translated(&answer).ttl(hops);
                back.tcp_options = mss(limit);
                let ran = from_servers(&fabric, network, &answer.build());
                let expected = back.macs(CLIENTS_MAC, NEIGHBOUR_MAC).build();
                assert_eq!(ran.counter, Some("l4-dnat-answer"));
                assert_eq!(ran.frame, expected, "{family:?} {port}");
            }
        }
    });
}

/// Clients in the servers' own subnet are full NAT's; the others' flows lie in the same tables.
#[test]
fn a_client_beside_the_server_is_served_by_full_nat() {
    let mut fabric = fabric();
    let beside = Backend {
        host_bits4: 8,
        host_bits6: 64,
        ..backend(Family::V4.server().ip(), Family::V6.server().ip())
    };
    fabric.backend(SERVER, beside);
    for (family, protocol) in CASES {
        let mut near = Flow::new(protocol, family.vip(), 4000);
        let mut address = Address::from(family.server().ip());
        address.0[15] = 99;
        near.packet.source.set_ip(address.into());
        let ran = fabric.lb(&near.packet.build());
        assert_eq!(ran.counter, Some("l4-fullnat"));
        assert!(!sessions::of(&mut fabric, &near.packet).unwrap().is_dnat());
        Flow::new(protocol, family.vip(), 4001).assert_begins(&fabric);
    }
    assert_all_words_lead_to_sessions(&mut fabric);
}

/// A service that becomes exact, and back: the old kind of session gives way to the new one.
#[test]
fn a_service_that_changes_its_mode_gives_its_flows_new_sessions() {
    let mut fabric = fabric();
    for (family, protocol) in CASES {
        let flow = Flow::new(protocol, family.vip(), 4000);
        for (served, counter) in [
            (service(Mode::Fullnat), "l4-fullnat"),
            (exact(), "l4-dnat"),
            (service(Mode::Fullnat), "l4-fullnat"),
        ] {
            fabric.serve(family.vip(), protocol, served);
            for packet in [flow.packet.clone(), flow.packet.clone().established()] {
                assert_eq!(fabric.lb(&packet.build()).counter, Some(counter));
            }
            let session = sessions::of(&mut fabric, &flow.packet).unwrap();
            assert_eq!(session.is_dnat(), counter == "l4-dnat");
            assert_eq!(session.life.state(), SessionState::OPENING);
            assert_all_words_lead_to_sessions(&mut fabric);
        }
    }
}

/// An established flow whose node is gone comes to this one.
#[test]
fn a_flow_may_begin_in_the_middle() {
    in_network(|network| {
        let fabric = fabric();
        for (family, protocol) in CASES {
            let flow = Flow::new(protocol, family.second_vip(), 4000);
            flow.talk(&fabric, &[(true, ACK)]);
            flow.assert_answered(&fabric, network);
        }
    });
}
