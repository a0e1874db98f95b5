/// How packets reach the servers; one byte in the maps.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Destination NAT.
    Dnat = 1,
    /// Full NAT.
    Fullnat = 2,
    /// Direct server return.
    Dsr = 3,
    /// IP tunnel.
    Tunnel = 4,
}

/// Which packets reach the same server; one byte in the maps.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Affinity {
    /// Those of one connection.
    FiveTuple = 1,
    /// Those of one client address.
    Source = 2,
    /// Those of one client address to one VIP.
    SourceDestination = 3,
    /// Those of one QUIC connection, by the server ID in its connection IDs.
    QuicCid = 4,
}

/// How a tunnel wraps packets; one byte in the maps.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Encapsulation {
    /// IP in IP, RFC 2003 and RFC 2473.
    Ipip = 1,
    /// Generic UDP Encapsulation, draft-ietf-intarea-gue.
    Gue = 2,
}

/// What tells flows apart outside a tunnel; one byte in the maps.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OuterSource {
    /// Source address, and with GUE the source port, by flow.
    Spread = 1,
    /// Always the same.
    Fixed = 2,
}

/// The layer-4 protocols; the value is the IP protocol number.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// Every protocol that no other service claims. As a number it is an IPv6 extension header's, so no packet is of it.
    Any = 0,
    /// RFC 9293.
    Tcp = 6,
    /// RFC 768.
    Udp = 17,
}

/// What to do with packets for an endpoint of a VIP.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VipService {
    /// The service's id.
    pub service: u32,
    /// The first slot of the pool's ring in `RINGS`.
    pub ring_start: u32,
    /// The ring's slots, at least 1.
    pub ring_slots: u32,
    /// The servers' port in network order; zero: the client's choice.
    pub backend_port_be: [u8; 2],
    /// A [`Mode`].
    pub mode: u8,
    /// An [`Affinity`].
    pub affinity: u8,
    /// The pool's id.
    pub pool: u32,
}

const _: () = assert!(size_of::<VipService>() == 20);
