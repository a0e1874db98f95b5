//! Whether the node answers for an address.

use lbfabric_abi::{Address, OlderConnections};

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

/// Where TCP connections to a VIP are that the node does not know.
#[inline(always)]
pub(crate) fn older_connections(vip: &Address) -> OlderConnections<'static> {
    maps::leased_vip(vip).map_or(OlderConnections::Nowhere, |it| {
        it.older_connections(maps::boot_clock(), maps::lease_end())
    })
}
