use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use lbfabric_model::{
    Generation, ObjectKey, ObjectKind, PoolId, ServiceId,
    snapshot::{NodePool, NodeService, NodeSettings, ServerVips, SnapshotBody, SnapshotObject},
};

/// A node's snapshot, decoded: what the controller wants of this node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Desired {
    pub(crate) settings: Option<NodeSettings>,
    pub(crate) pools: BTreeMap<PoolId, NodePool>,
    pub(crate) services: BTreeMap<ServiceId, NodeService>,
    /// What a server takes in.
    pub(crate) server: ServerVips,
    /// Names of all objects that were decoded and have one.
    pub(crate) names: BTreeMap<ObjectKey, String>,
    /// Generations of all objects that were decoded.
    pub(crate) generations: BTreeMap<ObjectKey, Generation>,
    /// Objects that this version of the agent does not understand, with the reason.
    pub(crate) undecodable: BTreeMap<ObjectKey, String>,
}

impl Desired {
    /// Decodes the objects that a node holds.
    pub(crate) fn decode<'a>(objects: impl Iterator<Item = (ObjectKey, &'a [u8])>) -> Self {
        let mut desired = Self::default();
        for (key, bytes) in objects {
            match SnapshotObject::decode(bytes) {
                Ok(object) => desired.insert(key, object),
                Err(error) => {
                    desired.undecodable.insert(
                        key,
                        format!("this node does not understand it: {error}; upgrade the node"),
                    );
                }
            }
        }
        desired
    }

    fn insert(&mut self, key: ObjectKey, object: SnapshotObject) {
        let SnapshotObject {
            generation,
            name,
            body,
        } = object;
        self.names.insert(key, name);
        self.generations.insert(key, generation);
        match (key.kind, body) {
            (ObjectKind::Settings, SnapshotBody::Settings(settings)) => {
                self.settings = Some(settings);
            }
            (ObjectKind::Pool, SnapshotBody::Pool(pool)) => {
                self.pools.insert(PoolId(key.id), pool);
            }
            (ObjectKind::Service, SnapshotBody::Service(service)) => {
                self.services.insert(ServiceId(key.id), service);
            }
            (ObjectKind::ServerVips, SnapshotBody::ServerVips(vips)) => {
                self.server = vips;
            }
            (kind, _) => {
                self.undecodable
                    .insert(key, format!("its content is not that of a {kind:?} object"));
            }
        }
    }

    /// Every address of every server.
    pub(crate) fn backend_addresses(&self) -> BTreeSet<IpAddr> {
        self.pools
            .values()
            .flat_map(|pool| &pool.backends)
            .flat_map(|backend| {
                let v4 = backend.ipv4.map(IpAddr::V4);
                let v6 = backend.ipv6.map(IpAddr::V6);
                v4.into_iter().chain(v6)
            })
            .collect()
    }
}
