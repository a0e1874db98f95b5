//! A TCP or UDP packet whose headers are whole and whose lengths are true.

use lbfabric_abi::{Address, DropReason, Flow, Settings};

use super::{
    frame::{Frame, opaque},
    headers::{Ethernet, Tcp, protocol},
    ipv4, ipv6,
    words::{self, Aligned},
};

/// What the headers say, copied out of the frame: where a packet comes from and goes to, and where its parts lie.
#[repr(C, align(8))]
pub(crate) struct Packet {
    pub(crate) flow: Aligned<Flow>,
    /// From the network header on, without what Ethernet may have padded.
    pub(crate) length: u32,
    /// The length of the network header.
    pub(crate) ip_header_length: u32,
    pub(crate) family: Family,
    /// DSCP and ECN.
    pub(crate) traffic_class: u8,
    /// Time to live, or hop limit.
    pub(crate) ttl: u8,
}

/// The network protocol.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Ipv4,
    Ipv6,
}

/// What a frame is that is no [`Packet`].
#[derive(Clone, Copy)]
pub(crate) enum Unservable {
    /// Neither IPv4 nor IPv6.
    NotIp,
    /// It ends before it says where it goes.
    NoDestination,
    /// Another protocol, or one behind extension headers. Its destination is known.
    Protocol,
    /// Broken, or a fragment. Its destination is known.
    Broken(DropReason),
}

impl Packet {
    /// Nothing is known yet.
    pub(crate) const UNKNOWN: Self = Self {
        flow: Aligned(Flow {
            source: Address([0; 16]),
            destination: Address([0; 16]),
            source_port_be: [0; 2],
            destination_port_be: [0; 2],
            protocol: 0,
            zero: [0; 3],
        }),
        length: 0,
        ip_header_length: 0,
        family: Family::Ipv4,
        traffic_class: 0,
        ttl: 0,
    };

    /// Reads a frame's headers, as far as they are there.
    #[inline(always)]
    pub(crate) fn read(&mut self, frame: &Frame) -> Result<(), Unservable> {
        let ethernet: &mut Ethernet = frame.header(frame.start()).ok_or(Unservable::NotIp)?;
        match ethernet.ethertype {
            Ethernet::IPV4 => ipv4::read(frame, self),
            Ethernet::IPV6 => ipv6::read(frame, self),
            _ => Err(Unservable::NotIp),
        }
    }

    /// Whether it goes to an address that the node sends from: such packets answer the node itself.
    #[inline(always)]
    pub(crate) fn is_for(&self, settings: &Settings) -> bool {
        let (sources4, sources6) = match self.family {
            Family::Ipv4 => (settings.source4_count, 0),
            Family::Ipv6 => (0, settings.source6_count),
        };
        let Address([.., a, b, c, d]) = self.flow.destination;
        let own4 = u32::from_ne_bytes([a, b, c, d]);
        let mut own = false;
        for (n, source) in (0u32..).zip(&settings.source4) {
            own |= n < sources4 && u32::from_ne_bytes(*source) == own4;
        }
        for (n, source) in (0u32..).zip(&settings.source6) {
            own |= n < sources6 && words::same(&Address(*source), &self.flow.destination);
        }
        own
    }

    /// Whether it asks for a TCP connection.
    #[inline(always)]
    pub(crate) fn is_syn(&self, frame: &Frame) -> bool {
        if self.flow.protocol != protocol::TCP {
            return false;
        }
        let ip_start = frame.start() + size_of::<Ethernet>();
        let tcp: Option<&mut Tcp> =
            frame.header(opaque(ip_start + (self.ip_header_length & 0x3f) as usize));
        tcp.is_some_and(|tcp| tcp.flags & (Tcp::SYN | Tcp::ACK) == Tcp::SYN)
    }

    #[inline(always)]
    pub(crate) fn is_udp(&self) -> bool {
        self.flow.protocol == protocol::UDP
    }

    /// Fails if the packet may not be forwarded any further.
    #[inline(always)]
    pub(crate) const fn check_ttl(&self) -> Result<(), DropReason> {
        if self.ttl <= 1 {
            return Err(DropReason::TtlExpired);
        }
        Ok(())
    }
}
