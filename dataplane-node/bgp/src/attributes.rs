use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use rustbgpd_wire::attribute::{
    Aggregator, AsPath, AsPathSegment, ExtendedCommunity, LargeCommunity, PathAttribute,
};

use crate::{AttributesChange, NeighborConfig};

/// What is announced with a route, as an operator wrote it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttributesSpec {
    /// Where routes lead to; the neighbor's [`crate::NextHops`] if nothing is said.
    pub next_hop: Option<IpAddr>,
    /// How the route came into BGP.
    pub origin: Origin,
    /// `MULTI_EXIT_DISC`: of several ways into our AS, neighbors prefer the lowest.
    pub med: Option<u32>,
    /// How often our AS stands in the path beyond once, for neighbors in other ones.
    pub prepend: u8,
    /// `LOCAL_PREF`: neighbors in our AS prefer the highest; 100 if nothing is said.
    pub local_preference: Option<u32>,
    /// Communities (RFC 1997): the upper half is an AS number.
    pub communities: Vec<u32>,
    /// Extended communities (RFC 4360), as they are sent.
    pub extended_communities: Vec<u64>,
    /// Large communities (RFC 8092): an AS number and two numbers of its.
    pub large_communities: Vec<(u32, u32, u32)>,
    /// The route is about to be withdrawn: `GRACEFUL_SHUTDOWN`, and the lowest local preference (RFC 8326).
    pub is_draining: bool,
}

/// `ORIGIN` (RFC 4271 section 5.1.1), best first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// From within the AS.
    #[default]
    Igp,
    /// From EGP.
    Egp,
    /// From elsewhere.
    Incomplete,
}

/// What is announced with a route, such that it fits into a message. Equal ones are sent together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attributes {
    next_hop: Option<IpAddr>,
    origin: Origin,
    med: Option<u32>,
    prepend: u8,
    local_preference: Option<u32>,
    communities: Vec<u32>,
    extended_communities: Vec<u64>,
    large_communities: Vec<(u32, u32, u32)>,
    is_draining: bool,
    is_aggregate: bool,
}

/// Why attributes are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAttributes {
    /// A message has 4,096 bytes, and routes have to fit as well.
    #[error("{0} communities of a kind are more than {COMMUNITIES_MAX}")]
    Communities(usize),
    /// So long a path helps nobody.
    #[error("{0} more ASs in the path are more than {PREPEND_MAX}")]
    Prepend(u8),
    /// Packets cannot be sent there.
    #[error("{0} is no next hop")]
    NextHop(IpAddr),
}

/// Communities of each kind that a route may have.
const COMMUNITIES_MAX: usize = 100;
/// Times that our AS may be prepended.
const PREPEND_MAX: u8 = 32;
/// What `LOCAL_PREF` is if nobody says anything.
const LOCAL_PREFERENCE: u32 = 100;
/// RFC 8326 section 5.
const GRACEFUL_SHUTDOWN: u32 = 0xffff_0000;

// === impl Attributes ===

impl Attributes {
    /// What they say, as an operator would have written it; communities are in order, and none stands twice.
    pub fn to_spec(&self) -> AttributesSpec {
        let Self {
            next_hop,
            origin,
            med,
            prepend,
            local_preference,
            communities,
            extended_communities,
            large_communities,
            is_draining,
            is_aggregate: _,
        } = self.clone();
        AttributesSpec {
            next_hop,
            origin,
            med,
            prepend,
            local_preference,
            communities,
            extended_communities,
            large_communities,
            is_draining,
        }
    }

    /// Whether the route stands for those within it.
    pub fn is_aggregate(&self) -> bool {
        self.is_aggregate
    }

    /// What a neighbor is told instead. It fits into a message, since a change adds less than there is room for beside the most that a
    /// route has.
    pub(crate) fn changed_by(&self, change: &AttributesChange) -> Self {
        Self {
            next_hop: change.next_hop.or(self.next_hop),
            origin: self.origin,
            med: change.med.or(self.med),
            prepend: self.prepend.saturating_add(change.prepend),
            local_preference: change.local_preference.or(self.local_preference),
            communities: union(&self.communities, &change.communities),
            extended_communities: union(&self.extended_communities, &change.extended_communities),
            large_communities: union(&self.large_communities, &change.large_communities),
            is_draining: self.is_draining,
            is_aggregate: self.is_aggregate,
        }
    }

    /// The same ones, of a route that stands for those within it.
    pub(crate) fn of_aggregate(self) -> Self {
        Self {
            is_aggregate: true,
            ..self
        }
    }

    pub(crate) fn next_hop(&self) -> Option<IpAddr> {
        self.next_hop
    }

    /// All but the next hop, in the order of their types (RFC 4271 section 5), for one neighbor.
    pub(crate) fn to_wire(
        &self,
        neighbor: &NeighborConfig,
        is_draining: bool,
    ) -> Vec<PathAttribute> {
        let spec = neighbor.spec();
        let is_draining = is_draining || self.is_draining;
        let origin = match self.origin {
            Origin::Igp => rustbgpd_wire::attribute::Origin::Igp,
            Origin::Egp => rustbgpd_wire::attribute::Origin::Egp,
            Origin::Incomplete => rustbgpd_wire::attribute::Origin::Incomplete,
        };
        let mut attributes = vec![
            PathAttribute::Origin(origin),
            PathAttribute::AsPath(self.as_path(neighbor)),
        ];
        attributes.extend(self.med.map(PathAttribute::Med));
        if neighbor.is_internal() {
            let preference = self.local_preference.unwrap_or(LOCAL_PREFERENCE);
            let preference = if is_draining { 0 } else { preference };
            attributes.push(PathAttribute::LocalPref(preference));
        }
        if self.is_aggregate {
            attributes.push(aggregator(spec.local_as, spec.router_id));
        }
        self.push_communities(&mut attributes, is_draining);
        attributes
    }

    /// Our AS, once and as often as it is prepended; nothing within our AS, where it would look like a loop.
    fn as_path(&self, neighbor: &NeighborConfig) -> AsPath {
        let times = 1 + usize::from(self.prepend);
        let path = vec![neighbor.spec().local_as; times];
        let segments = if neighbor.is_internal() {
            vec![]
        } else {
            vec![AsPathSegment::AsSequence(path)]
        };
        AsPath { segments }
    }

    fn push_communities(&self, attributes: &mut Vec<PathAttribute>, is_draining: bool) {
        let mut communities = self.communities.clone();
        if is_draining && !communities.contains(&GRACEFUL_SHUTDOWN) {
            communities.push(GRACEFUL_SHUTDOWN);
        }
        if !communities.is_empty() {
            attributes.push(PathAttribute::Communities(communities));
        }
        if !self.extended_communities.is_empty() {
            let values = self.extended_communities.iter();
            let values = values.map(|value| ExtendedCommunity::new(*value));
            attributes.push(PathAttribute::ExtendedCommunities(values.collect()));
        }
        if !self.large_communities.is_empty() {
            let values = self.large_communities.iter();
            let values = values.map(|(of, one, two)| LargeCommunity::new(*of, *one, *two));
            attributes.push(PathAttribute::LargeCommunities(values.collect()));
        }
    }
}

impl TryFrom<AttributesSpec> for Attributes {
    type Error = InvalidAttributes;

    fn try_from(spec: AttributesSpec) -> Result<Self, InvalidAttributes> {
        let AttributesSpec {
            next_hop,
            origin,
            med,
            prepend,
            local_preference,
            communities,
            extended_communities,
            large_communities,
            is_draining,
        } = spec;
        if prepend > PREPEND_MAX {
            return Err(InvalidAttributes::Prepend(prepend));
        }
        if let Some(address) = next_hop.filter(|address| !is_next_hop(*address)) {
            return Err(InvalidAttributes::NextHop(address));
        }
        Ok(Self {
            next_hop,
            origin,
            med,
            prepend,
            local_preference,
            communities: as_set(communities)?,
            extended_communities: as_set(extended_communities)?,
            large_communities: as_set(large_communities)?,
            is_draining,
            is_aggregate: false,
        })
    }
}

/// Communities have no order: sets that are equal are to look so.
fn as_set<T: Ord>(mut values: Vec<T>) -> Result<Vec<T>, InvalidAttributes> {
    values.sort_unstable();
    values.dedup();
    if values.len() > COMMUNITIES_MAX {
        return Err(InvalidAttributes::Communities(values.len()));
    }
    Ok(values)
}

fn union<T: Copy + Ord>(one: &[T], other: &[T]) -> Vec<T> {
    let both: BTreeSet<T> = one.iter().chain(other).copied().collect();
    both.into_iter().collect()
}

/// Whether neighbors accept it (RFC 4271 section 6.3).
pub(crate) fn is_next_hop(address: IpAddr) -> bool {
    let is_broadcast = address == IpAddr::V4(Ipv4Addr::BROADCAST);
    !(address.is_unspecified() || address.is_loopback() || address.is_multicast() || is_broadcast)
}

/// Who put the routes together (RFC 4271 section 5.1.7). Their paths are the same as the aggregate's, so that it is not `ATOMIC_AGGREGATE`.
fn aggregator(asn: u32, router_id: Ipv4Addr) -> PathAttribute {
    PathAttribute::Aggregator(Aggregator {
        asn,
        router_id,
        partial: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{LOCAL_AS, config, spec};

    fn attributes(spec: AttributesSpec) -> Attributes {
        spec.try_into().unwrap()
    }

    fn internal() -> NeighborConfig {
        let mut spec = spec();
        spec.peer_as = spec.local_as;
        spec.try_into().unwrap()
    }

    #[test]
    fn preference_is_for_our_as_and_the_path_for_others() {
        let route = attributes(AttributesSpec {
            prepend: 2,
            local_preference: Some(7),
            ..AttributesSpec::default()
        });
        let outside = route.to_wire(&config(), false);
        let path = AsPath {
            segments: vec![AsPathSegment::AsSequence(vec![LOCAL_AS; 3])],
        };
        assert!(outside.contains(&PathAttribute::AsPath(path)));
        let preference = |attributes: &[PathAttribute]| {
            attributes.iter().find_map(|it| match it {
                PathAttribute::LocalPref(preference) => Some(*preference),
                _ => None,
            })
        };
        assert_eq!(preference(&outside), None);
        let inside = route.to_wire(&internal(), false);
        let empty = AsPath { segments: vec![] };
        assert!(inside.contains(&PathAttribute::AsPath(empty)));
        assert_eq!(preference(&inside), Some(7));
        assert_eq!(preference(&route.to_wire(&internal(), true)), Some(0));
        let silent = attributes(AttributesSpec::default());
        assert_eq!(preference(&silent.to_wire(&internal(), false)), Some(100));
    }

    #[test]
    fn what_drains_says_so_once() {
        let shutdown = PathAttribute::Communities(vec![GRACEFUL_SHUTDOWN]);
        let mut spec = AttributesSpec {
            is_draining: true,
            ..AttributesSpec::default()
        };
        let of = |spec: &AttributesSpec| attributes(spec.clone()).to_wire(&config(), true);
        assert!(of(&spec).contains(&shutdown));
        spec.communities = vec![GRACEFUL_SHUTDOWN];
        assert!(of(&spec).contains(&shutdown));
    }

    #[test]
    fn communities_have_no_order() {
        let of = |communities: &[u32]| {
            attributes(AttributesSpec {
                communities: communities.to_vec(),
                ..AttributesSpec::default()
            })
        };
        assert_eq!(of(&[2, 1, 2]), of(&[1, 2]));
    }

    #[test]
    fn what_is_refused() {
        let refusal = |change: fn(&mut AttributesSpec)| {
            let mut spec = AttributesSpec::default();
            change(&mut spec);
            Attributes::try_from(spec).err()
        };
        assert_eq!(refusal(|it| it.prepend = 32), None);
        let long = Some(InvalidAttributes::Prepend(33));
        assert_eq!(refusal(|it| it.prepend = 33), long);
        assert_eq!(refusal(|it| it.communities = (0..100).collect()), None);
        let many = Some(InvalidAttributes::Communities(101));
        assert_eq!(refusal(|it| it.communities = (0..101).collect()), many);
        for address in [
            "0.0.0.0",
            "127.0.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
        ] {
            let address: IpAddr = address.parse().unwrap();
            let refused = Attributes::try_from(AttributesSpec {
                next_hop: Some(address),
                ..AttributesSpec::default()
            });
            assert_eq!(refused, Err(InvalidAttributes::NextHop(address)));
        }
    }
}
