use crate::Address;

/// An address, port and protocol.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// The address.
    pub address: Address,
    /// The port, in network order.
    pub port_be: [u8; 2],
    /// The IP protocol number.
    pub protocol: u8,
    /// Zero.
    pub zero: u8,
}

impl Endpoint {
    /// An endpoint; `port` in host order.
    pub const fn new(address: Address, port: u16, protocol: u8) -> Self {
        Self {
            address,
            port_be: port.to_be_bytes(),
            protocol,
            zero: 0,
        }
    }
}

/// An address and protocol with a port's leading bits: the key data of an LPM trie, whose prefix length counts
/// bits from the beginning. A range of ports is a set of such prefixes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointPrefix {
    /// The address.
    pub address: Address,
    /// The IP protocol number.
    pub protocol: u8,
    /// Zero.
    pub zero: u8,
    /// The port, in network order.
    pub port_be: [u8; 2],
}

impl EndpointPrefix {
    /// Bits before the port: a prefix of `PORT_AT + n` bits fixes the port's first `n`.
    pub const PORT_AT: u32 = 144;
    /// All bits, as a lookup needs.
    pub const BITS: u32 = 160;
}

const _: () = assert!(size_of::<Endpoint>() == 20 && size_of::<EndpointPrefix>() == 20);
