use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use lbfabric_model::{
    BackendId, ForwardedPolicy, Prefix, Proxy, ProxyMode, ServiceId,
    snapshot::{NodeBackend, NodeProxy},
};
use lbfabric_proxy::{
    ForwardedConfig, Http2Config, PoolConfig, ProxyConfig, ServiceKey, Timeouts,
    http1::{self, HeadLimits},
    tls::{Protocols, TicketKey, TlsConfig},
};

use super::tls::{ClientTls, tickets};
use crate::plan::{Desired, HealthView, RingMembers};

/// A part of a service that has one configuration: its VIPs of a family at one port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) listen: Vec<SocketAddr>,
    pub(super) behaviour: Behaviour,
}

/// All that a configuration is made of: as long as this is the same, so is that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Behaviour {
    servers: Vec<SocketAddr>,
    mode: ProxyMode,
    proxy: Proxy,
    /// What `proxy.tls` stands for: one for all parts of a service.
    pub(super) tls: Option<Arc<ClientTls>>,
}

/// What the engine is to do.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) parts: BTreeMap<ServiceKey, Part>,
    pub(super) vips: std::collections::BTreeSet<Prefix>,
    /// The servers of each service that get requests.
    pub(super) members: BTreeMap<ServiceId, Vec<BackendId>>,
    /// Services that cannot be served, and why.
    pub(super) refusals: BTreeMap<ServiceId, String>,
}

// === impl Wanted ===

impl Wanted {
    /// What follows from what is desired; `before` are the members of the last time, of which a server is one until something is known
    /// of it. `ticket_key` is what a node has of its own.
    pub(super) fn new(
        desired: &Desired,
        health: &HealthView,
        before: &BTreeMap<ServiceId, Vec<BackendId>>,
        ticket_key: Option<&TicketKey>,
    ) -> Self {
        let mut wanted = Self::default();
        let tickets = tickets(desired.settings.as_ref(), ticket_key);
        for (id, service) in &desired.proxies {
            let Some(pool) = desired.pools.get(&service.pool) else {
                let reason = format!(
                    "its pool, id {}, has not been sent to this node",
                    service.pool
                );
                wanted.refusals.insert(*id, reason);
                continue;
            };
            let certificates = service.certificates.iter();
            let certificates = certificates.map(|id| desired.certificates.get(id).cloned());
            let Some(certificates) = certificates.collect::<Option<Vec<_>>>() else {
                let reason = "one of its certificates has not been sent to this node";
                wanted.refusals.insert(*id, reason.to_owned());
                continue;
            };
            let tls = service.proxy.tls.as_ref().map(|tls| ClientTls {
                tls: tls.clone(),
                certificates,
                protocols: protocols(&service.proxy),
                tickets: tickets.clone(),
            });
            let was_member = |server: BackendId| {
                let members = before.get(id);
                members.is_none_or(|members| members.contains(&server))
            };
            let RingMembers { members, panic: _ } = RingMembers::choose(pool, health, was_member);
            let servers: Vec<_> = members.iter().map(|at| &pool.backends[*at]).collect();
            wanted.add(*id, service, &servers, tls.map(Arc::new).as_ref());
        }
        wanted
    }

    fn add(
        &mut self,
        id: ServiceId,
        service: &NodeProxy,
        servers: &[&NodeBackend],
        tls: Option<&Arc<ClientTls>>,
    ) {
        for v6 in [false, true] {
            let vips: Vec<IpAddr> = service
                .vips
                .iter()
                .copied()
                .filter(|vip| vip.is_ipv6() == v6)
                .collect();
            if vips.is_empty() {
                continue;
            }
            let ports = service.ports.iter().flat_map(|it| it.first..=it.last);
            for port in ports {
                let to = service.backend_port.map_or(port, u16::from);
                let addresses = servers
                    .iter()
                    .filter_map(|server| address_of(server, v6, service.mode));
                let part = Part {
                    listen: vips.iter().map(|vip| SocketAddr::new(*vip, port)).collect(),
                    behaviour: Behaviour {
                        servers: addresses.map(|it| SocketAddr::new(it, to)).collect(),
                        mode: service.mode,
                        proxy: service.proxy.clone(),
                        tls: tls.cloned(),
                    },
                };
                let key = ServiceKey {
                    id: id.0,
                    part: u32::from(port) << 1 | u32::from(v6),
                };
                self.parts.insert(key, part);
            }
        }
        self.vips
            .extend(service.vips.iter().copied().map(Prefix::from));
        let ids = servers.iter().map(|server| server.id).collect();
        self.members.insert(id, ids);
    }
}

/// A server's address for a VIP of a family: of the same one, if it has one; from the client's address only of that.
fn address_of(server: &NodeBackend, v6: bool, mode: ProxyMode) -> Option<IpAddr> {
    let v4 = server.ipv4.map(IpAddr::V4);
    let six = server.ipv6.map(IpAddr::V6);
    let (same, other) = if v6 { (six, v4) } else { (v4, six) };
    match mode {
        ProxyMode::Reverse => same.or(other),
        ProxyMode::Transparent => same,
    }
}

// === impl Behaviour ===

impl Behaviour {
    /// The configuration, with what is made of `tls`.
    pub(super) fn config(&self, tls: Option<Arc<TlsConfig>>) -> ProxyConfig {
        let Self {
            servers,
            mode: _,
            proxy:
                Proxy {
                    forwarded,
                    timeouts,
                    head_limits,
                    tls: _,
                    http2,
                },
            tls: _,
        } = self;
        let ms = |ms: u32| Duration::from_millis(ms.into());
        let size = |size: u32| usize::try_from(size).unwrap_or(usize::MAX);
        ProxyConfig {
            pools: vec![PoolConfig::of(servers)],
            forwarded: ForwardedConfig {
                x_forwarded: policy(forwarded.x_forwarded),
                forwarded: policy(forwarded.forwarded),
            },
            limits: HeadLimits {
                head_bytes: size(head_limits.head_bytes),
                target_bytes: size(head_limits.target_bytes),
                fields: size(head_limits.fields),
            },
            timeouts: Timeouts {
                connect: ms(timeouts.connect_ms),
                head: ms(timeouts.head_ms),
                idle: ms(timeouts.idle_ms),
                silence: ms(timeouts.silence_ms),
            },
            http2: Http2Config {
                clients: http2.clients,
                ..Http2Config::default()
            },
            tls,
            ..ProxyConfig::default()
        }
    }
}

/// What clients are offered by ALPN.
const fn protocols(proxy: &Proxy) -> Protocols {
    if proxy.http2.clients {
        Protocols::Http2
    } else {
        Protocols::Http1
    }
}

const fn policy(policy: ForwardedPolicy) -> http1::ForwardedPolicy {
    match policy {
        ForwardedPolicy::Replace => http1::ForwardedPolicy::Replace,
        ForwardedPolicy::Append => http1::ForwardedPolicy::Append,
        ForwardedPolicy::Leave => http1::ForwardedPolicy::Leave,
    }
}
