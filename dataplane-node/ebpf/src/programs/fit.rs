//! Whether a packet can go on to its server. `lbfabric_too_big` tells the sender of one that cannot.

use lbfabric_abi::{Backend, Mode, VipService};

use super::{
    frame::{Frame, opaque},
    ip::Ip,
    packet::{Family, Scratch},
    tunnel,
    v4::V4,
    v6::V6,
};

const DNAT: u8 = Mode::Dnat as u8;
const FULLNAT: u8 = Mode::Fullnat as u8;
const TUNNEL: u8 = Mode::Tunnel as u8;

/// Whether a way takes as many bytes, at least one. One whose largest packet is not known, 0, takes all.
#[inline(always)]
pub(crate) fn fits(length: u64, mtu: u16) -> bool {
    // Zero becomes the most that there is.
    let most = u64::from(mtu.wrapping_sub(1));
    // The sign of the difference, or the verifier would go on with two ranges of lengths.
    opaque((most.wrapping_sub(length.wrapping_sub(1)) >> 63) as usize) == 0
}

/// Whether the packet's time to live lets it go on: where its mode takes it through a router, which the node is then.
#[inline(always)]
pub(crate) fn may_hop(scratch: &mut Scratch) -> bool {
    let may = !matches!(scratch.service.mode, DNAT | FULLNAT) || scratch.packet.ttl > 1;
    if !may {
        (scratch.room, scratch.by_route) = (0, 0);
    }
    may
}

/// Whether the packet fits the way to a server.
#[inline(always)]
pub(crate) fn has_room(frame: &Frame, scratch: &mut Scratch, backend: &Backend) -> bool {
    let room = match scratch.packet.family {
        Family::Ipv4 => room::<V4>(&scratch.service, backend),
        Family::Ipv6 => room::<V6>(&scratch.service, backend),
    };
    // What is longer than the link that it came over takes was put together from several packets, each of which may fit.
    if scratch.packet.length <= room
        || frame
            .ingress_mtu()
            .is_some_and(|mtu| scratch.packet.length > mtu)
    {
        return true;
    }
    // Zero says something else.
    (scratch.room, scratch.by_route) = (room.max(1), 0);
    false
}

/// The largest packet that fits the way to a server in the service's mode.
#[inline(always)]
fn room<I: Ip>(service: &VipService, backend: &Backend) -> u32 {
    let (mtu, overhead) = match service.mode {
        TUNNEL if tunnel::is_over4::<I>(backend) => {
            (backend.mtu4, V4::HEADER + tunnel::between(service))
        }
        TUNNEL => (backend.mtu6, V6::HEADER + tunnel::between(service)),
        DNAT | FULLNAT => (I::mtu(backend), 0),
        // On its own link.
        _ => (0, 0),
    };
    if mtu == 0 {
        u32::MAX
    } else {
        u32::from(mtu).saturating_sub(overhead as u32)
    }
}
