use std::{net::SocketAddr, num::NonZeroU16};

use lbfabric_model::{Ports, Prefix, ServiceId, snapshot::NodeProxy};
use lbfabric_proxy::{ServiceKey, SteeredVip};

/// What the parts of a service differ in: a port of its VIPs of a family; 0 for every port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) port: u16,
    pub(super) v6: bool,
}

// === impl Place ===

impl Place {
    /// Those of a service.
    pub(super) fn all(service: &NodeProxy) -> impl Iterator<Item = Self> {
        let families = [false, true].into_iter();
        let families = families.filter(|v6| service.vips.iter().any(|vip| vip.is_ipv4() != *v6));
        let ports: Vec<u16> = match &service.ports {
            Ports::Any => vec![0],
            Ports::Ranges(ranges) => ranges.iter().flat_map(|it| it.first..=it.last).collect(),
        };
        families.flat_map(move |v6| {
            let ports = ports.clone().into_iter();
            ports.map(move |port| Self { port, v6 })
        })
    }

    pub(super) fn key(self, id: ServiceId) -> ServiceKey {
        ServiceKey {
            id: id.0,
            part: u32::from(self.port) << 1 | u32::from(self.v6),
        }
    }

    /// That of a part.
    pub(super) fn of(key: ServiceKey) -> Self {
        Self {
            port: u16::try_from(key.part >> 1).unwrap_or(0),
            v6: key.part & 1 == 1,
        }
    }

    /// Where clients come, if VIPs are addresses.
    pub(super) fn listen(self, vips: &[Prefix]) -> Vec<SocketAddr> {
        let vips = vips.iter().filter(|vip| vip.is_ipv4() != self.v6);
        vips.map(|vip| SocketAddr::new(vip.address(), self.port))
            .collect()
    }

    /// Where clients come, if VIPs are on no interface.
    pub(super) fn steered(self, vips: &[Prefix]) -> Vec<SteeredVip> {
        let vips = vips.iter().filter(|vip| vip.is_ipv4() != self.v6);
        let port = NonZeroU16::new(self.port);
        vips.map(|vip| SteeredVip { vip: *vip, port }).collect()
    }

    /// Where servers listen.
    pub(super) fn server_port(self, service: &NodeProxy) -> u16 {
        service.backend_port.map_or(self.port, u16::from)
    }
}

/// Refuses what would take the hosts of the node's own networks from it.
pub(super) fn beside(service: &NodeProxy, subnets: &[Prefix]) -> Result<(), String> {
    for vip in service.vips.iter().filter(|vip| !vip.is_single()) {
        let is_inside =
            |it: &&Prefix| !it.is_single() && vip.contains(it.address()) && vip.bits() <= it.bits();
        if let Some(subnet) = subnets.iter().find(is_inside) {
            return Err(format!(
                "VIP {vip} has this node's own network {subnet} in it, whose hosts the node could not reach any more: use smaller prefixes"
            ));
        }
    }
    Ok(())
}
