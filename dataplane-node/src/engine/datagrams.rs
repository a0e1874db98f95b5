//! Services that relay datagrams.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lbfabric_model::{
    AccessLog, Listening, ServiceId, UdpRelay,
    snapshot::{NodeBackend, NodePool, NodeProxy},
};
use lbfabric_proto::v1;
use lbfabric_proxy::{ServiceKey, SteeredVip, UdpConfig, UdpCounters, UdpService};

use super::{place::Place, wanted::address_of, watching::Watching};
use crate::plan::{Health, HealthView};

/// A part of a service: its VIPs of a family at one port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DatagramPart {
    pub(super) listen: Vec<SocketAddr>,
    /// What is to come to where it listens.
    pub(super) steered: Vec<SteeredVip>,
    pub(super) config: UdpConfig,
    /// The service's name, and how it is logged.
    pub(super) name: Arc<str>,
    pub(super) log: Option<AccessLog>,
}

/// What was told of services of datagrams, and what counts for each.
#[derive(Debug, Default)]
pub(super) struct ToldDatagrams {
    parts: BTreeMap<ServiceKey, (DatagramPart, UdpService)>,
    counters: BTreeMap<ServiceId, Arc<UdpCounters>>,
}

/// The configuration of a part: new sessions go to `servers`, and those with a server stay that is healthy and gets no new ones.
pub(super) fn datagram_part(
    place: Place,
    (name, service): (&Arc<str>, &NodeProxy),
    relay: UdpRelay,
    servers: &[&NodeBackend],
    (pool, health): (&NodePool, &HealthView),
) -> DatagramPart {
    let to = place.server_port(service);
    let address = |server: &NodeBackend| {
        let address = address_of(server, place.v6, service.mode)?;
        Some(SocketAddr::new(address, to))
    };
    let is_leaving = |server: &&NodeBackend| {
        server.weight == 0 && !matches!(health.of(pool, server.id), Health::Down { .. })
    };
    let leaving = pool.backends.iter().filter(is_leaving);
    let named = |server: &NodeBackend| Some((address(server)?, server.name.as_str().into()));
    let mut listen = place.listen(&service.vips);
    let steered = match service.proxy.listening {
        Listening::Addresses => Vec::new(),
        Listening::Transparent => {
            // One stands for all.
            listen.truncate(1);
            place.steered(&service.vips)
        }
    };
    DatagramPart {
        listen,
        steered,
        config: UdpConfig {
            servers: servers.iter().filter_map(|it| address(it)).collect(),
            leaving: leaving.filter_map(address).collect(),
            names: pool.backends.iter().filter_map(named).collect(),
            idle: Duration::from_millis(relay.idle_ms.into()),
            sessions_max: usize::try_from(relay.max_sessions).unwrap_or(usize::MAX),
        },
        name: name.clone(),
        log: service.proxy.access_log,
    }
}

// === impl ToldDatagrams ===

impl ToldDatagrams {
    /// Whether these are what was told.
    pub(super) fn are(&self, parts: &BTreeMap<ServiceKey, DatagramPart>) -> bool {
        let told = self.parts.iter().map(|(key, (part, _))| (key, part));
        told.eq(parts.iter())
    }

    /// The part of a service that has the datagrams to an address.
    pub(super) fn part_at(
        &self,
        id: ServiceId,
        at: SocketAddr,
    ) -> Option<(ServiceKey, &DatagramPart)> {
        let mut parts = self.parts.iter().filter(|(key, _)| key.id == id.0);
        let (key, (part, _)) = parts.find(|(_, (part, _))| {
            part.listen.contains(&at) || part.steered.iter().any(|it| it.contains(at))
        })?;
        Some((*key, part))
    }

    /// Services by their keys, with what comes to them without being where they listen; none of it, or some.
    pub(super) fn steered(&self) -> impl Iterator<Item = (ServiceKey, &[SteeredVip])> {
        let parts = self.parts.iter();
        parts.map(|(key, (part, _))| (*key, &part.steered[..]))
    }

    /// Where those listen that have all that they have there.
    pub(super) fn listening(&self) -> impl Iterator<Item = SocketAddr> {
        let parts = self.parts.values().map(|(part, _)| part);
        let parts = parts.filter(|part| part.steered.is_empty());
        parts.flat_map(|part| part.listen.iter().copied())
    }

    /// Takes these from now on, and gives what the engine needs for them.
    pub(super) fn take(
        &mut self,
        parts: BTreeMap<ServiceKey, DatagramPart>,
        watching: &Watching,
    ) -> BTreeMap<ServiceKey, UdpService> {
        let before = std::mem::take(&mut self.parts);
        let counted = std::mem::take(&mut self.counters);
        for (key, part) in parts {
            let id = ServiceId(key.id);
            let known = counted.get(&id);
            let counters = self.counters.entry(id);
            let counters = counters.or_insert_with(|| known.cloned().unwrap_or_default());
            let config = match before.get(&key) {
                Some((had, service)) if had.config == part.config => Arc::clone(&service.config),
                Some(_) | None => Arc::new(part.config.clone()),
            };
            let observe = match before.get(&key) {
                Some((had, service)) if (&had.name, had.log) == (&part.name, part.log) => {
                    Arc::clone(&service.observe)
                }
                Some(_) | None => Arc::new(watching.of_datagrams(&part.name, part.log)),
            };
            let service = UdpService {
                listen: part.listen.clone(),
                config,
                counters: Arc::clone(counters),
                observe,
            };
            self.parts.insert(key, (part, service));
        }
        let services = self.parts.iter();
        services
            .map(|(key, (_, service))| (*key, service.clone()))
            .collect()
    }

    /// Services by name, with what their servers are called where they are counted.
    pub(super) fn seen(&self) -> impl Iterator<Item = (&Arc<str>, impl Iterator<Item = String>)> {
        self.parts.values().map(|(part, _)| {
            let names = part.config.names.values();
            (&part.name, names.map(ToString::to_string))
        })
    }

    /// The names of services, by their ids.
    pub(super) fn names(&self) -> impl Iterator<Item = (u32, &Arc<str>)> {
        self.parts
            .iter()
            .map(|(key, (part, _))| (key.id, &part.name))
    }

    /// What was counted: a session is a connection.
    pub(super) fn traffic(&self) -> impl Iterator<Item = (u32, v1::ProxyTraffic)> {
        self.counters.iter().map(|(id, counters)| {
            let traffic = v1::ProxyTraffic {
                connections: counters.counts().sessions,
                ..v1::ProxyTraffic::default()
            };
            (id.0, traffic)
        })
    }
}

#[cfg(test)]
mod tests {
    use lbfabric_proxy::observe;

    use super::*;

    fn part(port: u16, server: u16) -> DatagramPart {
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        DatagramPart {
            listen: vec![local(port)],
            steered: Vec::new(),
            config: UdpConfig {
                servers: vec![local(server)],
                ..UdpConfig::default()
            },
            name: "dns".into(),
            log: None,
        }
    }

    fn watching() -> Watching {
        Watching {
            metrics: Arc::default(),
            log: Arc::new(observe::AccessLog::start(observe::Sink::Nowhere).expect("a log")),
            spans: None,
        }
    }

    #[test]
    fn what_stays_is_told_as_it_was() {
        let key = |id, part| ServiceKey { id, part };
        let first: BTreeMap<_, _> = [(key(1, 0), part(1, 1)), (key(1, 1), part(2, 1))].into();
        let (mut told, watching) = (ToldDatagrams::default(), watching());
        assert!(!told.are(&first));
        let one = told.take(first.clone(), &watching);
        assert!(told.are(&first));
        assert!(Arc::ptr_eq(
            &one[&key(1, 0)].counters,
            &one[&key(1, 1)].counters
        ));
        let mut second = first.clone();
        second.insert(key(1, 1), part(2, 9));
        second.insert(key(2, 0), part(3, 1));
        assert!(!told.are(&second));
        let two = told.take(second, &watching);
        let stays = (&one[&key(1, 0)].observe, &two[&key(1, 1)].observe);
        assert!(Arc::ptr_eq(stays.0, &two[&key(1, 0)].observe));
        assert_eq!(&*stays.1.service, "dns");
        let same = |at: usize| {
            let key = key(1, u32::try_from(at).unwrap());
            (
                Arc::ptr_eq(&one[&key].config, &two[&key].config),
                Arc::ptr_eq(&one[&key].counters, &two[&key].counters),
            )
        };
        assert_eq!([same(0), same(1)], [(true, true), (false, true)]);
        assert_eq!(told.traffic().map(|(id, _)| id).collect::<Vec<_>>(), [1, 2]);
        assert!(told.take(BTreeMap::new(), &watching).is_empty());
        assert_eq!(told.traffic().count(), 0);
    }
}
