use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use bytes::Bytes;
use rustbgpd_wire::attribute::{MpReachNlri, MpUnreachNlri, PathAttribute, encode_path_attributes};
use rustbgpd_wire::nlri::encode_nlri;
use rustbgpd_wire::{
    EncodeError, MAX_MESSAGE_LEN, NlriEntry, Safi, UpdateMessage, constants::HEADER_LEN,
};

use crate::{Attributes, Family, Negotiated, NeighborConfig, Prefix, RouteRefresh};

/// What decides how routes are told to a neighbor in one session.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    config: NeighborConfig,
    negotiated: Negotiated,
}

/// Routes of one family that share their attributes, or that are withdrawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Update {
    family: Family,
    place: Place,
    /// All but those that hold prefixes.
    attributes: Vec<u8>,
    prefixes: Vec<Prefix>,
}

/// Where prefixes stand in the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// IPv4 routes in the fields of RFC 4271.
    Withdrawn,
    Announced,
    /// Others in attributes of RFC 4760.
    MpUnreach,
    MpReach(NextHop),
}

/// Where a route leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NextHop {
    address: IpAddr,
    link_local: Option<Ipv6Addr>,
}

// === impl Terms ===

impl Terms {
    pub(crate) fn new(config: NeighborConfig, negotiated: Negotiated) -> Self {
        Self { config, negotiated }
    }

    /// Whether routes of the family may be sent.
    pub(crate) fn carries(&self, family: Family) -> bool {
        *self.negotiated.families.of(family)
    }

    /// Whether begin and end of an answer to ROUTE-REFRESH are marked.
    pub(crate) fn marks_refresh(&self) -> bool {
        self.negotiated.route_refresh == RouteRefresh::Marked
    }

    /// Whether a route to the prefix can be sent.
    pub(crate) fn can_send(&self, prefix: Prefix, attributes: Option<&Arc<Attributes>>) -> bool {
        attributes.is_some_and(|attributes| self.next_hop(prefix.family(), attributes).is_some())
    }

    /// The next hop of a route of the family, if there is one that the neighbor understands.
    fn next_hop(&self, family: Family, attributes: &Attributes) -> Option<NextHop> {
        let own = self.config.spec().next_hops;
        let takes_ipv6 = family == Family::Ipv6 || self.negotiated.extended_next_hop;
        let own_ipv4 = own.ipv4.filter(|_| family == Family::Ipv4);
        let next_hop = match (attributes.next_hop(), own_ipv4) {
            (Some(address), _) => NextHop {
                address,
                link_local: None,
            },
            (None, Some(address)) => NextHop {
                address: address.into(),
                link_local: None,
            },
            (None, None) => NextHop {
                address: own.ipv6?.into(),
                link_local: own.link_local,
            },
        };
        let is_understood = if next_hop.address.is_ipv6() {
            takes_ipv6
        } else {
            family == Family::Ipv4
        };
        (self.carries(family) && is_understood).then_some(next_hop)
    }

    /// Whether the family's prefixes are in attributes. Where IPv6 next hops were agreed on, IPv4 has all of its prefixes there, as
    /// with other routers.
    fn uses_attributes(&self, family: Family) -> bool {
        family == Family::Ipv6 || self.negotiated.extended_next_hop
    }
}

// === impl Update ===

impl Update {
    /// Withdraws the prefixes that are added.
    pub(crate) fn withdrawal(terms: &Terms, family: Family) -> Self {
        let place = if terms.uses_attributes(family) {
            Place::MpUnreach
        } else {
            Place::Withdrawn
        };
        Self {
            family,
            place,
            attributes: vec![],
            prefixes: vec![],
        }
    }

    /// The mark that all routes of the family have been sent (RFC 4724 section 2): nothing is withdrawn.
    pub(crate) fn end_of_rib(family: Family) -> Self {
        let place = match family {
            Family::Ipv4 => Place::Withdrawn,
            Family::Ipv6 => Place::MpUnreach,
        };
        Self {
            family,
            place,
            attributes: vec![],
            prefixes: vec![],
        }
    }

    /// Announces the prefixes that are added; none if the neighbor would not understand where they lead to.
    pub(crate) fn announcement(
        terms: &Terms,
        family: Family,
        attributes: &Attributes,
        is_draining: bool,
    ) -> Option<Self> {
        let next_hop = terms.next_hop(family, attributes)?;
        let mut wire = attributes.to_wire(&terms.config, is_draining);
        let place = match next_hop.address {
            IpAddr::V4(address) if !terms.uses_attributes(family) => {
                // By its type it follows ORIGIN and AS_PATH.
                wire.insert(2, PathAttribute::NextHop(address));
                Place::Announced
            }
            IpAddr::V4(_) | IpAddr::V6(_) => Place::MpReach(next_hop),
        };
        Some(Self {
            family,
            place,
            attributes: encoded(&wire, terms.negotiated.four_byte_as),
            prefixes: vec![],
        })
    }

    /// Bytes that are left for prefixes.
    pub(crate) fn room(&self) -> usize {
        let mp = match self.place {
            Place::Withdrawn | Place::Announced => 0,
            // Flags, type, a length of two bytes, AFI and SAFI.
            Place::MpUnreach => 4 + 3,
            // And lengths of the next hop and of what is reserved.
            Place::MpReach(next_hop) => 4 + 3 + 2 + next_hop.encoded_len(),
        };
        usize::from(MAX_MESSAGE_LEN) - HEADER_LEN - 4 - self.attributes.len() - mp
    }

    /// Adds a prefix of the family, for which there has to be room.
    pub(crate) fn push(&mut self, prefix: Prefix) {
        self.prefixes.push(prefix);
    }

    /// The message.
    pub(crate) fn to_message(&self) -> UpdateMessage {
        let mut message = UpdateMessage {
            withdrawn_routes: Bytes::new(),
            path_attributes: Bytes::copy_from_slice(&self.attributes),
            nlri: Bytes::new(),
        };
        match self.place {
            Place::Withdrawn => message.withdrawn_routes = self.in_fields(),
            Place::Announced => message.nlri = self.in_fields(),
            Place::MpUnreach => {
                message.path_attributes = self.with_attribute(&self.unreachable());
            }
            Place::MpReach(next_hop) => {
                message.path_attributes = self.with_attribute(&self.reachable(next_hop));
            }
        }
        message
    }

    fn in_fields(&self) -> Bytes {
        let prefixes = self.prefixes.iter().filter_map(|prefix| {
            let rustbgpd_wire::Prefix::V4(prefix) = prefix.to_wire() else {
                return None;
            };
            Some(prefix)
        });
        let mut bytes = vec![];
        encode_nlri(&prefixes.collect::<Vec<_>>(), &mut bytes);
        bytes.into()
    }

    /// The attribute with the prefixes comes first (RFC 7606 section 5.1).
    fn with_attribute(&self, first: &PathAttribute) -> Bytes {
        let mut bytes = encoded(std::slice::from_ref(first), true);
        bytes.extend_from_slice(&self.attributes);
        bytes.into()
    }

    fn reachable(&self, next_hop: NextHop) -> PathAttribute {
        PathAttribute::MpReachNlri(Box::new(MpReachNlri {
            afi: self.family.afi(),
            safi: Safi::Unicast,
            next_hop: next_hop.address,
            link_local_next_hop: next_hop.link_local,
            announced: self.entries(),
            flowspec_announced: vec![],
            evpn_announced: vec![],
            bgpls_announced: vec![],
            vpn_announced: vec![],
            labeled_announced: vec![],
            rtc_announced: vec![],
        }))
    }

    fn unreachable(&self) -> PathAttribute {
        PathAttribute::MpUnreachNlri(Box::new(MpUnreachNlri {
            afi: self.family.afi(),
            safi: Safi::Unicast,
            withdrawn: self.entries(),
            flowspec_withdrawn: vec![],
            evpn_withdrawn: vec![],
            bgpls_withdrawn: vec![],
            vpn_withdrawn: vec![],
            labeled_withdrawn: vec![],
            rtc_withdrawn: vec![],
        }))
    }

    fn entries(&self) -> Vec<NlriEntry> {
        let entry = |prefix: &Prefix| NlriEntry {
            path_id: 0,
            prefix: prefix.to_wire(),
        };
        self.prefixes.iter().map(entry).collect()
    }
}

// === impl NextHop ===

impl NextHop {
    fn encoded_len(self) -> usize {
        match (self.address, self.link_local) {
            (IpAddr::V4(_), _) => 4,
            (IpAddr::V6(_), None) => 16,
            (IpAddr::V6(_), Some(_)) => 32,
        }
    }
}

fn encoded(attributes: &[PathAttribute], four_byte_as: bool) -> Vec<u8> {
    let mut bytes = vec![];
    let written: Result<(), EncodeError> =
        encode_path_attributes(attributes, &mut bytes, four_byte_as, false);
    written.expect("our own attributes have neither AS 0 nor sets of ASs");
    bytes
}

#[cfg(test)]
mod tests;
