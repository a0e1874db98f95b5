//! How much full NAT has room for.

use std::collections::HashSet;

use lbfabric_abi::{DropReason, Mode, Protocol, Settings};

use super::{
    fabric::{CASES, Fabric, Family, request, service, settings},
    kernel::{Action, Kernel, Program, Sizes},
    packets::{ETHERNET, Packet, l4_start},
};

/// With Linux's `ip_local_port_range`.
const PORTS: u32 = 36_280;
const CONNECTIONS: u32 = 70_000;

fn fabric(session_lines: u32) -> Fabric {
    let sizes = Sizes {
        session_lines,
        ..Sizes::default()
    };
    let mut fabric = Fabric::on(Kernel::load_with(sizes), Mode::Fullnat);
    fabric.settings(Settings {
        session_mask: session_lines - 1,
        source4_count: 2,
        source6_count: 2,
        nat_port_first: 1024,
        nat_port_count: PORTS,
        nat_port_gap_at: 31_744,
        nat_port_gap: 28_232,
        ..settings()
    });
    fabric
}

/// The n-th connection of one client address, which has 64 Ki ports: to two ports of the VIP.
fn connection(family: Family, protocol: Protocol, n: u32) -> Packet {
    let mut packet = request(family, protocol);
    packet.source.set_port(u16::try_from(n & 0xffff).unwrap());
    let vip_port = packet.destination.port() + u16::try_from(n >> 16).unwrap();
    packet.destination.set_port(vip_port);
    packet.payload = Vec::new();
    packet
}

/// The node's address and port in what came of a packet.
fn node_end(frame: &[u8], like: &Packet) -> Vec<u8> {
    let at = l4_start(like);
    let address = match frame[ETHERNET] >> 4 {
        4 => &frame[ETHERNET + 12..ETHERNET + 16],
        _ => &frame[ETHERNET + 8..ETHERNET + 24],
    };
    [address, &frame[at..at + 2]].concat()
}

/// The servers answer on one port, so each connection needs an end of the node of its own.
#[test]
fn row_25_seventy_thousand_connections_from_one_address_to_one_server() {
    for family in [Family::V4, Family::V6] {
        let protocol = Protocol::Tcp;
        let mut fabric = fabric(1 << 14);
        let mut mapped = service(Mode::Fullnat);
        mapped.backend_port_be = 8080u16.to_be_bytes();
        for more in 0..2 {
            let mut vip = family.vip();
            vip.set_port(vip.port() + more);
            fabric.serve(vip, protocol, mapped);
        }
        let mut ends = HashSet::new();
        for n in 0..CONNECTIONS {
            let packet = connection(family, protocol, n);
            let (action, frame) = fabric.kernel.run_uncounted(Program::Lb, &packet.build(), 1);
            assert_eq!(action, Action::Redirect, "{family:?}: connection {n}");
            let end = node_end(&frame, &packet);
            let port = u16::from_be_bytes([end[end.len() - 2], end[end.len() - 1]]);
            assert!(port >= 1024 && !(32_768..61_000).contains(&port), "{port}");
            assert!(
                ends.insert(end),
                "{family:?}: connection {n} has another's end"
            );
        }
        // Each keeps its end.
        for n in (0..CONNECTIONS).step_by(997) {
            let packet = connection(family, protocol, n).established();
            let (_, frame) = fabric.kernel.run_uncounted(Program::Lb, &packet.build(), 1);
            assert!(ends.contains(&node_end(&frame, &packet)));
        }
        // The rest goes nearly all, each packet going on where the last one's search has ended; then it is counted.
        let mut refused = 0;
        for n in CONNECTIONS..2 * PORTS + 100 {
            let packet = connection(family, protocol, n).build();
            let (action, _) = fabric.kernel.run_uncounted(Program::Lb, &packet, 1);
            refused += u64::from(action == Action::Drop);
        }
        assert!((100..200).contains(&refused), "{refused}");
        let index = DropReason::NatPortsExhausted.index();
        let counts = fabric.kernel.per_cpu::<u64>("COUNTERS", index);
        assert_eq!(counts.iter().sum::<u64>(), refused);
    }
}

/// Flows of which the table has as many as it takes are never lost; a new one says so.
#[test]
fn a_full_table_refuses_new_flows_and_keeps_the_others() {
    for (family, protocol) in CASES {
        let fabric = fabric(1);
        let flows: Vec<Packet> = (0..8).map(|n| connection(family, protocol, n)).collect();
        let mut sent = Vec::new();
        for flow in &flows {
            let ran = fabric.lb(&flow.build());
            assert_eq!(ran.counter, Some("l4-fullnat"));
            confirm(&fabric, flow, &ran.frame);
            sent.push(ran.frame);
        }
        let ran = fabric.lb(&connection(family, protocol, 8).build());
        assert_eq!(
            (ran.action, ran.counter),
            (Action::Drop, Some("drop-nat-table-full"))
        );
        for (flow, sent) in flows.iter().zip(sent) {
            assert_eq!(fabric.lb(&flow.build()).frame, sent);
        }
    }
}

/// Half-open flows give way: a flood of them lets others in.
#[test]
fn row_33_half_open_flows_give_their_place() {
    for family in [Family::V4, Family::V6] {
        let fabric = fabric(1);
        let live = connection(family, Protocol::Tcp, 60_000);
        let sent = fabric.lb(&live.build()).frame;
        confirm(&fabric, &live, &sent);
        for n in 0..100 {
            let ran = fabric.lb(&connection(family, Protocol::Tcp, n).build());
            assert_eq!(ran.counter, Some("l4-fullnat"), "{n}");
        }
        assert_eq!(fabric.lb(&live.build()).frame, sent);
    }
}

/// The server answers and the client goes on.
fn confirm(fabric: &Fabric, flow: &Packet, sent: &[u8]) {
    let frame = super::nat_states::turned(sent, l4_start(flow));
    let (action, _) = fabric.kernel.run_uncounted(Program::Lb, &frame, 1);
    assert_eq!(action, Action::Pass, "the kernel routes it");
    let later = flow.clone().established();
    assert_eq!(fabric.lb(&later.build()).counter, Some("l4-fullnat"));
}
