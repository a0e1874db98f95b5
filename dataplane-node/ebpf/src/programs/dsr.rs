//! Direct server return: the packet goes to the server's link-layer address as it is. No router is passed, so its time
//! to live stays.

use lbfabric_abi::{Backend, DropReason, NextHop, Verdict};

use super::{
    exit::Exit,
    frame::Frame,
    packet::{Family, Packet},
    rewrite,
};

#[inline(always)]
pub(crate) fn forward(
    frame: &Frame,
    packet: &Packet,
    backend: &Backend,
) -> Result<Exit, DropReason> {
    let hop = hop(packet.family, backend);
    if !hop.is_resolved() {
        return Err(DropReason::NextHopUnresolved);
    }
    rewrite::link(frame, hop)?;
    Ok(Exit::send(
        Verdict::Dsr,
        hop.ifindex,
        frame.ingress_ifindex(),
    ))
}

/// Either family leads to the same server on the same link; the packet's own comes first.
#[inline(always)]
const fn hop(family: Family, backend: &Backend) -> &NextHop {
    let (own, other) = match family {
        Family::Ipv4 => (&backend.hop4, &backend.hop6),
        Family::Ipv6 => (&backend.hop6, &backend.hop4),
    };
    if own.is_resolved() { own } else { other }
}
