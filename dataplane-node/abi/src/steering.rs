//! Which sockets get the connections and datagrams of VIPs that are configured nowhere.

use crate::Address;

/// A VIP, or many, with a port and protocol: the key data of the LPM trie `STEERED`. The port comes first, so that a trie of prefixes has each
/// port's own.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Steered {
    /// The port, in network order; 0: every port.
    pub port_be: [u8; 2],
    /// The IP protocol number.
    pub protocol: u8,
    /// Zero.
    pub zero: u8,
    /// The address.
    pub address: Address,
}

/// What becomes of it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SteeredTo {
    /// The prefix's length in bits of [`Address`]. Of the entries of a port and of every port the longer one counts, and the port's own where they
    /// are alike.
    pub bits: u32,
    /// A place in `STEERING_SOCKETS`, from 1 on; 0: whichever socket the kernel finds by itself.
    pub socket: u32,
}

/// What is counted of each lookup: `STEERING_COUNTERS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum SteeringEvent {
    /// It got a socket.
    Steered = 0,
    /// There is no socket, or not of its kind.
    NoSocket = 1,
}

// === impl Steered ===

impl Steered {
    /// Bits of the port and protocol, which an entry has whole.
    pub const PORT_BITS: u32 = 32;
    /// Entries that there are at most.
    pub const ENTRIES_MAX: u32 = 1 << 18;
    /// Sockets: the listeners of IPv4 and of IPv6, and behind them those of services of datagrams, whose answers leave from the socket's own port.
    /// Of several that are at the same address and port one stands for all: the kernel chooses among them.
    pub const SOCKETS: u32 = 1 << 16;
    /// The first of those of datagrams.
    pub const FIRST_OF_DATAGRAMS: u32 = 2;

    /// What is looked up; `port` in host order.
    #[inline(always)]
    pub const fn new(address: Address, port: u16, protocol: u8) -> Self {
        Self {
            port_be: port.to_be_bytes(),
            protocol,
            zero: 0,
            address,
        }
    }

    /// The place of the listeners of a family.
    #[inline(always)]
    pub const fn listeners(is_ipv4: bool) -> u32 {
        !is_ipv4 as u32
    }
}

impl SteeredTo {
    /// With the socket at a place, or none.
    pub const fn new(bits: u32, place: Option<u32>) -> Self {
        let socket = match place {
            Some(place) => place + 1,
            None => 0,
        };
        Self { bits, socket }
    }

    /// The place of its socket.
    #[inline(always)]
    pub const fn place(self) -> Option<u32> {
        self.socket.checked_sub(1)
    }
}

impl SteeringEvent {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Steered, Self::NoSocket];

    /// Its place.
    pub const fn index(self) -> u32 {
        self as u32
    }

    /// What it is called where it is counted.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Steered => "steered",
            Self::NoSocket => "no-socket",
        }
    }
}

const _: () = assert!(size_of::<Steered>() == 20 && size_of::<SteeredTo>() == 8);
