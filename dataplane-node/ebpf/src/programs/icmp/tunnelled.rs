//! Too-big messages about tunnels' outer packets. The client is who can send less: it gets one about its own packet, as far
//! as the message quotes that. A router that quotes no more than eight bytes of it (RFC 792) cannot be helped; routers quote
//! as much as fits for thirty years (RFC 1812).

use super::{HEADER, Icmp, family::Quoted};
use crate::programs::{
    bytes::{load1, load2, load4, load8, store2, store4, store8},
    frame::{Frame, opaque},
    gue,
    headers::{ETHERNET, Headers, UDP, protocol},
    maps,
    packet::Scratch,
    v4::V4,
    v6::V6,
};

/// What became of a message.
pub(super) enum Uncovered {
    /// The client's packet is what the frame begins with, and `lbfabric_too_big` is told of it.
    Packet,
    /// It is of no concern, and as it was.
    Nothing,
    Failed,
}

/// Uncovers the client's packet for `lbfabric_too_big`.
#[inline(never)]
#[expect(clippy::cast_possible_truncation, reason = "as many bytes were read")]
pub(super) fn uncover<I: Icmp>(
    frame: &Frame,
    scratch: &mut Scratch,
    headers: &Headers<I>,
) -> Uncovered {
    let outer = headers.l4 + HEADER;
    let there = scratch.packet.payload().saturating_sub(HEADER as u64);
    if there < I::HEADER as u64 || !frame.reaches(outer + I::HEADER) {
        return Uncovered::Nothing;
    }
    // SAFETY: both headers are in the frame.
    let (kind, mtu, source, quoted) = unsafe {
        (
            load2::<0>(headers.l4) as u16,
            I::next_hop_mtu(headers.l4),
            I::source(outer),
            I::quoted(frame, outer),
        )
    };
    let Some(quoted) = quoted else {
        return Uncovered::Nothing;
    };
    let Some((ahead, protocol)) = outside(frame, outer, &quoted) else {
        return Uncovered::Nothing;
    };
    let room = mtu.saturating_sub(ahead as u32);
    if kind != I::TOO_BIG || room == 0 || source != headers.destination {
        return Uncovered::Nothing;
    }
    let inner = opaque(outer + ahead);
    let there = there.saturating_sub(ahead as u64) as u32;
    let found = match protocol {
        protocol::IPIP => read::<V4>(frame, scratch, inner, there),
        protocol::IPV6 => read::<V6>(frame, scratch, inner, there),
        _ => None,
    };
    let Some(ethertype) = found else {
        return Uncovered::Nothing;
    };
    // Up to the inner packet, as it lay before `read` has put it first.
    let ahead = usize::from(scratch.packet.l4_at) + HEADER + ahead - ETHERNET;
    (scratch.room, scratch.by_route) = (room, 1);
    scratch.packet.ip_at = ETHERNET as u16;
    match strip(frame, ahead, ethertype) {
        Some(()) => Uncovered::Packet,
        None => Uncovered::Failed,
    }
}

/// Bytes of the tunnel's headers, and the protocol of what is behind them; none if they cannot be a tunnel's.
#[inline(always)]
fn outside(frame: &Frame, outer: usize, quoted: &Quoted) -> Option<(usize, u8)> {
    if quoted.protocol != protocol::UDP {
        return Some((quoted.header, quoted.protocol));
    }
    let udp = opaque(outer + quoted.header);
    if !frame.reaches(udp + gue::HEADERS) {
        return None;
    }
    // SAFETY: the headers are in the frame.
    let inner = unsafe { gue::inner(udp) }?;
    Some((quoted.header + gue::HEADERS, inner))
}

/// Reads the client's packet, of which `there` bytes are quoted, if it is one for a VIP; its Ethernet type.
#[inline(always)]
fn read<I: Icmp>(frame: &Frame, scratch: &mut Scratch, ip: usize, there: u32) -> Option<u64> {
    if (there as usize) < I::HEADER + UDP || !frame.reaches(ip + I::HEADER) {
        return None;
    }
    // SAFETY: the header is in the frame.
    let (first, source, destination) =
        unsafe { (load1::<0>(ip), I::source(ip), I::destination(ip)) };
    let vip = I::to_abi(destination);
    if first >> 4 != I::FAMILY as u64 || !maps::is_vip(&vip) {
        return None;
    }
    let packet = &mut scratch.packet;
    packet.flow.source = I::to_abi(source);
    packet.flow.destination = vip;
    packet.family = I::FAMILY;
    packet.length = there;
    Some(I::ETHERTYPE)
}

/// Takes everything between the link-layer addresses and the client's packet away.
#[inline(always)]
fn strip(frame: &Frame, ahead: usize, ethertype: u64) -> Option<()> {
    let start = frame.start();
    if !frame.reaches(start + ETHERNET) {
        return None;
    }
    // SAFETY: the header is in the frame.
    let addresses = unsafe { (load8::<0>(start), load4::<8>(start)) };
    frame.cut_head(ahead)?;
    let start = frame.start();
    if !frame.reaches(start + ETHERNET) {
        return None;
    }
    // SAFETY: the header is in the frame.
    unsafe {
        store8::<0>(start, addresses.0);
        store4::<8>(start, addresses.1);
        store2::<12>(start, ethertype);
    }
    Some(())
}
