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
    pub flags: u32,
    /// The largest packet that fits the way to `ipv4`, in bytes from the network header on.
    pub mtu4: u16,
    /// As above, to `ipv6`.
    pub mtu6: u16,
}

impl Backend {
    /// The flag of a server that keeps its flows: it is not declared dead. Servers that take no new flows have it too.
    pub const ALIVE: u32 = 1;

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
