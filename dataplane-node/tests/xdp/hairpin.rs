//! Destination NAT's clients in the servers' own subnet: a server would answer them past the node, so full NAT serves them.

use std::net::SocketAddr;

use lbfabric_abi::{Backend, Mode, NextHop, Protocol, RingSlot, Settings, VipService};

use super::{
    fabric::{
        CASES, EGRESS_MAC, Fabric, Family, OTHER_SERVER, RING_SLOTS, RING_START, SERVER,
        SERVER_MAC, backend, request, service, settings,
    },
    fullnat::source_port,
    icmp_packets::{IcmpPacket, Trouble},
    kernel::{Action, Program, Ran},
    network::{NEIGHBOUR_MAC, SERVERS_MAC, in_network},
    packets::Packet,
    sessions,
};

/// A client in the server's subnet, whose way the tests' network knows, and the first address outside.
fn clients(family: Family) -> [SocketAddr; 2] {
    let addresses = match family {
        Family::V4 => ["10.1.0.254:51234", "10.1.1.0:51234"],
        Family::V6 => ["[fd00:1::fe]:51234", "[fd00:1:0:1::]:51234"],
    };
    addresses.map(|it| it.parse().unwrap())
}

/// Destination NAT to servers in a /24 and a /64 of the node's.
fn fabric() -> Fabric {
    let mut fabric = Fabric::new(Mode::Dnat);
    for (id, of) in [
        (SERVER, Family::server as fn(Family) -> SocketAddr),
        (OTHER_SERVER, Family::other_server),
    ] {
        fabric.backend(id, beside(of));
    }
    fabric
}

fn beside(of: fn(Family) -> SocketAddr) -> Backend {
    Backend {
        host_bits4: 8,
        host_bits6: 64,
        ..backend(of(Family::V4).ip(), of(Family::V6).ip())
    }
}

fn to_server(request: &Packet, source: SocketAddr, server: SocketAddr) -> Packet {
    let packet = request.clone().macs(EGRESS_MAC, SERVER_MAC);
    packet.from(source).to(server).ttl(request.ttl - 1)
}

fn ran(counter: &'static str, packet: &Packet) -> Ran {
    Ran {
        action: Action::Redirect,
        counter: Some(counter),
        frame: packet.build(),
    }
}

/// What full NAT makes of a request: it is sent by a node's port, which the frame itself says.
fn assert_by_fullnat(fabric: &Fabric, request: &Packet, server: SocketAddr) -> SocketAddr {
    let family = if request.source.is_ipv4() {
        Family::V4
    } else {
        Family::V6
    };
    let sent = fabric.lb(&request.build());
    let node = SocketAddr::new(family.node(), source_port(&sent, request));
    assert_eq!(
        sent,
        ran("l4-fullnat", &to_server(request, node, server)),
        "{request:?}"
    );
    node
}

fn assert_by_dnat(fabric: &Fabric, request: &Packet, server: SocketAddr) {
    let expected = to_server(request, request.source, server);
    assert_eq!(
        fabric.lb(&request.build()),
        ran("l4-dnat", &expected),
        "{request:?}"
    );
}

/// Whatever shape their packets have; the next address beyond the subnet is a client as all others.
#[test]
fn row_24_clients_in_the_servers_subnet_are_served_by_full_nat() {
    let fabric = &mut fabric();
    for (family, protocol) in CASES {
        let [beside, beyond] = clients(family);
        let request = request(family, protocol);
        let hairpin = request.clone().from(beside);
        let node = assert_by_fullnat(fabric, &hairpin, family.server());
        let later = hairpin.clone().established();
        assert_eq!(assert_by_fullnat(fabric, &later, family.server()), node);
        if family == Family::V4 {
            let mut odd = later;
            odd.ip_options = vec![1; 12];
            assert_eq!(assert_by_fullnat(fabric, &odd, family.server()), node);
        }
        assert_by_dnat(fabric, &request, family.server());
        let next = request.from(beyond);
        assert_by_dnat(fabric, &next, family.server());
        let next = next.established();
        assert_by_dnat(fabric, &next, family.server());
    }
    assert_eq!(sessions::all(fabric).len(), CASES.len());
}

/// Also where the node is not in the servers' subnet, and knows of none.
#[test]
fn row_24_a_server_reaches_itself_and_no_other_one_that_way() {
    let mut fabric = fabric();
    let lone = backend(Family::V4.server().ip(), Family::V6.server().ip());
    fabric.backend(SERVER, lone);
    for (family, protocol) in CASES {
        let own = SocketAddr::new(family.server().ip(), 40_000);
        let request = request(family, protocol).from(own);
        assert_by_fullnat(&fabric, &request, family.server());
        let other = request.from(SocketAddr::new(family.other_server().ip(), 40_000));
        assert_by_dnat(&fabric, &other, family.server());
    }
}

/// The server's answers are the VIP's, for the client, as in every session.
#[test]
fn answers_come_from_the_vip() {
    in_network(|network| {
        let fabric = fabric();
        for (family, protocol) in CASES {
            let [beside, _] = clients(family);
            let request = request(family, protocol).from(beside);
            let node = assert_by_fullnat(&fabric, &request, family.server());
            let answer = Packet::new(protocol, family.server(), node);
            let sent = (fabric.kernel).run_from(Program::Lb, &answer.build(), network.servers);
            let ttl = answer.ttl - 1;
            let expected = answer.macs(SERVERS_MAC, NEIGHBOUR_MAC).ttl(ttl);
            let expected = Ran {
                action: Action::Tx,
                counter: Some("l4-fullnat-answer"),
                frame: expected.from(family.vip()).to(beside).build(),
            };
            assert_eq!(sent, expected, "{family:?} {protocol:?}");
        }
    });
}

/// A flow stays with its server while that lives, as all flows of destination NAT.
#[test]
fn a_flow_stays_when_its_slot_changes() {
    let mut fabric = fabric();
    for (family, protocol) in CASES {
        let steady = [SERVER; RING_SLOTS as usize];
        fabric.ring(RING_START, &steady);
        let [beside, _] = clients(family);
        let old = request(family, protocol).from(beside);
        let node = assert_by_fullnat(&fabric, &old, family.server());
        let mut rings = fabric.kernel.array::<RingSlot>("RINGS");
        for slot in RING_START..RING_START + RING_SLOTS {
            rings
                .set(slot, RingSlot::changed(OTHER_SERVER, SERVER), 0)
                .unwrap();
        }
        let later = old.clone().established();
        assert_eq!(assert_by_fullnat(&fabric, &later, family.server()), node);
        if protocol == Protocol::Tcp {
            let new = old.from(SocketAddr::new(beside.ip(), 1025));
            assert_by_fullnat(&fabric, &new, family.other_server());
        }
    }
}

#[test]
fn a_node_without_an_address_to_send_from_says_so() {
    let mut fabric = fabric();
    fabric.settings(Settings {
        source4_count: 0,
        source6_count: 0,
        ..settings()
    });
    for (family, protocol) in CASES {
        let [beside, beyond] = clients(family);
        let request = request(family, protocol);
        let frame = request.clone().from(beside).build();
        let dropped = fabric.lb(&frame);
        assert_eq!(
            (dropped.action, dropped.counter),
            (Action::Drop, Some("drop-no-source-address"))
        );
        assert_by_dnat(&fabric, &request.from(beyond), family.server());
    }
}

/// A SYN whose MSS option is looked at is full NAT's behind that as well.
#[test]
fn a_clamped_syn_goes_by_full_nat() {
    let mut fabric = fabric();
    for family in [Family::V4, Family::V6] {
        let clamped = VipService {
            flags: VipService::CLAMP_MSS,
            ..service(Mode::Dnat)
        };
        fabric.serve(family.vip(), Protocol::Tcp, clamped);
        let [beside, _] = clients(family);
        let request = request(family, Protocol::Tcp).from(beside);
        assert_by_fullnat(&fabric, &request, family.server());
    }
}

/// A client's error about what the VIP has sent it reaches the server as one about what that has sent to the node.
#[test]
fn a_clients_errors_reach_its_server() {
    let fabric = fabric();
    for (family, protocol) in CASES {
        let [beside, _] = clients(family);
        let request = request(family, protocol).from(beside);
        let node = assert_by_fullnat(&fabric, &request, family.server());
        let received = Packet::new(protocol, family.vip(), beside);
        for quoted in [family.header() + 8, usize::MAX] {
            let error = IcmpPacket::error(Trouble::PortUnreachable, beside.ip(), &received, quoted);
            let sent = fabric.lb(&error.build());
            let about = Packet::new(protocol, family.server(), node);
            let expected =
                IcmpPacket::error(Trouble::PortUnreachable, family.node(), &about, quoted)
                    .macs(EGRESS_MAC, SERVER_MAC)
                    .ttl(error.ttl - 1);
            assert_eq!(
                (sent.action, sent.counter),
                (Action::Redirect, Some("icmp-error")),
                "{family:?} {protocol:?}"
            );
            assert_eq!(sent.frame, expected.build(), "{family:?} {protocol:?}");
        }
    }
}

/// The way to a server is not known: nothing is entered.
#[test]
fn an_unresolved_next_hop_is_named() {
    let mut fabric = fabric();
    let unresolved = Backend {
        hop4: NextHop::default(),
        hop6: NextHop::default(),
        ..beside(Family::server)
    };
    fabric.backend(SERVER, unresolved);
    for (family, protocol) in CASES {
        let [client, _] = clients(family);
        let request = request(family, protocol).from(client);
        let dropped = fabric.lb(&request.build());
        assert_eq!(dropped.counter, Some("drop-next-hop-unresolved"));
    }
    assert_eq!(sessions::all(&mut fabric), []);
}
