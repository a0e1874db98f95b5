//! Errors about what servers have sent: from clients, and from routers on the way to them.

use lbfabric_abi::{DropReason, Mode, RingSlot, Verdict, VipService};

use super::{
    Icmp,
    quote::Quote,
    translate::{self, Translated},
};
use crate::programs::{
    affinity, dnat, dsr,
    exit::Exit,
    frame::Frame,
    headers::{Headers, protocol},
    maps,
    packet::Scratch,
    predecessor,
    rewrite::{self, Rewritten},
    ring, session, tunnel,
    vip::{self, Found},
};

const DNAT: u8 = Mode::Dnat as u8;
const FULLNAT: u8 = Mode::Fullnat as u8;
const DSR: u8 = Mode::Dsr as u8;
const TUNNEL: u8 = Mode::Tunnel as u8;

/// Takes an error to the server that the flow is on, the way that the flow's packets take.
#[inline(always)]
pub(super) fn from_client<I: Icmp>(
    frame: &Frame,
    scratch: &mut Scratch,
    headers: &Headers<I>,
    quote: &Quote<I>,
) -> Result<Exit, DropReason> {
    // The packet's own addresses are in its headers.
    scratch.packet.flow = quote.answered().0;
    if !find(scratch) {
        return Ok(Exit::pass(Verdict::PassNotServed));
    }
    if I::is_martian(headers.source) {
        return Err(DropReason::BadQuote);
    }
    let has_sessions =
        scratch.service.mode == FULLNAT || scratch.service.flags & VipService::EXACT_STATE != 0;
    if !has_sessions {
        scratch.hash = hash(scratch);
        scratch.server = server(scratch)?;
    }
    let outcome = match scratch.service.mode {
        DNAT if !has_sessions && !is_hairpin(scratch, quote) => {
            by_dnat(frame, scratch, headers, quote)
        }
        DNAT | FULLNAT => match by_session(frame, headers, quote) {
            Err(DropReason::UnknownFlow) if scratch.packet.flow.protocol == protocol::TCP => {
                // It may have begun at another node, which is told then.
                return predecessor::send_or(frame, scratch, DropReason::UnknownFlow);
            }
            outcome => outcome,
        },
        DSR => by_dsr::<I>(frame, scratch),
        TUNNEL => by_tunnel(frame, scratch, headers),
        // The agent writes no other mode.
        _ => Err(DropReason::Internal),
    };
    outcome.map(|exit| exit.counted_as(Verdict::IcmpError))
}

/// Finds the service of the flow; false if there is none.
#[inline(never)]
fn find(scratch: &mut Scratch) -> bool {
    let Some(settings) = maps::settings() else {
        return false;
    };
    let Found::Service(service) = vip::find(&scratch.packet, settings) else {
        return false;
    };
    scratch.service = *service;
    true
}

/// What finds the flow's slot in the service's ring. By itself: it and what comes after do not fit on the stack.
#[inline(never)]
fn hash(scratch: &Scratch) -> u64 {
    let Some(settings) = maps::settings() else {
        return 0;
    };
    let Scratch {
        packet, service, ..
    } = scratch;
    packet
        .flow
        .affinity_hash(&settings.ring_key, service.affinity)
}

/// The server of the flow by the rules for its packets; nothing is remembered of it. Others stand in their session.
#[inline(always)]
fn server(scratch: &Scratch) -> Result<u32, DropReason> {
    let settings = maps::settings().ok_or(DropReason::Internal)?;
    let Scratch {
        packet,
        service,
        hash,
        ..
    } = scratch;
    let slot = ring::slot(service, *hash)?;
    let server = if slot.consult() {
        affinity::look_up(&packet.flow, settings, slot, service.pool)
    } else {
        slot.cur
    };
    if server == RingSlot::NONE {
        return Err(DropReason::NoBackend);
    }
    Ok(server)
}

/// Whether full NAT takes the flow's packets to the server, as it would answer past the node.
#[inline(always)]
fn is_hairpin<I: Icmp>(scratch: &Scratch, quote: &Quote<I>) -> bool {
    let backend = maps::backend(scratch.server);
    backend.is_some_and(|it| I::is_beside(it, quote.destination))
}

#[inline(never)]
fn by_dnat<I: Icmp>(
    frame: &Frame,
    scratch: &Scratch,
    headers: &Headers<I>,
    quote: &Quote<I>,
) -> Result<Exit, DropReason> {
    let backend = maps::backend(scratch.server).ok_or(DropReason::Internal)?;
    let (server, hop) = dnat::server::<I>(backend)?;
    headers.check_ttl()?;
    let port = dnat::port_or(scratch.service.backend_port_be, quote.source_port());
    let new = Translated {
        source: headers.source,
        destination: server,
        quoted: Rewritten {
            source: server,
            destination: quote.destination,
            ports: u32::from(port) | u32::from(quote.destination_port()) << 16,
        },
    };
    translate::error(frame, headers, quote, &new, 1)?;
    rewrite::link(frame, hop)?;
    Ok(Exit::send(
        Verdict::IcmpError,
        hop.ifindex,
        frame.ingress_ifindex(),
    ))
}

#[inline(never)]
fn by_session<I: Icmp>(
    frame: &Frame,
    headers: &Headers<I>,
    quote: &Quote<I>,
) -> Result<Exit, DropReason> {
    let settings = maps::settings().ok_or(DropReason::Internal)?;
    let ends = quote.answered_ends();
    let held = session::of_any_client(settings, &ends, session::place(settings, &ends))
        .ok_or(DropReason::UnknownFlow)?;
    let session = held.fields();
    // Who the server takes for the client, and for who says so.
    let (node, source) = if session.is_dnat() {
        (quote.destination, headers.source)
    } else {
        let node = held.node::<I>(settings).ok_or(DropReason::UnknownFlow)?;
        (node, node)
    };
    let backend = maps::backend(session.backend.into()).ok_or(DropReason::Internal)?;
    let (server, hop) = dnat::server::<I>(backend)?;
    headers.check_ttl()?;
    let new = Translated {
        source,
        destination: server,
        quoted: Rewritten {
            source: server,
            destination: node,
            ports: session.server_ports().rotate_left(16),
        },
    };
    translate::error(frame, headers, quote, &new, 1)?;
    rewrite::link(frame, hop)?;
    Ok(Exit::send(
        Verdict::IcmpError,
        hop.ifindex,
        frame.ingress_ifindex(),
    ))
}

#[inline(always)]
fn by_dsr<I: Icmp>(frame: &Frame, scratch: &Scratch) -> Result<Exit, DropReason> {
    let backend = maps::backend(scratch.server).ok_or(DropReason::Internal)?;
    dsr::forward::<I>(frame, backend)
}

#[inline(never)]
fn by_tunnel<I: Icmp>(
    frame: &Frame,
    scratch: &Scratch,
    headers: &Headers<I>,
) -> Result<Exit, DropReason> {
    let settings = maps::settings().ok_or(DropReason::Internal)?;
    let backend = maps::backend(scratch.server).ok_or(DropReason::Internal)?;
    let Scratch { service, hash, .. } = scratch;
    tunnel::forward(frame, headers, settings, service, *hash, backend)
}
