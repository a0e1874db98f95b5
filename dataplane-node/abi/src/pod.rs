//! Lets aya copy the map types as bytes.
#![expect(unsafe_code, reason = "`Pod` is an unsafe trait")]

use aya::Pod;

use crate::{
    Address, Backend, ClaimsSeen, ClientAddress, Endpoint, EndpointPrefix, Flow, FlowBucket, Guard,
    LeasedVip, LinkAddress, NatCursor, PoolRing, QuicServer, Reverse, RingSlot, Session,
    SessionLine, SessionRecord, SessionWord, Settings, SourcePrefix, SourceTokens, Steered,
    SteeredTo, Traffic, VipClaim, VipNetwork, VipPort6, VipService,
};

macro_rules! pod {
    ($($type:ty),+) => {
        $(
            // SAFETY: `repr(C)`, `Copy`, made of integers only, and without implicit padding: the size assertion beside the
            // type equals the sum of its fields.
            unsafe impl Pod for $type {}
        )+
    };
}

pod!(
    Address,
    NatCursor,
    Backend,
    ClaimsSeen,
    ClientAddress,
    Endpoint,
    EndpointPrefix,
    Flow,
    FlowBucket,
    Guard,
    LeasedVip,
    LinkAddress,
    PoolRing,
    QuicServer,
    Reverse,
    RingSlot,
    Session,
    SessionLine,
    SessionRecord,
    SessionWord,
    Settings,
    SourcePrefix,
    SourceTokens,
    Steered,
    SteeredTo,
    Traffic,
    VipClaim,
    VipNetwork,
    VipPort6,
    VipService
);
