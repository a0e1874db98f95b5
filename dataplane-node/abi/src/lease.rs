//! VIPs of a flat network: one node at a time answers for each, while its lease lasts.
//!
//! ```text
//! LEASED_VIPS[vip]   who asks for one of these is answered by the program, or by nobody on this node
//! LEASE[0]           the end of what the node holds, one for all VIPs: renewing it is a single store
//! ```

use crate::Address;

/// A VIP that one node at a time answers for. `LEASED_VIPS[vip]`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeasedVip {
    /// Of the assignment by which the node holds it; the programs do not read it.
    pub epoch: u64,
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

impl LeasedVip {
    /// The node holds the VIP, and answers for it until the end of its lease.
    pub const HELD: u32 = 1;

    /// One that the node holds.
    pub const fn held(epoch: u64) -> Self {
        Self {
            epoch,
            flags: Self::HELD,
            zero: 0,
        }
    }

    /// Whether the node holds it.
    #[inline(always)]
    pub const fn is_held(&self) -> bool {
        self.flags & Self::HELD != 0
    }
}

const _: () = assert!(size_of::<LeasedVip>() == 16 && size_of::<LinkAddress>() == 8);
const _: () = assert!(size_of::<VipClaim>() == 24 && size_of::<ClaimsSeen>() == 32);
