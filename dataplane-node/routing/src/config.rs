use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZeroU8;

use lbfabric_bgp::bfd::{InvalidSession, SessionConfig, SessionSpec};
use lbfabric_bgp::{NeighborConfig, Transport};

/// The neighbors of a node. Checked once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpeakerConfig {
    listen_port: Option<u16>,
    neighbors: BTreeMap<String, NeighborSetup>,
}

/// One neighbor: what to talk about, how to reach it, and how to notice that it is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighborSetup {
    /// The session.
    pub config: NeighborConfig,
    /// Its connections.
    pub transport: Transport,
    /// The link that the neighbor is on. A neighbor with an address of that link alone needs it.
    pub interface: Option<String>,
    /// BFD beside the session, if wanted.
    pub bfd: Option<BfdTimers>,
}

/// BFD with a neighbor; one hop or several, as [`Transport::hops`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BfdTimers {
    /// How often we would send, at most.
    pub desired_min_tx_micros: u32,
    /// How often we can receive.
    pub required_min_rx_micros: u32,
    /// How many packets of ours have to be missing before the partner gives up.
    pub detect_mult: NonZeroU8,
    /// Sends nothing before the partner does.
    pub is_passive: bool,
}

/// Why neighbors are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSpeaker {
    /// Its connections could not be told apart from the other one's.
    #[error("{name}: another neighbor has the address {peer}, too")]
    SamePeer {
        /// The second one.
        name: String,
        /// The address.
        peer: IpAddr,
    },
    /// RFC 2385 has secrets of 80 bytes at most.
    #[error("{name}: a secret has 1 to {MD5_SECRET_MAX} bytes, not {length}")]
    Md5Secret {
        /// Whose.
        name: String,
        /// Its length.
        length: usize,
    },
    /// Addresses of a link are not unique.
    #[error("{name}: {peer} is an address of a link, and no interface is named")]
    NoInterface {
        /// Whose.
        name: String,
        /// The address.
        peer: IpAddr,
    },
    /// The connection would have no address.
    #[error("{name}: {peer} and {local} are not of the same family")]
    Families {
        /// Whose.
        name: String,
        /// The neighbor's address.
        peer: IpAddr,
        /// Ours.
        local: IpAddr,
    },
    /// BFD's times.
    #[error("{name}: BFD")]
    Bfd {
        /// Whose.
        name: String,
        /// Why.
        source: InvalidSession,
    },
}

/// What the kernel has room for.
pub(crate) const MD5_SECRET_MAX: usize = libc::TCP_MD5SIG_MAXKEYLEN;

// === impl SpeakerConfig ===

impl SpeakerConfig {
    /// Neighbors by their names, and the port to await their connections at (179, if any).
    pub fn new(
        listen_port: Option<u16>,
        neighbors: BTreeMap<String, NeighborSetup>,
    ) -> Result<Self, InvalidSpeaker> {
        let mut peers = BTreeSet::new();
        for (name, setup) in &neighbors {
            setup.check(name)?;
            let peer = setup.transport.peer;
            if !peers.insert((peer, is_of_link(peer).then_some(&setup.interface))) {
                let name = name.clone();
                return Err(InvalidSpeaker::SamePeer { name, peer });
            }
        }
        Ok(Self {
            listen_port,
            neighbors,
        })
    }

    pub(crate) fn listen_port(&self) -> Option<u16> {
        self.listen_port
    }

    pub(crate) fn neighbors(&self) -> &BTreeMap<String, NeighborSetup> {
        &self.neighbors
    }
}

// === impl NeighborSetup ===

impl NeighborSetup {
    fn check(&self, name: &str) -> Result<(), InvalidSpeaker> {
        let name = name.to_owned();
        let peer = self.transport.peer;
        if let Some(secret) = &self.transport.md5_secret
            && !(1..=MD5_SECRET_MAX).contains(&secret.len())
        {
            let length = secret.len();
            return Err(InvalidSpeaker::Md5Secret { name, length });
        }
        if is_of_link(peer) && self.interface.is_none() {
            return Err(InvalidSpeaker::NoInterface { name, peer });
        }
        if let Some(local) = self.transport.local
            && local.is_ipv4() != peer.is_ipv4()
        {
            return Err(InvalidSpeaker::Families { name, peer, local });
        }
        if let Some(timers) = self.bfd {
            let config = timers.with_discriminator(std::num::NonZeroU32::MIN);
            config.map_err(|source| InvalidSpeaker::Bfd { name, source })?;
        }
        Ok(())
    }
}

// === impl BfdTimers ===

impl BfdTimers {
    /// 50 ms, three times.
    pub const DEFAULT: Self = Self {
        desired_min_tx_micros: 50_000,
        required_min_rx_micros: 50_000,
        detect_mult: NonZeroU8::new(3).expect("3 is not 0"),
        is_passive: false,
    };

    pub(crate) fn with_discriminator(
        self,
        discriminator: std::num::NonZeroU32,
    ) -> Result<SessionConfig, InvalidSession> {
        let Self {
            desired_min_tx_micros,
            required_min_rx_micros,
            detect_mult,
            is_passive,
        } = self;
        SessionConfig::try_from(SessionSpec {
            discriminator,
            desired_min_tx_micros,
            required_min_rx_micros,
            detect_mult,
            is_passive,
            // The thread ends with the agent.
            is_independent: false,
        })
    }
}

impl Default for BfdTimers {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Whether the address is one among those of a link.
pub(crate) fn is_of_link(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use lbfabric_bgp::{Hops, NeighborSpec, NextHops, PerFamily};

    use super::*;

    fn setup(peer: &str) -> NeighborSetup {
        let spec = NeighborSpec {
            local_as: 65_010,
            router_id: Ipv4Addr::new(192, 0, 2, 1),
            peer_as: 65_020,
            is_passive: false,
            hold_time_secs: 90,
            families: PerFamily::from_each(|_| true),
            next_hops: NextHops::default(),
            extended_next_hop: false,
            graceful_restart: None,
            import_default: PerFamily::default(),
            enforce_first_as: true,
        };
        NeighborSetup {
            config: spec.try_into().unwrap(),
            transport: Transport {
                peer: peer.parse().unwrap(),
                port: 179,
                local: None,
                hops: Hops::Link,
                md5_secret: None,
            },
            interface: None,
            bfd: Some(BfdTimers::DEFAULT),
        }
    }

    fn refusal(setups: impl IntoIterator<Item = NeighborSetup>) -> Option<String> {
        let setups = setups.into_iter().enumerate();
        let neighbors = setups.map(|(number, setup)| (format!("n{number}"), setup));
        let config = SpeakerConfig::new(None, neighbors.collect());
        config.err().map(|error| error.to_string())
    }

    #[test]
    fn what_is_refused() {
        let with = |change: fn(&mut NeighborSetup)| {
            let mut setup = setup("192.0.2.2");
            change(&mut setup);
            refusal([setup])
        };
        assert_eq!(with(|_| ()), None);
        let empty = with(|it| it.transport.md5_secret = Some(vec![]));
        assert_eq!(empty.unwrap(), "n0: a secret has 1 to 80 bytes, not 0");
        let long = with(|it| it.transport.md5_secret = Some(vec![1; 81]));
        assert_eq!(long.unwrap(), "n0: a secret has 1 to 80 bytes, not 81");
        let other = with(|it| it.transport.local = "2001:db8::1".parse().ok());
        assert!(other.unwrap().ends_with("not of the same family"));
        let fast = with(|it| it.bfd.as_mut().unwrap().desired_min_tx_micros = 1);
        assert_eq!(fast.unwrap(), "n0: BFD");
    }

    #[test]
    fn addresses_of_links_are_told_apart_by_their_links() {
        let on = |interface: &str| NeighborSetup {
            interface: Some(interface.to_owned()),
            ..setup("fe80::1")
        };
        assert_eq!(refusal([on("a"), on("b")]), None);
        assert!(refusal([on("a"), on("a")]).is_some());
        assert!(refusal([setup("fe80::1")]).is_some());
        assert!(refusal([setup("192.0.2.2"), setup("192.0.2.2")]).is_some());
    }
}
