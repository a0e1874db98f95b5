use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use lbfabric_abi::{Backend, FlowKey, Mode};
use lbfabric_model::{BackendId, ObjectKey, PoolId};

use crate::{
    maps::{LbMaps, ReadMapError, WriteMapError},
    plan::{self, Inputs, MapOp, Observed, Plan, Rings, Way},
};

/// The flow table and full NAT's sessions are swept this often while that may let a slot, a server or a port go.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);
/// And this often otherwise: entries must go long before their clock wraps, after 19 hours.
const SWEEP_INTERVAL_IDLE: Duration = Duration::from_mins(10);

/// Brings the maps to what a plan says, write by write. After a failed write, whose effect is unknown, it reads the maps
/// back before it plans again.
pub(crate) struct Reconciler<M> {
    maps: M,
    /// What the maps hold; `None` until they have been read (again).
    observed: Option<Observed>,
    memory: plan::Memory,
    /// For maps that have none yet.
    flow_key: FlowKey,
    /// When the flow table is swept; `None`: before anything else happens. A server that was declared dead must not come back
    /// before its entries have gone, or flows that are elsewhere by now would return to it.
    sweep_at: Option<Instant>,
}

/// The state after all writes succeeded.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Reconciled {
    pub(crate) writes: usize,
    pub(crate) refusals: BTreeMap<ObjectKey, String>,
    pub(crate) panics: BTreeSet<PoolId>,
    /// As in [`Plan`].
    pub(crate) former: BTreeSet<IpAddr>,
    /// When to reconcile again, though no input has changed.
    pub(crate) wake_at: Option<Instant>,
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
    /// `flow_key` is random.
    pub(crate) fn new(maps: M, flow_key: FlowKey) -> Self {
        Self {
            maps,
            observed: None,
            memory: plan::Memory::default(),
            flow_key,
            sweep_at: None,
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
        // The first round writes, the second may sweep the entries of dead servers and place what needed the space that the
        // first has freed, which may free servers and sweep again, and one more sees that nothing is left.
        const ROUNDS: usize = 8;
        let mut writes = 0;
        let mut left = 0;
        self.memory.expect_news();
        for _ in 0..ROUNDS {
            let mut observed = if let Some(observed) = self.observed.take() {
                observed
            } else {
                self.memory.distrust();
                self.maps.read()?
            };
            let swept = self.sweep_if_due(&observed, inputs.now);
            let inputs_now = inputs.on((&observed, &self.maps), swept.as_ref(), self.flow_key);
            let plan = plan::plan(&inputs_now, &mut self.memory);
            left = plan.ops.len();
            if plan.ops.is_empty() {
                self.memory.trust();
                self.observed = Some(observed);
                return Ok(self.reconciled(writes, plan, inputs));
            }
            for op in &plan.ops {
                if takes_life(op, &observed) {
                    self.sweep_at = None;
                }
                // On failure `self.observed` stays empty: the next round starts by reading back.
                self.maps.write(op)?;
                observed.apply(op);
                writes += 1;
            }
            self.memory.trust();
            self.observed = Some(observed);
        }
        Err(ReconcileError::Restless {
            ops: left,
            rounds: ROUNDS,
        })
    }

    /// Reads the flow table and the sessions now, as of what the maps are known to hold, and frees what counts no more.
    pub(crate) fn sweep(&mut self) -> BTreeSet<BackendId> {
        let Some(observed) = &self.observed else {
            return BTreeSet::new();
        };
        let idle = observed.settings.map_or(0, |s| s.flow_idle_ticks);
        self.maps.sweep_flows(&observed.alive(), idle)
    }

    /// Reads the flow table and the sessions if it is time, and frees what counts no more.
    fn sweep_if_due(&mut self, observed: &Observed, now: Instant) -> Option<Swept> {
        if self.sweep_at.is_some_and(|at| now < at) {
            return None;
        }
        let idle = observed.settings.map_or(0, |s| s.flow_idle_ticks);
        let alive = observed.alive();
        let swept = Swept {
            in_sessions: self.maps.sweep_sessions(&alive),
            in_table: self.maps.sweep_flows(&alive, idle),
        };
        self.sweep_at = Some(now + SWEEP_INTERVAL_IDLE);
        Some(swept)
    }

    fn reconciled(&mut self, writes: usize, plan: Plan, inputs: &PlanInputs<'_>) -> Reconciled {
        let mut services = inputs.desired.services.values();
        if plan.table_in_use || services.any(|it| it.mode == Mode::Fullnat || it.exact_state) {
            let soon = inputs.now + SWEEP_INTERVAL;
            self.sweep_at = self.sweep_at.map(|at| at.min(soon));
        }
        Reconciled {
            writes,
            refusals: plan.refusals,
            panics: plan.panics,
            former: plan.former,
            wake_at: plan.wake_at.into_iter().chain(self.sweep_at).min(),
        }
    }
}

/// The servers that flows are on, as a sweep has left them.
struct Swept {
    in_table: BTreeSet<BackendId>,
    in_sessions: BTreeSet<BackendId>,
}

/// Whether a write ends a server's claim on flows.
fn takes_life(op: &MapOp, observed: &Observed) -> bool {
    let was_alive = |id| observed.backends.get(id).is_some_and(Backend::is_alive);
    match op {
        MapOp::PutBackend(id, new) => {
            let old_pool = observed.backends.get(id).map(|old| old.pool);
            was_alive(id) && !(new.is_alive() && old_pool == Some(new.pool))
        }
        MapOp::ClearBackend(id) => was_alive(id),
        _ => false,
    }
}

/// [`Inputs`] without what the reconciler adds: the observed maps, what it read of the flow table, and its key.
#[derive(Clone, Copy)]
pub(crate) struct PlanInputs<'a> {
    pub(crate) desired: &'a plan::Desired,
    pub(crate) health: &'a plan::HealthView,
    pub(crate) next_hops: &'a BTreeMap<IpAddr, Way>,
    pub(crate) local: &'a plan::Local,
    pub(crate) settings_refusal: Option<&'a str>,
    pub(crate) now: Instant,
}

impl<'a> PlanInputs<'a> {
    fn on(
        &self,
        (observed, rings): (&'a Observed, &'a dyn Rings),
        swept: Option<&'a Swept>,
        flow_key: FlowKey,
    ) -> Inputs<'a> {
        let Self {
            desired,
            health,
            next_hops,
            local,
            settings_refusal,
            now,
        } = *self;
        Inputs {
            desired,
            observed,
            rings,
            health,
            next_hops,
            local,
            settings_refusal,
            now,
            in_table: swept.map(|it| &it.in_table),
            in_sessions: swept.map(|it| &it.in_sessions),
            flow_key,
        }
    }
}

#[cfg(test)]
mod proptests;
