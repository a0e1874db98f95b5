use std::collections::BTreeMap;
use std::net::IpAddr;

use lbfabric_model::{
    BackendId, ObjectKey, ObjectKind, PoolId, ServiceId,
    snapshot::{NodePool, NodeService, NodeSettings},
};

use super::{Inputs, Way, local::Local, ring::HealthView};

/// What a plan was made from, to see what is new. Of objects with a digest that is all that is compared.
#[derive(Debug)]
pub(crate) struct Known {
    digests: BTreeMap<ObjectKey, u64>,
    settings: Option<NodeSettings>,
    pools: BTreeMap<PoolId, NodePool>,
    services: BTreeMap<ServiceId, NodeService>,
    undecodable: BTreeMap<ObjectKey, String>,
    health: HealthView,
    next_hops: BTreeMap<IpAddr, Way>,
    local: Local,
    settings_refusal: Option<String>,
}

/// What is new, if no more than this is.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// Pools that are no more what they were, with that.
    pub(crate) pools: BTreeMap<PoolId, NodePool>,
    /// Servers with another health.
    pub(crate) health: Vec<BackendId>,
    /// Addresses with another way to them.
    pub(crate) ways: Vec<IpAddr>,
}

impl Known {
    pub(crate) fn of(inputs: &Inputs<'_>) -> Self {
        let desired = inputs.desired;
        Self {
            digests: desired.digests.clone(),
            settings: desired.settings.clone(),
            pools: desired.pools.clone(),
            // Beside digests nobody looks at them, and their VIPs are many.
            services: if desired.digests.is_empty() {
                desired.services.clone()
            } else {
                BTreeMap::new()
            },
            undecodable: desired.undecodable.clone(),
            health: inputs.health.clone(),
            next_hops: inputs.next_hops.clone(),
            local: inputs.local.clone(),
            settings_refusal: inputs.settings_refusal.map(str::to_owned),
        }
    }

    /// What is new about the inputs, which are known from then on; `None` if pools have come or gone, or something else than
    /// pools, health and ways is new.
    pub(crate) fn follow(&mut self, inputs: &Inputs<'_>) -> Option<News> {
        let desired = inputs.desired;
        let same = self.local == *inputs.local
            && self.settings_refusal.as_deref() == inputs.settings_refusal;
        let changed = same.then(|| self.changed_pools(inputs)).flatten()?;
        let mut news = News::default();
        for id in changed {
            let new = desired.pools.get(&id)?;
            let old = self.pools.insert(id, new.clone())?;
            news.pools.insert(id, old);
            let kind = ObjectKind::Pool;
            let key = ObjectKey { kind, id: id.0 };
            take_over(&mut self.digests, &desired.digests, key);
        }
        let (health, now) = (&mut self.health.0, &inputs.health.0);
        news.health = differing(health, now);
        for id in &news.health {
            take_over(health, now, *id);
        }
        news.ways = differing(&self.next_hops, inputs.next_hops);
        for address in &news.ways {
            take_over(&mut self.next_hops, inputs.next_hops, *address);
        }
        Some(news)
    }

    /// The pools that have changed, if no other object has.
    fn changed_pools(&self, inputs: &Inputs<'_>) -> Option<Vec<PoolId>> {
        let desired = inputs.desired;
        if !desired.digests.is_empty() {
            let keys = differing(&self.digests, &desired.digests);
            let pool = |key: ObjectKey| {
                let is_pool = matches!(key.kind, ObjectKind::Pool);
                (is_pool && !desired.undecodable.contains_key(&key)).then_some(PoolId(key.id))
            };
            return keys.into_iter().map(pool).collect();
        }
        let same = self.digests.is_empty()
            && self.settings == desired.settings
            && self.services == desired.services
            && self.undecodable == desired.undecodable;
        same.then(|| differing(&self.pools, &desired.pools))
    }
}

/// The keys that two maps do not have the same value for, or that one lacks.
fn differing<K: Ord + Copy, V: PartialEq>(a: &BTreeMap<K, V>, b: &BTreeMap<K, V>) -> Vec<K> {
    let mut keys = Vec::new();
    let (mut left, mut right) = (a.iter().peekable(), b.iter().peekable());
    loop {
        match (left.peek(), right.peek()) {
            (None, None) => return keys,
            (Some((key, value)), Some((other, theirs))) if key == other => {
                if value != theirs {
                    keys.push(**key);
                }
                left.next();
                right.next();
            }
            (Some((key, _)), other) if other.is_none_or(|(other, _)| key < other) => {
                keys.push(**key);
                left.next();
            }
            (_, Some((key, _))) => {
                keys.push(**key);
                right.next();
            }
            (Some(_), None) => unreachable!("a key on the left alone is met before"),
        }
    }
}

/// Makes a map have what another has for a key.
fn take_over<K: Ord, V: Clone>(map: &mut BTreeMap<K, V>, from: &BTreeMap<K, V>, key: K) {
    match from.get(&key) {
        Some(value) => map.insert(key, value.clone()),
        None => map.remove(&key),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_of_maps() {
        let map = |entries: &[(u8, u8)]| entries.iter().copied().collect::<BTreeMap<u8, u8>>();
        let a = map(&[(1, 1), (2, 2), (4, 4), (6, 6), (7, 7)]);
        let b = map(&[(0, 0), (1, 1), (2, 3), (5, 5), (6, 6)]);
        assert_eq!(differing(&a, &b), [0, 2, 4, 5, 7]);
        assert_eq!(differing(&b, &a), [0, 2, 4, 5, 7]);
        assert!(differing(&a, &a).is_empty());
        let mut c = a.clone();
        for key in differing(&a, &b) {
            take_over(&mut c, &b, key);
        }
        assert_eq!(c, b);
    }
}
