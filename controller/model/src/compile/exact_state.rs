//! Which services of destination NAT need the state of each flow: those whose answers do not tell the VIP.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
};

use crate::{FabricState, Mode, PortRange, Protocol, Service, ServiceId};

/// A service's claim to the answers from ports of a server.
struct Claim {
    range: PortRange,
    service: ServiceId,
}

/// The services in [`Mode::Dnat`] that have several VIPs of one family or a whole prefix, or share a server's address, port and
/// protocol with another one.
pub(super) fn services_with_exact_state(state: &FabricState) -> BTreeSet<ServiceId> {
    let mut exact = BTreeSet::new();
    let mut claims: HashMap<(IpAddr, Protocol), Vec<Claim>> = HashMap::new();
    for stored in state.services() {
        let (id, service) = (stored.id, &stored.service);
        if service.mode != Mode::Dnat {
            continue;
        }
        if has_several_vips(service) {
            exact.insert(id);
        }
        let Some(pool) = state.pool(&service.pool) else {
            continue;
        };
        let ports = service.backend_ports();
        for backend in &pool.pool.backends {
            let addresses = backend.addresses().filter(|address| {
                let mut vips = service.vips.iter();
                vips.any(|vip| vip.is_ipv4() == address.is_ipv4())
            });
            for address in addresses {
                let claimed = claims.entry((address, service.protocol)).or_default();
                claimed.extend(ports.iter().map(|range| Claim {
                    range: *range,
                    service: id,
                }));
            }
        }
    }
    for claims in claims.values_mut() {
        add_sharing(claims, &mut exact);
    }
    exact
}

/// Whether a family has more than one address among the VIPs.
fn has_several_vips(service: &Service) -> bool {
    let several = |v4: bool| {
        let mut vips = service.vips.iter().filter(|vip| vip.is_ipv4() == v4);
        vips.next().is_some_and(|vip| !vip.is_single()) || vips.next().is_some()
    };
    several(true) || several(false)
}

/// Adds the services of all claims to one server that overlap another service's. Those of one service do not overlap.
fn add_sharing(claims: &mut [Claim], exact: &mut BTreeSet<ServiceId>) {
    claims.sort_by_key(|claim| claim.range);
    // The claim that reaches furthest so far. One before it that reaches as far as here overlapped it, and was added then.
    let mut furthest: Option<&Claim> = None;
    for claim in &*claims {
        if let Some(other) = furthest
            && other.range.overlaps(claim.range)
            && other.service != claim.service
        {
            exact.extend([other.service, claim.service]);
        }
        if furthest.is_none_or(|f| claim.range.last > f.range.last) {
            furthest = Some(claim);
        }
    }
}
