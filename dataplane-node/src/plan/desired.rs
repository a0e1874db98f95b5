use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use lbfabric_model::{
    AnnouncedBy, Announcement, CertificateId, Generation, ObjectKey, ObjectKind, PoolId, Prefix,
    ServiceId,
    snapshot::{
        NodeCertificate, NodePool, NodeProxy, NodeService, NodeSettings, ServerVips, SnapshotBody,
        SnapshotObject,
    },
};

use crate::{
    announce::prefix_of,
    snapshot::{HeldObject, HeldSnapshot},
};

/// A node's snapshot, decoded: what the controller wants of this node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Desired {
    pub(crate) settings: Option<NodeSettings>,
    pub(crate) pools: BTreeMap<PoolId, NodePool>,
    /// The services of layer 4.
    pub(crate) services: BTreeMap<ServiceId, NodeService>,
    /// The services of layer 7.
    pub(crate) proxies: BTreeMap<ServiceId, NodeProxy>,
    /// The certificates of these.
    pub(crate) certificates: BTreeMap<CertificateId, Arc<NodeCertificate>>,
    /// How services' VIPs are announced, of those that say so.
    pub(crate) announcements: BTreeMap<ServiceId, Announcement>,
    /// The VIPs of those of them that are announced by BGP, as neighbors are told of them.
    pub(crate) routes: BTreeMap<ServiceId, Arc<[lbfabric_bgp::Prefix]>>,
    /// What a server takes in.
    pub(crate) server: ServerVips,
    /// Names of all objects that were decoded and have one.
    pub(crate) names: BTreeMap<ObjectKey, String>,
    /// Generations of all objects that were decoded.
    pub(crate) generations: BTreeMap<ObjectKey, Generation>,
    /// Objects that this version of the agent does not understand, with the reason.
    pub(crate) undecodable: BTreeMap<ObjectKey, String>,
    /// Digests of all objects, encoded; none of objects that were never encoded.
    pub(crate) digests: BTreeMap<ObjectKey, u64>,
}

impl Desired {
    /// Decodes the objects that a node holds.
    pub(crate) fn decode(held: &HeldSnapshot) -> Self {
        let mut desired = Self::default();
        for (key, object) in held.objects() {
            desired.put(key, object);
        }
        desired
    }

    /// Decodes those of the objects again that a delta has changed.
    pub(crate) fn follow(&mut self, held: &HeldSnapshot, changed: &[ObjectKey]) {
        for key in changed {
            self.remove(*key);
            if let Some(object) = held.object(*key) {
                self.put(*key, object);
            }
        }
    }

    fn put(&mut self, key: ObjectKey, HeldObject { bytes, digest }: &HeldObject) {
        self.digests.insert(key, *digest);
        match SnapshotObject::decode(bytes) {
            Ok(object) => self.insert(key, object),
            Err(error) => {
                self.undecodable.insert(
                    key,
                    format!("this node does not understand it: {error}; upgrade the node"),
                );
            }
        }
    }

    fn remove(&mut self, key: ObjectKey) {
        self.digests.remove(&key);
        self.names.remove(&key);
        self.generations.remove(&key);
        self.undecodable.remove(&key);
        match key.kind {
            ObjectKind::Settings => self.settings = None,
            ObjectKind::Pool => {
                self.pools.remove(&PoolId(key.id));
            }
            ObjectKind::Service => {
                self.services.remove(&ServiceId(key.id));
                self.proxies.remove(&ServiceId(key.id));
                self.announcements.remove(&ServiceId(key.id));
                self.routes.remove(&ServiceId(key.id));
            }
            ObjectKind::ServerVips => self.server = ServerVips::default(),
            ObjectKind::Certificate => {
                self.certificates.remove(&CertificateId(key.id));
            }
        }
    }

    fn insert(&mut self, key: ObjectKey, object: SnapshotObject) {
        let SnapshotObject {
            generation,
            name,
            body,
            announcement,
        } = object;
        self.names.insert(key, name);
        self.generations.insert(key, generation);
        if let (ObjectKind::Service, Some(announcement)) = (key.kind, announcement) {
            let id = ServiceId(key.id);
            if let AnnouncedBy::Bgp(_) = announcement.by {
                let vips = vips_of(&body).iter().copied().map(prefix_of);
                self.routes.insert(id, vips.collect());
            }
            self.announcements.insert(id, announcement);
        }
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
            (ObjectKind::Service, SnapshotBody::Proxy(service)) => {
                self.proxies.insert(ServiceId(key.id), *service);
            }
            (ObjectKind::ServerVips, SnapshotBody::ServerVips(vips)) => {
                self.server = vips;
            }
            (ObjectKind::Certificate, SnapshotBody::Certificate(certificate)) => {
                let id = CertificateId(key.id);
                self.certificates.insert(id, Arc::new(certificate));
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

/// The VIPs of a service.
fn vips_of(body: &SnapshotBody) -> &[Prefix] {
    match body {
        SnapshotBody::Service(service) => &service.vips,
        SnapshotBody::Proxy(service) => &service.vips,
        SnapshotBody::Settings(_)
        | SnapshotBody::Pool(_)
        | SnapshotBody::ServerVips(_)
        | SnapshotBody::Certificate(_) => &[],
    }
}

#[cfg(test)]
mod tests {
    use lbfabric_model::{digest_in_order, digest_of_object};
    use lbfabric_proto::v1::{self, node_object::Object};
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;
    use crate::snapshot::DeltaOutcome;

    /// An object of one of several kinds that may be another one each time, or none that anybody understands.
    fn encoded(key: ObjectKey, variant: u8) -> Vec<u8> {
        let vips = vec![vec![192, 0, 2, variant]];
        let object = match (key.kind, variant) {
            (_, 0) => return vec![0xff; 3],
            // Of another kind than its key.
            (ObjectKind::Pool, 1) | (ObjectKind::Settings, _) => {
                Object::Settings(v1::NodeSettings {
                    hash_key: vec![variant; 16],
                    ..v1::NodeSettings::default()
                })
            }
            (ObjectKind::Pool, _) => Object::Pool(v1::NodePool {
                slots: 131,
                hold_time_secs: variant.into(),
                ..v1::NodePool::default()
            }),
            (ObjectKind::Service, _) => Object::Service(Box::new(v1::NodeServiceObject {
                vips,
                ports: vec![v1::NodePortRange {
                    first: 80,
                    last: 80,
                }],
                protocol: v1::Protocol::Tcp.into(),
                mode: v1::Mode::L4Dsr.into(),
                affinity: v1::Affinity::FiveTuple.into(),
                ..v1::NodeServiceObject::default()
            })),
            (ObjectKind::ServerVips, _) => Object::ServerVips(v1::NodeServerVips {
                hold_time_secs: variant.into(),
                ..v1::NodeServerVips::default()
            }),
            // What begins like a key in PKCS #8.
            (ObjectKind::Certificate, _) => Object::Certificate(v1::NodeCertificate {
                chain: vec![vec![variant]],
                key: vec![0x30, 5, 2, 1, 0, 0x30, 0],
            }),
        };
        v1::NodeObject {
            generation: variant.into(),
            name: format!("n{variant}"),
            object: Some(object),
        }
        .encode_to_vec()
    }

    fn any_key() -> impl Strategy<Value = ObjectKey> {
        let kind = prop::sample::select(vec![
            ObjectKind::Settings,
            ObjectKind::Pool,
            ObjectKind::Service,
            ObjectKind::ServerVips,
            ObjectKind::Certificate,
        ]);
        (kind, 0u32..3).prop_map(|(kind, id)| ObjectKey {
            kind,
            id: match kind {
                ObjectKind::Pool | ObjectKind::Service | ObjectKind::Certificate => id,
                ObjectKind::Settings | ObjectKind::ServerVips => 0,
            },
        })
    }

    proptest! {
        #[test]
        fn following_leads_to_what_is_decoded_at_once(
            deltas in prop::collection::vec(
                prop::collection::btree_map(any_key(), prop::option::of(0u8..4), 0..4), 1..12),
        ) {
            let mut held = HeldSnapshot::default();
            let mut followed = Desired::default();
            let mut whole: BTreeMap<ObjectKey, Vec<u8>> = BTreeMap::new();
            for (generation, delta) in (1..).zip(deltas) {
                let mut sent = v1::Delta { generation, ..v1::Delta::default() };
                for (key, variant) in delta.clone() {
                    if let Some(variant) = variant {
                        let object = encoded(key, variant);
                        whole.insert(key, object.clone());
                        sent.upserts.push(v1::EncodedObject { key: Some(key.into()), object });
                    } else {
                        whole.remove(&key);
                        sent.removals.push(key.into());
                    }
                }
                sent.digest =
                    digest_in_order(whole.iter().map(|(key, it)| (*key, digest_of_object(it))));
                let DeltaOutcome::Applied(changed) = held.apply(sent).unwrap() else {
                    panic!("it is newer");
                };
                followed.follow(&held, &changed);
                let decoded = Desired::decode(&held);
                prop_assert_eq!(format!("{followed:?}"), format!("{decoded:?}"));
                for (key, variant) in delta {
                    let is_strange = followed.undecodable.contains_key(&key);
                    let is_meant = variant == Some(0) || variant == Some(1) && key.kind == ObjectKind::Pool;
                    prop_assert_eq!(is_strange, is_meant, "{:?} {:?}", key, variant);
                }
            }
        }
    }
}
