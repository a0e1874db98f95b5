use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lbfabric_bgp::{
    GracefulRestart, Hops, InvalidNeighbor, NeighborSpec, NextHops, PerFamily, Transport,
};
use lbfabric_model::{AddressFamily, Bfd, Bgp, BgpNeighbor, Prefix};
use lbfabric_routing::{BfdTimers, InvalidSpeaker, NeighborSetup, SpeakerConfig};

use crate::netlink::PlacedAddress;

/// The node's own addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnAddresses<'a> {
    /// Those on its interfaces, in their order.
    pub(crate) on_interface: &'a [PlacedAddress],
}

/// Why settings that were checked are refused all the same: their limits are not the speaker's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidSettings {
    #[error("neighbor {0}")]
    Neighbor(String, #[source] InvalidNeighbor),
    #[error(transparent)]
    Speaker(#[from] InvalidSpeaker),
}

/// What the speaker is to do. `has_restarted`: whether programs have forwarded while the agent before this one was replaced.
pub(crate) fn speaker_config(
    bgp: &Bgp,
    own: OwnAddresses<'_>,
    has_restarted: bool,
) -> Result<SpeakerConfig, InvalidSettings> {
    let mut neighbors = BTreeMap::new();
    for neighbor in &bgp.neighbors {
        let name = neighbor.name.to_string();
        let setup = setup(bgp, neighbor, own, has_restarted);
        let setup = setup.map_err(|error| InvalidSettings::Neighbor(name.clone(), error))?;
        neighbors.insert(name, setup);
    }
    let port = bgp.listen_port.get();
    Ok(SpeakerConfig::new(Some(port), neighbors)?)
}

fn setup(
    bgp: &Bgp,
    neighbor: &BgpNeighbor,
    own: OwnAddresses<'_>,
    has_restarted: bool,
) -> Result<NeighborSetup, InvalidNeighbor> {
    let BgpNeighbor {
        name: _,
        address,
        interface,
        asn,
        port,
        is_passive,
        local_address,
        md5_password,
        hold_time_secs,
        hops,
        has_ttl_security,
        families,
        next_hop4,
        next_hop6,
        extended_next_hop,
        graceful_restart_secs,
        bfd,
        imports_default,
    } = neighbor;
    let chosen = own.towards(neighbor);
    let carried = PerFamily {
        ipv4: families.contains(&AddressFamily::Ipv4),
        ipv6: families.contains(&AddressFamily::Ipv6),
    };
    let restart = graceful_restart_secs.map(|secs| GracefulRestart {
        restart_time_secs: secs.get(),
        has_restarted,
    });
    let spec = NeighborSpec {
        local_as: bgp.asn,
        router_id: bgp.router_id,
        peer_as: *asn,
        is_passive: *is_passive,
        hold_time_secs: *hold_time_secs,
        families: carried,
        next_hops: NextHops {
            ipv4: next_hop4.or(chosen.ipv4),
            ipv6: next_hop6.or(chosen.ipv6),
            link_local: None,
        },
        extended_next_hop: *extended_next_hop,
        graceful_restart: restart,
        import_default: if *imports_default {
            carried
        } else {
            PerFamily::default()
        },
        enforce_first_as: true,
    };
    let transport = Transport {
        peer: *address,
        port: port.get(),
        local: *local_address,
        hops: match (hops.get(), has_ttl_security) {
            (hops, true) => Hops::Proven(hops),
            (1, false) => Hops::Link,
            (hops, false) => Hops::UpTo(hops),
        },
        md5_secret: md5_password.secret().map(|it| it.as_bytes().to_vec()),
    };
    Ok(NeighborSetup {
        config: spec.try_into()?,
        transport,
        interface: interface.clone(),
        bfd: bfd.map(timers),
    })
}

fn timers(bfd: Bfd) -> BfdTimers {
    let Bfd {
        interval_ms,
        multiplier,
        is_passive,
    } = bfd;
    let micros = u32::from(interval_ms) * 1_000;
    BfdTimers {
        desired_min_tx_micros: micros,
        required_min_rx_micros: micros,
        detect_mult: multiplier,
        is_passive,
    }
}

// === impl OwnAddresses ===

impl OwnAddresses<'_> {
    /// Of each family the first address in the network that the neighbor is in, or else the first one on the link that leads there, as the network
    /// is of one family, or else the first one at all.
    fn towards(self, neighbor: &BgpNeighbor) -> NextHops {
        let own = self.on_interface.iter();
        // Of networks within one another the smallest.
        let around = own.clone().filter(|it| {
            let network = it.network.as_ref();
            network.is_some_and(|network| network.contains(neighbor.address))
        });
        let around = around.max_by_key(|it| it.network.map(Prefix::bits));
        let local = own
            .clone()
            .find(|it| Some(it.address) == neighbor.local_address);
        let link = neighbor.interface.as_ref();
        let link = link.or(local.or(around).map(|it| &it.link));
        let is_beside = |it: &&PlacedAddress| around.is_some_and(|near| near.network == it.network);
        let is_on_link = |it: &&PlacedAddress| Some(&it.link) == link;
        let of = |is_wanted: fn(&IpAddr) -> bool| {
            let addresses = || own.clone().filter(|it| is_wanted(&it.address));
            let beside = addresses().filter(is_on_link).find(is_beside);
            let beside = beside.or_else(|| addresses().find(is_beside));
            let on_link = beside.or_else(|| addresses().find(is_on_link));
            on_link.or(addresses().next()).map(|it| it.address)
        };
        NextHops {
            ipv4: of(IpAddr::is_ipv4).and_then(ipv4),
            ipv6: of(IpAddr::is_ipv6).and_then(ipv6),
            link_local: None,
        }
    }
}

fn ipv4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

fn ipv6(address: IpAddr) -> Option<Ipv6Addr> {
    match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => Some(address),
    }
}

#[cfg(test)]
mod tests;
