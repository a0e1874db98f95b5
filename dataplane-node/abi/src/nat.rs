use crate::{Address, Affinity, FlowKey};

/// The addresses and ports of packets in one direction.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// Source port, in network order.
    pub source_port_be: [u8; 2],
    /// Destination port, in network order.
    pub destination_port_be: [u8; 2],
    /// The IP protocol number.
    pub protocol: u8,
    /// Zero.
    pub zero: [u8; 3],
}

impl Flow {
    /// The hash over addresses, ports and protocol.
    #[inline(always)]
    pub const fn hash(&self, key: &FlowKey) -> u64 {
        let Self {
            source,
            destination,
            source_port_be: [a, b],
            destination_port_be: [c, d],
            protocol,
            zero: _,
        } = self;
        let ports = u32::from_ne_bytes([*a, *b, *c, *d]);
        match (source.ipv4_word(), destination.ipv4_word()) {
            (Some(source), Some(destination)) => key.hash4(source, destination, ports, *protocol),
            _ => key.hash6(source.words(), destination.words(), ports, *protocol),
        }
    }

    /// The hash over what an [`Affinity`] goes by; what is none counts as [`Affinity::FiveTuple`]. Its
    /// [`slot_of`](crate::slot_of) a ring holds the server.
    #[inline(always)]
    pub const fn affinity_hash(&self, key: &FlowKey, affinity: u8) -> u64 {
        const SOURCE: u8 = Affinity::Source as u8;
        const SOURCE_DESTINATION: u8 = Affinity::SourceDestination as u8;
        let mut flow = *self;
        if affinity == SOURCE || affinity == SOURCE_DESTINATION {
            (flow.source_port_be, flow.destination_port_be) = ([0; 2], [0; 2]);
            flow.protocol = 0;
        }
        if affinity == SOURCE {
            // Of the same family.
            flow.destination = flow.source;
        }
        flow.hash(key)
    }
}

/// What a DNAT server's answers become: the VIP that its endpoint belongs to, unless it is [`Reverse::BY_SESSION`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reverse {
    /// The VIP.
    pub vip: Address,
    /// The VIP's port in network order; zero: the server's own.
    pub vip_port_be: [u8; 2],
    /// What else there is to do: bits of [`Reverse`].
    pub flags: u16,
    /// The service's id.
    pub service: u32,
}

impl Reverse {
    /// The service has [`VipService::CLAMP_MSS`](crate::VipService::CLAMP_MSS).
    pub const CLAMP_MSS: u16 = 1;
    /// What the answers become stands in the session of their flow: several VIPs have the endpoint. Those that have no session
    /// become the VIP's, if there is one: that of flows from before.
    pub const EXACT: u16 = 1 << 1;
    /// Of every endpoint whose answers go by sessions, whichever services it has.
    pub const BY_SESSION: Self = Self {
        vip: Address([0; 16]),
        vip_port_be: [0; 2],
        flags: Self::EXACT,
        service: 0,
    };

    /// Whether it names a VIP.
    #[inline(always)]
    pub const fn has_vip(&self) -> bool {
        let [high, low] = self.vip.halves();
        high | low != 0
    }
}

const _: () = assert!(size_of::<Flow>() == 40);
const _: () = assert!(size_of::<Reverse>() == 24);
