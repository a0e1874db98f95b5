//! Full NAT: towards the server the node takes the client's place, and the server the VIP's. Each flow has a session with
//! the state of both directions:
//!
//! ```text
//! C:c -> V:v   ─┐                    ┌─►  L:l -> S:s     what the client sends
//!               ├──►  Session  ──────┤
//! S:s -> L:l   ─┘                    └─►  V:v -> C:c     what the server answers
//! ```
//!
//! Where a session lies says which end of the node it has: no two flows ever have the same.

use lbfabric_abi::{Backend, DropReason, NextProgram, SessionState, Settings, Verdict};

use super::{
    admit,
    bytes::load2,
    dnat,
    exit::{Exit, Step},
    fit, fragments,
    frame::Frame,
    headers::{ETHERNET, Headers},
    ip::Ip,
    maps,
    packet::{Family, Scratch},
    predecessor,
    rewrite::{self, Rewritten},
    route,
    session::{self, Held},
    v4::V4,
    v6::V6,
};

const GENERAL: Step = Step::Next(NextProgram::General);

/// Sends a server's plain packet to its client; all else is left to `lbfabric_general`.
#[inline(always)]
pub(crate) fn answer_plain(frame: &Frame) -> Step {
    let sent = match ethertype(frame) {
        Some(V4::ETHERTYPE) => give_back_plain::<V4>(frame),
        Some(V6::ETHERTYPE) => give_back_plain::<V6>(frame),
        _ => None,
    };
    sent.map_or(GENERAL, Step::from)
}

/// Sends a client's packet, whatever its shape, and enters a flow that has no session.
#[inline(always)]
pub(crate) fn forward(frame: &Frame) -> Step {
    let Some(scratch) = maps::scratch() else {
        return Step::Drop(DropReason::Internal);
    };
    let sent = match scratch.packet.family {
        Family::Ipv4 => enter::<V4>(frame, scratch),
        Family::Ipv6 => enter::<V6>(frame, scratch),
    };
    sent.unwrap_or_else(Step::Drop)
}

/// Enters the flow of a client's packet, which `forward` has found to have no session, and sends the packet; one of an older flow than
/// the node has its VIP goes to whoever had it.
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

/// Sends a server's packet, whatever its shape, to its client.
#[inline(always)]
pub(crate) fn answer(frame: &Frame) -> Result<Exit, DropReason> {
    let scratch = maps::scratch().ok_or(DropReason::Internal)?;
    let sent = match scratch.packet.family {
        Family::Ipv4 => give_back_any::<V4>(frame, scratch)?,
        Family::Ipv6 => give_back_any::<V6>(frame, scratch)?,
    };
    let is_of_vip = scratch.otherwise == Verdict::PassNotServed as u32;
    Ok(sent.unwrap_or_else(|| {
        Exit::pass(if is_of_vip {
            Verdict::PassNotServed
        } else {
            Verdict::PassNotVip
        })
    }))
}

#[inline(always)]
fn ethertype(frame: &Frame) -> Option<u64> {
    let start = frame.start();
    // SAFETY: the header is in the frame.
    frame
        .reaches(start + ETHERNET)
        .then(|| unsafe { load2::<12>(start) })
}

/// Sends a client's plain packet of a flow that goes on; none for all else, which is left as it is.
#[inline(always)]
pub(crate) fn go_on<I: Ip>(frame: &Frame, headers: &Headers<I>) -> Option<Exit> {
    let said = session::said(frame, headers);
    if said.is_syn() {
        // It may begin another connection.
        return None;
    }
    headers.check_ttl().ok()?;
    let settings = maps::settings()?;
    let ends = headers.ends();
    let held = session::of_client(settings, &ends, session::place(settings, &ends))?;
    let way = Way::of(settings, &held)?;
    if !fit::fits(headers.length, I::mtu(way.backend)) {
        return None;
    }
    if !held.note(session::now(), |state| state.after_client(said)) {
        return None;
    }
    send(frame, headers, &held, &way).ok()
}

#[inline(always)]
fn enter<I: Ip>(frame: &Frame, scratch: &mut Scratch) -> Result<Step, DropReason> {
    // Nothing is written for a packet that goes no further.
    if !fit::may_hop(scratch) {
        return Ok(Step::Next(NextProgram::TooBig));
    }
    let headers = Headers::<I>::with_ports(frame, &scratch.packet)?;
    let settings = maps::settings().ok_or(DropReason::Internal)?;
    let ends = headers.ends();
    let place = session::place(settings, &ends);
    let said = session::said(frame, &headers);
    let now = session::now();
    let first = SessionState::OPENING.after_client(said);
    if let Some(held) = session::of_any_client(settings, &ends, place) {
        let is_new = scratch.packet.is_syn && held.life.state().is_closing();
        let stays = !is_new || u32::from(held.fields().backend) == scratch.server;
        // Destination NAT's gives way: the service, or the client's subnet, was another one.
        if !held.fields().is_dnat()
            && let Some(way) = Way::of(settings, &held)
            && stays
        {
            if !fit::has_room(frame, scratch, way.backend) {
                return Ok(Step::Next(NextProgram::TooBig));
            }
            let after = |state: SessionState| {
                if is_new {
                    first
                } else {
                    state.after_client(said)
                }
            };
            if !held.note(now, after) {
                return Ok(Step::Next(NextProgram::FullnatForward));
            }
            let exit = send(frame, &headers, &held, &way)?;
            lead(scratch, &held, &way);
            return Ok(Step::Leave(exit));
        }
        admit::release(held.index, held.life);
    }
    if admit::tags(settings, place) != 0 {
        // Another flow with the same tag, or one that is being entered just now.
        return Err(DropReason::NatTableFull);
    }
    Ok(Step::Next(NextProgram::FullnatAdmit))
}

#[inline(always)]
fn begin<I: Ip>(frame: &Frame, scratch: &mut Scratch) -> Result<Step, DropReason> {
    let headers = Headers::<I>::with_ports(frame, &scratch.packet)?;
    let settings = maps::settings().ok_or(DropReason::Internal)?;
    if let Some(backend) = maps::backend(scratch.server)
        && !fit::has_room(frame, scratch, backend)
    {
        return Ok(Step::Next(NextProgram::TooBig));
    }
    let place = session::place(settings, &headers.ends());
    let now = session::now();
    let held = admit::admit::<I>(settings, scratch, &headers, place, now)?;
    let first = SessionState::OPENING.after_client(session::said(frame, &headers));
    if !admit::finish(settings, &held, place, None, held.life.with(first, now)) {
        return Ok(Step::Next(NextProgram::FullnatForward));
    }
    let way = Way::of(settings, &held).ok_or(DropReason::Internal)?;
    let exit = send(frame, &headers, &held, &way)?;
    lead(scratch, &held, &way);
    Ok(Step::Leave(exit))
}

/// Has the packet's other fragments follow it.
#[inline(always)]
fn lead<I: Ip>(scratch: &mut Scratch, held: &Held, way: &Way<I>) {
    let server = held.fields().backend.into();
    fragments::lead_through_node(scratch, server, I::to_abi(way.node));
}

/// Where a session's packets come from and go to.
struct Way<I: Ip> {
    node: I::Address,
    backend: &'static Backend,
}

impl<I: Ip> Way<I> {
    /// None if the session's server or its address of the node is no more.
    #[inline(always)]
    fn of(settings: &Settings, held: &Held) -> Option<Self> {
        let session = held.fields();
        let backend = maps::backend(session.backend.into())?;
        if !backend.keeps_flows_of(session.pool.into()) || I::server(backend).is_none() {
            return None;
        }
        let node = held.node::<I>(settings)?;
        Some(Self { node, backend })
    }
}

#[inline(always)]
fn send<I: Ip>(
    frame: &Frame,
    headers: &Headers<I>,
    held: &Held,
    way: &Way<I>,
) -> Result<Exit, DropReason> {
    let session = held.fields();
    let (server, hop) = dnat::server::<I>(way.backend)?;
    let new = Rewritten {
        source: way.node,
        destination: server,
        ports: session.server_ports(),
    };
    rewrite::flow(frame, headers, &new, 1)?;
    rewrite::link(frame, hop)?;
    maps::count_traffic(
        session.service.into(),
        session.backend.into(),
        headers.length,
    );
    Ok(Exit::send(
        Verdict::Fullnat,
        hop.ifindex,
        frame.ingress_ifindex(),
    ))
}

#[inline(always)]
fn give_back_plain<I: Ip>(frame: &Frame) -> Option<Result<Exit, DropReason>> {
    let headers = Headers::<I>::plain(frame)?;
    if headers.is_syn_ack() {
        // Its MSS option may have to be looked at.
        return None;
    }
    let held = answered(frame, &headers)?;
    Some(give_back(frame, &headers, &held))
}

/// None if the packet is of no session.
#[inline(always)]
fn give_back_any<I: Ip>(frame: &Frame, scratch: &mut Scratch) -> Result<Option<Exit>, DropReason> {
    let headers = Headers::<I>::with_ports(frame, &scratch.packet)?;
    let Some(held) = answered(frame, &headers) else {
        return Ok(None);
    };
    let exit = give_back(frame, &headers, &held)?;
    let (client, vip) = held.ends::<I>().ok_or(DropReason::Internal)?;
    let (source, destination) = (I::to_abi(vip), I::to_abi(client));
    fragments::lead_to_client(scratch, Verdict::FullnatAnswer, source, destination);
    Ok(Some(exit))
}

/// The session of a server's packet, which has been noted.
#[inline(always)]
fn answered<I: Ip>(frame: &Frame, headers: &Headers<I>) -> Option<Held> {
    let held = session::of_server(maps::settings()?, &headers.ends())?;
    let said = session::said(frame, headers);
    held.note(session::now(), |state| state.after_server(said))
        .then_some(held)
}

#[inline(always)]
fn give_back<I: Ip>(frame: &Frame, headers: &Headers<I>, held: &Held) -> Result<Exit, DropReason> {
    let (client, vip) = held.ends::<I>().ok_or(DropReason::Internal)?;
    let new = Rewritten {
        source: vip,
        destination: client,
        ports: held.fields().client_ports().rotate_left(16),
    };
    route::send_known(frame, headers, &new, Verdict::FullnatAnswer)
}
