//! The pools' part of a target: rings with their evolution, and the servers' entries, also of servers that left.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lbfabric_abi::{Backend, PoolRing, Reverse, RingSlot};
use lbfabric_model::{
    BackendId, Mode, ObjectKey, ObjectKind, PoolId, Protocol, ServiceId,
    snapshot::{NodeBackend, NodePool, NodeService},
};

use super::{
    Inputs, Memory, Observed,
    desired::Desired,
    life::Deadlines,
    ring::{RingMembers, RingMemory},
    slots::{SlotMemory, SlotRules},
    space::RingSpace,
    target::Target,
    way::Way,
};

/// How long an unknown UDP flow goes to its former server: UDP has no SYN that would tell an old flow from a new one.
const UDP_HOLD: Duration = Duration::from_secs(30);

/// A ring and its place in the flat array.
#[derive(Debug)]
pub(crate) struct PlacedRing {
    pub(crate) place: PoolRing,
    pub(crate) change: RingChange,
    /// Some server on it is healthy, or may be.
    pub(crate) is_served: bool,
}

/// What there is to write of a ring.
#[derive(Debug)]
pub(crate) enum RingChange {
    /// It does not stand at its place yet: all of it, with the server of each slot.
    Moved(Arc<[u32]>),
    /// These slots; often none.
    Slots(Vec<(u32, RingSlot)>),
}

/// How long established flows of each pool may be silent.
#[derive(Debug)]
pub(crate) struct HoldTimes {
    /// Pools that only services over UDP use.
    all_udp: BTreeSet<PoolId>,
    holds: BTreeMap<PoolId, Duration>,
    longest: Duration,
}

impl HoldTimes {
    /// As long as the pool says; shorter where nothing but UDP uses it.
    pub(crate) fn of(desired: &Desired) -> Self {
        let mut all_udp: BTreeMap<PoolId, bool> = BTreeMap::new();
        for service in desired.services.values() {
            *all_udp.entry(service.pool).or_insert(true) &= service.protocol == Protocol::Udp;
        }
        let all_udp = all_udp.into_iter().filter(|(_, all)| *all);
        let mut holds = Self {
            all_udp: all_udp.map(|(id, _)| id).collect(),
            holds: BTreeMap::new(),
            longest: Duration::ZERO,
        };
        holds.set(desired.pools.iter());
        holds
    }

    /// Takes over what some pools say; the services that use them are the same.
    pub(crate) fn set<'a>(&mut self, pools: impl Iterator<Item = (&'a PoolId, &'a NodePool)>) {
        let mut is_new = false;
        for (id, pool) in pools {
            let hold = Duration::from_secs(pool.flow_keeping.hold_time_secs.into());
            let all_udp = self.all_udp.contains(id);
            let hold = if all_udp { hold.min(UDP_HOLD) } else { hold };
            is_new |= self.holds.insert(*id, hold) != Some(hold);
        }
        if is_new {
            self.longest = self.holds.values().max().copied().unwrap_or_default();
        }
    }

    /// The longest.
    pub(crate) const fn longest(&self) -> Duration {
        self.longest
    }
}

/// A pool with a place for its ring.
pub(crate) struct Placed<'a> {
    id: PoolId,
    pool: &'a NodePool,
    place: PoolRing,
    /// Its ring stands there.
    is_kept: bool,
    pub(crate) is_served: bool,
    /// Servers on its ring, as indices.
    members: Vec<usize>,
}

impl Target {
    pub(crate) fn place_pools(
        &mut self,
        inputs: &Inputs<'_>,
        memory: &mut Memory,
        holds: &HoldTimes,
    ) {
        let observed = inputs.observed;
        let mut space = None;
        let mut placed = Vec::with_capacity(inputs.desired.pools.len());
        // All servers first: which of them belong to another pool now counts for the slots of the one that they were in.
        for (id, pool) in &inputs.desired.pools {
            let kept = observed
                .pools
                .get(id)
                .filter(|ring| ring.slots == pool.slots && observed.has_room_for(**ring));
            let place = kept.copied().or_else(|| {
                let space = space.get_or_insert_with(|| {
                    RingSpace::new(observed.ring_capacity, observed.occupied())
                });
                space.take(pool.slots)
            });
            let Some(place) = place else {
                let key = ObjectKey {
                    kind: ObjectKind::Pool,
                    id: id.0,
                };
                let largest = space.as_ref().map_or(0, RingSpace::largest_gap);
                self.refusals.insert(key, no_space(pool, observed, largest));
                continue;
            };
            placed.push(self.take_servers((*id, pool), place, kept.is_some(), inputs, memory));
        }
        let bases = self.take_slots(placed, holds, inputs, memory);
        memory.rings.retain(|id, _| self.pools.contains_key(id));
        let all = inputs.observed.backends.keys().copied();
        self.keep_former(all, &bases, inputs, memory);
    }

    /// Takes the servers of a pool, and says which of them are to stand on its ring.
    pub(crate) fn take_servers<'a>(
        &mut self,
        (id, pool): (PoolId, &'a NodePool),
        place: PoolRing,
        is_kept: bool,
        inputs: &Inputs<'_>,
        memory: &mut Memory,
    ) -> Placed<'a> {
        let ring = memory.rings.entry(id).or_default();
        let chosen = RingMembers::choose(pool, inputs.health, |server| {
            is_kept && ring.servers(place, inputs.rings).contains(&server)
        });
        if chosen.panic {
            self.panics.insert(id);
        }
        self.add_backends(id, pool, inputs, &mut memory.deadlines);
        Placed {
            id,
            pool,
            place,
            is_kept,
            is_served: !chosen.panic && !chosen.members.is_empty(),
            members: chosen.members,
        }
    }

    /// Takes the slots of pools to where their servers want them. Returns the servers that flows belong to in some changed slot.
    pub(crate) fn take_slots(
        &mut self,
        placed: Vec<Placed<'_>>,
        holds: &HoldTimes,
        inputs: &Inputs<'_>,
        memory: &mut Memory,
    ) -> BTreeSet<BackendId> {
        let mut bases = BTreeSet::new();
        for it in placed {
            let Placed {
                id,
                pool,
                place,
                is_kept,
                is_served,
                members,
            } = it;
            let change = if is_kept {
                let pool = (id, pool, holds.holds[&id]);
                self.evolve(pool, place, &members, &mut bases, inputs, memory)
            } else {
                let ring = memory.rings.entry(id).or_default();
                *ring = RingMemory::default();
                RingChange::Moved(ring.follow(place, pool, &members).into())
            };
            let ring = PlacedRing {
                place,
                change,
                is_served,
            };
            self.pools.insert(id, ring);
        }
        bases
    }

    fn add_backends(
        &mut self,
        id: PoolId,
        pool: &NodePool,
        inputs: &Inputs<'_>,
        deadlines: &mut Deadlines,
    ) {
        let panic = self.panics.contains(&id);
        for backend in &pool.backends {
            let mut entry = entry_of(backend, inputs.next_hops);
            entry.pool = id.0;
            let observed = inputs.observed.backends.get(&backend.id);
            let itself = observed.filter(|observed| is_same_server(observed, &entry));
            if let (Some(other), None) = (observed, itself)
                && other.is_alive()
            {
                // The id was another server's, which this node has not been told of in between. That one is declared dead
                // first, so that its flows lose their claim and do not reach this one.
                let dead = Backend { flags: 0, ..*other };
                self.backends.insert(backend.id, dead);
                continue;
            }
            let life =
                deadlines.of_member((pool, backend.id), inputs.health, itself, panic, inputs.now);
            self.wake(id, life.ends_at);
            entry.flags = if life.alive { Backend::ALIVE } else { 0 };
            self.backends.insert(backend.id, entry);
        }
    }

    /// Takes the slots of a ring that stands where it stood to their next state: all of them if its members have changed,
    /// otherwise those that are on their way.
    fn evolve(
        &mut self,
        (id, pool, hold): (PoolId, &NodePool, Duration),
        place: PoolRing,
        members: &[usize],
        bases: &mut BTreeSet<BackendId>,
        inputs: &Inputs<'_>,
        memory: &mut Memory,
    ) -> RingChange {
        let Memory {
            rings, deadlines, ..
        } = memory;
        let ring = rings.entry(id).or_default();
        let follows = ring.follows(place, pool, members);
        if follows && ring.slots.is_empty() {
            return RingChange::Slots(Vec::new());
        }
        let of_pool = |server: BackendId| {
            let entry = inputs.observed.backends.get(&server);
            entry.filter(|entry| entry.pool == id.0)
        };
        let in_table = inputs.in_table.map(|servers| {
            let of_pool = servers.iter().filter(|server| of_pool(**server).is_some());
            of_pool.map(|server| server.0).collect::<BTreeSet<u32>>()
        });
        let is_alive = |server: u32| {
            let server = BackendId(server);
            match self.backends.get(&server) {
                Some(wanted) => wanted.keeps_flows_of(id.0),
                None => of_pool(server)
                    .is_some_and(|entry| deadlines.of_former(server, entry, inputs.now).alive),
            }
        };
        let rules = SlotRules {
            now: inputs.now,
            hold,
            is_alive: &is_alive,
            in_table: in_table.as_ref(),
        };
        let mut changes = Vec::new();
        let mut settles_at: Option<Instant> = None;
        let mut step = |slots: &mut SlotMemory, index, observed: RingSlot, cur| {
            let (slot, at) = slots.next(index, observed, cur, &rules);
            if slot != observed {
                changes.push((index, slot));
            }
            if slot.is_changed() {
                bases.insert(BackendId(slot.base_id()));
            }
            settles_at = settles_at.into_iter().chain(at).min();
        };
        if follows {
            for index in ring.slots.indices() {
                let observed = inputs.rings.slot(index);
                step(&mut ring.slots, index, observed, observed.cur);
            }
        } else {
            let servers = ring.follow(place, pool, members);
            for (index, cur) in (place.start..).zip(servers) {
                step(&mut ring.slots, index, inputs.rings.slot(index), cur);
            }
        }
        self.wake(id, settles_at);
        RingChange::Slots(changes)
    }

    /// Of servers that may have left their pool, those keep their entry that flows may be on: in a slot that they are the base of,
    /// or as far as the flow table and the sessions are known.
    pub(crate) fn keep_former(
        &mut self,
        servers: impl IntoIterator<Item = BackendId>,
        bases: &BTreeSet<BackendId>,
        inputs: &Inputs<'_>,
        memory: &mut Memory,
    ) {
        for id in servers {
            let Some(observed) = inputs.observed.backends.get(&id) else {
                continue;
            };
            let known = self.backends.contains_key(&id);
            let pool = PoolId(observed.pool);
            if known || !self.pools.contains_key(&pool) {
                continue;
            }
            let life = memory.deadlines.of_former(id, observed, inputs.now);
            let names = |servers: &BTreeSet<BackendId>| servers.contains(&id);
            let in_use = bases.contains(&id)
                || inputs.in_table.is_none_or(names)
                || inputs.in_sessions.is_none_or(names);
            if life.alive && in_use {
                self.wake(pool, life.ends_at);
                let entry = refreshed(*observed, inputs.next_hops);
                self.backends.insert(id, entry);
                self.former.insert(id);
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
        let kept = |address, protocol, reverse: &Reverse| {
            let Some(pool) = pools.get(&address) else {
                return false;
            };
            let by_session = reverse.flags & Reverse::EXACT != 0;
            let is_of = |id: &ServiceId, service: &NodeService| {
                let key = ObjectKey {
                    kind: ObjectKind::Service,
                    id: id.0,
                };
                let vip = IpAddr::from(reverse.vip).into();
                // Of an entry for sessions, it may be any service.
                (by_session || service.vips.contains(&vip))
                    && service.mode == Mode::Dnat
                    && service.protocol as u8 == protocol
                    && *pool == service.pool.0
                    && !self.refusals.contains_key(&key)
                    && self.answers_belong_to(address, protocol, *id, by_session)
            };
            if !by_session {
                let id = ServiceId(reverse.service);
                let service = inputs.desired.services.get(&id);
                return service.is_some_and(|service| is_of(&id, service));
            }
            let mut services = inputs.desired.services.iter();
            services.any(|(id, service)| is_of(id, service))
        };
        let observed = inputs.observed;
        let ports = observed.reverse_ports.iter();
        let ports: Vec<_> = ports
            .filter(|(key, reverse)| kept(key.address, key.protocol, reverse))
            .filter(|(key, _)| !self.reverse_ports.contains_key(*key))
            .map(|(key, reverse)| (*key, *reverse))
            .collect();
        let ranges = observed.reverse_ranges.iter();
        let ranges: Vec<_> = ranges
            .filter(|(key, reverse)| kept(key.data.address, key.data.protocol, reverse))
            .filter(|(key, _)| !self.reverse_ranges.contains_key(*key))
            .map(|(key, reverse)| (*key, *reverse))
            .collect();
        self.kept_ports = ports.iter().map(|(key, _)| *key).collect();
        self.kept_ranges = ranges.iter().map(|(key, _)| *key).collect();
        self.reverse_ports.extend(ports);
        self.reverse_ranges.extend(ranges);
    }

    /// The addresses of servers that left.
    pub(crate) fn former_addresses(&self) -> BTreeSet<IpAddr> {
        let entries = self.former.iter().map(|id| &self.backends[id]);
        let addresses = entries.flat_map(|e| e.address4().into_iter().chain(e.address6()));
        addresses.map(IpAddr::from).collect()
    }

    /// Notes that a plan at this time would differ, because of a pool.
    fn wake(&mut self, pool: PoolId, at: Option<Instant>) {
        if let Some(at) = at {
            let earliest = self.wakes.entry(pool).or_insert(at);
            *earliest = at.min(*earliest);
        }
    }
}

fn no_space(pool: &NodePool, observed: &Observed, largest_gap: u32) -> String {
    format!(
        "its ring needs {} slots in one piece, and of the node's {} slots the largest free piece has {largest_gap}; start the node \
         with more --ring-slots, or lower max_backends of new pools",
        pool.slots, observed.ring_capacity,
    )
}

/// Whether two entries under one id are of the same server.
fn is_same_server(a: &Backend, b: &Backend) -> bool {
    (a.pool, a.ipv4, a.ipv6) == (b.pool, b.ipv4, b.ipv6)
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
        host_bits4: to4.host_bits,
        host_bits6: to6.host_bits,
        ..Backend::default()
    }
}

/// The entry of a server that left, with the ways to it as they are now, where they are known.
fn refreshed(mut entry: Backend, ways: &BTreeMap<IpAddr, Way>) -> Backend {
    let known = |address: Option<lbfabric_abi::Address>| {
        address.and_then(|address| ways.get(&IpAddr::from(address)).copied())
    };
    if let Some(way) = known(entry.address4()) {
        (entry.hop4, entry.mtu4, entry.host_bits4) = (way.hop, way.mtu, way.host_bits);
    }
    if let Some(way) = known(entry.address6()) {
        (entry.hop6, entry.mtu6, entry.host_bits6) = (way.hop, way.mtu, way.host_bits);
    }
    entry
}
