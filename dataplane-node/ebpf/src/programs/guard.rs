//! The program that protects services: turns away who may not use one, and new flows beyond its limits.
//!
//! ```text
//! every packet                     the longest prefix of the lists that has the client decides
//! TCP, a SYN                       a new flow, also if it is sent again
//! TCP, any other                   never counted
//! UDP, not seen for half a minute  a new flow
//! ```
//!
//! UDP flows of late stand in a table of their own, which only takes what the limits have let through. It forgets the longest
//! silent ones where it is full; such a flow counts as new again. A client's limit comes before the service's, so that one
//! client's flood does not use up what is there for all.

use lbfabric_abi::{
    DropReason, FlowEntry, FlowTick, Guard, NextProgram, RECENT_BUCKETS, Settings, SourcePrefix,
    UDP_FLOW_IDLE_SECS, VipService,
};

use super::{
    aligned::Aligned, bucket::Held, exit::Step, headers::protocol, maps, packet::Packet, tokens,
};

const IDLE_TICKS: u32 = FlowTick::idle_of_ms(UDP_FLOW_IDLE_SECS as u64 * 1000);

/// A packet that may pass goes on as it would have from `lbfabric_general`, in a program of its own: the kernel would check
/// the choice of a server once for each way here.
#[inline(always)]
pub(crate) fn check() -> Step {
    let (Some(scratch), Some(settings)) = (maps::scratch(), maps::settings()) else {
        return Step::Drop(DropReason::Internal);
    };
    match admit(&scratch.packet, &scratch.service, settings) {
        Ok(()) => Step::Next(NextProgram::Choose),
        Err(reason) => Step::Drop(reason),
    }
}

#[inline(always)]
fn admit(packet: &Packet, service: &VipService, settings: &Settings) -> Result<(), DropReason> {
    let guard = maps::guard(service.guard).ok_or(DropReason::Internal)?;
    let client = Aligned(SourcePrefix::new(service.guard, packet.flow.source));
    if maps::source_rule(&client).unwrap_or(guard.others) != SourcePrefix::ALLOWED {
        return Err(DropReason::Denied);
    }
    if !guard.flows.is_set() && !guard.source_flows.is_set() {
        return Ok(());
    }
    match packet.flow.protocol {
        protocol::TCP if packet.is_syn => {
            take(guard, service.guard, &client, settings, maps::clock())
        }
        protocol::UDP => udp(packet, guard, service.guard, &client, settings),
        _ => Ok(()),
    }
}

/// Counts a packet's flow unless it was seen of late.
#[inline(always)]
fn udp(
    packet: &Packet,
    guard: &Guard,
    id: u32,
    client: &SourcePrefix,
    settings: &Settings,
) -> Result<(), DropReason> {
    let place = packet.flow.place(&settings.flow_key);
    let bucket =
        maps::recent_bucket(place.bucket(RECENT_BUCKETS - 1)).ok_or(DropReason::Internal)?;
    let now = maps::clock();
    let tick = FlowTick::at(now);
    let same_tag = bucket.find(place.tag);
    if let Some(held) = same_tag
        && !held.entry.is_expired(tick, IDLE_TICKS)
    {
        let seen = held.entry.seen(tick, false);
        if seen != held.entry {
            // If it fails, another CPU has seen the flow as well, or has taken the place.
            held.replace(seen);
        }
        return Ok(());
    }
    take(guard, id, client, settings, now)?;
    let held: Held = match same_tag {
        Some(held) => held,
        None => bucket.cheapest(tick, IDLE_TICKS).held,
    };
    // If another CPU has just taken the place, the next packet counts once more.
    held.replace(FlowEntry::new(place.tag, 0, tick, false));
    Ok(())
}

// Not inlined: the verifier then goes on from two ends of it, not from each way through.
#[inline(never)]
fn take(
    guard: &Guard,
    id: u32,
    client: &SourcePrefix,
    settings: &Settings,
    now: u64,
) -> Result<(), DropReason> {
    if guard.source_flows.is_set()
        && !tokens::take_of_source(client, &guard.source_flows, settings, now)
    {
        return Err(DropReason::SourceLimit);
    }
    if guard.flows.is_set() && !tokens::take_of_service(id, &guard.flows, now) {
        return Err(DropReason::ServiceLimit);
    }
    Ok(())
}
