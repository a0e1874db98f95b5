//! A captured frame, as far as the lab judges it. Pure.

use std::net::IpAddr;

use etherparse::{LinkSlice, NetSlice, SlicedPacket, TransportSlice};

use super::topology::Mac;

/// The port of services over TCP.
pub const TCP_PORT: u16 = 80;
/// The port of services over UDP.
pub const UDP_PORT: u16 = 53;

const PROTOCOL_ICMPV6: u8 = 58;
const PROTOCOLS_OF_TUNNELS: [u8; 2] = [4, 41];
/// Router and neighbour discovery and redirects, RFC 4861 section 4, and multicast listeners, RFC 3810.
const ICMPV6_LINK: [u8; 7] = [130, 131, 132, 133, 134, 135, 136];
const ICMPV6_LISTENER_REPORT_V2: u8 = 143;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The sender's link-layer address.
    pub source_mac: Mac,
    /// The receiver's.
    pub destination_mac: Mac,
    /// Source and destination of the tunnel's header, if there is one.
    pub outer: Option<(IpAddr, IpAddr)>,
    /// Source and destination of the packet, or of the one in the tunnel.
    pub inner: (IpAddr, IpAddr),
    /// What is in the packet.
    pub load: Load,
}

/// Echo requests and replies of ICMP (RFC 792) and ICMPv6 (RFC 4443 section 4).
const ICMP_ECHO: [u8; 2] = [8, 0];
const ICMPV6_ECHO: [u8; 2] = [128, 129];

/// What is in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// A TCP segment, with its ports.
    Tcp(u16, u16),
    /// A UDP datagram, with its ports.
    Udp(u16, u16),
    /// An echo request or reply of ICMP or ICMPv6.
    Echo,
    /// Another IP protocol, or one of the above that could not be read.
    Other(u8),
}

/// The outcome of reading a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// A packet to judge.
    Packet(Frame),
    /// The links' own chatter: ARP, neighbour discovery, multicast.
    Link,
    /// Cut short, or lying about its length.
    Broken,
}

impl Frame {
    /// Reads an Ethernet frame.
    pub fn read(bytes: &[u8]) -> Reading {
        let Ok(packet) = SlicedPacket::from_ethernet(bytes) else {
            return Reading::Broken;
        };
        let Some(LinkSlice::Ethernet2(ethernet)) = &packet.link else {
            return Reading::Broken;
        };
        let (source_mac, destination_mac) = (Mac(ethernet.source()), Mac(ethernet.destination()));
        let Some(found) = Ip::of(&packet) else {
            return Reading::Link;
        };
        if found.is_link() {
            return Reading::Link;
        }
        let (outer, packet) = if PROTOCOLS_OF_TUNNELS.contains(&found.protocol) {
            let Some(inner) = SlicedPacket::from_ip(found.payload)
                .ok()
                .as_ref()
                .and_then(Ip::of)
            else {
                return Reading::Broken;
            };
            (Some(found.addresses), inner)
        } else {
            (None, found)
        };
        Reading::Packet(Self {
            source_mac,
            destination_mac,
            outer,
            inner: packet.addresses,
            load: packet.load,
        })
    }

    /// The addresses as text.
    pub fn addresses(&self) -> String {
        let (source, destination) = self.inner;
        match self.outer {
            None => format!("{source} -> {destination}"),
            Some((from, to)) => format!("outer {from} -> {to}, inner {source} -> {destination}"),
        }
    }
}

impl Load {
    /// Whether either port is this one.
    pub fn has_port(self, port: u16) -> bool {
        match self {
            Self::Tcp(from, to) | Self::Udp(from, to) => from == port || to == port,
            Self::Echo | Self::Other(_) => false,
        }
    }
}

struct Ip<'a> {
    addresses: (IpAddr, IpAddr),
    protocol: u8,
    payload: &'a [u8],
    load: Load,
}

impl<'a> Ip<'a> {
    fn of(packet: &SlicedPacket<'a>) -> Option<Self> {
        let (addresses, payload) = match packet.net.as_ref()? {
            NetSlice::Ipv4(ip) => {
                let header = ip.header();
                let addresses = (
                    header.source_addr().into(),
                    header.destination_addr().into(),
                );
                (addresses, ip.payload().clone())
            }
            NetSlice::Ipv6(ip) => {
                let header = ip.header();
                let addresses = (
                    header.source_addr().into(),
                    header.destination_addr().into(),
                );
                (addresses, ip.payload().clone())
            }
            NetSlice::Arp(_) => return None,
        };
        let protocol = payload.ip_number.0;
        let load = match &packet.transport {
            Some(TransportSlice::Tcp(tcp)) => Load::Tcp(tcp.source_port(), tcp.destination_port()),
            Some(TransportSlice::Udp(udp)) => Load::Udp(udp.source_port(), udp.destination_port()),
            Some(TransportSlice::Icmpv4(icmp)) if ICMP_ECHO.contains(&icmp.type_u8()) => Load::Echo,
            Some(TransportSlice::Icmpv6(icmp)) if ICMPV6_ECHO.contains(&icmp.type_u8()) => {
                Load::Echo
            }
            _ => Load::Other(protocol),
        };
        Some(Self {
            addresses,
            protocol,
            payload: payload.payload,
            load,
        })
    }

    fn is_link(&self) -> bool {
        let link_local = |address: IpAddr| match address {
            IpAddr::V4(address) => address.is_link_local(),
            IpAddr::V6(address) => address.is_unicast_link_local() || address.is_unspecified(),
        };
        let (source, destination) = self.addresses;
        let discovery = self.protocol == PROTOCOL_ICMPV6
            && self.payload.first().is_some_and(|kind| {
                ICMPV6_LINK.contains(kind) || *kind == ICMPV6_LISTENER_REPORT_V2
            });
        destination.is_multicast() || link_local(source) || link_local(destination) || discovery
    }
}

/// What requests are sent over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP, asked with HTTP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP or ICMPv6: pings, which need no service of their own.
    Icmp,
}

impl Protocol {
    /// The name in documents and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
        }
    }

    /// The services' port, where there are ports.
    pub const fn port(self) -> Option<u16> {
        match self {
            Self::Tcp => Some(TCP_PORT),
            Self::Udp => Some(UDP_PORT),
            Self::Icmp => None,
        }
    }

    /// What a packet of a client to a service carries, or an answer.
    pub fn carried_by(self, load: Load) -> bool {
        match (self, load) {
            (Self::Tcp, Load::Tcp(from, to)) => from == TCP_PORT || to == TCP_PORT,
            (Self::Udp, Load::Udp(from, to)) => from == UDP_PORT || to == UDP_PORT,
            (Self::Icmp, Load::Echo) => true,
            (Self::Tcp, Load::Udp(..) | Load::Echo | Load::Other(_))
            | (Self::Udp, Load::Tcp(..) | Load::Echo | Load::Other(_))
            | (Self::Icmp, Load::Tcp(..) | Load::Udp(..) | Load::Other(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{IpNumber, PacketBuilder};

    const FROM: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const TO: [u8; 6] = [2, 0, 0, 0, 0, 2];

    fn packet_of(bytes: &[u8]) -> Frame {
        match Frame::read(bytes) {
            Reading::Packet(frame) => frame,
            other => panic!("not a packet: {other:?}"),
        }
    }

    #[test]
    fn a_plain_packet_has_its_addresses_and_ports() {
        let mut bytes = Vec::new();
        PacketBuilder::ethernet2(FROM, TO)
            .ipv4([10, 77, 1, 2], [10, 99, 0, 11], 64)
            .tcp(40_000, 80, 1, 1000)
            .write(&mut bytes, &[])
            .unwrap();
        let frame = packet_of(&bytes);
        assert_eq!(frame.addresses(), "10.77.1.2 -> 10.99.0.11");
        assert_eq!(frame.load, Load::Tcp(40_000, 80));
        assert_eq!(
            (frame.source_mac, frame.destination_mac),
            (Mac(FROM), Mac(TO))
        );
        assert!(Protocol::Tcp.carried_by(frame.load) && !Protocol::Udp.carried_by(frame.load));
    }

    #[test]
    fn a_tunnel_shows_both_headers() {
        let mut inner = Vec::new();
        PacketBuilder::ipv4([10, 77, 1, 2], [10, 99, 0, 14], 63)
            .udp(40_000, 53)
            .write(&mut inner, b"q")
            .unwrap();
        let mut bytes = Vec::new();
        PacketBuilder::ethernet2(FROM, TO)
            .ipv4([10, 77, 2, 11], [10, 77, 3, 21], 64)
            .write(&mut bytes, IpNumber::IPV4, &inner)
            .unwrap();
        let frame = packet_of(&bytes);
        assert_eq!(
            frame.addresses(),
            "outer 10.77.2.11 -> 10.77.3.21, inner 10.77.1.2 -> 10.99.0.14"
        );
        assert_eq!(frame.load, Load::Udp(40_000, 53));
    }

    #[test]
    fn six_in_six_shows_both_headers() {
        let address = |last: u8| {
            let mut bytes = [0; 16];
            bytes[0] = 0xfd;
            bytes[15] = last;
            bytes
        };
        let mut inner = Vec::new();
        PacketBuilder::ipv6(address(1), address(2), 63)
            .udp(40_000, 53)
            .write(&mut inner, b"q")
            .unwrap();
        let mut bytes = Vec::new();
        PacketBuilder::ethernet2(FROM, TO)
            .ipv6(address(3), address(4), 64)
            .write(&mut bytes, IpNumber::IPV6, &inner)
            .unwrap();
        assert_eq!(
            packet_of(&bytes).addresses(),
            "outer fd00::3 -> fd00::4, inner fd00::1 -> fd00::2"
        );
    }

    #[test]
    fn chatter_is_told_from_packets_and_from_damage() {
        let mut solicitation = Vec::new();
        let mut source = [0; 16];
        source[0] = 0xfd;
        PacketBuilder::ethernet2(FROM, TO)
            .ipv6(source, source, 255)
            .icmpv6_raw(135, 0, [0; 4])
            .write(&mut solicitation, &[0; 16])
            .unwrap();
        assert_eq!(Frame::read(&solicitation), Reading::Link);
        let mut unreachable = Vec::new();
        PacketBuilder::ethernet2(FROM, TO)
            .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            .icmpv4_raw(3, 3, [0; 4])
            .write(&mut unreachable, &[0; 28])
            .unwrap();
        assert_eq!(packet_of(&unreachable).load, Load::Other(1));
        let mut echo = Vec::new();
        PacketBuilder::ethernet2(FROM, TO)
            .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            .icmpv4_echo_request(1, 2)
            .write(&mut echo, b"ping")
            .unwrap();
        assert_eq!(packet_of(&echo).load, Load::Echo);
        assert!(Protocol::Icmp.carried_by(Load::Echo) && !Protocol::Tcp.carried_by(Load::Echo));
        let mut reply = Vec::new();
        PacketBuilder::ethernet2(FROM, TO)
            .ipv6(source, source, 64)
            .icmpv6_echo_reply(1, 2)
            .write(&mut reply, b"ping")
            .unwrap();
        assert_eq!(packet_of(&reply).load, Load::Echo);
        assert_eq!(Frame::read(&unreachable[..20]), Reading::Broken);
    }
}
