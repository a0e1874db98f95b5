use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use lbfabric_abi::NextHop;
use lbfabric_model::Prefix;
use rtnetlink::packet_route::{
    address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope},
    link::{LinkAttribute, LinkFlags, LinkMessage, LinkXdp, XdpAttached},
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState},
    route::RouteAddress,
};

use super::requests::address_of;
use crate::plan::Way;

/// A neighbour: an address on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NeighbourKey {
    pub(crate) ifindex: u32,
    pub(crate) address: IpAddr,
}

/// Where packets to a server leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// Through this neighbour.
    pub(crate) via: NeighbourKey,
    /// The largest packet, where the kernel knows of less than the link takes: by configuration, or as the path has said.
    pub(crate) mtu: Option<u32>,
}

/// What the agent sees of the network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NetworkView {
    /// Whether the first complete read is done.
    pub(crate) ready: bool,
    pub(crate) links: BTreeMap<String, LinkView>,
    /// Global addresses on the followed interfaces, in their order.
    pub(crate) on_interface: Vec<IpAddr>,
    /// The same, with where they are.
    pub(crate) placed: Vec<PlacedAddress>,
    /// Global addresses on any interface.
    pub(crate) on_node: Vec<IpAddr>,
    /// The networks that the node has such addresses in, in order.
    pub(crate) subnets: Vec<Prefix>,
    /// The servers' addresses whose routes have been looked up.
    pub(crate) looked_up: BTreeSet<IpAddr>,
    /// To every wanted server's address that is resolved.
    pub(crate) next_hops: BTreeMap<IpAddr, Way>,
    /// How often a rule or a route that brings servers' answers here may have gone, the agent's own removals counted.
    pub(crate) answers_lost: u64,
}

/// An address of the node's, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlacedAddress {
    pub(crate) address: IpAddr,
    /// The interface's name.
    pub(crate) link: String,
    /// The network that it is in, unless that says nothing of who is beside whom.
    pub(crate) network: Option<Prefix>,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LinkView {
    pub(crate) index: u32,
    pub(crate) mac: Option<[u8; 6]>,
    pub(crate) up: bool,
    pub(crate) mtu: Option<u32>,
    pub(crate) xdp: Option<XdpView>,
}

/// The XDP program on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct XdpView {
    /// Kernel ids; several if one each is attached in different modes.
    pub(crate) programs: BTreeSet<u32>,
    pub(crate) generic: bool,
}

/// Everything read from the kernel.
#[derive(Debug, Default)]
pub(crate) struct NetworkTable {
    pub(crate) links: BTreeMap<u32, (String, LinkView)>,
    addresses: Vec<OwnAddress>,
    pub(crate) routes: BTreeMap<IpAddr, Route>,
    neighbours: BTreeMap<NeighbourKey, Neighbour>,
    /// The last link-layer address of each neighbour: kept when the kernel forgets or doubts it, until there is a new one.
    last: BTreeMap<NeighbourKey, [u8; 6]>,
    /// As in [`NetworkView`].
    pub(crate) answers_lost: u64,
}

/// An address of the node.
#[derive(Clone, Copy, Debug)]
struct OwnAddress {
    ifindex: u32,
    address: IpAddr,
    /// The length of its network's prefix.
    prefix_bits: u8,
}

#[derive(Clone, Copy, Debug)]
struct Neighbour {
    mac: Option<[u8; 6]>,
    state: NeighbourState,
}

impl NetworkTable {
    pub(crate) fn set_links(&mut self, links: &[LinkMessage]) {
        self.links = links.iter().filter_map(link_of).collect();
    }

    pub(crate) fn note_link(&mut self, link: &LinkMessage) {
        self.links.extend(link_of(link));
    }

    pub(crate) fn forget_link(&mut self, link: &LinkMessage) {
        self.links.remove(&link.header.index);
    }

    pub(crate) fn set_addresses(&mut self, addresses: &[AddressMessage]) {
        self.addresses = addresses
            .iter()
            .filter(|message| is_usable(message))
            .filter_map(own_address)
            .collect();
    }

    pub(crate) fn set_neighbours(&mut self, neighbours: &[NeighbourMessage]) {
        self.neighbours.clear();
        for neighbour in neighbours {
            self.note_neighbour(neighbour);
        }
    }

    pub(crate) fn note_neighbour(&mut self, message: &NeighbourMessage) {
        let Some(key) = neighbour_key(message) else {
            return;
        };
        let mac = message
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                NeighbourAttribute::LinkLayerAddress(bytes) => <[u8; 6]>::try_from(&bytes[..]).ok(),
                _ => None,
            });
        let state = message.header.state;
        let doubtful = matches!(
            state,
            NeighbourState::Incomplete | NeighbourState::Failed | NeighbourState::None
        );
        let mac = mac.filter(|_| !doubtful);
        self.neighbours.insert(key, Neighbour { mac, state });
    }

    pub(crate) fn forget_neighbour(&mut self, message: &NeighbourMessage) {
        if let Some(key) = neighbour_key(message) {
            self.neighbours.remove(&key);
        }
    }

    /// Whether the kernel should be asked to resolve or confirm the neighbour.
    pub(crate) fn wants_probe(&self, key: NeighbourKey) -> bool {
        self.neighbours.get(&key).is_none_or(|neighbour| {
            matches!(
                neighbour.state,
                NeighbourState::Stale | NeighbourState::Failed | NeighbourState::None
            )
        })
    }

    /// Whether an operator fixed the neighbour's address.
    pub(crate) fn is_fixed(&self, key: NeighbourKey) -> bool {
        self.neighbours.get(&key).is_some_and(|neighbour| {
            matches!(
                neighbour.state,
                NeighbourState::Permanent | NeighbourState::Noarp
            )
        })
    }

    /// Neighbours that the wanted servers are reached through.
    pub(crate) fn hops(&self) -> BTreeSet<NeighbourKey> {
        self.routes.values().map(|route| route.via).collect()
    }

    /// What the agent needs of all this.
    pub(crate) fn view(&mut self, interfaces: &[String], wanted: &BTreeSet<IpAddr>) -> NetworkView {
        let hops = self.hops();
        self.last.retain(|key, _| hops.contains(key));
        for key in hops {
            if let Some(mac) = self.neighbours.get(&key).and_then(|n| n.mac) {
                self.last.insert(key, mac);
            }
        }
        let next_hops = self
            .routes
            .iter()
            .filter_map(|(address, route)| Some((*address, self.way(*address, *route)?)))
            .collect();
        let placed: Vec<_> = interfaces.iter().flat_map(|it| self.placed(it)).collect();
        NetworkView {
            ready: true,
            links: self.links.values().cloned().collect(),
            on_interface: placed.iter().map(|it| it.address).collect(),
            placed,
            on_node: self.addresses.iter().map(|own| own.address).collect(),
            subnets: self.subnets(),
            looked_up: wanted.clone(),
            next_hops,
            answers_lost: self.answers_lost,
        }
    }

    /// A network of all addresses says nothing of who is beside whom.
    fn subnets(&self) -> Vec<Prefix> {
        let subnets = self.addresses.iter().filter_map(OwnAddress::network);
        let subnets: BTreeSet<Prefix> = subnets.collect();
        subnets.into_iter().collect()
    }

    /// The node's addresses on an interface.
    fn placed(&self, link: &str) -> impl Iterator<Item = PlacedAddress> {
        let mut links = self.links.iter();
        let index = links.find(|(_, (name, _))| name == link);
        let index = index.map(|(index, _)| *index);
        let own = self.addresses.iter();
        let own = own.filter(move |own| Some(own.ifindex) == index);
        own.map(move |own| PlacedAddress {
            address: own.address,
            link: link.to_owned(),
            network: own.network(),
        })
    }

    fn way(&self, server: IpAddr, Route { via, mtu }: Route) -> Option<Way> {
        let (_, link) = self.links.get(&via.ifindex)?;
        let mtu = mtu.into_iter().chain(link.mtu).min().unwrap_or_default();
        Some(Way {
            hop: NextHop {
                ifindex: via.ifindex,
                source_mac: link.mac?,
                mac: *self.last.get(&via)?,
            },
            // No packet is longer than the largest of these.
            mtu: u16::try_from(mtu).unwrap_or(u16::MAX),
            host_bits: if via.address == server {
                self.host_bits(via)
            } else {
                0
            },
        })
    }

    /// How many of a neighbour's last address bits tell the hosts of its subnet apart. Of several subnets the widest: full NAT
    /// serves a client that is not beside the server as well.
    fn host_bits(&self, neighbour: NeighbourKey) -> u8 {
        let NeighbourKey { ifindex, address } = neighbour;
        let of_link = self.addresses.iter().filter(|own| own.ifindex == ifindex);
        of_link
            .filter_map(|own| own.host_bits_with(address))
            .max()
            .unwrap_or_default()
    }
}

impl OwnAddress {
    fn network(&self) -> Option<Prefix> {
        let network = Prefix::around(self.address, self.prefix_bits);
        network.filter(|_| self.prefix_bits > 0)
    }

    /// How many of the last address bits tell the hosts of its network apart, if the other address is of it.
    fn host_bits_with(&self, other: IpAddr) -> Option<u8> {
        let (differing, width): (u128, u8) = match (self.address, other) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (u128::from(own.to_bits() ^ other.to_bits()), 32)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => (own.to_bits() ^ other.to_bits(), 128),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return None,
        };
        // A network of all addresses says nothing of who is beside whom.
        if self.prefix_bits == 0 {
            return None;
        }
        let host_bits = width.saturating_sub(self.prefix_bits);
        (differing >> host_bits == 0).then_some(host_bits)
    }
}

fn own_address(message: &AddressMessage) -> Option<OwnAddress> {
    Some(OwnAddress {
        ifindex: message.header.index,
        address: address_of(message)?,
        prefix_bits: message.header.prefix_len,
    })
}

/// A link by its index, with its name.
pub(crate) fn link_of(message: &LinkMessage) -> Option<(u32, (String, LinkView))> {
    let mut name = None;
    let mut mac = None;
    let mut mtu = None;
    let mut xdp = None;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(value) => name = Some(value.clone()),
            LinkAttribute::Address(bytes) => mac = <[u8; 6]>::try_from(&bytes[..]).ok(),
            LinkAttribute::Mtu(value) => mtu = Some(*value),
            LinkAttribute::Xdp(attributes) => xdp = xdp_of(attributes),
            _ => {}
        }
    }
    let index = message.header.index;
    let link = LinkView {
        index,
        mac,
        up: message.header.flags.contains(LinkFlags::Up),
        mtu,
        xdp,
    };
    Some((index, (name?, link)))
}

fn xdp_of(attributes: &[LinkXdp]) -> Option<XdpView> {
    let mut programs = BTreeSet::new();
    let mut generic = false;
    for attribute in attributes {
        match attribute {
            LinkXdp::ProgId(id)
            | LinkXdp::DrvProgId(id)
            | LinkXdp::SkbProgId(id)
            | LinkXdp::HwProgId(id) => {
                programs.insert(*id);
            }
            LinkXdp::Attached(attached) => generic = *attached == XdpAttached::SocketBuffer,
            _ => {}
        }
    }
    (!programs.is_empty()).then_some(XdpView { programs, generic })
}

/// Global, and not an address that the kernel itself would not send from.
fn is_usable(message: &AddressMessage) -> bool {
    let flags = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            AddressAttribute::Flags(flags) => Some(*flags),
            _ => None,
        });
    let unusable = AddressFlags::Tentative | AddressFlags::Dadfailed | AddressFlags::Deprecated;
    message.header.scope == AddressScope::Universe
        && flags.is_none_or(|flags| !flags.intersects(unusable))
}

fn neighbour_key(message: &NeighbourMessage) -> Option<NeighbourKey> {
    let address = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => Some(IpAddr::V4(*v4)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => Some(IpAddr::V6(*v6)),
            _ => None,
        });
    Some(NeighbourKey {
        ifindex: message.header.ifindex,
        address: address?,
    })
}

pub(crate) fn ip_of_route_address(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
