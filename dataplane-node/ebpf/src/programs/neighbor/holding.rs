//! Whether the node answers for an address.

use lbfabric_abi::Address;

use super::maps;

/// What the node has of an address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Holding {
    /// It answers for it.
    Held,
    /// It did, until its lease was over.
    Over,
    /// Another node does, or none.
    NotHeld,
    /// The address is no leased VIP.
    NotLeased,
}

impl Holding {
    #[inline(always)]
    pub(super) fn of(address: &Address) -> Self {
        let Some(vip) = maps::leased_vip(address) else {
            return Self::NotLeased;
        };
        if !vip.is_held() {
            Self::NotHeld
        } else if maps::boot_clock() < maps::lease_end() {
            Self::Held
        } else {
            Self::Over
        }
    }
}
