//! Frames for [`super::fuzz`]: right ones of every shape, most of them then spoilt in a place or two. The same seed gives
//! the same frames.

use std::net::IpAddr;

use super::{
    fabric::{Family, OTHER_SERVER, SERVER},
    network::Route,
    reference::sum,
    verdicts::{DNAT_PORT, server},
};

/// `SplitMix64`.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).unwrap()).unwrap()
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    pub(crate) fn word(&mut self) -> u16 {
        let [a, b, ..] = self.next().to_le_bytes();
        u16::from_le_bytes([a, b])
    }
}

/// A full-NAT answer that the node has made itself ready for: server, node, and their ports.
pub(crate) type Answer = (IpAddr, u16, IpAddr, u16, u8);

/// The next packet, in one frame or two. `n` counts them: fragments belong to packets of about the same time.
pub(crate) fn frames(random: &mut Random, n: u64, answers: &[Answer]) -> Vec<Vec<u8>> {
    let family = random.pick(&[Family::V4, Family::V6]);
    let mut protocol = random.pick(&[6, 6, 6, 17, 17, 17, 17, 1, 58, 47, 50, 132]);
    let mut ports = (
        random.pick(&[1024, 51234, 40_000, 40_001, 80, 53]),
        random.pick(&[
            80, 81, 82, 83, 80, 81, 82, 83, 0x4000, 0x4fff, 0x5000, 22, 0,
        ]),
    );
    let (mut source, mut destination) = (client(random, family), family.vip().ip());
    match random.below(16) {
        0 | 1 => {
            source = server(random.pick(&[SERVER, OTHER_SERVER]), family);
            destination = client(random, family);
            ports = (
                random.pick(&[DNAT_PORT, DNAT_PORT, 0x4000, 0x4123, 80, 9]),
                ports.0,
            );
        }
        2 | 3 if !answers.is_empty() => {
            let (from, from_port, to, to_port, of) = random.pick(answers);
            (source, destination, protocol) = (from, to, of);
            ports = (from_port, to_port);
        }
        4 => source = odd(random, family),
        5 => destination = odd(random, family),
        _ => {}
    }
    if matches!(protocol, 1 | 58) {
        // Type and code: echo requests and errors.
        ports.0 = random.pick(&[0x0800, 0x8000, 0x0304, 0x0103, 0x0200, 0x0400, 0]);
    }
    let shape = Shape {
        source,
        destination,
        protocol,
        ttl: random.pick(&[64, 64, 64, 64, 255, 2, 1, 0]),
        class: random.byte(),
    };
    let l4 = l4(random, &shape, ports);
    let pieces = pieces(random, n, &l4);
    pieces
        .iter()
        .map(|piece| {
            let packet = if source.is_ipv4() {
                ipv4(random, &shape, piece)
            } else {
                ipv6(random, &shape, piece)
            };
            let mut frame = ethernet(random, source.is_ipv4());
            frame.extend(packet);
            spoil(random, &mut frame);
            frame
        })
        .collect()
}

struct Shape {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    ttl: u8,
    class: u8,
}

fn client(random: &mut Random, family: Family) -> IpAddr {
    let route = random.pick(&[Route::Known, Route::SameInterface, Route::NoNeighbour]);
    route.client(family == Family::V4).ip()
}

/// An address that packets rarely have, and the right ones of other packets.
fn odd(random: &mut Random, family: Family) -> IpAddr {
    let v4 = [
        "0.0.0.0",
        "127.0.0.1",
        "224.0.0.5",
        "240.1.2.3",
        "255.255.255.255",
        "10.1.0.4",
    ];
    let v6 = [
        "::",
        "::1",
        "ff02::1",
        "::ffff:203.0.113.10",
        "::ffff:10.1.0.3",
        "fd00:1::4",
    ];
    let other = match family {
        Family::V4 => random.pick(&v4).parse().unwrap(),
        Family::V6 => random.pick(&v6).parse().unwrap(),
    };
    random.pick(&[
        other,
        other,
        family.vip().ip(),
        family.node(),
        family.second_node(),
    ])
}

fn ethernet(random: &mut Random, is_ipv4: bool) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0xaa];
    if random.one_in(64) {
        frame[0] |= 1;
    }
    for _ in 0..random.pick(&[0, 0, 0, 0, 0, 0, 1, 1, 2, 3]) {
        frame.extend(random.pick(&[[0x81, 0], [0x88, 0xa8]]));
        frame.extend(random.word().to_be_bytes());
    }
    frame.extend(if is_ipv4 { [0x08, 0] } else { [0x86, 0xdd] });
    frame
}

/// TCP, UDP or anything, with the right checksum.
fn l4(random: &mut Random, shape: &Shape, (source, destination): (u16, u16)) -> Vec<u8> {
    let mut l4 = [source.to_be_bytes(), destination.to_be_bytes()].concat();
    let most = if random.one_in(64) { 1400 } else { 120 };
    let payload: Vec<u8> = (0..random.below(most)).map(|_| random.byte()).collect();
    let checksum = match shape.protocol {
        6 => {
            let words = random.pick(&[5, 5, 6, 8, 15]);
            l4.extend([random.byte(); 8]);
            l4.extend([words << 4, random.pick(&[0x02, 0x10, 0x12, 0x18, 0x04])]);
            l4.resize(usize::from(words) * 4, 0);
            16
        }
        17 => {
            let length = u16::try_from(8 + payload.len()).unwrap();
            l4.extend(length.to_be_bytes());
            l4.extend([0, 0]);
            6
        }
        _ => 0,
    };
    l4.extend(payload);
    if checksum != 0 && !(checksum == 6 && random.one_in(8)) {
        let length = u16::try_from(l4.len()).unwrap().to_be_bytes();
        let addresses = [octets(shape.source), octets(shape.destination)].concat();
        let sum = !sum(&[&addresses, &[0, shape.protocol], &length, &l4]);
        let sum = if sum == 0 { 0xffff } else { sum };
        l4[checksum..checksum + 2].copy_from_slice(&sum.to_be_bytes());
    }
    l4
}

pub(crate) fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// What of a packet goes into one frame.
struct Piece {
    identification: u16,
    /// In units of eight bytes.
    offset: u16,
    more: bool,
    l4: Vec<u8>,
}

/// A packet as a whole, or in two fragments; either of them may be missing.
fn pieces(random: &mut Random, n: u64, l4: &[u8]) -> Vec<Piece> {
    // Of the last few packets.
    let identification = u16::try_from((n / 64 + u64::from(random.byte() & 3)) & 0xffff).unwrap();
    let cut = (8 * random.pick(&[1, 3, 4, 6])).min(l4.len() / 8 * 8);
    let piece = |offset: usize, more, l4: &[u8]| Piece {
        identification,
        offset: u16::try_from(offset / 8).unwrap(),
        more,
        l4: l4.to_vec(),
    };
    if cut == 0 || !random.one_in(4) {
        return vec![piece(0, false, l4)];
    }
    let mut pieces = vec![
        piece(0, true, &l4[..cut]),
        piece(cut, random.one_in(2), &l4[cut..]),
    ];
    if random.one_in(4) {
        pieces.remove(random.below(2));
    }
    pieces
}

fn ipv4(random: &mut Random, shape: &Shape, piece: &Piece) -> Vec<u8> {
    let Piece {
        identification,
        offset,
        more,
        l4,
    } = piece;
    let options = random.pick(&[0, 0, 0, 0, 1, 2, 10]);
    let header = 20 + 4 * options;
    let total = u16::try_from(header + l4.len()).unwrap();
    let mut ip = vec![0x45 + u8::try_from(options).unwrap(), shape.class];
    ip.extend(total.to_be_bytes());
    ip.extend(identification.to_be_bytes());
    let flags = random.pick(&[0u16, 0x4000]) | u16::from(*more) << 13;
    ip.extend((flags | offset).to_be_bytes());
    ip.extend([shape.ttl, shape.protocol, 0, 0]);
    ip.extend([octets(shape.source), octets(shape.destination)].concat());
    ip.resize(header, 1);
    let checksum = !sum(&[&ip]);
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    [ip.as_slice(), l4].concat()
}

fn ipv6(random: &mut Random, shape: &Shape, piece: &Piece) -> Vec<u8> {
    let Piece {
        identification,
        offset,
        more,
        l4,
    } = piece;
    let mut kinds = Vec::new();
    if random.one_in(8) {
        kinds.push(0);
    }
    for _ in 0..random.pick(&[0, 0, 0, 0, 0, 1, 1, 2, 7, 9]) {
        kinds.push(random.pick(&[60, 60, 60, 43, 0]));
    }
    if *offset != 0 || *more || random.one_in(8) {
        kinds.push(44);
        if random.one_in(4) {
            kinds.push(random.pick(&[60, 43, 44]));
        }
    }
    let mut extensions = Vec::new();
    for (place, kind) in kinds.iter().enumerate() {
        extensions.push(kinds.get(place + 1).copied().unwrap_or(shape.protocol));
        if *kind == 44 {
            extensions.push(random.pick(&[0, 0, 0, 7]));
            extensions.extend((offset << 3 | u16::from(*more)).to_be_bytes());
            extensions.extend(u32::from(*identification).to_be_bytes());
        } else {
            let units = random.pick(&[0, 0, 0, 1, 2, 5, 40, 60]);
            extensions.extend([units, 1]);
            extensions.push(u8::from(*kind == 43 && random.one_in(4)));
            extensions.extend(vec![0; 4 + 8 * usize::from(units)]);
        }
    }
    let length = u16::try_from(extensions.len() + l4.len()).unwrap();
    let first = kinds.first().copied().unwrap_or(shape.protocol);
    let mut ip = vec![0x60 | shape.class >> 4, shape.class << 4, 0x12, 0x34];
    ip.extend(length.to_be_bytes());
    ip.extend([first, shape.ttl]);
    ip.extend([octets(shape.source), octets(shape.destination)].concat());
    [&ip, extensions.as_slice(), l4].concat()
}

/// Cuts, pads, and changes bytes, more often those of headers.
fn spoil(random: &mut Random, frame: &mut Vec<u8>) {
    match random.below(16) {
        0 => frame.truncate(14 + random.below(frame.len() - 13)),
        1 | 2 => {
            let padding = random.pick(&[1, 4, 20, 46]);
            frame.resize(frame.len() + padding, 0xee);
        }
        _ => {}
    }
    if random.one_in(3) {
        for _ in 0..=random.below(3) {
            let headers = if random.one_in(8) {
                frame.len()
            } else {
                frame.len().min(80)
            };
            let at = random.below(headers);
            frame[at] = match random.below(4) {
                0 => random.byte(),
                1 => frame[at] ^ 1 << random.below(8),
                2 => frame[at].wrapping_add(1),
                _ => random.pick(&[0, 0xff, 0x0f, 0x7f, 44]),
            };
        }
    }
    if random.one_in(256) {
        // In several parts.
        frame.resize(random.pick(&[5000, 20_000]), 0xee);
    }
}
