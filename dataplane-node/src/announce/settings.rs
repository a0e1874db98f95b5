use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lbfabric_bgp::{
    GracefulRestart, Hops, InvalidNeighbor, NeighborSpec, NextHops, PerFamily, Transport,
};
use lbfabric_model::{AddressFamily, Bfd, Bgp, BgpNeighbor, Prefix};
use lbfabric_routing::{BfdTimers, InvalidSpeaker, NeighborSetup, SpeakerConfig};

/// The node's own addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnAddresses<'a> {
    /// Those on its interfaces, in their order.
    pub(crate) on_interface: &'a [IpAddr],
    /// The networks that it has addresses in.
    pub(crate) subnets: &'a [Prefix],
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
    } = neighbor;
    let chosen = own.towards(*address);
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
        families: PerFamily {
            ipv4: families.contains(&AddressFamily::Ipv4),
            ipv6: families.contains(&AddressFamily::Ipv6),
        },
        next_hops: NextHops {
            ipv4: next_hop4.or(chosen.ipv4),
            ipv6: next_hop6.or(chosen.ipv6),
            link_local: None,
        },
        extended_next_hop: *extended_next_hop,
        graceful_restart: restart,
        import_default: PerFamily::default(),
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
    /// Of each family the first address in a network that the neighbor is in, or the first one at all.
    fn towards(self, neighbor: IpAddr) -> NextHops {
        let near = self.subnets.iter().find(|it| it.contains(neighbor));
        let is_near = |address: &IpAddr| near.is_some_and(|it| it.contains(*address));
        let of = |is_wanted: fn(&IpAddr) -> bool| {
            let addresses = || self.on_interface.iter().filter(|it| is_wanted(it));
            addresses()
                .find(|it| is_near(it))
                .or(addresses().next())
                .copied()
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
