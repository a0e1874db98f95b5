use std::{collections::HashMap, net::IpAddr};

use crate::{Backend, Mode, Name, Pool, PortRange, Protocol, Service, Violation};

/// Servers' ports that get connections from nodes' addresses, with and without the client's address in an option.
///
/// A service without it leaves clients' options as they are, so at a port that has such connections too, its clients could name
/// any address as theirs. Destination NAT sends from a node's address as well: for clients in the servers' subnet.
#[derive(Default)]
pub(super) struct ToldClients<'a>(HashMap<IpAddr, Vec<Claim<'a>>>);

struct Claim<'a> {
    range: PortRange,
    /// Of the service and of its pool.
    paths: [Option<&'a str>; 2],
    service: &'a Name,
    is_told: bool,
}

impl<'a> ToldClients<'a> {
    /// Adds what a service sends to its pool, with the paths of those that are in the document.
    pub(super) fn add(
        &mut self,
        paths: [Option<&'a str>; 2],
        service: &'a Service,
        pool: &'a Pool,
    ) {
        if !matches!(service.mode.l4(), Some(Mode::Fullnat | Mode::Dnat))
            || service.protocol != Protocol::Tcp
        {
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
                is_told: service.client_address_option,
            });
            self.0.entry(address).or_default().extend(claims);
        }
    }

    /// For each service one port that it must not share.
    pub(super) fn violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        for (address, claims) in &self.0 {
            for told in claims.iter().filter(|it| it.is_told) {
                let others = claims.iter().filter(|it| !it.is_told);
                for other in others.filter(|it| it.range.overlaps(told.range)) {
                    let pool = told.paths[1].or(other.paths[1]);
                    let path = match (told.paths[0], other.paths[0], pool) {
                        (Some(told), _, _) => format!("{told}.client_address_option"),
                        (None, Some(other), _) => format!("{other}.pool"),
                        (None, None, Some(pool)) => format!("{pool}.backends"),
                        (None, None, None) => continue,
                    };
                    let range = told.range;
                    found.push(Violation::new(
                        path,
                        format!(
                            "server {address} gets connections to port {range} by service `{}` with the option and by service `{}` without: \
                             clients of the second could forge the address, give one of them another port of the server",
                            told.service, other.service
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
