use std::{collections::HashMap, net::IpAddr};

use crate::{
    Backend, Mode, Name, Pool, PortRange, Protocol, ProxyMode, Service, ServiceMode, Violation,
};

/// Servers' ports whose answers to clients come back through nodes.
///
/// Destination NAT makes them answers of its VIP, before the kernel sees them. The engine's transparent mode needs them as they are: a
/// port of a server cannot be both's.
#[derive(Default)]
pub(super) struct AnsweredPorts<'a>(HashMap<IpAddr, Vec<Claim<'a>>>);

struct Claim<'a> {
    range: PortRange,
    /// Of the service and of its pool.
    paths: [Option<&'a str>; 2],
    service: &'a Name,
    is_transparent: bool,
}

impl<'a> AnsweredPorts<'a> {
    /// Adds what a service's servers answer, with the paths of the service and its pool where they are in the document.
    pub(super) fn add(
        &mut self,
        paths: [Option<&'a str>; 2],
        service: &'a Service,
        pool: &'a Pool,
    ) {
        let is_transparent = match service.mode {
            ServiceMode::L7(ProxyMode::Transparent) => true,
            ServiceMode::L4(Mode::Dnat) => false,
            ServiceMode::L4(Mode::Fullnat | Mode::Dsr | Mode::Tunnel)
            | ServiceMode::L7(ProxyMode::Reverse) => return,
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
                is_transparent,
            });
            self.0.entry(address).or_default().extend(claims);
        }
    }

    /// For each service one port that it must not share.
    pub(super) fn violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        for (address, claims) in &self.0 {
            for claim in claims.iter().filter(|it| it.is_transparent) {
                let others = claims.iter().filter(|it| !it.is_transparent);
                for other in others.filter(|it| it.range.overlaps(claim.range)) {
                    let pool = claim.paths[1].or(other.paths[1]);
                    let path = match (claim.paths[0], other.paths[0], pool) {
                        (Some(service), _, _) | (None, Some(service), _) => {
                            format!("{service}.pool")
                        }
                        (None, None, Some(pool)) => format!("{pool}.backends"),
                        (None, None, None) => continue,
                    };
                    found.push(Violation::new(
                        path,
                        format!(
                            "server {address} answers clients from port {} for service `{}` in `l7-transparent` and for service `{}` in `l4-dnat`, \
                             which takes all of these answers as its own: give one of them another port or address of the server",
                            claim.range, claim.service, other.service
                        ),
                    ));
                }
            }
        }
        found.sort();
        found.dedup_by(|a, b| a.path == b.path);
        found
    }
}
