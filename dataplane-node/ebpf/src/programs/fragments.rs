//! Fragments. The first one has the ports, and goes the way of a whole packet; what becomes of it is remembered for those
//! that follow.
//!
//! ```text
//! FRAGMENTS   source, destination, identification, protocol   =>   where the first one went
//! ```
//!
//! One that comes before the first is dropped: nothing tells which server it is for.

use lbfabric_abi::{Address, DropReason, NextProgram, Verdict, VipService};

use super::{
    dnat,
    exit::{Exit, Step},
    frame::Frame,
    headers::Headers,
    ip::Ip,
    maps,
    packet::{Family, Packet, Piece, Scratch},
    predecessor,
    rewrite::{self, Rewritten},
    route,
    v4::V4,
    v6::V6,
};

/// Entries of `FRAGMENTS`: packets that are on their way in pieces at the same time.
pub(crate) const FRAGMENTS: u32 = 16_384;
/// For so long fragments follow their first one: half of Linux's time for putting them together.
const REMEMBERED_NS: u64 = 15_000_000_000;

/// What the fragments of a packet have in common: RFC 791 section 3.2, RFC 8200 section 4.5.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub(crate) struct FragmentKey {
    source: Address,
    destination: Address,
    identification: u32,
    /// The IP protocol number; zero for IPv6, whose fragments may name different ones.
    protocol: u32,
}

/// Where the first fragment of a packet has gone.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub(crate) struct Lead {
    service: VipService,
    /// What its addresses became; not used where they stay, or are the server's.
    source: Address,
    destination: Address,
    /// The hash of the flow.
    hash: u64,
    until_ns: u64,
    server: u32,
    /// The [`Verdict`] under which it left.
    verdict: u32,
}

/// Has those that follow a first fragment taken to the server that `lbfabric_deliver` has taken it to.
#[inline(always)]
pub(crate) fn lead_to_server(scratch: &mut Scratch) {
    if scratch.packet.piece == Piece::First {
        scratch.lead.server = scratch.server;
        // Any of the program's verdicts: the service's mode says which.
        remember(scratch, Verdict::Dnat);
    }
}

/// As [`lead_to_server`], by full NAT.
#[inline(always)]
pub(crate) fn lead_through_node(scratch: &mut Scratch, server: u32, source: Address) {
    if scratch.packet.piece == Piece::First {
        scratch.lead.server = server;
        scratch.lead.source = source;
        remember(scratch, Verdict::Fullnat);
    }
}

/// Has those that follow an answer's first fragment taken to the client.
#[inline(always)]
pub(crate) fn lead_to_client(
    scratch: &mut Scratch,
    verdict: Verdict,
    source: Address,
    destination: Address,
) {
    if scratch.packet.piece == Piece::First {
        (scratch.lead.source, scratch.lead.destination) = (source, destination);
        remember(scratch, verdict);
    }
}

/// Has those that follow a first fragment passed to the kernel, which has got it.
#[inline(always)]
pub(crate) fn lead_to_kernel(scratch: &mut Scratch) {
    if scratch.packet.piece == Piece::First {
        remember(scratch, Verdict::PassNotServed);
    }
}

/// Has those that follow a first fragment sent on to the VIP's predecessor.
#[inline(always)]
pub(crate) fn lead_to_predecessor(scratch: &mut Scratch) {
    if scratch.packet.piece == Piece::First {
        remember(scratch, Verdict::ToPredecessor);
    }
}

#[inline(always)]
fn remember(scratch: &mut Scratch, verdict: Verdict) {
    scratch.lead.service = scratch.service;
    scratch.lead.hash = scratch.hash;
    scratch.lead.verdict = verdict as u32;
    scratch.lead.until_ns = maps::coarse_clock() + REMEMBERED_NS;
    scratch.key = FragmentKey::of(&scratch.packet);
    maps::remember_lead(&scratch.key, &scratch.lead);
}

/// The program for fragments that are not the first.
#[inline(always)]
pub(crate) fn follow(frame: &Frame) -> Step {
    const TO_SERVER: u32 = Verdict::Dnat as u32;
    const THROUGH_NODE: u32 = Verdict::Fullnat as u32;
    const DNAT_ANSWER: u32 = Verdict::DnatAnswer as u32;
    const FULLNAT_ANSWER: u32 = Verdict::FullnatAnswer as u32;
    const TO_PREDECESSOR: u32 = Verdict::ToPredecessor as u32;

    let Some(scratch) = maps::scratch() else {
        return Step::Drop(DropReason::Internal);
    };
    scratch.key = FragmentKey::of(&scratch.packet);
    let lead = match maps::lead(&scratch.key) {
        Some(lead) if maps::coarse_clock() < lead.until_ns => lead,
        Some(_) | None if scratch.otherwise == Verdict::PassNotServed as u32 => {
            return Step::Drop(DropReason::Fragment);
        }
        Some(_) | None => return Step::Leave(Exit::pass(Verdict::PassNotVip)),
    };
    match lead.verdict {
        TO_SERVER => {
            if !is_there(lead) {
                return Step::Drop(DropReason::NoBackend);
            }
            (scratch.service, scratch.server, scratch.hash) =
                (lead.service, lead.server, lead.hash);
            Step::Next(NextProgram::Deliver)
        }
        THROUGH_NODE => to_server(frame, &scratch.packet, lead).into(),
        DNAT_ANSWER => to_client(frame, &scratch.packet, lead, Verdict::DnatAnswer).into(),
        FULLNAT_ANSWER => to_client(frame, &scratch.packet, lead, Verdict::FullnatAnswer).into(),
        TO_PREDECESSOR => predecessor::send_or(frame, scratch, DropReason::Fragment).into(),
        _ => Step::Leave(Exit::pass(Verdict::PassNotServed)),
    }
}

/// Whether the server has not been removed or declared dead since.
#[inline(always)]
fn is_there(lead: &Lead) -> bool {
    maps::backend(lead.server).is_some_and(|it| it.keeps_flows_of(lead.service.pool))
}

#[inline(always)]
fn to_server(frame: &Frame, packet: &Packet, lead: &Lead) -> Result<Exit, DropReason> {
    if !is_there(lead) {
        return Err(DropReason::NoBackend);
    }
    let exit = match packet.family {
        Family::Ipv4 => through_node::<V4>(frame, packet, lead),
        Family::Ipv6 => through_node::<V6>(frame, packet, lead),
    }?;
    maps::count_traffic(lead.service.service, lead.server, packet.length.into());
    Ok(exit)
}

#[inline(always)]
fn through_node<I: Ip>(frame: &Frame, packet: &Packet, lead: &Lead) -> Result<Exit, DropReason> {
    let backend = maps::backend(lead.server).ok_or(DropReason::Internal)?;
    let (server, hop) = dnat::server::<I>(backend)?;
    let headers = Headers::<I>::of(frame, packet)?;
    headers.check_ttl()?;
    let new = Rewritten {
        source: I::of(&lead.source),
        destination: server,
        ports: 0,
    };
    rewrite::flow(frame, &headers, &new, 1)?;
    rewrite::link(frame, hop)?;
    Ok(Exit::send(
        Verdict::Fullnat,
        hop.ifindex,
        frame.ingress_ifindex(),
    ))
}

#[inline(always)]
fn to_client(
    frame: &Frame,
    packet: &Packet,
    lead: &Lead,
    verdict: Verdict,
) -> Result<Exit, DropReason> {
    match packet.family {
        Family::Ipv4 => answer::<V4>(frame, packet, lead, verdict),
        Family::Ipv6 => answer::<V6>(frame, packet, lead, verdict),
    }
}

#[inline(always)]
fn answer<I: Ip>(
    frame: &Frame,
    packet: &Packet,
    lead: &Lead,
    verdict: Verdict,
) -> Result<Exit, DropReason> {
    let headers = Headers::<I>::of(frame, packet)?;
    let new = Rewritten {
        source: I::of(&lead.source),
        destination: I::of(&lead.destination),
        ports: 0,
    };
    route::send(frame, &headers, &new, verdict)
}

// === impl FragmentKey ===

impl FragmentKey {
    #[inline(always)]
    fn of(packet: &Packet) -> Self {
        let protocol = match packet.family {
            Family::Ipv4 => packet.flow.protocol.into(),
            Family::Ipv6 => 0,
        };
        Self {
            source: packet.flow.source,
            destination: packet.flow.destination,
            identification: packet.identification,
            protocol,
        }
    }
}
