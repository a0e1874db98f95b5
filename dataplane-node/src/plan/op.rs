use std::sync::Arc;

use lbfabric_abi::{
    Address, Backend, Endpoint, EndpointPrefix, PoolRing, Reverse, RingSlot, Settings, VipService,
};
use lbfabric_model::{BackendId, PoolId};

/// A key of the LPM tries: how many leading bits of `data` count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PrefixKey {
    pub(crate) data: EndpointPrefix,
    pub(crate) bits: u32,
}

/// One write to one map, or to a ring's slots one after the other. Each is idempotent, and takes effect at once for every
/// packet.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "a plan is as long as what has changed, and is gone at once"
)]
pub(crate) enum MapOp {
    PutSettings(Settings),
    /// The word at an index of the address filter.
    PutFilterWord(u32, u64),
    PutBackend(BackendId, Backend),
    PutPool(PoolId, PoolRing),
    /// Every slot of a ring that nothing leads to yet, steady: its server.
    PutRing(PoolRing, Arc<[u32]>),
    /// Some slots of a ring, by index in the flat array.
    PutSlots(Vec<(u32, RingSlot)>),
    PutReversePort(Endpoint, Reverse),
    PutReverseRange(PrefixKey, Reverse),
    PutVipPort(Endpoint, VipService),
    PutVipRange(PrefixKey, VipService),
    PutVipAddress(Address),
    RemoveVipPort(Endpoint),
    RemoveVipRange(PrefixKey),
    RemoveVipAddress(Address),
    RemoveReversePort(Endpoint),
    RemoveReverseRange(PrefixKey),
    RemovePool(PoolId),
    ClearBackend(BackendId),
}
