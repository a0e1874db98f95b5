use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use lbfabric_model::{
    BackendId, PoolId,
    maglev::{self, Entry},
    snapshot::NodePool,
};

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
    pub(crate) fn of(&self, pool: &NodePool, backend: BackendId) -> Health {
        if pool.health_check.is_none() {
            return Health::Up;
        }
        self.0.get(&backend).cloned().unwrap_or(Health::Unknown)
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
    /// ring as it stands (`observed`) uses it, so that an agent that starts again empties no ring.
    pub(crate) fn choose(
        pool: &NodePool,
        health: &HealthView,
        observed: &BTreeSet<BackendId>,
    ) -> Self {
        let weighted: Vec<usize> = (0..pool.backends.len())
            .filter(|index| pool.backends[*index].weight > 0)
            .collect();
        let state = |index: usize| health.of(pool, pool.backends[index].id);
        let healthy: Vec<usize> = weighted
            .iter()
            .copied()
            .filter(|index| match state(*index) {
                Health::Up => true,
                Health::Down { .. } => false,
                Health::Unknown => observed.contains(&pool.backends[*index].id),
            })
            .collect();
        if !healthy.is_empty() || weighted.is_empty() {
            return Self {
                members: healthy,
                panic: false,
            };
        }
        let panic = weighted
            .iter()
            .all(|index| matches!(state(*index), Health::Down { .. }));
        Self {
            members: weighted,
            panic,
        }
    }
}

/// What a ring is computed from: ids, names and weights of its members, and its slots.
type RingKey = (Vec<(u32, String, u16)>, u32);

/// Remembers each pool's last ring, because most plans change few of them.
#[derive(Debug, Default)]
pub(crate) struct RingMemo(HashMap<PoolId, (RingKey, Arc<[u32]>)>);

impl RingMemo {
    /// The ring over these members of a pool: a server's id for each slot.
    pub(crate) fn ring(&mut self, id: PoolId, pool: &NodePool, members: &[usize]) -> Arc<[u32]> {
        let key = (
            members
                .iter()
                .map(|index| &pool.backends[*index])
                .map(|backend| (backend.id.0, backend.name.clone(), backend.weight))
                .collect::<Vec<_>>(),
            pool.slots,
        );
        if let Some((known, ring)) = self.0.get(&id)
            && *known == key
        {
            return ring.clone();
        }
        let entries: Vec<Entry<'_>> = key
            .0
            .iter()
            .map(|(id, name, weight)| Entry {
                id: *id,
                name,
                weight: *weight,
            })
            .collect();
        let ring: Arc<[u32]> = maglev::ring(&entries, pool.slots).into();
        self.0.insert(id, (key, ring.clone()));
        ring
    }

    /// Forgets pools that are gone.
    pub(crate) fn retain(&mut self, pools: &BTreeMap<PoolId, NodePool>) {
        self.0.retain(|id, _| pools.contains_key(id));
    }
}
