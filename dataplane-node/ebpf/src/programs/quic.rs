//! The server that a QUIC packet names in its connection ID: the plaintext form of draft-ietf-quic-load-balancers.
//!
//! ```text
//! long header   1.......|version, 4 bytes|length of the ID|ID ...        RFC 9000 section 17.2
//! short header  0.......|ID ...                                          RFC 9000 section 17.3
//! ID            rrr.....|server ID, `quic_id_length` bytes|nonce ...     rrr: configuration; 7 says that there is none
//! ```
//!
//! A client's first packet has an ID that the client has made up. If that names a server by chance, the flow begins there.

use lbfabric_abi::{Backend, QUIC_SERVER_ID_MAX, QuicServer, VipService};

use super::{
    aligned::Aligned,
    bytes::{load1, load8},
    frame::Frame,
    headers::{UDP, protocol},
    maps,
    packet::Packet,
};

const LONG_HEADER: u64 = 0x80;
/// Where the connection ID begins, behind the UDP header.
const LONG_ID_AT: u16 = 6;
/// As above.
const SHORT_ID_AT: u16 = 1;
/// The configuration bits of an ID that names no server.
const NO_CONFIGURATION: u64 = 7;

/// The server, if the packet names one of the service's pool that keeps its flows.
#[inline(always)]
pub(crate) fn server(frame: &Frame, packet: &Packet, service: &VipService) -> Option<u32> {
    if packet.flow.protocol != protocol::UDP {
        return None;
    }
    let quic = frame.at(packet.l4_at + UDP as u16);
    if !frame.reaches(quic + usize::from(LONG_ID_AT)) {
        return None;
    }
    let length = u32::from(service.quic_id_length);
    // SAFETY: as many bytes are in the frame.
    let (first, id_length) = unsafe { (load1::<0>(quic), load1::<5>(quic)) };
    let id_at = if first & LONG_HEADER == 0 {
        SHORT_ID_AT
    } else if id_length > u64::from(length) {
        LONG_ID_AT
    } else {
        return None;
    };
    let behind = UDP as u16 + id_at + 1;
    let id = frame.at(packet.l4_at + id_at + UDP as u16);
    // Behind an ID there always are as many bytes as a server ID may have: what is encrypted has 20 at least.
    if !frame.reaches(id + 1 + QUIC_SERVER_ID_MAX)
        || u32::from(packet.l4_at - packet.ip_at + behind) + length > packet.length
    {
        return None;
    }
    // SAFETY: as many bytes are in the frame.
    let (first, word) = unsafe { (load1::<0>(id), load8::<1>(id)) };
    if first >> 5 == NO_CONFIGURATION {
        return None;
    }
    let key = Aligned(QuicServer {
        id: (word & mask(length)?).to_ne_bytes(),
        pool: service.pool,
        length,
    });
    let server = maps::quic_server(&key)?;
    maps::backend(server)
        .is_some_and(|it: &Backend| it.keeps_flows_of(service.pool))
        .then_some(server)
}

/// The first bytes of a word in memory.
#[inline(always)]
const fn mask(bytes: u32) -> Option<u64> {
    if bytes == 0 || bytes > QUIC_SERVER_ID_MAX as u32 {
        return None;
    }
    Some((u64::MAX >> (64 - 8 * bytes)).to_le())
}
