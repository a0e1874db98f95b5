//! Others who take themselves for the owner of a VIP.

use lbfabric_abi::{Address, Verdict, VipClaim};

use super::{Mac, maps};
use crate::programs::{
    aligned::Aligned,
    exit::{Exit, Step},
    frame::Frame,
};

/// Notes the host, and lets its frame go where it was going: who is right is not decided by shouting.
#[inline(always)]
pub(super) fn note(frame: &Frame, vip: &Address, mac: Mac) -> Step {
    let [a, b, c, d, e, f, zero @ ..] = mac.0.to_ne_bytes();
    let claim = Aligned(VipClaim {
        vip: *vip,
        mac: [a, b, c, d, e, f],
        zero,
    });
    maps::note_claim(&claim, frame.ingress_ifindex());
    Step::Leave(Exit::pass(Verdict::PassVipClaim))
}
