use std::collections::{BTreeMap, BTreeSet};

use lbfabric_model::{ObjectKey, PoolId};

use crate::{
    maps::{LbMaps, ReadMapError, WriteMapError},
    plan::{self, Inputs, Observed, RingMemo},
};

/// Brings the maps to what a plan says, write by write. After a failed write, whose effect is unknown, it reads the maps
/// back before it plans again.
pub(crate) struct Reconciler<M> {
    maps: M,
    /// What the maps hold; `None` until they have been read (again).
    observed: Option<Observed>,
    memo: RingMemo,
}

/// The state after all writes succeeded.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Reconciled {
    pub(crate) writes: usize,
    pub(crate) refusals: BTreeMap<ObjectKey, String>,
    pub(crate) panics: BTreeSet<PoolId>,
}

/// The maps could not be brought to the desired state; trying again later is safe.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReconcileError {
    #[error("the maps cannot be read back")]
    Read(#[from] ReadMapError),
    #[error("a map cannot be written")]
    Write(#[from] WriteMapError),
    #[error("planning does not come to rest: {ops} writes are left after {rounds} rounds")]
    Restless { ops: usize, rounds: usize },
}

impl<M: LbMaps> Reconciler<M> {
    pub(crate) fn new(maps: M) -> Self {
        Self {
            maps,
            observed: None,
            memo: RingMemo::default(),
        }
    }

    pub(crate) fn maps(&self) -> &M {
        &self.maps
    }

    #[cfg(test)]
    pub(crate) fn maps_mut(&mut self) -> &mut M {
        &mut self.maps
    }

    /// Plans and writes until nothing is left to write.
    pub(crate) fn reconcile(
        &mut self,
        inputs: &PlanInputs<'_>,
    ) -> Result<Reconciled, ReconcileError> {
        // The first round writes, the second may place what needed the space that the first has freed, and one more sees
        // that nothing is left.
        const ROUNDS: usize = 6;
        let mut writes = 0;
        let mut left = 0;
        for _ in 0..ROUNDS {
            let observed = match self.observed.take() {
                Some(observed) => observed,
                None => self.maps.read()?,
            };
            let plan = plan::plan(&inputs.on(&observed), &mut self.memo);
            left = plan.ops.len();
            if plan.ops.is_empty() {
                self.observed = Some(observed);
                return Ok(Reconciled {
                    writes,
                    refusals: plan.refusals,
                    panics: plan.panics,
                });
            }
            let mut observed = observed;
            for op in &plan.ops {
                // On failure `self.observed` stays empty: the next round starts by reading back.
                self.maps.write(op)?;
                observed.apply(op);
                writes += 1;
            }
            self.observed = Some(observed);
        }
        Err(ReconcileError::Restless {
            ops: left,
            rounds: ROUNDS,
        })
    }
}

/// [`Inputs`] without the observed maps, which the reconciler adds.
#[derive(Clone, Copy)]
pub(crate) struct PlanInputs<'a> {
    pub(crate) desired: &'a plan::Desired,
    pub(crate) health: &'a plan::HealthView,
    pub(crate) next_hops: &'a BTreeMap<std::net::IpAddr, lbfabric_abi::NextHop>,
    pub(crate) local: &'a plan::Local,
    pub(crate) settings_refusal: Option<&'a str>,
}

impl<'a> PlanInputs<'a> {
    fn on(&self, observed: &'a Observed) -> Inputs<'a> {
        let Self {
            desired,
            health,
            next_hops,
            local,
            settings_refusal,
        } = *self;
        Inputs {
            desired,
            observed,
            health,
            next_hops,
            local,
            settings_refusal,
        }
    }
}

#[cfg(test)]
mod proptests;
