//! The program for servers' answers to DNAT: of any shape, also from ranges of ports, and where the routing table has to be
//! asked.

use lbfabric_abi::{DropReason, Endpoint, Reverse, Verdict};

use super::{
    aligned::Aligned,
    dnat, exact,
    exit::Exit,
    fragments,
    frame::Frame,
    headers::Headers,
    ip::Ip,
    maps,
    packet::{Family, Scratch},
    route,
    v4::V4,
    v6::V6,
};

/// Makes a server's answer the VIP's and sends it to the client; passes what is no such answer.
///
/// Packets to the node's own addresses do not come here: what a server answers to the node's health checks is the node's.
#[inline(always)]
pub(crate) fn translate(frame: &Frame) -> Result<Exit, DropReason> {
    let scratch = maps::scratch().ok_or(DropReason::Internal)?;
    match scratch.packet.family {
        Family::Ipv4 => by_family::<V4>(frame, scratch),
        Family::Ipv6 => by_family::<V6>(frame, scratch),
    }
}

#[inline(always)]
fn by_family<I: Ip>(frame: &Frame, scratch: &mut Scratch) -> Result<Exit, DropReason> {
    let packet = &scratch.packet;
    let headers = Headers::<I>::of(frame, packet)?;
    let port = headers.source_port();
    let reverse = match I::reverse_port(headers.source, port, headers.protocol) {
        Some(reverse) => reverse,
        None => match maps::reverse_range(&Aligned(Endpoint {
            address: packet.flow.source,
            port_be: packet.flow.source_port_be,
            protocol: packet.flow.protocol,
            zero: 0,
        })) {
            Some(reverse) => reverse,
            None => return Ok(Exit::pass(Verdict::PassNotVip)),
        },
    };
    let by_session = if reverse.flags & Reverse::EXACT != 0 {
        exact::answer(frame, &headers)
    } else {
        None
    };
    let new = match by_session {
        Some(new) => new,
        None if reverse.has_vip() => dnat::answer(&headers, reverse),
        None => return Ok(Exit::pass(Verdict::PassNotVip)),
    };
    let exit = route::send(frame, &headers, &new, Verdict::DnatAnswer)?;
    let (vip, client) = (I::to_abi(new.source), packet.flow.destination);
    fragments::lead_to_client(scratch, Verdict::DnatAnswer, vip, client);
    Ok(exit)
}
