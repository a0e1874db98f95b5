//! The ways out of a program.

use aya_ebpf::{
    bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_TX},
    helpers::bpf_redirect,
};
use lbfabric_abi::{DropReason, NextProgram, Verdict};

use super::{frame::Frame, maps, tags};

/// How a packet leaves, other than by being dropped.
#[derive(Clone, Copy)]
pub(crate) struct Exit {
    verdict: Verdict,
    action: u32,
}

/// What a program comes to.
pub(crate) enum Step {
    /// The packet leaves.
    Leave(Exit),
    Drop(DropReason),
    /// Another program goes on.
    Next(NextProgram),
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

impl Exit {
    /// The same way, counted as something else.
    #[inline(always)]
    pub(crate) const fn counted_as(self, verdict: Verdict) -> Self {
        Self { verdict, ..self }
    }
}

impl From<Result<Exit, DropReason>> for Step {
    #[inline(always)]
    fn from(outcome: Result<Exit, DropReason>) -> Self {
        match outcome {
            Ok(exit) => Self::Leave(exit),
            Err(reason) => Self::Drop(reason),
        }
    }
}

/// As [`leave_as_is`], for the programs behind `lbfabric_general`, which has taken the tags off: they come back unless the
/// frame leaves through another interface, where they would mean another network.
#[inline(always)]
pub(crate) fn leave(frame: &Frame, step: Step) -> u32 {
    let step = match step {
        Step::Leave(exit) if matches!(exit.action, XDP_PASS | XDP_TX) => {
            match tags::put_back(frame) {
                Ok(()) => step,
                Err(reason) => Step::Drop(reason),
            }
        }
        Step::Leave(_) | Step::Drop(_) | Step::Next(_) => step,
    };
    leave_as_is(frame, step)
}

/// Counts how the packet leaves and gives the action for it, or goes on with the next program.
#[inline(always)]
pub(crate) fn leave_as_is(frame: &Frame, step: Step) -> u32 {
    let (counter, action) = match step {
        Step::Leave(Exit { verdict, action }) => (verdict.index(), action),
        Step::Drop(reason) => (reason.index(), XDP_DROP),
        Step::Next(next) => {
            maps::go_on(frame, next);
            // It comes back only if the program is not there.
            (DropReason::Internal.index(), XDP_DROP)
        }
    };
    maps::count(counter);
    action
}
