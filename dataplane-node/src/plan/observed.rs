use std::collections::{BTreeMap, BTreeSet};

use lbfabric_abi::{
    Address, Backend, Endpoint, Guard, PoolRing, QuicServer, Reverse, RingSlot, Settings,
    VipPrefix, VipService,
};
use lbfabric_model::{BackendId, PoolId, ServiceId};

use super::op::{MapOp, PrefixKey, SourceKey};

/// What stands in the maps, as far as the agent wrote it or read it back: all but the slots of the rings, of which there may
/// be many millions. See [`Rings`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Observed {
    pub(crate) settings: Option<Settings>,
    /// Words of the address filter that are not zero, by index.
    pub(crate) filter: BTreeMap<u32, u64>,
    pub(crate) backends: BTreeMap<BackendId, Backend>,
    pub(crate) pools: BTreeMap<PoolId, PoolRing>,
    pub(crate) reverse_ports: BTreeMap<Endpoint, Reverse>,
    pub(crate) reverse_ranges: BTreeMap<PrefixKey, Reverse>,
    pub(crate) vip_ports: BTreeMap<Endpoint, VipService>,
    pub(crate) vip_ranges: BTreeMap<PrefixKey, VipService>,
    /// VIPs with their flags.
    pub(crate) vip_prefixes: BTreeMap<VipPrefix, u32>,
    pub(crate) vip_addresses: BTreeMap<Address, u32>,
    pub(crate) quic_servers: BTreeMap<QuicServer, BackendId>,
    pub(crate) source_rules: BTreeMap<SourceKey, u32>,
    pub(crate) guards: BTreeMap<ServiceId, Guard>,
    /// Slots of the flat array.
    pub(crate) ring_capacity: u32,
    /// Buckets of the flow table.
    pub(crate) flow_buckets: u32,
    /// Lines of `SESSION_TAGS`: a power of two.
    pub(crate) session_lines: u32,
}

/// The rings' slots, where they lie.
pub(crate) trait Rings {
    /// What the slot at an index of the flat array holds. It is part of a pool's ring, and below the capacity.
    fn slot(&self, index: u32) -> RingSlot;
}

impl Observed {
    /// Maps with nothing in them.
    pub(crate) fn empty(ring_capacity: u32, flow_buckets: u32, session_lines: u32) -> Self {
        Self {
            ring_capacity,
            flow_buckets,
            session_lines,
            ..Self::default()
        }
    }

    /// Selects a bucket of the flow table: their number, or the largest power of two below, less one.
    pub(crate) fn flow_mask(&self) -> u32 {
        self.flow_buckets
            .checked_ilog2()
            .map_or(0, |bits| (1 << bits) - 1)
    }

    /// The servers whose flows count.
    pub(crate) fn alive(&self) -> BTreeSet<BackendId> {
        let alive = self.backends.iter().filter(|(_, entry)| entry.is_alive());
        alive.map(|(id, _)| *id).collect()
    }

    /// Whether the flat array has all of a ring's slots.
    pub(crate) fn has_room_for(&self, ring: PoolRing) -> bool {
        let end = ring.start.checked_add(ring.slots);
        end.is_some_and(|end| end <= self.ring_capacity)
    }

    /// Every stretch of the flat array that a pool holds or a VIP entry points to.
    pub(crate) fn occupied(&self) -> impl Iterator<Item = PoolRing> + '_ {
        let entries = self.vip_ports.values().chain(self.vip_ranges.values());
        self.pools
            .values()
            .copied()
            .chain(entries.map(|entry| PoolRing {
                start: entry.ring_start,
                slots: entry.ring_slots,
            }))
    }

    /// Takes over a write that has succeeded.
    pub(crate) fn apply(&mut self, op: &MapOp) {
        match *op {
            MapOp::PutSettings(ref settings) => self.settings = Some(**settings),
            MapOp::PutFilterWord(index, 0) => {
                self.filter.remove(&index);
            }
            MapOp::PutFilterWord(index, word) => {
                self.filter.insert(index, word);
            }
            MapOp::PutBackend(id, backend) => {
                self.backends.insert(id, backend);
            }
            MapOp::PutPool(id, ring) => {
                self.pools.insert(id, ring);
            }
            MapOp::PutRing(..) | MapOp::PutSlots(_) => {}
            MapOp::PutReversePort(key, value) => {
                self.reverse_ports.insert(key, value);
            }
            MapOp::PutReverseRange(key, value) => {
                self.reverse_ranges.insert(key, value);
            }
            MapOp::PutVipPort(key, value) => {
                self.vip_ports.insert(key, value);
            }
            MapOp::PutVipRange(key, value) => {
                self.vip_ranges.insert(key, value);
            }
            MapOp::PutVipAddress(address, flags) => {
                self.vip_addresses.insert(address, flags);
            }
            MapOp::PutVipPrefix(prefix, flags) => {
                self.vip_prefixes.insert(prefix, flags);
            }
            MapOp::PutQuicServer(key, id) => {
                self.quic_servers.insert(key, id);
            }
            MapOp::PutSourceRule(key, rule) => {
                self.source_rules.insert(key, rule);
            }
            MapOp::PutGuard(id, guard) => {
                self.guards.insert(id, guard);
            }
            MapOp::RemoveVipPrefix(prefix) => {
                self.vip_prefixes.remove(&prefix);
            }
            MapOp::RemoveQuicServer(key) => {
                self.quic_servers.remove(&key);
            }
            MapOp::RemoveSourceRule(key) => {
                self.source_rules.remove(&key);
            }
            MapOp::RemoveGuard(id) => {
                self.guards.remove(&id);
            }
            MapOp::RemoveVipPort(key) => {
                self.vip_ports.remove(&key);
            }
            MapOp::RemoveVipRange(key) => {
                self.vip_ranges.remove(&key);
            }
            MapOp::RemoveVipAddress(address) => {
                self.vip_addresses.remove(&address);
            }
            MapOp::RemoveReversePort(key) => {
                self.reverse_ports.remove(&key);
            }
            MapOp::RemoveReverseRange(key) => {
                self.reverse_ranges.remove(&key);
            }
            MapOp::RemovePool(id) => {
                self.pools.remove(&id);
            }
            MapOp::ClearBackend(id) => {
                self.backends.remove(&id);
            }
        }
    }
}
