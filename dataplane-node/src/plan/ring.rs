use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use lbfabric_abi::{BACKENDS_MAX, PoolRing, RingSlot};
use lbfabric_model::{
    BackendId,
    maglev::{self, Entry},
    snapshot::{NodeBackend, NodePool},
};

use super::{observed::Rings, slots::SlotMemory};

/// What the node knows of a server's health. A server of which nothing is known is [`Health::Unknown`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// No probe of it has finished yet.
    Unknown,
    Up,
    Down {
        /// Of the last failure.
        reason: String,
        since: Instant,
    },
}

/// The health of every server that was probed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HealthView(pub(crate) BTreeMap<BackendId, Health>);

impl HealthView {
    /// What is known of a server of a pool; where nothing is probed, every server is healthy.
    pub(crate) fn of(&self, pool: &NodePool, backend: BackendId) -> &Health {
        if pool.health_check.is_none() {
            return &Health::Up;
        }
        self.0.get(&backend).unwrap_or(&Health::Unknown)
    }
}

/// Which servers of a pool stand on its ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RingMembers {
    /// Indices into the pool's servers.
    pub(crate) members: Vec<usize>,
    /// Every server with a weight failed its check, so all of them are used: some answer may be better than none.
    pub(crate) panic: bool,
}

impl RingMembers {
    /// Healthy servers with a weight. A server that has not been probed yet counts as what it was before: healthy if the
    /// ring as it stands uses it, which `was_on_ring` says, so that an agent that starts again empties no ring.
    pub(crate) fn choose(
        pool: &NodePool,
        health: &HealthView,
        mut was_on_ring: impl FnMut(BackendId) -> bool,
    ) -> Self {
        let mut weighted = Vec::with_capacity(pool.backends.len());
        let mut healthy = Vec::with_capacity(pool.backends.len());
        let mut panic = true;
        for (index, backend) in (0..).zip(&pool.backends) {
            if backend.weight == 0 {
                continue;
            }
            weighted.push(index);
            let (is_healthy, is_down) = match health.of(pool, backend.id) {
                Health::Up => (true, false),
                Health::Down { .. } => (false, true),
                Health::Unknown => (was_on_ring(backend.id), false),
            };
            if is_healthy {
                healthy.push(index);
            }
            panic &= is_down;
        }
        if !healthy.is_empty() || weighted.is_empty() {
            return Self {
                members: healthy,
                panic: false,
            };
        }
        Self {
            members: weighted,
            panic,
        }
    }
}

/// A server on a ring: what the ring is computed from.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Member {
    id: u32,
    name: String,
    weight: u16,
}

/// What the planner remembers of a pool's ring from plan to plan.
#[derive(Debug, Default)]
pub(crate) struct RingMemory {
    /// What the slots follow, if that is certain: it is not before the first plan, nor after a write has failed.
    followed: Option<(PoolRing, Vec<Member>)>,
    /// The servers that the ring sends new flows to, once somebody has asked.
    servers: Option<BTreeSet<BackendId>>,
    pub(crate) slots: SlotMemory,
}

impl RingMemory {
    /// The servers that a ring which stands in the maps sends new flows to.
    pub(crate) fn servers(&mut self, ring: PoolRing, rings: &dyn Rings) -> &BTreeSet<BackendId> {
        self.servers.get_or_insert_with(|| servers_of(ring, rings))
    }

    /// Whether the slots follow just these members of a pool: their `cur` is as it has to be.
    pub(crate) fn follows(&self, place: PoolRing, pool: &NodePool, members: &[usize]) -> bool {
        self.followed.as_ref().is_some_and(|(at, known)| {
            let wanted = members.iter().map(|index| &pool.backends[*index]);
            let same = |(member, backend): (&Member, &NodeBackend)| {
                let Member { id, name, weight } = member;
                (*id, name, *weight) == (backend.id.0, &backend.name, backend.weight)
            };
            *at == place && known.len() == members.len() && known.iter().zip(wanted).all(same)
        })
    }

    /// Notes that the slots are going to follow these members, and computes the ring: a server's id for each slot.
    pub(crate) fn follow(
        &mut self,
        place: PoolRing,
        pool: &NodePool,
        members: &[usize],
    ) -> Vec<u32> {
        let members = members.iter().map(|index| &pool.backends[*index]);
        let members: Vec<Member> = members
            .map(|backend| Member {
                id: backend.id.0,
                name: backend.name.clone(),
                weight: backend.weight,
            })
            .collect();
        let entries = members.iter().map(|Member { id, name, weight }| Entry {
            id: *id,
            name,
            weight: *weight,
        });
        let ring = maglev::ring(&entries.collect::<Vec<_>>(), pool.slots);
        self.followed = Some((place, members));
        self.servers = None;
        ring
    }

    /// A write may have failed: what the slots hold has to be looked up.
    pub(crate) fn distrust(&mut self) {
        self.followed = None;
        self.servers = None;
    }
}

/// Servers that a ring sends new flows to.
fn servers_of(ring: PoolRing, rings: &dyn Rings) -> BTreeSet<BackendId> {
    const BITS: u32 = u64::BITS;
    // A ring has many slots for each server.
    let mut seen = vec![0u64; BACKENDS_MAX.div_ceil(BITS) as usize];
    for index in ring.start..ring.start.saturating_add(ring.slots) {
        let RingSlot { cur, base: _ } = rings.slot(index);
        if let Some(word) = seen.get_mut((cur / BITS) as usize) {
            *word |= 1 << (cur % BITS);
        }
    }
    (0..)
        .zip(seen)
        .filter(|(_, word)| *word != 0)
        .flat_map(|(at, word)| {
            let set = (0..BITS).filter(move |bit| word & 1 << bit != 0);
            set.map(move |bit| BackendId(at * BITS + bit))
        })
        .collect()
}
