//! The pure core: from what the controller wants and what the node sees, to the map writes that are missing.
//!
//! ```text
//! Desired ─┐
//! Health  ─┤            make before break:
//! NextHops ┼─► Target ─► settings, servers, answers' entries, rings, QUIC's servers, protection, VIP entries, VIPs,
//! Local   ─┤      │      then away with: VIP entries, VIPs, protection, QUIC's servers, answers' entries, rings, servers
//! Observed ┘──────┴────► Vec<MapOp>
//! ```

mod desired;
mod filter;
mod known;
mod life;
mod local;
mod nesting;
mod observed;
mod op;
mod pools;
mod port_prefixes;
mod protection;
mod quic;
mod ring;
mod scope;
mod service;
mod slots;
mod space;
mod standing;
mod target;
#[cfg(test)]
pub(crate) mod tests;
mod way;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Instant;

use lbfabric_abi::FlowKey;
use lbfabric_model::{BackendId, ObjectKey, PoolId};

pub(crate) use desired::Desired;
use life::Deadlines;
pub(crate) use local::{Local, NatPorts, Sources};
pub(crate) use observed::{Observed, Rings};
pub(crate) use op::{MapOp, PrefixKey, SourceKey};
use pools::{PlacedRing, RingChange};
use ring::RingMemory;
pub(crate) use ring::{Health, HealthView, RingMembers};
use scope::{Keys, Scope};
pub(crate) use service::bits_in_maps;
use standing::Standing;
use target::Target;
pub(crate) use way::Way;

/// All that a plan depends on.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a> {
    pub(crate) desired: &'a Desired,
    pub(crate) observed: &'a Observed,
    pub(crate) rings: &'a dyn Rings,
    pub(crate) health: &'a HealthView,
    pub(crate) next_hops: &'a BTreeMap<IpAddr, Way>,
    pub(crate) local: &'a Local,
    /// Why a part of the settings cannot be followed.
    pub(crate) settings_refusal: Option<&'a str>,
    pub(crate) now: Instant,
    /// The servers that live entries of the flow table name, if the table was read since the last write to any map.
    pub(crate) in_table: Option<&'a BTreeSet<BackendId>>,
    /// The servers that live sessions name, if they were read with the flow table.
    pub(crate) in_sessions: Option<&'a BTreeSet<BackendId>>,
    /// The flow table's key, unless the maps have one already.
    pub(crate) flow_key: FlowKey,
}

/// What the planner remembers from plan to plan.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    rings: BTreeMap<PoolId, RingMemory>,
    deadlines: Deadlines,
    /// The plan before, to begin the next with.
    standing: Option<Box<Standing>>,
}

impl Memory {
    /// A write may have failed. What the slots hold is looked up in the next plan, what is known beyond that stays.
    pub(crate) fn distrust(&mut self) {
        self.standing = None;
        self.rings.values_mut().for_each(RingMemory::distrust);
    }

    /// All writes of the last plan were carried out, and nobody else writes: the next one looks only at what is new.
    pub(crate) fn trust(&mut self) {
        if let Some(standing) = &mut self.standing {
            standing.carried_out = true;
        }
    }

    /// Other inputs may be new in the next plan than what was observed, read of the flow table, and the time.
    pub(crate) fn expect_news(&mut self) {
        if let Some(standing) = &mut self.standing {
            standing.same_inputs = false;
        }
    }
}

/// What to write, in this order, and what cannot be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) ops: Vec<MapOp>,
    /// Objects that this node cannot carry; nothing of them stands in the maps after the writes.
    pub(crate) refusals: BTreeMap<ObjectKey, String>,
    /// Pools in which every server fails its check, so that all are used.
    pub(crate) panics: BTreeSet<PoolId>,
    /// Addresses of servers that left their pool and may still have flows.
    pub(crate) former: BTreeSet<IpAddr>,
    /// When another plan is due, though no input has changed.
    pub(crate) wake_at: Option<Instant>,
    /// Some slot reads the flow table, or a server that left waits for its last flow: reading the table may end it.
    pub(crate) table_in_use: bool,
}

/// The writes that lead from the observed maps to the desired ones. Carried out in order, and stopped at any point, no VIP
/// entry ever leads to a ring or a server that is not written. Space that a plan frees is given out by the next one, so
/// that a plan is final when planning again yields no writes.
pub(crate) fn plan(inputs: &Inputs<'_>, memory: &mut Memory) -> Plan {
    let mut standing = match memory.standing.take() {
        Some(standing) => standing.next(inputs, memory),
        None => Standing::build(inputs, memory, None),
    };
    let mut ops = Vec::new();
    let Standing { target, scope, .. } = &mut standing;
    make(target, inputs.observed, scope, &mut ops);
    tear_down(target, inputs.observed, scope, &mut ops);
    standing.conclude(!ops.is_empty(), memory);
    let target = &standing.target;
    let plan = Plan {
        ops,
        former: target.former_addresses(),
        wake_at: target.wakes.values().min().copied(),
        table_in_use: standing.is_table_in_use(),
        refusals: target.refusals.clone(),
        panics: target.panics.clone(),
    };
    memory.standing = Some(Box::new(standing));
    plan
}

fn make(target: &mut Target, observed: &Observed, scope: &Scope, ops: &mut Vec<MapOp>) {
    if observed.settings != Some(target.settings) {
        ops.push(MapOp::PutSettings(Box::new(target.settings)));
    }
    // The filter lets a packet through before a table knows its address, never the other way round.
    if scope.has_filter() {
        target.filter.widen(&observed.filter, ops);
    }
    changed(
        (&target.backends, &observed.backends),
        scope.of(|part| &part.backends),
        ops,
        MapOp::PutBackend,
    );
    // Before the rings: a server that joins the ring of a carried service answers at once.
    changed(
        (&target.reverse_ports, &observed.reverse_ports),
        scope.of(|part| &part.reverse_ports),
        ops,
        MapOp::PutReversePort,
    );
    changed(
        (&target.reverse_ranges, &observed.reverse_ranges),
        scope.of(|part| &part.reverse_ranges),
        ops,
        MapOp::PutReverseRange,
    );
    make_rings(target, scope, ops);
    make_protection(target, observed, scope, ops);
    changed(
        (&target.vip_ports, &observed.vip_ports),
        scope.of_vips(),
        ops,
        MapOp::PutVipPort,
    );
    changed(
        (&target.vip_ranges, &observed.vip_ranges),
        scope.of_vips(),
        ops,
        MapOp::PutVipRange,
    );
    changed(
        (&target.vip_prefixes, &observed.vip_prefixes),
        scope.of_vips(),
        ops,
        MapOp::PutVipPrefix,
    );
    changed(
        (&target.vip_addresses, &observed.vip_addresses),
        scope.of_vips(),
        ops,
        MapOp::PutVipAddress,
    );
}

/// What there is to write of rings, of which nothing is to be written then.
fn make_rings(target: &mut Target, scope: &Scope, ops: &mut Vec<MapOp>) {
    let mut make = |id: PoolId, PlacedRing { place, change, .. }: &mut PlacedRing| {
        match std::mem::replace(change, RingChange::Slots(Vec::new())) {
            // It is written in full before its place is recorded: what lies there may be anything.
            RingChange::Moved(servers) => {
                ops.push(MapOp::PutRing(*place, servers));
                ops.push(MapOp::PutPool(id, *place));
            }
            RingChange::Slots(slots) if slots.is_empty() => {}
            RingChange::Slots(slots) => ops.push(MapOp::PutSlots(slots)),
        }
    };
    match scope.of(|part| &part.pools) {
        Keys::All => target.pools.iter_mut().for_each(|(id, it)| make(*id, it)),
        Keys::These(ids) => {
            for id in ids {
                if let Some(ring) = target.pools.get_mut(id) {
                    make(*id, ring);
                }
            }
        }
        Keys::None => {}
    }
}

/// What VIP entries refer to besides rings. Who may use a service stands there before the word on all others.
fn make_protection(target: &Target, observed: &Observed, scope: &Scope, ops: &mut Vec<MapOp>) {
    changed(
        (&target.quic_servers, &observed.quic_servers),
        scope.of(|part| &part.quic_servers),
        ops,
        MapOp::PutQuicServer,
    );
    changed(
        (&target.source_rules, &observed.source_rules),
        scope.of_vips(),
        ops,
        MapOp::PutSourceRule,
    );
    changed(
        (&target.guards, &observed.guards),
        scope.of_vips(),
        ops,
        MapOp::PutGuard,
    );
}

fn tear_down(target: &Target, observed: &Observed, scope: &Scope, ops: &mut Vec<MapOp>) {
    gone(
        (&target.vip_ports, &observed.vip_ports),
        scope.of_vips(),
        ops,
        MapOp::RemoveVipPort,
    );
    gone(
        (&target.vip_ranges, &observed.vip_ranges),
        scope.of_vips(),
        ops,
        MapOp::RemoveVipRange,
    );
    gone(
        (&target.vip_prefixes, &observed.vip_prefixes),
        scope.of_vips(),
        ops,
        MapOp::RemoveVipPrefix,
    );
    gone(
        (&target.vip_addresses, &observed.vip_addresses),
        scope.of_vips(),
        ops,
        MapOp::RemoveVipAddress,
    );
    gone(
        (&target.guards, &observed.guards),
        scope.of_vips(),
        ops,
        MapOp::RemoveGuard,
    );
    gone(
        (&target.source_rules, &observed.source_rules),
        scope.of_vips(),
        ops,
        MapOp::RemoveSourceRule,
    );
    gone(
        (&target.quic_servers, &observed.quic_servers),
        scope.of(|part| &part.quic_servers),
        ops,
        MapOp::RemoveQuicServer,
    );
    gone(
        (&target.reverse_ports, &observed.reverse_ports),
        scope.of(|part| &part.reverse_ports),
        ops,
        MapOp::RemoveReversePort,
    );
    gone(
        (&target.reverse_ranges, &observed.reverse_ranges),
        scope.of(|part| &part.reverse_ranges),
        ops,
        MapOp::RemoveReverseRange,
    );
    gone(
        (&target.pools, &observed.pools),
        scope.of_vips(),
        ops,
        MapOp::RemovePool,
    );
    gone(
        (&target.backends, &observed.backends),
        scope.of(|part| &part.backends),
        ops,
        MapOp::ClearBackend,
    );
    if scope.has_filter() {
        target.filter.narrow(&observed.filter, ops);
    }
}

fn changed<K: Ord + Copy, V: PartialEq + Copy>(
    (target, observed): (&BTreeMap<K, V>, &BTreeMap<K, V>),
    keys: Keys<'_, K>,
    ops: &mut Vec<MapOp>,
    op: impl Fn(K, V) -> MapOp,
) {
    let differs = |(key, value): &(&K, &V)| observed.get(*key) != Some(*value);
    match keys {
        Keys::All => {
            let differing = target.iter().filter(differs);
            ops.extend(differing.map(|(key, value)| op(*key, *value)));
        }
        Keys::These(keys) => {
            let entries = keys.iter().filter_map(|key| target.get_key_value(key));
            let differing = entries.filter(differs);
            ops.extend(differing.map(|(key, value)| op(*key, *value)));
        }
        Keys::None => {}
    }
}

fn gone<K: Ord + Copy, T, O>(
    (target, observed): (&BTreeMap<K, T>, &BTreeMap<K, O>),
    keys: Keys<'_, K>,
    ops: &mut Vec<MapOp>,
    op: impl Fn(K) -> MapOp,
) {
    let is_gone = |key: &&K| !target.contains_key(*key);
    match keys {
        Keys::All => ops.extend(observed.keys().filter(is_gone).copied().map(op)),
        Keys::These(keys) => {
            let observed = keys.iter().filter(|key| observed.contains_key(*key));
            ops.extend(observed.filter(is_gone).copied().map(op));
        }
        Keys::None => {}
    }
}
