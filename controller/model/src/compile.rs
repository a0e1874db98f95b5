use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use lbfabric_proto::v1::{self, node_object};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::{
    Backend, Bgp, FabricState, Generation, Mode, Node, ObjectKey, ObjectKind, PortRange, Ports,
    Prefix, Proxy, SecretKey, Service, TicketKeys,
    state::{Stored, StoredPool, StoredService},
    vip::address_to_bytes,
};

mod encode;
mod exact_state;

use self::{
    encode::{encode, encode_certificate, encode_pool, encode_ports, encode_service},
    exact_state::services_with_exact_state,
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
    digest_in_order(held.iter().map(|(key, digest)| (*key, *digest)))
}

/// As [`digest_of_whole`], of objects with their digests in the order of their keys.
pub fn digest_in_order(objects: impl Iterator<Item = (ObjectKey, u64)>) -> u64 {
    let mut hash = Xxh3::new();
    for (ObjectKey { kind, id }, digest) in objects {
        let mut word = [0; 13];
        word[0] = kind as u8;
        word[1..5].copy_from_slice(&id.to_le_bytes());
        word[5..].copy_from_slice(&digest.to_le_bytes());
        hash.update(&word);
    }
    hash.digest()
}

/// A state in the form that nodes get: what is the same for all of them, encoded once.
#[derive(Debug)]
pub struct CompiledFabric {
    generation: Generation,
    /// The pools and services, and the certificates that services use.
    shared: BTreeMap<ObjectKey, (Version, Arc<EncodedObject>)>,
    hash_key: Option<[u8; 16]>,
    ticket_keys: TicketKeys,
    cookie_key: Option<SecretKey>,
    nodes: BTreeMap<String, Arc<Stored<Node>>>,
    /// What a server takes in, by the server's address.
    server_vips: BTreeMap<IpAddr, ServerVips>,
}

/// All that the encoding of an object depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    /// The generation of its last change.
    generation: Generation,
    /// What other objects make of a service, see [`services_with_exact_state`].
    exact_state: bool,
}

/// The VIPs that a server holds, the ports at which their tunnels come in as GUE, and those at which nodes tell it its clients.
#[derive(Clone, Debug, Default)]
struct ServerVips {
    vips: BTreeSet<Prefix>,
    gue_ports: BTreeSet<u16>,
    /// The longest hold time of the pools that they come from.
    hold_time_secs: u32,
    told_ports: BTreeSet<PortRange>,
    /// As [`Ports::Any`].
    told_at_any_port: bool,
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
        let mut shared = BTreeMap::new();
        let mut share = |kind, id, version, encode: &dyn Fn() -> Arc<EncodedObject>| {
            let key = ObjectKey { kind, id };
            let known = previous.and_then(|previous| previous.shared.get(&key));
            let object = match known {
                Some((had, object)) if *had == version => Arc::clone(object),
                Some(_) | None => encode(),
            };
            shared.insert(key, (version, object));
        };
        let plain = |generation| Version {
            generation,
            exact_state: false,
        };
        for pool in state.pools() {
            let version = plain(pool.generation);
            share(ObjectKind::Pool, pool.id.0, version, &|| encode_pool(pool));
        }
        let exact = services_with_exact_state(state);
        let mut server_vips = BTreeMap::new();
        for service in state.services() {
            let Some(pool) = state.pool(&service.service.pool) else {
                continue;
            };
            let version = Version {
                generation: service.generation,
                exact_state: exact.contains(&service.id),
            };
            let used = service.service.certificates();
            let used: Vec<_> = used
                .iter()
                .filter_map(|name| state.certificate(name))
                .collect();
            for certificate in &used {
                let version = plain(certificate.generation);
                share(ObjectKind::Certificate, certificate.id.0, version, &|| {
                    encode_certificate(certificate)
                });
            }
            let used: Vec<_> = used.iter().map(|certificate| certificate.id).collect();
            let proxy = service.service.proxy.as_ref();
            let routed = proxy.map(Proxy::pools).unwrap_or_default();
            let routed: Vec<_> = routed
                .into_iter()
                .filter_map(|name| Some(state.pool(name)?.id))
                .collect();
            share(ObjectKind::Service, service.id.0, version, &|| {
                encode_service(service, pool.id, version.exact_state, &used, &routed)
            });
            if let Some(Mode::Dsr | Mode::Tunnel) = service.service.mode.l4() {
                add_server_vips(&mut server_vips, service, pool);
            }
            if service.service.client_address_option {
                add_told_ports(&mut server_vips, &service.service, pool);
            }
        }
        let nodes = state.nodes();
        let nodes = nodes.map(|node| (node.value.name.to_string(), Arc::clone(node)));
        Self {
            generation: state.generation(),
            shared,
            hash_key: state.hash_key(),
            ticket_keys: state.ticket_keys().clone(),
            cookie_key: state.cookie_key().cloned(),
            nodes: nodes.collect(),
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
        let node = self.nodes.get(name);
        let generation = node.map(|node| node.generation).unwrap_or_default();
        let node = node.map(|node| &node.value);
        let sources = node.into_iter().flat_map(|node| &node.sources);
        let settings = v1::NodeSettings {
            hash_key: hash_key.to_vec(),
            source_addresses: sources.copied().map(address_to_bytes).collect(),
            ticket_keys: self
                .ticket_keys
                .in_use_first()
                .into_iter()
                .map(SecretKey::to_proto)
                .collect(),
            cookie_key: self.cookie_key.as_ref().map(SecretKey::to_proto),
            labels: node.map(|node| node.labels.to_spec()).unwrap_or_default(),
            drained: node.is_some_and(|node| node.is_drained),
            bgp: node.and_then(|node| node.bgp.as_ref()).map(Bgp::to_spec),
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

    /// Every address that a node is to send from.
    fn node_addresses(&self) -> BTreeSet<IpAddr> {
        let nodes = self.nodes.values();
        nodes
            .flat_map(|node| &node.value.sources)
            .copied()
            .collect()
    }

    fn for_server(&self, addresses: &[IpAddr]) -> BTreeMap<ObjectKey, Arc<EncodedObject>> {
        let mut all = ServerVips::default();
        for ServerVips {
            vips,
            gue_ports,
            hold_time_secs,
            told_ports,
            told_at_any_port,
        } in addresses
            .iter()
            .filter_map(|address| self.server_vips.get(address))
        {
            all.vips.extend(vips);
            all.gue_ports.extend(gue_ports);
            all.hold_time_secs = all.hold_time_secs.max(*hold_time_secs);
            all.told_ports.extend(told_ports);
            all.told_at_any_port |= told_at_any_port;
        }
        let ports = all.told_ports();
        let key = ObjectKey {
            kind: ObjectKind::ServerVips,
            id: 0,
        };
        let vips = v1::NodeServerVips {
            vips: all.vips.into_iter().map(Prefix::to_bytes).collect(),
            gue_ports: all.gue_ports.into_iter().map(u32::from).collect(),
            hold_time_secs: all.hold_time_secs,
            client_address_nodes: ports
                .iter()
                .flat_map(|_| self.node_addresses())
                .map(address_to_bytes)
                .collect(),
            client_address_ports: ports.iter().flat_map(encode_ports).collect(),
        };
        let object = encode(
            Generation::default(),
            "",
            node_object::Object::ServerVips(vips),
        );
        BTreeMap::from([(key, object)])
    }
}

// === impl ServerVips ===

impl ServerVips {
    /// The ports at which nodes tell clients' addresses, if there are any.
    fn told_ports(&self) -> Option<Ports> {
        if self.told_at_any_port {
            return Some(Ports::Any);
        }
        let ranges: Vec<_> = self.told_ports.iter().copied().collect();
        (!ranges.is_empty()).then_some(Ports::Ranges(ranges))
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

/// Adds to each server of a service what the service makes it hold.
fn add_server_vips(
    all: &mut BTreeMap<IpAddr, ServerVips>,
    service: &StoredService,
    pool: &StoredPool,
) {
    let service = &service.service;
    let gue_port = service.tunnel.and_then(|tunnel| tunnel.gue_port);
    for backend in &pool.pool.backends {
        for address in backend.addresses() {
            let of_server = all.entry(address).or_default();
            of_server.vips.extend(&service.vips);
            of_server.gue_ports.extend(gue_port.map(u16::from));
            let secs = pool.pool.flow_keeping.hold_time_secs;
            of_server.hold_time_secs = of_server.hold_time_secs.max(secs);
        }
    }
}

/// Adds to each server of a service the ports at which it is told its clients.
fn add_told_ports(all: &mut BTreeMap<IpAddr, ServerVips>, service: &Service, pool: &StoredPool) {
    let backends = pool.pool.backends.iter();
    for address in backends.flat_map(Backend::addresses) {
        let of_server = all.entry(address).or_default();
        match (service.backend_port, &service.ports) {
            (Some(port), _) => {
                let (first, last) = (port.get(), port.get());
                of_server.told_ports.insert(PortRange { first, last });
            }
            (None, Ports::Ranges(ranges)) => of_server.told_ports.extend(ranges),
            (None, Ports::Any) => of_server.told_at_any_port = true,
        }
    }
}
