//! What no object can know by itself: references, conflicts and limits of the whole fabric.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use lbfabric_abi::{
    ENDPOINT_PREFIXES_MAX, ENDPOINTS_MAX, NODES_MAX, SOURCE_PREFIXES_MAX, VIP_PREFIXES_MAX,
};
use lbfabric_proto::v1;

use super::{
    FabricState,
    announcements::Announcements,
    certificates,
    claimed_ports::{Claimed, ClaimedPorts},
    endpoints::Endpoints,
    engine_vips::EngineVips,
    nesting::Nesting,
};
use crate::{
    Affinity, Document, InvalidDocument, Mode, Name, Pool, Ports, Prefix, ProxyMode, Service,
    ServiceMode, Violation,
    document::Broken,
    service::{PoolPlace, named_pools},
    vip::family,
    wire_enum::WireEnum as _,
};

/// Prefixes that a range of ports takes at most: 2 for each of the 16 bits but the first and the last.
const RANGE_PREFIXES_MAX: usize = 30;

/// Every mistake of an untrusted specification.
pub(super) fn violations(
    state: &FabricState,
    spec: &v1::FabricSpec,
    prune: bool,
) -> Vec<Violation> {
    match Document::parse(spec) {
        Ok(document) => against_state(state, &document, &Broken::default(), prune),
        Err(invalid) => {
            let mut violations = invalid.violations.clone();
            violations.extend(against_state(state, &invalid.valid, &invalid.broken, prune));
            Candidate::new(state, &invalid.valid, prune).check_references_of_invalid(
                spec,
                &invalid,
                &mut violations,
            );
            violations
        }
    }
}

/// The mistakes of valid objects against a state; references to `broken` ones are not checked.
pub(super) fn against_state(
    state: &FabricState,
    document: &Document,
    broken: &Broken,
    prune: bool,
) -> Vec<Violation> {
    let candidate = Candidate::new(state, document, prune);
    let mut violations = Vec::new();
    Candidate::check_pools(state, document, &mut violations);
    certificates::check_keys(state, document, &mut violations);
    candidate.check_references(&broken.pools, &mut violations);
    candidate.check_certificates(state, document, &broken.certificates, &mut violations);
    candidate.check_vips(&mut violations);
    candidate.check_nesting(&mut violations);
    candidate.check_engine_vips(&mut violations);
    candidate.check_announcements(&mut violations);
    candidate.check_told_clients(&mut violations);
    candidate.check_answered_ports(&mut violations);
    candidate.check_backend_addresses(&mut violations);
    candidate.check_limits(state, document, &mut violations);
    violations
}

/// The objects that there would be, each with the path of its specification, or `None` if it is not in the document.
struct Candidate<'a> {
    pools: BTreeMap<&'a Name, (Option<String>, &'a Pool)>,
    services: BTreeMap<&'a Name, (Option<String>, &'a Service)>,
}

impl<'a> Candidate<'a> {
    fn new(state: &'a FabricState, document: &'a Document, prune: bool) -> Self {
        let (mut pools, mut services) = (BTreeMap::new(), BTreeMap::new());
        if !prune {
            pools.extend(state.pools.iter().map(|(n, p)| (n, (None, &p.pool))));
            services.extend(state.services.iter().map(|(n, s)| (n, (None, &s.service))));
        }
        for (i, pool) in &document.pools {
            pools.insert(&pool.name, (Some(format!("pools[{i}]")), pool));
        }
        for (i, service) in &document.services {
            services.insert(&service.name, (Some(format!("services[{i}]")), service));
        }
        Self { pools, services }
    }

    fn check_pools(state: &FabricState, document: &Document, violations: &mut Vec<Violation>) {
        for (i, pool) in &document.pools {
            if let Some(stored) = state.pools.get(&pool.name)
                && stored.pool.backends_max != pool.backends_max
            {
                violations.push(Violation::new(
                    format!("pools[{i}].max_backends"),
                    format!(
                        "it is {} for the pool's life, not {}: leave it, or make another pool and move the services to it",
                        stored.pool.backends_max, pool.backends_max
                    ),
                ));
            }
        }
    }

    /// Every service has its pools, and the pools' servers have the addresses that the service needs.
    fn check_references(&self, broken_pools: &BTreeSet<String>, violations: &mut Vec<Violation>) {
        for (service_path, service) in self.services.values() {
            for (place, name) in service.pools() {
                let Some((pool_path, pool)) = self.pools.get(name) else {
                    if !broken_pools.contains(name.as_str()) {
                        let path = service_path.as_deref().map_or_else(
                            || format!("services.{}.{place}", service.name),
                            |path| format!("{path}.{place}"),
                        );
                        let reason = format!("there is no pool `{name}`: {}", self.pool_hint());
                        violations.push(Violation::new(path, reason));
                    }
                    continue;
                };
                let fit = Fit {
                    service_path: service_path.as_deref(),
                    service,
                    place,
                    pool_path: pool_path.as_deref(),
                    pool,
                };
                fit.check(violations);
            }
        }
    }

    /// A service with a mistake of its own may refer to nothing as well: that is a second mistake.
    fn check_references_of_invalid(
        &self,
        spec: &v1::FabricSpec,
        invalid: &InvalidDocument,
        violations: &mut Vec<Violation>,
    ) {
        let valid: BTreeSet<usize> = invalid.valid.services.iter().map(|(i, _)| *i).collect();
        for (i, service) in spec.services.iter().enumerate() {
            if valid.contains(&i) {
                continue;
            }
            for (place, pool) in named_pools(service) {
                let path = format!("services[{i}].{place}");
                let Ok(name) = Name::parse(pool, &path) else {
                    continue;
                };
                if !self.pools.contains_key(&name) && !invalid.broken.pools.contains(pool) {
                    let reason = format!("there is no pool `{pool}`: {}", self.pool_hint());
                    violations.push(Violation::new(path, reason));
                }
            }
        }
    }

    fn pool_hint(&self) -> String {
        const SHOWN: usize = 5;
        if self.pools.is_empty() {
            return "add it to `pools`".to_owned();
        }
        let names: Vec<_> = self
            .pools
            .keys()
            .take(SHOWN)
            .map(|n| format!("`{n}`"))
            .collect();
        let more = if self.pools.len() > SHOWN {
            ", …"
        } else {
            ""
        };
        format!(
            "add it to `pools`, or use one of {}{more}",
            names.join(", ")
        )
    }

    /// Every service has its certificates.
    fn check_certificates(
        &self,
        state: &FabricState,
        document: &Document,
        broken: &BTreeSet<String>,
        violations: &mut Vec<Violation>,
    ) {
        let new: BTreeSet<_> = document.certificates.iter().map(|(_, c)| &c.name).collect();
        for (path, service) in self.services.values() {
            let Some(path) = path else {
                // What is stored has its certificates, as none goes that is used.
                continue;
            };
            for (i, name) in service.certificates().into_iter().enumerate() {
                let is_there = state.certificates.contains_key(name)
                    || new.contains(name)
                    || broken.contains(name.as_str());
                if !is_there {
                    violations.push(Violation::new(
                        format!("{path}.{}", service.certificate_field(i)),
                        format!(
                            "there is no certificate `{name}`: import it first, as with `lbfabric cert import {name}`"
                        ),
                    ));
                }
            }
        }
    }

    /// A prefix, port and protocol belongs to one service.
    fn check_vips(&self, violations: &mut Vec<Violation>) {
        let mut endpoints = Endpoints::default();
        for (path, service) in self.services.values() {
            for (v, vip) in service.vips.iter().enumerate() {
                for range in service.ports.ranges() {
                    endpoints.add(
                        *vip,
                        service.protocol,
                        *range,
                        path.as_deref(),
                        &service.name,
                        v,
                    );
                }
            }
        }
        for (path, vip_index, message) in endpoints.overlaps() {
            violations.push(Violation::new(
                format!("{path}.vips[{vip_index}]"),
                format!("{message}: give one of them another VIP or port"),
            ));
        }
    }

    /// Prefixes lie within one another only as deep as packets look.
    fn check_nesting(&self, violations: &mut Vec<Violation>) {
        let mut nesting = Nesting::default();
        for (path, service) in self.services.values() {
            let vips = service.vips.iter().enumerate();
            for (v, vip) in vips.filter(|(_, vip)| !vip.is_single()) {
                let path = path.as_ref().map(|path| format!("{path}.vips[{v}]"));
                nesting.add(*vip, path);
            }
        }
        violations.extend(nesting.violations());
    }

    /// What the layer-7 engine listens at reaches it.
    fn check_engine_vips(&self, violations: &mut Vec<Violation>) {
        let mut vips = EngineVips::default();
        for (path, service) in self.services.values() {
            vips.add(path.as_deref(), service);
        }
        violations.extend(vips.violations());
    }

    /// Services agree on how their VIPs are announced.
    fn check_announcements(&self, violations: &mut Vec<Violation>) {
        let mut announcements = Announcements::default();
        for (path, service) in self.services.values() {
            announcements.add(path.as_deref(), service);
        }
        violations.extend(announcements.violations());
    }

    /// Where servers believe what connections say of their clients, all that come there must come from services that say it.
    fn check_told_clients(&self, violations: &mut Vec<Violation>) {
        if !(self.services.values()).any(|(_, service)| service.client_address_option) {
            return;
        }
        let mut ports = ClaimedPorts::new(Claimed::ClientAddresses);
        for (path, service) in self.services.values() {
            if let Some((pool_path, pool)) = self.pools.get(&service.pool) {
                ports.add([path.as_deref(), pool_path.as_deref()], service, pool);
            }
        }
        violations.extend(ports.violations());
    }

    /// What servers answer clients reaches who waits for it.
    fn check_answered_ports(&self, violations: &mut Vec<Violation>) {
        let transparent = ServiceMode::L7(ProxyMode::Transparent);
        if !(self.services.values()).any(|(_, service)| service.mode == transparent) {
            return;
        }
        let mut ports = ClaimedPorts::new(Claimed::Answers);
        for (path, service) in self.services.values() {
            // Those of its routes too.
            for (_, name) in service.pools() {
                if let Some((pool_path, pool)) = self.pools.get(name) {
                    ports.add([path.as_deref(), pool_path.as_deref()], service, pool);
                }
            }
        }
        violations.extend(ports.violations());
    }

    /// No server is a VIP.
    fn check_backend_addresses(&self, violations: &mut Vec<Violation>) {
        let vips: HashMap<Prefix, &Name> = self
            .services
            .values()
            .flat_map(|(_, s)| s.vips.iter().map(|vip| (*vip, &s.name)))
            .collect();
        let lengths: BTreeSet<u8> = vips.keys().map(|vip| vip.bits()).collect();
        let vip_of = |address: IpAddr| {
            lengths.iter().rev().find_map(|bits| {
                let vip = Prefix::around(address, *bits)?;
                Some((vip, *vips.get(&vip)?))
            })
        };
        for (path, pool) in self.pools.values() {
            for (b, backend) in pool.backends.iter().enumerate() {
                for address in backend.addresses() {
                    let Some((vip, service)) = vip_of(address) else {
                        continue;
                    };
                    let in_service = self
                        .services
                        .get(service)
                        .and_then(|(path, _)| path.as_ref());
                    let path = match (path, in_service) {
                        (Some(path), _) => format!("{path}.backends[{b}].addresses"),
                        (None, Some(path)) => format!("{path}.vips"),
                        (None, None) => continue,
                    };
                    violations.push(Violation::new(
                        path,
                        format!(
                            "{address} is server `{}` of pool `{}`, and in VIP {vip} of service `{service}`: packets would go \
                             in circles, use the server's own address",
                            backend.name, pool.name
                        ),
                    ));
                }
            }
        }
    }

    fn check_limits(
        &self,
        state: &FabricState,
        document: &Document,
        violations: &mut Vec<Violation>,
    ) {
        let mut over = |path: &str, what: &str, count: usize, max: u32| {
            if count > max as usize {
                violations.push(Violation::new(
                    path,
                    format!(
                        "the fabric would have {count} {what}, {max} at most: delete some first"
                    ),
                ));
            }
        };
        // Services, pools and servers have ids, which run out in `apply`.
        let mut nodes: BTreeSet<_> = state.nodes.keys().collect();
        nodes.extend(document.nodes.iter().map(|(_, node)| &node.name));
        over("nodes", "nodes", nodes.len(), NODES_MAX);
        let sum = |of: fn(&Service) -> usize| self.services.values().map(|(_, s)| of(s)).sum();
        over(
            "services",
            "VIPs times ports",
            sum(|s| s.vips.len() * s.ports.ranges().iter().filter(|p| p.is_single()).count()),
            ENDPOINTS_MAX,
        );
        over(
            "services",
            "prefixes for VIPs times ranges of ports",
            sum(|s| s.vips.len() * range_prefixes(&s.ports)),
            ENDPOINT_PREFIXES_MAX,
        );
        over(
            "services",
            "VIPs that are prefixes",
            sum(|s| s.vips.iter().filter(|vip| !vip.is_single()).count()),
            VIP_PREFIXES_MAX,
        );
        over(
            "services",
            "allowed and denied sources",
            sum(|s| s.source_rules.len()),
            SOURCE_PREFIXES_MAX,
        );
    }
}

/// How many prefixes the ranges of ports take at most.
fn range_prefixes(ports: &Ports) -> usize {
    match ports {
        Ports::Any => 1,
        Ports::Ranges(ranges) => {
            RANGE_PREFIXES_MAX * ranges.iter().filter(|range| !range.is_single()).count()
        }
    }
}

/// A service and its pool, each with its path if it is in the document.
struct Fit<'a> {
    service_path: Option<&'a str>,
    service: &'a Service,
    /// Where it names the pool.
    place: PoolPlace,
    pool_path: Option<&'a str>,
    pool: &'a Pool,
}

impl Fit<'_> {
    fn check(&self, violations: &mut Vec<Violation>) {
        let either = [
            ServiceMode::L4(Mode::Tunnel),
            ServiceMode::L7(ProxyMode::Reverse),
        ];
        if !either.contains(&self.service.mode) {
            self.check_families(violations);
        }
        if self.service.affinity == Affinity::QuicCid {
            self.check_quic_server_ids(violations);
        }
    }

    /// Every server has an address of the family of every VIP.
    fn check_families(&self, violations: &mut Vec<Violation>) {
        let (service, pool) = (self.service, self.pool);
        for vip in &service.vips {
            let lacking = (0..)
                .zip(&pool.backends)
                .find(|(_, b)| b.address_like(vip.address()).is_none());
            let Some((i, backend)) = lacking else {
                continue;
            };
            let Some(path) = self.path(i, "addresses", &self.place.to_string()) else {
                return;
            };
            let (family, mode) = (family(*vip), service.mode.name());
            violations.push(Violation::new(
                path,
                format!(
                    "server `{}` of pool `{}` has no {family} address, which VIP {vip} of service `{}` needs in `{mode}`: add \
                     one, or use a pool whose servers have one",
                    backend.name, pool.name, service.name
                ),
            ));
        }
    }

    /// Every server has what its connection IDs are told by.
    fn check_quic_server_ids(&self, violations: &mut Vec<Violation>) {
        let (service, pool) = (self.service, self.pool);
        let lacking = (0..)
            .zip(&pool.backends)
            .find(|(_, b)| b.quic_server_id.is_none());
        let Some((i, backend)) = lacking else {
            return;
        };
        let Some(path) = self.path(i, "quic_server_id", "affinity") else {
            return;
        };
        violations.push(Violation::new(
            path,
            format!(
                "server `{}` of pool `{}` has no `quic_server_id`, which service `{}` needs for its affinity `quic-cid`: give \
                 every server its own, or use another affinity",
                backend.name, pool.name, service.name
            ),
        ));
    }

    /// The path of a server's field, or else of the service's; `None` if neither is in the document.
    fn path(&self, backend: usize, of_backend: &str, of_service: &str) -> Option<String> {
        match (self.service_path, self.pool_path) {
            (_, Some(pool)) => Some(format!("{pool}.backends[{backend}].{of_backend}")),
            (Some(service), None) => Some(format!("{service}.{of_service}")),
            (None, None) => None,
        }
    }
}
