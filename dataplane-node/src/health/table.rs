use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use lbfabric_model::{BackendId, PoolId, snapshot::NodePool};

use super::{ProbeResult, probe_state::ProbeState, prober::ProbeTarget};
use crate::plan::{Health, HealthView};

/// What is known of every probed address.
#[derive(Debug, Default)]
pub(crate) struct HealthTable(BTreeMap<ProbeTarget, Tracked>);

#[derive(Debug, Default)]
struct Tracked {
    state: ProbeState,
    /// Since when it is down.
    down_since: Option<Instant>,
}

/// What one more probe changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HealthChange {
    /// Neither the server's state nor its reason.
    None,
    /// Only the reason why it is down.
    Reason,
    /// Whether it gets new connections.
    State,
}

impl HealthTable {
    /// Keeps what is known of these targets and forgets the others.
    pub(crate) fn follow(&mut self, targets: &BTreeSet<ProbeTarget>) {
        self.0.retain(|target, _| targets.contains(target));
        for target in targets {
            self.0.entry(*target).or_default();
        }
    }

    /// Takes in a probe that has finished now; one of a target that is not followed any more changes nothing.
    pub(crate) fn note(
        &mut self,
        result: ProbeResult,
        pools: &BTreeMap<PoolId, NodePool>,
        now: Instant,
    ) -> HealthChange {
        let ProbeResult {
            target,
            outcome,
            silent: _,
        } = result;
        let check = pools.get(&target.pool).and_then(|pool| pool.health_check);
        let (Some(tracked), Some(check)) = (self.0.get_mut(&target), check) else {
            return HealthChange::None;
        };
        let before = std::mem::take(&mut tracked.state);
        tracked.state = before.clone().after(outcome, check.rise, check.fall);
        tracked.down_since = match tracked.state {
            ProbeState::Unknown | ProbeState::Up { .. } => None,
            ProbeState::Down { .. } => tracked.down_since.or(Some(now)),
        };
        match (&before, &tracked.state) {
            (ProbeState::Up { .. }, ProbeState::Up { .. }) => HealthChange::None,
            (ProbeState::Down { reason: old, .. }, ProbeState::Down { reason: new, .. }) => {
                if old == new {
                    HealthChange::None
                } else {
                    HealthChange::Reason
                }
            }
            _ => HealthChange::State,
        }
    }

    /// Each server's health: it is up when all its addresses are, and down when one of them is, since the first of them is.
    pub(crate) fn view(&self) -> HealthView {
        let mut view: BTreeMap<BackendId, Health> = BTreeMap::new();
        for (target, tracked) in &self.0 {
            let health = match (&tracked.state, tracked.down_since) {
                (ProbeState::Up { .. }, _) => Health::Up,
                (ProbeState::Down { reason, .. }, Some(since)) => Health::Down {
                    reason: reason.clone(),
                    since,
                },
                (ProbeState::Unknown | ProbeState::Down { .. }, _) => Health::Unknown,
            };
            let worst = view.entry(target.backend).or_insert(Health::Up);
            if is_worse(&health, worst) {
                *worst = health;
            }
        }
        HealthView(view)
    }
}

fn is_worse(health: &Health, than: &Health) -> bool {
    match (health, than) {
        (Health::Down { since, .. }, Health::Down { since: other, .. }) => since < other,
        (Health::Down { .. }, Health::Up | Health::Unknown) | (Health::Unknown, Health::Up) => true,
        (Health::Unknown, Health::Unknown | Health::Down { .. }) | (Health::Up, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::OnceLock;
    use std::time::Duration;

    use super::*;
    use crate::plan::tests::pool_with_check;

    fn start() -> Instant {
        static START: OnceLock<Instant> = OnceLock::new();
        *START.get_or_init(Instant::now)
    }

    fn target(address: &str) -> ProbeTarget {
        ProbeTarget {
            pool: PoolId(1),
            backend: BackendId(7),
            address: address.parse::<IpAddr>().unwrap(),
        }
    }

    fn note(
        table: &mut HealthTable,
        address: &str,
        outcome: Result<(), String>,
        now: Instant,
    ) -> HealthChange {
        let pools = BTreeMap::from([(PoolId(1), pool_with_check(&[7]))]);
        let target = target(address);
        let result = ProbeResult {
            target,
            outcome,
            silent: false,
        };
        table.note(result, &pools, now)
    }

    #[test]
    fn a_server_is_up_when_all_its_addresses_are() {
        let mut table = HealthTable::default();
        table.follow(&BTreeSet::from([target("10.0.0.1"), target("fd00::1")]));
        let health = |table: &HealthTable| table.view().0[&BackendId(7)].clone();
        let at = |secs| start() + Duration::from_secs(secs);
        let down = |reason: &str, secs| Health::Down {
            reason: reason.to_owned(),
            since: at(secs),
        };
        let (v4, v6) = ("10.0.0.1", "fd00::1");
        let fail = |reason: &str| Err(reason.to_owned());
        assert_eq!(health(&table), Health::Unknown);
        assert_eq!(note(&mut table, v4, Ok(()), at(0)), HealthChange::State);
        assert_eq!(health(&table), Health::Unknown);
        assert_eq!(note(&mut table, v6, fail("a"), at(1)), HealthChange::State);
        assert_eq!(health(&table), down("a", 1));
        // It is down since then, whatever else is found out.
        assert_eq!(note(&mut table, v6, fail("b"), at(2)), HealthChange::Reason);
        assert_eq!(note(&mut table, v6, fail("b"), at(3)), HealthChange::None);
        assert_eq!(health(&table), down("b", 1));
        for secs in 4..=5 {
            assert_eq!(
                note(&mut table, v4, fail("c"), at(secs)),
                HealthChange::None
            );
        }
        assert_eq!(note(&mut table, v4, fail("c"), at(6)), HealthChange::State);
        assert_eq!(health(&table), down("b", 1));
        assert_eq!(note(&mut table, v6, Ok(()), at(7)), HealthChange::None);
        assert_eq!(note(&mut table, v6, Ok(()), at(8)), HealthChange::State);
        assert_eq!(health(&table), down("c", 6));
        for (secs, change) in [(9, HealthChange::None), (10, HealthChange::State)] {
            assert_eq!(note(&mut table, v4, Ok(()), at(secs)), change);
        }
        assert_eq!(health(&table), Health::Up);
        // A probe that ends after its target has gone changes nothing.
        table.follow(&BTreeSet::new());
        assert_eq!(note(&mut table, v6, fail("c"), at(11)), HealthChange::None);
        assert_eq!(table.view(), HealthView::default());
    }
}
