//! The frames that are sent, and those that must come out.

use std::net::{IpAddr, SocketAddr};

use etherparse::PacketBuilder;

/// The node, and the router behind which everybody else is.
pub(crate) const NODE_MAC: [u8; 6] = [0x02, 0, 0, 0, 0x0b, 0x01];
pub(crate) const ROUTER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0x0b, 0xfe];
/// The kernel's rewritten frames carry as many bytes at most in front.
const HEADERS_ADDED: usize = 128;
const PAYLOAD: &[u8] = b"64 bytes of payload, so that a frame is one as it may be seen...";

/// What a packet's layer 4 is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// TCP with data, in an established connection.
    Tcp,
    /// TCP that opens a connection.
    Syn,
    Udp,
}

/// A frame that the node receives from its router.
pub(crate) fn frame(kind: Kind, source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let ethernet = PacketBuilder::ethernet2(ROUTER_MAC, NODE_MAC);
    let ip = match (source.ip(), destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            ethernet.ipv4(source.octets(), destination.octets(), 61)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            ethernet.ipv6(source.octets(), destination.octets(), 61)
        }
        _ => panic!("{source} and {destination} are of two families"),
    };
    let (from, to) = (source.port(), destination.port());
    let mut bytes = Vec::new();
    match kind {
        Kind::Tcp => ip.tcp(from, to, 0x1234_5678, 4096).ack(0x0765_4321).psh(),
        Kind::Syn => ip.tcp(from, to, 0x1234_5678, 4096).syn(),
        Kind::Udp => {
            ip.udp(from, to).write(&mut bytes, PAYLOAD).unwrap();
            return bytes;
        }
    }
    .write(&mut bytes, PAYLOAD)
    .unwrap();
    bytes
}

/// Room for a frame after a program has run on it.
pub(crate) fn room(frame: &[u8]) -> Vec<u8> {
    vec![0; frame.len() + HEADERS_ADDED]
}

/// Source and destination address of an IPv4 frame's outermost packet, and the four bytes behind a header without options.
pub(crate) fn ipv4_ends(frame: &[u8]) -> ([u8; 4], [u8; 4], [u8; 4]) {
    let word = |at: usize| <[u8; 4]>::try_from(&frame[at..at + 4]).unwrap();
    (word(26), word(30), word(34))
}
