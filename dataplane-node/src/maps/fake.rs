//! Maps for tests.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex};

use lbfabric_abi::{NatCursor, PoolRing, RingSlot, Traffic};
use lbfabric_model::{BackendId, ServiceId};

use super::{LbMaps, ReadMapError, WriteMapError};
use crate::plan::{MapOp, Observed, Rings};

/// What maps in memory hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) observed: Observed,
    /// By index; `None` where nothing was ever written.
    pub(crate) slots: Vec<Option<RingSlot>>,
}

/// Maps in memory, which check after each write what must hold at any moment.
#[derive(Clone)]
pub(crate) struct FakeMaps {
    pub(crate) content: Arc<Mutex<Content>>,
    /// The servers that the flow table names.
    pub(crate) flows: Arc<Mutex<BTreeSet<BackendId>>>,
    /// The servers that full-NAT sessions name.
    pub(crate) sessions: Arc<Mutex<BTreeSet<BackendId>>>,
    /// What full NAT has refused, by server.
    pub(crate) nat_cursors: Arc<Mutex<BTreeMap<BackendId, NatCursor>>>,
    check: Arc<dyn Fn(&Content) + Send + Sync>,
}

// === impl Content ===

impl Content {
    /// Maps with nothing in them.
    pub(crate) fn empty(ring_capacity: u32, flow_buckets: u32, session_lines: u32) -> Self {
        Self {
            observed: Observed::empty(ring_capacity, flow_buckets, session_lines),
            slots: vec![None; ring_capacity as usize],
        }
    }

    /// The slot at an index, if it was ever written.
    pub(crate) fn written(&self, index: u32) -> Option<RingSlot> {
        self.slots[index as usize]
    }

    /// Servers that the ring sends new flows to.
    pub(crate) fn servers_of(&self, ring: PoolRing) -> BTreeSet<BackendId> {
        (ring.start..ring.start + ring.slots)
            .filter_map(|index| self.written(index))
            .filter(|slot| slot.cur != RingSlot::NONE)
            .map(|slot| BackendId(slot.cur))
            .collect()
    }

    /// Carries out a write, with a look at the content after each slot.
    pub(crate) fn apply(&mut self, op: &MapOp, check: impl Fn(&Self)) {
        let slots: Vec<(u32, RingSlot)> = match op {
            MapOp::PutRing(ring, servers) => (ring.start..ring.start + ring.slots)
                .zip(servers.iter().map(|server| RingSlot::steady(*server)))
                .collect(),
            MapOp::PutSlots(slots) => slots.clone(),
            _ => Vec::new(),
        };
        for (index, slot) in slots {
            self.slots[index as usize] = Some(slot);
            check(self);
        }
        self.observed.apply(op);
        check(self);
    }
}

impl Deref for Content {
    type Target = Observed;

    fn deref(&self) -> &Observed {
        &self.observed
    }
}

impl DerefMut for Content {
    fn deref_mut(&mut self) -> &mut Observed {
        &mut self.observed
    }
}

impl Rings for Content {
    fn slot(&self, index: u32) -> RingSlot {
        self.written(index)
            .expect("the planner reads slots of rings that stand only")
    }
}

// === impl FakeMaps ===

impl FakeMaps {
    /// Empty maps; `check` panics where the content breaks an invariant.
    pub(crate) fn new(
        ring_capacity: u32,
        check: impl Fn(&Content) + Send + Sync + 'static,
    ) -> Self {
        Self {
            content: Arc::new(Mutex::new(Content::empty(ring_capacity, 1, 1))),
            flows: Arc::default(),
            sessions: Arc::default(),
            nat_cursors: Arc::default(),
            check: Arc::new(check),
        }
    }
}

impl Rings for FakeMaps {
    fn slot(&self, index: u32) -> RingSlot {
        self.content.lock().unwrap().slot(index)
    }
}

impl LbMaps for FakeMaps {
    fn read(&self) -> Result<Observed, ReadMapError> {
        Ok(self.content.lock().unwrap().observed.clone())
    }

    fn write(&mut self, op: &MapOp) -> Result<(), WriteMapError> {
        let mut content = self.content.lock().unwrap();
        content.apply(op, |content| (self.check)(content));
        Ok(())
    }

    fn sweep_flows(&mut self, alive: &BTreeSet<BackendId>, _: u32) -> BTreeSet<BackendId> {
        let mut flows = self.flows.lock().unwrap();
        flows.retain(|server| alive.contains(server));
        flows.clone()
    }

    fn sweep_sessions(&mut self, alive: &BTreeSet<BackendId>) -> BTreeSet<BackendId> {
        let mut sessions = self.sessions.lock().unwrap();
        sessions.retain(|server| alive.contains(server));
        sessions.clone()
    }

    fn counters(&self) -> Result<BTreeMap<&'static str, u64>, ReadMapError> {
        Ok(BTreeMap::new())
    }

    fn nat_cursor(&self, id: BackendId) -> Result<NatCursor, ReadMapError> {
        let cursors = self.nat_cursors.lock().unwrap();
        Ok(cursors.get(&id).copied().unwrap_or_default())
    }

    fn service_traffic(&self, _: ServiceId) -> Result<Traffic, ReadMapError> {
        Ok(Traffic::default())
    }

    fn backend_traffic(&self, _: BackendId) -> Result<Traffic, ReadMapError> {
        Ok(Traffic::default())
    }
}

/// Maps of which some writes fail; half of those have nevertheless happened, as after an interrupted call.
pub(crate) struct FaultyMaps {
    pub(crate) inner: FakeMaps,
    /// For each coming write whether it fails, last one first; afterwards all succeed.
    pub(crate) faults: Vec<Option<FaultKind>>,
    pub(crate) faults_seen: usize,
}

/// How a write fails.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FaultKind {
    /// It has not happened.
    Absent,
    /// Of a write of slots the first half has happened.
    Half,
    /// It has happened, but its outcome is an error.
    Unknown,
}

impl Rings for FaultyMaps {
    fn slot(&self, index: u32) -> RingSlot {
        self.inner.slot(index)
    }
}

impl LbMaps for FaultyMaps {
    fn read(&self) -> Result<Observed, ReadMapError> {
        self.inner.read()
    }

    fn write(&mut self, op: &MapOp) -> Result<(), WriteMapError> {
        let Some(kind) = self.faults.pop().flatten() else {
            return self.inner.write(op);
        };
        self.faults_seen += 1;
        match (kind, op) {
            (FaultKind::Unknown, _) => self.inner.write(op)?,
            (FaultKind::Half, MapOp::PutSlots(slots)) => {
                let half = slots[..slots.len() / 2].to_vec();
                self.inner.write(&MapOp::PutSlots(half))?;
            }
            (FaultKind::Half, MapOp::PutRing(ring, servers)) => {
                let half = PoolRing {
                    slots: ring.slots / 2,
                    ..*ring
                };
                let op = MapOp::PutRing(half, servers.clone());
                self.inner.write(&op)?;
            }
            (FaultKind::Absent | FaultKind::Half, _) => {}
        }
        Err(WriteMapError {
            op: Box::new(op.clone()),
            source: "injected".into(),
        })
    }

    fn sweep_flows(&mut self, alive: &BTreeSet<BackendId>, idle: u32) -> BTreeSet<BackendId> {
        self.inner.sweep_flows(alive, idle)
    }

    fn sweep_sessions(&mut self, alive: &BTreeSet<BackendId>) -> BTreeSet<BackendId> {
        self.inner.sweep_sessions(alive)
    }

    fn counters(&self) -> Result<BTreeMap<&'static str, u64>, ReadMapError> {
        self.inner.counters()
    }

    fn nat_cursor(&self, id: BackendId) -> Result<NatCursor, ReadMapError> {
        self.inner.nat_cursor(id)
    }

    fn service_traffic(&self, id: ServiceId) -> Result<Traffic, ReadMapError> {
        self.inner.service_traffic(id)
    }

    fn backend_traffic(&self, id: BackendId) -> Result<Traffic, ReadMapError> {
        self.inner.backend_traffic(id)
    }
}
