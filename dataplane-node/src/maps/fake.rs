//! Maps for tests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use lbfabric_abi::Traffic;
use lbfabric_model::{BackendId, ServiceId};

use super::{LbMaps, ReadMapError, WriteMapError};
use crate::plan::{MapOp, Observed};

/// Maps in memory, which check after each write what must hold at any moment.
#[derive(Clone)]
pub(crate) struct FakeMaps {
    pub(crate) content: Arc<Mutex<Observed>>,
    /// The servers that the flow table names.
    pub(crate) flows: Arc<Mutex<BTreeSet<BackendId>>>,
    /// The servers that full-NAT sessions name.
    pub(crate) sessions: Arc<Mutex<BTreeSet<BackendId>>>,
    check: Arc<dyn Fn(&Observed) + Send + Sync>,
}

impl FakeMaps {
    /// Empty maps; `check` panics where the content breaks an invariant.
    pub(crate) fn new(
        ring_capacity: u32,
        check: impl Fn(&Observed) + Send + Sync + 'static,
    ) -> Self {
        Self {
            content: Arc::new(Mutex::new(Observed::empty(ring_capacity, 1, 1))),
            flows: Arc::default(),
            sessions: Arc::default(),
            check: Arc::new(check),
        }
    }
}

impl LbMaps for FakeMaps {
    fn read(&self) -> Result<Observed, ReadMapError> {
        Ok(self.content.lock().unwrap().clone())
    }

    fn write(&mut self, op: &MapOp) -> Result<(), WriteMapError> {
        let mut content = self.content.lock().unwrap();
        content.apply(op);
        (self.check)(&content);
        Ok(())
    }

    fn sweep_flows(&mut self, alive: &BTreeSet<BackendId>, _: u32) -> BTreeSet<BackendId> {
        let mut flows = self.flows.lock().unwrap();
        flows.retain(|server| alive.contains(server));
        flows.clone()
    }

    fn sweep_sessions(&mut self, alive: &BTreeSet<BackendId>) {
        self.sessions
            .lock()
            .unwrap()
            .retain(|server| alive.contains(server));
    }

    fn counters(&self) -> Result<BTreeMap<&'static str, u64>, ReadMapError> {
        Ok(BTreeMap::new())
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
    /// It has happened, but its outcome is an error.
    Unknown,
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
        if let FaultKind::Unknown = kind {
            self.inner.write(op)?;
        }
        Err(WriteMapError {
            op: Box::new(*op),
            source: "injected".into(),
        })
    }

    fn sweep_flows(&mut self, alive: &BTreeSet<BackendId>, idle: u32) -> BTreeSet<BackendId> {
        self.inner.sweep_flows(alive, idle)
    }

    fn sweep_sessions(&mut self, alive: &BTreeSet<BackendId>) {
        self.inner.sweep_sessions(alive);
    }

    fn counters(&self) -> Result<BTreeMap<&'static str, u64>, ReadMapError> {
        self.inner.counters()
    }

    fn service_traffic(&self, id: ServiceId) -> Result<Traffic, ReadMapError> {
        self.inner.service_traffic(id)
    }

    fn backend_traffic(&self, id: BackendId) -> Result<Traffic, ReadMapError> {
        self.inner.backend_traffic(id)
    }
}
