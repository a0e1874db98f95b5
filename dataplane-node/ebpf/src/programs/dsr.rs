//! Direct server return: the packet goes to the server's link-layer address as it is. No router is passed, so its time
//! to live stays.

use lbfabric_abi::{Backend, DropReason, Verdict};

use super::{exit::Exit, frame::Frame, ip::Ip, packet::Family, rewrite};

#[inline(always)]
pub(crate) fn forward<I: Ip>(frame: &Frame, backend: &Backend) -> Result<Exit, DropReason> {
    // Either family leads to the same server on the same link; the packet's own comes first.
    let (own, other) = match I::FAMILY {
        Family::Ipv4 => (&backend.hop4, &backend.hop6),
        Family::Ipv6 => (&backend.hop6, &backend.hop4),
    };
    let hop = if own.is_resolved() { own } else { other };
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
