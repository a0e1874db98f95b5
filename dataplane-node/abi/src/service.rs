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
    /// What else there is to do: bits of [`VipService`].
    pub flags: u32,
    /// The key of its protection in `GUARDS`, `SOURCE_RULES` and `SERVICE_TOKENS`: its own id. Read where
    /// [`VipService::GUARDED`] is set.
    pub guard: u32,
    /// The destination port of GUE, in network order.
    pub gue_port_be: [u8; 2],
    /// Bytes of the server id in a QUIC connection id.
    pub quic_id_length: u8,
    /// Zero.
    pub zero: u8,
}

impl VipService {
    /// New flows are checked against its prefix lists and limits.
    pub const GUARDED: u32 = 1;
    /// Tunnels are GUE instead of IP in IP.
    pub const GUE: u32 = 1 << 1;
    /// Tunnels begin at the node's first address, and at one port, whatever the flow.
    pub const OUTER_SOURCE_FIXED: u32 = 1 << 2;
    /// The MSS option of SYNs is made to fit the way to the server.
    pub const CLAMP_MSS: u32 = 1 << 3;
    /// Full NAT tells the server the client's address in a TCP option.
    pub const CLIENT_ADDRESS_OPTION: u32 = 1 << 4;
    /// Destination NAT with a session for each flow: what its answers become cannot be told otherwise.
    pub const EXACT_STATE: u32 = 1 << 5;
    /// The server may stand in the connection ID of QUIC: [`Affinity::QuicCid`].
    pub const QUIC: u32 = 1 << 6;
    /// Those that `lbfabric_lb` leaves to `lbfabric_general`.
    pub const GENERAL: u32 = Self::GUARDED | Self::EXACT_STATE | Self::QUIC;
}

/// What is known of a VIP's address, in `VIP_ADDRESSES`: bits.
#[derive(Clone, Copy, Debug)]
pub struct VipFlags;

impl VipFlags {
    /// Of every VIP.
    pub const KNOWN: u32 = 1;
    /// Some service of it has a healthy server: it answers echo requests.
    pub const ECHO: u32 = 1 << 1;
}

const _: () = assert!(size_of::<VipService>() == 32);
