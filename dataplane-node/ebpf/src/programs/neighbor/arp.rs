//! ARP for IPv4 over Ethernet, RFC 826.
//!
//! ```text
//!  0     hardware 1 | protocol 0800
//!  4     sizes 6, 4 | operation
//!  8     sender's MAC                      14  sender's IPv4 address, none in a probe (RFC 5227)
//! 18     target's MAC                      24  target's IPv4 address
//! ```

use lbfabric_abi::{Address, DropReason, Verdict};

use super::{Mac, claim, holding::Holding};
use crate::programs::{
    aligned::Aligned,
    bytes::{load4, load8, store2, store4, store8},
    exit::{Exit, Step},
    frame::Frame,
    headers::ETHERNET,
    ip::Ip as _,
    packet::Packet,
    v4::V4,
};

/// As in a frame.
pub(crate) const ETHERTYPE: u64 = u16::from_ne_bytes([0x08, 0x06]) as u64;

const LENGTH: usize = 28;
/// What it begins with: for IPv4 over Ethernet.
const IPV4_OVER_ETHERNET: u64 = u64::from_ne_bytes([0, 1, 8, 0, 6, 4, 0, 0]);
const REQUEST: u64 = u16::from_ne_bytes([0, 1]) as u64;
const REPLY: u64 = u16::from_ne_bytes([0, 2]) as u64;

/// Who asks, and for what.
struct Message {
    operation: u64,
    sender_mac: Mac,
    /// Both in memory order.
    sender: u32,
    target: u32,
}

/// Whether all of it is in the frame, behind whatever tags there are.
#[inline(always)]
pub(crate) fn is_whole(frame: &Frame, packet: &Packet) -> bool {
    frame.reaches(frame.at(packet.ip_at) + LENGTH)
}

#[inline(always)]
pub(super) fn handle(frame: &Frame) -> Step {
    const PASS: Step = Step::Leave(Exit::pass(Verdict::PassArp));
    let start = frame.start();
    if !frame.reaches(start + ETHERNET + LENGTH) {
        return Step::Drop(DropReason::Internal);
    }
    // SAFETY: all of it is in the frame.
    let Some(message) = (unsafe { Message::read(start + ETHERNET) }) else {
        return PASS;
    };
    let own = Mac::own(frame);
    let sender = Aligned(V4::to_abi(message.sender));
    // A probe has no sender, and asks for an address before it takes it.
    if message.sender != 0 && message.sender_mac != own && is_held(&sender) {
        return claim::note(frame, &sender, message.sender_mac);
    }
    // An owner's announcement asks for nothing: the kernel learns from it, if it knows that address.
    let is_question = message.operation == REQUEST && message.sender != message.target;
    if !is_question || !Mac::destination(start).reaches(own) {
        return PASS;
    }
    match Holding::of(&Aligned(V4::to_abi(message.target))) {
        Holding::NotLeased => PASS,
        Holding::NotHeld => Step::Drop(DropReason::VipNotHeld),
        Holding::Over => Step::Drop(DropReason::LeaseOver),
        Holding::Held if !message.is_right() => Step::Drop(DropReason::BadSolicitation),
        Holding::Held => answer(frame, &message, own),
    }
}

#[inline(always)]
fn is_held(address: &Address) -> bool {
    matches!(Holding::of(address), Holding::Held)
}

impl Message {
    /// None if it is for other networks.
    ///
    /// # Safety
    /// As many bytes can be read.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "as many bytes were read")]
    unsafe fn read(arp: usize) -> Option<Self> {
        // SAFETY: the caller's.
        let (first, sender_mac, sender, target) = unsafe {
            (
                load8::<0>(arp),
                load8::<6>(arp) >> 16,
                load4::<14>(arp) as u32,
                load4::<24>(arp) as u32,
            )
        };
        (first & Mac::MASK == IPV4_OVER_ETHERNET).then_some(Self {
            operation: first >> Mac::BITS,
            sender_mac: Mac(sender_mac),
            sender,
            target,
        })
    }

    /// Whether an answer would reach a host.
    #[inline(always)]
    fn is_right(&self) -> bool {
        self.sender_mac.is_single() && (self.sender == 0 || !V4::is_martian(self.sender))
    }
}

/// Makes a request its own reply.
#[inline(always)]
fn answer(frame: &Frame, request: &Message, own: Mac) -> Step {
    let start = frame.start();
    if own == Mac::NONE || !frame.reaches(start + ETHERNET + LENGTH) {
        return Step::Drop(DropReason::Internal);
    }
    let arp = start + ETHERNET;
    let (Mac(asker), Mac(own)) = (request.sender_mac, own);
    // SAFETY: all of it is in the frame.
    unsafe {
        store8::<0>(start, asker | own << Mac::BITS);
        store4::<8>(start, own >> 16);
        store8::<6>(arp, REPLY | own << 16);
        store4::<14>(arp, request.target.into());
        store4::<18>(arp, asker);
        store2::<22>(arp, asker >> 32);
        store4::<24>(arp, request.sender.into());
    }
    let ingress = frame.ingress_ifindex();
    Step::Leave(Exit::send(Verdict::ArpReply, ingress, ingress))
}
