//! Which server a new flow goes to.

use lbfabric_abi::{DropReason, Flow, RingSlot, Settings, VipService, slot_of};

use super::maps;

/// The id of the server that the service's ring holds for this flow.
#[inline(always)]
pub(crate) fn choose(
    settings: &Settings,
    service: &VipService,
    flow: &Flow,
) -> Result<u32, DropReason> {
    if service.ring_slots == 0 {
        return Err(DropReason::NoBackend);
    }
    let hash = flow.affinity_hash(settings.hash_key, service.affinity);
    let slot = slot_of(hash, service.ring_slots);
    let RingSlot { cur, base: _ } =
        maps::ring_slot(service.ring_start.wrapping_add(slot)).ok_or(DropReason::Internal)?;
    if cur == RingSlot::NONE {
        return Err(DropReason::NoBackend);
    }
    Ok(cur)
}
