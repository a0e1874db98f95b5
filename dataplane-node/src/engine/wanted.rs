use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use lbfabric_model::{
    BackendId, Carries, ForwardedPolicy, Prefix, Proxy, ProxyMode, ServiceId,
    snapshot::{NodeBackend, NodeProxy},
};
use lbfabric_proxy::{
    ForwardedConfig, Http2Config, PoolConfig, Protocol, ProxyConfig, ServiceKey, TcpConfig,
    Timeouts,
    http1::{self, HeadLimits},
    tls::{Protocols, TicketKey, TlsConfig},
};

use super::{
    datagrams::{DatagramPart, datagram_part},
    tls::{ClientTls, tickets},
};
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

/// What the parts of a service differ in: a port of its VIPs of a family.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) port: u16,
    pub(super) v6: bool,
}

/// What the engine is to do.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) parts: BTreeMap<ServiceKey, Part>,
    /// Of services that relay datagrams.
    pub(super) datagrams: BTreeMap<ServiceKey, DatagramPart>,
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
            let tls = tls.map(Arc::new);
            for place in Place::all(service) {
                let key = place.key(*id);
                if let Some(relay) = service.proxy.udp {
                    let part = datagram_part(place, service, relay, &servers, (pool, health));
                    wanted.datagrams.insert(key, part);
                } else {
                    let part = place.part(service, &servers, tls.as_ref());
                    wanted.parts.insert(key, part);
                }
            }
            wanted.add(*id, service, &servers);
        }
        wanted
    }

    /// What a service has whatever its ports.
    fn add(&mut self, id: ServiceId, service: &NodeProxy, servers: &[&NodeBackend]) {
        self.vips
            .extend(service.vips.iter().copied().map(Prefix::from));
        let ids = servers.iter().map(|server| server.id).collect();
        self.members.insert(id, ids);
    }
}

// === impl Place ===

impl Place {
    /// Those of a service.
    fn all(service: &NodeProxy) -> impl Iterator<Item = Self> {
        let families = [false, true].into_iter();
        let families = families.filter(|v6| service.vips.iter().any(|vip| vip.is_ipv6() == *v6));
        families.flat_map(|v6| {
            let ports = service.ports.iter().flat_map(|it| it.first..=it.last);
            ports.map(move |port| Self { port, v6 })
        })
    }

    fn key(self, id: ServiceId) -> ServiceKey {
        ServiceKey {
            id: id.0,
            part: u32::from(self.port) << 1 | u32::from(self.v6),
        }
    }

    /// Where clients come.
    pub(super) fn listen(self, vips: &[IpAddr]) -> Vec<SocketAddr> {
        let vips = vips.iter().filter(|vip| vip.is_ipv6() == self.v6);
        vips.map(|vip| SocketAddr::new(*vip, self.port)).collect()
    }

    /// Where servers listen.
    pub(super) fn server_port(self, service: &NodeProxy) -> u16 {
        service.backend_port.map_or(self.port, u16::from)
    }

    fn part(
        self,
        service: &NodeProxy,
        servers: &[&NodeBackend],
        tls: Option<&Arc<ClientTls>>,
    ) -> Part {
        let to = self.server_port(service);
        let addresses = servers
            .iter()
            .filter_map(|server| address_of(server, self.v6, service.mode));
        Part {
            listen: self.listen(&service.vips),
            behaviour: Behaviour {
                servers: addresses.map(|it| SocketAddr::new(it, to)).collect(),
                mode: service.mode,
                proxy: service.proxy.clone(),
                tls: tls.cloned(),
            },
        }
    }
}

/// A server's address for a VIP of a family: of the same one, if it has one; from the client's address only of that.
pub(super) fn address_of(server: &NodeBackend, v6: bool, mode: ProxyMode) -> Option<IpAddr> {
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
                    carries,
                    udp: _,
                },
            tls: _,
        } = self;
        let ms = |ms: u32| Duration::from_millis(ms.into());
        let size = |size: u32| usize::try_from(size).unwrap_or(usize::MAX);
        ProxyConfig {
            protocol: match carries {
                Carries::Http => Protocol::Http,
                Carries::Tcp => Protocol::Tcp,
                Carries::TlsPassthrough => Protocol::TlsPassthrough,
            },
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
            tcp: TcpConfig {
                idle: ms(timeouts.tunnel_ms),
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
    match proxy.carries {
        Carries::Http if proxy.http2.clients => Protocols::Http2,
        Carries::Http => Protocols::Http1,
        // Whatever it is, it is not known here.
        Carries::Tcp | Carries::TlsPassthrough => Protocols::None,
    }
}

const fn policy(policy: ForwardedPolicy) -> http1::ForwardedPolicy {
    match policy {
        ForwardedPolicy::Replace => http1::ForwardedPolicy::Replace,
        ForwardedPolicy::Append => http1::ForwardedPolicy::Append,
        ForwardedPolicy::Leave => http1::ForwardedPolicy::Leave,
    }
}
