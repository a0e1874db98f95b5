//! Which service and which server a packet goes to.

use std::{collections::HashSet, net::SocketAddr};

use lbfabric_abi::{Affinity, Flow, Mode, Protocol, RingSlot, slot_of};

use super::{
    fabric::{
        CASES, Fabric, Family, OTHER_SERVER, RING_KEY, RING_SLOTS, RING_START, SERVER, request,
        service,
    },
    kernel::Action,
    packets::{ETHERNET, Packet},
};

/// The flow as the agent would compute it.
pub(crate) fn flow(packet: &Packet) -> Flow {
    Flow {
        source: packet.source.ip().into(),
        destination: packet.destination.ip().into(),
        source_port_be: packet.source.port().to_be_bytes(),
        destination_port_be: packet.destination.port().to_be_bytes(),
        protocol: packet.protocol as u8,
        zero: [0; 3],
    }
}

/// The address that a frame goes to.
pub(crate) fn destination(family: Family, frame: &[u8]) -> &[u8] {
    match family {
        Family::V4 => &frame[ETHERNET + 16..ETHERNET + 20],
        Family::V6 => &frame[ETHERNET + 24..ETHERNET + 40],
    }
}

pub(crate) fn octets(address: SocketAddr) -> Vec<u8> {
    match address {
        SocketAddr::V4(v4) => v4.ip().octets().to_vec(),
        SocketAddr::V6(v6) => v6.ip().octets().to_vec(),
    }
}

pub(crate) fn with_ports(mut packet: Packet, source: u16) -> Packet {
    packet.source.set_port(source);
    packet
}

/// Userspace computes the same slot, for each affinity, family and protocol.
#[test]
fn the_slot_is_that_of_the_shared_hash() {
    let mut fabric = Fabric::new(Mode::Dnat);
    for affinity in [
        Affinity::FiveTuple,
        Affinity::Source,
        Affinity::SourceDestination,
    ] {
        for (family, protocol) in CASES {
            let mut service = service(Mode::Dnat);
            service.affinity = affinity as u8;
            fabric.serve(family.vip(), protocol, service);
            for port in 1000..1040 {
                let packet = with_ports(request(family, protocol), port);
                let hash = flow(&packet).affinity_hash(&RING_KEY, affinity as u8);
                let slot = slot_of(hash, RING_SLOTS);
                // All slots but the expected one lead to the other server.
                let mut ring = [OTHER_SERVER; RING_SLOTS as usize];
                ring[slot as usize] = SERVER;
                fabric.ring(RING_START, &ring);
                let ran = fabric.lb(&packet.build());
                assert_eq!(
                    destination(family, &ran.frame),
                    octets(family.server()),
                    "{affinity:?} {family:?} {protocol:?} {port}"
                );
            }
        }
    }
}

#[test]
fn affinity_decides_what_may_move_a_flow() {
    let slots = |affinity: Affinity, packets: &[Packet]| -> usize {
        let slots: HashSet<u32> = packets
            .iter()
            .map(|it| slot_of(flow(it).affinity_hash(&RING_KEY, affinity as u8), 65_537))
            .collect();
        slots.len()
    };
    for (family, protocol) in CASES {
        let ports: Vec<Packet> = (1..100)
            .map(|port| with_ports(request(family, protocol), port))
            .collect();
        assert!(slots(Affinity::FiveTuple, &ports) > 90);
        assert_eq!(slots(Affinity::Source, &ports), 1);
        assert_eq!(slots(Affinity::SourceDestination, &ports), 1);
        let vips = [
            request(family, protocol),
            request(family, protocol).to(family.other_server()),
        ];
        assert_eq!(slots(Affinity::Source, &vips), 1);
        assert_eq!(slots(Affinity::SourceDestination, &vips), 2);
    }
    let tcp = flow(&request(Family::V4, Protocol::Tcp)).hash(&RING_KEY);
    let udp = flow(&request(Family::V4, Protocol::Udp)).hash(&RING_KEY);
    assert_ne!(tcp, udp);
}

#[test]
fn new_flows_go_by_cur_not_base() {
    let mut fabric = Fabric::new(Mode::Dnat);
    let mut rings = fabric.kernel.array::<RingSlot>("RINGS");
    for slot in RING_START..RING_START + RING_SLOTS {
        let cur_only = RingSlot {
            cur: OTHER_SERVER,
            base: SERVER,
        };
        rings.set(slot, cur_only, 0).unwrap();
    }
    let ran = fabric.lb(&request(Family::V4, Protocol::Tcp).build());
    assert_eq!(
        destination(Family::V4, &ran.frame),
        octets(Family::V4.other_server())
    );
}

#[test]
fn an_empty_ring_drops() {
    for mode in [Mode::Dnat, Mode::Fullnat, Mode::Dsr, Mode::Tunnel] {
        let mut fabric = Fabric::new(mode);
        fabric.ring(RING_START, &[RingSlot::NONE; RING_SLOTS as usize]);
        for (family, protocol) in CASES {
            let frame = request(family, protocol).build();
            let ran = fabric.lb(&frame);
            assert_eq!(
                (ran.action, ran.counter),
                (Action::Drop, Some("drop-no-backend"))
            );
            assert_eq!(ran.frame, frame);

            // A ring without slots must not read another pool's.
            fabric.ring(RING_START, &[SERVER]);
            let mut none = service(mode);
            none.ring_slots = 0;
            fabric.serve(family.vip(), protocol, none);
            let ran = fabric.lb(&frame);
            assert_eq!(
                (ran.action, ran.counter),
                (Action::Drop, Some("drop-no-backend"))
            );
            fabric.ring(RING_START, &[RingSlot::NONE]);
        }
    }
}

#[test]
fn ranges_hold_between_their_ends_and_ports_come_first() {
    let mut fabric = Fabric::new(Mode::Dnat);
    fabric.ring(200, &[OTHER_SERVER]);
    let mut to_other = service(Mode::Dnat);
    (to_other.ring_start, to_other.ring_slots) = (200, 1);
    for (family, protocol) in CASES {
        // 80 to 87, in which 80 itself is served by the single port.
        fabric.serve_range(family.vip(), 13, protocol, to_other);
        for port in 78..=89 {
            let mut vip = family.vip();
            vip.set_port(port);
            let ran = fabric.lb(&request(family, protocol).to(vip).build());
            let expected = match port {
                80 => Some(octets(family.server())),
                81..=87 => Some(octets(family.other_server())),
                _ => None,
            };
            match expected {
                Some(server) => assert_eq!(destination(family, &ran.frame), server, "{port}"),
                None => assert_eq!(ran.counter, Some("pass-not-served"), "{port}"),
            }
        }
    }
}
