//! Full NAT's flows, as errors ask for them.

use lbfabric_abi::{Flow, NatForward, NatReverse};

use crate::programs::maps;

/// How a client's flow, C:c -> V:v, goes on to its server.
#[inline(always)]
pub(super) fn by_client(flow: &Flow) -> Option<&'static NatForward> {
    maps::nat_forward(flow)
}

/// Whom a server's answers, S:s -> L:l, go to.
#[inline(always)]
pub(super) fn by_answer(flow: &Flow) -> Option<&'static NatReverse> {
    maps::nat_reverse(flow)
}
