use crate::{Address, VipService, filter::spread6};

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

    /// The key of the tables for IPv4: all of it in one word. None for IPv6.
    #[inline(always)]
    pub const fn key4(&self) -> Option<u64> {
        let [a, b] = self.port_be;
        match self.address.ipv4_word() {
            Some(address) => Some(Self::key4_of(
                address,
                u16::from_ne_bytes([a, b]),
                self.protocol,
            )),
            None => None,
        }
    }

    /// As [`Endpoint::key4`], of an address and port in memory order.
    #[inline(always)]
    pub const fn key4_of(address: u32, port: u16, protocol: u8) -> u64 {
        address as u64 | (port as u64) << 32 | (protocol as u64) << 48
    }

    /// The key of `VIP_PORTS6`, which the kernel hashes and compares in half of the time that the endpoint itself would take.
    ///
    /// Two VIPs of one /64 never have the same; any two others have it with a chance of 2^-64. What a packet is looked up by is
    /// anything, so the entry says whose it is.
    #[inline(always)]
    pub const fn key6(&self) -> u64 {
        let [a, b] = self.port_be;
        Self::key6_of(
            self.address.words(),
            u16::from_ne_bytes([a, b]),
            self.protocol,
        )
    }

    /// As [`Endpoint::key6`], of an address and port in memory order.
    #[inline(always)]
    pub const fn key6_of(address: [u32; 4], port: u16, protocol: u8) -> u64 {
        spread6(address) ^ (port as u64 | (protocol as u64) << 16)
    }

    /// The endpoint that [`Endpoint::key4`] gave.
    #[expect(clippy::cast_possible_truncation, reason = "parts of a word")]
    pub const fn from_key4(key: u64) -> Self {
        Self {
            address: Address::from_ipv4((key as u32).to_ne_bytes()),
            port_be: ((key >> 32) as u16).to_ne_bytes(),
            protocol: (key >> 48) as u8,
            zero: 0,
        }
    }
}

/// The service of an IPv6 endpoint: `VIP_PORTS6[Endpoint::key6]`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VipPort6 {
    /// Whose entry it is: the key is only a hash of it.
    pub endpoint: Endpoint,
    /// The service.
    pub service: VipService,
}

const _: () = assert!(size_of::<VipPort6>() == 52);

/// An address and protocol with a port's leading bits: the key data of an LPM trie, whose prefix length counts
/// bits from the beginning. A range of ports is a set of such prefixes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointPrefix {
    /// The address.
    pub address: Address,
    /// The IP protocol number.
    pub protocol: u8,
    /// Zero, and `address` is meant alone; or `address` stands for the [`VipPrefix`] of this length, whose first address it is.
    pub vip_bits: u8,
    /// The port, in network order.
    pub port_be: [u8; 2],
}

impl EndpointPrefix {
    /// Bits before the port: a prefix of `PORT_AT + n` bits fixes the port's first `n`.
    pub const PORT_AT: u32 = 144;
    /// All bits, as a lookup needs.
    pub const BITS: u32 = 160;
}

/// A VIP that is a whole prefix: what it is called in the keys of `VIP_RANGES`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VipPrefix {
    /// Its first address.
    pub address: Address,
    /// Its length in bits of an [`Address`]: 1 to 127, for IPv4 from 97 on.
    pub bits: u32,
}

/// What is known of a VIP that is a whole prefix: the value of the LPM trie that finds it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VipNetwork {
    /// Its name.
    pub prefix: VipPrefix,
    /// Bits of [`VipFlags`](crate::VipFlags).
    pub flags: u32,
}

const _: () = assert!(size_of::<VipPrefix>() == 20 && size_of::<VipNetwork>() == 24);
const _: () = assert!(size_of::<Endpoint>() == 20 && size_of::<EndpointPrefix>() == 20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_ipv4_lead_back() {
        let endpoint = Endpoint::new(Address::from_ipv4([203, 0, 113, 10]), 443, 6);
        assert_eq!(endpoint.key4().map(Endpoint::from_key4), Some(endpoint));
        let ipv6 = Endpoint::new(Address([0x20; 16]), 443, 6);
        assert_eq!(ipv6.key4(), None);
    }
}
