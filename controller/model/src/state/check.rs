//! What no object can know by itself: references, conflicts and limits of the whole fabric.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use lbfabric_abi::{ENDPOINT_PREFIXES_MAX, ENDPOINTS_MAX, NODES_MAX};
use lbfabric_proto::v1;

use super::FabricState;
use crate::{
    Document, InvalidDocument, Mode, Name, Pool, PortRange, Protocol, Service, Violation,
    vip::family, wire_enum::WireEnum as _,
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
        Ok(document) => against_state(state, &document, &BTreeSet::new(), prune),
        Err(invalid) => {
            let mut violations = invalid.violations.clone();
            violations.extend(against_state(
                state,
                &invalid.valid,
                &invalid.broken_pools,
                prune,
            ));
            Candidate::new(state, &invalid.valid, prune).check_references_of_invalid(
                spec,
                &invalid,
                &mut violations,
            );
            violations
        }
    }
}

/// The mistakes of valid objects against a state; references to `broken_pools` are not checked.
pub(super) fn against_state(
    state: &FabricState,
    document: &Document,
    broken_pools: &BTreeSet<String>,
    prune: bool,
) -> Vec<Violation> {
    let candidate = Candidate::new(state, document, prune);
    let mut violations = Vec::new();
    Candidate::check_pools(state, document, &mut violations);
    candidate.check_references(broken_pools, &mut violations);
    candidate.check_vips(&mut violations);
    candidate.check_backend_addresses(&mut violations);
    candidate.check_dnat_answers(&mut violations);
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

    /// Every service has its pool, and the pool's servers have the addresses that the service needs.
    fn check_references(&self, broken_pools: &BTreeSet<String>, violations: &mut Vec<Violation>) {
        for (service_path, service) in self.services.values() {
            let Some((pool_path, pool)) = self.pools.get(&service.pool) else {
                if !broken_pools.contains(service.pool.as_str()) {
                    let path = service_path.as_deref().map_or_else(
                        || format!("services.{}.pool", service.name),
                        |path| format!("{path}.pool"),
                    );
                    violations.push(Violation::new(
                        path,
                        format!("there is no pool `{}`: {}", service.pool, self.pool_hint()),
                    ));
                }
                continue;
            };
            if service.mode == Mode::Tunnel || (service_path.is_none() && pool_path.is_none()) {
                continue;
            }
            check_families(
                service_path.as_deref(),
                service,
                pool_path.as_deref(),
                pool,
                violations,
            );
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
            let path = format!("services[{i}].pool");
            let pool = service.pool.as_str();
            let Ok(name) = Name::parse(pool, &path) else {
                continue;
            };
            if !valid.contains(&i)
                && !self.pools.contains_key(&name)
                && !invalid.broken_pools.contains(pool)
            {
                let reason = format!("there is no pool `{pool}`: {}", self.pool_hint());
                violations.push(Violation::new(path, reason));
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

    /// An address, port and protocol belongs to one service.
    fn check_vips(&self, violations: &mut Vec<Violation>) {
        let mut endpoints = Endpoints::default();
        for (path, service) in self.services.values() {
            for (v, vip) in service.vips.iter().enumerate() {
                for range in &service.ports {
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
                format!("{message}: give one of them another address or port"),
            ));
        }
    }

    /// No server is a VIP.
    fn check_backend_addresses(&self, violations: &mut Vec<Violation>) {
        let vips: HashMap<IpAddr, &Name> = self
            .services
            .values()
            .flat_map(|(_, s)| s.vips.iter().map(|vip| (*vip, &s.name)))
            .collect();
        for (path, pool) in self.pools.values() {
            for (b, backend) in pool.backends.iter().enumerate() {
                for address in backend.addresses() {
                    let Some(service) = vips.get(&address) else {
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
                            "{address} is server `{}` of pool `{}` and a VIP of service `{service}`: packets would go in \
                             circles, use the server's own address",
                            backend.name, pool.name
                        ),
                    ));
                }
            }
        }
    }

    /// A server's endpoint belongs to one `l4-dnat` service, since an answer says nothing else.
    fn check_dnat_answers(&self, violations: &mut Vec<Violation>) {
        let mut endpoints = Endpoints::default();
        for (path, service) in self.services.values().filter(|(_, s)| s.mode == Mode::Dnat) {
            let Some((_, pool)) = self.pools.get(&service.pool) else {
                continue;
            };
            let needed = |address: &IpAddr| {
                service
                    .vips
                    .iter()
                    .any(|v| v.is_ipv4() == address.is_ipv4())
            };
            for address in pool
                .backends
                .iter()
                .flat_map(|b| b.addresses().collect::<Vec<_>>())
                .filter(needed)
            {
                for range in service.backend_ports() {
                    endpoints.add(
                        address,
                        service.protocol,
                        range,
                        path.as_deref(),
                        &service.name,
                        0,
                    );
                }
            }
        }
        let mut told = BTreeSet::new();
        for (path, _, message) in endpoints.overlaps() {
            if told.insert(path.clone()) {
                violations.push(Violation::new(
                    format!("{path}.pool"),
                    format!(
                        "{message} in `l4-dnat`, and its answers could belong to either: use another server port or address, or \
                         another mode for one of them"
                    ),
                ));
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
        let count = |single| -> usize {
            let services = self.services.values().map(|(_, s)| {
                s.vips.len() * s.ports.iter().filter(|p| p.is_single() == single).count()
            });
            services.sum()
        };
        over(
            "services",
            "addresses times ports",
            count(true),
            ENDPOINTS_MAX,
        );
        over(
            "services",
            "prefixes for ranges of ports",
            count(false) * RANGE_PREFIXES_MAX,
            ENDPOINT_PREFIXES_MAX,
        );
    }
}

/// Every server has an address of the family of every VIP.
fn check_families(
    service_path: Option<&str>,
    service: &Service,
    pool_path: Option<&str>,
    pool: &Pool,
    violations: &mut Vec<Violation>,
) {
    for vip in &service.vips {
        let lacking = (0..)
            .zip(&pool.backends)
            .find(|(_, b)| b.address_like(*vip).is_none());
        let Some((i, backend)) = lacking else {
            continue;
        };
        let path = match (service_path, pool_path) {
            (_, Some(pool)) => format!("{pool}.backends[{i}].addresses"),
            (Some(service), None) => format!("{service}.pool"),
            (None, None) => return,
        };
        let (family, mode) = (family(*vip), service.mode.name());
        violations.push(Violation::new(
            path,
            format!(
                "server `{}` of pool `{}` has no {family} address, which VIP {vip} of service `{}` needs in `{mode}`: add one, or \
                 use a pool whose servers have one",
                backend.name, pool.name, service.name
            ),
        ));
    }
}

/// Who claims which ports of which address.
#[derive(Default)]
struct Endpoints<'a>(HashMap<(IpAddr, Protocol), Vec<Claim<'a>>>);

struct Claim<'a> {
    range: PortRange,
    path: Option<&'a str>,
    service: &'a Name,
    index: usize,
}

impl<'a> Endpoints<'a> {
    fn add(
        &mut self,
        address: IpAddr,
        protocol: Protocol,
        range: PortRange,
        path: Option<&'a str>,
        service: &'a Name,
        index: usize,
    ) {
        let claim = Claim {
            range,
            path,
            service,
            index,
        };
        self.0.entry((address, protocol)).or_default().push(claim);
    }

    /// Each overlap of two services' claims: the path of one that is in the document, its index, and what overlaps.
    fn overlaps(self) -> Vec<(String, usize, String)> {
        let mut overlaps = Vec::new();
        for ((address, protocol), mut claims) in self.0 {
            claims.sort_by_key(|claim| claim.range);
            // The claim that reaches furthest so far: any claim that begins before its end overlaps it.
            let mut furthest: Option<&Claim<'_>> = None;
            for claim in &claims {
                if let Some(other) = furthest
                    && other.range.overlaps(claim.range)
                    && other.service != claim.service
                {
                    let (at, with) = if claim.path.is_some() {
                        (claim, other)
                    } else {
                        (other, claim)
                    };
                    if let Some(path) = at.path {
                        let message = format!(
                            "{address} port {} ({}) belongs to service `{}` already",
                            with.range,
                            protocol.name(),
                            with.service
                        );
                        overlaps.push((path.to_owned(), at.index, message));
                    }
                }
                if furthest.is_none_or(|f| claim.range.last > f.range.last) {
                    furthest = Some(claim);
                }
            }
        }
        overlaps.sort();
        overlaps
    }
}
