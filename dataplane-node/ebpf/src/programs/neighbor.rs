//! ARP (RFC 826) and IPv6's neighbor discovery (RFC 4861): who asks for the link-layer address of a leased VIP is answered here
//! while the node holds it and its lease lasts, and by nobody on this node otherwise: a VIP of layer 7 stands on the loopback, and
//! the kernel would answer for it. All else passes.
//!
//! ```text
//! general ──► arp          a request          held, before the lease's end      answered
//! icmp ─────► discovery    a solicitation     otherwise                         dropped
//!                          of a VIP that is held, from another host             noted, passed
//! ```

mod arp;
mod claim;
mod discovery;
mod holding;
mod maps;
mod message;

pub(crate) use arp::{ETHERTYPE as ARP_ETHERTYPE, is_whole as is_whole_arp};
pub(crate) use holding::older_connections;
use lbfabric_abi::DropReason;
pub(crate) use message::{ADVERTISEMENT, SOLICITATION};

use super::{
    bytes::{load2, load4, load8},
    exit::Step,
    frame::Frame,
    headers::ETHERNET,
    maps as all_maps,
};

/// A link-layer address as the lower six bytes of a word, in memory order.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Mac(u64);

/// Decides on a frame with one of the two.
#[inline(always)]
pub(crate) fn handle(frame: &Frame) -> Step {
    let start = frame.start();
    if !frame.reaches(start + ETHERNET) {
        return Step::Drop(DropReason::Internal);
    }
    // SAFETY: the header is in the frame.
    if unsafe { load2::<12>(start) } == ARP_ETHERTYPE {
        return arp::handle(frame);
    }
    match all_maps::scratch() {
        Some(scratch) => discovery::handle(frame, &scratch.packet),
        None => Step::Drop(DropReason::Internal),
    }
}

impl Mac {
    const BITS: u64 = 48;
    const MASK: u64 = (1 << Self::BITS) - 1;
    /// No interface's.
    const NONE: Self = Self(0);

    /// # Safety
    /// As many bytes can be read.
    #[inline(always)]
    unsafe fn load(from: usize) -> Self {
        // SAFETY: the caller's.
        Self(unsafe { load4::<0>(from) | load2::<4>(from) << 32 })
    }

    /// The address of the interface that a frame came in through; [`Mac::NONE`] if it is not known.
    #[inline(always)]
    fn own(frame: &Frame) -> Self {
        let Some(link) = maps::link(frame.ingress_ifindex()) else {
            return Self::NONE;
        };
        // SAFETY: the value of a map, eight bytes.
        Self(unsafe { load8::<0>(core::ptr::from_ref(link) as usize) } & Self::MASK)
    }

    /// Whom a frame is for. The Ethernet header is there.
    #[inline(always)]
    fn destination(start: usize) -> Self {
        // SAFETY: the caller's.
        Self(unsafe { load8::<0>(start) } & Self::MASK)
    }

    /// Whether it is one of a single interface.
    #[inline(always)]
    const fn is_single(self) -> bool {
        self.0 & 1 == 0 && self.0 != 0
    }

    /// Whether a frame for this address is for the interface with `own`. Switches send frames for others too, as long as they do
    /// not know where those are.
    #[inline(always)]
    const fn reaches(self, own: Self) -> bool {
        self.0 & 1 != 0 || self.0 == own.0
    }
}
