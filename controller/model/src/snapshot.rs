//! A node's side of its snapshot: the objects, decoded and checked once.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZeroU16,
    sync::Arc,
};

use lbfabric_abi::BACKENDS_MAX;
use lbfabric_proto::v1::{self, node_object};
use prost::Message as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::{
    Affinity, Announcement, BackendId, Bgp, CertificateId, FlowKeeping, Generation, HealthCheck,
    Labels, Limits, Mode, PoolId, PortRange, Ports, Prefix, Protocol, Proxy, ProxyMode,
    QuicServerId, SecretKey, ServiceMode, SourceRules, Tunnel, vip::address_from_bytes,
    wire_enum::WireEnum,
};

mod announced;
mod proxied;

/// How [`Ports::Any`] travels: as a range that is none, so that a node which does not know it refuses the service.
pub(crate) const ANY_PORT: v1::NodePortRange = v1::NodePortRange {
    first: 0,
    last: 65_535,
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
    /// How a service's VIPs are announced, if it says so.
    pub announcement: Option<Announcement>,
}

/// What an object is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotBody {
    /// What holds for the whole node.
    Settings(NodeSettings),
    /// A pool.
    Pool(NodePool),
    /// A service of layer 4.
    Service(NodeService),
    /// A service of layer 7.
    Proxy(Box<NodeProxy>),
    /// The VIPs that a server holds.
    ServerVips(ServerVips),
    /// A certificate.
    Certificate(NodeCertificate),
}

/// What a server takes in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerVips {
    /// The VIPs of the `l4-dsr` and `l4-tunnel` services that it serves.
    pub vips: Vec<Prefix>,
    /// The UDP ports at which their tunnels come in as GUE.
    pub gue_ports: Vec<NonZeroU16>,
    /// For how many seconds one of the VIPs may have flows after it was taken off the list; 0 if there are none.
    pub hold_time_secs: u32,
    /// The nodes that tell clients' addresses in a TCP option, by the addresses that they send from.
    pub client_address_nodes: Vec<IpAddr>,
    /// The TCP ports at which they do; none if no service asks for that.
    pub client_address_ports: Option<Ports>,
}

/// What holds for the whole node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSettings {
    /// The key of the selection hash.
    pub hash_key: [u8; 16],
    /// Sources of full NAT and tunnels; empty: the node's choice.
    pub sources: Vec<IpAddr>,
    /// The keys of TLS sessions' tickets, the one that new ones are made with first; empty: the node's own.
    pub ticket_keys: Vec<SecretKey>,
    /// The key of cookies that keep clients with their servers; without it there are none.
    pub cookie_key: Option<SecretKey>,
    /// What services choose this node by.
    pub labels: Labels,
    /// Whether it is to be emptied.
    pub is_drained: bool,
    /// How it speaks BGP, if it is to; or why this node cannot read that.
    pub bgp: Option<Result<Bgp, String>>,
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
    /// What it puts into its QUIC connection IDs.
    pub quic_server_id: Option<QuicServerId>,
}

/// A certificate as a node needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeCertificate {
    /// The certificate, and those that lead from it to its issuer: at least one.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its private key.
    pub key: Arc<PrivateKeyDer<'static>>,
}

/// A service of layer 7 as a node needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeProxy {
    /// Its addresses; prefixes only where it listens transparently.
    pub vips: Vec<Prefix>,
    /// Its ports; every port only where it listens transparently over TCP, and with `backend_port`.
    pub ports: Ports,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Who the servers see.
    pub mode: ProxyMode,
    /// Its pool.
    pub pool: PoolId,
    /// The pools that it names beside that one, in the order of [`Proxy::pools`].
    pub route_pools: Vec<PoolId>,
    /// The servers' port; `None`: the client's choice.
    pub backend_port: Option<NonZeroU16>,
    /// What the engine does.
    pub proxy: Proxy,
    /// The certificates of `proxy.tls`, in their order, then that of `proxy.server_tls`, if it has one.
    pub certificates: Vec<CertificateId>,
}

/// A service of layer 4 as a node needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeService {
    /// Its addresses and prefixes.
    pub vips: Vec<Prefix>,
    /// Its ports.
    pub ports: Ports,
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
    /// How packets are encapsulated, in [`Mode::Tunnel`] and only there.
    pub tunnel: Option<Tunnel>,
    /// Whether the segment size in a SYN is lowered to what fits the path.
    pub clamp_mss: bool,
    /// Whether the server is told the client's address in a TCP option.
    pub client_address_option: bool,
    /// How many new flows this node lets through.
    pub limits: Limits,
    /// Which clients may use it.
    pub source_rules: SourceRules,
    /// In [`Mode::Dnat`]: an answer does not tell the VIP, so that each flow has to be remembered.
    pub exact_state: bool,
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

use self::announced::{decode_announcement, decode_bgp, decode_labels};

impl SnapshotObject {
    /// Decodes an object and checks all that the node relies on.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeSnapshotError> {
        let proto = v1::NodeObject::decode(bytes)?;
        let mut announcement = None;
        let body = match proto.object.ok_or(Field("object"))? {
            node_object::Object::Settings(settings) => {
                SnapshotBody::Settings(decode_settings(&settings)?)
            }
            node_object::Object::Pool(pool) => SnapshotBody::Pool(decode_pool(pool)?),
            node_object::Object::Service(service) => {
                announcement = decode_announcement(service.announce.as_ref())?;
                decode_service(&service)?
            }
            node_object::Object::Certificate(certificate) => {
                SnapshotBody::Certificate(decode_certificate(certificate)?)
            }
            node_object::Object::ServerVips(vips) => {
                SnapshotBody::ServerVips(decode_server_vips(&vips)?)
            }
        };
        Ok(Self {
            generation: Generation(proto.generation),
            name: proto.name,
            body,
            announcement,
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

fn decode_prefixes(
    bytes: &[Vec<u8>],
    field: &'static str,
) -> Result<Vec<Prefix>, DecodeSnapshotError> {
    let prefixes = bytes
        .iter()
        .map(|b| Prefix::from_bytes(b).ok_or(Field(field)));
    prefixes.collect()
}

fn decode_server_vips(proto: &v1::NodeServerVips) -> Result<ServerVips, DecodeSnapshotError> {
    let ports = proto.gue_ports.iter().map(|port| {
        let port = u16::try_from(*port).ok().and_then(NonZeroU16::new);
        port.ok_or(Field("server_vips.gue_ports"))
    });
    Ok(ServerVips {
        vips: decode_prefixes(&proto.vips, "server_vips.vips")?,
        gue_ports: ports.collect::<Result<_, _>>()?,
        hold_time_secs: proto.hold_time_secs,
        client_address_nodes: decode_addresses(
            &proto.client_address_nodes,
            "server_vips.client_address_nodes",
        )?,
        client_address_ports: match proto.client_address_ports.as_slice() {
            [] => None,
            ports => Some(decode_ports(ports).ok_or(Field("server_vips.client_address_ports"))?),
        },
    })
}

fn decode_settings(proto: &v1::NodeSettings) -> Result<NodeSettings, DecodeSnapshotError> {
    let hash_key = proto
        .hash_key
        .first_chunk()
        .filter(|_| proto.hash_key.len() == 16);
    Ok(NodeSettings {
        hash_key: *hash_key.ok_or(Field("settings.hash_key"))?,
        sources: decode_addresses(&proto.source_addresses, "settings.source_addresses")?,
        ticket_keys: proto
            .ticket_keys
            .iter()
            .map(|key| SecretKey::from_proto(key).ok_or(Field("settings.ticket_keys")))
            .collect::<Result<_, _>>()?,
        cookie_key: match &proto.cookie_key {
            None => None,
            Some(key) => Some(SecretKey::from_proto(key).ok_or(Field("settings.cookie_key"))?),
        },
        labels: decode_labels(&proto.labels)?,
        is_drained: proto.drained,
        bgp: proto.bgp.as_ref().map(decode_bgp),
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
        quic_server_id: match &proto.quic_server_id[..] {
            [] => None,
            bytes => Some(QuicServerId::new(bytes).ok_or(Field("pool.backends.quic_server_id"))?),
        },
    })
}

fn named<T: WireEnum>(value: T::Proto, field: &'static str) -> Result<T, DecodeSnapshotError> {
    T::from_proto(value).ok_or(Field(field))
}

fn decode_service(proto: &v1::NodeServiceObject) -> Result<SnapshotBody, DecodeSnapshotError> {
    match named(proto.mode(), "service.mode")? {
        ServiceMode::L4(mode) => Ok(SnapshotBody::Service(decode_l4(mode, proto)?)),
        ServiceMode::L7(mode) => Ok(SnapshotBody::Proxy(Box::new(proxied::decode(mode, proto)?))),
    }
}

fn decode_certificate(proto: v1::NodeCertificate) -> Result<NodeCertificate, DecodeSnapshotError> {
    if proto.chain.is_empty() {
        return Err(Field("certificate.chain"));
    }
    let key = PrivateKeyDer::try_from(proto.key);
    Ok(NodeCertificate {
        chain: proto.chain.into_iter().map(CertificateDer::from).collect(),
        key: Arc::new(key.ok().ok_or(Field("certificate.key"))?),
    })
}

fn decode_backend_port(
    proto: &v1::NodeServiceObject,
) -> Result<Option<NonZeroU16>, DecodeSnapshotError> {
    let port = u16::try_from(proto.backend_port).ok();
    port.map(NonZeroU16::new)
        .ok_or(Field("service.backend_port"))
}

fn decode_l4(
    mode: Mode,
    proto: &v1::NodeServiceObject,
) -> Result<NodeService, DecodeSnapshotError> {
    if proto.proxy.is_some() {
        return Err(Field("service.proxy"));
    }
    let mut violations = Vec::new();
    let limits = Limits::parse(
        &proto.limits.unwrap_or_default(),
        "service.limits",
        &mut violations,
    );
    if !violations.is_empty() {
        return Err(Field("service.limits"));
    }
    Ok(NodeService {
        vips: decode_prefixes(&proto.vips, "service.vips")?,
        ports: decode_ports(&proto.ports).ok_or(Field("service.ports"))?,
        protocol: named(proto.protocol(), "service.protocol")?,
        mode,
        affinity: named(proto.affinity(), "service.affinity")?,
        pool: PoolId(proto.pool_id),
        backend_port: decode_backend_port(proto)?,
        tunnel: decode_tunnel(mode, proto.tunnel.as_ref())?,
        clamp_mss: proto.clamp_mss,
        client_address_option: proto.client_address_option,
        limits,
        source_rules: SourceRules {
            allow: decode_prefixes(&proto.allow_sources, "service.allow_sources")?,
            deny: decode_prefixes(&proto.deny_sources, "service.deny_sources")?,
        },
        exact_state: proto.exact_state,
    })
}

fn decode_ports(proto: &[v1::NodePortRange]) -> Option<Ports> {
    if let [only] = proto
        && *only == ANY_PORT
    {
        return Some(Ports::Any);
    }
    let ranges = proto.iter().map(|v1::NodePortRange { first, last }| {
        PortRange::new((*first).try_into().ok()?, (*last).try_into().ok()?)
    });
    let ranges: Vec<_> = ranges.collect::<Option<_>>()?;
    (!ranges.is_empty()).then_some(Ports::Ranges(ranges))
}

fn decode_tunnel(
    mode: Mode,
    proto: Option<&v1::TunnelSpec>,
) -> Result<Option<Tunnel>, DecodeSnapshotError> {
    let field = Field("service.tunnel");
    match (mode, proto) {
        (Mode::Tunnel, Some(tunnel)) => {
            let tunnel = Tunnel::parse(tunnel, "service.tunnel", &mut Vec::new());
            tunnel.map(Some).ok_or(field)
        }
        // A controller that does not know of it means what was the only way then.
        (Mode::Tunnel, None) => Ok(Some(Tunnel::default())),
        (Mode::Dnat | Mode::Fullnat | Mode::Dsr, None) => Ok(None),
        (Mode::Dnat | Mode::Fullnat | Mode::Dsr, Some(_)) => Err(field),
    }
}
