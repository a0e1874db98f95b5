//! The lab's network as data: who is on which segment, with which address. Pure.
//!
//! ```text
//!                                 10.77.2.0/24  flat (bridge in `switch`)
//!  client ── 10.77.1.0/24 ── router ──┬── node1 .11, node2 .12
//!                             (bird)  └── srv1..3 .21-.23, .31-.33 and .61-.63 for l4-dnat, and .51-.53 for l7-transparent
//!                               │ 10.77.3.0/24  routed (bridge in `router`)
//!                               └──────── srv1..3 .21-.23, for l4-tunnel
//!  ops ── 10.77.9.0/24 management (bridge in `ops`): ctl1..3, node1..2, srv1..3
//! ```
//!
//! IPv6 is the same with `fd77:SEGMENT::/64`; VIPs are in `10.99.0.0/24` and `fd99::/64`, which the router sends to both nodes; but for that of l7-transparent,
//! which goes to node1 alone, as the servers' answers do.
//!
//! With transparent listening a mode has one VIP in `10.97.0.0/24` and `fd97::/64` and a whole prefix, `10.98.NUMBER.0/24` and `fd98:0:0:NUMBER::/64`. The router
//! has no route to them but those that it learns from the nodes.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::Serialize;

use super::mode::Mode;

/// How many controllers, nodes and servers there are.
pub const CONTROLLERS: u8 = 3;
/// Load-balancer nodes.
pub const NODES: u8 = 2;
/// Servers.
pub const SERVERS: u8 = 3;
/// The client's side of the VIPs, routed by the router to the nodes.
pub const VIP_PREFIXES: [&str; 2] = ["10.99.0.0/24", "fd99::/64"];

/// An IP family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Ipv4, Self::Ipv6];

    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        }
    }
}

/// How the packets to a service's VIPs find nodes, and how these take them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Listening {
    /// An address of each family, which the router has a static route to. In layer 7 it is on the nodes' loopback.
    Addresses,
    /// An address and a whole prefix of each family, which are on no interface: nodes announce them to the router by BGP. Layer 7 takes them by `sk_lookup`.
    Transparent,
}

impl Listening {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Addresses, Self::Transparent];

    /// Whether the VIPs are configured nowhere.
    pub const fn is_transparent(self) -> bool {
        match self {
            Self::Addresses => false,
            Self::Transparent => true,
        }
    }
}

/// A machine of the lab: one network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// Where requests come from.
    Client,
    /// Routes between client, flat and routed segment, and the VIPs to the nodes.
    Router,
    /// Holds the flat segment's bridge.
    Switch,
    /// Holds the management segment's bridge; operators' calls come from here.
    Ops,
    /// A controller, from 1.
    Controller(u8),
    /// A load-balancer node, from 1.
    Node(u8),
    /// A server, from 1.
    Server(u8),
}

impl Host {
    /// Every host, in the order in which they are made.
    pub fn all() -> Vec<Self> {
        let mut hosts = vec![Self::Client, Self::Router, Self::Switch, Self::Ops];
        hosts.extend((1..=CONTROLLERS).map(Self::Controller));
        hosts.extend((1..=NODES).map(Self::Node));
        hosts.extend((1..=SERVERS).map(Self::Server));
        hosts
    }

    /// The last part of its addresses.
    const fn number(self) -> u8 {
        match self {
            Self::Router | Self::Ops => 1,
            Self::Client => 2,
            Self::Node(n) => 10 + n,
            Self::Server(n) => 20 + n,
            Self::Controller(n) => 40 + n,
            Self::Switch => 99,
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client => f.write_str("client"),
            Self::Router => f.write_str("router"),
            Self::Switch => f.write_str("switch"),
            Self::Ops => f.write_str("ops"),
            Self::Controller(n) => write!(f, "ctl{n}"),
            Self::Node(n) => write!(f, "node{n}"),
            Self::Server(n) => write!(f, "srv{n}"),
        }
    }
}

/// A layer-2 segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Segment {
    /// Client and router.
    Client,
    /// Router, nodes and servers.
    Flat,
    /// Router and the servers' second legs.
    Routed,
    /// Controllers, nodes, servers and operator.
    Management,
}

impl Segment {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Client, Self::Flat, Self::Routed, Self::Management];

    /// The interface's name on its hosts, and the bridge's where it has one.
    pub const fn device(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Flat => "flat",
            Self::Routed => "routed",
            Self::Management => "mgmt",
        }
    }

    const fn number(self) -> u8 {
        match self {
            Self::Client => 1,
            Self::Flat => 2,
            Self::Routed => 3,
            Self::Management => 9,
        }
    }

    /// The host that holds the bridge. Its ports are named after the hosts at their other end.
    pub const fn bridge(self) -> Option<Host> {
        match self {
            Self::Client => None,
            Self::Flat => Some(Host::Switch),
            Self::Routed => Some(Host::Router),
            Self::Management => Some(Host::Ops),
        }
    }

    /// The hosts that have an address on it.
    pub fn members(self) -> Vec<Host> {
        let nodes = (1..=NODES).map(Host::Node);
        let servers = (1..=SERVERS).map(Host::Server);
        match self {
            Self::Client => vec![Host::Client, Host::Router],
            Self::Flat => [Host::Router]
                .into_iter()
                .chain(nodes)
                .chain(servers)
                .collect(),
            Self::Routed => [Host::Router].into_iter().chain(servers).collect(),
            Self::Management => {
                let controllers = (1..=CONTROLLERS).map(Host::Controller);
                [Host::Ops]
                    .into_iter()
                    .chain(controllers)
                    .chain(nodes)
                    .chain(servers)
                    .collect()
            }
        }
    }
}

/// A link-layer address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0.map(|byte| format!("{byte:02x}"));
        f.write_str(&bytes.join(":"))
    }
}

/// The address of a host's interface on a segment.
pub const fn mac(segment: Segment, host: Host) -> Mac {
    Mac([0x02, 0x77, 0, 0, segment.number(), host.number()])
}

/// The host that has this address on the segment.
pub fn host_of_mac(segment: Segment, address: Mac) -> Option<Host> {
    segment
        .members()
        .into_iter()
        .find(|&host| mac(segment, host) == address)
}

/// A host's address on a segment.
pub fn address(segment: Segment, host: Host, family: Family) -> IpAddr {
    numbered(segment, host.number(), family)
}

/// The second address of a server, whose answers go through a node.
pub fn dnat_address(server: u8, family: Family) -> IpAddr {
    numbered(Segment::Flat, 30 + server, family)
}

/// The third address of a server, whose answers go through a node, too: those of l4-dnat are not the engine's.
pub fn transparent_address(server: u8, family: Family) -> IpAddr {
    numbered(Segment::Flat, 50 + server, family)
}

/// The fourth address of a server, whose answers go through a node, too. Many VIPs of l4-dnat end at it, so that nodes have to remember its flows; those
/// of the second one need no memory.
pub fn remembered_address(server: u8, family: Family) -> IpAddr {
    numbered(Segment::Flat, 60 + server, family)
}

/// The address under which a server is a backend in `mode`.
pub fn backend_address(mode: Mode, listening: Listening, server: u8, family: Family) -> IpAddr {
    match mode {
        Mode::Dnat if listening.is_transparent() => remembered_address(server, family),
        Mode::Dnat => dnat_address(server, family),
        Mode::Transparent => transparent_address(server, family),
        Mode::Fullnat | Mode::Dsr | Mode::Reverse => {
            address(Segment::Flat, Host::Server(server), family)
        }
        Mode::Tunnel => address(Segment::Routed, Host::Server(server), family),
    }
}

/// The VIP of a mode's services that is an address.
pub fn vip(mode: Mode, listening: Listening, family: Family) -> IpAddr {
    let number = 10 + mode as u8;
    let (v4, v6) = match listening {
        Listening::Addresses => (99, 0xfd99),
        Listening::Transparent => (97, 0xfd97),
    };
    match family {
        Family::Ipv4 => Ipv4Addr::new(10, v4, 0, number).into(),
        Family::Ipv6 => Ipv6Addr::new(v6, 0, 0, 0, 0, 0, 0, as_digits(number)).into(),
    }
}

/// The first address of the prefix that is a VIP of a mode's services of transparent listening. It is as long as a segment's.
pub fn vip_prefix(mode: Mode, family: Family) -> IpAddr {
    let number = 10 + mode as u8;
    match family {
        Family::Ipv4 => Ipv4Addr::new(10, 98, number, 0).into(),
        Family::Ipv6 => Ipv6Addr::new(0xfd98, 0, 0, as_digits(number), 0, 0, 0, 0).into(),
    }
}

/// The address that is `offset` behind the first one of a prefix, or from its end if that is negative.
pub fn within_prefix(prefix: IpAddr, offset: i8) -> IpAddr {
    match prefix {
        IpAddr::V4(prefix) => {
            let [a, b, c, first] = prefix.octets();
            Ipv4Addr::new(a, b, c, first.wrapping_add_signed(offset)).into()
        }
        IpAddr::V6(prefix) => {
            let (bits, of_hosts) = (prefix.to_bits(), u128::from(u64::MAX));
            let host = bits.wrapping_add_signed(offset.into()) & of_hosts;
            Ipv6Addr::from_bits(bits & !of_hosts | host).into()
        }
    }
}

/// Whether the address is in the prefix that begins with `prefix`.
pub fn is_in_prefix(prefix: IpAddr, address: IpAddr) -> bool {
    match (prefix, address) {
        (IpAddr::V4(prefix), IpAddr::V4(address)) => prefix.octets()[..3] == address.octets()[..3],
        (IpAddr::V6(prefix), IpAddr::V6(address)) => {
            prefix.segments()[..4] == address.segments()[..4]
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

fn numbered(segment: Segment, number: u8, family: Family) -> IpAddr {
    match family {
        Family::Ipv4 => Ipv4Addr::new(10, 77, segment.number(), number).into(),
        Family::Ipv6 => {
            let segment = as_digits(segment.number());
            Ipv6Addr::new(0xfd77, segment, 0, 0, 0, 0, 0, as_digits(number)).into()
        }
    }
}

/// The number that reads in hexadecimal as `number` reads in decimal, so that `.21` and `::21` go together.
const fn as_digits(number: u8) -> u16 {
    let number = number as u16;
    (number / 100) * 0x100 + (number / 10 % 10) * 0x10 + number % 10
}

/// The prefix length of every segment, and of the VIPs that are prefixes.
pub const fn prefix_length(family: Family) -> u8 {
    match family {
        Family::Ipv4 => 24,
        Family::Ipv6 => 64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn addresses_read_alike_in_both_families() {
        let server = Host::Server(1);
        assert_eq!(
            address(Segment::Flat, server, Family::Ipv4).to_string(),
            "10.77.2.21"
        );
        assert_eq!(
            address(Segment::Flat, server, Family::Ipv6).to_string(),
            "fd77:2::21"
        );
        assert_eq!(dnat_address(3, Family::Ipv6).to_string(), "fd77:2::33");
        let vip = |mode, listening, family| vip(mode, listening, family).to_string();
        let (addresses, transparent) = (Listening::Addresses, Listening::Transparent);
        assert_eq!(vip(Mode::Dnat, addresses, Family::Ipv4), "10.99.0.11");
        assert_eq!(vip(Mode::Tunnel, addresses, Family::Ipv6), "fd99::14");
        assert_eq!(vip(Mode::Tunnel, transparent, Family::Ipv4), "10.97.0.14");
        assert_eq!(vip(Mode::Dnat, transparent, Family::Ipv6), "fd97::11");
    }

    #[test]
    fn addresses_of_a_prefix_count_from_both_ends() {
        let [v4, v6] = Family::ALL.map(|family| vip_prefix(Mode::Dsr, family));
        for (prefix, offset, expected) in [
            (v4, 0, "10.98.13.0"),
            (v4, 7, "10.98.13.7"),
            (v4, -1, "10.98.13.255"),
            (v6, 0, "fd98:0:0:13::"),
            (v6, 9, "fd98:0:0:13::9"),
            (v6, -2, "fd98::13:ffff:ffff:ffff:fffe"),
        ] {
            let address = within_prefix(prefix, offset);
            assert_eq!(address, expected.parse::<IpAddr>().unwrap());
            assert!(is_in_prefix(prefix, address));
        }
        for (prefix, stranger) in [
            (v4, "10.98.14.0"),
            (v4, "fd98:0:0:13::"),
            (v6, "fd98:0:0:14::"),
            (v6, "10.98.13.1"),
        ] {
            assert!(
                !is_in_prefix(prefix, stranger.parse().unwrap()),
                "{stranger}"
            );
        }
    }

    #[test]
    fn link_layer_addresses_name_one_host() {
        let mut seen = BTreeSet::new();
        for segment in Segment::ALL {
            if let Some(bridge) = segment
                .bridge()
                .filter(|bridge| !segment.members().contains(bridge))
            {
                assert!(seen.insert(mac(segment, bridge)), "{bridge} on {segment:?}");
            }
            for host in segment.members() {
                assert!(seen.insert(mac(segment, host)), "{host} on {segment:?}");
                assert_eq!(host_of_mac(segment, mac(segment, host)), Some(host));
            }
        }
        assert_eq!(
            host_of_mac(Segment::Client, mac(Segment::Flat, Host::Router)),
            None
        );
    }

    #[test]
    fn interface_names_fit_the_kernel() {
        for segment in Segment::ALL {
            for host in segment.members() {
                assert!(host.to_string().len() < 16 && segment.device().len() < 16);
            }
        }
    }
}
