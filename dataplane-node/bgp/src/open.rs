use std::net::Ipv4Addr;

use bytes::{BufMut, Bytes, BytesMut};
use rustbgpd_wire::notification::open_subcode;
use rustbgpd_wire::{
    Afi, Capability, ExtendedNextHopFamily, GracefulRestartFamily, OpenMessage, Safi,
};

use crate::config::{AS_TRANS, NeighborConfig};
use crate::{Family, Notification, PerFamily};

/// What both sides of a session have agreed on, and what the neighbor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The neighbor's AS number.
    pub peer_as: u32,
    /// The neighbor's BGP identifier.
    pub peer_id: Ipv4Addr,
    /// The lower hold time of both; 0 is none.
    pub hold_time_secs: u16,
    /// Whether AS numbers have four bytes (RFC 6793).
    pub four_byte_as: bool,
    /// Families that both announce.
    pub families: PerFamily<bool>,
    /// Whether IPv4 routes may have IPv6 next hops (RFC 8950).
    pub extended_next_hop: bool,
    /// How routes can be asked for once more.
    pub route_refresh: RouteRefresh,
    /// What the neighbor says about its restarts (RFC 4724), if it knows of such.
    pub peer_restart: Option<PeerRestart>,
}

/// How a side can be asked for all of its routes once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteRefresh {
    /// By a new session.
    No,
    /// By a message (RFC 2918).
    Plain,
    /// By a message, and the answer's begin and end are marked (RFC 7313).
    Marked,
}

/// The neighbor's capability of graceful restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerRestart {
    /// Whether it has just restarted.
    pub has_restarted: bool,
    /// For how long it wants its routes kept.
    pub restart_time_secs: u16,
    /// Families whose routes are to be kept.
    pub families: PerFamily<bool>,
    /// Families for which it has forwarded while it restarted.
    pub preserved: PerFamily<bool>,
}

/// The OPEN that we send, for the first session with the neighbor or another one.
pub(crate) fn offer(config: &NeighborConfig, is_first: bool) -> OpenMessage {
    let spec = config.spec();
    let mut capabilities: Vec<Capability> = spec
        .families
        .families()
        .map(|family| Capability::MultiProtocol {
            afi: family.afi(),
            safi: Safi::Unicast,
        })
        .collect();
    capabilities.extend([Capability::RouteRefresh, Capability::EnhancedRouteRefresh]);
    if config.wants_extended_next_hop() {
        capabilities.push(Capability::ExtendedNextHop(vec![EXTENDED_NEXT_HOP]));
    }
    capabilities.push(restart_capability(config, is_first));
    capabilities.push(Capability::FourOctetAs { asn: spec.local_as });
    OpenMessage {
        version: 4,
        my_as: two_bytes(spec.local_as),
        hold_time: spec.hold_time_secs,
        bgp_identifier: spec.router_id,
        capabilities,
    }
}

/// What the neighbor's OPEN and ours come to, or why there can be no session (RFC 4271 section 6.2).
pub(crate) fn negotiate(
    config: &NeighborConfig,
    open: &OpenMessage,
) -> Result<Negotiated, Notification> {
    let spec = config.spec();
    let (peer_as, four_byte_as) = peer_as(open);
    if peer_as != spec.peer_as {
        let data = two_bytes(peer_as).to_be_bytes().to_vec();
        return Err(Notification::open(open_subcode::BAD_PEER_AS, data));
    }
    let id = open.bgp_identifier;
    // Within an AS identifiers are each router's own (RFC 6286 section 2.1).
    if id.is_unspecified() || config.is_internal() && id == spec.router_id {
        let data = id.octets().to_vec();
        return Err(Notification::open(open_subcode::BAD_BGP_IDENTIFIER, data));
    }
    if matches!(open.hold_time, 1 | 2) {
        let data = open.hold_time.to_be_bytes().to_vec();
        let subcode = open_subcode::UNACCEPTABLE_HOLD_TIME;
        return Err(Notification::open(subcode, data));
    }
    let families = common_families(config, open)?;
    let extended_next_hop = open.capabilities.iter().any(has_extended_next_hop);
    Ok(Negotiated {
        peer_as,
        peer_id: id,
        hold_time_secs: spec.hold_time_secs.min(open.hold_time),
        four_byte_as,
        families,
        extended_next_hop: extended_next_hop && config.wants_extended_next_hop(),
        route_refresh: route_refresh(open),
        peer_restart: open.capabilities.iter().find_map(peer_restart),
    })
}

/// Whether IPv4 unicast with IPv6 next hops is among what the capability names. The codec leaves one unread that also names a family
/// it does not know.
fn has_extended_next_hop(capability: &Capability) -> bool {
    match capability {
        Capability::ExtendedNextHop(of) => of.contains(&EXTENDED_NEXT_HOP),
        Capability::Unknown { code: 5, data } => {
            let (entries, rest) = data.as_chunks::<6>();
            rest.is_empty() && entries.contains(&[0, 1, 0, 1, 0, 2])
        }
        _ => false,
    }
}

fn route_refresh(open: &OpenMessage) -> RouteRefresh {
    let has = |wanted: &Capability| open.capabilities.contains(wanted);
    match () {
        () if has(&Capability::EnhancedRouteRefresh) => RouteRefresh::Marked,
        () if has(&Capability::RouteRefresh) => RouteRefresh::Plain,
        () => RouteRefresh::No,
    }
}

const EXTENDED_NEXT_HOP: ExtendedNextHopFamily = ExtendedNextHopFamily {
    nlri_afi: Afi::Ipv4,
    nlri_safi: Safi::Unicast,
    next_hop_afi: Afi::Ipv6,
};

/// Without families it still says that we mark the end of our routes, and heed the neighbor's marks (RFC 4724 section 3).
///
/// Programs forward whether there is a session or not: after the first session of this process the neighbor may keep what it knew.
fn restart_capability(config: &NeighborConfig, is_first: bool) -> Capability {
    let spec = config.spec();
    let restart = spec.graceful_restart;
    let has_restarted = restart.is_some_and(|it| it.has_restarted);
    let families = spec.families.families().filter(|_| restart.is_some());
    Capability::GracefulRestart {
        restart_state: has_restarted && is_first,
        notification: false,
        restart_time: restart.map_or(0, |it| it.restart_time_secs),
        families: families
            .map(|family| GracefulRestartFamily {
                afi: family.afi(),
                safi: Safi::Unicast,
                forwarding_preserved: has_restarted || !is_first,
            })
            .collect(),
    }
}

fn peer_restart(capability: &Capability) -> Option<PeerRestart> {
    let Capability::GracefulRestart {
        restart_state,
        restart_time,
        families,
        ..
    } = capability
    else {
        return None;
    };
    let of = |family, matches: fn(&GracefulRestartFamily) -> bool| {
        families
            .iter()
            .any(|it| Family::of(it.afi, it.safi) == Some(family) && matches(it))
    };
    Some(PeerRestart {
        has_restarted: *restart_state,
        restart_time_secs: *restart_time,
        families: PerFamily::from_each(|family| of(family, |_| true)),
        preserved: PerFamily::from_each(|family| of(family, |it| it.forwarding_preserved)),
    })
}

/// The neighbor's AS number, and whether it knows of four bytes.
fn peer_as(open: &OpenMessage) -> (u32, bool) {
    let four = open.capabilities.iter().find_map(|capability| {
        let Capability::FourOctetAs { asn } = capability else {
            return None;
        };
        Some(*asn)
    });
    (four.unwrap_or(u32::from(open.my_as)), four.is_some())
}

/// A neighbor that says nothing of families announces IPv4 (RFC 4760 section 8).
fn common_families(
    config: &NeighborConfig,
    open: &OpenMessage,
) -> Result<PerFamily<bool>, Notification> {
    let ours = config.spec().families;
    // Also a family that the codec has no name for is one that the neighbor has named.
    let names_any = open.capabilities.iter().any(|capability| {
        let unknown = matches!(capability, Capability::Unknown { code: 1, .. });
        unknown || matches!(capability, Capability::MultiProtocol { .. })
    });
    let theirs = |family: Family| {
        let named = Capability::MultiProtocol {
            afi: family.afi(),
            safi: Safi::Unicast,
        };
        !names_any && family == Family::Ipv4 || open.capabilities.contains(&named)
    };
    let common = PerFamily::from_each(|family| *ours.of(family) && theirs(family));
    if common.families().next().is_some() {
        return Ok(common);
    }
    // The capabilities that we would need (RFC 5492 section 5).
    let mut data = BytesMut::new();
    for family in ours.families() {
        data.put_slice(&[1, 4, 0]);
        data.put_u8(if family == Family::Ipv4 { 1 } else { 2 });
        data.put_slice(&[0, 1]);
    }
    let subcode = open_subcode::UNSUPPORTED_CAPABILITY;
    Err(Notification::open(subcode, Bytes::from(data)))
}

fn two_bytes(number: u32) -> u16 {
    let trans = u16::try_from(AS_TRANS).unwrap_or(u16::MAX);
    u16::try_from(number).unwrap_or(trans)
}

#[cfg(test)]
mod tests;
