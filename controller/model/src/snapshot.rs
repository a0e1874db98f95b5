//! A node's side of its snapshot: the objects, decoded and checked once.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZeroU16,
};

use lbfabric_abi::BACKENDS_MAX;
use lbfabric_proto::v1::{self, node_object};
use prost::Message as _;

use crate::{
    Affinity, BackendId, FlowKeeping, Generation, HealthCheck, Mode, PoolId, PortRange, Protocol,
    vip::address_from_bytes, wire_enum::WireEnum,
};

/// An object of a node's snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotObject {
    /// The generation of its last change.
    pub generation: Generation,
    /// Its name; empty for settings and server VIPs.
    pub name: String,
    /// What it is.
    pub body: SnapshotBody,
}

/// What an object is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotBody {
    /// What holds for the whole node.
    Settings(NodeSettings),
    /// A pool.
    Pool(NodePool),
    /// A service.
    Service(NodeService),
    /// The VIPs that a server holds.
    ServerVips(NodeServerVips),
}

/// The VIPs that a server holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeServerVips {
    /// The addresses.
    pub vips: Vec<IpAddr>,
    /// For how many seconds one of them may have flows after it was taken off the list; 0 if there are none.
    pub hold_time_secs: u32,
}

/// What holds for the whole node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSettings {
    /// The key of the selection hash.
    pub hash_key: [u8; 16],
    /// Sources of full NAT and tunnels; empty: the node's choice.
    pub sources: Vec<IpAddr>,
}

/// A pool as a node needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePool {
    /// The slots of its ring, at least 2.
    pub slots: u32,
    /// The servers.
    pub backends: Vec<NodeBackend>,
    /// How they are probed; `None`: always healthy.
    pub health_check: Option<HealthCheck>,
    /// How long established flows keep their server.
    pub flow_keeping: FlowKeeping,
}

/// A server as a node needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeBackend {
    /// Its id.
    pub id: BackendId,
    /// Its name.
    pub name: String,
    /// Its IPv4 address.
    pub ipv4: Option<Ipv4Addr>,
    /// Its IPv6 address.
    pub ipv6: Option<Ipv6Addr>,
    /// Its share; 0 gets no new connections.
    pub weight: u16,
}

/// A service as a node needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeService {
    /// Its addresses.
    pub vips: Vec<IpAddr>,
    /// Its ports.
    pub ports: Vec<PortRange>,
    /// Its protocol.
    pub protocol: Protocol,
    /// How packets reach the servers.
    pub mode: Mode,
    /// Which packets reach the same server.
    pub affinity: Affinity,
    /// Its pool.
    pub pool: PoolId,
    /// The servers' port; `None`: the client's choice.
    pub backend_port: Option<NonZeroU16>,
}

/// An object that this node cannot read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeSnapshotError {
    /// The bytes are not an encoded object.
    #[error("the object is not readable")]
    Decode(#[from] prost::DecodeError),
    /// A field is missing, out of range, or of a newer version.
    #[error("{0} is missing, out of range, or newer than this node")]
    Field(&'static str),
}

use DecodeSnapshotError::Field;

impl SnapshotObject {
    /// Decodes an object and checks all that the node relies on.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeSnapshotError> {
        let proto = v1::NodeObject::decode(bytes)?;
        let body = match proto.object.ok_or(Field("object"))? {
            node_object::Object::Settings(settings) => {
                SnapshotBody::Settings(decode_settings(&settings)?)
            }
            node_object::Object::Pool(pool) => SnapshotBody::Pool(decode_pool(pool)?),
            node_object::Object::Service(service) => {
                SnapshotBody::Service(decode_service(&service)?)
            }
            node_object::Object::ServerVips(v1::NodeServerVips {
                vips,
                hold_time_secs,
            }) => SnapshotBody::ServerVips(NodeServerVips {
                vips: decode_addresses(&vips, "server_vips.vips")?,
                hold_time_secs,
            }),
        };
        Ok(Self {
            generation: Generation(proto.generation),
            name: proto.name,
            body,
        })
    }
}

fn decode_addresses(
    bytes: &[Vec<u8>],
    field: &'static str,
) -> Result<Vec<IpAddr>, DecodeSnapshotError> {
    let addresses = bytes
        .iter()
        .map(|b| address_from_bytes(b).ok_or(Field(field)));
    addresses.collect()
}

fn decode_settings(proto: &v1::NodeSettings) -> Result<NodeSettings, DecodeSnapshotError> {
    let hash_key = proto
        .hash_key
        .first_chunk()
        .filter(|_| proto.hash_key.len() == 16);
    Ok(NodeSettings {
        hash_key: *hash_key.ok_or(Field("settings.hash_key"))?,
        sources: decode_addresses(&proto.source_addresses, "settings.source_addresses")?,
    })
}

fn decode_pool(proto: v1::NodePool) -> Result<NodePool, DecodeSnapshotError> {
    let health_check = proto.health_check.map(|spec| {
        let parsed = HealthCheck::parse(&spec, "pool.health_check", &mut Vec::new());
        parsed.ok_or(Field("pool.health_check"))
    });
    if proto.slots < 2 {
        return Err(Field("pool.slots"));
    }
    let mut violations = Vec::new();
    let flow_keeping = FlowKeeping::parse(
        proto.hold_time_secs,
        proto.dead_after_ms,
        "pool",
        &mut violations,
    );
    if !violations.is_empty() {
        return Err(Field("pool.hold_time_secs or pool.dead_after_ms"));
    }
    let backends = proto.backends.into_iter().map(decode_backend);
    Ok(NodePool {
        slots: proto.slots,
        backends: backends.collect::<Result<_, _>>()?,
        health_check: health_check.transpose()?,
        flow_keeping,
    })
}

fn decode_backend(proto: v1::NodeBackend) -> Result<NodeBackend, DecodeSnapshotError> {
    fn octets<const N: usize>(
        bytes: &[u8],
        field: &'static str,
    ) -> Result<Option<[u8; N]>, DecodeSnapshotError> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let octets = bytes.try_into().ok();
        octets.map(Some).ok_or(Field(field))
    }
    if proto.id >= BACKENDS_MAX {
        return Err(Field("pool.backends.id"));
    }
    Ok(NodeBackend {
        id: BackendId(proto.id),
        name: proto.name,
        ipv4: octets(&proto.ipv4, "pool.backends.ipv4")?.map(Ipv4Addr::from),
        ipv6: octets::<16>(&proto.ipv6, "pool.backends.ipv6")?.map(Ipv6Addr::from),
        weight: proto
            .weight
            .try_into()
            .ok()
            .ok_or(Field("pool.backends.weight"))?,
    })
}

fn decode_service(proto: &v1::NodeServiceObject) -> Result<NodeService, DecodeSnapshotError> {
    fn named<T: WireEnum>(value: T::Proto, field: &'static str) -> Result<T, DecodeSnapshotError> {
        T::from_proto(value).ok_or(Field(field))
    }
    let ports = proto.ports.iter().map(|v1::NodePortRange { first, last }| {
        PortRange::new((*first).try_into().ok()?, (*last).try_into().ok()?)
    });
    let backend_port = u16::try_from(proto.backend_port);
    Ok(NodeService {
        vips: decode_addresses(&proto.vips, "service.vips")?,
        ports: ports.collect::<Option<_>>().ok_or(Field("service.ports"))?,
        protocol: named(proto.protocol(), "service.protocol")?,
        mode: named(proto.mode(), "service.mode")?,
        affinity: named(proto.affinity(), "service.affinity")?,
        pool: PoolId(proto.pool_id),
        backend_port: backend_port
            .map(NonZeroU16::new)
            .ok()
            .ok_or(Field("service.backend_port"))?,
    })
}
