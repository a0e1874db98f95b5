//! Whether a packet may use its service: `guard.rs` and `tokens.rs` of the eBPF side, without taking anything.

use lbfabric_abi::{
    DropReason, FlowTick, Guard, Protocol, RECENT_BUCKETS, SOURCE_TOKEN_SETS, SourcePrefix,
    UDP_FLOW_IDLE_SECS, VipService,
};

use super::{
    choice::entry_with,
    lookup::Lookup,
    told::{LimitOf, Step, Stop, Told},
    way::Question,
};
use crate::maps::ReadMapError;

const IDLE_TICKS: u32 = FlowTick::idle_of_ms(UDP_FLOW_IDLE_SECS as u64 * 1000);

pub(super) fn check<M: Lookup>(
    question: &Question<'_, M>,
    service: &VipService,
    told: &mut Told,
) -> Result<(), Stop> {
    let Some(guard) = question.maps.guard(service.guard)? else {
        return Err(DropReason::Internal.into());
    };
    let client = question.client(service.guard);
    let rule = question.maps.source_rule(&client)?;
    let is_allowed = rule.unwrap_or(guard.others) == SourcePrefix::ALLOWED;
    told.step(Step::Client {
        is_listed: rule.is_some(),
        is_allowed,
    });
    if !is_allowed {
        return Err(DropReason::Denied.into());
    }
    if !guard.flows.is_set() && !guard.source_flows.is_set() {
        return Ok(());
    }
    if !begins_flow(question)? {
        told.step(Step::NotCounted);
        return Ok(());
    }
    take(question, &guard, service.guard, &client, told)
}

/// Whether limits count the packet.
fn begins_flow<M: Lookup>(question: &Question<'_, M>) -> Result<bool, Stop> {
    const TCP: u8 = Protocol::Tcp as u8;
    const UDP: u8 = Protocol::Udp as u8;
    match question.packet.flow.protocol {
        TCP => Ok(question.packet.is_syn),
        UDP => {
            let place = question.packet.flow.place(&question.settings.flow_key);
            let index = place.bucket(RECENT_BUCKETS - 1);
            let Some(bucket) = question.maps.recent_bucket(index)? else {
                return Err(DropReason::Internal.into());
            };
            let tick = FlowTick::at(question.now);
            let held = entry_with(&bucket, place.tag);
            Ok(held.is_none_or(|entry| entry.is_expired(tick, IDLE_TICKS)))
        }
        _ => Ok(false),
    }
}

fn take<M: Lookup>(
    question: &Question<'_, M>,
    guard: &Guard,
    id: u32,
    client: &SourcePrefix,
    told: &mut Told,
) -> Result<(), Stop> {
    if guard.source_flows.is_set() {
        let limit = guard.source_flows;
        let has_room = match source_bucket(question, client)? {
            Held::Full => true,
            Held::At(full_at) => limit.take(full_at, question.now).is_some(),
            Held::Missing => false,
        };
        told.step(Step::Limit {
            of: LimitOf::Client,
            limit,
            has_room,
        });
        if !has_room {
            return Err(DropReason::SourceLimit.into());
        }
    }
    if guard.flows.is_set() {
        let limit = guard.flows;
        let bucket = question.maps.service_tokens(id)?;
        let has_room = bucket.is_some_and(|full_at| limit.take(full_at, question.now).is_some());
        told.step(Step::Limit {
            of: LimitOf::Service,
            limit,
            has_room,
        });
        if !has_room {
            return Err(DropReason::ServiceLimit.into());
        }
    }
    Ok(())
}

/// A client's token bucket.
enum Held {
    /// It has none yet: nothing was taken.
    Full,
    At(u64),
    Missing,
}

fn source_bucket<M: Lookup>(
    question: &Question<'_, M>,
    client: &SourcePrefix,
) -> Result<Held, ReadMapError> {
    let key = &question.settings.flow_key;
    let hash = key.hash6(client.address.words(), [client.guard, 0, 0, 0], 0, 0);
    let tag = hash | u64::from(hash == 0);
    #[expect(clippy::cast_possible_truncation, reason = "the lower half of a hash")]
    let set = hash as u32 & (SOURCE_TOKEN_SETS - 1);
    let Some(set) = question.maps.source_tokens(set)? else {
        return Ok(Held::Missing);
    };
    // Two CPUs that met may have made two: the program takes the last.
    let way = set.tags.iter().rposition(|held| *held == tag);
    Ok(way.map_or(Held::Full, |way| Held::At(set.full_at[way])))
}
