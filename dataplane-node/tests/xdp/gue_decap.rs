//! The server's side of `encapsulation: gue`.

use etherparse::UdpHeader;
use lbfabric_abi::{GUE_PORT_WORDS, Protocol};

use super::{
    decap::{self, Outer, assert_passed, unpacked},
    fabric::{CASES, Fabric, Family, SERVER, request},
    gue::{self, GUE_PORT},
    kernel::{Action, Program, Ran},
    packets::{ETHERNET, Packet},
    tunnel::only,
};

/// Bytes of UDP's and GUE's headers.
const HEADERS: usize = 12;

/// Opens ports of the server's program.
fn open(fabric: &mut Fabric, ports: &[u16]) {
    let mut map = fabric.kernel.array::<u64>("GUE_PORTS");
    for port in ports {
        let word = u32::from(port / 64);
        assert!(word < GUE_PORT_WORDS);
        let old = map.get(&word, 0).unwrap();
        map.set(word, old | 1 << (port % 64), 0).unwrap();
    }
}

/// A server that has both VIPs and takes GUE.
fn server() -> Fabric {
    let mut server = decap::server();
    open(&mut server, &[GUE_PORT]);
    server
}

/// The frame that arrives at a server's port, with what the GUE header says.
fn wrapped(mut outer: Outer, inner: &Packet, port: u16, header: [u8; 4]) -> Vec<u8> {
    let packet = inner.ip_packet();
    let udp = UdpHeader {
        source_port: 50_000,
        destination_port: port,
        length: u16::try_from(HEADERS + packet.len()).unwrap(),
        checksum: 0,
    };
    outer.protocol = 17;
    outer.wrap(&[udp.to_bytes().as_slice(), &header, &packet].concat())
}

fn frame(outer: Outer, inner: &Packet) -> Vec<u8> {
    let header = [0, outer.protocol, 0, 0];
    wrapped(outer, inner, GUE_PORT, header)
}

#[test]
fn either_family_comes_out_of_either() {
    let server = server();
    for outer in [Family::V4, Family::V6] {
        for (family, protocol) in CASES {
            let inner = request(family, protocol);
            let frame = frame(Outer::new(outer, &inner), &inner);
            let ran = server.kernel.run(Program::Server, &frame);
            assert_eq!(ran, unpacked(&inner), "{family:?} in {outer:?}");
        }
    }
}

/// What the node's program packs, the server's unpacks: with a checksum, or without.
#[test]
fn the_two_programs_agree() {
    let mut fabric = gue::fabric(0);
    open(&mut fabric, &[GUE_PORT]);
    for family in [Family::V4, Family::V6] {
        decap::vip(&mut fabric, family.vip().ip(), 128);
    }
    for outer in [Family::V4, Family::V6] {
        fabric.backend(SERVER, only(outer));
        for (family, protocol) in CASES {
            let inner = request(family, protocol);
            let packed = fabric.lb(&inner.build());
            let ran = fabric.kernel.run(Program::Server, &packed.frame);
            assert_eq!(ran.counter, Some("decapsulated"));
            assert_eq!(ran.frame[ETHERNET..], inner.ip_packet(), "{family:?}");
        }
    }
}

#[test]
fn outer_options_go_too() {
    let server = server();
    for (family, protocol) in CASES {
        for words in 0..=10 {
            let inner = request(family, protocol);
            let mut outer = Outer::new(Family::V4, &inner);
            outer.options = words * 4;
            let ran = server.kernel.run(Program::Server, &frame(outer, &inner));
            assert_eq!(ran, unpacked(&inner), "{family:?} {words}");
        }
    }
}

/// RFC 6040 section 4.2, figure 4, for every inner class and every outer mark.
#[test]
fn row_15_congestion_marks_come_inside() {
    let server = server();
    for outer_family in [Family::V4, Family::V6] {
        for (family, protocol) in [(Family::V4, Protocol::Tcp), (Family::V6, Protocol::Udp)] {
            for class in 0..=255u8 {
                for outer_mark in 0..4 {
                    let mut inner = request(family, protocol);
                    inner.traffic_class = class;
                    let mut outer = Outer::new(outer_family, &inner);
                    // Another DSCP outside, which does not come inside.
                    outer.class = !class & 0xfc | outer_mark;
                    let frame = frame(outer, &inner);
                    let mark = match (class & 3, outer_mark) {
                        (0, 3) => None,
                        (_, 3) => Some(3),
                        (2, 1) => Some(1),
                        (own, _) => Some(own),
                    };
                    let expected = match mark {
                        Some(mark) => {
                            inner.traffic_class = class & 0xfc | mark;
                            unpacked(&inner)
                        }
                        None => Ran {
                            action: Action::Drop,
                            counter: Some("drop-ecn"),
                            frame: frame.clone(),
                        },
                    };
                    let ran = server.kernel.run(Program::Server, &frame);
                    assert_eq!(ran, expected, "{family:?}: {class:#x} in {outer_mark}");
                }
            }
        }
    }
}

#[test]
fn other_ports_pass() {
    let mut server = server();
    let inner = request(Family::V4, Protocol::Tcp);
    let at = |port| wrapped(Outer::new(Family::V4, &inner), &inner, port, [0, 4, 0, 0]);
    for port in [1, GUE_PORT - 1, GUE_PORT + 1, GUE_PORT + 64, 65_535] {
        assert_passed(&server, &at(port), "pass-not-vip", &format!("{port}"));
    }
    open(&mut server, &[1, 65_535]);
    for port in [1, GUE_PORT, 65_535] {
        let ran = server.kernel.run(Program::Server, &at(port));
        assert_eq!(ran, unpacked(&inner), "{port}");
    }
}

/// Variant 1, control messages, options and flags are a kernel device's to understand.
#[test]
fn other_headers_pass() {
    let server = server();
    for (family, protocol) in CASES {
        let inner = request(family, protocol);
        let number = if family == Family::V4 { 4 } else { 41 };
        for outer in [Family::V4, Family::V6] {
            for header in [
                [0x40, number, 0, 0],
                [0x20, number, 0, 0],
                [0x01, number, 0, 0],
                [0, number, 0x80, 0],
                [0, number, 0, 1],
                [0, 45 - number, 0, 0],
                [0, 17, 0, 0],
                [0, 0, 0, 0],
            ] {
                let frame = wrapped(Outer::new(outer, &inner), &inner, GUE_PORT, header);
                assert_passed(&server, &frame, "pass-not-vip", &format!("{header:?}"));
            }
        }
    }
}

/// Of UDP itself, and of GUE to what is no VIP.
#[test]
fn what_is_not_for_a_vip_passes() {
    let server = server();
    for (family, protocol) in CASES {
        let elsewhere = request(family, protocol).to(family.server());
        for outer in [Family::V4, Family::V6] {
            let frame = frame(Outer::new(outer, &elsewhere), &elsewhere);
            assert_passed(&server, &frame, "pass-not-vip", "not a VIP");
        }
        let plain = request(family, Protocol::Udp);
        assert_passed(&server, &plain.build(), "pass-not-vip", "no tunnel");
    }
}

#[test]
fn every_prefix_passes_until_the_inner_header_is_whole() {
    let server = server();
    let header = |family| match family {
        Family::V4 => 20,
        Family::V6 => 40,
    };
    for outer_family in [Family::V4, Family::V6] {
        for family in [Family::V4, Family::V6] {
            let inner = request(family, Protocol::Tcp);
            let frame = frame(Outer::new(outer_family, &inner), &inner);
            let outside = header(outer_family) + HEADERS;
            let whole = ETHERNET + outside + header(family);
            for length in ETHERNET..whole {
                let what = format!("{length}");
                assert_passed(&server, &frame[..length], "pass-not-vip", &what);
            }
            for length in whole..frame.len() {
                let ran = server.kernel.run(Program::Server, &frame[..length]);
                assert_eq!(ran.counter, Some("decapsulated"), "{length}");
                assert_eq!(ran.frame.len(), length - outside, "{length}");
            }
        }
    }
}

/// It is the packet inside whose checksum the server's stack looks at.
#[test]
fn the_outer_checksum_is_not_looked_at() {
    let server = server();
    let inner = request(Family::V6, Protocol::Udp);
    for checksum in [0u16, 1, 0xffff] {
        let mut frame = frame(Outer::new(Family::V6, &inner), &inner);
        let at = ETHERNET + 40 + 6;
        frame[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
        let ran = server.kernel.run(Program::Server, &frame);
        assert_eq!(ran, unpacked(&inner), "{checksum}");
    }
}
