//! Packets, described by what matters and built with all checksums computed from scratch.

use std::net::{IpAddr, SocketAddr};

use etherparse::{
    EtherType, Ethernet2Header, IpDscp, IpEcn, IpNumber, Ipv4Header, Ipv4Options, Ipv6FlowLabel,
    Ipv6Header, TcpHeader, UdpHeader,
};
use lbfabric_abi::Protocol;

pub(crate) const ETHERNET: usize = Ethernet2Header::LEN;

/// A TCP or UDP packet in an Ethernet frame.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) source_mac: [u8; 6],
    pub(crate) destination_mac: [u8; 6],
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    pub(crate) protocol: Protocol,
    pub(crate) ttl: u8,
    /// DSCP and ECN.
    pub(crate) traffic_class: u8,
    /// IPv4 options, a multiple of four bytes.
    pub(crate) ip_options: Vec<u8>,
    /// TCP options, a multiple of four bytes.
    pub(crate) tcp_options: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    /// The flags of TCP that tell a first packet from others.
    pub(crate) syn: bool,
    pub(crate) ack: bool,
    /// UDP without a checksum.
    pub(crate) unchecked: bool,
    /// Bytes behind the packet that its lengths do not count.
    pub(crate) padding: usize,
}

/// The macs of a frame that comes from the router to the node.
pub(crate) const ROUTER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0xaa];
pub(crate) const NODE_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];

impl Packet {
    /// A packet of usual looks.
    pub(crate) fn new(protocol: Protocol, source: SocketAddr, destination: SocketAddr) -> Self {
        Self {
            source_mac: ROUTER_MAC,
            destination_mac: NODE_MAC,
            source,
            destination,
            protocol,
            ttl: 61,
            traffic_class: 0x28,
            ip_options: Vec::new(),
            tcp_options: Vec::new(),
            payload: b"a payload of odd length".to_vec(),
            syn: true,
            ack: false,
            unchecked: false,
            padding: 0,
        }
    }

    pub(crate) fn macs(mut self, source: [u8; 6], destination: [u8; 6]) -> Self {
        self.source_mac = source;
        self.destination_mac = destination;
        self
    }

    pub(crate) fn from(mut self, source: SocketAddr) -> Self {
        self.source = source;
        self
    }

    pub(crate) fn to(mut self, destination: SocketAddr) -> Self {
        self.destination = destination;
        self
    }

    /// One of an established connection.
    pub(crate) fn established(mut self) -> Self {
        (self.syn, self.ack) = (false, true);
        self
    }

    pub(crate) fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    /// The frame.
    pub(crate) fn build(&self) -> Vec<u8> {
        let ether_type = match self.source {
            SocketAddr::V4(_) => EtherType::IPV4,
            SocketAddr::V6(_) => EtherType::IPV6,
        };
        let mut frame = ethernet(self.source_mac, self.destination_mac, ether_type);
        frame.extend(self.ip_packet());
        frame.resize(frame.len() + self.padding, 0xee);
        frame
    }

    /// From the IP header on, without padding.
    pub(crate) fn ip_packet(&self) -> Vec<u8> {
        let l4_length = self.payload.len()
            + match self.protocol {
                Protocol::Tcp => TcpHeader::MIN_LEN + self.tcp_options.len(),
                Protocol::Udp => UdpHeader::LEN,
                Protocol::Any => unreachable!("packets are of a protocol"),
            };
        let number = IpNumber(self.protocol as u8);
        match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let mut ip = ipv4(number, source.octets(), destination.octets(), l4_length);
                ip.options = Ipv4Options::try_from(self.ip_options.as_slice()).unwrap();
                ip.total_len += u16::try_from(self.ip_options.len()).unwrap();
                ip.identification = 0x1234;
                ip.time_to_live = self.ttl;
                ip.dscp = IpDscp::try_new(self.traffic_class >> 2).unwrap();
                ip.ecn = IpEcn::try_new(self.traffic_class & 3).unwrap();
                ip.header_checksum = ip.calc_header_checksum();
                let l4 = match self.protocol {
                    Protocol::Tcp => {
                        self.tcp(|tcp| tcp.calc_checksum_ipv4(&ip, &self.payload).unwrap())
                    }
                    Protocol::Udp => {
                        self.udp(|udp| udp.calc_checksum_ipv4(&ip, &self.payload).unwrap())
                    }
                    Protocol::Any => unreachable!("packets are of a protocol"),
                };
                [&ip.to_bytes(), l4.as_slice(), &self.payload].concat()
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let mut ip = ipv6(number, source.octets(), destination.octets(), l4_length);
                ip.hop_limit = self.ttl;
                ip.traffic_class = self.traffic_class;
                ip.flow_label = Ipv6FlowLabel::try_new(0xbeef7).unwrap();
                let l4 = match self.protocol {
                    Protocol::Tcp => {
                        self.tcp(|tcp| tcp.calc_checksum_ipv6(&ip, &self.payload).unwrap())
                    }
                    Protocol::Udp => {
                        self.udp(|udp| udp.calc_checksum_ipv6(&ip, &self.payload).unwrap())
                    }
                    Protocol::Any => unreachable!("packets are of a protocol"),
                };
                [&ip.to_bytes(), l4.as_slice(), &self.payload].concat()
            }
            mixed => panic!("not one family: {mixed:?}"),
        }
    }

    fn tcp(&self, checksum: impl Fn(&TcpHeader) -> u16) -> Vec<u8> {
        let mut tcp = TcpHeader::new(self.source.port(), self.destination.port(), 77, 4096);
        tcp.syn = self.syn;
        tcp.ack = self.ack;
        tcp.set_options_raw(&self.tcp_options).unwrap();
        tcp.checksum = checksum(&tcp);
        tcp.to_bytes().to_vec()
    }

    fn udp(&self, checksum: impl Fn(&UdpHeader) -> u16) -> Vec<u8> {
        let mut udp = UdpHeader {
            source_port: self.source.port(),
            destination_port: self.destination.port(),
            length: u16::try_from(UdpHeader::LEN + self.payload.len()).unwrap(),
            checksum: 0,
        };
        if !self.unchecked {
            udp.checksum = checksum(&udp);
        }
        udp.to_bytes().to_vec()
    }
}

/// An Ethernet header.
pub(crate) fn ethernet(source: [u8; 6], destination: [u8; 6], ether_type: EtherType) -> Vec<u8> {
    Ethernet2Header {
        source,
        destination,
        ether_type,
    }
    .to_bytes()
    .to_vec()
}

/// An IPv4 header without options; the checksum is still to be computed.
pub(crate) fn ipv4(
    protocol: IpNumber,
    source: [u8; 4],
    destination: [u8; 4],
    payload_length: usize,
) -> Ipv4Header {
    Ipv4Header::new(
        u16::try_from(payload_length).unwrap(),
        64,
        protocol,
        source,
        destination,
    )
    .unwrap()
}

/// An IPv6 header.
pub(crate) fn ipv6(
    next_header: IpNumber,
    source: [u8; 16],
    destination: [u8; 16],
    payload_length: usize,
) -> Ipv6Header {
    Ipv6Header {
        payload_length: u16::try_from(payload_length).unwrap(),
        next_header,
        hop_limit: 64,
        source,
        destination,
        ..Ipv6Header::default()
    }
}

/// Where the IP payload begins in a frame.
pub(crate) fn l4_start(packet: &Packet) -> usize {
    ETHERNET
        + match packet.source {
            SocketAddr::V4(_) => Ipv4Header::MIN_LEN + packet.ip_options.len(),
            SocketAddr::V6(_) => Ipv6Header::LEN,
        }
}

/// Puts the right checksum into the IPv4 header of a frame whose header was changed by hand.
pub(crate) fn fix_ipv4_checksum(frame: &mut [u8]) {
    let (mut ip, _) = Ipv4Header::from_slice(&frame[ETHERNET..]).unwrap();
    ip.header_checksum = ip.calc_header_checksum();
    frame[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&ip.header_checksum.to_be_bytes());
}
