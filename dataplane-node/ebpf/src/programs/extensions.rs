//! IPv6's extension headers, RFC 8200 section 4.
//!
//! ```text
//! next header | length | ...                              hop-by-hop and destination options
//! next header | length | type | segments left | ...       routing
//! next header | 0 | offset, more | identification         fragment
//! ```
//!
//! All others, those of IPsec among them, count as what is carried: they cannot be taken to another address.

use lbfabric_abi::DropReason;

use super::{
    bytes::{load1, load2, load4},
    frame::{Frame, MAX_DISTANCE},
    headers::protocol,
    packet::{Packet, Piece},
    parse::Unservable,
};

/// So many are looked through.
const COUNT_MAX: usize = 8;
/// The least that one is, and what length is counted in.
const UNIT: u64 = 8;

/// The offset of a fragment, and whether more are to come, as in the frame.
const OFFSET: u64 = 0xf8ff;
const MORE: u64 = 0x0100;

const READ: u32 = 0;
const ELSEWHERE: u32 = 1;
const TRUNCATED: u32 = 2;
const TOO_MANY: u32 = 3;

/// Whether there are any to look through.
#[inline(always)]
pub(crate) const fn begin_with(next_header: u8) -> bool {
    matches!(
        next_header,
        protocol::HOP_BY_HOP | protocol::ROUTING | protocol::FRAGMENT | protocol::DESTINATION
    )
}

/// Looks through the headers behind the IPv6 header: what follows them becomes the packet's protocol and `l4_at`.
#[inline(always)]
pub(crate) fn read(frame: &Frame, packet: &mut Packet) -> Result<(), Unservable> {
    match walk(frame, packet) {
        READ => Ok(()),
        // The packet is at a station of a route that its sender has laid out. It is for the kernel to go on with it.
        ELSEWHERE => Err(Unservable::Protocol),
        TRUNCATED => Err(Unservable::Broken(DropReason::Truncated)),
        _ => Err(Unservable::Broken(DropReason::ExtensionHeaders)),
    }
}

// A function of its own, which answers by a number: the verifier then goes on once for each answer, not for each way to it.
#[inline(never)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "distances in a frame, and as many bytes were read"
)]
fn walk(frame: &Frame, packet: &mut Packet) -> u32 {
    let end = u64::from(packet.ip_at) + u64::from(packet.length);
    let mut at = u64::from(packet.l4_at);
    let mut next = packet.flow.protocol;
    let mut is_fragmented = false;
    for n in 0..=COUNT_MAX {
        // Hop-by-hop options come first, or are none.
        if !begin_with(next) || (next == protocol::HOP_BY_HOP && n > 0) {
            break;
        }
        if n == COUNT_MAX || at + UNIT > u64::from(MAX_DISTANCE) {
            return TOO_MANY;
        }
        let header = frame.at(at as u16);
        if at + UNIT > end || !frame.reaches(header + UNIT as usize) {
            return TRUNCATED;
        }
        // SAFETY: as much is in the frame.
        let (following, length, third, fourth) = unsafe {
            (
                load1::<0>(header) as u8,
                load1::<1>(header),
                load2::<2>(header),
                load4::<4>(header),
            )
        };
        let mut size = (length + 1) * UNIT;
        if next == protocol::ROUTING && third >> 8 != 0 {
            return ELSEWHERE;
        }
        if next == protocol::FRAGMENT {
            if is_fragmented {
                return TOO_MANY;
            }
            is_fragmented = true;
            size = UNIT;
            packet.identification = fourth as u32;
            packet.piece = if third & OFFSET != 0 {
                Piece::Later
            } else if third & MORE != 0 {
                Piece::First
            } else {
                Piece::Whole
            };
        }
        at += size;
        next = following;
        if packet.piece as u8 == Piece::Later as u8 {
            break;
        }
    }
    if at > u64::from(MAX_DISTANCE) {
        return TOO_MANY;
    }
    packet.flow.protocol = next;
    packet.l4_at = at as u16;
    if at > end { TRUNCATED } else { READ }
}
