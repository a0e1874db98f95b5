//! Destination NAT with exact state: where several VIPs end at one endpoint of a server, only the flow's session tells which of
//! them an answer is of.
//!
//! ```text
//! C:c -> V:v   ─┐                    ┌─►  C:c -> S:s     what the client sends
//!               ├──►  Session  ──────┤
//! S:s -> C:c   ─┘                    └─►  V:v -> C:c     what the server answers
//! ```
//!
//! Two flows of one client's address and port that end at one endpoint are one connection to the server: the second one is
//! refused, unless the first is over.

mod admission;

pub(crate) use admission::admit;
use lbfabric_abi::{Backend, DropReason, NextProgram, SessionState};

use super::{
    admit::release,
    dnat,
    exit::Step,
    fit, fragments,
    frame::Frame,
    headers::Headers,
    ip::Ip,
    maps,
    packet::{Family, Scratch},
    rewrite::Rewritten,
    session::{self, Held},
    v4::V4,
    v6::V6,
};

/// Sends a client's packet to the server of its flow.
#[inline(always)]
pub(crate) fn forward(frame: &Frame) -> Step {
    let Some(scratch) = maps::scratch() else {
        return Step::Drop(DropReason::Internal);
    };
    let sent = match scratch.packet.family {
        Family::Ipv4 => go_on::<V4>(frame, scratch),
        Family::Ipv6 => go_on::<V6>(frame, scratch),
    };
    sent.unwrap_or_else(Step::Drop)
}

/// What a server's answer becomes, by its session, which is noted; none if it has none.
#[inline(always)]
pub(crate) fn answer<I: Ip>(frame: &Frame, headers: &Headers<I>) -> Option<Rewritten<I>> {
    let held = session::of_exact_server(maps::settings()?, &headers.ends())?;
    let said = session::said(frame, headers);
    if !held.note(session::now(), |state| state.after_server(said)) {
        return None;
    }
    let (_, vip) = held.ends::<I>()?;
    Some(Rewritten {
        source: vip,
        destination: headers.destination,
        ports: held.fields().client_ports().rotate_left(16),
    })
}

#[inline(always)]
fn go_on<I: Ip>(frame: &Frame, scratch: &mut Scratch) -> Result<Step, DropReason> {
    // Nothing is written for a packet that goes no further.
    if !fit::may_hop(scratch) {
        return Ok(Step::Next(NextProgram::TooBig));
    }
    let headers = Headers::<I>::with_ports(frame, &scratch.packet)?;
    let settings = maps::settings().ok_or(DropReason::Internal)?;
    let ends = headers.ends();
    let Some(held) = session::of_any_client(settings, &ends, session::place(settings, &ends))
    else {
        return Ok(Step::Next(NextProgram::ExactAdmit));
    };
    let state = held.life.state();
    let is_new = scratch.packet.is_syn && state.is_closing();
    let stays = !is_new || u32::from(held.fields().backend) == scratch.server;
    if let Some(backend) = server_of::<I>(&held)
        && stays
    {
        if !fit::has_room(frame, scratch, backend) {
            return Ok(Step::Next(NextProgram::TooBig));
        }
        let said = session::said(frame, &headers);
        let after = |state: SessionState| {
            if is_new {
                SessionState::OPENING.after_client(said)
            } else {
                state.after_client(said)
            }
        };
        if !held.note(session::now(), after) {
            return Ok(Step::Next(NextProgram::ExactForward));
        }
        return send(frame, scratch, &headers, &held, backend);
    }
    release(held.index, held.life);
    Ok(Step::Next(NextProgram::ExactAdmit))
}

/// The server that a session's flow stays on: none if that is no more, or if the session is full NAT's.
#[inline(always)]
fn server_of<I: Ip>(held: &Held) -> Option<&'static Backend> {
    let session = held.fields();
    let backend = maps::backend(session.backend.into())?;
    let keeps = backend.keeps_flows_of(session.pool.into()) && I::server(backend).is_some();
    (session.is_dnat() && keeps).then_some(backend)
}

/// Sends the packet the way that its session says, and has its other fragments follow.
#[inline(always)]
fn send<I: Ip>(
    frame: &Frame,
    scratch: &mut Scratch,
    headers: &Headers<I>,
    held: &Held,
    backend: &Backend,
) -> Result<Step, DropReason> {
    let session = held.fields();
    scratch.service.backend_port_be = session.server_port_be;
    let exit = dnat::forward::<I>(frame, headers, &scratch.service, backend)?;
    let server = session.backend.into();
    maps::count_traffic(session.service.into(), server, headers.length);
    scratch.server = server;
    fragments::lead_to_server(scratch);
    Ok(Step::Leave(exit))
}
