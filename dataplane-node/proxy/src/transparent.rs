//! Connections to servers that come from the client's address: what the mode `l7-transparent` adds.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use lbfabric_model::Prefix;

use crate::upstream::Source;

/// Clients beside the servers that are remembered.
const BESIDE_MAX: usize = 1_024;

/// Servers are connected to from their client's address, and from its port where that is free. Somebody else brings the answers back.
#[derive(Clone, Debug)]
pub struct TransparentConfig {
    /// Subnets of servers, which answer clients there past the node: such clients are served from the node's own address.
    pub beside: Vec<Prefix>,
    /// The service's own addresses: clients on the node itself come from there.
    pub vips: Vec<Prefix>,
    /// The ports that the kernel gives to connections by itself, `net.ipv4.ip_local_port_range`.
    pub local_ports: RangeInclusive<u16>,
    /// Who was served from the node's own address.
    pub served_beside: Arc<ClientsBeside>,
}

/// Clients that were served from the node's own address, as they are in a server's subnet. Remembers so many, and no more.
#[derive(Debug, Default)]
pub struct ClientsBeside(Mutex<BTreeMap<IpAddr, Instant>>);

// === impl TransparentConfig ===

impl TransparentConfig {
    /// Where a client's connections to servers come from; none: from the node's own address.
    pub(crate) fn source(&self, client: SocketAddr) -> Option<Source> {
        let address = client.ip();
        if !is_of_a_host(address) || self.vips.iter().any(|vip| vip.contains(address)) {
            return None;
        }
        if self.beside.iter().any(|subnet| subnet.contains(address)) {
            self.served_beside.note(address, Instant::now());
            return None;
        }
        let keeps_range = self.local_ports.contains(&client.port());
        Some(Source::new(client, keeps_range))
    }
}

/// Whether servers can answer it over the network: a proxy before this one may say anything.
fn is_of_a_host(address: IpAddr) -> bool {
    if address.is_unspecified() || address.is_loopback() || address.is_multicast() {
        return false;
    }
    match address {
        IpAddr::V4(v4) => !v4.is_broadcast() && !v4.is_link_local(),
        IpAddr::V6(v6) => !v6.is_unicast_link_local(),
    }
}

// === impl ClientsBeside ===

impl ClientsBeside {
    fn note(&self, client: IpAddr, now: Instant) {
        let mut clients = self.lock();
        if clients.len() < BESIDE_MAX || clients.contains_key(&client) {
            clients.insert(client, now);
        }
    }

    /// Those of the last time, in their order; the others are forgotten.
    pub fn of_last(&self, time: Duration) -> Vec<IpAddr> {
        let mut clients = self.lock();
        clients.retain(|_, at| at.elapsed() < time);
        clients.keys().copied().collect()
    }

    /// Nothing behind it is ever half done.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<IpAddr, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> TransparentConfig {
        TransparentConfig {
            beside: ["10.88.0.0", "fd88::"]
                .map(|it| it.parse::<IpAddr>().unwrap())
                .map(|it| Prefix::around(it, if it.is_ipv4() { 24 } else { 64 }).unwrap())
                .into(),
            vips: vec!["10.99.0.1".parse::<IpAddr>().unwrap().into()],
            local_ports: 32_768..=60_999,
            served_beside: Arc::default(),
        }
    }

    #[test]
    fn clients_that_servers_would_answer_elsewhere_have_no_source() {
        let config = config();
        let has_source = |client: &str| config.source(client.parse().unwrap()).is_some();
        for client in ["10.89.0.7:40000", "[fd89::7]:40000", "203.0.113.9:7"] {
            assert!(has_source(client), "{client}");
        }
        for client in [
            "10.88.0.7:40000",
            "[fd88::7]:40000",
            "10.99.0.1:40000",
            "127.0.0.1:40000",
            "[::1]:40000",
            "0.0.0.0:40000",
            "[::]:1",
            "224.0.0.1:1",
            "[ff02::1]:1",
            "255.255.255.255:1",
            "169.254.0.1:1",
            "[fe80::1]:1",
        ] {
            assert!(!has_source(client), "{client}");
        }
        let beside = config.served_beside.of_last(Duration::from_mins(1));
        assert_eq!(beside.len(), 2, "the others are beside nobody: {beside:?}");
    }

    #[test]
    fn clients_beside_are_remembered_for_a_while_and_no_more_than_so_many() {
        let clients = ClientsBeside::default();
        let now = Instant::now();
        for number in 0..2_000_u32 {
            clients.note(IpAddr::from(number.to_be_bytes()), now);
        }
        clients.note(IpAddr::from([0, 0, 0, 7]), now);
        assert_eq!(clients.of_last(Duration::from_mins(1)).len(), BESIDE_MAX);
        assert!(clients.of_last(Duration::ZERO).is_empty());
        assert!(clients.of_last(Duration::from_mins(1)).is_empty());
    }
}
