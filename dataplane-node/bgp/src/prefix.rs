use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rustbgpd_wire::{Ipv4Prefix, Ipv6Prefix};

use crate::Family;

/// What a route is for: an address and how many of its bits count. The others are zero, so that there is one value for each prefix.
///
/// Those of IPv4 come before those of IPv6.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    address: IpAddr,
    length: u8,
}

impl Prefix {
    /// `address/length`, without the bits that do not count; none if the family has fewer bits than `length`.
    pub fn new(address: IpAddr, length: u8) -> Option<Self> {
        let address = match address {
            IpAddr::V4(address) => {
                let dropped = 32_u32.checked_sub(length.into())?;
                let mask = u32::MAX.checked_shl(dropped).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & mask))
            }
            IpAddr::V6(address) => {
                let dropped = 128_u32.checked_sub(length.into())?;
                let mask = u128::MAX.checked_shl(dropped).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
            }
        };
        Some(Self { address, length })
    }

    /// The prefix of one address.
    pub fn host(address: IpAddr) -> Self {
        let length = if address.is_ipv4() { 32 } else { 128 };
        Self { address, length }
    }

    /// Its first address.
    pub fn address(self) -> IpAddr {
        self.address
    }

    /// How many bits count.
    pub fn length(self) -> u8 {
        self.length
    }

    /// Its family.
    pub fn family(self) -> Family {
        match self.address {
            IpAddr::V4(_) => Family::Ipv4,
            IpAddr::V6(_) => Family::Ipv6,
        }
    }

    /// Whether every address of `other` is in here; so it is if both are the same.
    pub fn covers(self, other: Self) -> bool {
        self.length <= other.length && Self::new(other.address, self.length) == Some(self)
    }

    /// Bytes in a message: the length, and as many bytes as hold the bits that count (RFC 4271 section 4.3).
    pub(crate) fn encoded_len(self) -> usize {
        1 + usize::from(self.length.div_ceil(8))
    }

    pub(crate) fn to_wire(self) -> rustbgpd_wire::Prefix {
        match self.address {
            IpAddr::V4(address) => rustbgpd_wire::Prefix::V4(Ipv4Prefix::new(address, self.length)),
            IpAddr::V6(address) => rustbgpd_wire::Prefix::V6(Ipv6Prefix::new(address, self.length)),
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address, self.length)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(address: &str, length: u8) -> Option<Prefix> {
        Prefix::new(address.parse().unwrap(), length)
    }

    #[test]
    fn only_the_bits_that_count() {
        assert_eq!(prefix("192.0.2.255", 25), prefix("192.0.2.128", 25));
        assert_eq!(prefix("192.0.2.255", 0), prefix("0.0.0.0", 0));
        assert_eq!(prefix("2001:db8::1", 0), prefix("::", 0));
        assert_eq!(prefix("192.0.2.255", 33), None);
        assert_eq!(prefix("2001:db8::1", 129), None);
    }

    #[test]
    fn covers_what_lies_within_alone() {
        let wide = prefix("192.0.2.0", 24).unwrap();
        assert!(wide.covers(wide));
        assert!(wide.covers(prefix("192.0.2.7", 32).unwrap()));
        assert!(!wide.covers(prefix("192.0.3.0", 24).unwrap()));
        assert!(!wide.covers(prefix("192.0.0.0", 16).unwrap()));
        assert!(
            !prefix("0.0.0.0", 0)
                .unwrap()
                .covers(prefix("::", 0).unwrap())
        );
    }
}
