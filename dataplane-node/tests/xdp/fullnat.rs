//! `l4-fullnat` towards the server: what becomes of packets, and their sessions.

use std::net::{IpAddr, SocketAddr};

use lbfabric_abi::{Address, Mode, NextHop, Protocol, Session, SessionState};

use super::{
    fabric::{
        CASES, EGRESS_MAC, Fabric, Family, NAT_PORT_COUNT, NAT_PORT_FIRST, OTHER_SERVER, POOL,
        RING_SLOTS, RING_START, SERVER, SERVER_MAC, SERVICE, backend, request, service, settings,
    },
    kernel::{Action, Ran},
    packets::{Packet, l4_start},
    sessions,
};

/// The source port of a frame like `like`.
pub(crate) fn source_port(ran: &Ran, like: &Packet) -> u16 {
    let at = l4_start(like);
    u16::from_be_bytes([ran.frame[at], ran.frame[at + 1]])
}

/// The packet as it goes on to a server from a port of the node.
fn forwarded(request: &Packet, node: IpAddr, port: u16, server: SocketAddr) -> Ran {
    let packet = request
        .clone()
        .macs(EGRESS_MAC, SERVER_MAC)
        .from(SocketAddr::new(node, port))
        .to(server)
        .ttl(request.ttl - 1);
    Ran {
        action: Action::Redirect,
        counter: Some("l4-fullnat"),
        frame: packet.build(),
    }
}

#[test]
fn both_addresses_change_and_a_session_is_made() {
    let mut fabric = Fabric::new(Mode::Fullnat);
    for (family, protocol) in CASES {
        let request = request(family, protocol);
        let ran = fabric.lb(&request.build());
        let port = source_port(&ran, &request);
        assert!((NAT_PORT_FIRST..NAT_PORT_FIRST + NAT_PORT_COUNT).contains(&port));
        assert_eq!(
            ran,
            forwarded(&request, family.node(), port, family.server())
        );

        let session = sessions::of(&mut fabric, &request).unwrap();
        let expected = Session {
            client: Address::from(request.source.ip()).fold(),
            vip: Address::from(request.destination.ip()).fold(),
            client_port_be: request.source.port().to_be_bytes(),
            vip_port_be: request.destination.port().to_be_bytes(),
            node_port_be: port.to_be_bytes(),
            server_port_be: 80u16.to_be_bytes(),
            backend: u16::try_from(SERVER).unwrap(),
            service: u16::try_from(SERVICE).unwrap(),
            pool: u16::try_from(POOL).unwrap(),
            origin: Session::origin_of(family == Family::V6, protocol as u8, 0),
            node_check: Session::check_of(Address::from(family.node()).fold()),
            ..session
        };
        assert_eq!(session, expected);
        assert_eq!(session.life.state(), SessionState::OPENING);
        // The same flow again: the same port, and no further session.
        assert_eq!(fabric.lb(&request.build()), ran);
        let later = request.clone().established();
        assert_eq!(
            fabric.lb(&later.build()),
            forwarded(&later, family.node(), port, family.server())
        );
    }
    assert_eq!(sessions::all(&mut fabric).len(), CASES.len());
    assert_eq!(sessions::words(&mut fabric), CASES.len());
    assert_eq!(fabric.traffic("SERVICE_COUNTERS", SERVICE).0, 12);
    assert_eq!(fabric.traffic("BACKEND_COUNTERS", SERVER).0, 12);
}

#[test]
fn ports_are_mapped_and_options_kept() {
    let mut fabric = Fabric::new(Mode::Fullnat);
    for (family, protocol) in CASES {
        let mut mapped = service(Mode::Fullnat);
        mapped.backend_port_be = 8080u16.to_be_bytes();
        fabric.serve(family.vip(), protocol, mapped);
        let mut request = request(family, protocol);
        if family == Family::V4 {
            request.ip_options = vec![1; 12];
        }
        request.unchecked = protocol == Protocol::Udp;
        let mut server = family.server();
        server.set_port(8080);
        let ran = fabric.lb(&request.build());
        let port = source_port(&ran, &request);
        assert_eq!(ran, forwarded(&request, family.node(), port, server));
    }
}

/// A flow stays with its server when new flows go elsewhere, and its port with it when the service's port changes.
#[test]
fn a_known_flow_stays() {
    let mut fabric = Fabric::new(Mode::Fullnat);
    for (family, protocol) in CASES {
        fabric.ring(RING_START, &[SERVER; RING_SLOTS as usize]);
        let old = request(family, protocol);
        let before = fabric.lb(&old.build());
        fabric.ring(RING_START, &[OTHER_SERVER; RING_SLOTS as usize]);
        let mut mapped = service(Mode::Fullnat);
        mapped.backend_port_be = 8080u16.to_be_bytes();
        fabric.serve(family.vip(), protocol, mapped);
        assert_eq!(fabric.lb(&old.build()), before);

        let mut new = request(family, protocol);
        new.source.set_port(1);
        let ran = fabric.lb(&new.build());
        let mut server = family.other_server();
        server.set_port(8080);
        let port = source_port(&ran, &new);
        assert_eq!(ran, forwarded(&new, family.node(), port, server));
    }
}

#[test]
fn a_flow_of_a_removed_server_gets_another() {
    let mut fabric = Fabric::new(Mode::Fullnat);
    for (family, protocol) in CASES {
        let both = backend(Family::V4.server().ip(), Family::V6.server().ip());
        fabric.backend(SERVER, both);
        fabric.ring(RING_START, &[SERVER; RING_SLOTS as usize]);
        let request = request(family, protocol);
        fabric.lb(&request.build());
        fabric.backend(SERVER, lbfabric_abi::Backend::default());
        fabric.ring(RING_START, &[OTHER_SERVER; RING_SLOTS as usize]);
        let ran = fabric.lb(&request.build());
        let port = source_port(&ran, &request);
        let expected = forwarded(&request, family.node(), port, family.other_server());
        assert_eq!(ran, expected, "{family:?} {protocol:?}");
        assert_eq!(fabric.lb(&request.build()), ran);
        // Packets of a flow that goes on find out as well.
        let later = request.clone().established();
        let expected = forwarded(&later, family.node(), port, family.other_server());
        assert_eq!(fabric.lb(&later.build()), expected);
    }
    // What the first server had is free.
    assert_eq!(sessions::all(&mut fabric).len(), CASES.len());
    assert_eq!(sessions::words(&mut fabric), CASES.len());
}

#[test]
fn nothing_is_written_for_a_packet_that_cannot_go() {
    let mut fabric = Fabric::new(Mode::Fullnat);
    let whole = backend(Family::V4.server().ip(), Family::V6.server().ip());
    for (family, protocol) in CASES {
        let expect = |fabric: &Fabric, ttl, reason| {
            let frame = request(family, protocol).ttl(ttl).build();
            let expected = Ran {
                action: Action::Drop,
                counter: Some(reason),
                frame: frame.clone(),
            };
            assert_eq!(fabric.lb(&frame), expected, "{family:?} {protocol:?}");
        };
        let expiring = fabric.lb(&request(family, protocol).ttl(1).build());
        assert_eq!(expiring.counter, Some("icmp-time-exceeded"));

        let mut server = whole;
        (server.hop4, server.hop6) = (NextHop::default(), NextHop::default());
        fabric.backend(SERVER, server);
        expect(&fabric, 64, "drop-next-hop-unresolved");
        (server.ipv4, server.ipv6) = ([0; 4], [0; 16]);
        fabric.backend(SERVER, server);
        expect(&fabric, 64, "drop-no-backend-address");
        fabric.backend(SERVER, whole);

        let mut nameless = settings();
        (nameless.source4_count, nameless.source6_count) = (0, 0);
        fabric.settings(nameless);
        expect(&fabric, 64, "drop-no-source-address");
        fabric.settings(settings());
    }
    assert_eq!(sessions::all(&mut fabric), []);
    assert_eq!(sessions::words(&mut fabric), 0);
}
