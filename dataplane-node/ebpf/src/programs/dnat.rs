//! Destination NAT: the server takes the VIP's place as the destination, and gives it back in its answers.

use lbfabric_abi::{Address, Backend, DropReason, Endpoint, NextHop, Reverse, Verdict, VipService};

use super::{
    exit::Exit,
    frame::Frame,
    maps,
    packet::{Family, Packet},
    rewrite, route,
    words::Aligned,
};

/// Sends a client's packet to a server.
#[inline(never)]
pub(crate) fn forward(
    frame: &Frame,
    packet: &mut Packet,
    service: &VipService,
    backend: &Backend,
) -> Result<Exit, DropReason> {
    let (destination, next) = server(packet.family, backend)?;
    packet.check_ttl()?;
    let mut new = packet.flow;
    new.destination = destination;
    new.destination_port_be = port_or(service.backend_port_be, new.destination_port_be);
    rewrite::flow(frame, packet, &new)?;
    rewrite::hop(frame, packet, next)?;
    Ok(Exit::send(
        Verdict::Dnat,
        next.ifindex,
        frame.ingress_ifindex(),
    ))
}

/// Makes a server's answer the VIP's and sends it to the client; passes what is no such answer.
///
/// Packets to the node's own addresses do not come here: what a server answers to the node's health checks is the node's.
#[inline(never)]
pub(crate) fn answer(frame: &Frame, packet: &mut Packet) -> Result<Exit, DropReason> {
    let endpoint = Aligned(Endpoint {
        address: packet.flow.source,
        port_be: packet.flow.source_port_be,
        protocol: packet.flow.protocol,
        zero: 0,
    });
    if let Some(reverse) = maps::reverse_port(&endpoint) {
        return translate(frame, packet, reverse);
    }
    if let Some(reverse) = maps::reverse_range(&endpoint) {
        return translate(frame, packet, reverse);
    }
    Ok(Exit::pass(Verdict::PassNotVip))
}

#[inline(never)]
fn translate(frame: &Frame, packet: &mut Packet, reverse: &Reverse) -> Result<Exit, DropReason> {
    packet.check_ttl()?;
    let mut new = packet.flow;
    new.source = reverse.vip;
    new.source_port_be = port_or(reverse.vip_port_be, new.source_port_be);
    rewrite::flow(frame, packet, &new)?;
    route::answer(frame, packet, Verdict::DnatAnswer)
}

/// The server's address of the packet's family, and the way there.
#[inline(always)]
pub(crate) fn server(family: Family, backend: &Backend) -> Result<(Address, &NextHop), DropReason> {
    let (address, hop) = match family {
        Family::Ipv4 => (backend.address4(), &backend.hop4),
        Family::Ipv6 => (backend.address6(), &backend.hop6),
    };
    let address = address.ok_or(DropReason::NoBackendAddress)?;
    if !hop.is_resolved() {
        return Err(DropReason::NextHopUnresolved);
    }
    Ok((address, hop))
}

/// A port that is set, or else the packet's own.
#[inline(always)]
pub(crate) fn port_or(port_be: [u8; 2], own_be: [u8; 2]) -> [u8; 2] {
    if port_be == [0; 2] { own_be } else { port_be }
}
