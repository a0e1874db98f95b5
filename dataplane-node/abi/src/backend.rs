use crate::Address;

/// A server: where to send and what to write into the packet. `BACKENDS[id]`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backend {
    /// In network order; all zero if the server has none.
    pub ipv4: [u8; 4],
    /// In network order; all zero if the server has none.
    pub ipv6: [u8; 16],
    /// Next hop to `ipv4`.
    pub hop4: NextHop,
    /// Next hop to `ipv6`.
    pub hop6: NextHop,
    /// The id of its pool.
    pub pool: u32,
    /// [`Backend::ALIVE`] or zero.
    pub flags: u16,
    /// How many of the last bits of `ipv4` tell the hosts of its subnet apart, as far as the node knows the subnet; zero: it
    /// knows of none, and the server is alone in it.
    pub host_bits4: u8,
    /// As above, of `ipv6`.
    pub host_bits6: u8,
    /// The largest packet that fits the way to `ipv4`, in bytes from the network header on.
    pub mtu4: u16,
    /// As above, to `ipv6`.
    pub mtu6: u16,
}

impl Backend {
    /// The flag of a server that keeps its flows: it is not declared dead. Servers that take no new flows have it too.
    pub const ALIVE: u16 = 1;

    /// Whether flows of a service of this pool may stay on it.
    #[inline(always)]
    pub const fn keeps_flows_of(&self, pool: u32) -> bool {
        self.is_alive() && self.pool == pool
    }

    /// Whether it is not declared dead.
    #[inline(always)]
    pub const fn is_alive(&self) -> bool {
        self.flags & Self::ALIVE != 0
    }

    /// Whether an IPv4 address, in memory order, is of the server's subnet: what the server sends there does not come through
    /// the node.
    #[inline(always)]
    pub const fn is_beside4(&self, address: u32) -> bool {
        let differs = u32::from_be(address ^ u32::from_ne_bytes(self.ipv4));
        differs >> (self.host_bits4 & 31) == 0
    }

    /// As [`Backend::is_beside4`], of the halves of an IPv6 address.
    #[inline(always)]
    pub const fn is_beside6(&self, [high, low]: [u64; 2]) -> bool {
        let [own_high, own_low] = Address(self.ipv6).halves();
        let high = u64::from_be(high ^ own_high);
        let low = u64::from_be(low ^ own_low);
        let bits = self.host_bits6 & 63;
        if self.host_bits6 & 64 == 0 {
            high | low >> bits == 0
        } else {
            high >> bits == 0
        }
    }

    /// Its IPv4 address, if it has one.
    #[inline(always)]
    pub fn address4(&self) -> Option<Address> {
        (self.ipv4 != [0; 4]).then(|| Address::from_ipv4(self.ipv4))
    }

    /// Its IPv6 address, if it has one.
    #[inline(always)]
    pub fn address6(&self) -> Option<Address> {
        (self.ipv6 != [0; 16]).then_some(Address(self.ipv6))
    }
}

/// The link-layer next hop, resolved and kept fresh by the agent.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NextHop {
    /// The neighbour's address: with `source_mac`, as a frame begins.
    pub mac: [u8; 6],
    /// The egress interface's own address.
    pub source_mac: [u8; 6],
    /// The egress interface; 0 while the next hop is not resolved.
    pub ifindex: u32,
}

impl NextHop {
    /// Whether frames can be sent to it.
    #[inline(always)]
    pub const fn is_resolved(&self) -> bool {
        self.ifindex != 0
    }
}

const _: () = assert!(size_of::<Backend>() == 64 && size_of::<NextHop>() == 16);

#[cfg(test)]
mod tests {
    use core::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn a_subnet_ends_where_its_prefix_does() {
        let server: Ipv4Addr = "10.1.2.3".parse().unwrap();
        let is_beside = |host_bits4, address: &str| {
            let backend = Backend {
                ipv4: server.octets(),
                host_bits4,
                ..Backend::default()
            };
            let address: Ipv4Addr = address.parse().unwrap();
            backend.is_beside4(u32::from_ne_bytes(address.octets()))
        };
        for host_bits in [0, 1, 8, 31] {
            assert!(is_beside(host_bits, "10.1.2.3"));
        }
        assert!(!is_beside(0, "10.1.2.2") && is_beside(1, "10.1.2.2"));
        assert!(is_beside(8, "10.1.2.255") && !is_beside(8, "10.1.3.3"));
        assert!(is_beside(31, "127.255.0.1") && !is_beside(31, "138.1.2.3"));
    }

    #[test]
    fn an_ipv6_subnet_ends_where_its_prefix_does() {
        let server: Ipv6Addr = "2001:db8:1:2:3:4:5:6".parse().unwrap();
        for host_bits6 in 0..=127 {
            let backend = Backend {
                ipv6: server.octets(),
                host_bits6,
                ..Backend::default()
            };
            let is_beside = |bits: u128| {
                let address = Address((server.to_bits() ^ bits).to_be_bytes());
                backend.is_beside6(address.halves())
            };
            assert!(is_beside(0) && !is_beside(1 << host_bits6), "{host_bits6}");
            assert!(is_beside((1 << host_bits6) - 1), "{host_bits6}");
            assert!(!is_beside(1 << 127), "{host_bits6}");
        }
    }
}
