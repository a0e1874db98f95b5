//! The pure core: from what the controller wants and what the node sees, to the map writes that are missing.
//!
//! ```text
//! Desired ─┐
//! Health  ─┤            make before break:
//! NextHops ┼─► Target ─► settings, servers, answers' entries, rings, VIP entries, VIP addresses,
//! Local   ─┤      │      then away with: VIP entries, VIP addresses, answers' entries, rings, servers
//! Observed ┘──────┴────► Vec<MapOp>
//! ```

mod desired;
mod local;
mod observed;
mod op;
mod port_prefixes;
mod ring;
mod service;
mod space;
mod target;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use lbfabric_abi::{NextHop, RingSlot};
use lbfabric_model::{ObjectKey, PoolId};

pub(crate) use desired::Desired;
pub(crate) use local::{Local, NatPorts, Sources};
pub(crate) use observed::Observed;
pub(crate) use op::{MapOp, PrefixKey};
pub(crate) use ring::{Health, HealthView, RingMemo};
use target::Target;

/// All that a plan depends on.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a> {
    pub(crate) desired: &'a Desired,
    pub(crate) observed: &'a Observed,
    pub(crate) health: &'a HealthView,
    pub(crate) next_hops: &'a BTreeMap<IpAddr, NextHop>,
    pub(crate) local: &'a Local,
    /// Why a part of the settings cannot be followed.
    pub(crate) settings_refusal: Option<&'a str>,
}

/// What to write, in this order, and what cannot be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) ops: Vec<MapOp>,
    /// Objects that this node cannot carry; nothing of them stands in the maps after the writes.
    pub(crate) refusals: BTreeMap<ObjectKey, String>,
    /// Pools in which every server fails its check, so that all are used.
    pub(crate) panics: BTreeSet<PoolId>,
}

/// The writes that lead from the observed maps to the desired ones. Carried out in order, and stopped at any point, no VIP
/// entry ever leads to a ring or a server that is not written. Space that a plan frees is given out by the next one, so
/// that a plan is final when planning again yields no writes.
pub(crate) fn plan(inputs: &Inputs<'_>, memo: &mut RingMemo) -> Plan {
    let target = Target::build(inputs, memo);
    let mut ops = Vec::new();
    make(&target, inputs.observed, &mut ops);
    tear_down(&target, inputs.observed, &mut ops);
    Plan {
        ops,
        refusals: target.refusals,
        panics: target.panics,
    }
}

fn make(target: &Target, observed: &Observed, ops: &mut Vec<MapOp>) {
    if observed.settings != Some(target.settings) {
        ops.push(MapOp::PutSettings(target.settings));
    }
    changed(&target.backends, &observed.backends, ops, MapOp::PutBackend);
    // Before the rings: a server that joins the ring of a carried service answers at once.
    changed(
        &target.reverse_ports,
        &observed.reverse_ports,
        ops,
        MapOp::PutReversePort,
    );
    changed(
        &target.reverse_ranges,
        &observed.reverse_ranges,
        ops,
        MapOp::PutReverseRange,
    );
    for (id, ring) in &target.pools {
        let moved = observed.pools.get(id) != Some(&ring.place);
        for (index, server) in (ring.place.start..).zip(ring.servers.iter()) {
            let slot = RingSlot::steady(*server);
            // A ring that moves is written in full before its place is recorded: what lies there may be anything.
            if moved || observed.slot(index) != Some(slot) {
                ops.push(MapOp::PutSlot(index, slot));
            }
        }
        if moved {
            ops.push(MapOp::PutPool(*id, ring.place));
        }
    }
    changed(
        &target.vip_ports,
        &observed.vip_ports,
        ops,
        MapOp::PutVipPort,
    );
    changed(
        &target.vip_ranges,
        &observed.vip_ranges,
        ops,
        MapOp::PutVipRange,
    );
    let new = target.vip_addresses.difference(&observed.vip_addresses);
    ops.extend(new.copied().map(MapOp::PutVipAddress));
}

fn tear_down(target: &Target, observed: &Observed, ops: &mut Vec<MapOp>) {
    gone(
        &target.vip_ports,
        &observed.vip_ports,
        ops,
        MapOp::RemoveVipPort,
    );
    gone(
        &target.vip_ranges,
        &observed.vip_ranges,
        ops,
        MapOp::RemoveVipRange,
    );
    let old = observed.vip_addresses.difference(&target.vip_addresses);
    ops.extend(old.copied().map(MapOp::RemoveVipAddress));
    gone(
        &target.reverse_ports,
        &observed.reverse_ports,
        ops,
        MapOp::RemoveReversePort,
    );
    gone(
        &target.reverse_ranges,
        &observed.reverse_ranges,
        ops,
        MapOp::RemoveReverseRange,
    );
    gone(&target.pools, &observed.pools, ops, MapOp::RemovePool);
    gone(
        &target.backends,
        &observed.backends,
        ops,
        MapOp::ClearBackend,
    );
}

fn changed<K: Ord + Copy, V: PartialEq + Copy>(
    target: &BTreeMap<K, V>,
    observed: &BTreeMap<K, V>,
    ops: &mut Vec<MapOp>,
    op: impl Fn(K, V) -> MapOp,
) {
    let differing = target
        .iter()
        .filter(|(key, value)| observed.get(*key) != Some(*value));
    ops.extend(differing.map(|(key, value)| op(*key, *value)));
}

fn gone<K: Ord + Copy, T, O>(
    target: &BTreeMap<K, T>,
    observed: &BTreeMap<K, O>,
    ops: &mut Vec<MapOp>,
    op: impl Fn(K) -> MapOp,
) {
    let old = observed.keys().filter(|key| !target.contains_key(*key));
    ops.extend(old.copied().map(op));
}
