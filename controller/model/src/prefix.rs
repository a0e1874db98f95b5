use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use crate::{
    Violation,
    name::shortened,
    vip::{address_from_bytes, address_to_bytes},
};

/// An address, or all addresses that begin with the same bits. No bit is set behind the prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    address: IpAddr,
    bits: u8,
}

impl Prefix {
    /// A prefix, or `None` if it is longer than the address or a bit is set behind it.
    pub fn new(address: IpAddr, bits: u8) -> Option<Self> {
        let prefix = Self::around(address, bits)?;
        (prefix.address == address).then_some(prefix)
    }

    /// The prefix of this length that an address lies in, or `None` if the address is shorter.
    pub fn around(address: IpAddr, bits: u8) -> Option<Self> {
        if bits > width(address) {
            return None;
        }
        let address = match address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
            }
        };
        Some(Self { address, bits })
    }

    /// Its first address.
    pub const fn address(self) -> IpAddr {
        self.address
    }

    /// Its length in bits.
    pub const fn bits(self) -> u8 {
        self.bits
    }

    /// Whether it is one address.
    pub const fn is_single(self) -> bool {
        self.bits == width(self.address)
    }

    /// Whether its addresses are IPv4.
    pub const fn is_ipv4(self) -> bool {
        self.address.is_ipv4()
    }

    /// Whether an address lies in it.
    pub fn contains(self, address: IpAddr) -> bool {
        self.is_ipv4() == address.is_ipv4() && Self::around(address, self.bits) == Some(self)
    }

    /// Whether an address lies in both: then one of them lies in the other.
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.address) || other.contains(self.address)
    }

    /// Parses an address or a prefix, of any length; `path` is where it stands.
    pub fn parse(text: &str, path: &str) -> Result<Self, Violation> {
        let refused = |reason: String| Err(Violation::new(path, reason));
        let no_address = || {
            format!(
                "`{}` is neither an IP address nor a prefix: write `203.0.113.10` or `203.0.113.0/24`, `2001:db8::10` or \
                 `2001:db8::/32`",
                shortened(text)
            )
        };
        let (address, bits) = match text.split_once('/') {
            None => (text, None),
            Some((address, bits)) => (address, Some(bits)),
        };
        let Ok(address) = address.parse::<IpAddr>() else {
            return refused(no_address());
        };
        let Some(bits) = bits else {
            return Ok(Self::from(address));
        };
        // Digits only: `u8::from_str` would also take a sign.
        let digits = !bits.is_empty() && bits.bytes().all(|b| b.is_ascii_digit());
        let bits = digits.then(|| bits.parse().ok()).flatten();
        let Some(around) = bits.and_then(|bits| Self::around(address, bits)) else {
            return refused(format!(
                "`{}` has no prefix length from 0 to {}: write `{address}/{}` for the one address",
                shortened(text),
                width(address),
                width(address)
            ));
        };
        if around.address != address {
            return refused(format!(
                "`{}` has bits set behind the prefix: write `{around}` for all of it, or `{address}` for the one address",
                shortened(text)
            ));
        }
        Ok(around)
    }

    /// 4 or 16 bytes in network order; behind a prefix, one byte with its length.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = address_to_bytes(self.address);
        if !self.is_single() {
            bytes.push(self.bits);
        }
        bytes
    }

    /// Reads what [`Self::to_bytes`] has written; the length is also taken where it is full.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if let Some(address) = address_from_bytes(bytes) {
            return Some(Self::from(address));
        }
        let (bits, address) = bytes.split_last()?;
        Self::new(address_from_bytes(address)?, *bits)
    }
}

/// The bits of an address.
const fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

impl From<IpAddr> for Prefix {
    fn from(address: IpAddr) -> Self {
        Self {
            address,
            bits: width(address),
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_single() {
            write!(f, "{}", self.address)
        } else {
            write!(f, "{}/{}", self.address, self.bits)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        Prefix::parse(text, "p").expect("the test's prefix is one")
    }

    #[test]
    fn written_as_it_is_read() {
        for text in [
            "203.0.113.10",
            "203.0.113.0/24",
            "0.0.0.0/0",
            "::/0",
            "2001:db8::/32",
            "2001:db8::1",
        ] {
            let prefix = prefix(text);
            assert_eq!(prefix.to_string(), text);
            assert_eq!(Prefix::from_bytes(&prefix.to_bytes()), Some(prefix));
        }
        assert_eq!(prefix("203.0.113.10/32"), prefix("203.0.113.10"));
        assert_eq!(prefix("2001:db8::1/128"), prefix("2001:db8::1"));
    }

    #[test]
    fn mistakes_are_refused_with_what_would_be_right() {
        for bad in [
            "",
            "/",
            "/8",
            "x/8",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "10.0.0.0/8/8",
            "::/129",
            "10.0.0/8",
            "10.0.0.0/-1",
            "::/256",
            "10.0.0.0/08x",
        ] {
            assert!(Prefix::parse(bad, "p").is_err(), "{bad}");
        }
        let reason = Prefix::parse("203.0.113.7/24", "p").unwrap_err().reason;
        assert!(reason.contains("`203.0.113.0/24`"), "{reason}");
        assert!(Prefix::parse("2001:db8::1/64", "p").is_err());
    }

    #[test]
    fn one_holds_another_or_they_are_apart() {
        let net = prefix("203.0.113.0/24");
        assert!(net.contains("203.0.113.255".parse().unwrap()));
        assert!(!net.contains("203.0.114.0".parse().unwrap()));
        assert!(!prefix("0.0.0.0/0").contains("::".parse().unwrap()));
        assert!(net.overlaps(prefix("203.0.113.7")) && prefix("203.0.113.7").overlaps(net));
        assert!(!net.overlaps(prefix("203.0.112.0/24")));
        assert!(prefix("::/0").overlaps(prefix("2001:db8::/32")));
    }

    #[test]
    fn bytes_from_elsewhere() {
        for bad in [
            &[][..],
            &[1],
            &[1, 2, 3],
            &[10, 0, 0, 1, 8],
            &[10, 0, 0, 0, 33],
            &[0; 6],
            &[0; 18],
        ] {
            assert_eq!(Prefix::from_bytes(bad), None, "{bad:?}");
        }
    }
}
