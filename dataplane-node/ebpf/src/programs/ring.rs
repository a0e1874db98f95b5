//! Which slot of a ring a flow falls on.

use lbfabric_abi::{Affinity, DropReason, RingSlot, Settings, VipService, slot_of};

use super::{headers::Headers, ip::Ip, maps};

/// The hash of what the service's affinity goes by: the same as [`lbfabric_abi::Flow::affinity_hash`].
#[inline(always)]
pub(crate) fn hash<I: Ip>(settings: &Settings, service: &VipService, headers: &Headers<I>) -> u64 {
    const SOURCE: u8 = Affinity::Source as u8;
    const SOURCE_DESTINATION: u8 = Affinity::SourceDestination as u8;
    let (mut destination, mut ports, mut protocol) =
        (headers.destination, headers.ports, headers.protocol);
    if matches!(service.affinity, SOURCE | SOURCE_DESTINATION) {
        (ports, protocol) = (0, 0);
        if service.affinity == SOURCE {
            destination = headers.source;
        }
    }
    I::hash(
        &settings.ring_key,
        headers.source,
        destination,
        ports,
        protocol,
    )
}

/// The slot of the service's ring for a hash.
#[inline(always)]
pub(crate) fn slot(service: &VipService, hash: u64) -> Result<RingSlot, DropReason> {
    if service.ring_slots == 0 {
        return Err(DropReason::NoBackend);
    }
    let slot = slot_of(hash, service.ring_slots);
    maps::ring_slot(service.ring_start.wrapping_add(slot)).ok_or(DropReason::Internal)
}
