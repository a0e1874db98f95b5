//! Full NAT's sessions: `session.rs` of the eBPF side.

use lbfabric_abi::{Flow, Session, SessionPlace, SessionRecord, session_of_end};

use super::{
    lookup::Lookup,
    way::{Question, sources},
};
use crate::maps::ReadMapError;

/// The session of a client's packet.
pub(super) fn of_client<M: Lookup>(
    question: &Question<'_, M>,
) -> Result<Option<Session>, ReadMapError> {
    let (settings, flow) = (&question.settings, &question.packet.flow);
    let place = SessionPlace::of(flow.hash(&settings.flow_key));
    let mask = settings.session_mask;
    for line in [place.first(mask), place.second(mask)] {
        let words = question.maps.session_tags(line)?.unwrap_or_default().words;
        let mut words = words.iter();
        if let Some(word) = words.find(|it| (it.0 ^ place.tag) >> 24 == 0) {
            let session = question.maps.session(word.session())?;
            let record = question.maps.session_record(word.session())?;
            let is_clients = |it: &Session| is_clients(it, record.unwrap_or_default(), question);
            return Ok(session.filter(is_clients));
        }
    }
    Ok(None)
}

/// The session of a packet from a server to the node.
pub(super) fn of_server<M: Lookup>(
    question: &Question<'_, M>,
) -> Result<Option<(Session, SessionRecord)>, ReadMapError> {
    let (settings, flow) = (&question.settings, &question.packet.flow);
    let end = Flow {
        destination: flow.source,
        destination_port_be: [0; 2],
        ..*flow
    };
    let sources = sources(settings, !question.packet.is_ipv6);
    let Some(source) = sources.iter().position(|it| *it == flow.destination) else {
        return Ok(None);
    };
    let index = session_of_end(
        end.hash(&settings.flow_key),
        u32::try_from(source).unwrap_or(u32::MAX),
        u16::from_be_bytes(flow.destination_port_be),
        settings.sessions_mask(),
    );
    let (Some(session), Some(record)) = (
        question.maps.session(index)?,
        question.maps.session_record(index)?,
    ) else {
        return Ok(None);
    };
    let server = question.maps.backend(session.backend.into())?;
    let address = server.and_then(|it| {
        if question.packet.is_ipv6 {
            it.address6()
        } else {
            it.address4()
        }
    });
    let is_servers = address == Some(flow.source)
        && session.server_port_be == flow.source_port_be
        && session.node_port_be == flow.destination_port_be
        && session.node_check == Session::check_of(flow.destination.fold())
        && is_of(&session, question);
    Ok(is_servers.then_some((session, record)))
}

/// Whether the node still has the address that it sends a session's packets from.
pub(super) fn has_node<M>(session: &Session, question: &Question<'_, M>) -> bool {
    let sources = sources(&question.settings, !question.packet.is_ipv6);
    let node = sources.get(session.source());
    node.is_some_and(|it| Session::check_of(it.fold()) == session.node_check)
}

fn is_clients<M>(session: &Session, record: SessionRecord, question: &Question<'_, M>) -> bool {
    let flow = &question.packet.flow;
    record.client == flow.source
        && record.vip == flow.destination
        && session.client_port_be == flow.source_port_be
        && session.vip_port_be == flow.destination_port_be
        && is_of(session, question)
}

fn is_of<M>(session: &Session, question: &Question<'_, M>) -> bool {
    session.protocol() == question.packet.flow.protocol
        && (session.origin & Session::IPV6 != 0) == question.packet.is_ipv6
        && session.life.state().is_open()
}
