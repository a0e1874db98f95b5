use std::sync::Arc;

use lbfabric_abi::{
    Address, Backend, Endpoint, EndpointPrefix, Guard, PoolRing, QuicServer, Reverse, RingSlot,
    Settings, SourcePrefix, VipPrefix, VipService,
};
use lbfabric_model::{BackendId, PoolId, ServiceId};

/// A key of the LPM tries: how many leading bits of `data` count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PrefixKey {
    pub(crate) data: EndpointPrefix,
    pub(crate) bits: u32,
}

/// A key of the trie of clients: how many leading bits of `data` count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SourceKey {
    pub(crate) data: SourcePrefix,
    pub(crate) bits: u32,
}

/// One write to one map, or to a ring's slots one after the other. Each is idempotent, and takes effect at once for every
/// packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MapOp {
    /// Boxed: there is one in a plan, which may be some hundred thousand writes long.
    PutSettings(Box<Settings>),
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
    PutQuicServer(QuicServer, BackendId),
    /// Whether clients are allowed or denied: a constant of [`SourcePrefix`].
    PutSourceRule(SourceKey, u32),
    PutGuard(ServiceId, Guard),
    PutVipPort(Endpoint, VipService),
    PutVipRange(PrefixKey, VipService),
    /// A VIP with its flags.
    PutVipPrefix(VipPrefix, u32),
    PutVipAddress(Address, u32),
    RemoveVipPort(Endpoint),
    RemoveVipRange(PrefixKey),
    RemoveVipPrefix(VipPrefix),
    RemoveVipAddress(Address),
    RemoveGuard(ServiceId),
    RemoveSourceRule(SourceKey),
    RemoveQuicServer(QuicServer),
    RemoveReversePort(Endpoint),
    RemoveReverseRange(PrefixKey),
    RemovePool(PoolId),
    ClearBackend(BackendId),
}

const _: () = assert!(
    size_of::<MapOp>() <= 72,
    "many of them are in memory at once"
);
