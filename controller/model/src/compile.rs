use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use lbfabric_proto::v1::{self, node_object};
use prost::Message as _;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::{
    FabricState, Generation, HealthCheck, Mode, ObjectKey, ObjectKind, PortRange,
    state::{StoredPool, StoredService},
    vip::address_to_bytes,
    wire_enum::WireEnum as _,
};

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Forwards clients' traffic to servers.
    LoadBalancer,
    /// Runs on a server.
    Server,
}

impl Role {
    /// The role of the wire; `None` for the unspecified one.
    pub fn from_proto(role: v1::NodeRole) -> Option<Self> {
        match role {
            v1::NodeRole::Unspecified => None,
            v1::NodeRole::LoadBalancer => Some(Self::LoadBalancer),
            v1::NodeRole::Server => Some(Self::Server),
        }
    }

    /// The role on the wire.
    pub fn to_proto(self) -> v1::NodeRole {
        match self {
            Self::LoadBalancer => v1::NodeRole::LoadBalancer,
            Self::Server => v1::NodeRole::Server,
        }
    }
}

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFacts {
    /// Its name.
    pub name: String,
    /// What it does.
    pub role: Role,
    /// Its own addresses; a server is known by them.
    pub addresses: Vec<IpAddr>,
}

/// An object as it goes over the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedObject {
    /// An encoded [`v1::NodeObject`].
    pub bytes: Vec<u8>,
    /// [`digest_of_object`] of `bytes`.
    pub digest: u64,
}

/// The digest of one encoded object.
pub fn digest_of_object(bytes: &[u8]) -> u64 {
    xxh3_64(bytes)
}

/// The digest of a whole snapshot: over kind, id and digest of each object, in order.
pub fn digest_of_whole(held: &BTreeMap<ObjectKey, u64>) -> u64 {
    let mut hash = Xxh3::new();
    for (ObjectKey { kind, id }, digest) in held {
        hash.update(&[*kind as u8]);
        hash.update(&id.to_le_bytes());
        hash.update(&digest.to_le_bytes());
    }
    hash.digest()
}

/// A state in the form that nodes get: what is the same for all of them, encoded once.
#[derive(Debug)]
pub struct CompiledFabric {
    generation: Generation,
    /// The pools and services, each with the generation of its last change.
    shared: BTreeMap<ObjectKey, (Generation, Arc<EncodedObject>)>,
    hash_key: Option<[u8; 16]>,
    sources: BTreeMap<String, (Generation, Vec<IpAddr>)>,
    /// What a server holds, by the server's address.
    server_vips: BTreeMap<IpAddr, HeldVips>,
}

/// The VIPs of a server.
#[derive(Debug, Default)]
struct HeldVips {
    vips: BTreeSet<IpAddr>,
    /// The longest hold time of the pools that they come from.
    hold_time_secs: u32,
}

/// What one node must do.
#[derive(Clone, Debug)]
pub struct NodeSnapshot {
    /// The state's generation.
    pub generation: Generation,
    /// The objects, encoded.
    pub objects: BTreeMap<ObjectKey, Arc<EncodedObject>>,
}

// === impl CompiledFabric ===

impl CompiledFabric {
    /// Compiles a state; objects that have not changed since `previous` are taken from it.
    pub fn compile(state: &FabricState, previous: Option<&Self>) -> Self {
        let reuse = |key: ObjectKey, generation: Generation| {
            let (had, object) = previous?.shared.get(&key)?;
            (*had == generation).then(|| Arc::clone(object))
        };
        let mut shared = BTreeMap::new();
        let mut server_vips: BTreeMap<_, HeldVips> = BTreeMap::new();
        for pool in state.pools() {
            let key = ObjectKey {
                kind: ObjectKind::Pool,
                id: pool.id.0,
            };
            let object = reuse(key, pool.generation).unwrap_or_else(|| encode_pool(pool));
            shared.insert(key, (pool.generation, object));
        }
        for service in state.services() {
            let key = ObjectKey {
                kind: ObjectKind::Service,
                id: service.id.0,
            };
            let Some(pool) = state.pool(&service.service.pool) else {
                continue;
            };
            let object = reuse(key, service.generation)
                .unwrap_or_else(|| encode_service(service, pool.id.0));
            shared.insert(key, (service.generation, object));
            if matches!(service.service.mode, Mode::Dsr | Mode::Tunnel) {
                for address in pool
                    .pool
                    .backends
                    .iter()
                    .flat_map(|b| b.addresses().collect::<Vec<_>>())
                {
                    let held = server_vips.entry(address).or_default();
                    held.vips.extend(service.service.vips.iter().copied());
                    let secs = pool.pool.flow_keeping.hold_time_secs;
                    held.hold_time_secs = held.hold_time_secs.max(secs);
                }
            }
        }
        let sources = state.nodes().map(|node| {
            let sources = node.value.sources.clone();
            (node.value.name.to_string(), (node.generation, sources))
        });
        Self {
            generation: state.generation(),
            shared,
            hash_key: state.hash_key(),
            sources: sources.collect(),
            server_vips,
        }
    }

    /// The compiled state's generation.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// What one node must do: nothing before the fabric has its hash key.
    pub fn for_node(&self, facts: &NodeFacts) -> NodeSnapshot {
        let objects = match (self.hash_key, facts.role) {
            (None, _) => BTreeMap::new(),
            (Some(key), Role::LoadBalancer) => self.for_load_balancer(&facts.name, key),
            (Some(_), Role::Server) => self.for_server(&facts.addresses),
        };
        NodeSnapshot {
            generation: self.generation,
            objects,
        }
    }

    fn for_load_balancer(
        &self,
        name: &str,
        hash_key: [u8; 16],
    ) -> BTreeMap<ObjectKey, Arc<EncodedObject>> {
        let (generation, sources) = self.sources.get(name).cloned().unwrap_or_default();
        let settings = v1::NodeSettings {
            hash_key: hash_key.to_vec(),
            source_addresses: sources.into_iter().map(address_to_bytes).collect(),
        };
        let key = ObjectKey {
            kind: ObjectKind::Settings,
            id: 0,
        };
        let settings = encode(generation, "", node_object::Object::Settings(settings));
        let shared = self
            .shared
            .iter()
            .map(|(key, (_, object))| (*key, Arc::clone(object)));
        std::iter::once((key, settings)).chain(shared).collect()
    }

    fn for_server(&self, addresses: &[IpAddr]) -> BTreeMap<ObjectKey, Arc<EncodedObject>> {
        let held = addresses
            .iter()
            .filter_map(|address| self.server_vips.get(address));
        let vips: BTreeSet<_> = held.clone().flat_map(|held| &held.vips).collect();
        let key = ObjectKey {
            kind: ObjectKind::ServerVips,
            id: 0,
        };
        let vips = v1::NodeServerVips {
            vips: vips.into_iter().map(|vip| address_to_bytes(*vip)).collect(),
            hold_time_secs: held.map(|held| held.hold_time_secs).max().unwrap_or(0),
        };
        let object = encode(
            Generation::default(),
            "",
            node_object::Object::ServerVips(vips),
        );
        BTreeMap::from([(key, object)])
    }
}

// === impl NodeSnapshot ===

impl NodeSnapshot {
    /// The digest of the whole.
    pub fn digest(&self) -> u64 {
        digest_of_whole(&self.held())
    }

    /// The digest of each object.
    pub fn held(&self) -> BTreeMap<ObjectKey, u64> {
        let held = self
            .objects
            .iter()
            .map(|(key, object)| (*key, object.digest));
        held.collect()
    }

    /// What takes a node that holds `held` to this snapshot.
    pub fn delta(&self, held: &BTreeMap<ObjectKey, u64>) -> v1::Delta {
        let differs = |key: &ObjectKey, digest: u64| held.get(key) != Some(&digest);
        v1::Delta {
            generation: self.generation.0,
            upserts: self
                .objects
                .iter()
                .filter(|(key, object)| differs(key, object.digest))
                .map(|(key, object)| v1::EncodedObject {
                    key: Some((*key).into()),
                    object: object.bytes.clone(),
                })
                .collect(),
            removals: held
                .keys()
                .filter(|key| !self.objects.contains_key(key))
                .map(|key| (*key).into())
                .collect(),
            digest: self.digest(),
        }
    }
}

fn encode_pool(stored: &StoredPool) -> Arc<EncodedObject> {
    let pool = &stored.pool;
    let backends = pool.backends.iter().zip(&stored.backend_ids);
    let object = v1::NodePool {
        slots: pool.slots(),
        backends: backends
            .map(|(backend, id)| v1::NodeBackend {
                id: id.0,
                name: backend.name.to_string(),
                ipv4: backend
                    .ipv4
                    .map(|a| a.octets().to_vec())
                    .unwrap_or_default(),
                ipv6: backend
                    .ipv6
                    .map(|a| a.octets().to_vec())
                    .unwrap_or_default(),
                weight: backend.weight.into(),
            })
            .collect(),
        health_check: pool.health_check.as_ref().map(HealthCheck::to_spec),
        hold_time_secs: pool.flow_keeping.hold_time_secs,
        dead_after_ms: Some(pool.flow_keeping.dead_after_ms),
    };
    encode(
        stored.generation,
        pool.name.as_str(),
        node_object::Object::Pool(object),
    )
}

fn encode_service(stored: &StoredService, pool_id: u32) -> Arc<EncodedObject> {
    let service = &stored.service;
    let object = v1::NodeServiceObject {
        vips: service
            .vips
            .iter()
            .map(|vip| address_to_bytes(*vip))
            .collect(),
        ports: service
            .ports
            .iter()
            .map(|PortRange { first, last }| v1::NodePortRange {
                first: (*first).into(),
                last: (*last).into(),
            })
            .collect(),
        protocol: service.protocol.to_proto().into(),
        mode: service.mode.to_proto().into(),
        pool_id,
        affinity: service.affinity.to_proto().into(),
        backend_port: service.backend_port.map_or(0, |port| port.get().into()),
    };
    encode(
        stored.generation,
        service.name.as_str(),
        node_object::Object::Service(object),
    )
}

fn encode(generation: Generation, name: &str, object: node_object::Object) -> Arc<EncodedObject> {
    let bytes = v1::NodeObject {
        generation: generation.0,
        name: name.to_owned(),
        object: Some(object),
    }
    .encode_to_vec();
    let digest = digest_of_object(&bytes);
    Arc::new(EncodedObject { bytes, digest })
}
