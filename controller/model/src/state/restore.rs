use std::{collections::BTreeMap, sync::Arc};

use lbfabric_abi::{BACKENDS_MAX, POOLS_MAX, SERVICES_MAX};
use lbfabric_proto::internal::v1 as internal;

use super::{FabricState, Leases, Stored, StoredCertificate, StoredPool, StoredService};
use crate::{
    BackendId, CERTIFICATES_MAX, Certificate, CertificateId, Generation, Name, Node, Pool, PoolId,
    SecretKey, Service, ServiceId, TicketKeys, Violation, id::IdAllocator,
};

impl FabricState {
    /// The state as it is written to a snapshot.
    pub fn to_snapshot(&self) -> internal::StateSnapshot {
        let Self {
            generation,
            objects_generation,
            services,
            pools,
            nodes,
            certificates,
            hash_key,
            ticket_keys,
            cookie_key,
            service_ids,
            pool_ids,
            backend_ids,
            certificate_ids,
            leases,
        } = self;
        internal::StateSnapshot {
            generation: generation.0,
            services: services
                .values()
                .map(|stored| internal::StoredService {
                    generation: stored.generation.0,
                    id: stored.id.0,
                    spec: Some(stored.service.to_spec()),
                })
                .collect(),
            pools: pools
                .values()
                .map(|stored| internal::StoredPool {
                    generation: stored.generation.0,
                    id: stored.id.0,
                    spec: Some(stored.pool.to_spec()),
                    backend_ids: stored.backend_ids.iter().map(|id| id.0).collect(),
                })
                .collect(),
            nodes: nodes
                .values()
                .map(|stored| internal::StoredNode {
                    generation: stored.generation.0,
                    spec: Some(stored.value.to_spec()),
                })
                .collect(),
            certificates: certificates
                .values()
                .map(|stored| internal::StoredCertificate {
                    generation: stored.generation.0,
                    id: stored.id.0,
                    spec: Some(stored.certificate.to_spec()),
                })
                .collect(),
            hash_key: hash_key.map(Vec::from).unwrap_or_default(),
            next_service_id: service_ids.next(),
            next_pool_id: pool_ids.next(),
            next_backend_id: backend_ids.next(),
            next_certificate_id: certificate_ids.next(),
            ticket_keys: ticket_keys
                .newest_first()
                .iter()
                .map(SecretKey::to_proto)
                .collect(),
            ticket_period: ticket_keys.period(),
            objects_generation: objects_generation.0,
            cookie_key: cookie_key.as_ref().map(SecretKey::to_proto),
            leases: Some(leases.to_stored()),
        }
    }

    /// The state of a snapshot. Errors name what no controller can have written.
    pub fn from_snapshot(snapshot: internal::StateSnapshot) -> Result<Self, Vec<Violation>> {
        let mut violations = Vec::new();
        let services = restore_services(snapshot.services, &mut violations);
        let pools = restore_pools(snapshot.pools, &mut violations);
        let nodes = restore_nodes(snapshot.nodes, &mut violations);
        let certificates = restore_certificates(snapshot.certificates, &mut violations);
        let hash_key = match snapshot.hash_key.len() {
            0 => None,
            _ => <[u8; 16]>::try_from(snapshot.hash_key)
                .map_err(|key| {
                    let reason = format!("{} bytes: 16 are right", key.len());
                    violations.push(Violation::new("hash_key", reason));
                })
                .ok(),
        };
        let ticket_keys = snapshot.ticket_keys.iter().map(SecretKey::from_proto);
        let ticket_keys: Option<Vec<_>> = ticket_keys.collect();
        if ticket_keys.is_none() {
            violations.push(Violation::new("ticket_keys", "32 bytes each are right"));
        }
        let cookie_key = snapshot.cookie_key.as_ref().map(SecretKey::from_proto);
        if cookie_key == Some(None) {
            violations.push(Violation::new("cookie_key", "32 bytes are right"));
        }
        let leases = Leases::from_stored(snapshot.leases.unwrap_or_default());
        let leases = leases.map_err(|violation| violations.push(violation));
        if !violations.is_empty() {
            return Err(violations);
        }
        let service_ids = services.values().map(|s| s.id.0);
        let pool_ids = pools.values().map(|p| p.id.0);
        let certificate_ids = certificates.values().map(|c| c.id.0);
        let backend_ids = pools
            .values()
            .flat_map(|p| p.backend_ids.iter().map(|id| id.0));
        // A snapshot from before it was told apart has one for both.
        let objects_generation = match snapshot.objects_generation {
            0 => snapshot.generation,
            told => told,
        };
        Ok(Self {
            generation: Generation(snapshot.generation),
            objects_generation: Generation(objects_generation),
            service_ids: IdAllocator::restore(SERVICES_MAX, snapshot.next_service_id, service_ids),
            pool_ids: IdAllocator::restore(POOLS_MAX, snapshot.next_pool_id, pool_ids),
            backend_ids: IdAllocator::restore(BACKENDS_MAX, snapshot.next_backend_id, backend_ids),
            certificate_ids: IdAllocator::restore(
                CERTIFICATES_MAX,
                snapshot.next_certificate_id,
                certificate_ids,
            ),
            services,
            pools,
            nodes,
            certificates,
            hash_key,
            ticket_keys: TicketKeys::new(snapshot.ticket_period, ticket_keys.unwrap_or_default()),
            cookie_key: cookie_key.flatten(),
            leases: Arc::new(leases.unwrap_or_default()),
        })
    }
}

fn restore_services(
    stored: Vec<internal::StoredService>,
    violations: &mut Vec<Violation>,
) -> BTreeMap<Name, Arc<StoredService>> {
    let mut services = BTreeMap::new();
    for (i, stored) in stored.into_iter().enumerate() {
        let path = format!("services[{i}].spec");
        let spec = stored.spec.unwrap_or_default();
        if let Some(service) = Service::parse(&spec, &path, violations) {
            let restored = StoredService {
                generation: Generation(stored.generation),
                id: ServiceId(stored.id),
                service,
            };
            services.insert(restored.service.name.clone(), Arc::new(restored));
        }
    }
    services
}

fn restore_pools(
    stored: Vec<internal::StoredPool>,
    violations: &mut Vec<Violation>,
) -> BTreeMap<Name, Arc<StoredPool>> {
    let mut pools = BTreeMap::new();
    for (i, stored) in stored.into_iter().enumerate() {
        let path = format!("pools[{i}].spec");
        let spec = stored.spec.unwrap_or_default();
        let Some(pool) = Pool::parse(&spec, &path, violations) else {
            continue;
        };
        if stored.backend_ids.len() != pool.backends.len() {
            violations.push(Violation::new(
                format!("pools[{i}].backend_ids"),
                format!(
                    "{} ids for {} servers",
                    stored.backend_ids.len(),
                    pool.backends.len()
                ),
            ));
        }
        let restored = StoredPool {
            generation: Generation(stored.generation),
            id: PoolId(stored.id),
            pool,
            backend_ids: stored.backend_ids.into_iter().map(BackendId).collect(),
        };
        pools.insert(restored.pool.name.clone(), Arc::new(restored));
    }
    pools
}

fn restore_nodes(
    stored: Vec<internal::StoredNode>,
    violations: &mut Vec<Violation>,
) -> BTreeMap<Name, Arc<Stored<Node>>> {
    let mut nodes = BTreeMap::new();
    for (i, stored) in stored.into_iter().enumerate() {
        let path = format!("nodes[{i}].spec");
        if let Some(value) = Node::parse(&stored.spec.unwrap_or_default(), &path, violations) {
            let generation = Generation(stored.generation);
            nodes.insert(value.name.clone(), Arc::new(Stored { generation, value }));
        }
    }
    nodes
}

fn restore_certificates(
    stored: Vec<internal::StoredCertificate>,
    violations: &mut Vec<Violation>,
) -> BTreeMap<Name, Arc<StoredCertificate>> {
    let mut certificates = BTreeMap::new();
    for (i, stored) in stored.into_iter().enumerate() {
        let path = format!("certificates[{i}].spec");
        let spec = stored.spec.unwrap_or_default();
        if let Some(certificate) = Certificate::parse(&spec, &path, violations) {
            let restored = StoredCertificate {
                generation: Generation(stored.generation),
                id: CertificateId(stored.id),
                certificate,
            };
            certificates.insert(restored.certificate.name.clone(), Arc::new(restored));
        }
    }
    certificates
}
