use std::io;
use std::net::{IpAddr, SocketAddr};

use lbfabric_bgp::Hops;
use lbfabric_bgp::bfd::Path;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::if_nametoindex;

use crate::config::NeighborSetup;

/// Between whom a session is, and how its packets get there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BfdRoute {
    pub(super) path: Path,
    pub(super) local: IpAddr,
    pub(super) remote: SocketAddr,
    pub(super) least_ttl: u8,
}

/// RFC 5881 section 4.
pub(super) const SINGLE_HOP_PORT: u16 = 3784;
/// RFC 5883 section 5.
pub(super) const MULTIHOP_PORT: u16 = 4784;

// === impl BfdRoute ===

impl BfdRoute {
    /// Between the ends of a BGP connection: over one hop unless the neighbor may be further away.
    pub(crate) fn between(
        local: SocketAddr,
        remote: SocketAddr,
        setup: &NeighborSetup,
    ) -> io::Result<Self> {
        let hops = match setup.transport.hops {
            Hops::Link => 1,
            Hops::Proven(hops) | Hops::UpTo(hops) => hops,
        };
        let (path, port) = if hops <= 1 {
            let interface = interface_of(local, setup)?;
            let remote = remote.ip();
            (Path::SingleHop { remote, interface }, SINGLE_HOP_PORT)
        } else {
            let (remote, local) = (remote.ip(), local.ip());
            (Path::Multihop { remote, local }, MULTIHOP_PORT)
        };
        let mut remote = remote;
        remote.set_port(port);
        Ok(Self {
            path,
            local: local.ip(),
            remote,
            // Of packets over several hops, bird's leave with any TTL.
            least_ttl: setup.transport.hops.least_ttl().unwrap_or(0),
        })
    }
}

/// The link that the connection goes over: where its address is.
fn interface_of(local: SocketAddr, setup: &NeighborSetup) -> io::Result<u32> {
    if let Some(name) = &setup.interface {
        return Ok(if_nametoindex(name.as_str())?);
    }
    let has_it = |it: &nix::ifaddrs::InterfaceAddress| {
        let address = it.address.as_ref();
        let ipv4 = address.and_then(|it| it.as_sockaddr_in());
        let ipv6 = address.and_then(|it| it.as_sockaddr_in6());
        match local.ip() {
            IpAddr::V4(local) => ipv4.is_some_and(|it| it.ip() == local),
            IpAddr::V6(local) => ipv6.is_some_and(|it| it.ip() == local),
        }
    };
    match getifaddrs()?.find(has_it) {
        Some(found) => Ok(if_nametoindex(found.interface_name.as_str())?),
        None => Err(io::Error::other(format!(
            "no interface has the address {}",
            local.ip()
        ))),
    }
}
