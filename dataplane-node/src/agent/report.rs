use std::collections::BTreeMap;
use std::time::Duration;

use lbfabric_abi::NatCursor;
use lbfabric_model::{
    Mode, ObjectKey,
    snapshot::{NodeBackend, NodeService},
};
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
    monotonic_ns: u64,
) -> Result<Vec<v1::NodeServiceReport>, ReadMapError> {
    let Some(maps) = maps else {
        return Ok(Vec::new());
    };
    let reports = desired.services.iter().map(|(id, service)| {
        let traffic = maps.service_traffic(*id)?;
        Ok(v1::NodeServiceReport {
            id: id.0,
            packets: traffic.packets,
            bytes: traffic.bytes,
            warnings: nat_warnings(desired, service, maps, monotonic_ns)?,
            proxy: None,
        })
    });
    reports.collect()
}

/// For how long a refused flow is told of.
const REFUSAL_TOLD: Duration = Duration::from_mins(1);

/// Why full NAT, which serves some clients of destination NAT as well, or destination NAT with exact state has refused new flows to
/// a service's servers lately, and what helps.
fn nat_warnings<M: LbMaps>(
    desired: &Desired,
    service: &NodeService,
    maps: &M,
    monotonic_ns: u64,
) -> Result<Vec<String>, ReadMapError> {
    let pool = match service.mode {
        Mode::Fullnat | Mode::Dnat => desired.pools.get(&service.pool),
        Mode::Dsr | Mode::Tunnel => None,
    };
    let is_recent =
        |at: u64| at != 0 && Duration::from_nanos(monotonic_ns.saturating_sub(at)) < REFUSAL_TOLD;
    let mut warnings = Vec::new();
    for NodeBackend { id, name, .. } in pool.iter().flat_map(|it| &it.backends) {
        let NatCursor {
            turn: _,
            no_port_at,
            no_room_at,
        } = maps.nat_cursor(*id)?;
        if is_recent(no_port_at) {
            warnings.push(format!(
                "full NAT has refused connections to server {name} within the last minute: every port of the node's source addresses is in use there; give the node another one in source_addresses"
            ));
        }
        if is_recent(no_room_at) {
            warnings.push(format!(
                "connections to server {name} were refused within the last minute: the table of sessions is full; start the agent with a larger --nat-flows"
            ));
        }
    }
    Ok(warnings)
}

/// Counters with owned names.
pub(crate) fn counters(named: BTreeMap<&'static str, u64>) -> BTreeMap<String, u64> {
    named
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

#[cfg(test)]
mod tests {
    use lbfabric_model::{BackendId, PoolId, ServiceId};

    use super::*;
    use crate::{
        maps::fake::FakeMaps,
        plan::tests::{pool, service},
    };

    const NOW: u64 = 1_000_000_000_000;

    fn warnings(cursor: NatCursor) -> Vec<String> {
        let mut pool = pool(&[4]);
        pool.backends[0].name = "web-1".to_owned();
        let service = service(Mode::Fullnat, &["203.0.113.10"], &[(80, 80)]);
        let desired = Desired {
            pools: [(PoolId(1), pool)].into(),
            services: [(ServiceId(1), service)].into(),
            ..Desired::default()
        };
        let maps = FakeMaps::new(8, |_| {});
        maps.nat_cursors
            .lock()
            .unwrap()
            .insert(BackendId(4), cursor);
        let reports = services(&desired, Some(&maps), NOW).unwrap();
        assert_eq!(reports.len(), 1);
        reports[0].warnings.clone()
    }

    #[test]
    fn refusals_of_full_nat_are_told_for_a_minute() {
        let no_port = |at| NatCursor {
            no_port_at: at,
            ..NatCursor::default()
        };
        assert_eq!(warnings(no_port(0)), [""; 0]);
        assert_eq!(warnings(no_port(NOW - 60_000_000_000)), [""; 0]);
        let told = warnings(no_port(NOW - 59_000_000_000));
        assert_eq!(told.len(), 1);
        assert!(told[0].contains("web-1") && told[0].contains("source_addresses"));
        let told = warnings(NatCursor {
            no_room_at: NOW,
            ..NatCursor::default()
        });
        assert!(told.len() == 1 && told[0].contains("--nat-flows"));
    }
}
