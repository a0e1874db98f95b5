use std::collections::{BTreeMap, BTreeSet};

use lbfabric_model::{BackendId, PoolId, snapshot::NodePool};

use super::{ProbeResult, probe_state::ProbeState, prober::ProbeTarget};
use crate::plan::{Health, HealthView};

/// What is known of every probed address.
#[derive(Debug, Default)]
pub(crate) struct HealthTable(BTreeMap<ProbeTarget, ProbeState>);

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

    /// Takes in a finished probe; one of a target that is not followed any more changes nothing.
    pub(crate) fn note(
        &mut self,
        result: ProbeResult,
        pools: &BTreeMap<PoolId, NodePool>,
    ) -> HealthChange {
        let ProbeResult {
            target,
            outcome,
            silent: _,
        } = result;
        let check = pools.get(&target.pool).and_then(|pool| pool.health_check);
        let (Some(state), Some(check)) = (self.0.get_mut(&target), check) else {
            return HealthChange::None;
        };
        let before = std::mem::take(state);
        *state = before.clone().after(outcome, check.rise, check.fall);
        match (&before, &*state) {
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

    /// Each server's health: it is up when all its addresses are, and down when one of them is.
    pub(crate) fn view(&self) -> HealthView {
        let mut view: BTreeMap<BackendId, Health> = BTreeMap::new();
        for (target, state) in &self.0 {
            let health = match state {
                ProbeState::Unknown => Health::Unknown,
                ProbeState::Up { .. } => Health::Up,
                ProbeState::Down { reason, .. } => Health::Down(reason.clone()),
            };
            let worst = view.entry(target.backend).or_insert(Health::Up);
            if rank(&health) > rank(worst) {
                *worst = health;
            }
        }
        HealthView(view)
    }
}

fn rank(health: &Health) -> u8 {
    match health {
        Health::Up => 0,
        Health::Unknown => 1,
        Health::Down(_) => 2,
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::plan::tests::pool_with_check;

    fn target(address: &str) -> ProbeTarget {
        ProbeTarget {
            pool: PoolId(1),
            backend: BackendId(7),
            address: address.parse::<IpAddr>().unwrap(),
        }
    }

    fn note(table: &mut HealthTable, address: &str, outcome: Result<(), String>) -> HealthChange {
        let pools = BTreeMap::from([(PoolId(1), pool_with_check(&[7]))]);
        let target = target(address);
        let result = ProbeResult {
            target,
            outcome,
            silent: false,
        };
        table.note(result, &pools)
    }

    #[test]
    fn a_server_is_up_when_all_its_addresses_are() {
        let mut table = HealthTable::default();
        table.follow(&BTreeSet::from([target("10.0.0.1"), target("fd00::1")]));
        let health = |table: &HealthTable| table.view().0[&BackendId(7)].clone();
        assert_eq!(health(&table), Health::Unknown);
        assert_eq!(note(&mut table, "10.0.0.1", Ok(())), HealthChange::State);
        assert_eq!(health(&table), Health::Unknown);
        assert_eq!(
            note(&mut table, "fd00::1", Err("a".into())),
            HealthChange::State
        );
        assert_eq!(health(&table), Health::Down("a".into()));
        assert_eq!(
            note(&mut table, "fd00::1", Err("b".into())),
            HealthChange::Reason
        );
        assert_eq!(
            note(&mut table, "fd00::1", Err("b".into())),
            HealthChange::None
        );
        assert_eq!(note(&mut table, "fd00::1", Ok(())), HealthChange::None);
        assert_eq!(note(&mut table, "fd00::1", Ok(())), HealthChange::State);
        assert_eq!(health(&table), Health::Up);
        // A probe that ends after its target has gone changes nothing.
        table.follow(&BTreeSet::new());
        assert_eq!(
            note(&mut table, "fd00::1", Err("c".into())),
            HealthChange::None
        );
        assert_eq!(table.view(), HealthView::default());
    }
}
