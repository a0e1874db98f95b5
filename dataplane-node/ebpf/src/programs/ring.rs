//! Which slot of a ring a flow falls on.

use lbfabric_abi::{DropReason, Flow, RingSlot, Settings, VipService, slot_of};

use super::maps;

/// The slot of the service's ring for this flow.
#[inline(always)]
pub(crate) fn slot(
    settings: &Settings,
    service: &VipService,
    flow: &Flow,
) -> Result<RingSlot, DropReason> {
    if service.ring_slots == 0 {
        return Err(DropReason::NoBackend);
    }
    let hash = flow.affinity_hash(settings.hash_key, service.affinity);
    let slot = slot_of(hash, service.ring_slots);
    maps::ring_slot(service.ring_start.wrapping_add(slot)).ok_or(DropReason::Internal)
}
