use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lbfabric_abi::Backend;
use lbfabric_model::{BackendId, snapshot::NodePool};

use super::ring::{Health, HealthView};

/// When servers whose check failed are declared dead. It outlives a server's time in a pool: nobody probes it afterwards.
#[derive(Debug, Default)]
pub(crate) struct Deadlines(BTreeMap<BackendId, Instant>);

/// Whether flows may stay on a server, and when that ends unless its check passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) alive: bool,
    pub(crate) ends_at: Option<Instant>,
}

// === impl Deadlines ===

impl Deadlines {
    /// Of a server of a pool. `observed` is its entry; `panic`: every server of the pool fails, which says more about the
    /// checks than about the servers.
    pub(crate) fn of_member(
        &mut self,
        (pool, id): (&NodePool, BackendId),
        health: &HealthView,
        observed: Option<&Backend>,
        panic: bool,
        now: Instant,
    ) -> Life {
        // Who is dead stays so until a check passes, also for an agent that has just started.
        let was_alive = observed.is_none_or(Backend::is_alive);
        match health.of(pool, id) {
            Health::Up => {
                self.0.remove(&id);
                Life::until(None, true)
            }
            Health::Unknown => Life::until(None, was_alive),
            Health::Down { since, reason: _ } => {
                let dead_after = Duration::from_millis(pool.flow_keeping.dead_after_ms.into());
                let dead_at = *since + dead_after;
                self.0.insert(id, dead_at);
                if panic {
                    Life::until(None, true)
                } else {
                    Life::until(Some(dead_at), was_alive && now < dead_at)
                }
            }
        }
    }

    /// Of a server that was removed from its pool.
    pub(crate) fn of_former(&self, id: BackendId, observed: &Backend, now: Instant) -> Life {
        let dead_at = self.0.get(&id).copied();
        let alive = observed.is_alive() && dead_at.is_none_or(|at| now < at);
        Life::until(dead_at, alive)
    }

    /// Forgets servers that have no entry any more.
    pub(crate) fn retain(&mut self, keep: impl Fn(BackendId) -> bool) {
        self.0.retain(|id, _| keep(*id));
    }
}

// === impl Life ===

impl Life {
    fn until(ends_at: Option<Instant>, alive: bool) -> Self {
        Self {
            alive,
            ends_at: ends_at.filter(|_| alive),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::pool_with_check;

    const ID: BackendId = BackendId(7);

    fn entry(alive: bool) -> Backend {
        Backend {
            flags: if alive { Backend::ALIVE } else { 0 },
            ..Backend::default()
        }
    }

    #[test]
    fn a_server_dies_some_time_after_its_check_failed() {
        let pool = pool_with_check(&[7]);
        let start = Instant::now();
        let mut deadlines = Deadlines::default();
        let mut life = |health: Option<Health>, observed: Option<bool>, panic, secs| {
            let health = HealthView(health.map(|health| (ID, health)).into_iter().collect());
            let now = start + Duration::from_secs(secs);
            let observed = observed.map(entry);
            let life = deadlines.of_member((&pool, ID), &health, observed.as_ref(), panic, now);
            (life.alive, life.ends_at.map(|at| (at - start).as_secs()))
        };
        let down = || {
            Some(Health::Down {
                reason: "x".to_owned(),
                since: start,
            })
        };
        // A new server, and one that an earlier agent left.
        assert_eq!(life(None, None, false, 0), (true, None));
        assert_eq!(life(None, Some(true), false, 0), (true, None));
        assert_eq!(life(None, Some(false), false, 0), (false, None));
        assert_eq!(life(Some(Health::Up), Some(false), false, 0), (true, None));
        // Ten seconds are the default.
        assert_eq!(life(down(), Some(true), false, 9), (true, Some(10)));
        assert_eq!(life(down(), Some(true), false, 10), (false, None));
        assert_eq!(life(down(), Some(false), false, 9), (false, None));
        // When all fail, nobody is given up.
        assert_eq!(life(down(), Some(false), true, 100), (true, None));
    }

    #[test]
    fn a_failed_server_that_leaves_its_pool_dies_on_time() {
        let pool = pool_with_check(&[7]);
        let start = Instant::now();
        let mut deadlines = Deadlines::default();
        let former = |deadlines: &Deadlines, alive, secs| {
            let now = start + Duration::from_secs(secs);
            deadlines.of_former(ID, &entry(alive), now).alive
        };
        assert!(former(&deadlines, true, 1000) && !former(&deadlines, false, 0));
        let down = Health::Down {
            reason: "x".to_owned(),
            since: start,
        };
        let health = HealthView([(ID, down)].into());
        deadlines.of_member((&pool, ID), &health, None, false, start);
        assert!(former(&deadlines, true, 9) && !former(&deadlines, true, 10));
        deadlines.retain(|_| false);
        assert!(former(&deadlines, true, 10));
    }
}
