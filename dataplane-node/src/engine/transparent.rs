//! Servers that see their clients' addresses.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use lbfabric_model::{
    Prefix, ServiceId,
    snapshot::{NodePool, NodeProxy},
};
use lbfabric_proxy::{ClientsBeside, ProxyConfig, ServiceKey, TransparentConfig};

use super::{place::Place, wanted::Wanted};

/// What of the node itself counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Surroundings<'a> {
    /// The networks that it has addresses in.
    pub(crate) subnets: &'a [Prefix],
    /// Its addresses.
    pub(crate) own: &'a [IpAddr],
    /// The first and the last port that the kernel gives to connections by itself.
    pub(crate) local_ports: (u16, u16),
}

/// What connections from clients' addresses need to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Transparent {
    /// The servers' networks that the node is in, too.
    beside: Vec<Prefix>,
    vips: Vec<Prefix>,
    local_ports: (u16, u16),
}

// === impl Wanted ===

impl Wanted {
    /// The service's servers see its clients' addresses.
    pub(super) fn see_clients(
        &mut self,
        id: ServiceId,
        service: &NodeProxy,
        pools: &[&NodePool],
        around: Surroundings<'_>,
    ) {
        let backends = || pools.iter().flat_map(|pool| &pool.backends);
        let v4 = backends().filter_map(|it| it.ipv4);
        let v6 = backends().filter_map(|it| it.ipv6);
        let servers: Vec<IpAddr> = v4.map(IpAddr::V4).chain(v6.map(IpAddr::V6)).collect();
        let has_server = |subnet: &&Prefix| servers.iter().any(|it| subnet.contains(*it));
        let transparent = Transparent {
            beside: around.subnets.iter().filter(has_server).copied().collect(),
            vips: service.vips.clone(),
            local_ports: around.local_ports,
        };
        let first = ServiceKey { id: id.0, part: 0 };
        let last = ServiceKey {
            part: u32::MAX,
            ..first
        };
        for (key, part) in self.parts.range_mut(first..=last) {
            part.behaviour.transparent = Some(transparent.clone());
            let place = Place::of(*key);
            let port = place.server_port(service);
            let servers = servers.iter().filter(|it| it.is_ipv6() == place.v6);
            part.answers
                .extend(servers.map(|it| SocketAddr::new(*it, port)));
        }
    }

    /// The servers whose answers to clients are to come to this node.
    pub(super) fn answers(&self) -> BTreeSet<SocketAddr> {
        let parts = self.parts.values();
        parts.flat_map(|part| &part.answers).copied().collect()
    }
}

// === impl Transparent ===

impl Transparent {
    /// What the engine needs for it; `served_beside` is told of clients whose addresses servers cannot see.
    pub(super) fn config(&self, served_beside: &Arc<ClientsBeside>) -> TransparentConfig {
        let Self {
            beside,
            vips,
            local_ports: (first, last),
        } = self;
        TransparentConfig {
            beside: beside.clone(),
            vips: vips.clone(),
            local_ports: *first..=*last,
            served_beside: Arc::clone(served_beside),
        }
    }

    /// What is told of clients that were served from the node's own address; nothing if there are none.
    pub(super) fn warning(&self, clients: &[IpAddr], proxy: &ProxyConfig) -> Option<String> {
        const NAMED: usize = 5;
        if clients.is_empty() {
            return None;
        }
        let listed = |it: &mut dyn Iterator<Item = String>| it.collect::<Vec<_>>().join(", ");
        let named = listed(&mut clients.iter().take(NAMED).map(IpAddr::to_string));
        let more = match clients.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let subnets = listed(&mut self.beside.iter().map(Prefix::to_string));
        let told = match proxy.proxy_protocol.send {
            Some(_) => "servers are told their addresses by the PROXY protocol",
            None => {
                "servers see the node's address, unless the service sends them headers of the PROXY protocol"
            }
        };
        Some(format!(
            "{} clients in the servers' own subnets ({subnets}) were served from this node's address within the last ten minutes, as servers \
             would answer them past the node: {named}{more}; {told}",
            clients.len()
        ))
    }
}

#[cfg(test)]
mod tests {
    use lbfabric_proxy::proxy_protocol::{ProxyProtocolConfig, Version};

    use super::*;

    #[test]
    fn clients_beside_servers_are_told_of_by_number_and_name() {
        let subnet = Prefix::around(IpAddr::from([10, 88, 0, 0]), 24).unwrap();
        let transparent = Transparent {
            beside: vec![subnet],
            vips: Vec::new(),
            local_ports: (32_768, 60_999),
        };
        let clients: Vec<_> = (1..=7).map(|it| IpAddr::from([10, 88, 0, it])).collect();
        let plain = ProxyConfig::default();
        assert_eq!(transparent.warning(&[], &plain), None);
        let text = transparent.warning(&clients, &plain).unwrap();
        assert!(text.starts_with("7 clients in the servers' own subnets (10.88.0.0/24) were"));
        assert!(
            text.contains(": 10.88.0.1, 10.88.0.2, 10.88.0.3, 10.88.0.4, 10.88.0.5 and 2 more; ")
        );
        assert!(text.ends_with("headers of the PROXY protocol"), "{text}");
        let telling = ProxyConfig {
            proxy_protocol: ProxyProtocolConfig {
                send: Some(Version::Two),
                ..ProxyProtocolConfig::default()
            },
            ..ProxyConfig::default()
        };
        let text = transparent.warning(&clients[..1], &telling).unwrap();
        assert!(text.contains("10.88.0.1; servers are told"), "{text}");
    }
}
