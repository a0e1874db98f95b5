//! Affinity `quic-cid`: a QUIC connection keeps its server when its client's address or port changes. Row 37.

use std::net::SocketAddr;

use lbfabric_abi::{Affinity, Backend, Mode, Protocol, QuicServer, VipService};

use super::{
    fabric::{
        Fabric, Family, OTHER_SERVER, POOL, RING_SLOTS, RING_START, SERVER, backend, request,
        service,
    },
    kernel::Action,
    packets::Packet,
    selection::{destination, octets},
};

/// The server that the ring gives nobody to.
const NAMED: [u8; 4] = [0x0a, 0x1b, 0x2c, 0x3d];

/// A fabric whose ring has [`SERVER`] only; IDs of `length` bytes lead to [`OTHER_SERVER`].
fn fabric(mode: Mode, length: usize) -> Fabric {
    let mut fabric = Fabric::new(mode);
    fabric.ring(RING_START, &[SERVER; RING_SLOTS as usize]);
    fabric.serve_quic(mode, length);
    fabric
}

impl Fabric {
    fn serve_quic(&mut self, mode: Mode, length: usize) {
        for family in [Family::V4, Family::V6] {
            let quic = VipService {
                flags: VipService::QUIC,
                affinity: Affinity::QuicCid as u8,
                quic_id_length: u8::try_from(length).unwrap(),
                ..service(mode)
            };
            self.serve(family.vip(), Protocol::Udp, quic);
        }
        self.name(POOL, &server_id(length), OTHER_SERVER);
    }

    fn name(&mut self, pool: u32, id: &[u8], server: u32) {
        let mut key = QuicServer {
            pool,
            length: u32::try_from(id.len()).unwrap(),
            ..QuicServer::default()
        };
        key.id[..id.len()].copy_from_slice(id);
        self.kernel
            .hash::<QuicServer, u32>("QUIC_SERVERS")
            .insert(key, server, 0)
            .unwrap();
    }

    /// The server that a datagram goes to.
    fn quic(&self, family: Family, port: u16, payload: &[u8]) -> u32 {
        let mut packet: Packet = request(family, Protocol::Udp);
        packet = packet.from(SocketAddr::new(family.client().ip(), port));
        packet.payload = payload.to_vec();
        let ran = self.lb(&packet.build());
        assert_eq!(ran.action, Action::Redirect, "{ran:?}");
        let to = destination(family, &ran.frame);
        if to == octets(family.server()) {
            SERVER
        } else {
            assert_eq!(to, octets(family.other_server()));
            OTHER_SERVER
        }
    }
}

fn server_id(length: usize) -> Vec<u8> {
    NAMED.iter().copied().cycle().take(length).collect()
}

/// An ID: its first octet, the server's, and a nonce.
fn id(first: u8, server: &[u8]) -> Vec<u8> {
    [&[first], server, &[0xee; 6]].concat()
}

fn short(id: &[u8]) -> Vec<u8> {
    [&[0x41], id, &[0x77; 22]].concat()
}

fn long(length: u8, id: &[u8]) -> Vec<u8> {
    // An Initial of version 1, with a source ID of no bytes.
    [&[0xc3, 0, 0, 0, 1, length], id, &[0; 3], &[0x77; 30]].concat()
}

fn whole(id: &[u8]) -> Vec<u8> {
    long(u8::try_from(id.len()).unwrap(), id)
}

#[test]
fn row_37_a_changed_client_port_keeps_the_server() {
    for mode in [Mode::Dnat, Mode::Fullnat] {
        let mut fabric = fabric(mode, 1);
        for length in 1..=8 {
            fabric.serve_quic(mode, length);
            let ours = id(0x07, &server_id(length));
            for family in [Family::V4, Family::V6] {
                for port in [1000, 2000, 51234] {
                    assert_eq!(fabric.quic(family, port, &short(&ours)), OTHER_SERVER);
                    let port = port + 1;
                    assert_eq!(fabric.quic(family, port, &whole(&ours)), OTHER_SERVER);
                }
            }
        }
    }
}

#[test]
fn row_37_in_dsr_and_tunnels_too() {
    for mode in [Mode::Dsr, Mode::Tunnel] {
        let fabric = fabric(mode, 4);
        for family in [Family::V4, Family::V6] {
            let mut packet = request(family, Protocol::Udp);
            packet.payload = short(&id(0x20, &NAMED));
            assert_eq!(fabric.lb(&packet.build()).action, Action::Redirect);
        }
        assert_eq!(fabric.traffic("BACKEND_COUNTERS", OTHER_SERVER).0, 2);
        assert_eq!(fabric.traffic("BACKEND_COUNTERS", SERVER).0, 0);
    }
}

#[test]
fn an_id_that_names_nobody_falls_back() {
    let mut fabric = fabric(Mode::Dnat, 4);
    let family = Family::V4;
    // Made up by a client.
    for first in [0, 0xff, 0x3f] {
        let made_up = id(first, &[1, 2, 3, 4]);
        assert_eq!(fabric.quic(family, 1, &short(&made_up)), SERVER);
        assert_eq!(fabric.quic(family, 1, &whole(&made_up)), SERVER);
    }
    // Every configuration but the one that says that there is none.
    for configuration in 0..8u8 {
        let ours = id(configuration << 5 | 0x1f, &NAMED);
        let expected = if configuration == 7 {
            SERVER
        } else {
            OTHER_SERVER
        };
        assert_eq!(fabric.quic(family, 1, &short(&ours)), expected);
        assert_eq!(fabric.quic(family, 1, &whole(&ours)), expected);
    }
    // Another pool's server has the same.
    fabric.name(POOL + 1, &[9, 9, 9, 9], OTHER_SERVER);
    assert_eq!(
        fabric.quic(family, 1, &short(&id(0, &[9, 9, 9, 9]))),
        SERVER
    );
}

#[test]
fn only_a_living_server_of_the_pool() {
    let alive = backend(
        Family::V4.other_server().ip(),
        Family::V6.other_server().ip(),
    );
    let dead = Backend { flags: 0, ..alive };
    let moved = Backend {
        pool: POOL + 1,
        ..alive
    };
    let mut fabric = fabric(Mode::Dnat, 4);
    let ours = short(&id(0x07, &NAMED));
    for (entry, expected) in [
        (alive, OTHER_SERVER),
        (dead, SERVER),
        (moved, SERVER),
        (alive, OTHER_SERVER),
    ] {
        fabric.backend(OTHER_SERVER, entry);
        assert_eq!(fabric.quic(Family::V4, 1, &ours), expected);
    }
}

/// Every beginning of a datagram, and every length that its ID may claim.
#[test]
fn row_37_short_and_lying_ids() {
    let fabric = fabric(Mode::Dnat, 4);
    let ours = id(0x07, &NAMED);
    for family in [Family::V4, Family::V6] {
        for (datagram, id_at) in [(short(&ours), 1), (whole(&ours), 6)] {
            for length in 0..datagram.len() {
                let server = fabric.quic(family, 1, &datagram[..length]);
                if length < id_at + 1 + NAMED.len() {
                    assert_eq!(server, SERVER, "{length}");
                }
                // What is encrypted has twenty bytes at least.
                if length >= id_at + ours.len() + 20 {
                    assert_eq!(server, OTHER_SERVER, "{length}");
                }
            }
        }
        for claimed in 0..=255u8 {
            let expected = if usize::from(claimed) > NAMED.len() {
                OTHER_SERVER
            } else {
                SERVER
            };
            assert_eq!(fabric.quic(family, 1, &long(claimed, &ours)), expected);
        }
    }
}

/// Bytes behind the datagram are not looked at.
#[test]
fn row_37_an_id_in_the_padding_is_none() {
    let fabric = fabric(Mode::Dnat, 4);
    let mut packet = request(Family::V4, Protocol::Udp);
    packet.payload = vec![0x41, 0x07];
    let mut frame = packet.build();
    frame.extend(NAMED);
    frame.extend([0; 30]);
    let ran = fabric.lb(&frame);
    assert_eq!(
        destination(Family::V4, &ran.frame),
        octets(Family::V4.server())
    );
}

#[test]
fn tcp_to_such_a_service_is_not_looked_into() {
    let mut fabric = fabric(Mode::Dnat, 4);
    let quic = VipService {
        flags: VipService::QUIC,
        quic_id_length: 4,
        ..service(Mode::Dnat)
    };
    fabric.serve(Family::V4.vip(), Protocol::Tcp, quic);
    let mut packet = request(Family::V4, Protocol::Tcp);
    packet.payload = short(&id(0x07, &NAMED));
    let ran = fabric.lb(&packet.build());
    assert_eq!(
        destination(Family::V4, &ran.frame),
        octets(Family::V4.server())
    );
}
