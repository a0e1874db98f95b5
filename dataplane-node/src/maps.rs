//! Access to the kernel's maps: one trait, with the real implementation, and a fake and a faulty one for tests.

mod aya_maps;
#[cfg(test)]
pub(crate) mod fake;
mod flow_map;
mod lookups;
mod ring_map;
mod server_maps;
mod session_map;
mod shared_words;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;

use lbfabric_abi::{NatCursor, Traffic};
use lbfabric_model::{BackendId, ServiceId};

use crate::plan::{MapOp, Observed, Rings};

pub(crate) use aya_maps::{AyaMaps, OpenMapsError};
pub(crate) use server_maps::ServerMaps;
pub(crate) use shared_words::{SharedWords, boot_clock, monotonic_ns};

/// A load balancer's maps. The reconciler knows nothing else of the kernel.
pub(crate) trait LbMaps: Rings + Send {
    /// Reads back everything that the agent writes, but for the slots, which [`Rings`] reads where they lie.
    fn read(&self) -> Result<Observed, ReadMapError>;

    /// Carries out one write.
    fn write(&mut self, op: &MapOp) -> Result<(), WriteMapError>;

    /// Frees entries of the flow table that were silent for more than `idle_ticks`, and those of other servers than `alive`.
    /// Returns the servers of all others.
    fn sweep_flows(&mut self, alive: &BTreeSet<BackendId>, idle_ticks: u32) -> BTreeSet<BackendId>;

    /// Frees sessions that have expired, and those of other servers than `alive`; gives the servers of those that are left.
    fn sweep_sessions(&mut self, alive: &BTreeSet<BackendId>) -> BTreeSet<BackendId>;

    /// Packets by verdict or drop reason, by name, summed over the CPUs.
    fn counters(&self) -> Result<BTreeMap<&'static str, u64>, ReadMapError>;

    /// What full NAT has refused to a server.
    fn nat_cursor(&self, id: BackendId) -> Result<NatCursor, ReadMapError>;

    /// What clients sent to a service.
    fn service_traffic(&self, id: ServiceId) -> Result<Traffic, ReadMapError>;

    /// What was sent to a server.
    fn backend_traffic(&self, id: BackendId) -> Result<Traffic, ReadMapError>;
}

/// A map could not be read.
#[derive(Debug, thiserror::Error)]
#[error("read map {map}")]
pub(crate) struct ReadMapError {
    pub(crate) map: &'static str,
    #[source]
    pub(crate) source: Box<dyn Error + Send + Sync>,
}

/// A map could not be written.
#[derive(Debug, thiserror::Error)]
#[error("write {op:?}")]
pub(crate) struct WriteMapError {
    pub(crate) op: Box<MapOp>,
    #[source]
    pub(crate) source: Box<dyn Error + Send + Sync>,
}
