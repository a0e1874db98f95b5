//! Services that relay datagrams.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lbfabric_model::{
    ServiceId, UdpRelay,
    snapshot::{NodeBackend, NodePool, NodeProxy},
};
use lbfabric_proto::v1;
use lbfabric_proxy::{ServiceKey, UdpConfig, UdpCounters, UdpService};

use super::wanted::{Place, address_of};
use crate::plan::{Health, HealthView};

/// A part of a service: its VIPs of a family at one port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DatagramPart {
    pub(super) listen: Vec<SocketAddr>,
    pub(super) config: UdpConfig,
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
    service: &NodeProxy,
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
    DatagramPart {
        listen: place.listen(&service.vips),
        config: UdpConfig {
            servers: servers.iter().filter_map(|it| address(it)).collect(),
            leaving: leaving.filter_map(address).collect(),
            idle: Duration::from_millis(relay.idle_ms.into()),
            sessions_max: usize::try_from(relay.max_sessions).unwrap_or(usize::MAX),
        },
    }
}

// === impl ToldDatagrams ===

impl ToldDatagrams {
    /// Whether these are what was told.
    pub(super) fn are(&self, parts: &BTreeMap<ServiceKey, DatagramPart>) -> bool {
        let told = self.parts.iter().map(|(key, (part, _))| (key, part));
        told.eq(parts.iter())
    }

    /// Takes these from now on, and gives what the engine needs for them.
    pub(super) fn take(
        &mut self,
        parts: BTreeMap<ServiceKey, DatagramPart>,
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
            let service = UdpService {
                listen: part.listen.clone(),
                config,
                counters: Arc::clone(counters),
            };
            self.parts.insert(key, (part, service));
        }
        let services = self.parts.iter();
        services
            .map(|(key, (_, service))| (*key, service.clone()))
            .collect()
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
    use super::*;

    fn part(port: u16, server: u16) -> DatagramPart {
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        DatagramPart {
            listen: vec![local(port)],
            config: UdpConfig {
                servers: vec![local(server)],
                ..UdpConfig::default()
            },
        }
    }

    #[test]
    fn what_stays_is_told_as_it_was() {
        let key = |id, part| ServiceKey { id, part };
        let first: BTreeMap<_, _> = [(key(1, 0), part(1, 1)), (key(1, 1), part(2, 1))].into();
        let mut told = ToldDatagrams::default();
        assert!(!told.are(&first));
        let one = told.take(first.clone());
        assert!(told.are(&first));
        assert!(Arc::ptr_eq(
            &one[&key(1, 0)].counters,
            &one[&key(1, 1)].counters
        ));
        let mut second = first.clone();
        second.insert(key(1, 1), part(2, 9));
        second.insert(key(2, 0), part(3, 1));
        assert!(!told.are(&second));
        let two = told.take(second);
        let same = |at: usize| {
            let key = key(1, u32::try_from(at).unwrap());
            (
                Arc::ptr_eq(&one[&key].config, &two[&key].config),
                Arc::ptr_eq(&one[&key].counters, &two[&key].counters),
            )
        };
        assert_eq!([same(0), same(1)], [(true, true), (false, true)]);
        assert_eq!(told.traffic().map(|(id, _)| id).collect::<Vec<_>>(), [1, 2]);
        assert!(told.take(BTreeMap::new()).is_empty());
        assert_eq!(told.traffic().count(), 0);
    }
}
