//! VIPs of a flat network: one node at a time answers for each, while its lease lasts.
//!
//! ```text
//! LEASED_VIPS[vip]   who asks for one of these is answered by the program, or by nobody on this node
//! LEASE[0]           the end of what the node holds, one for all VIPs: renewing it is a single store
//! ```

use crate::{Address, NextHop};

/// A VIP that one node at a time answers for. `LEASED_VIPS[vip]`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeasedVip {
    /// Of the assignment by which the node holds it; the programs do not read it.
    pub epoch: u64,
    /// The way to the node that held it before, whose sessions go on there: not resolved if it is not known.
    pub predecessor: NextHop,
    /// Of one that the node has given up: until then, in nanoseconds of `CLOCK_BOOTTIME`, neighbors may not know of the next owner yet.
    pub settles_at: u64,
    /// [`LeasedVip::HELD`] or zero.
    pub flags: u32,
    /// Zero.
    pub zero: u32,
}

/// An interface's own link-layer address. `LINKS[ifindex]`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkAddress {
    /// IEEE 802's.
    pub mac: [u8; 6],
    /// Zero.
    pub zero: [u8; 2],
}

/// Another host that takes itself for a VIP's owner while this node is. The key of `VIP_CLAIMS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VipClaim {
    /// Which VIP.
    pub vip: Address,
    /// The address that the host gives for it.
    pub mac: [u8; 6],
    /// Zero.
    pub zero: [u8; 2],
}

/// How often a host was seen with a VIP. The value of `VIP_CLAIMS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClaimsSeen {
    /// The first time, in nanoseconds of `CLOCK_BOOTTIME`.
    pub first: u64,
    /// The last one.
    pub last: u64,
    /// How often: several CPUs may count as one what comes at the same moment.
    pub count: u64,
    /// The interface of the last one.
    pub ifindex: u32,
    /// Zero.
    pub zero: u32,
}

/// Where TCP connections to a leased VIP are that a node does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OlderConnections<'a> {
    /// At the node before the one that holds the VIP now: this one.
    At(&'a NextHop),
    /// At some node, which the sender finds once it knows of the next owner. Whatever else is done with their packets ends them.
    Elsewhere,
    /// At none that is known of: they may as well begin anew.
    Nowhere,
}

impl LeasedVip {
    /// The node holds the VIP, and answers for it until the end of its lease.
    pub const HELD: u32 = 1;

    /// One that the node holds, and nobody before it.
    pub const fn held(epoch: u64) -> Self {
        const NOBODY: NextHop = NextHop {
            mac: [0; 6],
            source_mac: [0; 6],
            ifindex: 0,
        };
        Self {
            epoch,
            predecessor: NOBODY,
            settles_at: 0,
            flags: Self::HELD,
            zero: 0,
        }
    }

    /// One that the node has given up.
    pub fn given_up(settles_at: u64) -> Self {
        Self {
            settles_at,
            ..Self::default()
        }
    }

    /// Whether the node holds it.
    #[inline(always)]
    pub const fn is_held(&self) -> bool {
        self.flags & Self::HELD != 0
    }

    /// Where TCP connections to it are that the node does not know, and that do not begin now: at a moment, with a lease until
    /// `lease_end`, both in nanoseconds of `CLOCK_BOOTTIME`.
    #[inline(always)]
    pub const fn older_connections(&self, now: u64, lease_end: u64) -> OlderConnections<'_> {
        if self.is_held() {
            if self.predecessor.is_resolved() && now < lease_end {
                return OlderConnections::At(&self.predecessor);
            }
        } else if now < self.settles_at {
            return OlderConnections::Elsewhere;
        }
        OlderConnections::Nowhere
    }
}

const _: () = assert!(size_of::<LeasedVip>() == 40 && size_of::<LinkAddress>() == 8);
const _: () = assert!(size_of::<VipClaim>() == 24 && size_of::<ClaimsSeen>() == 32);
