//! Objects as they go over the wire.

use std::sync::Arc;

use lbfabric_proto::v1::{self, node_object};
use prost::Message as _;

use super::{EncodedObject, digest_of_object};
use crate::{
    Announcement, CertificateId, Generation, HealthCheck, PoolId, PortRange, Ports, Prefix, Proxy,
    QuicServerId, SourceRules, Tunnel,
    snapshot::ANY_PORT,
    state::{StoredCertificate, StoredPool, StoredService},
    wire_enum::WireEnum as _,
};

pub(super) fn encode_pool(stored: &StoredPool) -> Arc<EncodedObject> {
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
                quic_server_id: backend
                    .quic_server_id
                    .as_ref()
                    .map(QuicServerId::as_bytes)
                    .unwrap_or_default()
                    .to_vec(),
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

pub(super) fn encode_service(
    stored: &StoredService,
    pool: PoolId,
    exact_state: bool,
    certificates: &[CertificateId],
    route_pools: &[PoolId],
) -> Arc<EncodedObject> {
    let service = &stored.service;
    let prefixes = |list: &[Prefix]| list.iter().map(|prefix| prefix.to_bytes()).collect();
    let SourceRules { allow, deny } = &service.source_rules;
    let object = v1::NodeServiceObject {
        vips: prefixes(&service.vips),
        ports: encode_ports(&service.ports),
        protocol: service.protocol.to_proto().into(),
        mode: service.mode.to_proto().into(),
        pool_id: pool.0,
        affinity: service.affinity.to_proto().into(),
        backend_port: service.backend_port.map_or(0, |port| port.get().into()),
        tunnel: service.tunnel.map(Tunnel::to_spec),
        clamp_mss: service.clamp_mss,
        client_address_option: service.client_address_option,
        limits: service.limits.to_spec(),
        allow_sources: prefixes(allow),
        deny_sources: prefixes(deny),
        exact_state,
        proxy: service.proxy.as_ref().map(Proxy::to_spec),
        certificate_ids: certificates.iter().map(|id| id.0).collect(),
        route_pool_ids: route_pools.iter().map(|id| id.0).collect(),
        announce: service.announcement.as_ref().map(Announcement::to_spec),
    };
    encode(
        stored.generation,
        service.name.as_str(),
        node_object::Object::Service(Box::new(object)),
    )
}

pub(super) fn encode_certificate(stored: &StoredCertificate) -> Arc<EncodedObject> {
    let certificate = &stored.certificate;
    let key = certificate.key.as_ref().map(|key| key.secret_der());
    let object = v1::NodeCertificate {
        chain: certificate.chain.iter().map(|it| it.to_vec()).collect(),
        key: key.unwrap_or_default().to_vec(),
    };
    encode(
        stored.generation,
        certificate.name.as_str(),
        node_object::Object::Certificate(object),
    )
}

pub(super) fn encode_ports(ports: &Ports) -> Vec<v1::NodePortRange> {
    match ports {
        Ports::Any => vec![ANY_PORT],
        Ports::Ranges(ranges) => ranges.iter().copied().map(encode_range).collect(),
    }
}

fn encode_range(PortRange { first, last }: PortRange) -> v1::NodePortRange {
    v1::NodePortRange {
        first: first.into(),
        last: last.into(),
    }
}

pub(super) fn encode(
    generation: Generation,
    name: &str,
    object: node_object::Object,
) -> Arc<EncodedObject> {
    let bytes = v1::NodeObject {
        generation: generation.0,
        name: name.to_owned(),
        object: Some(object),
    }
    .encode_to_vec();
    let digest = digest_of_object(&bytes);
    Arc::new(EncodedObject { bytes, digest })
}
