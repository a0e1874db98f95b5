//! Destination NAT: the server takes the VIP's place as the destination, and gives it back in its answers.

use lbfabric_abi::{Backend, DropReason, NextHop, Reverse, Verdict, VipService};

use super::{
    exit::Exit,
    frame::Frame,
    headers::Headers,
    ip::Ip,
    rewrite::{self, Rewritten},
};

/// Sends a client's packet to a server.
#[inline(always)]
pub(crate) fn forward<I: Ip>(
    frame: &Frame,
    headers: &Headers<I>,
    service: &VipService,
    backend: &Backend,
) -> Result<Exit, DropReason> {
    let (server, hop) = server::<I>(backend)?;
    headers.check_ttl()?;
    let port = port_or(service.backend_port_be, headers.destination_port());
    let new = Rewritten {
        source: headers.source,
        destination: server,
        ports: u32::from(headers.source_port()) | u32::from(port) << 16,
    };
    rewrite::flow(frame, headers, &new, 1)?;
    rewrite::link(frame, hop)?;
    Ok(Exit::send(
        Verdict::Dnat,
        hop.ifindex,
        frame.ingress_ifindex(),
    ))
}

/// What a server's answer becomes: the VIP's.
#[inline(always)]
pub(crate) fn answer<I: Ip>(headers: &Headers<I>, reverse: &Reverse) -> Rewritten<I> {
    let port = port_or(reverse.vip_port_be, headers.source_port());
    Rewritten {
        source: I::of(&reverse.vip),
        destination: headers.destination,
        ports: u32::from(port) | u32::from(headers.destination_port()) << 16,
    }
}

/// The server's address of this version of IP, and the way there.
#[inline(always)]
pub(crate) fn server<I: Ip>(backend: &Backend) -> Result<(I::Address, &NextHop), DropReason> {
    let (address, hop) = I::server(backend).ok_or(DropReason::NoBackendAddress)?;
    if !hop.is_resolved() {
        return Err(DropReason::NextHopUnresolved);
    }
    Ok((address, hop))
}

/// A port that is set, or else the packet's own, as in a frame.
#[inline(always)]
pub(crate) const fn port_or(port_be: [u8; 2], own: u16) -> u16 {
    let port = u16::from_ne_bytes(port_be);
    if port == 0 { own } else { port }
}
