//! New flows of destination NAT with exact state.

use lbfabric_abi::{
    DropReason, NAT_PORT_TRIES, NextProgram, RingSlot, SESSION_PORT_PATIENCE, Session,
    SessionPlace, SessionState, SessionTick, SessionWord, Settings,
};

use super::send;
use crate::programs::{
    admit, dnat,
    exit::Step,
    fit,
    frame::Frame,
    headers::{Headers, protocol},
    ip::Ip,
    maps,
    packet::{Family, Scratch},
    predecessor,
    session::{self, Ends, Held},
    v4::V4,
    v6::V6,
};

/// Enters the flow of a client's packet, which `lbfabric_exact_forward` has found to have no session, and sends the packet; one of an
/// older flow than the node has its VIP goes to whoever had it.
#[inline(always)]
pub(crate) fn admit(frame: &Frame) -> Step {
    let Some(scratch) = maps::scratch() else {
        return Step::Drop(DropReason::Internal);
    };
    if let Some(step) = predecessor::hand_on(frame, scratch) {
        return step;
    }
    let sent = match scratch.packet.family {
        Family::Ipv4 => begin::<V4>(frame, scratch),
        Family::Ipv6 => begin::<V6>(frame, scratch),
    };
    sent.unwrap_or_else(|reason| {
        maps::nat_refused(scratch.server, reason);
        Step::Drop(reason)
    })
}

#[inline(always)]
fn begin<I: Ip>(frame: &Frame, scratch: &mut Scratch) -> Result<Step, DropReason> {
    let id = scratch.server;
    if id == RingSlot::NONE {
        return Err(DropReason::NoBackend);
    }
    let backend = maps::backend(id).ok_or(DropReason::Internal)?;
    if !backend.keeps_flows_of(scratch.service.pool) {
        return Err(DropReason::NoBackend);
    }
    if !fit::has_room(frame, scratch, backend) {
        return Ok(Step::Next(NextProgram::TooBig));
    }
    let headers = Headers::<I>::with_ports(frame, &scratch.packet)?;
    let settings = maps::settings().ok_or(DropReason::Internal)?;
    let place = session::place(settings, &headers.ends());
    if admit::tags(settings, place) != 0 {
        // Another flow with the same tag, or one that is being entered just now.
        return Err(DropReason::NatTableFull);
    }
    let now = session::now();
    let (server, _) = dnat::server::<I>(backend)?;
    let port = dnat::port_or(scratch.service.backend_port_be, headers.destination_port());
    let answers = Ends::<I> {
        source: server,
        destination: headers.source,
        ports: u32::from(port) | u32::from(headers.source_port()) << 16,
        protocol: headers.protocol,
    };
    let back = session::place(settings, &answers);
    make_way(settings, &answers, back, scratch.packet.is_syn, now)?;
    let held = enter(settings, scratch, &headers, &answers, (place, back), now)?;
    let first = SessionState::OPENING.after_client(session::said(frame, &headers));
    if !admit::finish(
        settings,
        &held,
        place,
        Some(back),
        held.life.with(first, now),
    ) {
        return Ok(Step::Next(NextProgram::ExactForward));
    }
    send(frame, scratch, &headers, &held, backend)
}

/// Ends the flow that the server could not tell from a new one, if it may be: it is silent for too long, was never more than its
/// first packet, or a SYN comes when it is over.
#[inline(always)]
fn make_way<I: Ip>(
    settings: &Settings,
    answers: &Ends<I>,
    back: SessionPlace,
    is_syn: bool,
    now: SessionTick,
) -> Result<(), DropReason> {
    if let Some(held) = session::of_exact_server(settings, answers) {
        let is_over = is_syn && held.life.state().is_closed();
        let is_tcp = answers.protocol == protocol::TCP;
        if !is_over && !held.life.is_takeable(is_tcp, now, SESSION_PORT_PATIENCE) {
            return Err(DropReason::ExactStateClash);
        }
        admit::release(held.index, held.life);
    }
    if admit::tags(settings, back) != 0 {
        return Err(DropReason::NatTableFull);
    }
    Ok(())
}

/// Enters a flow whose answers are these, with the places of both directions, as [`admit::admit`] does it. The session is any that is
/// free, looked for from the server's cursor on.
#[inline(always)]
fn enter<I: Ip>(
    settings: &Settings,
    scratch: &mut Scratch,
    headers: &Headers<I>,
    answers: &Ends<I>,
    (place, back): (SessionPlace, SessionPlace),
    now: SessionTick,
) -> Result<Held, DropReason> {
    let port = answers.source_port();
    // The upper half: full NAT's sessions of the server begin at the lower one.
    let begin = session::base::<I>(settings, answers.source, port, headers.protocol) >> 32;
    search(settings, scratch, begin, now)?;
    let owner = Held::at(scratch.session).ok_or(DropReason::Internal)?;
    if owner.life.state() != SessionState::FREE {
        if !owner.life.is_takeable(owner.fields().is_tcp(), now, 0) {
            return Err(DropReason::NatTableFull);
        }
        admit::release(owner.index, owner.life);
    }
    let mut held = admit::claim(scratch.session, now).ok_or(DropReason::NatTableFull)?;
    let tag_at = admit::enlist(
        settings,
        place,
        SessionWord::new(place.tag, held.index),
        now,
    );
    let back_at = match tag_at {
        Some(_) => admit::enlist(settings, back, SessionWord::new(back.tag, held.index), now),
        None => None,
    };
    let (Some(tag_at), Some(back_at)) = (tag_at, back_at) else {
        if let Some(tag_at) = tag_at {
            held.unlist(tag_at);
        }
        held.publish(held.life.with(SessionState::FREE, now));
        return Err(DropReason::NatTableFull);
    };
    // SAFETY: it was claimed above.
    let session = unsafe { held.fields_mut() };
    admit::describe(session, scratch, headers, port);
    session.node_port_be = session.client_port_be;
    let is_ipv6 = I::FAMILY as u8 == Family::Ipv6 as u8;
    session.origin = Session::kind_of(is_ipv6, headers.protocol);
    admit::record(&held, headers, tag_at, back_at)?;
    Ok(held)
}

/// Looks for a session that is free, and leaves it in `scratch`, or else that one of those it has looked at which is to go first.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the lower half")]
fn search(
    settings: &Settings,
    scratch: &mut Scratch,
    begin: u64,
    now: SessionTick,
) -> Result<(), DropReason> {
    let mut most = 0;
    for n in 0..NAT_PORT_TRIES {
        let turn = maps::nat_turn(scratch.server).ok_or(DropReason::Internal)?;
        let place = begin
            .wrapping_add(turn)
            .wrapping_add(u64::from(n) * admit::STEP);
        let index = place as u32 & settings.sessions_mask();
        let rank = admit::rank(index, now)?;
        if rank > most {
            most = rank;
            scratch.session = index;
        }
        if rank == admit::FREE {
            break;
        }
    }
    Ok(())
}
