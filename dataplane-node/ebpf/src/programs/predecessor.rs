//! Connections that are older than the node's hold on a leased VIP. Where a service's flows have sessions, those of the connections
//! that began at the VIP's owner before this node are there, with addresses of that node: servers' answers go there by themselves, and what clients
//! send is sent on to it as it is.
//!
//! ```text
//! C -> V   ─► holder of V: no session, TCP, no SYN ─► predecessor: session ─► server ─► predecessor ─► C
//! ```
//!
//! Only a holder sends on, and at no time are there two: nothing goes round in circles. So a node that has just given the VIP up
//! drops what it would have sent on, until neighbors know where to send it.

use lbfabric_abi::{DropReason, NextHop, OlderConnections, Verdict};

use super::{
    exit::{Exit, Step},
    fragments,
    frame::Frame,
    headers::protocol,
    neighbor,
    packet::Scratch,
    rewrite,
};

/// What becomes of a packet of a flow that has no session, if the flow may have begun at another node.
#[inline(always)]
pub(crate) fn hand_on(frame: &Frame, scratch: &mut Scratch) -> Option<Step> {
    let packet = &scratch.packet;
    // Of UDP, nothing tells the first packet.
    if packet.is_syn || packet.flow.protocol != protocol::TCP {
        return None;
    }
    let sent = match neighbor::older_connections(&packet.flow.destination) {
        OlderConnections::Nowhere => return None,
        OlderConnections::Elsewhere => return Some(Step::Drop(DropReason::VipMoved)),
        OlderConnections::At(predecessor) => send(frame, predecessor),
    };
    fragments::lead_to_predecessor(scratch);
    Some(sent.into())
}

/// Sends on what belongs to such a flow, and does not say so itself; or else drops it for a reason.
#[inline(always)]
pub(crate) fn send_or(
    frame: &Frame,
    scratch: &Scratch,
    reason: DropReason,
) -> Result<Exit, DropReason> {
    match neighbor::older_connections(&scratch.packet.flow.destination) {
        OlderConnections::At(predecessor) => send(frame, predecessor),
        OlderConnections::Elsewhere | OlderConnections::Nowhere => Err(reason),
    }
}

#[inline(always)]
fn send(frame: &Frame, predecessor: &NextHop) -> Result<Exit, DropReason> {
    rewrite::link(frame, predecessor)?;
    Ok(Exit::send(
        Verdict::ToPredecessor,
        predecessor.ifindex,
        frame.ingress_ifindex(),
    ))
}
