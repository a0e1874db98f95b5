use lbfabric_model::{ObjectKey, ObjectKind, ServiceId};

use super::run::Agent;
use crate::seeing::NodeSeen;

impl Agent {
    /// What the administration is told.
    pub(super) fn seen(&self) -> NodeSeen {
        let desired = &self.progress.desired;
        let services = desired.names.iter();
        let of_kind = services.filter(|(key, _)| key.kind == ObjectKind::Service);
        let pools = desired.pools.iter().flat_map(|(id, pool)| {
            let key = ObjectKey {
                kind: ObjectKind::Pool,
                id: id.0,
            };
            let name = desired.names.get(&key).map_or("", String::as_str);
            pool.backends.iter().map(move |it| (name, it))
        });
        NodeSeen {
            node: self.config.name.clone(),
            report: self.report(),
            is_connected: self.progress.session.is_some(),
            leases: self.role.lease_counts(),
            rivals: self.role.rivals().len() as u64,
            services: of_kind
                .map(|(key, name)| (ServiceId(key.id), name.clone()))
                .collect(),
            servers: pools
                .map(|(pool, it)| (it.id, (pool.to_owned(), it.name.clone())))
                .collect(),
        }
    }
}
