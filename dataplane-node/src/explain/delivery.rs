//! How a packet goes to its server: `dnat.rs`, `fullnat.rs`, `dsr.rs` and `tunnel.rs` of the eBPF side.

use lbfabric_abi::{
    Address, Backend, DropReason, Endpoint, Flow, Mode, NextHop, Protocol, SESSION_PORT_PATIENCE,
    SessionTick, Verdict, VipService,
};

use super::{
    lookup::Lookup,
    session,
    told::{Delivery, Packet, Step, Stop, Told},
    way::{Question, sources},
};

pub(super) fn deliver<M: Lookup>(
    question: &Question<'_, M>,
    service: &VipService,
    server: u32,
    hash: u64,
    told: &mut Told,
) -> Result<Verdict, Stop> {
    const DNAT: u8 = Mode::Dnat as u8;
    const FULLNAT: u8 = Mode::Fullnat as u8;
    const DSR: u8 = Mode::Dsr as u8;
    const TUNNEL: u8 = Mode::Tunnel as u8;

    let Some(backend) = question.maps.backend(server)? else {
        return Err(DropReason::Internal.into());
    };
    let is_ipv4 = !question.packet.is_ipv6;
    let mode = if told.is_hairpin {
        FULLNAT
    } else {
        service.mode
    };
    let (delivery, hop, verdict) = match mode {
        DNAT if service.flags & VipService::EXACT_STATE != 0 => {
            let (to, hop) = admitted(question, service, &backend, told)?;
            if told.session.is_none() {
                check_clash(question, &to, told)?;
            }
            (Delivery::Dnat(to), hop, Verdict::Dnat)
        }
        DNAT => {
            let (address, hop) = reached(&backend, is_ipv4, told)?;
            let to = endpoint(question, service, address);
            (Delivery::Dnat(to), hop, Verdict::Dnat)
        }
        FULLNAT => {
            let (to, hop) = admitted(question, service, &backend, told)?;
            if told.session.is_none() && sources(&question.settings, is_ipv4).is_empty() {
                return Err(told.stop(Step::NoSource, DropReason::NoSourceAddress));
            }
            (Delivery::Fullnat(to), hop, Verdict::Fullnat)
        }
        DSR => {
            let (own, other) = if is_ipv4 {
                (backend.hop4, backend.hop6)
            } else {
                (backend.hop6, backend.hop4)
            };
            let hop = if own.is_resolved() { own } else { other };
            (Delivery::Dsr, resolved(hop, told)?, Verdict::Dsr)
        }
        TUNNEL => {
            let (delivery, hop) = wrap(question, service, &backend, hash, told)?;
            (delivery, hop, Verdict::Tunnel)
        }
        // The agent writes no other mode.
        _ => return Err(DropReason::Internal.into()),
    };
    told.hop = Some(hop);
    told.step(Step::Delivery(delivery));
    Ok(verdict)
}

/// The server's endpoint in the packet's session, or in the one that it enters, and the way there.
fn admitted<M: Lookup>(
    question: &Question<'_, M>,
    service: &VipService,
    backend: &Backend,
    told: &mut Told,
) -> Result<(Endpoint, NextHop), Stop> {
    if told.session.is_none() && !backend.keeps_flows_of(service.pool) {
        return Err(told.stop(Step::NotOfPool, DropReason::NoBackend));
    }
    let (address, hop) = reached(backend, !question.packet.is_ipv6, told)?;
    let mut to = endpoint(question, service, address);
    if let Some(session) = told.session {
        to.port_be = session.server_port_be;
    }
    Ok((to, hop))
}

/// Whether the server could tell the flow, which is new, from all others.
fn check_clash<M: Lookup>(
    question: &Question<'_, M>,
    to: &Endpoint,
    told: &mut Told,
) -> Result<(), Stop> {
    let Packet { flow, is_syn, .. } = &question.packet;
    let answer = Flow {
        source: to.address,
        destination: flow.source,
        source_port_be: to.port_be,
        destination_port_be: flow.source_port_be,
        ..*flow
    };
    let Some((other, record)) = session::of_exact_server(question, &answer)? else {
        return Ok(());
    };
    let now = SessionTick::at(question.now);
    let is_tcp = flow.protocol == Protocol::Tcp as u8;
    if *is_syn && other.life.state().is_closed()
        || other.life.is_takeable(is_tcp, now, SESSION_PORT_PATIENCE)
    {
        return Ok(());
    }
    Err(told.stop(Step::Clash(other, record), DropReason::ExactStateClash))
}

/// Through whichever tunnel the server can be reached by: the packet's own family if possible.
fn wrap<M: Lookup>(
    question: &Question<'_, M>,
    service: &VipService,
    backend: &Backend,
    hash: u64,
    told: &mut Told,
) -> Result<(Delivery, NextHop), Stop> {
    let prefers4 = !question.packet.is_ipv6 || backend.address6().is_none();
    let is_over4 = prefers4 && backend.address4().is_some();
    let (to, hop) = reached(backend, is_over4, told)?;
    let sources = sources(&question.settings, is_over4);
    let index = if service.flags & VipService::OUTER_SOURCE_FIXED == 0 {
        ((hash & 0xffff_ffff) * sources.len() as u64) >> 32
    } else {
        0
    };
    let index = usize::try_from(index).unwrap_or(usize::MAX);
    let Some(from) = sources.get(index) else {
        return Err(told.stop(Step::NoSource, DropReason::NoSourceAddress));
    };
    let delivery = Delivery::Tunnel {
        is_gue: service.flags & VipService::GUE != 0,
        from: *from,
        to,
    };
    Ok((delivery, hop))
}

/// The server's address of a family, and the way there.
fn reached(backend: &Backend, is_ipv4: bool, told: &mut Told) -> Result<(Address, NextHop), Stop> {
    let (address, hop) = if is_ipv4 {
        (backend.address4(), backend.hop4)
    } else {
        (backend.address6(), backend.hop6)
    };
    let Some(address) = address else {
        return Err(told.stop(Step::NoAddress, DropReason::NoBackendAddress));
    };
    Ok((address, resolved(hop, told)?))
}

fn resolved(hop: NextHop, told: &mut Told) -> Result<NextHop, Stop> {
    if !hop.is_resolved() {
        return Err(told.stop(Step::Unresolved, DropReason::NextHopUnresolved));
    }
    Ok(hop)
}

/// The server's endpoint: its port is the service's, or the client's choice.
fn endpoint<M>(question: &Question<'_, M>, service: &VipService, address: Address) -> Endpoint {
    let flow = &question.packet.flow;
    let port_be = if service.backend_port_be == [0; 2] {
        flow.destination_port_be
    } else {
        service.backend_port_be
    };
    Endpoint {
        address,
        port_be,
        protocol: flow.protocol,
        zero: 0,
    }
}
