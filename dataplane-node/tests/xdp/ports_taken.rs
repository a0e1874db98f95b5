//! The source ports of full NAT: each belongs to one flow, and they run out.

use std::{collections::HashSet, net::SocketAddr};

use lbfabric_abi::{Mode, NatCursor, Protocol, Settings};

use super::{
    fabric::{
        CASES, Fabric, Family, NAT_PORT_FIRST, OTHER_SERVER, RING_SLOTS, RING_START, SERVER,
        request, settings,
    },
    kernel::Action,
    packets::{ETHERNET, Packet, l4_start},
};

fn few_ports(count: u32, addresses: u32) -> Settings {
    Settings {
        nat_port_count: count,
        source4_count: addresses,
        source6_count: addresses,
        ..settings()
    }
}

/// The source address and port that a new flow goes on with, if it does.
fn admitted(
    fabric: &Fabric,
    family: Family,
    protocol: Protocol,
    port: u16,
) -> Option<(Vec<u8>, u16)> {
    let client = SocketAddr::new(family.client().ip(), port);
    let packet: Packet = request(family, protocol).from(client);
    let ran = fabric.lb(&packet.build());
    if ran.action == Action::Drop {
        assert_eq!(ran.counter, Some("drop-nat-ports-exhausted"));
        assert_eq!(ran.frame, packet.build());
        return None;
    }
    assert_eq!(ran.counter, Some("l4-fullnat"));
    let source = match family {
        Family::V4 => &ran.frame[ETHERNET + 12..ETHERNET + 16],
        Family::V6 => &ran.frame[ETHERNET + 8..ETHERNET + 24],
    };
    let at = l4_start(&packet);
    let port = u16::from_be_bytes([ran.frame[at], ran.frame[at + 1]]);
    Some((source.to_vec(), port))
}

#[test]
fn every_port_is_used_once_and_then_none_is_left() {
    // As many as one flow tries, so that each may find the last free one.
    const PORTS: u16 = 16;
    for (family, protocol) in CASES {
        let mut fabric = Fabric::new(Mode::Fullnat);
        fabric.settings(few_ports(PORTS.into(), 1));
        let mut used = HashSet::new();
        for client in 0..PORTS {
            let (_, port) = admitted(&fabric, family, protocol, 1000 + client).unwrap();
            assert!((NAT_PORT_FIRST..NAT_PORT_FIRST + PORTS).contains(&port));
            assert!(used.insert(port), "{port} is used twice");
        }
        let refused = |fabric: &mut Fabric| {
            let cursors = fabric.kernel.array::<NatCursor>("NAT_CURSOR");
            cursors.get(&SERVER, 0).unwrap()
        };
        assert_eq!(refused(&mut fabric).no_port_at, 0);
        assert_eq!(admitted(&fabric, family, protocol, 2000), None);
        let cursor = refused(&mut fabric);
        assert!(
            cursor.no_port_at > 0 && cursor.no_room_at == 0,
            "{cursor:?}"
        );
        // Those who are in stay in.
        for client in 0..PORTS {
            let (_, port) = admitted(&fabric, family, protocol, 1000 + client).unwrap();
            assert!(used.contains(&port));
        }
        // The same ports serve flows to another server.
        fabric.ring(RING_START, &[OTHER_SERVER; RING_SLOTS as usize]);
        assert!(admitted(&fabric, family, protocol, 2000).is_some());
    }
}

#[test]
fn every_address_brings_its_own_ports() {
    for (family, protocol) in CASES {
        let mut fabric = Fabric::new(Mode::Fullnat);
        fabric.settings(few_ports(8, 2));
        let used: HashSet<_> = (1000..1016)
            .map(|client| admitted(&fabric, family, protocol, client).unwrap())
            .collect();
        assert_eq!(used.len(), 16);
        let addresses: HashSet<_> = used.iter().map(|(address, _)| address).collect();
        assert_eq!(addresses.len(), 2);
        assert_eq!(admitted(&fabric, family, protocol, 2000), None);
    }
}

#[test]
fn without_ports_no_flow_is_admitted() {
    let mut fabric = Fabric::new(Mode::Fullnat);
    fabric.settings(few_ports(0, 1));
    for (family, protocol) in CASES {
        assert_eq!(admitted(&fabric, family, protocol, 1000), None);
    }
}

/// The last port is 65535, not one more.
#[test]
fn ports_reach_to_the_end() {
    let mut fabric = Fabric::new(Mode::Fullnat);
    fabric.settings(Settings {
        nat_port_first: 65_528,
        ..few_ports(8, 1)
    });
    for (family, protocol) in CASES {
        let used: HashSet<u16> = (1000..1008)
            .map(|client| admitted(&fabric, family, protocol, client).unwrap().1)
            .collect();
        assert_eq!(used, (65_528..=65_535).collect());
    }
}

/// Source affinity sends a client's flows to one server, and still spreads their ports.
#[test]
fn one_clients_flows_do_not_crowd() {
    let mut fabric = Fabric::new(Mode::Fullnat);
    let mut sticky = super::fabric::service(Mode::Fullnat);
    sticky.affinity = lbfabric_abi::Affinity::Source as u8;
    for (family, protocol) in CASES {
        fabric.serve(family.vip(), protocol, sticky);
        let used: HashSet<u16> = (1000..1200)
            .map(|client| admitted(&fabric, family, protocol, client).unwrap().1)
            .collect();
        assert_eq!(used.len(), 200);
    }
}
