//! Which server a packet goes to: `ring.rs` and `affinity.rs` of the eBPF side, without writing anything.

use lbfabric_abi::{
    Backend, DropReason, FlowBucket, FlowEntry, FlowTick, Mode, OlderConnections, Protocol,
    RingSlot, Session, Verdict, VipService, slot_of,
};

use super::{
    lookup::Lookup,
    session,
    told::{Choice, Packet, Step, Stop, Told},
    way::Question,
};
use crate::maps::{ReadMapError, boot_clock};

/// The server, and the hash that has led to its slot.
pub(super) fn server<M: Lookup>(
    question: &Question<'_, M>,
    service: &VipService,
    told: &mut Told,
) -> Result<(u32, u64), Stop> {
    if service.ring_slots == 0 {
        return Err(told.stop(Step::Choice(Choice::NoRing), DropReason::NoBackend));
    }
    let key = &question.settings.ring_key;
    let hash = question.packet.flow.affinity_hash(key, service.affinity);
    let number = slot_of(hash, service.ring_slots);
    let index = service.ring_start.wrapping_add(number);
    let Some(slot) = question.maps.ring_slot(index)? else {
        return Err(DropReason::Internal.into());
    };
    told.slot = Some((number, slot));
    told.choice(Choice::Slot {
        number,
        of: service.ring_slots,
    });
    if service.flags & VipService::QUIC != 0 {
        told.choice(Choice::QuicFirst);
    }
    let mut server = if service.mode == Mode::Fullnat as u8 {
        by_session(question, slot.cur, told, false)?
    } else if slot.consult() {
        consulted(question, slot, service.pool, told)?
    } else {
        told.choice(Choice::Steady);
        slot.cur
    };
    let is_exact = service.flags & VipService::EXACT_STATE != 0;
    if server == RingSlot::NONE && !is_exact {
        return Err(told.stop(Step::Choice(Choice::NoServer), DropReason::NoBackend));
    }
    if service.mode == Mode::Dnat as u8 && is_hairpin(question, server)? {
        told.is_hairpin = true;
        told.server = Some(server);
        told.choice(Choice::Hairpin);
        server = by_session(question, server, told, false)?;
    } else if is_exact {
        server = by_session(question, server, told, true)?;
        if server == RingSlot::NONE {
            return Err(told.stop(Step::Choice(Choice::NoServer), DropReason::NoBackend));
        }
    }
    Ok((server, hash))
}

/// The server of the packet's session, of destination NAT or of full NAT, or else `otherwise`: unless the packet goes to another node.
fn by_session<M: Lookup>(
    question: &Question<'_, M>,
    otherwise: u32,
    told: &mut Told,
    is_dnat: bool,
) -> Result<u32, Stop> {
    told.session = session_for(question, otherwise, is_dnat)?;
    told.choice(match (told.session.is_some(), is_dnat) {
        (true, false) => Choice::Session,
        (true, true) => Choice::ExactSession,
        (false, false) => Choice::AtAdmission,
        (false, true) => Choice::ExactAtAdmission,
    });
    let Some(session) = told.session else {
        go_on_elsewhere(question, told)?;
        return Ok(otherwise);
    };
    Ok(session.backend.into())
}

/// A connection that has no session here may have one where the VIP was before: `predecessor.rs` of the eBPF side.
fn go_on_elsewhere<M: Lookup>(question: &Question<'_, M>, told: &mut Told) -> Result<(), Stop> {
    let Packet { flow, is_syn, .. } = &question.packet;
    if *is_syn || flow.protocol != Protocol::Tcp as u8 {
        return Ok(());
    }
    let Some((vip, lease_end)) = question.maps.leased_vip(&flow.destination)? else {
        return Ok(());
    };
    let [now, lease_end] =
        [boot_clock(), lease_end].map(|it| u64::try_from(it.as_nanos()).unwrap_or(u64::MAX));
    match vip.older_connections(now, lease_end) {
        OlderConnections::Nowhere => Ok(()),
        OlderConnections::Elsewhere => {
            told.server = None;
            Err(told.stop(Step::VipMoved, DropReason::VipMoved))
        }
        OlderConnections::At(predecessor) => {
            (told.server, told.hop) = (None, Some(*predecessor));
            Err(told.stop(Step::ToPredecessor, Verdict::ToPredecessor))
        }
    }
}

/// Whether the server would answer the client past the node.
fn is_hairpin<M: Lookup>(question: &Question<'_, M>, server: u32) -> Result<bool, ReadMapError> {
    let client = question.packet.flow.source;
    let backend = question.maps.backend(server)?;
    Ok(backend.is_some_and(|it| {
        if question.packet.is_ipv6 {
            it.is_beside6(client.halves())
        } else {
            it.is_beside4(client.words()[3])
        }
    }))
}

/// The session that the packet is sent by; none if it enters a new one, whose server is `admitted_to`.
fn session_for<M: Lookup>(
    question: &Question<'_, M>,
    admitted_to: u32,
    is_dnat: bool,
) -> Result<Option<Session>, ReadMapError> {
    let Some(session) = session::of_client(question, is_dnat)? else {
        return Ok(None);
    };
    let is_new = question.packet.is_syn && session.life.state().is_closing();
    if is_new && u32::from(session.backend) != admitted_to {
        return Ok(None);
    }
    let server = question.maps.backend(session.backend.into())?;
    let stays = server.is_some_and(|it| {
        let has_address = if question.packet.is_ipv6 {
            it.address6().is_some()
        } else {
            it.address4().is_some()
        };
        has_address && it.keeps_flows_of(session.pool.into())
    });
    let has_node = is_dnat || session::has_node(&session, question);
    Ok((stays && has_node).then_some(session))
}

/// The server of a packet in a slot that the flow table is read for.
fn consulted<M: Lookup>(
    question: &Question<'_, M>,
    slot: RingSlot,
    pool: u32,
    told: &mut Told,
) -> Result<u32, Stop> {
    let settings = &question.settings;
    let place = question.packet.flow.place(&settings.flow_key);
    let bucket = (question.maps).flow_bucket(place.bucket(settings.flow_mask))?;
    match bucket.and_then(|bucket| entry_with(&bucket, place.tag)) {
        Some(entry) => {
            told.entry = Some(entry.server());
            let now = FlowTick::at(question.now);
            let holder = question.maps.backend(entry.server())?;
            if !entry.is_expired(now, settings.flow_idle_ticks)
                && holder.is_some_and(|it| it.keeps_flows_of(pool))
            {
                told.choice(Choice::Known);
                return Ok(entry.server());
            }
            told.choice(Choice::Forgotten);
        }
        None => told.choice(Choice::Unknown),
    }
    if question.packet.is_syn && bucket.is_some() {
        told.choice(Choice::ToCurrent);
        return Ok(slot.cur);
    }
    let base = slot.base_id();
    if base != slot.cur && !is_alive(question, base)? {
        told.choice(Choice::BaseIsDead);
        return Ok(slot.cur);
    }
    told.choice(Choice::ToBase);
    Ok(base)
}

fn is_alive<M: Lookup>(question: &Question<'_, M>, server: u32) -> Result<bool, ReadMapError> {
    let backend = question.maps.backend(server)?;
    Ok(backend.as_ref().is_some_and(Backend::is_alive))
}

/// The first entry with a tag.
pub(super) fn entry_with(bucket: &FlowBucket, tag: u32) -> Option<FlowEntry> {
    let mut entries = bucket.entries.iter();
    entries.find(|entry| entry.tag() == tag).copied()
}
