//! Sessions: `session.rs` of the eBPF side.

use lbfabric_abi::{Address, Flow, Session, SessionPlace, SessionRecord, session_of_end};

use super::{
    lookup::Lookup,
    told::Packet,
    way::{Question, sources},
};
use crate::maps::ReadMapError;

/// The session of a client's packet, of destination NAT or of full NAT.
pub(super) fn of_client<M: Lookup>(
    question: &Question<'_, M>,
    is_dnat: bool,
) -> Result<Option<Session>, ReadMapError> {
    let flow = &question.packet.flow;
    let found = listed(question, flow)?;
    let its = found.filter(|(session, record)| {
        is_clients(session, record, flow) && is_of(session, question, is_dnat)
    });
    Ok(its.map(|(session, _)| session))
}

/// Destination NAT's session of a server's packet to a client.
pub(super) fn of_exact_server<M: Lookup>(
    question: &Question<'_, M>,
    answer: &Flow,
) -> Result<Option<(Session, SessionRecord)>, ReadMapError> {
    let Some((session, record)) = listed(question, answer)? else {
        return Ok(None);
    };
    let is_its = record.client == answer.destination
        && session.client_port_be == answer.destination_port_be
        && session.server_port_be == answer.source_port_be
        && is_of(&session, question, true)
        && server(question, &session)? == Some(answer.source);
    Ok(is_its.then_some((session, record)))
}

/// The session that a flow's word leads to.
fn listed<M: Lookup>(
    question: &Question<'_, M>,
    flow: &Flow,
) -> Result<Option<(Session, SessionRecord)>, ReadMapError> {
    let settings = &question.settings;
    let place = SessionPlace::of(flow.hash(&settings.flow_key));
    let mask = settings.session_mask;
    for line in [place.first(mask), place.second(mask)] {
        let words = question.maps.session_tags(line)?.unwrap_or_default().words;
        let mut words = words.iter();
        if let Some(word) = words.find(|it| (it.0 ^ place.tag) >> 24 == 0) {
            return at(question, word.session());
        }
    }
    Ok(None)
}

/// The session with an index.
fn at<M: Lookup>(
    question: &Question<'_, M>,
    index: u32,
) -> Result<Option<(Session, SessionRecord)>, ReadMapError> {
    let session = question.maps.session(index)?;
    Ok(session.zip(question.maps.session_record(index)?))
}

/// The address of a session's server.
fn server<M: Lookup>(
    question: &Question<'_, M>,
    session: &Session,
) -> Result<Option<Address>, ReadMapError> {
    let server = question.maps.backend(session.backend.into())?;
    Ok(server.and_then(|it| {
        if question.packet.is_ipv6 {
            it.address6()
        } else {
            it.address4()
        }
    }))
}

/// Full NAT's session of a packet from a server to the node.
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
    let Some((session, record)) = at(question, index)? else {
        return Ok(None);
    };
    let is_servers = server(question, &session)? == Some(flow.source)
        && session.server_port_be == flow.source_port_be
        && session.node_port_be == flow.destination_port_be
        && session.node_check == Session::check_of(flow.destination.fold())
        && is_of(&session, question, false);
    Ok(is_servers.then_some((session, record)))
}

/// Whether the node still has the address that it sends a session's packets from.
pub(super) fn has_node<M>(session: &Session, question: &Question<'_, M>) -> bool {
    let sources = sources(&question.settings, !question.packet.is_ipv6);
    let node = sources.get(session.source());
    node.is_some_and(|it| Session::check_of(it.fold()) == session.node_check)
}

fn is_clients(session: &Session, record: &SessionRecord, flow: &Flow) -> bool {
    record.client == flow.source
        && record.vip == flow.destination
        && session.client_port_be == flow.source_port_be
        && session.vip_port_be == flow.destination_port_be
}

fn is_of<M>(session: &Session, question: &Question<'_, M>, is_dnat: bool) -> bool {
    let Packet { flow, is_ipv6, .. } = &question.packet;
    session.protocol() == flow.protocol
        && (session.origin & Session::IPV6 != 0) == *is_ipv6
        && session.is_dnat() == is_dnat
        && session.life.state().is_open()
}
