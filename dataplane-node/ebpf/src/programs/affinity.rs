//! Which server a flow stays on, where its ring slot alone does not say: the flow table's rules.
//!
//! ```text
//! known to the table, its server alive        its server
//! else a SYN                                  cur,  written if base is another
//! else                                        base, written if cur is another
//! ```
//!
//! So a flow that the table does not know is on base, and a flow that the table cannot take is put there.

use lbfabric_abi::{Backend, Flow, FlowEntry, FlowEvent, FlowPlace, FlowTick, RingSlot, Settings};

use super::{
    bucket::{Bucket, Cheapest},
    maps,
};

/// A packet in a slot that the table is read for.
#[repr(C, align(8))]
pub(crate) struct Question {
    pub(crate) place: FlowPlace,
    pub(crate) slot: RingSlot,
    /// The pool that the server has to be of.
    pub(crate) pool: u32,
    /// It asks for a TCP connection.
    pub(crate) is_syn: bool,
    /// It may be a flow's first, and may be forged: a flood's packets are all first ones.
    pub(crate) is_first: bool,
    pub(crate) zero: [u8; 2],
}

/// The server of a packet's flow, or [`RingSlot::NONE`].
#[inline(never)]
pub(crate) fn server(question: &Question) -> u32 {
    let Question {
        place,
        slot,
        pool,
        is_syn,
        is_first,
        zero: _,
    } = *question;
    let Some(settings) = maps::settings() else {
        return unknown(slot);
    };
    let Some(bucket) = maps::flow_bucket(place.bucket(settings.flow_mask)) else {
        return unknown(slot);
    };
    let now = FlowTick::at(maps::coarse_clock());
    let same_tag = bucket.find(place.tag);
    if let Some(held) = same_tag
        && keeps(held.entry, now, settings, pool)
    {
        maps::count(FlowEvent::Hit.index());
        let seen = held.entry.seen(now, is_syn);
        if seen != held.entry {
            // If it fails, another CPU has seen the flow as well, or has taken the place: nothing is left to do.
            held.replace(seen);
        }
        return held.entry.server();
    }
    maps::count(FlowEvent::Miss.index());

    let chosen = if is_syn { slot.cur } else { unknown(slot) };
    if !slot.is_changed() || chosen == RingSlot::NONE {
        return chosen;
    }
    let new = FlowEntry::new(place.tag, chosen, now, is_first);
    let taken = match same_tag {
        // It has no claim any more, and would be found again.
        Some(held) => held.replace(new),
        None => insert(bucket, new, now, settings),
    };
    if taken {
        maps::count(FlowEvent::Insert.index());
        chosen
    } else {
        // The flow stays unknown.
        unknown(slot)
    }
}

/// The server of a flow in a slot that the table is read for, or [`RingSlot::NONE`], for what is about the flow and not of
/// it: nothing is written.
#[inline(never)]
pub(crate) fn look_up(flow: &Flow, settings: &Settings, slot: RingSlot, pool: u32) -> u32 {
    let place = flow.place(&settings.flow_key);
    let Some(bucket) = maps::flow_bucket(place.bucket(settings.flow_mask)) else {
        return unknown(slot);
    };
    let now = FlowTick::at(maps::coarse_clock());
    match bucket.find(place.tag) {
        Some(held) if keeps(held.entry, now, settings, pool) => held.entry.server(),
        _ => unknown(slot),
    }
}

/// The server of flows that the table does not know: base, unless it is dead.
#[inline(always)]
fn unknown(slot: RingSlot) -> u32 {
    let base = slot.base_id();
    if base != slot.cur && !is_alive(base) {
        return slot.cur;
    }
    base
}

/// Whether an entry decides where its flow goes.
#[inline(always)]
fn keeps(entry: FlowEntry, now: FlowTick, settings: &Settings, pool: u32) -> bool {
    !entry.is_expired(now, settings.flow_idle_ticks)
        && maps::backend(entry.server()).is_some_and(|it| it.keeps_flows_of(pool))
}

#[inline(always)]
fn is_alive(server: u32) -> bool {
    maps::backend(server).is_some_and(Backend::is_alive)
}

/// Writes an entry, in the place of the cheapest one; false if another CPU has just taken that.
#[inline(always)]
fn insert(bucket: Bucket, new: FlowEntry, now: FlowTick, settings: &Settings) -> bool {
    let Cheapest { held, is_live } = bucket.cheapest(now, settings.flow_idle_ticks);
    let taken = held.replace(new);
    if taken && is_live {
        maps::count(FlowEvent::EvictLive.index());
    }
    taken
}
