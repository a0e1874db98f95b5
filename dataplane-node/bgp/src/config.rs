use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{Family, PerFamily};

/// Settings of one neighbor, as an operator wrote them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighborSpec {
    /// Our AS number.
    pub local_as: u32,
    /// Our BGP identifier: 32 bits that no other router of the AS has (RFC 6286).
    pub router_id: Ipv4Addr,
    /// The neighbor's AS number; the same as ours makes it iBGP.
    pub peer_as: u32,
    /// Waits for the neighbor's connection and makes none.
    pub is_passive: bool,
    /// After how many seconds without a message the neighbor is taken for dead; 3 at least, or 0 for never. The lower one of
    /// both sides' counts.
    pub hold_time_secs: u16,
    /// Families whose routes are announced.
    pub families: PerFamily<bool>,
    /// The address of ours that routes lead to where they name none.
    pub next_hops: NextHops,
    /// Announces IPv4 routes by IPv6 next hops where there is none of IPv4 (RFC 8950).
    pub extended_next_hop: bool,
    /// Asks the neighbor to keep our routes for a while when the session ends without a NOTIFICATION (RFC 4724).
    ///
    /// The price: when this node dies, the neighbor goes on sending it packets for as long, unless BFD tells the neighbor of it
    /// and it heeds that. It is for single nodes whose agent restarts while their programs forward, not for anycast.
    pub graceful_restart: Option<GracefulRestart>,
    /// Families of which the neighbor's default route is kept. Nothing else is imported.
    pub import_default: PerFamily<bool>,
    /// Whether routes from an external neighbor have to have its AS as the first of their path.
    pub enforce_first_as: bool,
}

/// What [`NeighborSpec::graceful_restart`] asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GracefulRestart {
    /// For how long the neighbor keeps routes without a session; at most 4,095.
    pub restart_time_secs: u16,
    /// Whether this process has taken over from one that had sessions, while the programs forwarded all the time.
    pub has_restarted: bool,
}

/// Addresses of ours that a neighbor can send packets to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NextHops {
    /// Of IPv4.
    pub ipv4: Option<Ipv4Addr>,
    /// Of IPv6, beyond the link.
    pub ipv6: Option<Ipv6Addr>,
    /// On the link; announced beside `ipv6` (RFC 2545 section 3).
    pub link_local: Option<Ipv6Addr>,
}

/// How a shell is to make connections. The machines do not read it.
#[derive(Clone, PartialEq, Eq)]
pub struct Transport {
    /// The neighbor's address; connections from elsewhere are none of it.
    pub peer: IpAddr,
    /// Its port; 179 if nothing else is said.
    pub port: u16,
    /// The address of ours.
    pub local: Option<IpAddr>,
    /// How far away the neighbor may be.
    pub hops: Hops,
    /// The secret of TCP-MD5 (RFC 2385).
    pub md5_secret: Option<Vec<u8>>,
}

/// How far away a neighbor may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hops {
    /// On the link: packets leave with a TTL of 1.
    Link,
    /// Not further than so many hops, which the TTL of its packets has to prove (GTSM, RFC 5082): they come with 256 less so many.
    Proven(u8),
    /// Up to so many hops.
    UpTo(u8),
}

/// Settings of one neighbor that machines can work with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighborConfig(NeighborSpec);

/// Why settings of a neighbor are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNeighbor {
    /// AS 0 is nobody's (RFC 7607), and `AS_TRANS` (23456) stands for others.
    #[error("{0} is no AS number that a router can have")]
    AsNumber(u32),
    /// An identifier is not zero.
    #[error("the router ID is 0.0.0.0")]
    RouterId,
    /// RFC 4271 section 4.2.
    #[error("a hold time of {0} s is neither 0 nor at least 3 s")]
    HoldTime(u16),
    /// Then there is nothing to talk about.
    #[error("no address family is announced")]
    NoFamily,
    /// Its field has 12 bits.
    #[error("a restart time of {0} s is more than 4,095 s")]
    RestartTime(u16),
}

/// Number of RFC 6793 that stands for AS numbers beyond 65,535.
pub(crate) const AS_TRANS: u32 = 23_456;

// === impl Hops ===

impl Hops {
    /// The TTL to send with.
    pub fn sent_ttl(self) -> u8 {
        match self {
            Self::Link => 1,
            Self::Proven(_) => 255,
            Self::UpTo(hops) => hops,
        }
    }

    /// The least TTL to accept, where one proves something.
    pub fn least_ttl(self) -> Option<u8> {
        match self {
            Self::Proven(hops) => Some(255 - hops.saturating_sub(1)),
            Self::Link | Self::UpTo(_) => None,
        }
    }
}

// === impl Transport ===

impl std::fmt::Debug for Transport {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            peer,
            port,
            local,
            hops,
            md5_secret,
        } = self;
        formatter
            .debug_struct("Transport")
            .field("peer", peer)
            .field("port", port)
            .field("local", local)
            .field("hops", hops)
            .field("has_md5_secret", &md5_secret.is_some())
            .finish()
    }
}

// === impl NeighborConfig ===

impl NeighborConfig {
    pub(crate) fn spec(&self) -> &NeighborSpec {
        &self.0
    }

    /// Whether the neighbor is in our AS.
    pub fn is_internal(&self) -> bool {
        self.0.local_as == self.0.peer_as
    }

    /// Whether IPv4 routes with IPv6 next hops are to be offered.
    pub(crate) fn wants_extended_next_hop(&self) -> bool {
        self.0.extended_next_hop && *self.0.families.of(Family::Ipv4)
    }
}

impl TryFrom<NeighborSpec> for NeighborConfig {
    type Error = InvalidNeighbor;

    fn try_from(spec: NeighborSpec) -> Result<Self, InvalidNeighbor> {
        for number in [spec.local_as, spec.peer_as] {
            if number == 0 || number == AS_TRANS {
                return Err(InvalidNeighbor::AsNumber(number));
            }
        }
        if spec.router_id.is_unspecified() {
            return Err(InvalidNeighbor::RouterId);
        }
        if matches!(spec.hold_time_secs, 1 | 2) {
            return Err(InvalidNeighbor::HoldTime(spec.hold_time_secs));
        }
        if spec.families.families().next().is_none() {
            return Err(InvalidNeighbor::NoFamily);
        }
        match spec.graceful_restart {
            Some(restart) if restart.restart_time_secs > 4_095 => {
                Err(InvalidNeighbor::RestartTime(restart.restart_time_secs))
            }
            Some(_) | None => Ok(Self(spec)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::spec;

    #[test]
    fn what_is_refused() {
        let refusal = |change: fn(&mut NeighborSpec)| {
            let mut spec = spec();
            change(&mut spec);
            NeighborConfig::try_from(spec).err()
        };
        assert_eq!(refusal(|_| ()), None);
        assert_eq!(refusal(|it| it.hold_time_secs = 0), None);
        let zero = InvalidNeighbor::AsNumber(0);
        assert_eq!(refusal(|it| it.local_as = 0), Some(zero));
        let trans = InvalidNeighbor::AsNumber(23_456);
        assert_eq!(refusal(|it| it.peer_as = 23_456), Some(trans));
        let id = Some(InvalidNeighbor::RouterId);
        assert_eq!(refusal(|it| it.router_id = Ipv4Addr::UNSPECIFIED), id);
        let short = Some(InvalidNeighbor::HoldTime(2));
        assert_eq!(refusal(|it| it.hold_time_secs = 2), short);
        let none = Some(InvalidNeighbor::NoFamily);
        assert_eq!(refusal(|it| it.families = PerFamily::default()), none);
        let long = GracefulRestart {
            restart_time_secs: 4_096,
            has_restarted: false,
        };
        let mut spec = spec();
        spec.graceful_restart = Some(long);
        let refused = NeighborConfig::try_from(spec);
        assert_eq!(refused, Err(InvalidNeighbor::RestartTime(4_096)));
    }

    #[test]
    fn ttl_of_each_distance() {
        assert_eq!((Hops::Link.sent_ttl(), Hops::Link.least_ttl()), (1, None));
        let near = Hops::Proven(1);
        assert_eq!((near.sent_ttl(), near.least_ttl()), (255, Some(255)));
        let far = Hops::Proven(3);
        assert_eq!((far.sent_ttl(), far.least_ttl()), (255, Some(253)));
        assert_eq!(Hops::UpTo(5).sent_ttl(), 5);
    }

    #[test]
    fn a_secret_is_not_shown() {
        let transport = Transport {
            peer: IpAddr::from([192, 0, 2, 1]),
            port: 179,
            local: None,
            hops: Hops::Link,
            md5_secret: Some(b"hush".to_vec()),
        };
        let shown = format!("{transport:?}");
        assert!(shown.contains("has_md5_secret: true") && !shown.contains("104"));
    }
}
