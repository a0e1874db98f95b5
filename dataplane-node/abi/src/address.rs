use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IP address of either family, 16 bytes in network order; IPv4 stands as `::ffff:a.b.c.d`
/// (RFC 4291 section 2.5.5.2), so that one map serves both families.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(pub [u8; 16]);

impl Address {
    /// Its length in bits.
    pub const BITS: u32 = 128;

    /// The mapped form of the IPv4 address with these bytes.
    #[inline(always)]
    pub const fn from_ipv4(b: [u8; 4]) -> Self {
        Self([
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, b[0], b[1], b[2], b[3],
        ])
    }

    /// An IPv4 address as one word with its bytes in memory order; none for IPv6.
    #[inline(always)]
    pub const fn ipv4_word(&self) -> Option<u32> {
        const PREFIX: u32 = u32::from_ne_bytes([0, 0, 0xff, 0xff]);
        let [a, b, c, d] = self.words();
        if a | b | (c ^ PREFIX) == 0 {
            Some(d)
        } else {
            None
        }
    }

    /// The address as two words, each with its bytes in memory order.
    #[inline(always)]
    pub const fn halves(&self) -> [u64; 2] {
        let b = &self.0;
        [
            u64::from_ne_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]),
            u64::from_ne_bytes([b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]]),
        ]
    }

    /// The address with these words, the other way round.
    pub fn from_halves(halves: [u64; 2]) -> Self {
        let mut bytes = [0; 16];
        for (part, half) in bytes.chunks_exact_mut(8).zip(halves) {
            part.copy_from_slice(&half.to_ne_bytes());
        }
        Self(bytes)
    }

    /// The address as four words, each with its bytes in memory order: what the flow hash takes.
    #[inline(always)]
    pub const fn words(&self) -> [u32; 4] {
        let b = &self.0;
        [
            u32::from_ne_bytes([b[0], b[1], b[2], b[3]]),
            u32::from_ne_bytes([b[4], b[5], b[6], b[7]]),
            u32::from_ne_bytes([b[8], b[9], b[10], b[11]]),
            u32::from_ne_bytes([b[12], b[13], b[14], b[15]]),
        ]
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::from_ipv4(v4.octets()),
            IpAddr::V6(v6) => Self(v6.octets()),
        }
    }
}

impl From<Address> for IpAddr {
    fn from(Address(bytes): Address) -> Self {
        let v6 = Ipv6Addr::from(bytes);
        v6.to_ipv4_mapped()
            .map_or(IpAddr::V6(v6), |v4: Ipv4Addr| IpAddr::V4(v4))
    }
}
