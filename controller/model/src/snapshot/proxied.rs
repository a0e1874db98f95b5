use lbfabric_proto::v1;

use super::{
    DecodeSnapshotError::{self, Field},
    NodeProxy, decode_backend_port, decode_ports, decode_prefixes, named,
};
use crate::{CertificateId, Listening, PoolId, Ports, Protocol, Proxy, ProxyMode};

/// A service of layer 7.
pub(super) fn decode(
    mode: ProxyMode,
    proto: &v1::NodeServiceObject,
) -> Result<NodeProxy, DecodeSnapshotError> {
    let proxy = proto.proxy.as_ref().ok_or(Field("service.proxy"))?;
    let mut violations = Vec::new();
    let parsed = Proxy::parse(proxy, "service.proxy", &mut violations);
    let proxy = parsed.filter(|_| violations.is_empty());
    let protocol = named(proto.protocol(), "service.protocol")?;
    let has_udp = proxy.as_ref().is_some_and(|proxy| proxy.udp.is_some());
    if protocol == Protocol::Any || has_udp != (protocol == Protocol::Udp) {
        return Err(Field("service.protocol"));
    }
    let vips = decode_prefixes(&proto.vips, "service.vips")?;
    let ports = decode_ports(&proto.ports).ok_or(Field("service.ports"))?;
    let backend_port = decode_backend_port(proto)?;
    let is_steered = proxy
        .as_ref()
        .is_some_and(|it| it.listening == Listening::Transparent);
    if !is_steered && !vips.iter().all(|vip| vip.is_single()) {
        return Err(Field("service.vips"));
    }
    let may_be_any = is_steered && backend_port.is_some() && protocol != Protocol::Udp;
    if ports == Ports::Any && !may_be_any {
        return Err(Field("service.ports"));
    }
    Ok(NodeProxy {
        vips,
        ports,
        protocol,
        mode,
        pool: PoolId(proto.pool_id),
        route_pools: decode_route_pools(proxy.as_ref(), proto)?,
        backend_port,
        certificates: decode_certificate_ids(proxy.as_ref(), proto)?,
        proxy: proxy.ok_or(Field("service.proxy"))?,
    })
}

fn decode_route_pools(
    proxy: Option<&Proxy>,
    proto: &v1::NodeServiceObject,
) -> Result<Vec<PoolId>, DecodeSnapshotError> {
    let named = proxy.map_or(0, |proxy| proxy.pools().len());
    let ids = &proto.route_pool_ids;
    if ids.len() != named {
        return Err(Field("service.route_pool_ids"));
    }
    Ok(ids.iter().copied().map(PoolId).collect())
}

fn decode_certificate_ids(
    proxy: Option<&Proxy>,
    proto: &v1::NodeServiceObject,
) -> Result<Vec<CertificateId>, DecodeSnapshotError> {
    let tls = proxy.and_then(|proxy| proxy.tls.as_ref());
    let server_tls = proxy.and_then(|proxy| proxy.server_tls.as_ref());
    let for_servers = server_tls.and_then(|tls| tls.certificate.as_ref());
    let ids = &proto.certificate_ids;
    let for_clients = tls.map_or(0, |tls| tls.certificates.len());
    if ids.len() != for_clients + usize::from(for_servers.is_some()) {
        return Err(Field("service.certificate_ids"));
    }
    Ok(ids.iter().copied().map(CertificateId).collect())
}
