use std::{collections::HashMap, net::IpAddr};

use crate::{
    Backend, Mode, Name, Pool, PortRange, Protocol, ProxyMode, Service, ServiceMode, Violation,
};

/// What services may claim servers' ports for so that another claim does not go with it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Claimed {
    /// Answers to clients come back through nodes. Destination NAT makes them answers of its VIP, before the kernel sees them; the engine's
    /// transparent mode needs them as they are.
    Answers,
    /// Connections come from nodes' addresses, with the client's address in an option. A service without it leaves clients' options as they
    /// are, so at a port that has such connections too, its clients could name any address as theirs. Destination NAT sends from a
    /// node's address as well: for clients in the servers' subnet.
    ClientAddresses,
}

/// How a service claims a port: one that is needed bears none that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Needed,
    Taken,
}

/// Servers' ports, with the claims of services.
pub(super) struct ClaimedPorts<'a> {
    what: Claimed,
    claims: HashMap<IpAddr, Vec<Claim<'a>>>,
}

struct Claim<'a> {
    range: PortRange,
    /// Of the service and of its pool.
    paths: [Option<&'a str>; 2],
    service: &'a Name,
    side: Side,
}

// === impl Claimed ===

impl Claimed {
    /// None of a service that has nothing to do with it.
    fn side(self, service: &Service) -> Option<Side> {
        match self {
            Self::Answers => match service.mode {
                ServiceMode::L7(ProxyMode::Transparent) => Some(Side::Needed),
                ServiceMode::L4(Mode::Dnat) => Some(Side::Taken),
                ServiceMode::L4(Mode::Fullnat | Mode::Dsr | Mode::Tunnel)
                | ServiceMode::L7(ProxyMode::Reverse) => None,
            },
            Self::ClientAddresses => match service.mode {
                ServiceMode::L4(Mode::Fullnat | Mode::Dnat) if service.client_address_option => {
                    Some(Side::Needed)
                }
                ServiceMode::L4(Mode::Fullnat | Mode::Dnat) => Some(Side::Taken),
                ServiceMode::L4(Mode::Dsr | Mode::Tunnel) | ServiceMode::L7(_) => None,
            },
        }
    }

    /// The field by which a service needs it.
    const fn field(self) -> &'static str {
        match self {
            Self::Answers => "pool",
            Self::ClientAddresses => "client_address_option",
        }
    }

    fn reason(self, address: IpAddr, needed: &Claim<'_>, taken: &Claim<'_>) -> String {
        let (range, service, other) = (needed.range, needed.service, taken.service);
        match self {
            Self::Answers => format!(
                "server {address} answers clients from port {range} for service `{service}` in `l7-transparent` and for service `{other}` in `l4-dnat`, \
                 which takes all of these answers as its own: give one of them another port or address of the server"
            ),
            Self::ClientAddresses => format!(
                "server {address} gets connections to port {range} by service `{service}` with the option and by service `{other}` without: \
                 clients of the second could forge the address, give one of them another port of the server"
            ),
        }
    }
}

// === impl ClaimedPorts ===

impl<'a> ClaimedPorts<'a> {
    pub(super) fn new(what: Claimed) -> Self {
        let claims = HashMap::new();
        Self { what, claims }
    }

    /// Adds what a service claims of a pool, with the paths of those that are in the document.
    pub(super) fn add(
        &mut self,
        paths: [Option<&'a str>; 2],
        service: &'a Service,
        pool: &'a Pool,
    ) {
        let Some(side) = self.what.side(service) else {
            return;
        };
        if service.protocol != Protocol::Tcp {
            return;
        }
        for address in pool.backends.iter().flat_map(Backend::addresses) {
            let mut vips = service.vips.iter();
            if !vips.any(|vip| vip.is_ipv4() == address.is_ipv4()) {
                continue;
            }
            let claims = service.backend_ports().into_iter().map(|range| Claim {
                range,
                paths,
                service: &service.name,
                side,
            });
            self.claims.entry(address).or_default().extend(claims);
        }
    }

    /// For each service one port that it must not share.
    pub(super) fn violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        for (address, claims) in &self.claims {
            let of = |side| claims.iter().filter(move |it| it.side == side);
            for needed in of(Side::Needed) {
                for taken in of(Side::Taken).filter(|it| it.range.overlaps(needed.range)) {
                    let pool = needed.paths[1].or(taken.paths[1]);
                    let path = match (needed.paths[0], taken.paths[0], pool) {
                        (Some(needed), _, _) => format!("{needed}.{}", self.what.field()),
                        (None, Some(taken), _) => format!("{taken}.pool"),
                        (None, None, Some(pool)) => format!("{pool}.backends"),
                        (None, None, None) => continue,
                    };
                    let reason = self.what.reason(*address, needed, taken);
                    found.push(Violation::new(path, reason));
                }
            }
        }
        found.sort();
        found.dedup_by(|a, b| a.path == b.path);
        found
    }
}
