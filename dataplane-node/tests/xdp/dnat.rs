//! `l4-dnat` towards the server.

use lbfabric_abi::{Mode, NextHop, Protocol};

use super::{
    fabric::{
        CASES, EGRESS_MAC, Fabric, Family, SERVER, SERVER_MAC, SERVICE, backend, request, service,
    },
    kernel::{Action, INGRESS, Ran},
    packets::Packet,
};

/// The packet as it goes on to the server.
fn forwarded(request: &Packet, family: Family, port: u16) -> Packet {
    let mut server = family.server();
    server.set_port(port);
    request
        .clone()
        .macs(EGRESS_MAC, SERVER_MAC)
        .to(server)
        .ttl(request.ttl - 1)
}

fn sent(packet: &Packet) -> Ran {
    Ran {
        action: Action::Redirect,
        counter: Some("l4-dnat"),
        frame: packet.build(),
    }
}

#[test]
fn the_destination_becomes_the_server() {
    let fabric = Fabric::new(Mode::Dnat);
    for (family, protocol) in CASES {
        let request = request(family, protocol);
        let expected = sent(&forwarded(&request, family, 80));
        assert_eq!(
            fabric.lb(&request.build()),
            expected,
            "{family:?} {protocol:?}"
        );
    }
}

#[test]
fn ports_are_mapped() {
    let mut fabric = Fabric::new(Mode::Dnat);
    for (family, protocol) in CASES {
        let mut mapped = service(Mode::Dnat);
        mapped.backend_port_be = 8080u16.to_be_bytes();
        fabric.serve(family.vip(), protocol, mapped);
        let request = request(family, protocol);
        let expected = sent(&forwarded(&request, family, 8080));
        assert_eq!(
            fabric.lb(&request.build()),
            expected,
            "{family:?} {protocol:?}"
        );
    }
}

#[test]
fn the_way_back_out_of_the_same_interface_is_a_tx() {
    let mut fabric = Fabric::new(Mode::Dnat);
    let mut server = backend(Family::V4.server().ip(), Family::V6.server().ip());
    server.hop4.ifindex = INGRESS;
    fabric.backend(SERVER, server);
    let ran = fabric.lb(&request(Family::V4, Protocol::Tcp).build());
    assert_eq!((ran.action, ran.counter), (Action::Tx, Some("l4-dnat")));
    let ran = fabric.lb(&request(Family::V6, Protocol::Tcp).build());
    assert_eq!(
        (ran.action, ran.counter),
        (Action::Redirect, Some("l4-dnat"))
    );
}

#[test]
fn options_are_kept_at_every_length() {
    let fabric = Fabric::new(Mode::Dnat);
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        for words in 0..=10 {
            let mut request = request(Family::V4, protocol);
            request.ip_options = vec![1; words * 4];
            let expected = sent(&forwarded(&request, Family::V4, 80));
            assert_eq!(
                fabric.lb(&request.build()),
                expected,
                "{words} words, {protocol:?}"
            );
        }
    }
}

#[test]
fn row_04_no_udp_checksum_stays_none() {
    let fabric = Fabric::new(Mode::Dnat);
    for family in [Family::V4, Family::V6] {
        let mut request = request(family, Protocol::Udp);
        request.unchecked = true;
        let expected = sent(&forwarded(&request, family, 80));
        assert_eq!(fabric.lb(&request.build()), expected, "{family:?}");
    }
}

#[test]
fn padding_stays_where_it_is() {
    let fabric = Fabric::new(Mode::Dnat);
    for (family, protocol) in CASES {
        let mut request = request(family, protocol);
        request.payload.clear();
        request.padding = 18;
        let expected = sent(&forwarded(&request, family, 80));
        assert_eq!(
            fabric.lb(&request.build()),
            expected,
            "{family:?} {protocol:?}"
        );
    }
}

#[test]
fn a_server_without_address_or_next_hop_gets_nothing() {
    let mut fabric = Fabric::new(Mode::Dnat);
    let whole = backend(Family::V4.server().ip(), Family::V6.server().ip());
    for (family, protocol) in CASES {
        let (mut homeless, mut unresolved) = (whole, whole);
        match family {
            Family::V4 => {
                homeless.ipv4 = [0; 4];
                unresolved.hop4 = NextHop::default();
            }
            Family::V6 => {
                homeless.ipv6 = [0; 16];
                unresolved.hop6 = NextHop::default();
            }
        }
        for (server, reason) in [
            (homeless, "drop-no-backend-address"),
            (unresolved, "drop-next-hop-unresolved"),
        ] {
            fabric.backend(SERVER, server);
            let ran = fabric.lb(&request(family, protocol).build());
            assert_eq!(
                (ran.action, ran.counter),
                (Action::Drop, Some(reason)),
                "{family:?}"
            );
        }
    }
}

#[test]
fn traffic_is_counted_without_ethernet_and_padding() {
    let fabric = Fabric::new(Mode::Dnat);
    let mut bytes = 0;
    for (family, protocol) in CASES {
        let mut request = request(family, protocol);
        request.padding = 9;
        bytes += u64::try_from(request.ip_packet().len()).unwrap();
        fabric.lb(&request.build());
        // Dropped: not counted as traffic.
        fabric.lb(&request.ttl(1).build());
    }
    assert_eq!(fabric.traffic("SERVICE_COUNTERS", SERVICE), (4, bytes));
    assert_eq!(fabric.traffic("BACKEND_COUNTERS", SERVER), (4, bytes));
}
