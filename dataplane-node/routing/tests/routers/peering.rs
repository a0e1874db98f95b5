use std::net::IpAddr;

use lbfabric_bgp::{
    GracefulRestart, Hops, NeighborConfig, NeighborSpec, NextHops, PerFamily, Transport,
};
use lbfabric_routing::{BfdTimers, NeighborSetup};

use crate::network::{Over, node_address, router_address};

pub(crate) const LOCAL_AS: u32 = 65_010;
pub(crate) const ROUTER_AS: u32 = 65_020;

/// What an operator of a node and one of a router agree on. Each side's settings are made of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peering {
    pub(crate) over: Over,
    pub(crate) relation: Relation,
    pub(crate) dials: Dials,
    pub(crate) secret: Option<&'static str>,
    pub(crate) hops: Hops,
    pub(crate) hold_time_secs: u16,
    pub(crate) restart_time_secs: Option<u16>,
    /// IPv4 has IPv6 next hops.
    pub(crate) extended_next_hop: bool,
    pub(crate) has_bfd: bool,
    /// The router announces default routes, and the node wants them.
    pub(crate) gives_default: bool,
}

/// Whether both are in one AS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relation {
    External,
    Internal,
}

/// Who makes the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dials {
    Node,
    Router,
    Both,
}

/// A node's side, before a test changes it.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) spec: NeighborSpec,
    pub(crate) transport: Transport,
    pub(crate) interface: Option<String>,
    pub(crate) bfd: Option<BfdTimers>,
}

// === impl Peering ===

impl Peering {
    /// External, over IPv4, made by the node.
    pub(crate) const PLAIN: Self = Self {
        over: Over::Ipv4,
        relation: Relation::External,
        dials: Dials::Node,
        secret: None,
        hops: Hops::Link,
        hold_time_secs: 90,
        restart_time_secs: None,
        extended_next_hop: false,
        has_bfd: false,
        gives_default: false,
    };

    pub(crate) fn router_as(&self) -> u32 {
        match self.relation {
            Relation::External => ROUTER_AS,
            Relation::Internal => LOCAL_AS,
        }
    }

    pub(crate) fn node(&self, number: usize) -> IpAddr {
        node_address(number, self.over)
    }

    pub(crate) fn router(&self) -> IpAddr {
        router_address(self.over)
    }

    /// Over how many hops, where that is not the link alone.
    pub(crate) fn multihop(&self) -> Option<u8> {
        match self.hops {
            Hops::Link | Hops::Proven(1) => None,
            Hops::Proven(hops) | Hops::UpTo(hops) => Some(hops),
        }
    }

    pub(crate) fn is_proven(&self) -> bool {
        matches!(self.hops, Hops::Proven(_))
    }

    /// The side of the node of this number.
    pub(crate) fn setup(&self, number: usize) -> Setup {
        let IpAddr::V4(ipv4) = node_address(number, Over::Ipv4) else {
            panic!("it is an IPv4 address");
        };
        let ipv6 = |over| match node_address(number, over) {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => Some(address),
        };
        let of_link = self.over == Over::LinkLocal;
        Setup {
            spec: NeighborSpec {
                local_as: LOCAL_AS,
                router_id: ipv4,
                peer_as: self.router_as(),
                is_passive: self.dials == Dials::Router,
                hold_time_secs: self.hold_time_secs,
                families: PerFamily::from_each(|_| true),
                next_hops: NextHops {
                    ipv4: Some(ipv4).filter(|_| !self.extended_next_hop),
                    ipv6: ipv6(Over::Ipv6),
                    link_local: ipv6(Over::LinkLocal).filter(|_| of_link),
                },
                extended_next_hop: self.extended_next_hop,
                graceful_restart: self.restart_time_secs.map(|secs| GracefulRestart {
                    restart_time_secs: secs,
                    has_restarted: false,
                }),
                import_default: PerFamily::from_each(|_| self.gives_default),
                enforce_first_as: true,
            },
            transport: Transport {
                peer: self.router(),
                port: 179,
                local: Some(self.node(number)),
                hops: self.hops,
                md5_secret: self.secret.map(|secret| secret.as_bytes().to_vec()),
            },
            interface: of_link.then(|| "eth0".to_owned()),
            bfd: self.has_bfd.then_some(BfdTimers::DEFAULT),
        }
    }
}

// === impl Setup ===

impl Setup {
    pub(crate) fn done(self) -> NeighborSetup {
        NeighborSetup {
            config: NeighborConfig::try_from(self.spec).expect("these settings are valid"),
            transport: self.transport,
            interface: self.interface,
            bfd: self.bfd,
        }
    }
}
