//! The pools' part of a target: rings with their evolution, and the servers' entries, also of servers that left.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use lbfabric_abi::{Backend, PoolRing, RingSlot};
use lbfabric_model::{
    BackendId, Mode, ObjectKey, ObjectKind, PoolId, Protocol, ServiceId,
    snapshot::{NodeBackend, NodePool},
};

use super::{
    Inputs, Memory, Observed, desired::Desired, ring::RingMembers, slots::SlotRules,
    space::RingSpace, target::Target, way::Way,
};

/// How long an unknown UDP flow goes to its former server: UDP has no SYN that would tell an old flow from a new one.
const UDP_HOLD: Duration = Duration::from_secs(30);

/// A ring and its place in the flat array.
#[derive(Debug)]
pub(crate) struct PlacedRing {
    pub(crate) place: PoolRing,
    /// It does not stand there yet.
    pub(crate) moved: bool,
    /// The slots that differ from what is observed.
    pub(crate) slots: Vec<(u32, RingSlot)>,
    /// Some server on it is healthy, or may be.
    pub(crate) is_served: bool,
}

/// How long established flows of a pool may be silent: as long as the most patient of its services wants.
pub(crate) fn hold_time(desired: &Desired, id: PoolId, pool: &NodePool) -> Duration {
    let hold = Duration::from_secs(pool.flow_keeping.hold_time_secs.into());
    let mut services = desired.services.values().filter(|s| s.pool == id);
    let mut protocols = services.by_ref().map(|service| service.protocol).peekable();
    if protocols.peek().is_some() && protocols.all(|protocol| protocol == Protocol::Udp) {
        hold.min(UDP_HOLD)
    } else {
        hold
    }
}

impl Target {
    pub(crate) fn place_pools(&mut self, inputs: &Inputs<'_>, memory: &mut Memory) {
        let observed = inputs.observed;
        let mut space = RingSpace::new(observed.ring_capacity, observed.occupied());
        // Servers that flows belong to in some changed slot.
        let mut bases = BTreeSet::new();
        for (id, pool) in &inputs.desired.pools {
            let kept = observed
                .pools
                .get(id)
                .filter(|ring| ring.slots == pool.slots);
            let Some(place) = kept.copied().or_else(|| space.take(pool.slots)) else {
                let key = ObjectKey {
                    kind: ObjectKind::Pool,
                    id: id.0,
                };
                self.refusals.insert(key, no_space(pool, observed, &space));
                continue;
            };
            let before = kept
                .map(|ring| observed.servers_of(*ring))
                .unwrap_or_default();
            let chosen = RingMembers::choose(pool, inputs.health, &before);
            if chosen.panic {
                self.panics.insert(*id);
            }
            self.add_backends(*id, pool, inputs, memory);
            let servers = memory.rings.ring(*id, pool, &chosen.members);
            let mut ring = PlacedRing {
                place,
                moved: kept.is_none(),
                slots: Vec::new(),
                is_served: !chosen.panic && !chosen.members.is_empty(),
            };
            if ring.moved {
                memory.slots.forget(place);
                let slots = servers.iter().map(|id| RingSlot::steady(*id));
                ring.slots = (place.start..).zip(slots).collect();
            } else {
                self.evolve((*id, pool), &servers, &mut ring, &mut bases, inputs, memory);
            }
            self.pools.insert(*id, ring);
        }
        for (id, ring) in &observed.pools {
            if self.pools.get(id).is_none_or(|placed| placed.moved) {
                memory.slots.forget(*ring);
            }
        }
        self.keep_former(&bases, inputs, memory);
    }

    fn add_backends(
        &mut self,
        id: PoolId,
        pool: &NodePool,
        inputs: &Inputs<'_>,
        memory: &mut Memory,
    ) {
        let panic = self.panics.contains(&id);
        for backend in &pool.backends {
            let observed = inputs.observed.backends.get(&backend.id);
            let life = memory.deadlines.of_member(
                (pool, backend.id),
                inputs.health,
                observed.filter(|entry| entry.pool == id.0),
                panic,
                inputs.now,
            );
            self.wake(life.ends_at);
            let mut entry = entry_of(backend, inputs.next_hops);
            entry.pool = id.0;
            entry.flags = if life.alive { Backend::ALIVE } else { 0 };
            self.backends.insert(backend.id, entry);
        }
    }

    /// Takes the slots of a ring that stands where it stood to their next state.
    fn evolve(
        &mut self,
        (id, pool): (PoolId, &NodePool),
        servers: &[u32],
        ring: &mut PlacedRing,
        bases: &mut BTreeSet<BackendId>,
        inputs: &Inputs<'_>,
        memory: &mut Memory,
    ) {
        let of_pool = |server: BackendId| {
            let entry = inputs.observed.backends.get(&server);
            entry.filter(|entry| entry.pool == id.0)
        };
        let in_table = inputs.in_table.map(|servers| {
            let of_pool = servers.iter().filter(|server| of_pool(**server).is_some());
            of_pool.map(|server| server.0).collect::<BTreeSet<u32>>()
        });
        let Memory {
            slots, deadlines, ..
        } = memory;
        let is_alive = |server: u32| {
            let server = BackendId(server);
            let wanted = self.backends.get(&server).map(Backend::is_alive);
            wanted.unwrap_or_else(|| {
                of_pool(server)
                    .is_some_and(|entry| deadlines.of_former(server, entry, inputs.now).alive)
            })
        };
        let rules = SlotRules {
            now: inputs.now,
            hold: hold_time(inputs.desired, id, pool),
            is_alive: &is_alive,
            in_table: in_table.as_ref(),
        };
        let mut settles_at: Option<Instant> = None;
        for (index, cur) in (ring.place.start..).zip(servers) {
            let Some(observed) = inputs.observed.slot(index) else {
                ring.slots.push((index, RingSlot::steady(*cur)));
                continue;
            };
            let (slot, at) = slots.next(index, observed, *cur, &rules);
            if slot != observed {
                ring.slots.push((index, slot));
            }
            if slot.is_changed() {
                bases.insert(BackendId(slot.base_id()));
            }
            settles_at = settles_at.into_iter().chain(at).min();
        }
        self.wake(settles_at);
    }

    /// Servers that left a pool keep their entry while flows may be on them: in a slot that they are the base of, or as far
    /// as the flow table is known.
    fn keep_former(
        &mut self,
        bases: &BTreeSet<BackendId>,
        inputs: &Inputs<'_>,
        memory: &mut Memory,
    ) {
        for (id, observed) in &inputs.observed.backends {
            let known = self.backends.contains_key(id);
            if known || !self.pools.contains_key(&PoolId(observed.pool)) {
                continue;
            }
            let life = memory.deadlines.of_former(*id, observed, inputs.now);
            let in_use =
                bases.contains(id) || inputs.in_table.is_none_or(|servers| servers.contains(id));
            if life.alive && in_use {
                self.wake(life.ends_at);
                let entry = refreshed(*observed, inputs.next_hops);
                self.backends.insert(*id, entry);
                self.former.insert(*id);
            }
        }
        // A dead server's deadline stays known until its entry is gone: a write that fails must not bring it back to life.
        let (backends, entries) = (&self.backends, &inputs.observed.backends);
        let has_entry = |id| backends.contains_key(&id) || entries.contains_key(&id);
        memory.deadlines.retain(has_entry);
    }

    /// Answers of servers that left are translated on, as long as their flows may live.
    pub(crate) fn keep_answers_of_former(&mut self, inputs: &Inputs<'_>) {
        let mut pools: BTreeMap<lbfabric_abi::Address, u32> = BTreeMap::new();
        for id in &self.former {
            let entry = &self.backends[id];
            let addresses = entry.address4().into_iter().chain(entry.address6());
            pools.extend(addresses.map(|address| (address, entry.pool)));
        }
        if pools.is_empty() {
            return;
        }
        let kept = |address, protocol, reverse: &lbfabric_abi::Reverse| {
            let id = ServiceId(reverse.service);
            let carried = inputs.desired.services.get(&id).filter(|service| {
                let key = ObjectKey {
                    kind: ObjectKind::Service,
                    id: id.0,
                };
                service.mode == Mode::Dnat
                    && service.protocol as u8 == protocol
                    && service.vips.contains(&IpAddr::from(reverse.vip).into())
                    && !self.refusals.contains_key(&key)
            });
            carried.is_some_and(|service| pools.get(&address) == Some(&service.pool.0))
                && self.answers_belong_to(address, protocol, id)
        };
        let observed = inputs.observed;
        let ports = observed.reverse_ports.iter();
        let ports: Vec<_> = ports
            .filter(|(key, reverse)| kept(key.address, key.protocol, reverse))
            .map(|(key, reverse)| (*key, *reverse))
            .collect();
        let ranges = observed.reverse_ranges.iter();
        let ranges: Vec<_> = ranges
            .filter(|(key, reverse)| kept(key.data.address, key.data.protocol, reverse))
            .map(|(key, reverse)| (*key, *reverse))
            .collect();
        for (key, reverse) in ports {
            self.reverse_ports.entry(key).or_insert(reverse);
        }
        for (key, reverse) in ranges {
            self.reverse_ranges.entry(key).or_insert(reverse);
        }
    }

    /// The addresses of servers that left.
    pub(crate) fn former_addresses(&self) -> BTreeSet<IpAddr> {
        let entries = self.former.iter().map(|id| &self.backends[id]);
        let addresses = entries.flat_map(|e| e.address4().into_iter().chain(e.address6()));
        addresses.map(IpAddr::from).collect()
    }

    /// Notes that a plan at this time would differ.
    fn wake(&mut self, at: Option<Instant>) {
        self.wake_at = self.wake_at.into_iter().chain(at).min();
    }
}

fn no_space(pool: &NodePool, observed: &Observed, space: &RingSpace) -> String {
    format!(
        "its ring needs {} slots in one piece, and of the node's {} slots the largest free piece has {}; start the node \
         with more --ring-slots, or lower max_backends of new pools",
        pool.slots,
        observed.ring_capacity,
        space.largest_gap()
    )
}

/// A server's entry, as yet of no pool and not alive.
fn entry_of(backend: &NodeBackend, ways: &BTreeMap<IpAddr, Way>) -> Backend {
    let way = |address: Option<IpAddr>| {
        address
            .and_then(|address| ways.get(&address).copied())
            .unwrap_or_default()
    };
    let (to4, to6) = (
        way(backend.ipv4.map(IpAddr::V4)),
        way(backend.ipv6.map(IpAddr::V6)),
    );
    Backend {
        ipv4: backend.ipv4.map_or([0; 4], |a| a.octets()),
        ipv6: backend.ipv6.map_or([0; 16], |a| a.octets()),
        hop4: to4.hop,
        hop6: to6.hop,
        mtu4: to4.mtu,
        mtu6: to6.mtu,
        ..Backend::default()
    }
}

/// The entry of a server that left, with the ways to it as they are now, where they are known.
fn refreshed(mut entry: Backend, ways: &BTreeMap<IpAddr, Way>) -> Backend {
    let known = |address: Option<lbfabric_abi::Address>| {
        address.and_then(|address| ways.get(&IpAddr::from(address)).copied())
    };
    if let Some(Way { hop, mtu }) = known(entry.address4()) {
        (entry.hop4, entry.mtu4) = (hop, mtu);
    }
    if let Some(Way { hop, mtu }) = known(entry.address6()) {
        (entry.hop6, entry.mtu6) = (hop, mtu);
    }
    entry
}
