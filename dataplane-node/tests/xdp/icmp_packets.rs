//! ICMP and ICMPv6 packets, with checksums computed from scratch.

use std::net::IpAddr;

use etherparse::{EtherType, IpNumber};

use super::{
    fabric::Family,
    packets::{NODE_MAC, Packet, ROUTER_MAC, ethernet, ipv4, ipv6},
};

/// A message in an Ethernet frame.
#[derive(Clone, Debug)]
pub(crate) struct IcmpPacket {
    pub(crate) source_mac: [u8; 6],
    pub(crate) destination_mac: [u8; 6],
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) ttl: u8,
    pub(crate) traffic_class: u8,
    pub(crate) kind: u8,
    pub(crate) code: u8,
    /// Behind the checksum.
    pub(crate) rest: [u8; 4],
    pub(crate) body: Vec<u8>,
    /// Bytes behind the packet that its lengths do not count.
    pub(crate) padding: usize,
}

/// The errors, by what they say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    TooBig(u16),
    PortUnreachable,
    TimeExceeded,
    Parameter,
}

/// The most that an error quotes: of IPv4, to be 576 bytes long, and of IPv6, 1280.
pub(crate) const QUOTE_MAX: [usize; 2] = [576 - 28, 1280 - 48];

pub(crate) const TROUBLES: [Trouble; 4] = [
    Trouble::TooBig(1300),
    Trouble::PortUnreachable,
    Trouble::TimeExceeded,
    Trouble::Parameter,
];

impl Family {
    /// A router anywhere.
    pub(crate) fn router(self) -> IpAddr {
        match self {
            Self::V4 => "192.0.2.77".parse().unwrap(),
            Self::V6 => "2001:db8:77::1".parse().unwrap(),
        }
    }

    pub(crate) const fn header(self) -> usize {
        match self {
            Self::V4 => 20,
            Self::V6 => 40,
        }
    }
}

impl IcmpPacket {
    pub(crate) fn new(kind: u8, code: u8, source: IpAddr, destination: IpAddr) -> Self {
        Self {
            source_mac: ROUTER_MAC,
            destination_mac: NODE_MAC,
            source,
            destination,
            ttl: 61,
            traffic_class: 0xc0,
            kind,
            code,
            rest: [0; 4],
            body: Vec::new(),
            padding: 0,
        }
    }

    /// An echo request.
    pub(crate) fn ping(family: Family, source: IpAddr, destination: IpAddr, size: usize) -> Self {
        let kind = match family {
            Family::V4 => 8,
            Family::V6 => 128,
        };
        let mut ping = Self::new(kind, 0, source, destination);
        ping.rest = [0x12, 0x34, 0, 1];
        ping.body = (0..size).map(|n| n.to_le_bytes()[0]).collect();
        ping
    }

    /// What says so about a packet, with as many bytes of it.
    pub(crate) fn error(trouble: Trouble, source: IpAddr, about: &Packet, quoted: usize) -> Self {
        let is_v4 = about.source.is_ipv4();
        let (kind, code) = match (trouble, is_v4) {
            (Trouble::TooBig(_), true) => (3, 4),
            (Trouble::TooBig(_), false) => (2, 0),
            (Trouble::PortUnreachable, true) => (3, 3),
            (Trouble::PortUnreachable, false) => (1, 4),
            (Trouble::TimeExceeded, true) => (11, 0),
            (Trouble::TimeExceeded, false) => (3, 0),
            (Trouble::Parameter, true) => (12, 0),
            (Trouble::Parameter, false) => (4, 0),
        };
        let mut error = Self::new(kind, code, source, about.source.ip());
        if let Trouble::TooBig(mtu) = trouble {
            error.rest[2..].copy_from_slice(&mtu.to_be_bytes());
        }
        error.body = about.ip_packet();
        error.body.truncate(quoted);
        error
    }

    pub(crate) fn macs(mut self, source: [u8; 6], destination: [u8; 6]) -> Self {
        (self.source_mac, self.destination_mac) = (source, destination);
        self
    }

    pub(crate) fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    pub(crate) fn build(&self) -> Vec<u8> {
        let mut frame = ethernet(
            self.source_mac,
            self.destination_mac,
            match self.source {
                IpAddr::V4(_) => EtherType::IPV4,
                IpAddr::V6(_) => EtherType::IPV6,
            },
        );
        frame.extend(self.ip_packet());
        frame.resize(frame.len() + self.padding, 0xee);
        frame
    }

    /// From the IP header on, without padding.
    pub(crate) fn ip_packet(&self) -> Vec<u8> {
        let mut message = vec![self.kind, self.code, 0, 0];
        message.extend(self.rest);
        message.extend(&self.body);
        let length = message.len();
        let (header, pseudo) = match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let mut ip = ipv4(
                    IpNumber::ICMP,
                    source.octets(),
                    destination.octets(),
                    length,
                );
                ip.time_to_live = self.ttl;
                ip.dont_fragment = true;
                let mut header = ip.to_bytes().to_vec();
                header[1] = self.traffic_class;
                header[10..12].fill(0);
                let checksum = sum(&header);
                header[10..12].copy_from_slice(&checksum);
                (header, Vec::new())
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let (source, destination) = (source.octets(), destination.octets());
                let mut ip = ipv6(IpNumber::IPV6_ICMP, source, destination, length);
                ip.hop_limit = self.ttl;
                ip.traffic_class = self.traffic_class;
                let upper = u32::try_from(length).unwrap().to_be_bytes();
                let pseudo = [&source[..], &destination, &upper, &[0, 0, 0, 58]].concat();
                (ip.to_bytes().to_vec(), pseudo)
            }
            mixed => panic!("not one family: {mixed:?}"),
        };
        let checksum = sum(&[pseudo, message.clone()].concat());
        message[2..4].copy_from_slice(&checksum);
        [header, message].concat()
    }
}

/// RFC 1071, as the RFC has it.
fn sum(bytes: &[u8]) -> [u8; 2] {
    let words = bytes.chunks(2);
    let mut sum: u32 = words
        .map(|word| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0)))
        .sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!u16::try_from(sum).unwrap()).to_be_bytes()
}
