//! Packets for a VIP that nobody can have sent in good faith, and whose answers would go astray.

use lbfabric_abi::{DropReason, FilterRegion};

use super::{
    bytes::load1,
    frame::Frame,
    headers::ETHERNET,
    ip::Ip,
    maps,
    packet::{Family, Packet},
    v4::V4,
    v6::V6,
};

/// Whether a frame is for all on the link or for a group of them, which a packet for one address never is (RFC 1122
/// section 3.3.6). The Ethernet header is there.
#[inline(always)]
pub(crate) fn is_to_group(start: usize) -> bool {
    // SAFETY: the caller's.
    unsafe { load1::<0>(start) & 1 != 0 }
}

/// Fails if a packet for a service is one of them.
#[inline(always)]
pub(crate) fn check(frame: &Frame, packet: &Packet) -> Result<(), DropReason> {
    let start = frame.start();
    if frame.reaches(start + ETHERNET) && is_to_group(start) {
        return Err(DropReason::Martian);
    }
    match packet.family {
        Family::Ipv4 => source::<V4>(packet),
        Family::Ipv6 => source::<V6>(packet),
    }
}

/// Whether no packet may come from where this one does.
#[inline(always)]
pub(crate) fn is_from_nowhere(packet: &Packet) -> bool {
    match packet.family {
        Family::Ipv4 => V4::is_martian(V4::of(&packet.flow.source)),
        Family::Ipv6 => V6::is_martian(V6::of(&packet.flow.source)),
    }
}

#[inline(always)]
fn source<I: Ip>(packet: &Packet) -> Result<(), DropReason> {
    let (source, destination) = (I::of(&packet.flow.source), I::of(&packet.flow.destination));
    if source == destination {
        return Err(DropReason::Land);
    }
    // Two VIPs would answer each other without end.
    let is_vip =
        maps::passes_filter(I::bit(FilterRegion::Vip, source)) && maps::is_vip(&packet.flow.source);
    if is_vip || I::is_martian(source) {
        return Err(DropReason::Martian);
    }
    Ok(())
}
