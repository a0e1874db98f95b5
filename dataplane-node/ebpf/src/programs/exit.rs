//! The only way out of a program.

use aya_ebpf::{
    bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_TX},
    helpers::bpf_redirect,
};
use lbfabric_abi::{DropReason, Verdict};

use super::maps;

/// How a packet leaves, other than by being dropped.
#[derive(Clone, Copy)]
pub(crate) struct Exit {
    verdict: Verdict,
    action: u32,
}

impl Exit {
    /// To the kernel.
    #[inline(always)]
    pub(crate) const fn pass(verdict: Verdict) -> Self {
        Self {
            verdict,
            action: XDP_PASS,
        }
    }

    /// Out of an interface; out of the one that it came in through, without the detour of a redirect.
    #[inline(always)]
    pub(crate) fn send(verdict: Verdict, ifindex: u32, ingress_ifindex: u32) -> Self {
        let action = if ifindex == ingress_ifindex {
            XDP_TX
        } else {
            // SAFETY: the helper takes plain numbers.
            let action = unsafe { bpf_redirect(ifindex, 0) };
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it answers an XDP action"
            )]
            let action = action as u32;
            action
        };
        Self { verdict, action }
    }
}

/// Counts how the packet leaves, and gives the action for it.
#[inline(always)]
pub(crate) fn leave(outcome: Result<Exit, DropReason>) -> u32 {
    let (counter, action) = match outcome {
        Ok(Exit { verdict, action }) => (verdict.index(), action),
        Err(reason) => (reason.index(), XDP_DROP),
    };
    maps::count(counter);
    action
}
