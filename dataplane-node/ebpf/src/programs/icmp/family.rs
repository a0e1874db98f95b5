//! The two versions of the control protocol.

use crate::programs::{
    bytes::{load1, load2, load4, swap2},
    frame::Frame,
    headers::protocol,
    ip::Ip,
    neighbor,
    v4::V4,
    v6::V6,
};

/// The header of a quoted packet.
pub(crate) struct Quoted {
    /// Of all headers before layer 4.
    pub(crate) header: usize,
    pub(crate) protocol: u8,
}

/// A version of IP with its control protocol.
///
/// Functions that take the address of a header expect it there, in the frame.
pub(crate) trait Icmp: Ip {
    const ECHO_REQUEST: u8;
    const ECHO_REPLY: u8;
    /// Type and code, as in a frame: the packet is too big for the next link.
    const TOO_BIG: u16;
    /// Type and code, as in a frame: the time to live has ended on the way.
    const TIME_EXCEEDED: u16;
    /// The most that an error quotes.
    const QUOTE_MAX: u64;
    /// No link takes less than that.
    const MTU_MIN: u32;

    /// Whether a type is that of an error that a sender gets.
    fn is_error(kind: u8) -> bool;
    /// Whether it is a solicitation or an advertisement of a neighbor's address.
    fn is_neighbor_discovery(kind: u8) -> bool;
    /// The rest of the header of a too-big message, behind the checksum and as in a frame.
    fn mtu_field(mtu: u32) -> u32;
    /// What a too-big message says; zero if it does not.
    ///
    /// # Safety
    /// The message's header can be read.
    unsafe fn next_hop_mtu(l4: usize) -> u32;
    /// Reads the header of a quoted packet, none if it is of another version or a fragment without layer 4's header.
    ///
    /// # Safety
    /// [`Ip::HEADER`] bytes can be read.
    unsafe fn quoted(frame: &Frame, ip: usize) -> Option<Quoted>;
}

#[expect(clippy::cast_possible_truncation, reason = "as many bytes were read")]
impl Icmp for V4 {
    const ECHO_REQUEST: u8 = 8;
    const ECHO_REPLY: u8 = 0;
    const TOO_BIG: u16 = u16::from_ne_bytes([3, 4]);
    const TIME_EXCEEDED: u16 = u16::from_ne_bytes([11, 0]);
    /// RFC 1812 section 4.3.2.3: 576 bytes with both headers.
    const QUOTE_MAX: u64 = 576 - 20 - 8;
    const MTU_MIN: u32 = 68;

    /// Destination unreachable, time exceeded and parameter problem. Source quench is obsolete (RFC 6633), and redirects are
    /// for the node.
    #[inline(always)]
    fn is_error(kind: u8) -> bool {
        matches!(kind, 3 | 11 | 12)
    }

    /// It has ARP.
    #[inline(always)]
    fn is_neighbor_discovery(_kind: u8) -> bool {
        false
    }

    #[inline(always)]
    fn mtu_field(mtu: u32) -> u32 {
        (mtu & 0xffff).to_be()
    }

    #[inline(always)]
    unsafe fn next_hop_mtu(l4: usize) -> u32 {
        // SAFETY: the caller's.
        swap2(unsafe { load2::<6>(l4) }) as u32
    }

    #[inline(always)]
    unsafe fn quoted(_frame: &Frame, ip: usize) -> Option<Quoted> {
        // SAFETY: the caller's.
        let (first, fragment) = unsafe { (load1::<0>(ip), load2::<6>(ip)) };
        let header = (first & 0x0f) << 2;
        // The first fragment has the ports.
        if first >> 4 != 4 || header < V4::HEADER as u64 || fragment & 0xff1f != 0 {
            return None;
        }
        Some(Quoted {
            header: header as usize,
            // SAFETY: the caller's.
            protocol: unsafe { V4::protocol(ip) },
        })
    }
}

#[expect(clippy::cast_possible_truncation, reason = "as many bytes were read")]
impl Icmp for V6 {
    const ECHO_REQUEST: u8 = 128;
    const ECHO_REPLY: u8 = 129;
    const TOO_BIG: u16 = u16::from_ne_bytes([2, 0]);
    const TIME_EXCEEDED: u16 = u16::from_ne_bytes([3, 0]);
    /// RFC 4443 section 2.4: 1280 bytes with both headers.
    const QUOTE_MAX: u64 = 1280 - 40 - 8;
    const MTU_MIN: u32 = 1280;

    /// Destination unreachable, packet too big, time exceeded and parameter problem.
    #[inline(always)]
    fn is_error(kind: u8) -> bool {
        matches!(kind, 1..=4)
    }

    #[inline(always)]
    fn is_neighbor_discovery(kind: u8) -> bool {
        matches!(kind, neighbor::SOLICITATION | neighbor::ADVERTISEMENT)
    }

    #[inline(always)]
    fn mtu_field(mtu: u32) -> u32 {
        mtu.to_be()
    }

    #[inline(always)]
    unsafe fn next_hop_mtu(l4: usize) -> u32 {
        // SAFETY: the caller's.
        u32::from_be(unsafe { load4::<4>(l4) } as u32)
    }

    #[inline(always)]
    unsafe fn quoted(frame: &Frame, ip: usize) -> Option<Quoted> {
        const FRAGMENT: usize = 8;
        // SAFETY: the caller's.
        let (first, next) = unsafe { (load1::<0>(ip), V6::protocol(ip)) };
        if first >> 4 != 6 {
            return None;
        }
        if next != protocol::FRAGMENT {
            return Some(Quoted {
                header: V6::HEADER,
                protocol: next,
            });
        }
        if !frame.reaches(ip + V6::HEADER + FRAGMENT) {
            return None;
        }
        // SAFETY: both headers are in the frame.
        let (protocol, offset) = unsafe { (load1::<40>(ip), load2::<42>(ip)) };
        // The first fragment has the ports.
        (offset & 0xf8ff == 0).then_some(Quoted {
            header: V6::HEADER + FRAGMENT,
            protocol: protocol as u8,
        })
    }
}
