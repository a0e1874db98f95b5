use std::collections::BTreeMap;

use lbfabric_model::{ObjectKey, snapshot::NodeBackend};
use lbfabric_proto::v1;

use crate::{
    maps::{LbMaps, ReadMapError},
    plan::{Desired, Health, HealthView},
    snapshot::HeldSnapshot,
};

/// Refusals as the controller wants them.
pub(crate) fn refusals(
    reasons: &BTreeMap<ObjectKey, String>,
    desired: &Desired,
    held: &HeldSnapshot,
) -> Vec<v1::NodeObjectRefusal> {
    reasons
        .iter()
        .map(|(key, reason)| v1::NodeObjectRefusal {
            key: Some((*key).into()),
            generation: desired.generations.get(key).unwrap_or(&held.generation).0,
            reason: reason.clone(),
        })
        .collect()
}

/// The health of every server, and what was sent to it.
pub(crate) fn backends<M: LbMaps>(
    desired: &Desired,
    health: &HealthView,
    panics: &std::collections::BTreeSet<lbfabric_model::PoolId>,
    maps: Option<&M>,
) -> Result<Vec<v1::NodeBackendReport>, ReadMapError> {
    let mut reports = Vec::new();
    for (id, pool) in &desired.pools {
        for NodeBackend { id: backend, .. } in &pool.backends {
            let (healthy, mut reason) = match health.of(pool, *backend) {
                Health::Up => (true, String::new()),
                Health::Unknown => (false, "no probe has finished yet".to_owned()),
                Health::Down { reason, since: _ } => (false, reason.clone()),
            };
            if panics.contains(id) {
                reason.push_str("; every server of the pool fails, so all of them are used");
            }
            let traffic = maps
                .map(|maps| maps.backend_traffic(*backend))
                .transpose()?;
            reports.push(v1::NodeBackendReport {
                id: backend.0,
                healthy,
                reason,
                packets: traffic.unwrap_or_default().packets,
            });
        }
    }
    Ok(reports)
}

/// What was forwarded for every service.
pub(crate) fn services<M: LbMaps>(
    desired: &Desired,
    maps: Option<&M>,
) -> Result<Vec<v1::NodeServiceReport>, ReadMapError> {
    let Some(maps) = maps else {
        return Ok(Vec::new());
    };
    let reports = desired.services.keys().map(|id| {
        let traffic = maps.service_traffic(*id)?;
        Ok(v1::NodeServiceReport {
            id: id.0,
            packets: traffic.packets,
            bytes: traffic.bytes,
            warnings: Vec::new(),
        })
    });
    reports.collect()
}

/// Counters with owned names.
pub(crate) fn counters(named: BTreeMap<&'static str, u64>) -> BTreeMap<String, u64> {
    named
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}
