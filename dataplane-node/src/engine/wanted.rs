use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use lbfabric_model::{
    BackendId, Carries, ForwardedPolicy, Listening, ObjectKey, ObjectKind, PoolId, Prefix, Proxy,
    ProxyMode, ProxyProtocol, ProxyProtocolHeader, ProxyProtocolOthers, ServiceId, UdpRelay,
    snapshot::{NodeBackend, NodePool, NodeProxy},
};
use lbfabric_proxy::{
    ForwardedConfig, Http2Config, Protocol, ProxyConfig, ServerConfig, ServerProtocol, ServiceKey,
    SniTable, SteeredVip, StickyKey, Timeouts,
    http1::{self, HeadLimits},
    proxy_protocol::{Others, ProxyProtocolConfig, Version},
    route::RouteTable,
    tls::{Protocols, ServerTlsConfig, TicketConfig, TicketKey, TlsConfig},
};

use super::{
    balancing::{ServicePool, pool_config, servers_of, sticky_key},
    datagrams::{DatagramPart, datagram_part},
    place::{Place, beside},
    routes::RouteTables,
    sni,
    tls::{ClientTls, ServerTls, tickets},
    transparent::{Surroundings, Transparent},
    watching::Watching,
};
use crate::plan::{Desired, HealthView};

/// A part of a service that has one configuration: its VIPs of a family at one port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) listen: Vec<SocketAddr>,
    /// Where it has connections without listening.
    pub(super) steered: Vec<SteeredVip>,
    pub(super) behaviour: Behaviour,
    /// Whose answers to clients are to come to this node: all servers of the pool, as those that get no requests any more may have
    /// connections.
    pub(super) answers: BTreeSet<SocketAddr>,
}

/// All that a configuration is made of: as long as this is the same, so is that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Behaviour {
    /// The service's name.
    pub(super) name: Arc<str>,
    pools: Vec<ServicePool>,
    mode: ProxyMode,
    pub(super) transparent: Option<Transparent>,
    proxy: Proxy,
    /// What `proxy.tls` stands for: one for all parts of a service.
    pub(super) tls: Option<Arc<ClientTls>>,
    /// The same of `proxy.server_tls`.
    pub(super) server_tls: Option<Arc<ServerTls>>,
    /// Of cookies that name servers.
    sticky_key: Option<StickyKey>,
    /// The places among `pools` of those that routes and names of servers go to.
    places: Vec<usize>,
}

/// What the parts of a service have in common.
struct Parts<'a> {
    name: Arc<str>,
    service: &'a NodeProxy,
    /// Its own pool is the first.
    pools: Vec<ChosenPool<'a>>,
    /// The places among them of those that routes and names of servers go to.
    places: Vec<usize>,
    tls: Option<Arc<ClientTls>>,
    server_tls: Option<Arc<ServerTls>>,
    sticky_key: Option<StickyKey>,
}

/// A pool of a service, with the servers that get requests.
struct ChosenPool<'a> {
    name: &'a str,
    pool: &'a NodePool,
    servers: Vec<&'a NodeBackend>,
}

/// What the engine is to do.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) parts: BTreeMap<ServiceKey, Part>,
    /// Of services that relay datagrams.
    pub(super) datagrams: BTreeMap<ServiceKey, DatagramPart>,
    pub(super) vips: BTreeSet<Prefix>,
    /// Those that are to be on no interface.
    pub(super) steered: BTreeSet<Prefix>,
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
        around: Surroundings<'_>,
    ) -> Self {
        let mut wanted = Self::default();
        let tickets = tickets(desired.settings.as_ref(), ticket_key);
        for (id, service) in &desired.proxies {
            let members = before.get(id);
            let was_member = |server: BackendId| members.is_none_or(|it| it.contains(&server));
            let parts = Parts::of(*id, service, desired, health, was_member, tickets.as_ref());
            match parts.and_then(|it| beside(service, around.subnets).map(|()| it)) {
                Ok(parts) => {
                    wanted.add(*id, &parts, health);
                    if service.mode == ProxyMode::Transparent {
                        let pools: Vec<_> = parts.pools.iter().map(|it| it.pool).collect();
                        wanted.see_clients(*id, service, &pools, around);
                    }
                }
                Err(reason) => {
                    wanted.refusals.insert(*id, reason);
                }
            }
        }
        wanted
    }

    fn add(&mut self, id: ServiceId, parts: &Parts<'_>, health: &HealthView) {
        let service = parts.service;
        for place in Place::all(service) {
            let key = place.key(id);
            if let Some(relay) = service.proxy.udp {
                let part = parts.datagrams(place, relay, health);
                self.datagrams.insert(key, part);
            } else {
                self.parts.insert(key, parts.part(place));
            }
        }
        let vips = match service.proxy.listening {
            Listening::Addresses => &mut self.vips,
            Listening::Transparent => &mut self.steered,
        };
        vips.extend(&service.vips);
        let servers = parts.pools.iter().flat_map(|pool| &pool.servers);
        self.members
            .insert(id, servers.map(|server| server.id).collect());
    }
}

// === impl Parts ===

impl<'a> Parts<'a> {
    /// What a service has; or what it lacks.
    fn of(
        id: ServiceId,
        service: &'a NodeProxy,
        desired: &'a Desired,
        health: &HealthView,
        was_member: impl Fn(BackendId) -> bool,
        tickets: Option<&TicketConfig>,
    ) -> Result<Self, String> {
        let name = |kind, id| {
            let name = desired.names.get(&ObjectKey { kind, id });
            name.map_or("", String::as_str)
        };
        let pool = |id: &PoolId| {
            let pool = desired
                .pools
                .get(id)
                .ok_or_else(|| format!("its pool, id {id}, has not been sent to this node"))?;
            Ok(ChosenPool {
                name: name(ObjectKind::Pool, id.0),
                pool,
                servers: servers_of(pool, health, &was_member),
            })
        };
        // A pool may be named in several places; the service's own is the first.
        let mut ids = vec![service.pool];
        let mut place = |id: &PoolId| {
            let known = ids.iter().position(|it| it == id);
            known.unwrap_or_else(|| {
                ids.push(*id);
                ids.len() - 1
            })
        };
        let places = service.route_pools.iter().map(&mut place).collect();
        let pools = ids.iter().map(pool).collect::<Result<_, String>>()?;
        let certificates = service.certificates.iter();
        let certificates = certificates.map(|id| desired.certificates.get(id).cloned());
        let mut certificates = certificates
            .collect::<Option<Vec<_>>>()
            .ok_or("one of its certificates has not been sent to this node")?;
        let server_tls = service.proxy.server_tls.as_ref().map(|tls| ServerTls {
            tls: tls.clone(),
            // It is the last one.
            certificate: tls.certificate.as_ref().and_then(|_| certificates.pop()),
        });
        let tls = service.proxy.tls.as_ref().map(|tls| ClientTls {
            tls: tls.clone(),
            certificates,
            protocols: protocols(&service.proxy),
            tickets: tickets.cloned(),
        });
        let settings = desired.settings.as_ref();
        let has_cookie = service.proxy.balancing.sticky_cookie.is_some();
        let cookie_key = settings.and_then(|it| it.cookie_key.as_ref());
        let cookie_key = cookie_key.filter(|_| has_cookie);
        Ok(Self {
            name: name_of(id, desired),
            service,
            pools,
            places,
            tls: tls.map(Arc::new),
            server_tls: server_tls.map(Arc::new),
            sticky_key: cookie_key.map(|key| sticky_key(key, name(ObjectKind::Service, id.0))),
        })
    }

    fn part(&self, place: Place) -> Part {
        let service = self.service;
        let to = place.server_port(service);
        let config = |server: &&NodeBackend| {
            let address = address_of(server, place.v6, service.mode)?;
            Some(ServerConfig {
                name: server.name.clone(),
                id: server.id.0,
                address: SocketAddr::new(address, to),
                weight: server.weight,
                is_backup: false,
            })
        };
        let pool = |chosen: &ChosenPool<'_>| ServicePool {
            name: chosen.name.to_owned(),
            ring_slots: chosen.pool.slots,
            servers: chosen.servers.iter().filter_map(config).collect(),
        };
        let (listen, steered) = match service.proxy.listening {
            Listening::Addresses => (place.listen(&service.vips), Vec::new()),
            Listening::Transparent => (Vec::new(), place.steered(&service.vips)),
        };
        Part {
            listen,
            steered,
            answers: BTreeSet::new(),
            behaviour: Behaviour {
                name: self.name.clone(),
                pools: self.pools.iter().map(pool).collect(),
                mode: service.mode,
                transparent: None,
                proxy: service.proxy.clone(),
                tls: self.tls.clone(),
                server_tls: self.server_tls.clone(),
                sticky_key: self.sticky_key.clone(),
                places: self.places.clone(),
            },
        }
    }

    fn datagrams(&self, place: Place, relay: UdpRelay, health: &HealthView) -> DatagramPart {
        let own = &self.pools[0];
        let servers = own.servers.iter().copied();
        let servers: Vec<_> = servers.filter(|server| server.weight > 0).collect();
        let service = (&self.name, self.service);
        datagram_part(place, service, relay, &servers, (own.pool, health))
    }
}

/// What a service is called where it is counted.
fn name_of(id: ServiceId, desired: &Desired) -> Arc<str> {
    let key = ObjectKey {
        kind: ObjectKind::Service,
        id: id.0,
    };
    let name = desired.names.get(&key);
    name.map_or_else(|| id.0.to_string().into(), |it| it.as_str().into())
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
    /// The routes, which the parts of a service have in common.
    pub(super) fn table(
        &self,
        id: ServiceId,
        tables: &mut RouteTables,
    ) -> Result<Arc<RouteTable>, String> {
        tables.table(id, &self.proxy.routing, &self.places)
    }

    /// Where TLS that is passed through goes.
    pub(super) fn sni(&self) -> Result<Arc<SniTable>, String> {
        sni::table(&self.proxy, &self.places)
    }

    /// Whom requests go to, as they are called where they are counted.
    pub(super) fn server_names(&self) -> impl Iterator<Item = String> {
        let servers = self.pools.iter().flat_map(|pool| &pool.servers);
        servers.map(|server| server.name.clone())
    }

    /// The configuration, with what is made of `tls`, `server_tls`, the routes and the names of servers.
    pub(super) fn config(
        &self,
        tls: Option<Arc<TlsConfig>>,
        server_tls: Option<Arc<ServerTlsConfig>>,
        (routes, sni): (Arc<RouteTable>, Arc<SniTable>),
        watching: &Watching,
    ) -> ProxyConfig {
        let Self {
            name,
            pools,
            mode: _,
            transparent: _,
            proxy:
                Proxy {
                    forwarded,
                    timeouts,
                    head_limits,
                    tls: _,
                    http2,
                    carries,
                    udp: _,
                    proxy_protocol,
                    server_tls: _,
                    sni: _,
                    balancing,
                    access_log: _,
                    trace: _,
                    listening: _,
                    routing: _,
                },
            tls: _,
            server_tls: _,
            sticky_key,
            places: _,
        } = self;
        let ms = |ms: u32| Duration::from_millis(ms.into());
        let size = |size: u32| usize::try_from(size).unwrap_or(usize::MAX);
        ProxyConfig {
            protocol: match carries {
                Carries::Http => Protocol::Http,
                Carries::Tcp => Protocol::Tcp,
                Carries::TlsPassthrough => Protocol::TlsPassthrough,
            },
            pools: pools
                .iter()
                .map(|pool| pool_config(balancing, pool, sticky_key.as_ref()))
                .collect(),
            routes,
            sni,
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
                tunnel: ms(timeouts.tunnel_ms),
            },
            http2: Http2Config {
                clients: http2.clients,
                servers: if http2.servers {
                    ServerProtocol::Http2
                } else {
                    ServerProtocol::Http1
                },
                ..Http2Config::default()
            },
            proxy_protocol: headers(proxy_protocol),
            tls,
            server_tls,
            observe: watching.config(name, &self.proxy),
            ..ProxyConfig::default()
        }
    }
}

fn headers(proxy_protocol: &ProxyProtocol) -> ProxyProtocolConfig {
    let ProxyProtocol {
        sources,
        others,
        send,
    } = proxy_protocol;
    ProxyProtocolConfig {
        sources: sources.clone(),
        others: match others {
            ProxyProtocolOthers::Serve => Others::Served,
            ProxyProtocolOthers::Refuse => Others::Refused,
        },
        send: match send {
            ProxyProtocolHeader::None => None,
            ProxyProtocolHeader::V1 => Some(Version::One),
            ProxyProtocolHeader::V2 => Some(Version::Two),
        },
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
